"""Checks of what is told: energies, refusals, long blocks."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from daemon.field.certify.bench import CheckFailed, NotTested, hexed, need
from daemon.field.certify.dlt645.subject import (
    ENERGIES,
    ENERGY,
    NO_SUCH_DATA,
    WRAP_KWH,
    Subject,
    difference,
    registers,
)
from protocols.dlt645 import functions
from protocols.dlt645.bcd import (
    decode_bcd,
)
from protocols.dlt645.frame import (
    Frame,
)
from protocols.dlt645.messages import identifier_on_the_wire

NOBODYS: Final = "0E0E0E0E"
"""An identifier that no document has."""
LONG_BLOCKS: Final = ("0506FF01", "0000FF00", "0001FF00", "040105FF", "0400FF00")
"""Blocks that fill more than a frame in meters with short ones."""
TARIFF_STEP: Final = Decimal("0.01")


async def unknown_identifier(meter: Subject) -> str:
    """No such data: D1 with bit 1."""
    answer = await meter.read(NOBODYS)
    need(answer.is_abnormal, f"{NOBODYS} is answered with {hexed(answer.data[4:])}")
    need(bool(answer.data), "the refusal has no error word")
    need(bool(answer.data[0] & NO_SUCH_DATA), f"the error word is {hexed(answer.data)}")
    return f"refused with {answer.control:02X} {hexed(answer.data)}"


async def error_word(meter: Subject) -> str:
    """A refusal has one error byte."""
    answer = await meter.read(NOBODYS)
    if not answer.is_abnormal:
        raise NotTested("nothing is refused")
    need(len(answer.data) == 1, f"it has {len(answer.data)} bytes: {hexed(answer.data)}")
    need(answer.control == 0xD1, f"the control byte is {answer.control:02X}")
    return "one byte behind D1"


async def energy(meter: Subject) -> str:
    """An energy is four bytes of BCD."""
    data = await meter.data(ENERGY)
    need(len(data) == 4, f"it has {len(data)} bytes, not 4")
    return f"{decode_bcd(data, 2)} kWh"


async def total_first(meter: Subject) -> str:
    """A block has the total first."""
    before = decode_bcd(await meter.data(ENERGY), 2)
    block = await registers(meter, ENERGIES)
    after = decode_bcd(await meter.data(ENERGY), 2)
    total = block[0]
    if total is None:
        raise CheckFailed("the block has no total")
    need(before <= total <= after, f"the block says {total}, the total alone {before}")
    return f"{len(block)} registers, the first is the total"


async def tariffs(meter: Subject) -> str:
    """Rates add up to the total."""
    block = await registers(meter, ENERGIES)
    rates = [rate for rate in block[1:] if rate is not None]
    total = block[0]
    if not rates or total is None:
        raise NotTested("there are no rates")
    total_of_rates = sum(rates, Decimal())
    # The total begins anew before its rates do.
    apart = difference(total_of_rates, total)
    need(
        min(apart, WRAP_KWH - apart) <= TARIFF_STEP * len(rates),
        f"the rates add up to {total_of_rates}, the total is {total}",
    )
    return f"{len(rates)} rates add up to {total_of_rates}"


async def follow_up(meter: Subject) -> str:
    """Parts of a long block have numbers and an end."""
    for identifier in LONG_BLOCKS:
        first = await meter.read(identifier)
        if first.has_more and not first.is_abnormal:
            return await _follow(meter, identifier)
    raise NotTested("no block fills more than one frame")


async def _follow(meter: Subject, identifier: str) -> str:
    wanted = identifier_on_the_wire(identifier)
    number = 0
    has_more = True
    while has_more:
        number += 1
        request = Frame(meter.address, functions.READ_FOLLOW, wanted + bytes((number,)))
        answer = await meter.answer(request)
        need(not answer.is_abnormal, f"part {number} is refused with {hexed(answer.data)}")
        need(answer.data[-1:] == bytes((number,)), f"part {number} ends with {answer.data[-1:]!r}")
        has_more = answer.has_more
    again = Frame(meter.address, functions.READ_FOLLOW, wanted + bytes((number + 1,)))
    beyond = await meter.answer(again)
    need(beyond.is_abnormal, f"a part {number + 1} comes behind the last one")
    return f"{identifier} has {number} further parts"
