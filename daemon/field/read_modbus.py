"""Reads one Modbus meter: quantities by its register profile, and its relay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from config.profiles import load_profile
from daemon.field.connection import Connection
from protocols.errors import MeterdError
from protocols.modbus.exchanges import codec_rtu, codec_tcp, read_quantities, read_relay
from protocols.modbus.plausibility import implausible
from protocols.modbus.profile import Profile
from protocols.reading import Quantity

CODECS: Final = {"modbus-rtu": codec_rtu, "modbus-tcp": codec_tcp}
RELAY: Final = "relay"
GROUPS: Final = {
    "energy": "forward_active_energy",
    "voltage": "voltage",
    "current": "current",
    "power": "active_power",
}
"""A word for all quantities whose names begin so."""

ModbusValue = tuple[str, Decimal | str | None, str]
"""Name, value and unit; None where the meter has no value."""


class ImplausibleReading(MeterdError):
    """Values that no meter means: another profile, or another meter. The person who asked acts."""


class UnknownQuantity(MeterdError):
    """A name that the profile does not have. The person who asked acts."""


@dataclass(frozen=True, slots=True)
class ModbusReadRequest:
    """What one meter is asked: `names` of quantities, of groups, or `relay`."""

    protocol: str
    unit: int
    profile: str
    names: tuple[str, ...]


async def read_modbus(connection: Connection, request: ModbusReadRequest) -> list[ModbusValue]:
    """The values in the order of the names, the relay last.

    UnknownQuantity; ConfigError for the profile's mistakes; ImplausibleReading; LineDown, NoReply,
    MeterRefused, FrameError."""
    # Profile and names are understood before the line is opened.
    profile = load_profile(request.profile)
    names = [name for name in request.names if name != RELAY]
    quantities = chosen_quantities(profile, names)
    rows: list[ModbusValue] = []
    async with connection.conversation(CODECS[request.protocol]) as conversation:
        if quantities:
            found = await conversation.run(read_quantities(request.unit, profile, quantities))
            if doubts := implausible(found):
                raise ImplausibleReading(
                    f"unit {request.unit}: these values cannot be meant:\n  "
                    + "\n  ".join(doubts)
                    + f"\nIs {profile.name} the profile of this meter? meterd probe shows what its "
                    "registers could mean; compare with its display."
                )
            rows += [(quantity.label, value, quantity.unit) for quantity, value in found.items()]
        if RELAY in request.names:
            is_open = await conversation.run(read_relay(request.unit, profile))
            rows.append((RELAY, "open" if is_open else "closed", ""))
    return rows


def chosen_quantities(profile: Profile, names: Iterable[str]) -> list[Quantity]:
    """The profile's quantities that the names mean, each once. UnknownQuantity."""
    known = {quantity.label: quantity for quantity in profile.quantities()}
    chosen: dict[Quantity, None] = {}
    for name in names:
        labels = _labels(known, name)
        if not labels:
            relay = f" and {RELAY}" if profile.relay else ""
            raise UnknownQuantity(
                f"{name}: profile {profile.name} has {', '.join([*GROUPS, *known])}{relay}"
            )
        chosen |= dict.fromkeys(known[label] for label in labels)
    return list(chosen)


def _labels(known: Iterable[str], name: str) -> list[str]:
    if name in known:
        return [name]
    if name not in GROUPS:
        return []
    return [label for label in known if label.startswith(GROUPS[name])]
