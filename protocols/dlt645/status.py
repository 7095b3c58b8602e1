"""The bits of the running status words 1 to 7 (04000501 to 04000507)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FLAG: Final = ("no", "yes")
_PHASE_FLAGS: Final = (
    "voltage_loss",
    "under_voltage",
    "over_voltage",
    "current_loss",
    "over_current",
    "overload",
    "power_reversal",
    "phase_break",
    "current_break",
)
"""The bits of words 4, 5 and 6, bit 0 first."""


@dataclass(frozen=True, slots=True)
class Bits:
    """Bits of status word `word` from bit `low` on; `meanings` by their value."""

    word: int
    low: int
    name: str
    meanings: tuple[str, ...] = FLAG

    @property
    def width(self) -> int:
        """Bits that it takes to tell the meanings apart."""
        return (len(self.meanings) - 1).bit_length()

    def value_in(self, word: int) -> int:
        """Their value in a status word."""
        mask = (1 << self.width) - 1
        return word >> self.low & mask


def _phase_flags(word: int, first: int, name: str) -> list[Bits]:
    """One flag for each phase, next to each other."""
    return [Bits(word, first + at, f"{name}_{phase}") for at, phase in enumerate("abc")]


def _flags_of_phase(word: int, phase: str) -> list[Bits]:
    return [Bits(word, at, f"{name}_{phase}") for at, name in enumerate(_PHASE_FLAGS)]


STATUS_BITS: Final = (
    Bits(1, 1, "demand_mode", ("sliding", "block")),
    Bits(1, 2, "clock_battery_low"),
    Bits(1, 3, "reading_battery_low"),
    Bits(1, 4, "active_power_reverse"),
    Bits(1, 5, "reactive_power_reverse"),
    Bits(1, 8, "control_circuit_error"),
    Bits(1, 9, "security_module_error"),
    Bits(1, 12, "program_error"),
    Bits(1, 13, "memory_error"),
    Bits(1, 14, "overdraft"),
    Bits(1, 15, "clock_error"),
    *_phase_flags(2, 0, "active_reverse"),
    *_phase_flags(2, 4, "reactive_reverse"),
    Bits(3, 0, "day_slot_set", ("first", "second")),
    Bits(3, 1, "supply", ("main", "auxiliary", "battery", "reserved")),
    Bits(3, 3, "programming_permitted"),
    Bits(3, 4, "relay", ("closed", "open")),
    Bits(3, 5, "time_zone_set", ("first", "second")),
    Bits(3, 6, "relay_command", ("closed", "open")),
    Bits(3, 7, "pre_trip_alarm"),
    Bits(3, 8, "meter_type", ("not_prepaid", "prepaid_by_energy", "prepaid_by_money", "reserved")),
    Bits(3, 10, "price_set", ("current", "backup")),
    Bits(3, 11, "ladder_set", ("current", "backup")),
    Bits(3, 12, "keep_power"),
    Bits(3, 13, "identity_authenticated"),
    Bits(3, 14, "local_account_not_open"),
    Bits(3, 15, "remote_account_not_open"),
    *_flags_of_phase(4, "a"),
    *_flags_of_phase(5, "b"),
    *_flags_of_phase(6, "c"),
    Bits(7, 0, "voltage_sequence_wrong"),
    Bits(7, 1, "current_sequence_wrong"),
    Bits(7, 2, "voltage_unbalance"),
    Bits(7, 3, "current_unbalance"),
    Bits(7, 4, "auxiliary_power_loss"),
    Bits(7, 5, "power_failure"),
    Bits(7, 6, "demand_over_limit"),
    Bits(7, 7, "power_factor_low"),
    Bits(7, 8, "severe_current_unbalance"),
)
# Word 1 from bit 8 on and word 3 from bit 12 on are the State Grid addendum's, which reserves or
# uses bits 10 and 11 of word 3 for something else.
_BY_WORD: Final = {
    number: [bits for bits in STATUS_BITS if bits.word == number] for number in range(1, 8)
}


def explain(number: int, word: int) -> list[tuple[str, str]]:
    """(name, meaning) of the bits of status word `number`; a flag only when it is set."""
    meanings = []
    for bits in _BY_WORD.get(number, ()):
        value = bits.value_in(word)
        if value or bits.meanings is not FLAG:
            meanings.append((bits.name, bits.meanings[value]))
    return meanings
