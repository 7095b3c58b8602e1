"""A cut and a restore over MQTT, all the way: rows, broker, simulated meter, read-back, rows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import AsyncConnection

from daemon.acquisition.broker_line import BrokerLine, BrokerParts
from daemon.acquisition.commands import execute
from daemon.acquisition.meter_port import Urgency
from daemon.acquisition.parts import Pace
from daemon.acquisition.site_clock import SiteClock
from daemon.control.authority import Authority
from daemon.transactions.line_commands import LineCommands
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import MqttConnection
from protocols.mqtt import messages
from protocols.mqtt.events import Family
from protocols.mqtt.messages import decode_down
from protocols.mqtt.own import OwnForm
from protocols.mqtt.shelly import Shelly
from protocols.mqtt.tasmota import Tasmota
from simulators.bench.scenario import site_clock
from simulators.dlt645.meter_2007 import SimulatedMeter2007
from simulators.lines.bus import SimulatedBus
from simulators.lines.mqtt_gateway import Flavour, SimulatedGateway
from simulators.state.relay import Relay
from storage.database import Pool
from tests.command_steps import Command, Step
from tests.database.small_site import (
    ARMED,
    DAY,
    OPEN,
    SHADOW,
    ZONE,
    Site,
    connect,
    freeze,
    pay,
    rows,
    store,
)
from tests.line_parts import line_parts
from tests.servers.mosquitto import LISTENER, Mosquitto
from tests.simulated_meters import simulated_meter
from tests.spooled import a_pipeline

CutSite = tuple[AsyncConnection[Any], BrokerLine, SimulatedMeter2007, SimulatedGateway]
ADDRESS = "000000000001"
PATIENCE_S = 10
INSTALLED = date(2024, 1, 1)
NOT_YET = date(2100, 1, 1)
COMMANDS = "SELECT action, state FROM command ORDER BY sequence"
FAMILIES: dict[Flavour, tuple[Family, dict[str, str]]] = {
    "own": (OwnForm("meterd", "gw"), {}),
    "tasmota": (Tasmota([f"tasmota-{ADDRESS}"]), {ADDRESS: f"tasmota-{ADDRESS}"}),
    "shelly": (
        Shelly([f"shellyplus1pm-{ADDRESS}"], "meterd-1", "switch:0"),
        {ADDRESS: f"shellyplus1pm-{ADDRESS}"},
    ),
}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path_factory.mktemp("mosquitto"), LISTENER) as running:
        yield running


def pool_of(url: str) -> Pool:
    return Pool(url, most=4)


@asynccontextmanager
async def cut_site(
    url: str,
    broker: Mosquitto,
    flavour: Flavour,
    *,
    authority: Authority = ARMED,
    relay: Relay | None = None,
    relays: Collection[str] | None = None,
    has_freezes: bool = False,
) -> AsyncIterator[CutSite]:
    """One exhausted account with a trip command, its simulated meter, the gateway's task beside a
    pipeline.

    Without freezes nothing is read that the guard would have to wait for before a trip."""
    family, devices = FAMILIES[flavour]
    async with (
        await connect(url) as connection,
        pool_of(url) as pool,
        AsyncExitStack() as opened,
    ):
        found = await Site.of(1, line="gw", reconnect="close").take_over(connection)
        batch = [
            freeze(meter, day, kwh)
            for meter in found.values()
            for day, kwh in ((OPEN, 100), (OPEN + DAY, 110))
        ]
        await store(connection, *batch, authority=authority, now=datetime.now(UTC))
        gateways: list[BrokerLine] = []

        def stored(slots: Collection[tuple[int, date]]) -> None:
            for gateway in gateways:
                for meter_id, day in slots:
                    gateway.stored(meter_id, day)

        pipeline = opened.enter_context(
            a_pipeline(
                pool, authority, batch_readings=100, stored=stored, meters=lambda: found.values()
            )
        )
        gateway = BrokerLine(
            line_parts(
                "gw",
                list(found.values()),
                sink=pipeline,
                pace=Pace(retry_s=0.2, reconnect_s=0.1),
                commands=LineCommands("gw", pool, authority),
                may_control=not authority.shadow_mode,
            ),
            BrokerParts(
                broker=Broker("127.0.0.1", broker.port, f"meterd-{flavour}"),
                family=family,
                devices=devices,
                reply_timeout_s=0.5,
                relays=relays,
            ),
        )
        gateways.append(gateway)
        installed = INSTALLED if has_freezes else NOT_YET
        meter = simulated_meter(ADDRESS, now=site_clock(ZONE), relay=relay, installed=installed)
        there = Broker("127.0.0.1", broker.port, f"simulated-{flavour}")
        simulator = SimulatedGateway(SimulatedBus([meter]), there, flavour=flavour, name="gw")
        await simulator.open()
        await asyncio.wait_for(simulator.is_up.wait(), PATIENCE_S)
        gateway.wake()
        tasks = [asyncio.create_task(pipeline.run()), asyncio.create_task(gateway.run())]
        try:
            yield connection, gateway, meter, simulator
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await simulator.close()


async def holds(question: Callable[[], bool]) -> None:
    """Nobody tells the test what happens in other tasks: it looks often."""
    async with asyncio.timeout(PATIENCE_S):
        while not question():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until(
    connection: AsyncConnection[Any],
    question: str,
    *expected: object,
    gateway: BrokerLine | None = None,
) -> None:
    """Until the rows are these; the database does not tell. With a gateway no relay is waited for:
    it looks at once."""
    found = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            while (found := await rows(connection, question)) != list(expected):
                if gateway is not None:
                    await connection.execute(
                        "UPDATE command SET next_at = created_at WHERE state = 'acked'"
                    )
                    gateway.wake()
                await asyncio.sleep(0.05)
    except TimeoutError:
        assert found == list(expected)


def is_cut(meter: SimulatedMeter2007) -> bool:
    return meter.state.relay.is_open


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 2 * PATIENCE_S))


@pytest.mark.parametrize("flavour", FAMILIES)
def test_a_cut_and_a_restore_are_verified_by_reading_the_relay_back(
    database_url: str, broker: Mosquitto, flavour: Flavour
) -> None:
    async def scene() -> None:
        async with cut_site(database_url, broker, flavour) as (connection, gateway, meter, _):
            await until(connection, COMMANDS, ("trip", "verified"), gateway=gateway)
            assert is_cut(meter)
            assert await rows(connection, "SELECT supply_state FROM point_supply") == [
                "disconnected"
            ]
            await pay(connection, "A1", 10_000)
            await until(
                connection, COMMANDS, ("trip", "verified"), ("close", "verified"), gateway=gateway
            )
            assert not is_cut(meter)
            assert await rows(connection, "SELECT supply_state FROM point_supply") == ["energised"]

    run(scene())


def test_a_meter_without_a_relay_gets_no_command_and_is_not_asked_for_it(
    database_url: str, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with cut_site(database_url, broker, "own", relays=()) as (
            connection,
            gateway,
            meter,
            _,
        ):
            await until(connection, COMMANDS, ("trip", "refused"))
            (answer,) = await rows(connection, "SELECT detail FROM command")
            assert "no relay" in answer
            asked: list[tuple[object, ...]] = []
            requests = SimpleNamespace(ask=lambda *question: asked.append(question))
            monkeypatch.setattr(gateway, "_requests", requests)
            step = Step(Command(address=ADDRESS, line="gw"), kind="verify")
            unused = MqttConnection(Broker("127.0.0.1", broker.port, "unused"))
            await execute(step, gateway._meter(unused, 0, Urgency.COMMAND), SiteClock(ZONE))
            assert (asked, step.told) == ([], [None])
            assert not [event for event in meter.state.events if event.kind == "control"]

    run(scene())


def test_a_command_that_is_sent_again_is_a_new_one_to_the_gateway(
    database_url: str, broker: Mosquitto
) -> None:
    """A gateway does an id once; without a new one the second sending would be answered and not
    done."""

    async def scene() -> None:
        listener = MqttConnection(Broker("127.0.0.1", broker.port, "listener", keep_session=False))
        async with listener:
            await listener.subscribe("meterd/gw/down/command")
            async with cut_site(database_url, broker, "own") as (connection, gateway, meter, _):
                first = decode_down((await listener.receive()).payload)
                await until(connection, COMMANDS, ("trip", "acked"))
                meter.state.relay.close(meter.state.now())  # it forgot what it was told
                await until(connection, COMMANDS, ("trip", "verified"), gateway=gateway)
                second = decode_down((await listener.receive()).payload)
                assert isinstance(first, messages.Command)
                assert isinstance(second, messages.Command)
                assert (first.action, second.action, first.meter) == ("trip", "trip", second.meter)
                assert await rows(connection, "SELECT count(*) FROM command") == [1]
                assert first.id != second.id
                assert is_cut(meter)

    run(scene())


def test_accepted_is_not_open(database_url: str, broker: Mosquitto) -> None:
    """A stuck relay: every command is accepted, the read-back tells the truth."""

    async def scene() -> None:
        async with cut_site(database_url, broker, "own", relay=Relay(is_stuck=True)) as (
            connection,
            gateway,
            meter,
            _,
        ):
            await until(connection, COMMANDS, ("trip", "acked"))
            seen = "SELECT relay_observed FROM point_supply"
            await until(connection, seen, "closed", gateway=gateway)
            states = await rows(connection, COMMANDS)
            assert states[0][0] == "trip"
            assert states[0][1] != "verified"
            assert [
                event.detail["answer"] for event in meter.state.events if event.kind == "control"
            ][:1] == ["9C"]

    run(scene())


def test_in_shadow_mode_nothing_is_sent(database_url: str, broker: Mosquitto) -> None:
    async def scene() -> None:
        async with cut_site(database_url, broker, "own", authority=SHADOW, has_freezes=True) as (
            connection,
            _,
            meter,
            simulator,
        ):
            await simulator.push(again=True)
            await until(connection, "SELECT count(*) > 2 FROM reading", True)
            assert not [event for event in meter.state.events if event.kind == "control"]
            assert await rows(connection, COMMANDS) == []

    run(scene())


def test_a_trip_is_not_sent_to_a_gateway_that_is_away(database_url: str, broker: Mosquitto) -> None:
    """It would be done some day, when nobody expects it; a reconnect may wait."""

    async def scene() -> None:
        broker.publish("meterd/gw/up/status", '{"v":1,"type":"status","online":false}', "-r")
        family, _ = FAMILIES["own"]
        async with await connect(database_url) as connection, pool_of(database_url) as pool:
            found = await Site.of(1, line="gw").take_over(connection)
            gateway = BrokerLine(
                line_parts(
                    "gw",
                    list(found.values()),
                    pace=Pace(retry_s=0.2, reconnect_s=0.1),
                    commands=LineCommands("gw", pool, ARMED),
                    may_control=True,
                ),
                BrokerParts(
                    broker=Broker("127.0.0.1", broker.port, "meterd-away", keep_session=False),
                    family=family,
                    devices={},
                    reply_timeout_s=0.5,
                ),
            )
            task = asyncio.create_task(gateway.run())
            await holds(lambda: not gateway._presence.is_online)
            batch = [
                freeze(meter, day, k)
                for meter in found.values()
                for day, k in ((OPEN, 100), (OPEN + DAY, 110))
            ]
            await store(connection, *batch, now=datetime.now(UTC))
            gateway.wake()
            await until(connection, COMMANDS, ("trip", "failed"))
            (detail,) = await rows(connection, "SELECT detail FROM command")
            assert detail == "the gateway or the device is offline"
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        broker.publish("meterd/gw/up/status", "", "-r")

    run(scene())


def test_a_pushed_freeze_is_acknowledged_when_it_is_in_the_database(
    database_url: str, broker: Mosquitto
) -> None:
    async def scene() -> None:
        async with cut_site(database_url, broker, "own", authority=SHADOW, has_freezes=True) as (
            connection,
            gateway,
            _,
            simulator,
        ):
            await simulator.push(again=True)
            # Not the day before, which the gateway asks for when midnight was a moment ago.
            day = max(stamp for _, stamp in simulator._pushed).astimezone(ZONE).date()
            await until(connection, f"SELECT count(*) FROM slot WHERE day = '{day}'", 1)
            await holds(lambda: not gateway._delivery._unstored)

    run(scene())
