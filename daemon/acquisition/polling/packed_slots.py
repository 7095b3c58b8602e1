"""What one poll is still to read, slot after slot: each is one number, because thousands of lines
have such a plan."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

AGE_BITS, READ_BITS, NTH_BITS = 6, 2, 6
MOST_AGE = (1 << AGE_BITS) - 1
MOST_NTH = (1 << NTH_BITS) - 1
READ_AT = AGE_BITS
NTH_AT = READ_AT + READ_BITS
NUMBER_AT = NTH_AT + NTH_BITS
READ_MASK = (1 << READ_BITS) - 1


def entry(number: int, age: int, nth: int, read: int) -> int:
    """One slot. `number`: of the meter on its line; `age`: of the day, 0 = the day of the poll;
    `nth`: the daily freeze of that day, 1 = newest; `read`: what is asked first, CLOCK, STAMP or
    ENERGIES of `protocols.dlt645.prepared.many`."""
    return number << NUMBER_AT | nth << NTH_AT | read << READ_AT | age


def plan(slots: Iterable[int] = ()) -> array[int]:
    """Slots to be read, given in their order; they are taken from the end."""
    made = array("Q", slots)
    made.reverse()
    return made
