"""Whether values that a profile reads can be meant: one of another meter reads numbers, too.

A legal answer says nothing of the profile: words in another order, another function or another
version of the meter give numbers all the same."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from protocols.reading import Quantity

Found = Mapping[Quantity, Decimal | None]
RANGES: Final[Mapping[str, tuple[Decimal, Decimal]]] = {
    "kWh": (Decimal(0), Decimal(1_000_000_000)),
    "kvarh": (Decimal(0), Decimal(1_000_000_000)),
    "V": (Decimal(0), Decimal(1_000_000)),
    "A": (Decimal(-100_000), Decimal(100_000)),
    "kW": (Decimal(-1_000_000), Decimal(1_000_000)),
    "kvar": (Decimal(-1_000_000), Decimal(1_000_000)),
    "kVA": (Decimal(-1_000_000), Decimal(1_000_000)),
    # Of a power factor; a little more than 1 comes of rounding.
    "": (Decimal("-1.01"), Decimal("1.01")),
    "Hz": (Decimal(45), Decimal(65)),
}
"""Least and most of each unit, from a flat to a substation with its transformers counted in."""
LEAST: Final = Decimal("1e-6")
"""Below it no meter measures anything: a float so small is one with its words swapped."""
FAR_ABOVE: Final = Decimal("1.01")
FAR_ABOVE_KWH: Final = Decimal(1)
"""A total of both directions may be this much above their sum: they are not read at one moment."""


def implausible(found: Found) -> list[str]:
    """What cannot be meant, each in words; nothing is said of a quantity without value."""
    words = []
    for quantity, value in found.items():
        reason = None if value is None else _out_of_reason(quantity, value)
        if reason is not None:
            words.append(f"{quantity.label} {value:.6g} {quantity.unit}".rstrip() + f": {reason}")
    if not words:
        words += _unlike_its_parts(found)
    return words


def _out_of_reason(quantity: Quantity, value: Decimal) -> str | None:
    # A meter that measures nothing says 0, also of the frequency.
    if value == 0 or quantity.unit not in RANGES:
        return None
    if abs(value) < LEAST:
        return "too small to be measured"
    least, most = RANGES[quantity.unit]
    if least <= value <= most:
        return None
    return f"must be from {least} to {most}"


def _unlike_its_parts(found: Found) -> list[str]:
    """A total that is far above what both directions have together.

    So reads the profile of one version of a meter that of another, whose directions it finds where
    nothing is: 0 kWh for ever."""
    total = found.get(Quantity.COMBINED_ACTIVE_ENERGY)
    forward = found.get(Quantity.FORWARD_ACTIVE_ENERGY)
    if total is None or forward is None:
        return []
    reverse = found.get(Quantity.REVERSE_ACTIVE_ENERGY) or Decimal(0)
    if total <= (forward + reverse) * FAR_ABOVE + FAR_ABOVE_KWH:
        return []
    return [
        f"combined_active_energy {total:.6g} kWh: far above forward {forward:.6g} kWh and "
        f"reverse {reverse:.6g} kWh together, as in another version of the meter"
    ]
