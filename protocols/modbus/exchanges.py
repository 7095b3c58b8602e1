"""What is asked of a Modbus meter: blocks of registers, quantities by profile, the relay.

Every exchange works on RTU and on TCP; `blocks` says how a late answer is kept from being taken for
another one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from decimal import Decimal
from typing import Final, Literal

from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadDiscreteInputsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.pdu import ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from protocols.errors import FrameError, MeterRefused
from protocols.exchange import Codec, Exchange
from protocols.modbus.blocks import Block, Learnt, block_of, plan, unlike, widened
from protocols.modbus.describe import EXCEPTION_NAMES
from protocols.modbus.frame import (
    BROADCAST,
    EXCEPTION,
    Frame,
    encode_rtu,
    encode_tcp,
    parse,
    request,
    rtu_answers,
    tcp_answers,
)
from protocols.modbus.functions import (
    BIT_READS,
    MOST_REGISTERS,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT_REGISTERS,
    READ_INPUTS,
    REGISTER_READS,
    WRITES,
)
from protocols.modbus.profile import Item, Profile
from protocols.modbus.values import decode, decode_serial
from protocols.reading import Quantity

ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
TOO_MUCH: Final = frozenset({ILLEGAL_ADDRESS, ILLEGAL_VALUE})
"""How meters refuse a read over a hole or over their limit."""
RelayMove = Literal["trip", "close"]

_READS: Final[dict[int, type[ModbusPDU]]] = {
    READ_COILS: ReadCoilsRequest,
    READ_INPUTS: ReadDiscreteInputsRequest,
    READ_HOLDING: ReadHoldingRegistersRequest,
    READ_INPUT_REGISTERS: ReadInputRegistersRequest,
}


def is_answer(sent: Frame, frame: Frame) -> bool:
    """True when unit and function are those of the request, and its answer has this shape.

    The shape is the byte count of a read, the register and value or count of a write.
    """
    if frame.is_request or frame.unit != sent.unit or frame.function != sent.function:
        return False
    if frame.pdu[0] & EXCEPTION:
        return True
    if sent.function in WRITES:
        return frame.pdu[1:5] == sent.pdu[1:5]
    count = int.from_bytes(sent.pdu[3:5], "big")
    byte_count = 2 * count if sent.function in REGISTER_READS else (count + 7) // 8
    return frame.pdu[1] == byte_count


def _is_answer_tcp(sent: Frame, frame: Frame) -> bool:
    return frame.transaction == sent.transaction and is_answer(sent, frame)


def _addressee(frame: Frame) -> str:
    return f"unit {frame.unit}"


def _is_control(frame: Frame) -> bool:
    # Which write moves a relay only the meter knows: no location of it is standard.
    return frame.is_request and frame.function in WRITES


codec_rtu: Final[Codec[Frame]] = Codec(
    encode=encode_rtu,
    new_decoder=rtu_answers,
    addressee=_addressee,
    is_answer=is_answer,
    has_answer=lambda frame: frame.unit != BROADCAST,
    is_control=_is_control,
    is_write=lambda frame: frame.function in WRITES,
)
"""RTU, on a serial line or over TCP: the bytes are the same."""
codec_tcp: Final[Codec[Frame]] = Codec(
    encode=encode_tcp,
    new_decoder=tcp_answers,
    addressee=_addressee,
    is_answer=_is_answer_tcp,
    has_answer=lambda frame: True,
    is_control=_is_control,
    is_write=lambda frame: frame.function in WRITES,
)
"""Modbus TCP. An answer must repeat the number of its request, so a late one is never taken for the
next."""


def read_block(unit: int, block: Block) -> Exchange[Frame, tuple[int, ...]]:
    """The registers of a block as they came, or its bits as 0 and 1.

    MeterRefused with the exception code as `word`.
    """
    kind = _READS[block.function]
    answer = yield request(unit, kind(address=block.register, count=block.count))
    _check(unit, answer, f"{_registers(block)} (function {block.function})")
    message = parse(answer.pdu, is_request=False)
    if block.function in BIT_READS:
        return tuple(map(int, message.bits[: block.count]))
    return tuple(message.registers)


def read_quantities(
    unit: int,
    profile: Profile,
    quantities: Collection[Quantity],
    learnt: Learnt | None = None,
) -> Exchange[Frame, dict[Quantity, Decimal | None]]:
    """The quantities, in as few reads as the profile allows.

    None where the meter has no value or not that register.

    A read that the meter refuses with exception 02 or 03 is halved until it works, and `learnt`
    keeps the places. MeterRefused for another exception, or when the meter refuses every single
    item; FrameError for a quantity that the profile does not have.
    """
    learnt = learnt or Learnt()
    items = [_item(profile, quantity) for quantity in quantities]
    # A meter that has none of them is asked again each time.
    wanted = [item for item in items if not learnt.is_absent(item)] or items
    found: dict[Quantity, Decimal | None] = dict.fromkeys(quantities)
    groups = plan(profile, wanted, learnt.cuts)[::-1]
    refusal: MeterRefused | None = None
    has_answered = False
    while groups:
        group = groups.pop()
        try:
            values = yield from _read_items(
                unit,
                profile,
                group,
                learnt,
            )
        except MeterRefused as error:
            # Meters fail on long reads and on holes: down to single items before they are believed.
            if error.word not in TOO_MUCH:
                raise
            refusal = error
            groups += learnt.refused(group)
        else:
            has_answered = True
            found |= values
    if refusal is not None and not has_answered:
        raise refusal
    return found


def read_registers(
    unit: int, profile: Profile, learnt: Learnt | None = None
) -> Exchange[Frame, tuple[Decimal | None, ...]]:
    """The forward active total, then its tariffs if the profile has them, in kWh."""
    quantities = profile.registers()
    found = yield from read_quantities(
        unit,
        profile,
        quantities,
        learnt,
    )
    return tuple(found[quantity] for quantity in quantities)


def read_relay(unit: int, profile: Profile, learnt: Learnt | None = None) -> Exchange[Frame, bool]:
    """True when the relay is open, from the register that confirms it.

    FrameError when the profile has no relay, or when the register holds neither the one state nor
    the other."""
    relay = profile.relay
    if relay is None:
        raise FrameError(f"profile {profile.name} has no relay")
    block = Block(relay.confirm_function, relay.confirm_register, 1)
    (register,) = yield from _read_unmistakably(
        unit,
        profile,
        block,
        learnt or Learnt(),
    )
    # There is no standard location of a relay, and a register may hold more than its state.
    state = register & relay.confirm_mask
    if state not in (relay.open, relay.closed):
        expected = f"open is {relay.open}, closed is {relay.closed}"
        raise FrameError(
            f"unit {unit}: relay register {relay.confirm_register:04X} holds {state}: {expected}"
        )
    return state == relay.open


def read_serial(
    unit: int, profile: Profile, learnt: Learnt | None = None
) -> Exchange[Frame, str | None]:
    """Which meter it is, as the profile says where that stands; None where none was written.

    FrameError when the profile does not say it."""
    serial = profile.serial
    if serial is None:
        raise FrameError(f"profile {profile.name} has no serial number")
    registers = yield from _read_unmistakably(
        unit,
        profile,
        Block(serial.function, serial.register, serial.count),
        learnt or Learnt(),
    )
    return decode_serial(serial, registers)


def set_relay(unit: int, profile: Profile, action: RelayMove) -> Exchange[Frame, None]:
    """Write what moves the relay; returns when the meter has accepted it.

    Whether the relay moved only `read_relay` tells, from another read, and relays need their time.
    MeterRefused; FrameError without relay.
    """
    relay = profile.relay
    if relay is None:
        raise FrameError(f"profile {profile.name} has no relay")
    value = relay.trip if action == "trip" else relay.close
    address = relay.write_register
    message: ModbusPDU
    # Some meters (DDS238) take function 16 only, even for a single register.
    match relay.write_function:
        case 5:
            message = WriteSingleCoilRequest(address=address, bits=[bool(value)])
        case 6:
            message = WriteSingleRegisterRequest(address=address, registers=[value])
        case _:
            message = WriteMultipleRegistersRequest(address=address, registers=[value])
    answer = yield request(unit, message)
    _check(unit, answer, f"{action} (function {relay.write_function}, register {address:04X})")


def _read_items(
    unit: int,
    profile: Profile,
    items: list[Item],
    learnt: Learnt,
) -> Exchange[Frame, dict[Quantity, Decimal | None]]:
    block = block_of(items)
    registers = yield from _read_unmistakably(
        unit,
        profile,
        block,
        learnt,
    )
    values = {}
    for item in items:
        at = item.register - block.register
        words = registers[at : at + item.count]
        scale = None
        if item.scale_register is not None:
            scale = registers[item.scale_register - block.register]
        values[item.quantity] = decode(item, words, scale)
    return values


def _read_unmistakably(
    unit: int,
    profile: Profile,
    block: Block,
    learnt: Learnt,
) -> Exchange[Frame, tuple[int, ...]]:
    """Read a block in a shape that no answer which may still come can have."""
    if not learnt.could_be_confused(block):
        return (yield from _read_settled(unit, block, learnt))
    wider = widened(profile, block, learnt)
    if wider is None:
        other = unlike(profile, learnt)
        # Only that an answer came matters. Where nothing is unlike, the request is sent as it is:
        # the runner's listening until the line is quiet has to do.
        if other is not None:
            with suppress(MeterRefused):
                yield from _read_settled(unit, other, learnt)
        return (yield from _read_settled(unit, block, learnt))
    try:
        registers = yield from _read_settled(unit, wider, learnt)
    except MeterRefused as refusal:
        if refusal.word not in TOO_MUCH:
            raise
        learnt.cuts |= {(block.function, block.register), (block.function, block.end)}
        return (yield from _read_settled(unit, block, learnt))
    at = block.register - wider.register
    return registers[at : at + block.count]


def _read_settled(unit: int, block: Block, learnt: Learnt) -> Exchange[Frame, tuple[int, ...]]:
    """Read a block and keep the account of what may still be answered.

    A refusal has no shape and settles nothing.
    """
    learnt.request_sent(block)
    registers = yield from read_block(unit, block)
    learnt.answer_received(block)
    return registers


def _item(profile: Profile, quantity: Quantity) -> Item:
    item = profile.item(quantity)
    if item is None:
        raise FrameError(f"profile {profile.name} has no {quantity.label}")
    return item


def _check(unit: int, answer: Frame, asked: str) -> None:
    if code := answer.exception:
        name = EXCEPTION_NAMES.get(code)
        raise MeterRefused(
            f"unit {unit}",
            asked,
            code,
            (name,) if name else (),
        )


def _registers(block: Block) -> str:
    last = block.register + block.count - 1
    what = f"register {block.register:04X}"
    return what if block.count == 1 else f"registers {block.register:04X} to {last:04X}"


assert MOST_REGISTERS == ReadHoldingRegistersRequest.MAX_COUNT
