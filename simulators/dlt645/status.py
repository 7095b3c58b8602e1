"""The running status words of a simulated meter, 04000501 to 07."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from simulators.dlt645.access import Access
from simulators.dlt645.freezes import has_switched
from simulators.dlt645.prepaid import is_overdrawn
from simulators.state.meter import MeterState

WORDS: Final = 7
_OVERDRAFT: Final = 1 << 14
"""Of word 1, by the State Grid addendum of 2013."""
_METER_TYPE_SHIFT: Final = 8
_SECOND_SETS: Final = {
    0x03: 1 << 0,
    0x02: 1 << 5,
    0x05: 1 << 10,
    0x07: 1 << 11,
}
"""Bits of word 3 that say which set of a table is in effect, by the freeze that the switch is taken
for."""


def status_words(
    state: MeterState,
    access: Access,
    at: datetime,
) -> list[int]:
    """Words 1 to 7. Battery, phases and directions (words 1, 2 and 4 to 7) are always in order."""
    # DL/T 645-2007, 04000501 to 07: 16 bits each.
    words = [0] * WORDS
    if is_overdrawn(state.spec):
        words[0] = _OVERDRAFT
    words[2] = state.relay.status_bits() | access.status_bits()
    words[2] |= state.spec.meter_type << _METER_TYPE_SHIFT
    for kind, bit in _SECOND_SETS.items():
        if has_switched(state, kind, at):
            words[2] |= bit
    return words
