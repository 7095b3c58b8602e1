"""The jobs of a line around midnight, with ports instead of meters and a clock that is set."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest
import structlog
from prometheus_client import REGISTRY
from psycopg_pool import AsyncConnectionPool

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_orders import obey_one
from daemon.acquisition.meter_port import (
    Action,
    GatewayAnswered,
    InstantRegisters,
    NotSent,
    Registers,
    Urgency,
)
from daemon.acquisition.planning.reads import ReadRequest
from daemon.acquisition.rounds import begin_round, do_urgent, idle_for_s, is_urgent
from daemon.acquisition.site_clock import SiteClock
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import Arrival, PolledFreeze, SettingsRead
from daemon.transactions.meter_orders import LineOrders
from protocols.errors import FrameError, MeterRefused, NoReply
from protocols.reading import MeterIdentity, RelayState
from storage.archive import SiteMeter
from tests.line_parts import ZONE, line_parts

MIDNIGHT = datetime(2026, 3, 2, tzinfo=ZONE)
KWH = (Decimal("12.34"),)
NOT_ASKED = "these cases ask for the registers of this moment alone"
ROUNDS = 20
"""A line does that many in a moment if nothing keeps it from it."""


@dataclass
class Port:
    """A meter that can be read; `read` says what comes of it."""

    read: Callable[[], InstantRegisters] = lambda: InstantRegisters(KWH)
    is_away: bool = False
    clock_as_known: datetime | None = None
    obstacle: str = ""
    behind: timedelta = timedelta()
    unread: str = ""
    reads: list[Urgency] = field(default_factory=list)

    def unsupported(self, what: str) -> str:
        return self.unread

    async def read_freeze(self, day: date) -> Registers:
        raise AssertionError(NOT_ASKED)

    async def read_registers(self) -> InstantRegisters:
        return self.read()

    async def read_clock(self) -> datetime:
        raise AssertionError(NOT_ASKED)

    async def read_relay(self) -> RelayState:
        raise AssertionError(NOT_ASKED)

    async def read_identity(self) -> MeterIdentity:
        raise AssertionError(NOT_ASKED)

    async def read_settings(self) -> SettingsRead:
        raise NotImplementedError

    async def read_doubts(self) -> list[str]:
        raise NotImplementedError

    async def sign(
        self, action: Action, meter_clock: datetime, valid_for: timedelta
    ) -> bytes | None:
        raise AssertionError(NOT_ASKED)

    async def control(
        self,
        action: Action,
        send_id: Any,
        meter_clock: datetime,
        valid_for: timedelta,
        signed: bytes | None,
    ) -> str:
        raise AssertionError(NOT_ASKED)


class Site:
    """Meters without memory on one line, each with its port."""

    def __init__(
        self, *ports: Port, at_s: float = 1, installed_on: date = date(2026, 1, 1), **how: Any
    ) -> None:
        self.ports = ports
        self.at_s = at_s
        """Seconds after midnight."""
        self.arrived: list[Arrival | PolledFreeze] = []
        self.has_room = True
        self.doubt = ""
        """What speaks against the host's clock."""
        self.refused = asyncio.Event()
        """A reading found no room."""
        meters = [_meter(number, installed_on) for number in range(len(ports))]
        clock = SiteClock(ZONE, self._now, lambda: self.doubt)
        common = line_parts("midnights", meters, self._take, clock=clock)
        self.jobs = Jobs(common, has_memory=[False] * len(ports), longest_wait_s=1.0, **how)

    def _now(self) -> datetime:
        return (MIDNIGHT + timedelta(seconds=self.at_s)).astimezone(UTC)

    def _take(self, arrival: Arrival | PolledFreeze) -> bool:
        if not self.has_room:
            self.refused.set()
            return False
        self.arrived.append(arrival)
        return True

    def _port(self, number: int, urgency: Urgency) -> Port:
        self.ports[number].reads.append(urgency)
        return self.ports[number]

    async def round(self) -> bool:
        begin_round(self.jobs)
        return await do_urgent(self.jobs, self._port)

    def rounds(self, count: int = ROUNDS) -> int:
        """How many of these rounds had something to do."""

        async def all_of_them() -> int:
            return sum([await self.round() for _ in range(count)])

        return asyncio.run(all_of_them())


def _meter(number: int, installed_on: date) -> SiteMeter:
    return SiteMeter(
        meter_id=100 + number,
        address=f"gate/{number}",
        line="midnights",
        protocol="modbus-rtu",
        modulus=10**8,
        decimals=2,
        installed_on=installed_on,
        point_id=1,
        point=f"P{number}",
        max_daily_kwh=Decimal(380),
    )


def missed() -> float:
    labels = {"line": "midnights"}
    return REGISTRY.get_sample_value("meterd_host_freezes_missed_total", labels) or 0.0


def failing(error: Exception) -> Callable[[], InstantRegisters]:
    def read() -> InstantRegisters:
        raise error

    return read


def test_a_meter_that_is_not_installed_yet_is_neither_read_nor_missed() -> None:
    port = Port()
    site = Site(port, installed_on=MIDNIGHT.date() + timedelta(days=1))
    before = missed()
    assert site.rounds() == 0
    site.at_s = 61
    assert site.rounds() == 0
    assert (port.reads, site.arrived, missed() - before) == ([], [], 0)


def test_no_freeze_is_made_of_a_clock_that_is_doubted_and_the_line_has_its_time_for_others() -> (
    None
):
    port = Port()
    site = Site(port)
    site.doubt = "it was stepped"
    assert site.rounds() == 0
    assert (port.reads, site.arrived) == ([], [])
    assert not site.jobs.is_midnight_near()
    assert idle_for_s(site.jobs) > 1
    site.doubt = ""
    assert site.rounds() == 1
    assert len(site.arrived) == 1


