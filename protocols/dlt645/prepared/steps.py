"""The steps in which a daily freeze is read, as data: the same for one meter and for many at once.

The time of day tells whether the meter's clock can be trusted with a midnight, the stamp which day
the freeze is of, the energies what is billed."""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

from protocols.dlt645.bcd import ENERGY_WIDTH
from protocols.dlt645.prepared.one import REGISTERS, PreparedEnergies, PreparedRead


class Step(NamedTuple):
    """What is read. `identifier`: as printed, the last byte zero where it is the index of a freeze;
    `width`: bytes of data behind it."""

    identifier: str
    width: int
    is_of_freeze: bool


STEPS: Final = (
    Step("04000102", 3, is_of_freeze=False),
    Step("05060000", 5, is_of_freeze=True),
    Step("05060100", REGISTERS * ENERGY_WIDTH, is_of_freeze=True),
)
CLOCK, STAMP, ENERGIES = range(len(STEPS))
"""The place in STEPS of: the time of day; the time stamp of a daily freeze; its forward active
energies. They are taken in this order."""


@cache
def reads_of(nth: int) -> tuple[PreparedRead, ...]:
    """The reads of all steps; `nth`: of which daily freeze, 1 = newest."""
    return tuple(_read_of(step, nth) for step in range(len(STEPS)))


def _read_of(step: int, nth: int) -> PreparedRead:
    identifier, width, is_of_freeze = STEPS[step]
    if is_of_freeze:
        identifier = f"{identifier[:-2]}{nth:02X}"
    return PreparedEnergies(identifier) if step == ENERGIES else PreparedRead(identifier, width)
