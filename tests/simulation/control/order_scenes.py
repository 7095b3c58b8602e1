"""Scenes of orders: a supply that two persons have cut for another reason than money.

Each plays one small world with one account that has paid, and tells what went wrong in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from daemon.control.guard import Cause
from daemon.transactions.cut_orders import OrderRefused, agree_to_order, ask_for_order, end_order
from storage.documents import Said
from tests.simulation.control.scenes import (
    CUT_AGAIN_WITHIN_S,
    CUT_WITHIN_S,
    NOTHING_ASKED,
    Scene,
    lifted,
    marked,
    nothing,
    owe,
    run,
    small_world,
)
from tests.simulation.control.world import World

SAID: Final = Said("li", "the riser is wet")
HOUR_S: Final = 3_600.0
OrderScene = Callable[[], Iterator[str]]


def ordered(world: World, cause: Cause, *, after_s: float = 1, second: str = "wang") -> None:
    """One asks, and a while later another agrees."""

    async def ask(connection: Any) -> None:
        number = await ask_for_order(connection, "P1", cause, SAID)
        world.kernel.at_s(after_s, lambda: world.does(lambda it: agree(it, number), "agree"))

    async def agree(connection: Any, number: int) -> None:
        daemon = world.acting()
        assert daemon is not None
        try:
            await agree_to_order(connection, daemon.authority, number, second)
        except OrderRefused:
            world.watch.count("refused")

    world.does(ask, "ask")
    run(world, after_s + 1)


def ended(world: World) -> None:
    """The order of the point is over."""
    number = max(world.database.tables["order"])
    world.does(lambda it: end_order(it, number, SAID), "end")


def cut_by(cause: Cause, **changes: Any) -> World:
    """Paid, and dark by an order."""
    world = small_world(Scene("", nothing, **changes))
    world.database.tables["point"][1]["reconnect"] = "close"
    ordered(world, cause)
    run(world, CUT_WITHIN_S)
    return world


def given_to_who_owes(world: World) -> None:
    """The point passes to another account, which has no money either."""
    accounts, balances = world.database.tables["account"], world.database.tables["balance"]
    accounts[2] = {**accounts[1], "number": "A2", "points": (), "credit_state": "good"}
    balances[2] = {"fen": 5_000}
    world.post(2, -9_000, "owes")
    run(world, 1)
    world.pass_on(1, 2)


def is_dark(world: World) -> bool:
    """Whether the customer has no supply."""
    return not world.meters[1].is_lit


def jobs(world: World) -> list[bool]:
    """Of each job of somebody who is to cut there whether it is open."""
    return [
        job["closed_at"] is None
        for job in world.database.tables["job"].values()
        if job["kind"] == "trip"
    ]


def over(world: World, *found: str | bool) -> Iterator[str]:
    """What was wrong by the invariants, or by this scene itself."""
    yield from world.watch.mistakes
    yield from (it for it in found if isinstance(it, str))
    world.kernel.kill_all()


def who_is_ordered_off_is_dark_until_that_is_over() -> Iterator[str]:
    """Of every cause, whatever is paid and whoever restores all."""
    causes: tuple[Cause, ...] = ("safety", "theft", "customer_request")
    for cause in causes:
        world = cut_by(cause)
        cut = is_dark(world)
        world.pay(1, 9_000)
        marked("amnesty")(world)
        run(world, CUT_AGAIN_WITHIN_S)
        stayed = is_dark(world)
        ended(world)
        run(world, CUT_WITHIN_S)
        yield from over(
            world,
            cut or f"{cause}: was not cut",
            stayed or f"{cause}: came back while it was ordered off",
            not is_dark(world) or f"{cause}: stays dark after its order",
        )


def who_is_protected_later_comes_back_but_from_what_is_off_for_safety() -> Iterator[str]:
    """And is off again for nobody when the order has grown old."""
    causes: tuple[Cause, ...] = ("safety", "theft", "customer_request")
    for cause in causes:
        for kind in ("protected", "life_support"):
            world = cut_by(cause)
            marked(kind, point="P1")(world)
            run(world, CUT_AGAIN_WITHIN_S)
            is_right = is_dark(world) == (cause == "safety")
            yield from over(world, is_right or f"{cause}, {kind}: dark is {is_dark(world)}")


def an_order_ends_with_its_customer() -> Iterator[str]:
    """One for safety stays with the point; who gets the point owes, and is lit all the same."""
    causes: tuple[Cause, ...] = ("safety", "theft", "customer_request")
    for cause in causes:
        world = cut_by(cause)
        given_to_who_owes(world)
        run(world, 20)
        order = world.database.tables["order"][1]
        is_over = order["ended_at"] is not None
        yield from over(
            world,
            is_over == (cause != "safety") or f"{cause}: over is {is_over}",
            is_dark(world) == (cause == "safety") or f"{cause}: dark is {is_dark(world)}",
        )


def who_is_cut_for_arrears_is_lit_for_the_next_customer() -> Iterator[str]:
    """What the one owes is nothing to the other, who has had no notice."""
    world = small_world(Scene("", nothing))
    world.database.tables["point"][1]["reconnect"] = "close"
    owe(world, 9_000)
    run(world, CUT_WITHIN_S)
    cut = is_dark(world)
    marked("hold")(world)
    given_to_who_owes(world)
    run(world, CUT_WITHIN_S)
    yield from over(world, cut or "was not cut", not is_dark(world) or "stays dark")


def one_person_alone_or_too_late_cuts_nobody() -> Iterator[str]:
    """The same under another name, or another after more than four hours."""
    for second, after_s in (("LI", 1.0), ("wang", 4.1 * HOUR_S)):
        world = small_world(Scene("", nothing))
        ordered(world, "theft", second=second, after_s=after_s)
        run(world, CUT_WITHIN_S)
        yield from over(world, not is_dark(world) or f"{second} after {after_s} s: cut")


def what_stands_against_an_order_is_asked_again_for_four_hours() -> Iterator[str]:
    """Then somebody has to go there, once, and nobody where it is not in force any more."""
    for hours in (1.0, 4.1):
        world = small_world(Scene("", nothing))
        marked("keep_power", point="P1")(world)
        ordered(world, "theft")
        run(world, HOUR_S / 3)
        told = "P1" in world.watch.alarmed_points()
        run(world, (hours - 1 / 3) * HOUR_S)
        sent = jobs(world)
        if hours > 4:
            marked("life_support", point="P1")(world)
            run(world, CUT_WITHIN_S)
            closed = jobs(world)
            yield from over(
                world,
                told or "no alarm",
                sent == [True] or f"jobs after four hours: {sent}",
                closed == [False] or f"jobs of who depends on supply: {closed}",
            )
            continue
        lifted(world)
        run(world, CUT_WITHIN_S)
        yield from over(world, told or "no alarm", is_dark(world) or "was not cut", *map(str, sent))


def old_orders_cut_nobody() -> Iterator[str]:
    """What stood against them is over: somebody has been told to go."""
    world = small_world(Scene("", nothing))
    marked("keep_power", point="P1")(world)
    ordered(world, "theft")
    run(world, 4.1 * HOUR_S)
    lifted(world)
    run(world, CUT_AGAIN_WITHIN_S)
    yield from over(world, not is_dark(world) or "cut by an order of four hours ago")


def a_cut_for_arrears_under_an_order_stays_one() -> Iterator[str]:
    """The order is over, and who owes stays dark until he pays."""
    world = small_world(Scene("", nothing))
    world.database.tables["point"][1]["reconnect"] = "close"
    owe(world, 9_000)
    run(world, CUT_WITHIN_S)
    ordered(world, "safety")
    run(world, CUT_WITHIN_S)
    ended(world)
    run(world, CUT_AGAIN_WITHIN_S)
    stayed = is_dark(world)
    world.pay(1, 99_000)
    run(world, CUT_WITHIN_S)
    yield from over(
        world,
        stayed or "came back with the end of the order",
        not is_dark(world) or "stays dark although it paid",
    )


def an_order_waits_for_its_line() -> Iterator[str]:
    """That its customer is in credit does not end its trip meanwhile."""
    world = small_world(Scene("", nothing))
    world.lines["wire"].is_down = True
    ordered(world, "theft")
    run(world, 70)
    world.lines["wire"].is_down = False
    run(world, CUT_WITHIN_S)
    yield from over(world, is_dark(world) or "was not cut")


def who_pays_while_somebody_works_there_is_lit_afterwards() -> Iterator[str]:
    """No reconnect leaves before."""
    world = small_world(Scene("", nothing))
    world.database.tables["point"][1]["reconnect"] = "close"
    owe(world, 9_000)
    run(world, CUT_WITHIN_S)
    marked("keep_off", line="wire")(world)
    run(world, 1)
    world.pay(1, 99_000)
    run(world, CUT_WITHIN_S)
    stayed = is_dark(world)
    lifted(world)
    run(world, CUT_WITHIN_S)
    yield from over(world, stayed or "came back", not is_dark(world) or "stays dark")


def what_waits_for_its_line_when_an_order_comes_is_not_the_orders() -> Iterator[str]:
    """Neither is the trip for arrears sent as the order's, nor the reconnect of who paid."""
    for pays in (False, True):
        world = small_world(Scene("", nothing))
        world.database.tables["point"][1]["reconnect"] = "close"
        owe(world, 9_000)
        if pays:
            run(world, CUT_WITHIN_S)
        world.lines["wire"].is_down = True
        if pays:
            world.pay(1, 99_000)
        run(world, 2)
        ordered(world, "safety")
        world.lines["wire"].is_down = False
        run(world, CUT_AGAIN_WITHIN_S)
        yield from over(world, is_dark(world) or f"pays {pays}: is lit")