def test_a_line_does_not_spin_over_an_order_that_waits_until_it_is_sure_who_gets_it() -> None:
    site = Site(Port(), at_s=3600)
    nobody_asks = cast(AsyncConnectionPool[Any], None)
    authority = Authority(Policy(), ZONE, shadow_mode=False, running_for=timedelta)
    orders = LineOrders("midnights", nobody_asks, authority)
    site.jobs.parts = replace(site.jobs.parts, orders=orders)
    site.jobs.question = lambda: "two callers say that they are this terminal"
    orders.wake()
    ports = cast(Any, site._port)
    assert not asyncio.run(obey_one(site.jobs, ports))
    assert 0.5 < idle_for_s(site.jobs) <= 1


def test_the_freeze_of_the_day_of_installation_is_the_first() -> None:
    site = Site(Port(), installed_on=MIDNIGHT.date())
    site.rounds()
    assert [arrival.freeze.frozen_at.date() for arrival in site.arrived] == [MIDNIGHT.date()]


@pytest.mark.parametrize(
    "read",
    [
        failing(NoReply("silence")),
        failing(FrameError("noise")),
        failing(MeterRefused("gate/0", "registers", 2, ("no_such_data",))),
        failing(GatewayAnswered("no_data", "nothing yet")),
        failing(NotSent("the broker says no")),
        lambda: InstantRegisters((None,)),
        lambda: InstantRegisters(KWH, datetime(2026, 3, 1, 12)),
    ],
    ids=["silent", "noise", "refused", "no data", "not sent", "no register", "other time"],
)
def test_a_meter_that_gives_no_freeze_is_asked_again_after_a_pause(
    read: Callable[[], InstantRegisters],
) -> None:
    port = Port(read)
    site = Site(port)
    assert site.rounds() == 1
    assert 0.5 < idle_for_s(site.jobs) <= 1
    site.at_s += 1
    assert site.rounds() == 1
    assert len(port.reads) == 2


@pytest.mark.parametrize(
    "read",
    [
        failing(MeterRefused("gate/0", "registers", 0x0B, ("gateway target failed",))),
        failing(FrameError("-987337 kWh")),
        failing(NoReply("silence")),
        lambda: InstantRegisters((None,)),
    ],
    ids=["refused", "implausible", "silent", "no register"],
)
def test_a_midnight_in_vain_is_a_handful_of_questions_and_one_line_of_the_log(
    read: Callable[[], InstantRegisters],
) -> None:
    """B5: a gateway that says at once that a meter is not there was asked 2,000 times a second."""
    port = Port(read)
    site = Site(port)
    with structlog.testing.capture_logs() as logged:
        for second in range(62):
            site.at_s = second
            site.rounds()
    assert len(port.reads) <= 7
    events = [it["event"] for it in logged]
    assert events.count("not read at midnight, tried again") <= 1
    assert events.count("not read at midnight, lost") == 1
    assert len(events) <= 2


def test_why_a_midnight_was_missed_is_kept() -> None:
    site = Site(Port(failing(NoReply("silence"))), Port())
    site.rounds()
    (attempt,) = site.jobs.attempts.drain()
    assert (attempt.number, attempt.day, attempt.cause) == (0, MIDNIGHT.date(), "no_answer")


def test_a_meter_that_pauses_keeps_no_other_from_its_freeze() -> None:
    site = Site(Port(failing(NoReply("silence"))), Port(), Port())
    site.rounds()
    assert [arrival.meter.address for arrival in site.arrived] == ["gate/1", "gate/2"]


def test_a_freeze_that_is_given_up_before_it_found_room_is_read_again() -> None:
    async def story() -> None:
        site = Site(Port())
        site.has_room = False
        reading = asyncio.create_task(site.round())
        await site.refused.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        site.has_room = True
        site.at_s += 1
        assert await site.round()
        assert len(site.arrived) == 1

    asyncio.run(story())


def test_when_all_were_read_before_midnight_the_next_one_is_tomorrow() -> None:
    site = Site(*(Port() for _ in range(100)), at_s=-9)
    assert site.rounds(count=101) == 100
    assert len(site.arrived) == 100
    assert site.jobs.midnight_in_s() > 86_000


def test_a_request_that_would_have_to_give_way_to_midnight_does_not_make_the_line_spin() -> None:
    async def story() -> None:
        port = Port(failing(Preempted()))
        site = Site(port, at_s=-1.5, gives_way=True)
        request = ReadRequest(100, "registers", time.monotonic() + 60)
        site.jobs.requests.add(request)
        assert not any([await site.round() for _ in range(ROUNDS)])
        assert not is_urgent(site.jobs)
        port.read = lambda: InstantRegisters(KWH)
        site.at_s = 0
        while await site.round():
            pass
        assert port.reads == [Urgency.MIDNIGHT, Urgency.REQUEST]
        assert (await request.result).value == KWH

    asyncio.run(story())


def test_a_line_that_asks_several_at_a_time_holds_no_request_back() -> None:
    async def story() -> None:
        site = Site(Port(), at_s=-1.5, at_once=8)
        request = ReadRequest(100, "registers", time.monotonic() + 60)
        site.jobs.requests.add(request)
        assert is_urgent(site.jobs)
        assert await site.round()
        assert (await request.result).value == KWH

    asyncio.run(story())


def test_a_device_that_can_never_be_asked_for_its_registers_is_not_asked_at_midnight() -> None:
    port = Port(failing(AssertionError("asked")), unread="no registers can be asked for here")
    assert Site(port).rounds() == 0
