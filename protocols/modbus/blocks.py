"""Which registers of a meter are read together, and which reads could be confused. No I/O.

An RTU answer names neither register nor request: one that comes late could be taken for the answer
to another request of the same shape. So a request never has the shape of another one whose answer
may still come: it asks for some registers more, or a request of another shape is put before it,
whose answer proves that nothing older is under way, because a meter answers in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from protocols.modbus.functions import BIT_READS
from protocols.modbus.profile import Item, Profile

REFUSALS_BELIEVED: Final = 2
"""A single register that was refused this often is not asked for any more."""
MOST_UNSETTLED: Final = 16
"""The oldest of so many requests in vain is surely forgotten by the meter too."""
Place = tuple[int, int]
"""(function, register)."""


@dataclass(frozen=True, slots=True)
class Block:
    """`count` registers (or bits) from `register` on, in one read."""

    function: int
    register: int
    count: int

    @property
    def end(self) -> int:
        """The register behind the block."""
        return self.register + self.count

    def looks_like(self, other: Block) -> bool:
        """True when their answers have the same shape."""
        return self.function == other.function and self.data_length == other.data_length

    @property
    def data_length(self) -> int:
        """Registers or, of bits, bytes of the answer."""
        return (self.count + 7) // 8 if self.function in BIT_READS else self.count


@dataclass(slots=True)
class Learnt:
    """What one meter taught us about itself: keep it for each meter, hand it to every exchange.

    `cuts`: the places before which a read has to end. `refusals`: how often a single item
    was refused. `unsettled`: the reads whose answers may still come, in the order in which they
    were asked.
    """

    cuts: set[Place] = field(default_factory=set)
    refusals: Counter[Place] = field(default_factory=Counter)
    unsettled: list[Block] = field(default_factory=list)

    def is_absent(self, item: Item) -> bool:
        """True when the meter does not have it, whatever its profile says."""
        return self.refusals[item.function, item.register] >= REFUSALS_BELIEVED

    def could_be_confused(self, block: Block) -> bool:
        """True when the answer to another request could be taken for the answer to this one."""
        return any(other != block and other.looks_like(block) for other in self.unsettled)

    def request_sent(self, block: Block) -> None:
        """The answer to this read may come from now on."""
        # A repetition adds nothing: both answers have the same shape.
        if self.unsettled[-1:] != [block]:
            self.unsettled = [*self.unsettled[1 - MOST_UNSETTLED :], block]

    def answer_received(self, block: Block) -> None:
        """Nothing older can be answered any more; this read itself may have been sent twice."""
        # A meter answers in order.
        del self.unsettled[: self.unsettled.index(block)]

    def refused(self, items: Sequence[Item]) -> list[list[Item]]:
        """What to read instead of these items, whose read the meter refused.

        Their second half, then their first, in the order of a stack; nothing instead of a single
        one.
        """
        if len(items) == 1:
            self.refusals[items[0].function, items[0].register] += 1
            return []
        middle = len(items) // 2
        self.cuts.add((items[middle].function, items[middle].first))
        return [list(items[middle:]), list(items[:middle])]


def plan(profile: Profile, items: Iterable[Item], cuts: Collection[Place] = ()) -> list[list[Item]]:
    """The items grouped into reads.

    A read keeps to the limit of the profile and goes over no hole, no cut and nothing that is not
    known to be readable.
    """
    groups: list[list[Item]] = []
    for item in sorted(items, key=lambda item: (item.function, item.first)):
        if groups and _fits(profile, groups[-1], item, cuts):
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def block_of(items: Sequence[Item]) -> Block:
    """The read that brings all items of a group, which is in the order of the registers."""
    first = items[0]
    last = max(item.last for item in items)
    return Block(first.function, first.first, last - first.first + 1)


def widened(profile: Profile, block: Block, learnt: Learnt) -> Block | None:
    """The block with known items next to it, so many that it is unlike what may still be answered.

    None where there are not enough of them.
    """
    wider = _with_neighbour(profile, block, learnt)
    while wider is not None and learnt.could_be_confused(wider):
        wider = _with_neighbour(profile, wider, learnt)
    return wider


def unlike(profile: Profile, learnt: Learnt) -> Block | None:
    """A read whose answer is unlike all that may still be answered.

    Items that lie side by side are tried when the single ones do not do. None where there is
    nothing of another shape.
    """
    for items in _alternatives(profile, learnt):
        block = block_of(items)
        if not any(block.looks_like(other) for other in learnt.unsettled):
            return block
    return None


def _fits(profile: Profile, group: list[Item], item: Item, cuts: Collection[Place]) -> bool:
    if group[0].function != item.function:
        return False
    # Meters differ in what they stand: Eastron 80 registers, DDS238 and DTSU666 fewer.
    if block_of([*group, item]).count > profile.limit:
        return False
    gap_begins = max(member.last for member in group) + 1
    if not profile.may_read_along(item.function, gap_begins, item.first - 1):
        return False
    return not _is_cut(cuts, item.function, gap_begins, item.first)


def _is_cut(cuts: Collection[Place], function: int, first: int, last: int) -> bool:
    return any(
        cut_function == function and first <= register <= last for cut_function, register in cuts
    )


def _with_neighbour(profile: Profile, block: Block, learnt: Learnt) -> Block | None:
    if block.function in BIT_READS:
        return None
    for item in profile.items:
        if item.function != block.function or learnt.is_absent(item):
            continue
        count = block.count + item.span
        if count <= profile.limit and _is_neighbour(block, item, learnt.cuts):
            first = min(block.register, item.first)
            return Block(block.function, first, count)
    return None


def _is_neighbour(block: Block, item: Item, cuts: Collection[Place]) -> bool:
    if item.first == block.end:
        return (block.function, item.first) not in cuts
    return item.last == block.register - 1 and (block.function, block.register) not in cuts


def _alternatives(profile: Profile, learnt: Learnt) -> Iterator[list[Item]]:
    present = [item for item in profile.items if not learnt.is_absent(item)]
    for item in present:
        yield [item]
    for group in plan(profile, present, learnt.cuts):
        for size in range(2, len(group) + 1):
            yield group[:size]
