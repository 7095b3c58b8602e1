"""Checks of what stands in the registers, by the profile of the meter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Final

from daemon.field.certify.bench import CheckFailed, NotTested, need
from daemon.field.certify.modbus.subject import Subject, request_of
from protocols.errors import FrameError
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import RelayMove, set_relay
from protocols.modbus.frame import parse
from protocols.modbus.plausibility import implausible
from protocols.modbus.profile import Item, Order, Profile
from protocols.modbus.values import decode
from protocols.reading import Quantity

SWAPPED: Final[dict[Order, Order]] = {
    "ABCD": "CDAB",
    "CDAB": "ABCD",
    "BADC": "DCBA",
    "DCBA": "BADC",
}
MOVES_WITHIN_S: Final = 10.0
LOOK_AGAIN_S: Final = 0.25


async def every_item(meter: Subject) -> str:
    """Each quantity of the profile can be read by itself."""
    profile = _profile(meter)
    for item in profile.items:
        await _read_item(meter, item)
    return f"{len(profile.items)} quantities"


async def plausible(meter: Subject) -> str:
    """The quantities are what a meter can mean."""
    found = {item.quantity: await _read_item(meter, item) for item in _profile(meter).items}
    doubts = implausible(found)
    need(not doubts, "; ".join(doubts))
    return ", ".join(
        f"{quantity.label} {value} {quantity.unit}".rstrip()
        for quantity, value in list(found.items())[:4]
    )


async def word_order(meter: Subject) -> str:
    """With its words swapped a value means nothing."""
    for item in _profile(meter).items:
        if item.count < 2 or item.type.startswith(("bcd", "mod")):
            continue
        value = await _read_item(meter, item)
        swapped = replace(item, order=SWAPPED[item.order])
        if value:
            return await _is_telling(meter, item, swapped, value)
    raise NotTested("no value of two registers is other than 0")


async def _is_telling(meter: Subject, item: Item, swapped: Item, value: Decimal) -> str:
    if implausible({item.quantity: value}):
        try:
            other = await _read_item(meter, swapped)
        except FrameError:
            other = None
        good = other is not None and not implausible({item.quantity: other})
        raise CheckFailed(
            f"{item.quantity.label} is {value} {item.quantity.unit}"
            + (f", and {other} with its words swapped" if good else "")
        )
    return f"{item.quantity.label} is {value} {item.quantity.unit} in the order {item.order}"


async def whole_spans(meter: Subject) -> str:
    """What the profile calls readable can be read over, gaps too, up to its limit."""
    profile = _profile(meter)
    if not profile.readable:
        raise NotTested("the profile calls nothing readable")
    function = profile.items[0].function
    for span in profile.readable:
        count = min(span.last - span.first + 1, profile.limit)
        answer = await meter.read(Block(function, span.first, count))
        need(
            not answer.exception,
            f"{count} registers from {span.first:04X} are refused with {answer.exception:02X}",
        )
    return f"{len(profile.readable)} spans, {profile.limit} registers at once"


async def does_not_run_back(meter: Subject) -> str:
    """The energy of now is no less than that of a moment ago."""
    item = _profile(meter).item(Quantity.FORWARD_ACTIVE_ENERGY)
    if item is None:
        raise NotTested("the profile has no energy")
    first = await _read_item(meter, item)
    second = await _read_item(meter, item)
    if first is None or second is None:
        raise NotTested("it has no value")
    need(second >= first, f"{first} kWh, then {second} kWh")
    return f"{second} kWh"


async def relay_state(meter: Subject) -> str:
    """The relay's register says open or closed."""
    return "open" if await _is_open(meter) else "closed"


async def relay_moves(meter: Subject) -> str:
    """The relay opens and closes again, and its register says so."""
    if await _is_open(meter):
        raise NotTested("the relay is open already")
    await _move(meter, "trip")
    try:
        await _until(meter, is_open=True)
    finally:
        await _move(meter, "close")
    await _until(meter, is_open=False)
    return "opened, closed"


async def _move(meter: Subject, move: RelayMove) -> None:
    answer = await meter.answer(next(set_relay(meter.unit, _profile(meter), move)))
    need(not answer.exception, f"{move} is refused with exception {answer.exception:02X}")


async def _until(meter: Subject, *, is_open: bool) -> None:
    clock = asyncio.get_running_loop().time
    until = clock() + MOVES_WITHIN_S
    while await _is_open(meter) is not is_open:
        state = "closed" if is_open else "open"
        need(clock() < until, f"{MOVES_WITHIN_S:g} s after the command the relay is {state}")
        await asyncio.sleep(LOOK_AGAIN_S)


async def _is_open(meter: Subject) -> bool:
    relay = _profile(meter).relay
    if relay is None:
        raise NotTested("the profile has no relay")
    block = Block(relay.confirm_function, relay.confirm_register, 1)
    state = (await _words(meter, block))[0] & relay.confirm_mask
    need(state in (relay.open, relay.closed), f"it holds {state}")
    return state == relay.open


def _profile(meter: Subject) -> Profile:
    if meter.profile is None:
        raise NotTested("no --profile says what stands in its registers")
    return meter.profile


async def _read_item(meter: Subject, item: Item) -> Decimal | None:
    words = await _words(meter, Block(item.function, item.first, item.span))
    at = item.register - item.first
    scale = None
    if item.scale_register is not None:
        scale = words[item.scale_register - item.first]
    return decode(item, tuple(words[at : at + item.count]), scale)


async def _words(meter: Subject, block: Block) -> list[int]:
    """The registers, or bits, of a block. CheckFailed."""
    answer = await meter.answer(request_of(meter.unit, block))
    need(
        not answer.exception,
        f"{block.count} from {block.register:04X} are refused with {answer.exception:02X}",
    )
    message = parse(answer.pdu, is_request=False)
    values = message.registers or [int(bit) for bit in message.bits[: block.count]]
    need(len(values) == block.count, f"{len(values)} values came for {block.count}")
    return list(values)
