"""The functions of Modbus that we use, and how much one of them may ask for."""

from __future__ import annotations

from typing import Final

READ_COILS: Final = 1
READ_INPUTS: Final = 2
READ_HOLDING: Final = 3
READ_INPUT_REGISTERS: Final = 4
WRITE_COIL: Final = 5
WRITE_REGISTER: Final = 6
WRITE_COILS: Final = 15
WRITE_REGISTERS: Final = 16
REGISTER_READS: Final = frozenset({READ_HOLDING, READ_INPUT_REGISTERS})
BIT_READS: Final = frozenset({READ_COILS, READ_INPUTS})
WRITES: Final = frozenset({WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS})
OUR_FUNCTIONS: Final = REGISTER_READS | BIT_READS | WRITES
MOST_REGISTERS: Final = 125
"""In one read."""
