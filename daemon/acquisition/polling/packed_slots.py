"""What one poll is still to read, slot after slot: each is one number, because thousands of lines
have such a plan."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

AGE_BITS = 6
STEP_BITS = 2
NTH_BITS = 6
MOST_AGE = (1 << AGE_BITS) - 1
MOST_NTH = (1 << NTH_BITS) - 1
STEP_AT = AGE_BITS
NTH_AT = STEP_AT + STEP_BITS
NUMBER_AT = NTH_AT + NTH_BITS
STEP_MASK = (1 << STEP_BITS) - 1


def entry(
    number: int,
    age: int,
    nth: int,
    step: int,
) -> int:
    """One slot, as a number.

    `number`: of the meter on its line; `age`: of the day, 0 = the day of the poll; `nth`: the daily
    freeze of that day, 1 = newest; `step`: what is asked first, CLOCK, STAMP or ENERGIES of
    `protocols.dlt645.prepared.steps`."""
    return number << NUMBER_AT | nth << NTH_AT | step << STEP_AT | age


def plan(slots: Iterable[int] = ()) -> array[int]:
    """Slots to be read, given in their order; they are taken from the end."""
    made = array("Q", slots)
    made.reverse()
    return made
