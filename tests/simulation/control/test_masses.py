"""Many at once: a wrong tariff, an amnesty, a hold of everybody while trips are on their way."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

from daemon.control.breaker import Limits
from daemon.control.ramp import Ramp
from daemon.transactions.supply_marks import Marked, set_mark
from storage.documents import Said
from tests.simulation.control.processes import SiteTerms
from tests.simulation.control.scenes import NOTHING_ASKED, ZONE
from tests.simulation.control.world import LOOSE, World, add_point, empty_world

NOON = datetime(2026, 3, 11, 4, tzinfo=UTC)
POINTS = 24
WRONG_FEN = 9_000


def many(limits: Limits) -> World:
    """Accounts of one point each, on four lines, with enough money."""
    terms = SiteTerms(NOTHING_ASKED, ZONE, limits=limits)
    lines = [f"line-{number}" for number in range(4)]
    world = empty_world(Random(7), NOON, terms, lines, switching=0.1)
    for number in range(1, POINTS + 1):
        add_point(world, number, line=lines[number % 4], shares=False)
        world.database.tables["point"][number]["reconnect"] = "close"
        world.database.tables["account"][number]["credit_limit_fen"] = 0
    world.start_daemon()
    return world


def run(world: World, minutes: float) -> None:
    world.kernel.run(world.kernel.now_s + minutes * 60, world.watch.after_step)


def dark(world: World) -> int:
    return sum(not meter.is_lit for meter in world.meters.values())


def post_all(world: World, fen: int, key: str) -> None:
    for account in world.database.tables["account"]:
        world.post(account, fen, f"{key} {account}")


def frames(world: World, action: str) -> int:
    return world.watch.told.get(f"frames {action}", 0)


def test_a_wrong_tariff_for_everybody_cuts_few_and_they_are_lit_when_it_is_put_right() -> None:
    limits = Limits()
    world = many(limits)
    post_all(world, -WRONG_FEN - 5_000, "wrong")
    run(world, 12)
    assert 0 < dark(world) <= limits.hour
    assert frames(world, "trip") <= limits.hour
    # Whatever the group, the first breaker that opened stops it.
    assert any(it["reset_at"] is None for it in world.database.tables["breaker"].values())
    post_all(world, WRONG_FEN + 5_000, "put right")
    run(world, 5)
    assert dark(world) == 0
    assert world.watch.mistakes == []


def test_an_amnesty_lights_everybody_on_its_ramp() -> None:
    world = many(LOOSE)
    post_all(world, -WRONG_FEN, "use")
    run(world, 14)
    assert dark(world) == POINTS
    ramp = Ramp(kw_per_minute=20, kw_per_point=4)
    said = Said("li", "flood")
    world.does(lambda it: set_mark(it, "amnesty", Marked(), said, ramp=ramp), "amnesty")
    closed = [frames(world, "close")]
    for _ in range(8):
        run(world, 1)
        closed.append(frames(world, "close"))
    a_minute = [after - before for before, after in pairwise(closed)]
    # Two windows of a minute may meet in one that is counted here.
    assert 0 < max(a_minute) <= 2 * ramp.points_per_minute
    assert dark(world) == 0
    assert closed[-1] == POINTS
    assert world.watch.mistakes == []


def test_a_hold_of_everybody_stops_trips_that_are_on_their_way_and_lasts_over_a_restart() -> None:
    world = many(LOOSE)
    post_all(world, -WRONG_FEN, "use")
    world.kernel.run(60, world.watch.after_step)
    before = frames(world, "trip")
    assert 0 < before < POINTS
    until(world, lambda: len(world.database.tables["mark"]) == 1, hold)
    run(world, 1 / 60)
    at_once = frames(world, "trip")
    # No frame leaves after the commit: the invariants say so at each of them.
    assert at_once <= before + 4
    world.stop_daemon(world.daemons[0])
    world.start_daemon()
    run(world, 30)
    assert frames(world, "trip") == at_once
    assert world.watch.mistakes == []


def hold(world: World) -> None:
    said = Said("li", "system failure")
    world.does(lambda it: set_mark(it, "hold", Marked(), said), "hold")


def until(world: World, is_so: Callable[[], bool], do: Callable[[World], None]) -> None:
    do(world)
    while not is_so():
        world.kernel.run(world.kernel.now_s + 0.01, world.watch.after_step)
