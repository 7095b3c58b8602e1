"""What is asked of a Modbus meter, told as exchanges: blocks of registers, quantities by profile,
the relay.

Every exchange works on RTU and on TCP. An RTU answer names neither register nor request: one that
comes late could be taken for the answer to another question of the same shape. So a question never
has the shape of another one whose answer may still come: it asks for some registers more, or a
question of another shape is put before it, whose answer proves that nothing older is under way,
because a meter answers in order. `Learnt` knows them from exchange to exchange."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
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
from protocols.modbus.describe import EXCEPTION_NAMES
from protocols.modbus.frame import (
    BIT_READS,
    BROADCAST,
    EXCEPTION,
    MOST_REGISTERS,
    READ_COILS,
    READ_HOLDING,
    READ_INPUT_REGISTERS,
    READ_INPUTS,
    REGISTER_READS,
    WRITES,
    Frame,
    encode_rtu,
    encode_tcp,
    parse,
    request,
    rtu_answers,
    tcp_answers,
)
from protocols.modbus.profile import Item, Profile
from protocols.modbus.values import decode
from protocols.reading import Quantity

ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
TOO_MUCH: Final = frozenset({ILLEGAL_ADDRESS, ILLEGAL_VALUE})
"""What meters say to a read over a hole or over their limit."""
REFUSALS_BELIEVED: Final = 2
"""A single register that was refused so often is not asked for any more."""
MOST_UNSETTLED: Final = 16
"""Of so many questions in vain the oldest is surely forgotten by the meter too."""
RelayMove = Literal["trip", "close"]

_READS: Final[dict[int, type[ModbusPDU]]] = {
    READ_COILS: ReadCoilsRequest,
    READ_INPUTS: ReadDiscreteInputsRequest,
    READ_HOLDING: ReadHoldingRegistersRequest,
    READ_INPUT_REGISTERS: ReadInputRegistersRequest,
}


@dataclass(frozen=True, slots=True)
class Block:
    """`count` registers (or bits) from `register` on, in one read."""

    function: int
    register: int
    count: int

    def looks_like(self, other: Block) -> bool:
        """Their answers have the same shape."""
        counts = (self.count, other.count)
        if self.function in BIT_READS:
            counts = ((self.count + 7) // 8, (other.count + 7) // 8)
        return self.function == other.function and counts[0] == counts[1]


@dataclass(slots=True)
class Learnt:
    """What one meter taught us about itself; keep one for each meter and hand it to every exchange
    with it.

    `cuts`: (function, register) before which a read has to end. `refusals`: how often a single item
    was refused. `unsettled`: the reads whose answers may still come, in the order in which they
    were asked."""

    cuts: set[tuple[int, int]] = field(default_factory=set)
    refusals: Counter[tuple[int, int]] = field(default_factory=Counter)
    unsettled: list[Block] = field(default_factory=list)

    def is_absent(self, item: Item) -> bool:
        """The meter does not have it, whatever its profile says."""
        return self.refusals[item.function, item.register] >= REFUSALS_BELIEVED

    def could_be_confused(self, block: Block) -> bool:
        """The answer to another question could be taken for the answer to this one."""
        return any(other != block and other.looks_like(block) for other in self.unsettled)

    def asked(self, block: Block) -> None:
        """Its answer may come from now on."""
        if self.unsettled[-1:] != [block]:
            self.unsettled = [*self.unsettled[1 - MOST_UNSETTLED :], block]

    def answered(self, block: Block) -> None:
        """Nothing that was asked before it can be answered any more; it may have been asked twice
        itself."""
        del self.unsettled[: self.unsettled.index(block)]


def is_answer(asked: Frame, frame: Frame) -> bool:
    """Unit and function are those asked for, and the byte count (a read) or register and value or
    count (a write)."""
    if frame.is_request or frame.unit != asked.unit or frame.function != asked.function:
        return False
    if frame.pdu[0] & EXCEPTION:
        return True
    data, question = frame.pdu[1:], asked.pdu[1:]
    if asked.function in WRITES:
        return data[:4] == question[:4]
    count = int.from_bytes(question[2:4], "big")
    return data[0] == (2 * count if asked.function in REGISTER_READS else (count + 7) // 8)


def _is_answer_tcp(asked: Frame, frame: Frame) -> bool:
    return frame.transaction == asked.transaction and is_answer(asked, frame)


def _addressee(frame: Frame) -> str:
    return f"unit {frame.unit}"


def _is_control(frame: Frame) -> bool:
    """Any write: which of them moves a relay, only the meter knows."""
    return frame.is_request and frame.function in WRITES


codec_rtu: Final[Codec[Frame]] = Codec(
    encode=encode_rtu,
    new_decoder=rtu_answers,
    addressee=_addressee,
    is_answer=is_answer,
    has_answer=lambda frame: frame.unit != BROADCAST,
    is_control=_is_control,
)
"""RTU, on a serial line or over TCP: the bytes are the same."""
codec_tcp: Final[Codec[Frame]] = Codec(
    encode=encode_tcp,
    new_decoder=tcp_answers,
    addressee=_addressee,
    is_answer=_is_answer_tcp,
    has_answer=lambda frame: True,
    is_control=_is_control,
)
"""Modbus TCP. An answer must repeat the number of its request, so a late one is never taken for the
next."""


def read_block(unit: int, block: Block) -> Exchange[Frame, tuple[int, ...]]:
    """The registers of a block as they came, or its bits as 0 and 1. MeterRefused with the
    exception code as `word`."""
    kind = _READS[block.function]
    answer = yield request(unit, kind(address=block.register, count=block.count))
    _check(unit, answer, f"{_registers(block)} (function {block.function})")
    message = parse(answer.pdu, is_request=False)
    if block.function in BIT_READS:
        return tuple(map(int, message.bits[: block.count]))
    return tuple(message.registers)


def read_quantities(
    unit: int, profile: Profile, quantities: Collection[Quantity], learnt: Learnt | None = None
) -> Exchange[Frame, dict[Quantity, Decimal | None]]:
    """The quantities, in as few reads as the profile allows. None where the meter has no value or
    not that register.

    A read that the meter refuses with exception 02 or 03 is halved until it works, and `learnt`
    keeps the places. MeterRefused for another exception, or when the meter refuses every single
    item; FrameError for a quantity that the profile does not have."""
    learnt = learnt or Learnt()
    items = [_item(profile, quantity) for quantity in quantities]
    wanted = [item for item in items if not learnt.is_absent(item)] or items
    found: dict[Quantity, Decimal | None] = dict.fromkeys(quantities)
    blocks = plan(profile, wanted, learnt.cuts)[::-1]
    refusal: MeterRefused | None = None
    has_answered = False
    while blocks:
        members = blocks.pop()
        try:
            values = yield from _read_items(unit, profile, members, learnt)
        except MeterRefused as error:
            if error.word not in TOO_MUCH:
                raise
            refusal = error
            if len(members) == 1:
                learnt.refusals[members[0].function, members[0].register] += 1
            else:
                half = members[len(members) // 2 :]
                learnt.cuts.add((half[0].function, half[0].register))
                blocks += [half, members[: len(members) // 2]]
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
    found = yield from read_quantities(unit, profile, quantities, learnt)
    return tuple(found[quantity] for quantity in quantities)


def read_relay(unit: int, profile: Profile, learnt: Learnt | None = None) -> Exchange[Frame, bool]:
    """True when the relay is open, from the register that confirms it.

    FrameError when the profile has no relay, or when the register holds neither the one state nor
    the other."""
    relay = profile.relay
    if relay is None:
        raise FrameError(f"profile {profile.name} has no relay")
    block = Block(relay.confirm_function, relay.confirm_register, 1)
    (register,) = yield from _ask(unit, profile, block, learnt or Learnt())
    state = register & relay.confirm_mask
    if state not in (relay.open, relay.closed):
        expected = f"open is {relay.open}, closed is {relay.closed}"
        raise FrameError(
            f"unit {unit}: relay register {relay.confirm_register:04X} holds {state}: {expected}"
        )
    return state == relay.open


def set_relay(unit: int, profile: Profile, action: RelayMove) -> Exchange[Frame, None]:
    """Write what moves the relay. Returns when the meter accepted it, which does not mean that the
    relay moved:

    only `read_relay` tells that, from another read, and relays need their time. MeterRefused;
    FrameError without relay."""
    relay = profile.relay
    if relay is None:
        raise FrameError(f"profile {profile.name} has no relay")
    value = relay.trip if action == "trip" else relay.close
    address = relay.write_register
    message: ModbusPDU
    match relay.write_function:
        case 5:
            message = WriteSingleCoilRequest(address=address, bits=[bool(value)])
        case 6:
            message = WriteSingleRegisterRequest(address=address, registers=[value])
        case _:
            message = WriteMultipleRegistersRequest(address=address, registers=[value])
    answer = yield request(unit, message)
    _check(unit, answer, f"{action} (function {relay.write_function}, register {address:04X})")


def plan(
    profile: Profile, items: Iterable[Item], cuts: Collection[tuple[int, int]] = ()
) -> list[list[Item]]:
    """The items grouped into reads: within the limit, over no hole, over nothing that is not known
    to be readable."""
    groups: list[list[Item]] = []
    for item in sorted(items, key=lambda item: (item.function, item.register)):
        group = groups[-1] if groups else []
        if group and _fits(profile, group, item, cuts):
            group.append(item)
        else:
            groups.append([item])
    return groups


def block_of(items: Sequence[Item]) -> Block:
    """The read that brings all items of a group."""
    first = items[0].register
    return Block(items[0].function, first, max(item.last for item in items) - first + 1)


def _fits(
    profile: Profile, group: list[Item], item: Item, cuts: Collection[tuple[int, int]]
) -> bool:
    block = block_of([*group, item])
    gap_begins = max(member.last for member in group) + 1
    return (
        group[0].function == item.function
        and block.count <= profile.limit
        and profile.may_read_along(item.function, gap_begins, item.register - 1)
        and not _is_cut(cuts, item.function, gap_begins, item.register)
    )


def _is_cut(cuts: Collection[tuple[int, int]], function: int, first: int, last: int) -> bool:
    return any(
        cut_function == function and first <= register <= last for cut_function, register in cuts
    )


def _read_items(
    unit: int, profile: Profile, items: list[Item], learnt: Learnt
) -> Exchange[Frame, dict[Quantity, Decimal | None]]:
    block = block_of(items)
    registers = yield from _ask(unit, profile, block, learnt)
    return {
        item.quantity: decode(
            item, registers[(at := item.register - block.register) : at + item.count]
        )
        for item in items
    }


def _ask(
    unit: int, profile: Profile, block: Block, learnt: Learnt
) -> Exchange[Frame, tuple[int, ...]]:
    """Read a block in a shape that no answer which may still come can have."""
    if learnt.could_be_confused(block):
        wider = _widened(profile, block, learnt)
        if wider is None:
            yield from _ask_something_else(unit, profile, block, learnt)
        else:
            try:
                registers = yield from _read_settled(unit, wider, learnt)
            except MeterRefused as refusal:
                if refusal.word not in TOO_MUCH:
                    raise
                learnt.cuts |= {
                    (block.function, block.register),
                    (block.function, block.register + block.count),
                }
            else:
                at = block.register - wider.register
                return registers[at : at + block.count]
    return (yield from _read_settled(unit, block, learnt))


def _read_settled(unit: int, block: Block, learnt: Learnt) -> Exchange[Frame, tuple[int, ...]]:
    """Read a block and keep the account of what may still be answered. A refusal has no shape and
    settles nothing."""
    learnt.asked(block)
    registers = yield from read_block(unit, block)
    learnt.answered(block)
    return registers


def _widened(profile: Profile, block: Block, learnt: Learnt) -> Block | None:
    """The block with the known items next to it, as many as it takes to be unlike what may still be
    answered."""
    wider: Block | None = block
    while wider is not None and (wider == block or learnt.could_be_confused(wider)):
        wider = _with_neighbour(profile, wider, learnt)
    return wider


def _with_neighbour(profile: Profile, block: Block, learnt: Learnt) -> Block | None:
    if block.function in BIT_READS:
        return None
    first, last = block.register, block.register + block.count - 1
    for item in profile.items:
        if (
            item.function != block.function
            or learnt.is_absent(item)
            or block.count + item.count > profile.limit
        ):
            continue
        is_behind = item.register == last + 1
        if (is_behind or item.last == first - 1) and (
            (block.function, item.register if is_behind else first) not in learnt.cuts
        ):
            return Block(block.function, min(first, item.register), block.count + item.count)
    return None


def _ask_something_else(
    unit: int, profile: Profile, block: Block, learnt: Learnt
) -> Exchange[Frame, None]:
    """Put a question before it whose answer cannot be an old one; only that it came matters.

    Items that lie side by side do when all single ones have the shape of the block. Where there is
    nothing of another shape, the question is asked as it is: the runner's listening until the line
    is quiet has to do."""
    single = [[item] for item in profile.items if not learnt.is_absent(item)]
    together = plan(profile, (item for (item,) in single), learnt.cuts)
    groups = [group[:size] for group in together for size in range(2, len(group) + 1)]
    for members in [*single, *groups]:
        other = block_of(members)
        if not other.looks_like(block) and not any(
            other.looks_like(asked) for asked in learnt.unsettled
        ):
            try:
                yield from _read_settled(unit, other, learnt)
            except MeterRefused:
                return
            return


def _item(profile: Profile, quantity: Quantity) -> Item:
    item = profile.item(quantity)
    if item is None:
        raise FrameError(f"profile {profile.name} has no {quantity.label}")
    return item


def _check(unit: int, answer: Frame, asked: str) -> None:
    if code := answer.exception:
        name = EXCEPTION_NAMES.get(code)
        raise MeterRefused(f"unit {unit}", asked, code, (name,) if name else ())


def _registers(block: Block) -> str:
    last = block.register + block.count - 1
    what = f"register {block.register:04X}"
    return what if block.count == 1 else f"registers {block.register:04X} to {last:04X}"


assert MOST_REGISTERS == ReadHoldingRegistersRequest.MAX_COUNT
