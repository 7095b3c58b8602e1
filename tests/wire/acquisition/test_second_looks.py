"""Values in doubt are asked for again, and meters are asked who they are, over real connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition.broker_line import BrokerLine
from daemon.acquisition.drivers import driver_of
from daemon.acquisition.line import Line
from daemon.acquisition.planning.first_contacts import EVERY_DAYS
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.quality.arrival import Arrival, MonthEndFreeze, PolledFreeze, SettingsRead
from daemon.quality.month_end import settled_at
from protocols.channels.conversation import Timing
from protocols.channels.serial import SerialChannel
from protocols.dlt645.frame import Frame
from protocols.reading import MeterIdentity
from simulators.lines.bus import SimulatedBus
from simulators.lines.stream_lines import serve_pty
from tests.bench.faults import truth
from tests.line_parts import Sink, line_parts
from tests.servers.mosquitto import LISTENER, Mosquitto
from tests.simulated_meters import simulated_meter
from tests.wire.acquisition.test_broker_line import Site as BrokerSite
from tests.wire.acquisition.test_broker_line import simulated
from tests.wire.acquisition.test_wire_line import (
    NOON,
    Site,
    _meter,
    address_of,
    asked,
    refused,
    silence,
    value,
)

YESTERDAY = NOON.date() - timedelta(days=1)
NOBODY_WANTS_MORE: Any = {"days": 3}


def of_day(arrived: Iterable[Arrival | PolledFreeze], day: date) -> list[Arrival | PolledFreeze]:
    return [arrival for arrival in arrived if arrival.freeze.frozen_at.date() == day]


async def filled(site: Site, line: Line) -> None:
    """Everything that is owed was read, and is in the database."""
    await site.until(lambda: len(site.arrived) >= 3 * len(site.meters))
    for arrival in list(site.arrived):
        line.stored(arrival.meter.meter_id, arrival.freeze.frozen_at.date())


def run(site: Site, scene: Callable[[WireLine], Any]) -> None:
    async def whole() -> None:
        async with site.line() as line:
            await filled(site, line)
            await scene(line)

    asyncio.run(whole())


def known(site: Site) -> Site:
    """None of its meters is asked who it is."""
    for number in range(len(site.meters)):
        site.meters[number] = _meter(number, identity_read_on=NOON.date())
    return site


# --- values in doubt


def test_a_value_in_doubt_is_asked_for_at_once_and_handed_on_although_it_is_there() -> None:
    site = known(Site(**NOBODY_WANTS_MORE))

    async def scene(line: WireLine) -> None:
        line.doubt([(1, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)

    run(site, scene)
    again = of_day(site.arrived, YESTERDAY)[-1]
    assert again.meter.meter_id == 1
    registers = tuple(int(kwh * 100) for kwh in again.freeze.registers if kwh is not None)
    assert registers == tuple(truth(address_of(1), YESTERDAY))
    assert again.freeze.arrived_at > of_day(site.arrived, YESTERDAY)[0].freeze.arrived_at


def test_a_second_read_that_is_refused_is_a_fact_of_its_day() -> None:
    site = known(Site(**NOBODY_WANTS_MORE))

    async def scene(line: WireLine) -> None:
        site.script["0506"] = refused(b"\x04")
        line.doubt([(1, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)

    run(site, scene)
    refusal = of_day(site.arrived, YESTERDAY)[-1]
    assert refusal.meter.meter_id == 1
    assert refusal.freeze.registers == (None,)


def test_a_meter_that_is_silent_at_the_second_read_is_not_asked_in_a_loop() -> None:
    site = known(Site(**NOBODY_WANTS_MORE))

    async def scene(line: WireLine) -> None:
        site.silent.add(address_of(1))
        before = len(site.requests)
        line.doubt([(1, YESTERDAY, 1, 0.0)])
        await site.until(lambda: not line._jobs.reply_timeouts.is_ready(1, time.monotonic()))
        first = len(site.requests) - before
        line.doubt([(1, YESTERDAY, 1, 0.0)])
        # Another meter's turn shows that the line has gone on.
        line.doubt([(1, YESTERDAY, 1, 0.0), (2, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)
        asked_in_vain = [frame for frame in site.requests if frame.address == address_of(1)]
        assert first == 1
        assert asked_in_vain[-1] is site.requests[before]

    run(site, scene)
    assert of_day(site.arrived, YESTERDAY)[-1].meter.meter_id == 2


def ages_asked_for(site: Site) -> list[int]:
    """1 is today's, as the requests come."""
    ages: list[int] = []

    def note(frame: Frame) -> None:
        identifier = asked(frame)
        if identifier.startswith("050600"):
            ages.append(int(identifier[6:], 16))

    site.on_request = note
    return ages


