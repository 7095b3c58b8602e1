"""Simulated meters behind an MQTT broker.

A gateway with our own form, a transparent DTU, Tasmota and Shelly devices.

The broker is a real one. The faults of the line happen in the gateway: lost_answer, late, duplicate
and retained to messages that leave it, lost_request to those that come."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from protocols.channels.backoff import reconnect_pause_s
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import MqttConnection
from protocols.dlt645 import exchanges
from protocols.dlt645.exchanges import RelayAction
from protocols.errors import LineDown
from protocols.mqtt.events import Action
from protocols.mqtt.transparent import Wrapping, unwrap, wrap
from simulators.dlt645.meter import SimulatedMeter
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import LATE_MS, Fault, strike
from simulators.lines.stream_lines import Cut, Talker
from simulators.mqtt.devices import ShellyForm, TasmotaForm
from simulators.mqtt.form import Form, Publication
from simulators.mqtt.own import OwnForm
from simulators.state.seeded import series

Flavour = Literal["own", "transparent", "tasmota", "shelly"]
LONGEST_PAUSE_S: Final = 5.0
MIDNIGHT_CHECK_S: Final = 5.0
_COMMAND_VALIDITY: Final = timedelta(minutes=1)


class SimulatedGateway:
    """The meters of one line behind a broker. Opened, cut and mended like any other simulated line.

    `name` stands in its topics: `{prefix}/{name}/...`. At the start and after each midnight every
    meter's newest freeze (or register) is pushed, again and again until the broker has it."""

    def __init__(
        self,
        bus: SimulatedBus,
        broker: Broker,
        *,
        flavour: Flavour = "own",
        prefix: str = "meterd",
        name: str = "gateway",
        wrapping: Wrapping = "raw",
    ) -> None:
        self.bus = bus
        self.flavour = flavour
        self.root = f"{prefix}/{name}"
        self.is_cut = False
        self.is_up = asyncio.Event()
        """Set while it is connected and receives what is sent to it."""
        self._broker = broker
        self._wrapping = wrapping
        self._form = self._form_of(flavour)
        if isinstance(self._form, OwnForm):
            self._broker = replace(broker, will=self._form.status(online=False))
        self._key = series(int(next(iter(bus.meters), "0")))
        self._sent = 0
        self._received = 0
        self._pushed: set[tuple[str, datetime]] = set()
        self._task: asyncio.Task[None] | None = None
        self._publishing: set[asyncio.Task[None]] = set()
        self._connection: MqttConnection | None = None

    @property
    def place(self) -> str:
        """Where a reader finds the line."""
        return f"{self._broker.name} {self.root}"

    def whereabouts(self) -> dict[str, str | int]:
        """The same for a program."""
        return {
            "kind": "mqtt",
            "host": self._broker.host,
            "port": self._broker.port,
            "topic": self.root,
            "flavour": self.flavour,
        }

    async def open(self) -> None:
        """Connects in the background, and again whenever the broker goes away."""
        self._task = asyncio.create_task(self._run(), name=self.place)

    async def close(self) -> None:
        """Goes away without a good-bye, so that its last will is published."""
        running = list(self._publishing)
        if self._task is not None:
            running.append(self._task)
            self._task = None
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def cut(self, how: Cut = "hang_up") -> None:
        """Away from the broker until `mend`; how makes no difference."""
        self.is_cut = True
        await self.close()

    async def mend(self) -> None:
        """Back at the broker."""
        self.is_cut = False
        await self.open()

    async def push(self, *, again: bool = False) -> None:
        """Push what was not pushed yet, or everything.

        LineDown when the broker goes away meanwhile."""
        if again:
            self._pushed.clear()
        if self._form is None:
            return
        for meter in self.bus.meters.values():
            state = meter.state
            freeze = next(state.daily_freezes(state.now()), None)
            if freeze is None or (state.address, freeze.stamp) in self._pushed:
                continue
            for publication in self._form.pushed(state, freeze):
                await self._publish(publication)
            self._pushed.add((state.address, freeze.stamp))

    def _form_of(self, flavour: Flavour) -> Form | None:
        """None for a transparent line, which carries the bytes of the meters."""
        meters = {address: meter.state for address, meter in self.bus.meters.items()}
        match flavour:
            case "own":
                return OwnForm(self.root, meters, self._switch)
            case "tasmota":
                return TasmotaForm(meters, self._switch)
            case "shelly":
                return ShellyForm(meters, self._switch)
            case "transparent":
                return None

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with MqttConnection(self._broker, may_control=True) as connection:
                    self._connection = connection
                    await self._greet(connection)
                    failures = 0
                    self.is_up.set()
                    try:
                        await self._serve(connection)
                    except asyncio.CancelledError:
                        # No good-bye: the broker publishes the last will.
                        connection.abort()
                        raise
            except LineDown:
                failures += 1
            finally:
                self.is_up.clear()
                self._connection = None
            # Random, as gateways that lost their broker together must not come back together.
            await asyncio.sleep(reconnect_pause_s(failures, LONGEST_PAUSE_S))

    async def _greet(self, connection: MqttConnection) -> None:
        topics = [f"{self.root}/in"] if self._form is None else self._form.topics()
        for topic in topics:
            await connection.subscribe(topic)
        if isinstance(self._form, OwnForm):
            topic, payload = self._form.status(online=True)
            await connection.publish(topic, payload, retain=True)

    async def _serve(self, connection: MqttConnection) -> None:
        if self._form is None:
            await self._serve_bytes(connection)
            return
        pushing = asyncio.create_task(self._push_after_midnight())
        try:
            while True:
                message = await connection.receive()
                connection.acknowledge(message)
                if self._is_lost():
                    continue
                answers = self._form.answers(
                    message.topic, message.payload, retained=message.retained
                )
                for publication in answers:
                    await self._publish(publication)
        finally:
            pushing.cancel()

    async def _serve_bytes(self, connection: MqttConnection) -> None:
        talker = Talker(self.bus, None, self._send_bytes)
        try:
            while True:
                message = await connection.receive()
                connection.acknowledge(message)
                talker.received(
                    unwrap(
                        message.topic,
                        message.payload,
                        self._wrapping,
                    )
                )
        finally:
            talker.close()

    async def _push_after_midnight(self) -> None:
        while True:
            with suppress(LineDown):
                await self.push()
            await asyncio.sleep(MIDNIGHT_CHECK_S)

    def _switch(self, address: str, action: Action) -> None:
        """As a gateway does: a control frame with the password that only the gateway knows."""
        meter = self.bus.meters[address]
        assert isinstance(meter, SimulatedMeter), f"{address} does not know DL/T 645"
        now = meter.state.now()
        exchange = exchanges.control(
            address,
            RelayAction[action.upper()],
            level=meter.access.level,
            password=meter.access.password,
            operator="00000000",
            expires=meter.state.clock.shows(now) + _COMMAND_VALIDITY,
        )
        answer = meter.answer(next(exchange))
        assert answer is not None, "a control frame with its own address stayed without an answer"
        with suppress(StopIteration):
            exchange.send(answer)

    # The way out, with its faults

    def _is_lost(self) -> bool:
        self._received += 1
        struck = strike(
            self.bus.faults,
            self._key,
            self._received,
        )
        return any(fault.kind == "lost_request" for fault in struck)

    async def _publish(self, publication: Publication) -> None:
        self._sent += 1
        faults = strike(
            self.bus.faults,
            self._key,
            self._sent,
        )
        struck = {fault.kind: fault for fault in faults}
        if "lost_answer" in struck:
            return
        if "late" in struck:
            self._start(self._publish_late(publication, struck["late"]))
            return
        for _ in range(2 if "duplicate" in struck else 1):
            await self._publish_now(publication, retain="retained" in struck)

    async def _publish_late(self, publication: Publication, fault: Fault) -> None:
        await asyncio.sleep(fault.delay_or(LATE_MS) / 1000)
        await self._publish_now(publication)

    async def _publish_now(
        self,
        publication: Publication,
        *,
        retain: bool = False,
        qos: int = 1,
    ) -> None:
        if self._connection is None:
            raise LineDown(f"{self.place}: not connected")
        topic, payload = publication
        await self._connection.publish(topic, payload, qos=qos, retain=retain)

    def _send_bytes(self, data: bytes) -> None:
        """Bytes of a transparent line, as soon as the meters send them."""
        if self._connection is not None:
            publication = Publication(f"{self.root}/out", wrap(data, self._wrapping))
            self._start(self._publish_now(publication, qos=0))

    def _start(self, publishing: Coroutine[Any, Any, None]) -> None:
        async def until_down() -> None:
            with suppress(LineDown):
                await publishing

        task = asyncio.create_task(until_down())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)
