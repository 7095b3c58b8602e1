"""A frame of a trip that comes when its customer is back: nobody is left dark by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest

from daemon.control.guard import Policy
from tests.simulation.control.processes import SiteTerms
from tests.simulation.control.world import World, add_point, empty_world

NOTHING_ASKED = Policy(
    working_days_only=False,
    no_trip_on_eve=False,
    written_required=False,
    final_required=False,
    approvals_required=0,
)
MORNING = datetime(2026, 3, 11, 2, tzinfo=UTC)
PAID_S = 60
BACK_S = 120


def dark_and_paid() -> World:
    """Cut at once for what was charged, paid a minute later, lit two minutes later."""
    terms = SiteTerms(NOTHING_ASKED, ZoneInfo("Asia/Shanghai"))
    world = empty_world(Random(1), MORNING, terms, ["wire"], switching=0)
    add_point(world, 1, line="wire")
    world.database.tables["point"][1]["reconnect"] = "close"
    world.start_daemon()
    world.kernel.at_s(10, lambda: world.post(1, -9_000, "charge"))
    world.kernel.run(PAID_S, lambda: None)
    assert is_dark(world)
    world.pay(1, 9_000)
    world.kernel.run(BACK_S, lambda: None)
    assert not is_dark(world)
    return world


def is_dark(world: World) -> bool:
    """Whether the customer has no supply."""
    return not world.meters[1].is_lit


def lit_again_after_s(world: World, come_s: float, obey: Callable[[World], None]) -> float:
    """How long the customer is dark by a frame that comes then."""
    world.kernel.run(come_s, lambda: None)
    obey(world)
    assert is_dark(world)
    since_s = world.kernel.now_s
    while is_dark(world) and world.kernel.now_s < since_s + 3_600:
        world.kernel.run(world.kernel.now_s + 1, lambda: None)
    return world.kernel.now_s - since_s


def trip(world: World) -> None:
    """The meter executes a frame that it got late."""
    world.meters[1].relay.trip(world.local_now())


@pytest.mark.parametrize("come_s", [150, 300, 600, 900])
def test_who_paid_and_is_cut_by_a_frame_of_before_is_lit_within_minutes(come_s: float) -> None:
    world = dark_and_paid()
    # A look every minute, a sweep every half a minute, and what the wire takes; after the expiry of
    # the frame one look when it is taken no more.
    assert lit_again_after_s(world, come_s, trip) < 100
    assert world.watch.mistakes == []


def test_a_frame_that_the_meter_holds_back_is_waited_for() -> None:
    world = dark_and_paid()
    relay = world.meters[1].relay
    relay.trip_delay = timedelta(minutes=5)
    world.kernel.run(880, lambda: None)
    relay.trip(world.local_now())
    relay.trip_delay = timedelta(0)
    dark_s = lit_again_after_s(world, 1_190, lambda it: it.meters[1].relay.settle(it.local_now()))
    assert dark_s < 100


def test_a_meter_that_is_silent_meanwhile_is_asked_when_it_is_back() -> None:
    world = dark_and_paid()
    meter = world.meters[1]
    meter.is_powered = False
    world.kernel.run(2_000, lambda: None)
    meter.is_powered = True
    assert lit_again_after_s(world, 2_000, trip) < 100


def test_a_daemon_that_is_started_anew_looks_too() -> None:
    world = dark_and_paid()
    world.kernel.run(200, lambda: None)
    world.stop_daemon(world.daemons[0])
    trip(world)
    world.start_daemon()
    assert lit_again_after_s(world, 201, trip) < 100
