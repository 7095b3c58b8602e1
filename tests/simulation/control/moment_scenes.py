"""Scenes of moments: something happens between two steps of one command.

Each plays one small world whose account is exhausted, and tells what went wrong in it. Seeds come
to such a moment once in hundreds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from daemon.acquisition.meter_port import Action
from protocols.reading import RelayState
from tests.simulation.control.kernel import Pause
from tests.simulation.control.meters import Meter, Port
from tests.simulation.control.model import Row
from tests.simulation.control.scenes import Scene, nothing, owe, run, small_world
from tests.simulation.control.world import World

MomentScene = Callable[[], Iterator[str]]
SOON_S: Final = 60.0
A_MOMENT_S: Final = 0.01
EXPIRED_S: Final = 660.0
"""A trip expires ten minutes after it was asked for."""
JUST_BEFORE_S: Final = 590.0


def newest(world: World) -> Row | None:
    """The last command of the point."""
    ids = world.database.tables["of_point"].get(1, {"ids": ()})["ids"]
    return world.database.tables["command"][ids[-1]] if ids else None


def until(world: World, **row: Any) -> bool:
    """Let time pass until the last command is so; False: it never was."""
    end_s = world.kernel.now_s + SOON_S
    while world.kernel.now_s < end_s:
        found = newest(world)
        if found is not None and row.items() <= found.items():
            return True
        run(world, A_MOMENT_S)
    return False


def came_about(world: World, name: str, *, is_so: bool) -> Iterator[str]:
    """What went wrong; a moment that never came shows nothing."""
    yield from world.watch.mistakes
    if not is_so:
        found = newest(world)
        state = found and (found["state"], found["sends"], found["detail"])
        yield f"{name}: it came otherwise, the last command is {state}"
    world.kernel.kill_all()


def paid_between_release_and_frame() -> Iterator[str]:
    """I4: the trip is released, and while its meter's clock is read the account pays."""
    world = small_world(Scene("", nothing))
    owe(world, 9_000)
    is_released = until(world, state="sent", sends=1)
    world.pay(1, 20_000)
    run(world, SOON_S)
    is_lit = world.meters[1].is_lit and world.watch.told.get("frames trip") is None
    yield from came_about(world, "paid", is_so=is_released and is_lit)


def another_has_the_site() -> Iterator[str]:
    """A daemon lost the site, does not know it, and finds a trip to be released."""
    world = small_world(Scene("", nothing))
    (first,) = world.daemons
    second = world.start_daemon()
    world.database.holder = None
    run(world, SOON_S)
    has_it = world.acting() is second
    # It hangs: were anything released, it would be by the first.
    world.kernel.kill(second)
    owe(world, 9_000)
    run(world, SOON_S)
    found = newest(world)
    waits = first.hold.token and found is not None and found["state"] == "persisted"
    yield from came_about(world, "fence", is_so=bool(has_it and waits))


def line_is_back_behind_the_expiry() -> Iterator[str]:
    """Nobody swept meanwhile: the line finds a trip that is too old."""
    world = small_world(Scene("", nothing))
    world.daemons[0].terms = replace(world.daemons[0].terms, sweep_s=1e6)
    run(world, SOON_S)
    world.lines["wire"].is_down = True
    owe(world, 9_000)
    run(world, EXPIRED_S)
    is_old = (newest(world) or {}).get("state") == "persisted"
    world.lines["wire"].is_down = False
    is_expired = until(world, state="expired", sends=0)
    yield from came_about(world, "expiry", is_so=is_old and is_expired)


def clock_is_read_until_the_expiry() -> Iterator[str]:
    """The trip is released in time, and its meter thinks for long before it tells its clock."""
    world = small_world(Scene("", nothing))
    port = world.daemons[0].ports[1]
    world.lines["wire"].is_down = True
    owe(world, 9_000)
    run(world, JUST_BEFORE_S)
    is_old = (newest(world) or {}).get("state") == "persisted"

    async def slowly() -> datetime:
        await Pause(EXPIRED_S - JUST_BEFORE_S)
        return world.local_now()

    port.read_clock = slowly  # type: ignore[method-assign]
    world.lines["wire"].is_down = False
    is_released = until(world, state="sent", sends=1)
    run(world, EXPIRED_S - JUST_BEFORE_S)
    is_abandoned = until(world, state="failed", sends=1)
    yield from came_about(world, "late", is_so=is_old and is_released and is_abandoned)


