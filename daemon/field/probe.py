"""Reads a raw block of Modbus registers and what each of them could mean."""

from __future__ import annotations

from dataclasses import dataclass

from daemon.field.connection import Connection
from daemon.field.read_modbus import CODECS
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import read_block
from protocols.modbus.probing import Reading, best, readings


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The registers and every way to read them.

    `likeliest`: those ways that share no register and look most like a meter's."""

    registers: tuple[int, ...]
    readings: list[Reading]
    likeliest: list[Reading]


async def probe(connection: Connection, protocol: str, unit: int, block: Block) -> ProbeResult:
    """What stands in the block. LineDown, NoReply, MeterRefused, FrameError."""
    async with connection.conversation(CODECS[protocol]) as conversation:
        registers = await conversation.run(read_block(unit, block))
    found = list(readings(block.register, registers))
    return ProbeResult(registers, found, best(found))
