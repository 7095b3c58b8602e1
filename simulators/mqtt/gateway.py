"""Simulated meters behind an MQTT broker: a gateway with our own form, a transparent DTU, Tasmota
and Shelly devices.

The broker is a real one. The faults of the line happen in the gateway: lost_answer, late, duplicate
and retained to messages that leave it, lost_request to those that come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from protocols.channels.backoff import reconnect_pause_s
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import Message, MqttConnection
from protocols.dlt645 import exchanges
from protocols.dlt645.exchanges import RelayAction
from protocols.errors import FrameError, LineDown, MeterRefused
from protocols.mqtt.events import Action
from protocols.mqtt.messages import (
    VERSION,
    Answer,
    Command,
    DailyFreeze,
    Frozen,
    Read,
    Relay,
    Status,
    decode_down,
    encode,
)
from protocols.mqtt.transparent import Wrapping, unwrap, wrap
from simulators.dlt645.freezes import Freeze
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import LATE_MS, Fault, strike
from simulators.lines.stream_lines import Cut, Talker
from simulators.state.meter import SimulatedMeter
from simulators.state.seeded import series

Flavour = Literal["own", "transparent", "tasmota", "shelly"]
LONGEST_PAUSE_S: Final = 5.0
MIDNIGHT_CHECK_S: Final = 5.0
DEVICE_PREFIXES: Final = {"tasmota": "tasmota-", "shelly": "shellyplus1pm-"}

_JSON = msgspec.json.Encoder(decimal_format="number")


class SimulatedGateway:
    """The meters of one line behind a broker. Opened, cut and mended like any other simulated line.

    `name` stands in its topics: `{prefix}/{name}/...`; a Tasmota or Shelly device is called by
    `device_name`. At the start and after each midnight every meter's newest freeze (or register) is
    pushed, again and again until the broker has it. `done` is told what was published: (topic,
    payload)."""

    def __init__(
        self,
        bus: SimulatedBus,
        broker: Broker,
        *,
        flavour: Flavour = "own",
        prefix: str = "meterd",
        name: str = "gateway",
        wrapping: Wrapping = "raw",
        done: Callable[[str, bytes], None] = lambda topic, payload: None,
    ) -> None:
        self.bus, self.flavour, self.root = bus, flavour, f"{prefix}/{name}"
        self.is_cut = False
        self.is_up = asyncio.Event()
        """Set while it is connected and hears what is sent to it."""
        self._broker, self._wrapping, self._done = broker, wrapping, done
        if flavour == "own":
            will = (f"{self.root}/up/status", encode(Status(v=VERSION, online=False)))
            self._broker = replace(broker, will=will)
        self._key = series(int(next(iter(bus.meters), "0")))
        self._sent = self._heard = 0
        self._answers: dict[UUID, Answer] = {}
        self._pushed: set[tuple[str, datetime]] = set()
        self._task: asyncio.Task[None] | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._connection: MqttConnection | None = None

    @property
    def place(self) -> str:
        """Where a reader finds the line."""
        return f"{self._broker.name} {self.root}"

    def whereabouts(self) -> dict[str, str | int]:
        """The same for a program."""
        broker = self._broker
        return {
            "kind": "mqtt",
            "host": broker.host,
            "port": broker.port,
            "topic": self.root,
            "flavour": self.flavour,
        }

    async def open(self) -> None:
        """Connects in the background, and again whenever the broker goes away."""
        self._task = asyncio.create_task(self._run(), name=self.place)

    async def close(self) -> None:
        """Goes away without a good-bye, so that its last will is published."""
        task, self._task = self._task, None
        for running in [*self._later, *([task] if task else [])]:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def cut(self, how: Cut = "hang_up") -> None:
        """Away from the broker until `mend`; how makes no difference."""
        self.is_cut = True
        await self.close()

    async def mend(self) -> None:
        """Back at the broker."""
        self.is_cut = False
        await self.open()

    async def push(self, *, again: bool = False) -> None:
        """Push what was not pushed yet, or everything. LineDown when the broker goes away
        meanwhile."""
        if again:
            self._pushed.clear()
        for meter in self.bus.meters.values():
            now = meter.now()
            freeze = next(meter.daily_freezes(now), None)
            if (
                self.flavour == "transparent"
                or freeze is None
                or (meter.address, freeze.stamp) in self._pushed
            ):
                continue
            for topic, payload in self._told_by_itself(meter, freeze, now):
                await self._publish(topic, payload)
            self._pushed.add((meter.address, freeze.stamp))

    def device_name(self, meter: SimulatedMeter) -> str:
        """What a meter is called in topics."""
        return DEVICE_PREFIXES.get(self.flavour, "") + meter.address

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                async with MqttConnection(self._broker, may_control=True) as connection:
                    self._connection = connection
                    for topic in self._listens_to():
                        await connection.subscribe(topic)
                    failures = 0
                    if self.flavour == "own":
                        online = encode(Status(v=VERSION, online=True))
                        await connection.publish(f"{self.root}/up/status", online, retain=True)
                    self.is_up.set()
                    try:
                        await self._serve(connection)
                    except asyncio.CancelledError:
                        connection.abort()
                        raise
            except LineDown:
                failures += 1
            finally:
                self.is_up.clear()
                self._connection = None
            await asyncio.sleep(reconnect_pause_s(failures, LONGEST_PAUSE_S))

    async def _serve(self, connection: MqttConnection) -> None:
        talker = Talker(self.bus, None, self._say) if self.flavour == "transparent" else None
        pushing = asyncio.create_task(self._push_after_midnight())
        try:
            while True:
                message = await connection.receive()
                connection.acknowledge(message)
                if talker is not None:
                    talker.received(unwrap(message.topic, message.payload, self._wrapping))
                elif not self._does_not_hear():
                    await self._hear(message)
        finally:
            pushing.cancel()
            if talker is not None:
                talker.close()

    async def _push_after_midnight(self) -> None:
        while True:
            with suppress(LineDown):
                await self.push()
            await asyncio.sleep(MIDNIGHT_CHECK_S)

    def _listens_to(self) -> list[str]:
        devices = [self.device_name(meter) for meter in self.bus.meters.values()]
        match self.flavour:
            case "own":
                return [f"{self.root}/down/+"]
            case "transparent":
                return [f"{self.root}/in"]
            case "tasmota":
                return [f"cmnd/{device}/+" for device in devices]
            case "shelly":
                return [f"{device}/rpc" for device in devices]

    async def _hear(self, message: Message) -> None:
        match self.flavour:
            case "own":
                await self._answer_own(message)
            case "tasmota":
                await self._answer_tasmota(message)
            case "shelly":
                await self._answer_shelly(message)

    # --- our own form
    # ---------------------------------------------------------------------------------------------

    async def _answer_own(self, message: Message) -> None:
        try:
            asked = decode_down(message.payload)
        except FrameError:
            return
        if isinstance(asked, Status):
            return
        if isinstance(asked, Command) and message.retained:
            return  # it is old; whoever left it there did wrong
        answer = self._answer_to(asked)
        await self._publish(f"{self.root}/up/answer", encode(answer))

    def _answer_to(self, asked: Read | Command) -> Answer:
        meter = self.bus.meters.get(asked.meter)
        if asked.expires <= datetime.now(UTC):
            return _answer(asked, "expired", "it came too late")
        if meter is None:
            return _answer(asked, "no_reply", "there is no such meter")
        if isinstance(asked, Command):
            if asked.id not in self._answers:
                self._answers[asked.id] = self._obey(meter, asked)
            return msgspec.structs.replace(self._answers[asked.id], token=asked.token)
        now = meter.now()
        meter.settle()
        match asked.what:
            case "daily_freeze":
                found = next(
                    (it for it in meter.daily_freezes(now) if it.stamp.date() == asked.day), None
                )
                if found is None:
                    return _answer(asked, "no_data", "no freeze of that day")
                frozen = Frozen(
                    frozen_at=found.stamp,
                    registers=_registers(meter, found.at),
                    clock_skew_s=_skew_s(meter, now),
                )
                return _answer(asked, "ok", daily_freeze=frozen)
            case "registers":
                return _answer(asked, "ok", registers=_registers(meter, now))
            case "relay":
                relay = meter.relay
                told = Relay(
                    open=relay.is_open,
                    command_open=relay.command_open,
                    keep_power=relay.keeps_power,
                )
                return _answer(asked, "ok", relay=told)

    def _obey(self, meter: SimulatedMeter, asked: Command) -> Answer:
        try:
            _control(meter, asked.action)
        except MeterRefused as refusal:
            return _answer(asked, "refused", str(refusal))
        return _answer(asked, "accepted")

    # --- foreign flavours
    # -----------------------------------------------------------------------------------------

    async def _answer_tasmota(self, message: Message) -> None:
        _, device, command = message.topic.split("/")
        meter = self._meter_of(device)
        if command == "STATUS" and message.payload == b"8":
            payload = _JSON.encode({"StatusSNS": _tasmota_sensor(meter)})
            await self._publish(f"stat/{device}/STATUS8", payload)
        elif command == "POWER":
            if message.payload in (b"ON", b"OFF"):
                with suppress(MeterRefused):
                    _control(meter, "trip" if message.payload == b"OFF" else "close")
            meter.settle()
            state = "OFF" if meter.relay.is_open else "ON"
            await self._publish(f"stat/{device}/RESULT", b'{"POWER":"%s"}' % state.encode())
            await self._publish(f"stat/{device}/POWER", state.encode())

    async def _answer_shelly(self, message: Message) -> None:
        device = message.topic.partition("/")[0]
        meter = self._meter_of(device)
        request = msgspec.json.decode(message.payload)
        answer: dict[str, Any] = {
            "id": request["id"],
            "src": device,
            "dst": request["src"],
        }
        if request["method"] == "Switch.GetStatus":
            answer["result"] = _shelly_switch(meter)
        elif request["method"] == "Switch.Set":
            meter.settle()
            was_on = not meter.relay.is_open
            with suppress(MeterRefused):
                _control(meter, "close" if request["params"]["on"] else "trip")
            answer["result"] = {"was_on": was_on}
        else:
            answer["error"] = {"code": 404, "message": f"No handler for {request['method']}"}
        await self._publish(f"{request['src']}/rpc", _JSON.encode(answer))

    def _told_by_itself(
        self, meter: SimulatedMeter, freeze: Freeze, now: datetime
    ) -> list[tuple[str, bytes]]:
        device = self.device_name(meter)
        match self.flavour:
            case "tasmota":
                sensor = _JSON.encode(_tasmota_sensor(meter))
                return [(f"tele/{device}/LWT", b"Online"), (f"tele/{device}/SENSOR", sensor)]
            case "shelly":
                status = _shelly_switch(meter)
                told_at = Decimal(f"{datetime.now(UTC).timestamp():.2f}") + _skew_s(meter, now)
                notice = {
                    "src": device,
                    "dst": f"{device}/events",
                    "method": "NotifyStatus",
                    "params": {"ts": told_at, "switch:0": status},
                }
                return [
                    (f"{device}/online", b"true"),
                    (f"{device}/status/switch:0", _JSON.encode(status)),
                    (f"{device}/events/rpc", _JSON.encode(notice)),
                ]
            case _:
                pushed = DailyFreeze(
                    v=VERSION,
                    meter=meter.address,
                    frozen_at=freeze.stamp,
                    registers=_registers(meter, freeze.at),
                    read_at=datetime.now(UTC),
                    clock_skew_s=_skew_s(meter, now),
                )
                return [(f"{self.root}/up/daily_freeze", encode(pushed))]

    def _meter_of(self, device: str) -> SimulatedMeter:
        return self.bus.meters[device.removeprefix(DEVICE_PREFIXES[self.flavour])]

    # --- the way out, with its faults
    # -----------------------------------------------------------------------------

    def _does_not_hear(self) -> bool:
        self._heard += 1
        return "lost_request" in [
            fault.kind for fault in strike(self.bus.faults, self._key, self._heard)
        ]

    async def _publish(self, topic: str, payload: bytes) -> None:
        self._sent += 1
        struck = {fault.kind: fault for fault in strike(self.bus.faults, self._key, self._sent)}
        if "lost_answer" in struck:
            return
        if "late" in struck:
            self._start(self._publish_late(topic, payload, struck["late"]))
            return
        for _ in range(1 + ("duplicate" in struck)):
            await self._publish_now(topic, payload, retain="retained" in struck)

    async def _publish_late(self, topic: str, payload: bytes, fault: Fault) -> None:
        await asyncio.sleep((LATE_MS if fault.delay_ms is None else fault.delay_ms) / 1000)
        with suppress(LineDown):
            await self._publish_now(topic, payload, retain=False)

    async def _publish_now(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool,
        qos: int = 1,
    ) -> None:
        if self._connection is None:
            raise LineDown(f"{self.place}: not connected")
        await self._connection.publish(
            topic,
            payload,
            qos=qos,
            retain=retain,
        )
        self._done(topic, payload)

    def _say(self, data: bytes) -> None:
        """Bytes of a transparent line, as soon as the meters say them."""
        if self._connection is not None:
            self._start(
                self._publish_now(
                    f"{self.root}/out",
                    wrap(data, self._wrapping),
                    retain=False,
                    qos=0,
                )
            )

    def _start(self, publishing: Awaitable[None]) -> None:
        async def carry() -> None:
            with suppress(LineDown):
                await publishing

        task = asyncio.create_task(carry())
        self._later.add(task)
        task.add_done_callback(self._later.discard)


def _answer(asked: Read | Command, outcome: Any, reason: str = "", **value: Any) -> Answer:
    return Answer(
        v=VERSION,
        token=asked.token,
        meter=asked.meter,
        outcome=outcome,
        reason=reason,
        **value,
    )


def _control(meter: SimulatedMeter, action: Action) -> None:
    """Do it as a gateway does: a control frame with the password that only the gateway knows."""
    exchange = exchanges.control(
        meter.address,
        RelayAction[action.upper()],
        level=meter.level,
        password=meter.password,
        operator="00000000",
        expires=meter.clock.shows(meter.now()) + timedelta(minutes=1),
    )
    answer = meter.answer(next(exchange))
    assert answer is not None, "a control frame with its own address stayed without an answer"
    with suppress(StopIteration):
        exchange.send(answer)


def _registers(meter: SimulatedMeter, at: datetime) -> tuple[str | None, ...]:
    return tuple(str(Decimal(register).scaleb(-2)) for register in meter.registers(at))


def _skew_s(meter: SimulatedMeter, now: datetime) -> int:
    return round((meter.clock.shows(now) - now).total_seconds())


def _tasmota_sensor(meter: SimulatedMeter) -> dict[str, Any]:
    now = meter.now()
    total = meter.true_register(now)
    energy = {
        "Total": total,
        "Power": meter.power_mw(now) // 1000,
        "Voltage": int(meter.voltage_v),
    }
    return {"Time": meter.clock.shows(now).isoformat(timespec="seconds"), "ENERGY": energy}


def _shelly_switch(meter: SimulatedMeter) -> dict[str, Any]:
    now = meter.now()
    meter.settle()
    total_wh = meter.true_register(now) * 1000
    return {
        "id": 0,
        "output": not meter.relay.is_open,
        "apower": Decimal(meter.power_mw(now)).scaleb(-3),
        "voltage": meter.voltage_v,
        "aenergy": {"total": total_wh},
    }
