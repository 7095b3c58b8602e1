"""A gateway's task, simulated meters behind a real broker, and everything that can happen in
between."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import structlog
from prometheus_client import REGISTRY

from daemon import metrics
from daemon.acquisition.broker_line import BrokerLine, BrokerParts
from daemon.acquisition.commands import execute
from daemon.acquisition.host_freezes import submit_host_freeze
from daemon.acquisition.meter_port import Action, Urgency
from daemon.acquisition.parts import Pace
from daemon.acquisition.planning.wanted import due_day
from daemon.acquisition.site_clock import SiteClock
from daemon.quality.arrival import Arrival, PolledFreeze
from protocols.channels.mqtt import connection as mqtt_connection
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import MqttConnection
from protocols.errors import LineDown, NoReply
from protocols.mqtt.events import Answered, Family, RegisterReport
from protocols.mqtt.messages import VERSION, DailyFreeze, encode
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.state_grid import StateGrid
from protocols.mqtt.tasmota import Tasmota
from protocols.reading import RelayState
from simulators.bench.scenario import parse_scenario, site_clock
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import AnyMeter, SimulatedBus
from simulators.lines.faults import Fault
from simulators.lines.mqtt_gateway import SimulatedGateway
from storage.archive import SiteMeter
from tests.command_steps import Command, Step
from tests.line_parts import Sink, line_parts
from tests.presence import presence
from tests.servers.mosquitto import KEPT, LISTENER, Mosquitto
from tests.simulated_meters import simulated_meter

ZONE = ZoneInfo("Asia/Shanghai")
ADDRESSES = [f"{number:012d}" for number in range(1601, 1604)]
DAYS = 4
PATIENCE_S = 20


def today() -> date:
    return due_day(datetime.now(ZONE).replace(tzinfo=None))


def owed() -> set[tuple[str, date]]:
    return {
        (address, today() - timedelta(days=back)) for address in ADDRESSES for back in range(DAYS)
    }


def site_meter(number: int) -> SiteMeter:
    return SiteMeter(
        meter_id=number,
        address=ADDRESSES[number],
        line="gw",
        protocol="mqtt",
        modulus=100_000_000,
        decimals=2,
        installed_on=date(2026, 1, 1),
        point_id=1,
        point=f"P{number}",
        max_daily_kwh=Decimal(380),
    )


class Site:
    """The gateway's task. The database is away, so there is no control; what is handed on counts as
    stored, as safe on disk, or as neither."""

    def __init__(
        self,
        broker: Mosquitto,
        *,
        family: Family | None = None,
        devices: Mapping[str, str] | None = None,
        storing: bool = True,
        on_disk: bool = False,
        name: str = "gw",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        **changes: Any,
    ) -> None:
        self.arrivals: list[Arrival] = []
        self.changed = asyncio.Event()
        self.storing = storing
        self.on_disk = on_disk
        self.sink = Sink(self.submit)
        common = line_parts(
            name,
            [site_meter(number) for number in range(len(ADDRESSES))],
            now=now,
            sink=self.sink,
            pace=Pace(retry_s=0.2, reconnect_s=0.1),
            backfill_days=DAYS,
        )
        self.gateway = BrokerLine(
            common,
            BrokerParts(
                broker=replace(Broker("127.0.0.1", broker.port, f"meterd-{name}"), **changes),
                family=family or OwnForm("meterd", name),
                devices=devices or {},
                reply_timeout_s=1.0,
            ),
        )

    def submit(self, arrival: Arrival | PolledFreeze) -> bool:
        assert isinstance(arrival, Arrival)
        self.arrivals.append(arrival)
        if self.storing:
            self.store(arrival)
        self.changed.set()
        return True

    def store(self, arrival: Arrival) -> None:
        told = self.gateway.kept if self.on_disk else self.gateway.stored
        told(arrival.meter.meter_id, arrival.freeze.frozen_at.date())

    def slots(self) -> Counter[tuple[str, date]]:
        return Counter(
            (arrival.meter.address, arrival.freeze.frozen_at.date()) for arrival in self.arrivals
        )

    async def until(self, holds: Callable[..., object], within_s: float = PATIENCE_S) -> None:
        async with asyncio.timeout(within_s):
            while not holds():
                self.changed.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.changed.wait()
                except TimeoutError:
                    continue

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        task = asyncio.create_task(self.gateway.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled(), task


def meters() -> list[SimulatedMeter2007]:
    now = site_clock(ZONE)
    return [simulated_meter(address, now=now) for address in ADDRESSES]


@asynccontextmanager
async def simulated(
    broker: Mosquitto, *, name: str = "gw", faults: Sequence[Fault] = (), **how: Any
) -> AsyncIterator[SimulatedGateway]:
    bus = SimulatedBus(meters(), faults=faults)
    gateway = SimulatedGateway(
        bus, Broker("127.0.0.1", broker.port, f"sim-{name}"), name=name, **how
    )
    await gateway.open()
    try:
        yield gateway
    finally:
        await gateway.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path, LISTENER) as running:
        yield running


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, PATIENCE_S * 2))


def is_cut(meter: AnyMeter) -> bool:
    return meter.state.relay.is_open


def true_total(simulator: SimulatedGateway, address: str, day: date) -> Decimal:
    meter = simulator.bus.meters[address]
    (freeze,) = [
        it for it in meter.state.daily_freezes(meter.state.now()) if it.stamp.date() == day
    ]
    return meter.state.true_register(freeze.at)


def test_pushed_freezes_arrive_and_the_gaps_are_asked_for(broker: Mosquitto) -> None:
    async def scene() -> None:
        async with simulated(broker) as simulator, Site(broker).running() as site:
            await site.until(lambda: set(site.slots()) >= owed())
            for arrival in site.arrivals:
                freeze = arrival.freeze
                assert freeze.registers[0] == true_total(
                    simulator, freeze.address, freeze.frozen_at.date()
                )
                assert len(freeze.registers) == 5
                assert freeze.frozen_at.time() == time()
            await site.until(lambda: site.gateway.up and site.gateway.counts() == (0, len(owed())))

    run(scene())


@pytest.mark.parametrize(
    "faults",
    [
        [Fault("duplicate")],
        [Fault("lost_answer", permille=300)],
        [Fault("lost_request", permille=300)],
        [Fault("late", every=2, delay_ms=1300)],
        [Fault("retained", every=2)],
    ],
    ids=lambda faults: faults[0].kind,
)
def test_whatever_happens_to_the_messages_every_slot_is_filled_with_its_true_value(
    broker: Mosquitto, faults: list[Fault]
) -> None:
    async def scene() -> None:
        async with simulated(broker, faults=faults) as simulator, Site(broker).running() as site:
            site.gateway._requests.reply_timeout_s = 0.3
            await site.until(lambda: set(site.slots()) >= owed())
            for arrival in site.arrivals:
                freeze = arrival.freeze
                assert freeze.registers[0] == true_total(
                    simulator, freeze.address, freeze.frozen_at.date()
                )

    run(scene())


def test_a_broker_that_dies_loses_nothing_and_all_subscriptions_work_again(tmp_path: Path) -> None:
    with Mosquitto(tmp_path, LISTENER + KEPT) as mortal:

        async def scene() -> None:
            site = Site(mortal)
            async with simulated(mortal) as simulator, site.running():
                await site.until(lambda: set(site.slots()) >= owed())
                for end in (mortal.kill, mortal.stop):
                    await asyncio.to_thread(mortal.wait_until_kept, "meterd-gw")
                    end()
                    await site.until(lambda: not site.gateway.up)
                    await asyncio.to_thread(mortal.start)
                    await site.until(lambda: site.gateway.up)
                    await asyncio.wait_for(simulator.is_up.wait(), PATIENCE_S)
                    site.arrivals.clear()
                    await simulator.push(again=True)  # the filter works
                    await site.until(
                        lambda: set(site.slots()) == {(address, today()) for address in ADDRESSES}
                    )

        run(scene())


def test_what_was_not_stored_when_the_daemon_died_is_pushed_again_by_the_broker(
    broker: Mosquitto,
) -> None:
    async def scene() -> None:
        async with simulated(broker) as simulator:
            await asyncio.wait_for(simulator.is_up.wait(), PATIENCE_S)
            first = Site(broker, storing=False)
            async with first.running():
                await first.until(lambda: first.gateway.up)
                await simulator.push(again=True)
                await first.until(lambda: len(first.arrivals) >= len(ADDRESSES))
                stored = next(it for it in first.arrivals if it.freeze.frozen_at.date() == today())
                first.store(stored)
        assert "sim-gw" in broker.log()
        second = Site(broker)  # the simulator is gone: only the broker can tell
        async with second.running():
            await second.until(lambda: len(second.slots()) >= len(ADDRESSES) - 1)
            assert all(arrival.freeze.registers[0] is not None for arrival in second.arrivals)
            await second.until(lambda: is_acknowledged(broker))
        third = Site(broker)
        async with third.running():
            await third.until(lambda: third.gateway.up)
            assert third.arrivals == []

    run(scene())


def test_what_is_safe_on_disk_is_acknowledged_before_the_database_has_it(
    broker: Mosquitto,
) -> None:
    async def scene() -> None:
        first = Site(broker, on_disk=True)
        async with first.running():
            async with simulated(broker) as simulator:
                await asyncio.wait_for(simulator.is_up.wait(), PATIENCE_S)
                await first.until(lambda: first.gateway.up)
                await simulator.push(again=True)
                await first.until(lambda: len(first.slots()) >= len(ADDRESSES))
                wanted, present = first.gateway.counts()
                assert (wanted > 0, present) == (True, 0), "the database has none of them"
            await first.until(lambda: has_left(broker, "sim-gw"))
            await first.until(lambda: is_acknowledged(broker))
        second = Site(broker)
        async with second.running():
            await second.until(lambda: second.gateway.up)
            assert not second.slots() & first.slots(), "the broker kept what it could forget"

    run(scene())


def has_left(broker: Mosquitto, client: str) -> bool:
    return bool(re.search(rf"Client {client} (closed its connection|disconnected)", broker.log()))


def is_acknowledged(broker: Mosquitto) -> bool:
    """Whether the gateway has acknowledged all that the broker sent it over its newest connection:
    who leaves with messages under way gets them again."""
    _, _, log = broker.log().rpartition(" as meterd-gw ")
    sent = re.findall(r"Sending PUBLISH to meterd-gw \(d\d, q1,", log)
    return len(sent) == log.count("Received PUBACK from meterd-gw ")


def freeze_message(
    address: str, frozen_at: datetime, registers: tuple[str | None, ...], **more: Any
) -> bytes:
    return encode(
        DailyFreeze(
            v=VERSION,
            meter=address,
            frozen_at=frozen_at,
            registers=registers,
            read_at=datetime.now(UTC),
            **more,
        )
    )


def midnight(back: int = 0) -> datetime:
    return datetime.combine(today() - timedelta(days=back), time())


def test_old_strange_and_broken_messages_do_no_harm(broker: Mosquitto) -> None:
    topic = "meterd/gw/up/daily_freeze"

    async def scene() -> None:
        broker.publish(
            topic, freeze_message(ADDRESSES[0], midnight(), ("7.00",), clock_skew_s=999), "-r"
        )
        site = Site(broker)
        async with site.running():
            await site.until(lambda: site.arrivals and site.gateway.up)
            (old,) = site.arrivals
            assert (old.freeze.registers, old.freeze.clock_skew) == ((Decimal("7.00"),), None)
            broker.publish(topic, "{")
            broker.publish(topic, freeze_message("999999999990", midnight(), ("1.00",)))
            broker.publish(topic, freeze_message(ADDRESSES[1], midnight(), (None, "1.00")))
            broker.publish(topic, freeze_message(ADDRESSES[1], datetime(2025, 12, 31), ("1.00",)))
            broker.publish(
                topic, freeze_message(ADDRESSES[1], midnight() + timedelta(hours=1), ("3.00",))
            )
            broker.publish(
                topic, freeze_message(ADDRESSES[1], midnight(), ("1.239",), clock_skew_s=-4)
            )
            await site.until(lambda: len(site.arrivals) == 3)
            odd, good = site.arrivals[1:]
            assert odd.freeze.frozen_at.time() == time(1)  # the pipeline says why it is no freeze
            assert good.freeze.registers == (Decimal("1.23"),)
            assert good.freeze.clock_skew == timedelta(seconds=-4)
            await site.until(lambda: is_acknowledged(broker))
        again = Site(broker)
        again.gateway.rebuild(*presence([(0, today())]))
        async with again.running():
            await again.until(lambda: again.gateway.up)
            assert again.arrivals == []  # what is retained and known is not handed on again

    run(scene())


def test_what_only_a_gateway_answers_is_counted_from_zero(broker: Mosquitto) -> None:
    metrics.forget_line("gw")
    Site(broker)
    assert [
        REGISTRY.get_sample_value("meterd_replies_total", {"line": "gw", "outcome": outcome})
        for outcome in ("ok", *metrics.GATEWAY_OUTCOMES)
    ] == [0, 0, 0]


def test_a_freeze_of_a_wrong_date_is_acknowledged_counted_and_not_used(broker: Mosquitto) -> None:
    topic = "meterd/gw/up/daily_freeze"

    async def scene() -> None:
        site = Site(broker)
        async with site.running():
            await site.until(lambda: site.gateway.up)
            before = replies("wrong_date")
            local_today = datetime.combine(datetime.now(ZONE).date(), time())
            for wrong in (
                local_today + timedelta(days=1),
                local_today + timedelta(days=30),
                midnight(DAYS),
            ):
                broker.publish(topic, freeze_message(ADDRESSES[0], wrong, ("9.00",)))
            broker.publish(topic, freeze_message(ADDRESSES[0], midnight(DAYS - 1), ("1.00",)))
            await site.until(lambda: site.arrivals)
            assert [it.freeze.registers for it in site.arrivals] == [(Decimal("1.00"),)]
            assert replies("wrong_date") == before + 3
            await site.until(lambda: is_acknowledged(broker))
        again = Site(broker)
        async with again.running():
            await again.until(lambda: again.gateway.up)
            assert again.arrivals == []  # acknowledged: the broker has forgotten them

    run(scene())


def test_a_conflicting_value_of_a_known_slot_is_handed_on_for_the_pipeline_to_judge(
    broker: Mosquitto,
) -> None:
    async def scene() -> None:
        site = Site(broker)
        async with site.running():
            await site.until(lambda: site.gateway.up)
            for kwh in ("1.00", "2.00"):
                broker.publish(
                    "meterd/gw/up/daily_freeze", freeze_message(ADDRESSES[0], midnight(), (kwh,))
                )
            await site.until(lambda: len(site.arrivals) == 2)
            assert [arrival.freeze.registers[0] for arrival in site.arrivals] == [
                Decimal("1.00"),
                Decimal("2.00"),
            ]

    run(scene())


def test_a_gateway_that_went_away_is_not_asked_and_its_last_will_says_so(broker: Mosquitto) -> None:
    async def scene() -> None:
        site = Site(broker)
        async with simulated(broker) as simulator, site.running():
            await site.until(lambda: set(site.slots()) >= owed())
            assert site.gateway._presence.is_online
            await simulator.cut()
            await site.until(lambda: not site.gateway._presence.is_online)
            site.gateway.rebuild(*presence([]))
            before = broker.log().count("meterd/gw/down/read")
            for _ in range(3):
                progress = site.gateway.progress
                site.gateway.wake()
                await site.until(lambda progress=progress: site.gateway.progress > progress)
            assert broker.log().count("meterd/gw/down/read") == before
            await simulator.mend()
            site.arrivals.clear()
            await site.until(lambda: set(site.slots()) >= owed())

    run(scene())


def test_an_access_list_that_lets_nothing_through_is_noticed_by_the_self_test(
    tmp_path: Path,
) -> None:
    """mosquitto's access list grants the subscription and delivers nothing: silence that looks like
    peace."""
    (tmp_path / "access").write_text("topic write #\n")
    settings = LISTENER + f"acl_file {tmp_path}/access\n"
    with Mosquitto(tmp_path, settings) as deaf:

        async def scene() -> None:
            site = Site(deaf)
            async with site.running():
                await site.until(
                    lambda: (
                        deaf.log().count("No will message") + deaf.log().count("Will message") >= 3
                    )
                )
                assert not site.gateway.up

        run(scene())


def replies(outcome: str) -> float:
    return float(metrics.REPLIES.labels("gw", outcome)._value.get())


def tasmota(**how: Any) -> dict[str, Any]:
    """Devices called after their meters' addresses."""
    return {
        "family": Tasmota(ADDRESSES),
        "devices": {address: address for address in ADDRESSES},
        **how,
    }