def who_owes_and_was_ordered_off_comes_back_with_the_end_of_the_order() -> Iterator[str]:
    """Whatever is owed: a cut for arrears needs its own notices."""
    policy = replace(NOTHING_ASKED, written_required=True)
    world = small_world(Scene("", nothing, policy=policy))
    world.database.tables["point"][1]["reconnect"] = "close"
    owe(world, 9_000)
    run(world, CUT_WITHIN_S)
    was_on = not is_dark(world)
    ordered(world, "theft")
    run(world, CUT_WITHIN_S)
    was_off = is_dark(world)
    ended(world)
    run(world, CUT_WITHIN_S)
    yield from over(
        world,
        was_on or "cut without a notice",
        was_off or "was not cut",
        not is_dark(world) or "stays dark",
    )


ORDER_SCENES: Final[tuple[OrderScene, ...]] = (
    who_is_ordered_off_is_dark_until_that_is_over,
    who_is_protected_later_comes_back_but_from_what_is_off_for_safety,
    an_order_ends_with_its_customer,
    who_is_cut_for_arrears_is_lit_for_the_next_customer,
    one_person_alone_or_too_late_cuts_nobody,
    what_stands_against_an_order_is_asked_again_for_four_hours,
    old_orders_cut_nobody,
    a_cut_for_arrears_under_an_order_stays_one,
    who_owes_and_was_ordered_off_comes_back_with_the_end_of_the_order,
    an_order_waits_for_its_line,
    who_pays_while_somebody_works_there_is_lit_afterwards,
    what_waits_for_its_line_when_an_order_comes_is_not_the_orders,
)
