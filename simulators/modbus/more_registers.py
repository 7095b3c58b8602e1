"""Registers that real meters answer besides those that a profile of ours names.

A profile names what a bill and a look at the supply need. Other masters read more, and stop where
one register is refused that the real meter has."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple, cast

from protocols.modbus.profile import Item, Order, RegisterType
from protocols.reading import Quantity

TABLE: Final = "more_registers.csv"
_BY_LABEL: Final = {quantity.label: quantity for quantity in Quantity}


class Told(NamedTuple):
    """What stands in a place. `label`: of a quantity, or of one that is ours to simulate alone."""

    item: Item
    label: str


def more_registers(profile: str) -> tuple[Told, ...]:
    """What a meter of this profile answers besides."""
    return _table().get(profile, ())


@cache
def _table() -> Mapping[str, tuple[Told, ...]]:
    found: defaultdict[str, list[Told]] = defaultdict(list)
    text = files("simulators.modbus").joinpath(TABLE).read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        item = Item(
            # The unit alone counts here, and only in an error.
            _BY_LABEL.get(row["tells"], Quantity.POWER_FACTOR),
            int(row["function"]),
            int(row["register"], 16),
            cast(RegisterType, row["type"]),
            cast(Order, row["order"]),
            Decimal(row["factor"]),
        )
        found[row["profile"]].append(Told(item, row["tells"]))
    return {profile: tuple(told) for profile, told in found.items()}