def test_a_value_in_doubt_waits_for_todays_freezes() -> None:
    site = Site(meters=2, days=60)
    ages = ages_asked_for(site)

    async def scene() -> None:
        async with site.line() as line:
            line.doubt([(0, YESTERDAY, 1, 0.0)])
            await site.until(lambda: 2 in ages)

    asyncio.run(scene())
    assert ages[:2] == [1, 1]


def test_a_value_in_doubt_ends_the_burst_of_older_days() -> None:
    site = Site(meters=2, days=60)
    ages = ages_asked_for(site)

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: len(ages) >= 8)
            since = len(ages)
            line.doubt([(1, YESTERDAY, 1, 0.0)])
            await site.until(lambda: 2 in ages)
            assert ages.index(2) - since <= 1

    asyncio.run(scene())


# --- who the meters are


def identified(site: Site) -> Callable[[], bool]:
    return lambda: len(site.sink.identities) == len(site.meters)


def with_numbers(site: Site) -> None:
    """Its meters tell their address as their serial, and that money is paid beforehand."""
    site.script["04000402"] = value(lambda frame: bytes.fromhex(frame.address)[::-1])
    site.script["04000503"] = value(lambda frame: b"\x00\x02")


def test_each_meter_is_asked_who_it_is_after_all_freezes_and_once() -> None:
    site = Site(**NOBODY_WANTS_MORE)
    with_numbers(site)

    async def scene(line: WireLine) -> None:
        await site.until(identified(site))
        # That another thing is done afterwards shows that the line has gone on.
        line.doubt([(0, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)

    run(site, scene)
    told = {read.meter.address: read.identity for read in site.sink.identities}
    assert told == {
        address_of(number): MeterIdentity(address_of(number), "money") for number in range(3)
    }
    identifiers = [asked(frame) for frame in site.requests if frame.control == 0x11]
    first = identifiers.index("04000402")
    assert identifiers.count("04000402") == 3
    assert [it for it in identifiers[first:] if it.startswith("0506")] == ["05060002", "05060102"]


def test_a_meter_that_told_it_less_than_a_month_ago_is_not_asked() -> None:
    site = Site(**NOBODY_WANTS_MORE)
    with_numbers(site)
    for number, ago in enumerate((0, EVERY_DAYS - 1, EVERY_DAYS)):
        day = NOON.date() - timedelta(days=ago)
        site.meters[number] = _meter(number, identity_read_on=day)

    async def scene(line: WireLine) -> None:
        await site.until(lambda: bool(site.sink.identities))
        line.doubt([(0, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)

    run(site, scene)
    assert [read.meter.meter_id for read in site.sink.identities] == [2]


def test_a_meter_that_is_silent_at_this_question_alone_is_not_backed_off() -> None:
    site = Site(**NOBODY_WANTS_MORE)
    site.script["04000402"] = silence

    async def scene(line: WireLine) -> None:
        await site.until(lambda: [asked(frame) for frame in site.requests].count("04000402") == 3)
        line.doubt([(2, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 4)
        assert line.backed_off == 0
        assert not line.is_silent

    run(site, scene)
    assert site.sink.identities == []


def test_no_room_for_what_was_told_asks_again_later() -> None:
    site = Site(meters=1, **NOBODY_WANTS_MORE)
    with_numbers(site)
    site.sink.has_room = False

    async def scene(line: WireLine) -> None:
        await site.until(lambda: bool(site.sink.refused))
        line.doubt([(0, YESTERDAY, 1, 0.0)])
        await site.until(lambda: len(of_day(site.arrived, YESTERDAY)) == 2)

    run(site, scene)
    assert len(site.sink.refused) == 1


def test_simulated_meters_on_a_serial_line_tell_who_they_are() -> None:
    """Their addresses are not their serials; and what is set in them they tell with it."""

    def site_time() -> datetime:
        return datetime.now(ZoneInfo("Asia/Shanghai")).replace(tzinfo=None)

    settled_on = settled_at([(1, 0)], site_time())
    meters = [
        simulated_meter(
            address_of(number), now=site_time, serial=f"20260000000{number}", meter_type=number
        )
        for number in range(3)
    ]
    sink = Sink(lambda arrival: True)

    async def scene() -> None:
        async with serve_pty(SimulatedBus(meters)) as far_end:
            parts = WireParts(
                driver_of=lambda meter: driver_of(meter, {}, has_relay=False),
                open_channel=lambda: SerialChannel(far_end.place),
                timing=Timing(reply_timeout_s=2.0),
                batch_poller=BatchPoller(Deadlines()),
            )
            common = line_parts("bus", [_meter(number) for number in range(3)], sink=sink)
            task = asyncio.create_task(WireLine(common, parts).run())
            async with asyncio.timeout(30):
                while len(sink.identities) < 3:  # noqa: ASYNC110  the line brings them
                    await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scene())
    modes = ("none", "energy", "money")
    told = [
        (it.meter.address, it.identity.serial, it.identity.prepayment) for it in sink.identities
    ]
    assert told == [
        (address_of(number), f"20260000000{number}", mode) for number, mode in enumerate(modes)
    ]
    for read, meter in zip(sink.identities, meters, strict=True):
        month_end = None
        if settled_on is not None:
            registers = meter.state.registers_kwh(settled_on)
            month_end = MonthEndFreeze(settled_on, tuple(registers))
        assert read.settings == SettingsRead(1, month_end, 4)


def test_a_meter_that_does_not_tell_what_is_set_in_it_is_known_all_the_same() -> None:
    site = Site(meters=1, **NOBODY_WANTS_MORE)
    with_numbers(site)
    site.script["04000306"] = silence

    async def scene(line: WireLine) -> None:
        await site.until(lambda: bool(site.sink.identities))
        assert line.backed_off == 0

    run(site, scene)
    (read,) = site.sink.identities
    assert (read.identity.serial, read.settings) == (address_of(0), SettingsRead())


@pytest.fixture
def broker(tmp_path: Path) -> Iterable[Mosquitto]:
    with Mosquitto(tmp_path, LISTENER) as running:
        yield running


def test_meters_behind_a_broker_tell_who_they_are_and_are_read_again(broker: Mosquitto) -> None:
    async def scene() -> None:
        async with simulated(broker) as simulator, BrokerSite(broker).running() as site:
            line: BrokerLine = site.gateway
            for meter in simulator.bus.meters.values():
                meter.state.serial = meter.address[::-1]
            await site.until(lambda: len(site.sink.identities) == 3)
            arrived = len(site.arrivals)
            day = datetime.now(ZoneInfo("Asia/Shanghai")).date() - timedelta(days=2)
            line.doubt([(1, day, 1, 0.0)])
            await site.until(lambda: len(site.arrivals) > arrived)
            again = site.arrivals[-1]
            assert (again.meter.meter_id, again.freeze.frozen_at.date()) == (1, day)
            for read in site.sink.identities:
                assert read.identity.serial == read.meter.address[::-1]

    asyncio.run(asyncio.wait_for(scene(), 40))
