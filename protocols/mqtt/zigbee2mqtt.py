"""Zigbee2MQTT: devices by their friendly names, energy in kWh, all of a device in one message.

`{prefix}/{device}` carries `energy`, what else is measured, and `state` of a relay;
`{prefix}/{device}/get` asks for them, `/set` moves the relay, `/availability` tells online or
offline. An answer is a message like any other: it has neither token nor time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from protocols.errors import FrameError
from protocols.mqtt.events import (
    Action,
    Event,
    Outgoing,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.mqtt.foreign import WH_PER_KWH, energy, json_object, number, scaled
from protocols.reading import Quantity

PREFIX: Final = "zigbee2mqtt"
"""The base topic unless it was changed."""
OWN_LEVELS: Final = ("availability", "bridge", "get", "request", "set")
"""No level of a friendly name: topics beside those of the devices have them."""
_MEASURED: Final = (
    ("power", Quantity.ACTIVE_POWER, -WH_PER_KWH),
    ("voltage", Quantity.VOLTAGE, 0),
    ("current", Quantity.CURRENT, 0),
    ("ac_frequency", Quantity.FREQUENCY, 0),
    ("power_phase_b", Quantity.ACTIVE_POWER_B, -WH_PER_KWH),
    ("power_phase_c", Quantity.ACTIVE_POWER_C, -WH_PER_KWH),
    ("voltage_phase_b", Quantity.VOLTAGE_B, 0),
    ("voltage_phase_c", Quantity.VOLTAGE_C, 0),
    ("current_phase_b", Quantity.CURRENT_B, 0),
    ("current_phase_c", Quantity.CURRENT_C, 0),
)


class Zigbee2Mqtt:
    """The devices with these friendly names.

    Questions and commands go out with QoS 0, so that no broker keeps a trip for later."""

    read_freeze = None
    read_identity = None
    echo = None

    def __init__(self, devices: Sequence[str], prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._devices = frozenset(devices)
        self.subscriptions = tuple(
            topic
            for device in devices
            for topic in (f"{prefix}/{device}", f"{prefix}/{device}/availability")
        )

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return self._to(device, "get", {"energy": ""}, "energy")

    def read_relay(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return self._to(device, "get", {"state": ""}, "state")

    def control(
        self,
        device: str,
        action: Action,
        command_id: UUID,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        return self._to(device, "set", {"state": "OFF" if action == "trip" else "ON"}, "state")

    def presence(self, *, is_online: bool) -> None:
        """No device of this family asks whether we are there."""

    def is_control(self, topic: str, payload: bytes) -> bool:
        """Every message that sets something, also of a group or of the bridge itself."""
        return topic.endswith("/set") or "/set/" in topic or "/request/" in topic

    def events(self, topic: str, payload: bytes) -> list[Event]:
        """See Family."""
        name = topic.removeprefix(f"{self._prefix}/")
        if name == topic:
            return []
        if name in self._devices:
            return _told(topic, name, json_object(topic, payload))
        # A friendly name may have levels itself: floor/kitchen.
        device, _, last = name.rpartition("/")
        if last == "availability" and device in self._devices:
            return [PresenceReport(device, _is_online(topic, payload))]
        return []

    def _to(self, device: str, verb: str, content: dict[str, str], answer: str) -> Outgoing:
        payload = msgspec.json.encode(content)
        return Outgoing(f"{self._prefix}/{device}/{verb}", payload, f"{device}/{answer}", 0)


def _told(topic: str, device: str, content: dict[str, Any]) -> list[Event]:
    events: list[Event] = []
    if content.get("energy") is not None:
        values = {
            quantity: scaled(number(topic, name, content[name]), exponent)
            for name, quantity, exponent in _MEASURED
            if name in content
        }
        kwh = energy(topic, "energy", content["energy"])
        # Without a time: what is repeated of an hour ago must not be the value of midnight.
        events.append(RegisterReport(device, (kwh,), values, None, f"{device}/energy"))
    state = content.get("state")
    if state in ("ON", "OFF"):
        is_open = state == "OFF"
        events.append(RelayReport(device, is_open, is_open, token=f"{device}/state"))
    return events


def _is_online(topic: str, payload: bytes) -> bool:
    """JSON with a state, or the plain word of older versions."""
    word = payload
    if payload.startswith(b"{"):
        word = str(json_object(topic, payload).get("state")).encode()
    if word not in (b"online", b"offline"):
        raise FrameError(f"{topic}: {payload[:40]!r} is neither online nor offline")
    return word == b"online"
