"""Scenes of relays and clocks: what a meter says of them, and does later.

Each plays one small world whose account is exhausted, and tells what went wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from protocols.peer import Peer, Proof
from tests.simulation.control.kernel import Pause
from tests.simulation.control.moment_scenes import (
    EXPIRED_S,
    SOON_S,
    MomentScene,
    came_about,
    hold_up,
    until,
)
from tests.simulation.control.scenes import Scene, nothing, owe, run, small_world
from tests.simulation.control.world import World

LONG_DELAY: Final = timedelta(minutes=5)
LATE_S: Final = (30.0, 760.0)
"""After an account paid a frame of its trip comes so late: while it may be taken, and just before
it may be no more."""
LIT_WITHIN_S: Final = 150.0
"""A look every minute, two sweeps, and what the wire takes."""


def world_that_closes_at_once() -> World:
    """Its meter waits for no button."""
    world = small_world(Scene("", nothing))
    world.database.tables["point"][1]["reconnect"] = "close"
    return world


def supply_state(world: World) -> str:
    """Of the point."""
    state: str = world.database.tables["supply"][1]["supply_state"]
    return state


def paid_when_the_trip_had_left() -> Iterator[str]:
    """I3: whatever may have reached the meter is followed by a reconnect."""
    world = world_that_closes_at_once()
    hold_up(world.daemons[0].ports[1])
    owe(world, 9_000)
    is_unknown = until(world, state="unknown", sends=1)
    world.pay(1, 20_000)
    is_followed = until(world, action="close")
    world.meters[1].is_powered = True
    is_closed = until(world, action="close", state="verified")
    yield from came_about(world, "paid late", is_so=is_unknown and is_followed and is_closed)


def a_delayed_trip_is_no_open_relay() -> Iterator[str]:
    """I14: ordered open is not open."""
    world = small_world(Scene("", nothing))
    world.meters[1].relay.trip_delay = LONG_DELAY
    owe(world, 9_000)
    is_waiting = until(world, state="verifying", sends=1)
    run(world, SOON_S)
    is_on = supply_state(world) == "trip_commanded"
    run(world, LONG_DELAY.total_seconds() * 4)
    is_off = supply_state(world) == "disconnected"
    yield from came_about(world, "delayed", is_so=is_waiting and is_on and is_off)


def a_delayed_trip_is_no_closed_relay() -> Iterator[str]:
    """A reconnect whose frame was lost is done when no trip waits in the meter any more."""
    world = world_that_closes_at_once()
    meter = world.meters[1]
    meter.relay.trip_delay = timedelta(seconds=45)
    owe(world, 9_000)
    is_waiting = until(world, state="verifying", sends=1)
    hold_up(world.daemons[0].ports[1])
    world.pay(1, 20_000)
    is_lost = until(world, action="close", state="unknown")
    meter.is_powered = True
    is_sent_again = until(world, action="close", sends=2)
    run(world, SOON_S)
    is_so = is_waiting and is_lost and is_sent_again and meter.is_lit
    yield from came_about(world, "held back", is_so=is_so)


def a_reconnect_that_was_lost_is_sent_again() -> Iterator[str]:
    """Within seconds, and by the same command."""
    world = world_that_closes_at_once()
    owe(world, 9_000)
    run(world, SOON_S)
    is_off = supply_state(world) == "disconnected"
    hold_up(world.daemons[0].ports[1])
    world.pay(1, 20_000)
    is_lost = until(world, action="close", state="unknown")
    world.meters[1].is_powered = True
    is_done = until(world, action="close", sends=2, state="verified")
    yield from came_about(world, "lost", is_so=is_off and is_lost and is_done)


def a_meter_that_is_silent_has_not_failed() -> Iterator[str]:
    """The trip came, and the meter lost its power before it was asked."""
    world = small_world(Scene("", nothing))
    meter = world.meters[1]
    owe(world, 9_000)
    is_done = until(world, state="acked", sends=1)
    meter.is_powered = False
    run(world, SOON_S / 3)
    meter.is_powered = True
    is_seen = until(world, state="verified", sends=1)
    is_off = supply_state(world) == "disconnected"
    yield from came_about(world, "silent", is_so=is_done and is_seen and is_off)


def a_meter_with_a_wrong_clock_is_not_cut() -> Iterator[str]:
    """It would take the frame when that is past."""
    world = small_world(Scene("", nothing))
    world.meters[1].ahead = timedelta(minutes=-6)
    owe(world, 9_000)
    is_not_cut = until(world, state="failed", sends=1)
    is_not_cut &= world.watch.told.get("frames trip") is None
    yield from came_about(world, "clock", is_so=is_not_cut)


def the_hosts_clock_steps_while_a_meters_is_read() -> Iterator[str]:
    """The trip was released, and by which clock it is valid is not sure any more."""
    world = small_world(Scene("", nothing))
    daemon = world.daemons[0]
    port = daemon.ports[1]
    read_clock = port.read_clock

    async def while_it_steps() -> datetime:
        daemon.step_clock(timedelta(seconds=90))
        await Pause(2)
        daemon.step_clock(timedelta(0))
        return await read_clock()

    port.read_clock = while_it_steps  # type: ignore[method-assign]
    owe(world, 9_000)
    is_not_cut = until(world, state="failed", sends=1)
    is_not_cut &= world.watch.told.get("frames trip") is None
    yield from came_about(world, "step", is_so=is_not_cut)


def a_trip_whose_line_is_down_ends() -> Iterator[str]:
    """It waits for no line longer than it is valid."""
    world = small_world(Scene("", nothing))
    world.lines["wire"].is_down = True
    owe(world, 9_000)
    run(world, EXPIRED_S)
    ids = world.database.tables["of_point"][1]["ids"]
    is_over = world.database.tables["command"][ids[0]]["state"] == "expired"
    yield from came_about(world, "down", is_so=is_over)


def a_frame_that_comes_when_it_is_paid_leaves_nobody_dark() -> Iterator[str]:
    """Looked at every minute while one may come, and once more when it may no more."""
    for late_s in LATE_S:
        world = world_that_closes_at_once()
        owe(world, 9_000)
        run(world, SOON_S)
        was_off = not world.meters[1].is_lit
        world.pay(1, 20_000)
        run(world, SOON_S)
        was_lit = world.meters[1].is_lit
        run(world, late_s)
        world.meters[1].relay.trip(world.local_now())
        run(world, LIT_WITHIN_S)
        is_so = was_off and was_lit and world.meters[1].is_lit
        yield from came_about(world, f"late by {late_s:.0f} s", is_so=is_so)


def another_answers_when_the_line_is_back() -> Iterator[str]:
    """Who is at the far end is asked when the frame leaves, not only when it was asked for."""
    world = small_world(Scene("", nothing))
    world.lines["wire"].is_down = True
    owe(world, 9_000)
    run(world, SOON_S / 2)
    world.lines["wire"].peer = Peer("10.9.9.9", Proof.VOUCHED)
    world.lines["wire"].is_down = False
    is_not_cut = until(world, state="cancelled", detail="SOURCE_CHANGED")
    is_not_cut &= world.watch.told.get("frames trip") is None
    yield from came_about(world, "another", is_so=is_not_cut)


def a_reconnect_that_cannot_leave_is_a_job() -> Iterator[str]:
    """R89a: after ten minutes somebody goes there."""
    world = world_that_closes_at_once()
    owe(world, 9_000)
    run(world, SOON_S)
    world.lines["wire"].is_down = True
    world.pay(1, 20_000)
    run(world, EXPIRED_S)
    jobs = [(it["kind"], it["point_id"]) for it in world.database.tables["job"].values()]
    yield from came_about(world, "job", is_so=jobs == [("restore", 1)])


RELAY_SCENES: Final[tuple[MomentScene, ...]] = (
    paid_when_the_trip_had_left,
    a_delayed_trip_is_no_open_relay,
    a_delayed_trip_is_no_closed_relay,
    a_reconnect_that_was_lost_is_sent_again,
    a_meter_that_is_silent_has_not_failed,
    a_meter_with_a_wrong_clock_is_not_cut,
    the_hosts_clock_steps_while_a_meters_is_read,
    a_trip_whose_line_is_down_ends,
    a_frame_that_comes_when_it_is_paid_leaves_nobody_dark,
    another_answers_when_the_line_is_back,
    a_reconnect_that_cannot_leave_is_a_job,
)
