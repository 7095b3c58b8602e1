"""Tasmota: one device for each topic, energy in kWh, questions answered without a token.

`tele/{device}/SENSOR` and `stat/{device}/STATUS8` carry ENERGY.Total (kWh), or what a script of a
smart meter reader (SML) calls it; `stat/{device}/POWER` or POWERn a relay; `tele/{device}/LWT`
Online or Offline. Its time has no zone. A device with several channels tells lists: `device:2` is
its second channel, with the relay POWER2."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from protocols.errors import FrameError
from protocols.mqtt.events import (
    Action,
    Event,
    IdentityReport,
    Outgoing,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.mqtt.foreign import (
    WH_PER_KWH,
    energy,
    json_object,
    number,
    scaled,
    table,
    text,
    wall_time,
)
from protocols.reading import Quantity

ENERGY: Final = "ENERGY.Total"
_CHANNEL: Final = re.compile(r"(.+):([1-9][0-9]?)")
"""The topic of a device and the number of its channel."""
_MEASURED: Final = (
    ("Power", Quantity.ACTIVE_POWER, -WH_PER_KWH),
    ("Voltage", Quantity.VOLTAGE, 0),
    ("Current", Quantity.CURRENT, 0),
)
_PHASES: Final = {
    "Power": (Quantity.ACTIVE_POWER_A, Quantity.ACTIVE_POWER_B, Quantity.ACTIVE_POWER_C),
    "Voltage": (Quantity.VOLTAGE_A, Quantity.VOLTAGE_B, Quantity.VOLTAGE_C),
    "Current": (Quantity.CURRENT_A, Quantity.CURRENT_B, Quantity.CURRENT_C),
}


class Device(NamedTuple):
    """`name` of the archive; `channel`: counted from 1; None for the whole of a device."""

    name: str
    topic: str
    channel: int | None

    @property
    def relay(self) -> str:
        """The command of its relay."""
        return f"POWER{self.channel or ''}"


class Tasmota:
    """The devices with these topics, or channels of them.

    `total`: table and name of the energy in kWh, as `SML.Total_in`. A device has no token: its
    answer is known by the topic it comes on. Commands and requests go out with QoS 0, so that no
    broker keeps a trip for a device that is away.
    """

    read_freeze = None
    echo = None

    def __init__(self, devices: Sequence[str], total: str = ENERGY) -> None:
        self._table, _, self._total = total.rpartition(".")
        self._devices = {name: device_of(name) for name in devices}
        self._by_topic: defaultdict[str, list[Device]] = defaultdict(list)
        for device in self._devices.values():
            self._by_topic[device.topic].append(device)
        self.subscriptions = tuple(
            topic
            for name, channels in self._by_topic.items()
            for topic in (
                f"tele/{name}/SENSOR",
                f"tele/{name}/LWT",
                f"stat/{name}/STATUS5",
                f"stat/{name}/STATUS8",
                *dict.fromkeys(
                    f"stat/{name}/{relay}" for device in channels for relay in _relays(device)
                ),
            )
        )

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return Outgoing(f"cmnd/{self._topic(device)}/STATUS", b"8", f"{device}/STATUS8", 0)

    def read_relay(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return self._to_relay(device, b"")

    def read_identity(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family. A device has no serial number but the address of its radio."""
        return Outgoing(f"cmnd/{self._topic(device)}/STATUS", b"5", f"{device}/STATUS5", 0)

    def control(
        self,
        device: str,
        action: Action,
        command_id: UUID,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        return self._to_relay(device, b"OFF" if action == "trip" else b"ON")

    def presence(self, *, is_online: bool) -> None:
        """No device of this family asks whether we are there."""

    def is_control(self, topic: str, payload: bytes) -> bool:
        """Anything to POWER but an empty request, and what may hide commands (Backlog, Rule)."""
        levels = topic.split("/")
        command = levels[-1].upper()
        if "cmnd" not in levels[:-1]:
            return False
        return not (command == "STATUS" or (command.startswith("POWER") and not payload))

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """See Family."""
        kind, _, rest = topic.partition("/")
        name, _, last = rest.rpartition("/")
        devices = self._by_topic.get(name) or [Device(name, name, None)]
        match kind, last:
            case "tele", "LWT":
                is_online = _one_of(topic, payload, b"Offline", b"Online")
                return [PresenceReport(device.name, is_online) for device in devices]
            case "tele", "SENSOR":
                content = json_object(topic, payload)
                return self._measured(topic, devices, content, is_answer=False)
            case "stat", "STATUS8":
                content = table(topic, json_object(topic, payload), "StatusSNS")
                return self._measured(topic, devices, content, is_answer=True)
            case "stat", "STATUS5":
                content = table(topic, json_object(topic, payload), "StatusNET")
                mac = text(topic, "StatusNET.Mac", content.get("Mac"))
                serial = mac and mac.replace(":", "").upper()
                return [
                    IdentityReport(device.name, serial, token=f"{device.name}/STATUS5")
                    for device in devices
                ]
            case "stat", relay if relay.startswith("POWER"):
                is_closed = _one_of(topic, payload, b"OFF", b"ON")
                return [
                    RelayReport(
                        device.name, not is_closed, not is_closed, token=f"{device.name}/POWER"
                    )
                    for device in devices
                    if relay in _relays(device)
                ]
        return []

    def _topic(self, device: str) -> str:
        return self._devices[device].topic if device in self._devices else device

    def _to_relay(self, device: str, payload: bytes) -> Outgoing:
        known = self._devices.get(device) or device_of(device)
        return Outgoing(f"cmnd/{known.topic}/{known.relay}", payload, f"{device}/POWER", 0)

    def _measured(
        self,
        topic: str,
        devices: Sequence[Device],
        content: dict[str, Any],
        *,
        is_answer: bool,
    ) -> list[Event]:
        found = table(topic, content, self._table) if self._table else content
        if self._total not in found:
            return []
        at = wall_time(topic, "Time", content.get("Time"))
        label = f"{self._table}.{self._total}".lstrip(".")
        return [
            RegisterReport(
                device.name,
                (_energy(topic, label, found, self._total, device.channel),),
                _values(topic, self._table, found, device.channel),
                at,
                f"{device.name}/STATUS8" if is_answer else None,
            )
            for device in devices
        ]


def device_of(name: str) -> Device:
    """What a name in the archive means."""
    found = _CHANNEL.fullmatch(name)
    # In one way only: strip:02 would be another name of the channel that strip:2 is.
    return Device(name, found[1], int(found[2])) if found else Device(name, name, None)


def _relays(device: Device) -> tuple[str, ...]:
    """On which topics its relay answers: the only one of a device as POWER, or as the first."""
    return (device.relay,) if device.channel else ("POWER", "POWER1")


def _energy(
    topic: str, name: str, found: dict[str, Any], total_name: str, channel: int | None
) -> Decimal | None:
    """A number, or one for each phase or channel: that of the channel, or all together.

    FrameError for the sum of several channels, which is that of none of them."""
    total = found[total_name]
    if not isinstance(total, list):
        has_several = any(isinstance(found.get(measured), list) for measured, *_ in _MEASURED)
        if channel is not None and (channel > 1 or has_several):
            raise FrameError(
                f"{topic}: {name} is one number, of all channels together and not of channel "
                f"{channel}: SetOption129 1 tells them apart"
            )
        return energy(topic, name, total)
    if channel is not None:
        return energy(topic, name, _of_channel(topic, name, total, channel))
    return _sum([energy(topic, name, phase) for phase in total])


def _values(
    topic: str, where: str, found: dict[str, Any], channel: int | None
) -> dict[Quantity, Decimal | None]:
    values: dict[Quantity, Decimal | None] = {}
    for name, quantity, exponent in _MEASURED:
        told = found.get(name)
        label = f"{where}.{name}"
        if isinstance(told, list) and channel is not None:
            told = _of_channel(topic, label, told, channel)
        if isinstance(told, list):
            phases = [scaled(number(topic, label, phase), exponent) for phase in told]
            values.update(zip(_PHASES[name], phases, strict=False))
            if quantity is Quantity.ACTIVE_POWER:
                values[quantity] = _sum(phases)
        elif name in found:
            values[quantity] = scaled(number(topic, label, told), exponent)
    return values


def _of_channel(topic: str, name: str, told: list[Any], channel: int) -> object:
    if channel > len(told):
        raise FrameError(f"{topic}: {name} has {len(told)} channels, not {channel}")
    return told[channel - 1]


def _sum(phases: Sequence[Decimal | None]) -> Decimal | None:
    """The total of the phases; missing if one of them is."""
    known = [phase for phase in phases if phase is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(phases) else None


def _one_of(topic: str, payload: bytes, no: bytes, yes: bytes) -> bool:
    if payload not in (no, yes):
        raise FrameError(f"{topic}: {payload[:40]!r} is neither {no.decode()} nor {yes.decode()}")
    return payload == yes