def nobody_is_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At midnight, so that only what is pushed counts."""
    monkeypatch.setattr(site.gateway._jobs.midnights, "next", lambda now: None)


def opened(site: Site, monkeypatch: pytest.MonkeyPatch) -> list[MqttConnection]:
    """The connections that the site's gateway makes from now on."""
    made: list[MqttConnection] = []
    connect = site.gateway._new_connection

    def new_connection() -> MqttConnection:
        made.append(connect())
        return made[-1]

    monkeypatch.setattr(site.gateway, "_new_connection", new_connection)
    return made


class Clock:
    """The site's wall clock, to be set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now.replace(tzinfo=ZONE)


NIGHT = datetime(2026, 7, 2)
EVENING = datetime(2026, 7, 1, 18, 30)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("now", "told", "options", "offset"),
    [
        (NIGHT + seconds(10), NIGHT + seconds(5), (), seconds(10)),
        (NIGHT + seconds(5), NIGHT + seconds(40), (), seconds(40)),
        (
            NIGHT + seconds(5),
            (NIGHT + seconds(3)).replace(tzinfo=ZONE).astimezone(UTC),
            (),
            seconds(5),
        ),
        (NIGHT - seconds(20), NIGHT + seconds(5), (), seconds(-20)),
        (
            NIGHT + seconds(10),
            NIGHT - timedelta(hours=4),
            (),
            None,
        ),  # the session kept it since 20:00
        (EVENING, (NIGHT + seconds(5)).replace(tzinfo=ZONE), (), None),  # a clock that is ahead
        (
            NIGHT - seconds(40),
            NIGHT + seconds(30),
            (),
            None,
        ),  # both near midnight, but too far from each other
        (NIGHT + seconds(80), NIGHT + seconds(50), (), None),  # too late by our clock
        (NIGHT + seconds(5), NIGHT - seconds(5), (), None),  # before midnight
        (NIGHT + seconds(5), None, (), None),
        (NIGHT + seconds(5), NIGHT + seconds(5), ("-r",), None),  # retained: old
    ],
)
def test_a_pushed_register_is_a_freeze_only_if_both_clocks_say_so(
    broker: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
    now: datetime,
    told: datetime | None,
    options: tuple[str, ...],
    offset: timedelta | None,
) -> None:
    def sensor(at: datetime | None, total: float) -> str:
        time_told = {} if at is None else {"Time": at.isoformat()}
        return json.dumps({**time_told, "ENERGY": {"Total": total}})

    async def scene() -> None:
        clock = Clock(now)
        site = Site(broker, **tasmota(), now=clock)
        nobody_is_asked(site, monkeypatch)
        if options:
            broker.publish(f"tele/{ADDRESSES[0]}/SENSOR", sensor(told, 7.5), *options)
        async with site.running():
            await site.until(lambda: site.gateway.up)
            if not options:
                broker.publish(f"tele/{ADDRESSES[0]}/SENSOR", sensor(told, 7.5))
            await site.until(lambda: site.gateway._subscriptions.received == 1)
            clock.now = NIGHT + seconds(1)
            broker.publish(f"tele/{ADDRESSES[1]}/SENSOR", sensor(clock.now, 8.5))
            await site.until(lambda: any(it.meter.address == ADDRESSES[1] for it in site.arrivals))
            taken = [it.freeze for it in site.arrivals if it.meter.address == ADDRESSES[0]]
            assert [(it.frozen_at, it.host_offset) for it in taken] == (
                [] if offset is None else [(NIGHT, offset)]
            )
            assert (0 in site.gateway._jobs.midnights._done) is (offset is not None)

    run(scene())


def test_a_pushed_register_is_acknowledged_when_it_is_stored(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is one that comes again meanwhile, over another connection too."""

    def site() -> Site:
        made = Site(broker, **tasmota(), now=Clock(NIGHT + seconds(2)), storing=False)
        nobody_is_asked(made, monkeypatch)
        return made

    def push(address: str) -> None:
        told = {"Time": (NIGHT + seconds(1)).isoformat(), "ENERGY": {"Total": 7.5}}
        broker.publish(f"tele/{address}/SENSOR", json.dumps(told))

    async def scene() -> None:
        first = site()
        async with first.running():
            await first.until(lambda: first.gateway.up)
            for _ in range(2):
                push(ADDRESSES[0])
            await first.until(lambda: first.gateway._subscriptions.received == 2)
        second = site()
        connections = opened(second, monkeypatch)
        async with second.running():
            await second.until(lambda: second.gateway._subscriptions.received == 2)
            connections[0].abort()
            await second.until(lambda: second.gateway._subscriptions.received == 4)
            (arrival,) = second.arrivals
            second.store(arrival)
            push(ADDRESSES[0])
            await second.until(lambda: second.gateway._subscriptions.received == 5)
            await second.until(lambda: is_acknowledged(broker))
        third = site()
        async with third.running():
            await third.until(lambda: third.gateway.up)
            push(ADDRESSES[1])
            await third.until(lambda: third.arrivals)
            assert third.gateway._subscriptions.received == 1

    run(scene())


