"""What a line does with one step of a command, whatever carries it to the meter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition.commands import CommandStep, execute
from daemon.acquisition.meter_port import (
    Action,
    GatewayAnswered,
    InstantRegisters,
    NotSent,
    Registers,
)
from daemon.acquisition.site_clock import SiteClock
from daemon.control.commands import TRIP_EXPIRY
from daemon.quality.arrival import SettingsRead
from daemon.transactions.line_commands import LineCommandStep
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.reading import MeterIdentity, RelayState
from tests.command_steps import Command, Step

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 3, 16, 4, tzinfo=UTC)
LOCAL_NOW = datetime(2026, 3, 16, 12)
CLOCK = SiteClock(ZONE, lambda: NOW)
REFUSED = MeterRefused("000000001600", "trip", 4, ("password_wrong",))


@dataclass
class Meter:
    """A port; `raises` when its relay is controlled or read, or its clock is read."""

    clock: datetime | None = LOCAL_NOW
    clock_as_known: datetime | None = None
    obstacle: str = ""
    behind: timedelta = timedelta()
    why_not: str = ""
    on_control: Exception | None = None
    on_clock: Exception | None = None
    on_relay: Exception | None = None
    is_away: bool = False
    on_sign: Callable[[], None] = lambda: None
    sent: list[tuple[Action, UUID, datetime, timedelta]] = field(default_factory=list)

    def unsupported(self, what: str) -> str:
        if what == "clock":
            return "" if self.clock or self.on_clock else "no clock"
        return self.why_not

    async def read_freeze(self, day: date) -> Registers:
        raise NotImplementedError

    async def read_registers(self) -> InstantRegisters:
        raise NotImplementedError

    async def read_clock(self) -> datetime:
        if self.on_clock:
            raise self.on_clock
        assert self.clock is not None
        return self.clock

    async def read_relay(self) -> RelayState:
        if self.on_relay:
            raise self.on_relay
        return RelayState(True, True)

    async def read_identity(self) -> MeterIdentity:
        raise NotImplementedError

    async def read_settings(self) -> SettingsRead:
        raise NotImplementedError

    async def read_doubts(self) -> list[str]:
        raise NotImplementedError

    async def sign(
        self, action: Action, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        self.on_sign()
        return None

    async def control(
        self,
        action: Action,
        send_id: UUID,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        self.sent.append((action, send_id, meter_clock, valid_for))
        if self.on_control:
            raise self.on_control
        return "accepted"


def told(step: Step, meter: Meter) -> list[Any]:
    asyncio.run(execute(step, meter, CLOCK))
    return step.told


def test_a_frame_leaves_once_with_its_expiry_and_what_came_back_is_told() -> None:
    meter = Meter(clock=LOCAL_NOW + timedelta(minutes=4))
    assert told(Step(), meter) == [("acked", "accepted")]
    ((action, _, meter_clock, valid_for),) = meter.sent
    assert (action, meter_clock) == ("trip", LOCAL_NOW + timedelta(minutes=4))
    assert valid_for == TRIP_EXPIRY


@pytest.mark.parametrize("behind", [timedelta(), timedelta(hours=1)])
def test_a_meter_that_keeps_standard_time_is_cut_by_its_own_clock(behind: timedelta) -> None:
    meter = Meter(clock=LOCAL_NOW - behind, behind=behind)
    assert told(Step(), meter) == [("acked", "accepted")]
    ((_, _, meter_clock, _),) = meter.sent
    assert meter_clock == LOCAL_NOW - behind
    astray = Meter(clock=LOCAL_NOW + timedelta(minutes=6) - behind, behind=behind)
    assert told(Step(), astray)[0][0] == "abandoned"


def test_each_send_has_an_id_of_its_own() -> None:
    first, again = Meter(), Meter()
    told(Step(Command(sends=0)), first)
    told(Step(Command(sends=1)), again)
    assert first.sent[0][1] != again.sent[0][1]


@pytest.mark.parametrize(
    ("meter", "reason"),
    [
        (Meter(clock=LOCAL_NOW + timedelta(minutes=6)), "meter clock shows 2026-03-16 12:06:00"),
        (Meter(on_clock=NoReply("silence")), "clock not read: silence"),
        (Meter(on_clock=FrameError("noise")), "clock not read: noise"),
        (Meter(clock=None, obstacle="the gateway or the device is offline"), "the gateway or"),
    ],
)
def test_an_obstacle_keeps_a_trip_and_not_a_reconnect(meter: Meter, reason: str) -> None:
    ((state, detail),) = told(Step(), meter)
    assert (state, meter.sent) == ("abandoned", [])
    assert detail.startswith(reason)
    assert told(Step(Command(action="close")), meter) == [("acked", "accepted")]
    assert len(meter.sent) == 1


def test_who_paid_does_not_wait_for_a_clock_that_was_read_today() -> None:
    known, read = LOCAL_NOW + timedelta(seconds=9), LOCAL_NOW - timedelta(seconds=7)
    for command, shown in (
        (Command(action="close"), known),
        # The first frame may have been refused because somebody set the clock meanwhile.
        (Command(action="close", sends=1), read),
        (Command(action="trip"), read),
    ):
        meter = Meter(clock=read, clock_as_known=known)
        assert told(Step(command), meter) == [("acked", "accepted")]
        ((_, _, meter_clock, _),) = meter.sent
        assert meter_clock == shown


def test_a_trip_whose_time_is_over_is_not_sent() -> None:
    meter = Meter()
    step = Step(Command(expires_at=NOW + timedelta(seconds=59)))
    assert told(step, meter) == [("abandoned", "expires before it could get there")]
    assert not meter.sent


def test_a_trip_is_valid_no_moment_longer_than_its_command() -> None:
    meter = Meter()
    told(Step(Command(expires_at=NOW + timedelta(seconds=60))), meter)
    ((_, _, _, valid_for),) = meter.sent
    assert valid_for == timedelta(seconds=60)


def test_what_was_superseded_is_not_sent() -> None:
    meter = Meter()
    assert told(Step(is_released=False), meter) == []
    assert not meter.sent


@pytest.mark.parametrize(
    ("error", "trip", "close"),
    [
        (REFUSED, ("refused", str(REFUSED)), None),
        (NoReply("silence"), ("unknown", "silence"), None),
        (FrameError("noise"), ("unknown", "noise"), None),
        (GatewayAnswered("expired", "late"), ("refused", "expired: late"), None),
        (GatewayAnswered("busy", "later"), ("unknown", "later"), None),
        (NotSent("quota"), ("abandoned", "quota"), ("unknown", "quota")),
    ],
)
def test_what_came_instead_of_an_answer_is_told(error: Exception, trip: Any, close: Any) -> None:
    meter = Meter(on_control=error)
    assert told(Step(), meter) == [trip]
    assert told(Step(Command(action="close")), meter) == [close or trip]
    assert len(meter.sent) == 2, "each frame left once"


def test_a_line_that_goes_down_leaves_the_command_unknown_and_is_told_of_it() -> None:
    step = Step()
    with pytest.raises(LineDown):
        told(step, Meter(on_control=LineDown("unplugged")))
    assert step.told == [("unknown", "unplugged")]


def test_a_meter_without_a_relay_refuses_by_itself() -> None:
    meter = Meter(why_not="no relay")
    assert told(Step(), meter) == [("refused", "no relay")]
    assert not meter.sent


@pytest.mark.parametrize(
    ("meter", "relay"),
    [
        (Meter(), RelayState(True, True)),
        (Meter(on_relay=NoReply("silence")), None),
        (Meter(on_relay=GatewayAnswered("no_data", "")), None),
        (Meter(why_not="no relay"), None),
    ],
)
def test_a_relay_is_told_as_it_was_read_or_as_unknown(
    meter: Meter, relay: RelayState | None
) -> None:
    assert told(Step(kind="verify"), meter) == [relay]
    assert not meter.sent


def test_the_steps_of_the_database_are_steps_of_a_line() -> None:
    kind: type[CommandStep] = LineCommandStep  # the type checker is who compares
    assert kind is LineCommandStep


def test_what_is_taken_back_while_it_is_signed_does_not_leave() -> None:
    step = Step()

    def take_back() -> None:
        step.is_released = False

    meter = Meter(on_sign=take_back)
    assert told(step, meter) == []
    assert meter.sent == []


@pytest.mark.parametrize("what", ["time", "line", "clock"])
def test_a_trip_is_looked_at_again_when_it_has_been_signed(what: str) -> None:
    step = Step()
    meter = Meter()
    now = [NOW]
    doubts = [""]

    def change() -> None:
        if what == "time":
            now[0] = step.command.expires_at - timedelta(seconds=59)
        elif what == "line":
            meter.obstacle = "another far end"
        else:
            doubts[0] = "it stepped"

    meter.on_sign = change
    clock = SiteClock(ZONE, lambda: now[0], lambda: doubts[0])
    asyncio.run(execute(step, meter, clock))
    assert [kind for kind, _ in step.told] == ["abandoned"]
    assert meter.sent == []
    back = Step(Command(action="allow_close"))
    asyncio.run(execute(back, meter, clock))
    assert [kind for kind, _ in back.told] == ["acked"]
