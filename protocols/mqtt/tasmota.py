"""Tasmota: one device for each topic, energy in kWh, questions answered without a token.

`tele/{device}/SENSOR` and `stat/{device}/STATUS8` carry ENERGY.Total (kWh), `stat/{device}/POWER`
the relay, `tele/{device}/LWT` Online or Offline. Its time has no zone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
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

_MEASURED = (
    ("Power", Quantity.ACTIVE_POWER, -WH_PER_KWH),
    ("Voltage", Quantity.VOLTAGE, 0),
    ("Current", Quantity.CURRENT, 0),
)


class Tasmota:
    """The devices with these topics.

    A device has no token: its answer is known by the topic it comes on. Commands and requests go
    out with QoS 0, so that no broker keeps a trip for a device that is away.
    """

    read_freeze = None
    echo = None

    def __init__(self, devices: Sequence[str]) -> None:
        self.subscriptions = tuple(
            topic
            for device in devices
            for topic in (
                f"tele/{device}/SENSOR",
                f"tele/{device}/LWT",
                f"stat/{device}/STATUS5",
                f"stat/{device}/STATUS8",
                f"stat/{device}/POWER",
            )
        )

    def read_registers(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return Outgoing(f"cmnd/{device}/STATUS", b"8", f"{device}/STATUS8", 0)

    def read_relay(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family."""
        return Outgoing(f"cmnd/{device}/POWER", b"", f"{device}/POWER", 0)

    def read_identity(self, device: str, token: str, expires: datetime) -> Outgoing:
        """See Family. A device has no serial number but the address of its radio."""
        return Outgoing(f"cmnd/{device}/STATUS", b"5", f"{device}/STATUS5", 0)

    def control(
        self,
        device: str,
        action: Action,
        command_id: UUID,
        token: str,
        expires: datetime,
    ) -> Outgoing:
        """See Family."""
        payload = b"OFF" if action == "trip" else b"ON"
        return Outgoing(f"cmnd/{device}/POWER", payload, f"{device}/POWER", 0)

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
        device, _, last = rest.rpartition("/")
        match kind, last:
            case "tele", "LWT":
                return [PresenceReport(device, _one_of(topic, payload, b"Offline", b"Online"))]
            case "tele", "SENSOR":
                return _sensor(topic, device, json_object(topic, payload), None)
            case "stat", "STATUS8":
                content = table(topic, json_object(topic, payload), "StatusSNS")
                return _sensor(topic, device, content, f"{device}/STATUS8")
            case "stat", "STATUS5":
                content = table(topic, json_object(topic, payload), "StatusNET")
                mac = text(topic, "StatusNET.Mac", content.get("Mac"))
                serial = mac and mac.replace(":", "").upper()
                return [IdentityReport(device, serial, token=f"{device}/STATUS5")]
            case "stat", "POWER":
                is_closed = _one_of(topic, payload, b"OFF", b"ON")
                return [RelayReport(device, not is_closed, not is_closed, token=f"{device}/POWER")]
        return []


def _sensor(topic: str, device: str, content: dict[str, Any], token: str | None) -> list[Event]:
    found = table(topic, content, "ENERGY")
    if "Total" not in found:
        return []
    # A number, or one for each of three phases.
    total = found["Total"]
    registers = (
        tuple(energy(topic, "ENERGY.Total", phase) for phase in total)
        if isinstance(total, list)
        else None
    )
    values = {
        quantity: scaled(number(topic, f"ENERGY.{name}", found[name]), exponent)
        for name, quantity, exponent in _MEASURED
        if name in found and not isinstance(found[name], list)
    }
    whole = _sum(registers) if registers is not None else energy(topic, "ENERGY.Total", total)
    return [
        RegisterReport(
            device,
            (whole,),
            values,
            wall_time(topic, "Time", content.get("Time")),
            token,
        )
    ]


def _sum(phases: Sequence[Decimal | None]) -> Decimal | None:
    """The total of the phases; missing if one of them is."""
    known = [phase for phase in phases if phase is not None]
    return sum(known, Decimal(0)) if known and len(known) == len(phases) else None


def _one_of(topic: str, payload: bytes, no: bytes, yes: bytes) -> bool:
    if payload not in (no, yes):
        raise FrameError(f"{topic}: {payload[:40]!r} is neither {no.decode()} nor {yes.decode()}")
    return payload == yes