@pytest.mark.parametrize(
    ("told_s", "now_s", "offset_s"),
    [
        (60, 60, 60),
        (-60, -60, -60),
        (0, 60, 60),
        (60.001, 60.001, None),
        (-60.001, -60.001, None),
        (30, 60.001, None),
        (60.001, 30, None),
        (-30, 30, -30),
        (-30, 30.001, None),  # too far from each other
    ],
)
def test_neither_the_device_nor_we_may_be_further_from_midnight_than_the_limit(
    broker: Mosquitto, told_s: float | int, now_s: float | int, offset_s: int | None
) -> None:
    async def scene() -> None:
        site = Site(broker, **tasmota())
        told_at, now = NIGHT + seconds(told_s), NIGHT + seconds(now_s)
        is_taken = await submit_host_freeze(site.gateway._jobs, 0, (Decimal(1),), told_at, now)
        offsets = [arrival.freeze.host_offset for arrival in site.arrivals]
        assert (is_taken, offsets) == (
            (False, []) if offset_s is None else (True, [seconds(offset_s)])
        )
        assert (0 in site.gateway._jobs.midnights._done) is is_taken

    run(scene())


def test_a_midnight_that_could_not_be_handed_on_is_not_done(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        site = Site(broker, **tasmota(), now=Clock(NIGHT + seconds(1)))
        gateway = site.gateway
        registers = (Decimal(1),)

        def fail(arrival: Arrival | PolledFreeze) -> bool:
            raise LineDown("the pipeline is gone")

        take = site.sink.submit
        monkeypatch.setattr(site.sink, "submit", fail)
        with pytest.raises(LineDown):
            await submit_host_freeze(gateway._jobs, 0, registers, NIGHT, NIGHT)
        assert not gateway._jobs.midnights._done
        assert not gateway._delivery._unstored
        monkeypatch.setattr(site.sink, "submit", take)
        for _ in range(2):
            assert await submit_host_freeze(gateway._jobs, 0, registers, NIGHT, NIGHT)
        assert (len(site.arrivals), gateway._jobs.midnights._done) == (1, {0: NIGHT})

    run(scene())


def test_a_push_of_a_value_that_waits_for_room_waits_with_it(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for found no room, and its device pushes the same value meanwhile."""

    async def scene() -> None:
        site = Site(broker, **tasmota(), now=Clock(NIGHT + seconds(1)))
        gateway = site.gateway
        take = site.sink.submit
        monkeypatch.setattr(site.sink, "submit", lambda arrival: False)
        asked = asyncio.create_task(
            submit_host_freeze(gateway._jobs, 0, (Decimal(1),), NIGHT, NIGHT)
        )
        await asyncio.sleep(0)
        push = RegisterReport(ADDRESSES[0], (Decimal(1),), device_time=NIGHT)
        acknowledged: list[RegisterReport] = []
        assert await gateway._handle_registers(push, lambda: acknowledged.append(push))
        site.storing = False
        monkeypatch.setattr(site.sink, "submit", take)
        assert await asked
        assert not acknowledged
        site.store(site.arrivals[0])
        assert acknowledged == [push]

    run(scene())


def test_at_midnight_devices_are_asked_at_once_and_those_that_are_away_not_at_all(
    broker: Mosquitto,
) -> None:
    async def scene() -> None:
        clock = Clock(EVENING)
        broker.publish(f"tele/{ADDRESSES[2]}/LWT", "Offline", "-r")
        site = Site(broker, **tasmota(), now=clock)
        async with site.running():
            await site.until(
                lambda: site.gateway.up and site.gateway._presence.away == {ADDRESSES[2]}
            )
            clock.now = NIGHT + seconds(1)
            site.gateway.wake()
            await site.until(lambda: len(site.gateway._requests) == 2)
            answer = json.dumps({"StatusSNS": {"ENERGY": {"Total": 5}}})
            for address in ADDRESSES[:2]:
                broker.publish(f"stat/{address}/STATUS8", answer)
            await site.until(lambda: len(site.arrivals) == 2)
            assert set(site.gateway._jobs.midnights._done) == {0, 1}
        log = broker.log()
        assert f"cmnd/{ADDRESSES[0]}/STATUS" in log
        assert f"cmnd/{ADDRESSES[2]}/STATUS" not in log

    run(scene())


def test_an_answer_of_another_device_with_our_token_is_foreign(broker: Mosquitto) -> None:
    """And one with an old instant is no freeze of this midnight."""

    async def scene() -> None:
        family = StateGrid("meterd", ["SupWh"])
        site = Site(broker, family=family, now=Clock(NIGHT + seconds(2)))
        before = replies("foreign")
        peer = MqttConnection(Broker("127.0.0.1", broker.port, "terminal"))

        def answer(question: dict[str, Any], device: str, kwh: str, **item: str) -> bytes:
            body = [
                {"dev": device, "body": [{"name": "SupWh", "val": kwh, "quality": "0", **item}]}
            ]
            return json.dumps({"token": question["token"], "body": body}).encode()

        stale = (NIGHT - timedelta(hours=4)).replace(tzinfo=ZONE).isoformat()
        async with peer as terminal:
            await terminal.subscribe("meterd/get/request/database/realtime")
            async with site.running():
                for _ in ADDRESSES:
                    question = json.loads((await terminal.receive()).payload)
                    device = question["body"][0]["dev"]
                    where = "database/get/response/meterd/realtime"
                    if device == ADDRESSES[1]:
                        await terminal.publish(
                            where, answer(question, device, "3.00", timestamp=stale)
                        )
                        continue
                    await terminal.publish(where, answer(question, "OTHER", "1.00"))
                    await terminal.publish(where, answer(question, device, "2.00"))
                await site.until(lambda: len(site.arrivals) == 2)
                assert {it.meter.address for it in site.arrivals} == {ADDRESSES[0], ADDRESSES[2]}
                assert {it.freeze.registers[0] for it in site.arrivals} == {Decimal("2.00")}
                assert replies("foreign") == before + 2

    run(scene())


def test_the_relay_of_another_device_is_not_taken_for_the_one_that_was_asked(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        site = Site(broker)
        connections = opened(site, monkeypatch)

        seen: list[RelayState | None] = []
        before = replies("foreign")

        async def answer(terminal: MqttConnection, *told: tuple[str, bool]) -> None:
            while (question := json.loads((await terminal.receive()).payload)).get(
                "what"
            ) != "relay":
                continue
            for meter, is_open in told:
                content = {
                    "v": 1,
                    "type": "answer",
                    "token": question["token"],
                    "meter": meter,
                    "outcome": "ok",
                }
                content["relay"] = {"open": is_open}
                await terminal.publish("meterd/gw/up/answer", json.dumps(content).encode())

        async with (
            MqttConnection(Broker("127.0.0.1", broker.port, "terminal")) as terminal,
            site.running(),
        ):
            await terminal.subscribe("meterd/gw/down/read")
            await site.until(lambda: site.gateway.up)
            for told in ([(ADDRESSES[1], True)], [(ADDRESSES[1], True), (ADDRESSES[0], False)]):
                answering = asyncio.create_task(answer(terminal, *told))
                meter = site.gateway._meter(connections[0], 0, Urgency.COMMAND)
                step = Step(Command(address=ADDRESSES[0], line="gw"), kind="verify")
                await execute(step, meter, SiteClock(ZONE))
                seen += step.told
                await answering
        assert [relay and relay.relay_open for relay in seen] == [None, False]
        assert replies("foreign") == before + 2

    run(scene())


def test_a_broker_that_hangs_does_not_keep_a_gateway_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_connection, "ANSWER_TIMEOUT_S", 10 * PATIENCE_S)
    with Mosquitto(tmp_path, LISTENER) as hanging:

        async def scene() -> None:
            site = Site(hanging)
            async with site.running():
                await site.until(lambda: site.gateway.up)
                os.kill(hanging.pid, signal.SIGSTOP)
            # leaving asserts that it was cancelled, and `run` that it has an end

        try:
            run(scene())
        finally:
            os.kill(hanging.pid, signal.SIGCONT)


@pytest.mark.parametrize("steps", range(6))
def test_a_cancellation_in_the_moment_of_a_lost_connection_ends_the_gateway(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """So many steps of the event loop after the loss, wherever the gateway has got to."""

    async def scene() -> None:
        site = Site(broker, **tasmota())
        connections = opened(site, monkeypatch)
        task = asyncio.create_task(site.gateway.run())
        await site.until(lambda: site.gateway.up)
        connections[0].abort()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE_S)
        is_cancelled = task.cancelled()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert is_cancelled

    run(scene())


@pytest.mark.parametrize("flavour", ["tasmota", "shelly"])
def test_devices_without_memory_are_frozen_by_us_at_midnight(
    broker: Mosquitto, flavour: str
) -> None:
    """Local time is moved so that midnight is now: a push just after it and an answer to a question
    both count."""

    async def scene() -> None:
        prefix = {"tasmota": "tasmota-", "shelly": "shellyplus1pm-"}[flavour]
        devices = {address: f"{prefix}{address}" for address in ADDRESSES}
        family: Family = Tasmota(list(devices.values()))
        if flavour == "shelly":
            family = Shelly(list(devices.values()), "meterd-1", "switch:0")
        coming = datetime.combine(datetime.now(ZONE).date() + timedelta(days=1), time())
        shift = coming - datetime.now(ZONE).replace(tzinfo=None) + timedelta(seconds=1)
        site = Site(broker, family=family, devices=devices, now=lambda: datetime.now(UTC) + shift)
        async with simulated(broker, flavour=flavour) as simulator, site.running():
            await site.until(lambda: len(site.slots()) == len(ADDRESSES))
            for arrival in site.arrivals:
                freeze = arrival.freeze
                meter = simulator.bus.meters[freeze.address]
                assert freeze.frozen_at == coming
                assert freeze.host_offset is not None
                assert freeze.registers[0] is not None
                assert timedelta(0) < freeze.host_offset < timedelta(seconds=30)
                assert meter.state.true_register(meter.state.now()) - freeze.registers[0] < Decimal(
                    "0.05"
                )
            await simulator.push(again=True)
            assert len(site.arrivals) == len(ADDRESSES)

    run(scene())


def test_in_shadow_mode_no_command_leaves_and_a_retained_one_moves_no_relay(
    broker: Mosquitto,
) -> None:
    async def scene() -> None:
        site = Site(broker)
        form = OwnForm("meterd", "gw")
        expires = datetime.now(UTC) + timedelta(minutes=5)
        command = form.control(ADDRESSES[0], "trip", uuid4(), "t", expires)
        broker.publish(command.topic, command.payload, "-r")
        async with simulated(broker) as simulator, site.running():
            await site.until(lambda: set(site.slots()) >= owed())
            assert not any(meter.state.relay.is_open for meter in simulator.bus.meters.values())
            connection = site.gateway._new_connection()
            with pytest.raises(AssertionError, match="held back"):
                await connection.publish(command.topic, command.payload)

    run(scene())


def test_a_command_is_done_once_for_each_id_and_never_after_its_expiry(broker: Mosquitto) -> None:
    async def scene() -> None:
        form = OwnForm("meterd", "gw")
        me = Broker("127.0.0.1", broker.port, "asker")
        async with (
            simulated(broker) as simulator,
            MqttConnection(me, may_control=True) as connection,
        ):
            await asyncio.wait_for(simulator.is_up.wait(), PATIENCE_S)
            await connection.subscribe("meterd/gw/up/answer")
            meter = simulator.bus.meters[ADDRESSES[0]]
            ids = [UUID(int=number) for number in range(3)]
            soon = datetime.now(UTC) + timedelta(minutes=5)

            async def tell(
                action: Action, number: int, token: str, expires: datetime = soon
            ) -> tuple[str, str | None]:
                asked = form.control(ADDRESSES[0], action, ids[number], token, expires)
                await connection.publish(asked.topic, asked.payload)
                (event,) = form.events("meterd/gw/up/answer", (await connection.receive()).payload)
                assert isinstance(event, Answered)
                return event.outcome, event.token

            assert await tell("trip", 0, "a", datetime.now(UTC) - timedelta(seconds=1)) == (
                "expired",
                "a",
            )
            assert not is_cut(meter)
            assert await tell("trip", 0, "b") == ("accepted", "b")
            assert is_cut(meter)
            assert await tell("close", 1, "c") == ("accepted", "c")
            assert await tell("trip", 0, "d") == (
                "accepted",
                "d",
            )  # the same id: answered, not done
            assert not is_cut(meter)

    run(scene())


def test_a_scenario_may_have_meters_behind_a_broker(broker: Mosquitto) -> None:
    from simulators.bench.running import Bench

    text = f"""
[lines.gw]
mqtt = {{ port = {broker.port}, version = "3.1.1" }}
faults = [{{ kind = "retained", every_request = 7 }}]
[[meters]]
line = "gw"
address = "{ADDRESSES[0]}"
count = {len(ADDRESSES)}
"""

    async def scene() -> None:
        async with Bench(parse_scenario(text)) as bench:
            where = bench.lines["gw"].whereabouts()
            assert where == {
                "kind": "mqtt",
                "host": "127.0.0.1",
                "port": broker.port,
                "topic": "meterd/gw",
                "flavour": "own",
            }
            async with Site(broker, version="3.1.1").running() as site:
                await site.until(lambda: set(site.slots()) >= owed())

    run(scene())


def test_a_silent_gateway_is_probed_by_one_question_at_a_time(
    broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        site = Site(broker, family=OwnForm("meterd", "gw"))
        asked: list[int] = []
        at_once: list[int] = []
        gateway = site.gateway

        class Silent:
            def __init__(self, number: int) -> None:
                self.number = number

            async def read_freeze(self, day: date) -> None:
                asked.append(self.number)
                at_once[-1] += 1
                await asyncio.sleep(0)
                raise NoReply("no reply")

        monkeypatch.setattr(gateway, "_meter", lambda connection, number, urgency: Silent(number))
        for number in range(3):
            gateway._jobs.reply_timeouts.record_timeout(number, 0.0)
        assert gateway.is_silent
        at_once.append(0)
        await gateway._collect(gateway._new_connection())
        assert at_once == [1]

    run(scene())


def test_a_lost_connection_ends_every_question_that_waits_and_no_meter_is_blamed(
    broker: Mosquitto,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        gateway = Site(broker).gateway
        ended: list[int] = []

        class Waiting:
            def __init__(self, number: int) -> None:
                self.number = number

            async def read_freeze(self, day: date) -> None:
                try:
                    if self.number == 1:
                        raise LineDown("the broker is gone")
                    await asyncio.sleep(PATIENCE_S)
                    raise NoReply("no reply")
                finally:
                    ended.append(self.number)

        monkeypatch.setattr(gateway, "_meter", lambda connection, number, urgency: Waiting(number))
        with pytest.raises(LineDown):
            await gateway._collect(gateway._new_connection())
        assert {0, 1, 2} == set(ended)
        assert not gateway._jobs.reply_timeouts.is_troubled

    run(scene())


def test_only_what_the_database_has_is_acknowledged(broker: Mosquitto) -> None:
    """What a rebuild finds was stored, though nobody told the gateway so."""
    gateway, days = Site(broker).gateway, [today() - timedelta(days=age) for age in (-1, 0, 1)]
    acknowledged: list[date] = []
    for day in days:
        gateway._delivery._unstored[0, day] = [partial(acknowledged.append, day)]
    gateway.rebuild({0: 0b10}, days[1])
    assert acknowledged == [days[2]]
    assert list(gateway._delivery._unstored) == [(0, days[0]), (0, days[1])]


def test_two_clients_with_one_id_are_named_and_told_once(broker: Mosquitto) -> None:
    site = Site(broker, name="twice")
    twin = site.gateway._broker

    async def scene() -> None:
        task = asyncio.create_task(site.gateway.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not flaps():
                    # Who is thrown out before he is up has lost nothing.
                    await site.until(lambda: site.gateway.up or flaps())
                    with suppress(LineDown):
                        async with MqttConnection(twin) as rival:
                            await rival.receive()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def flaps() -> list[Any]:
        return [it for it in logged if it["event"] == "line flaps"]

    with structlog.testing.capture_logs() as logged:
        asyncio.run(scene())
    (told,) = flaps()
    assert 'is the client id "meterd-twice" used twice?' in told["hint"]