def killed_while_a_frame_is_on_its_way() -> Iterator[str]:
    """After a restart what may have been sent is verified before anything else, once its line is
    there."""
    world = small_world(Scene("", nothing))
    owe(world, 9_000)
    is_sent = until(world, state="sent", sends=1)
    world.stop_daemon(world.daemons[0])
    world.lines["wire"].is_down = True
    world.start_daemon()
    is_verified_first = until(world, state="verifying", sends=1)
    yield from came_about(world, "killed", is_so=is_sent and is_verified_first)


def waited_while_nobody_was_there() -> Iterator[str]:
    """A trip that waits for longer than a minute when a daemon starts is sent no more."""
    world = small_world(Scene("", nothing))
    world.lines["wire"].is_down = True
    owe(world, 9_000)
    run(world, 2 * SOON_S)
    world.stop_daemon(world.daemons[0])
    is_old = (newest(world) or {}).get("state") == "persisted"
    world.start_daemon()
    is_expired = until(world, state="expired", sends=0)
    yield from came_about(world, "waited", is_so=is_old and is_expired)


def looked_at_before_it_was_sent_again() -> Iterator[str]:
    """What a daemon that lost the site was told by the relay says nothing of what another sent
    since."""
    world = small_world(Scene("", nothing))
    port = world.daemons[0].ports[1]
    hold_up(port)
    owe(world, 9_000)
    is_unknown = until(world, state="unknown", sends=1)
    world.meters[1].is_powered = True
    look = port.read_relay

    async def slowly() -> RelayState:
        seen = await look()
        while (newest(world) or {}).get("sends") == 1:
            await Pause(A_MOMENT_S)
        return seen

    port.read_relay = slowly  # type: ignore[method-assign]
    run(world, SOON_S / 10)
    world.database.holder = None
    world.start_daemon()
    is_seen = until(world, state="verified", sends=2)
    yield from came_about(world, "looked at", is_so=is_unknown and is_seen)


def refused_when_it_is_sent_again() -> Iterator[str]:
    """Amendment 6: the first frame of a trip is held up somewhere, the second is refused, and then
    the first comes: it was us who cut."""
    world = small_world(Scene("", nothing))
    meter = world.meters[1]
    hold_up(world.daemons[0].ports[1])
    owe(world, 9_000)
    is_unknown = until(world, state="unknown", sends=1)
    meter.is_powered = True
    meter.refuses = True
    is_watched = until(world, state="verifying", sends=2)
    meter.refuses = False
    run(world, SOON_S)
    meter.relay.trip(world.local_now())
    is_seen = until(world, state="verified", sends=2)
    is_ours = world.database.tables["supply"][1]["supply_state"] == "disconnected"
    is_so = is_unknown and is_watched and is_seen and is_ours
    yield from came_about(world, "refused", is_so=is_so)


def hold_up(port: Port) -> None:
    """The next frame that leaves here arrives nowhere: its meter has no power."""
    leaves = port.leaves

    def held_up(of: Meter, action: Action, valid_for: timedelta) -> None:
        leaves(of, action, valid_for)
        port.leaves = leaves
        of.is_powered = False

    port.leaves = held_up


MOMENT_SCENES: Final[tuple[MomentScene, ...]] = (
    paid_between_release_and_frame,
    another_has_the_site,
    line_is_back_behind_the_expiry,
    clock_is_read_until_the_expiry,
    killed_while_a_frame_is_on_its_way,
    waited_while_nobody_was_there,
    looked_at_before_it_was_sent_again,
    refused_when_it_is_sent_again,
)
