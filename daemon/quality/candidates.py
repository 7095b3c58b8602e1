"""Candidates: equal registers of one day, and what each fails by itself (judgement.md 2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date, datetime
from datetime import time as wall_clock
from decimal import Decimal
from functools import cache
from typing import Final, NamedTuple

from daemon.quality.facts import Read, Registers
from daemon.quality.in_force import InForce
from daemon.quality.local_time import summer_time_s
from daemon.quality.runs import Run

NOT_THIS_DAY: Final = frozenset({"V03", "V04", "V06"})
"""What fails one of these is no value of its day: nobody can release it."""
CLOCK_HARD_S: Final = 300
CLOCK_SOFT_S: Final = 60
HOST_OFFSET_S: Final = 60

Stamps = Callable[[datetime], Collection[tuple[date, Decimal]]]
"""Of a freeze's stamp: the days that were asked for and the totals that came with it."""


class Candidate(NamedTuple):
    """Equal registers that were read for one day, with what was found of them."""

    day: date
    registers: Registers
    steps: tuple[int, ...]
    """Total and rates in the register's steps; total 0 where they cannot be written so."""
    reads: int
    """From different times or sources; of a value of this day, only those that are."""
    read_at: datetime
    source: str
    host_offset_s: int
    failed: frozenset[str]
    is_clock_doubtful: bool
    """V05, soft."""
    is_rejected: bool
    is_confirmed: bool
    has_rolled_over: bool
    """A person said so."""

    @property
    def is_of_this_day(self) -> bool:
        """Whether it can be a value of the day that was asked for."""
        return not self.failed & NOT_THIS_DAY

    @property
    def is_sound(self) -> bool:
        """Whether it passes section 2."""
        return not self.failed and not self.is_rejected

    @property
    def preference(self) -> tuple[int, datetime, tuple[Decimal, ...]]:
        """The least shows first: most reads, then the earliest, then the smallest."""
        return (-self.reads, self.read_at, order_of(self.registers))


def order_of(registers: Registers) -> tuple[Decimal, ...]:
    """By which registers of one day are put in order."""
    return (registers.total, *[rate for _, rate in registers.rates])


def stamps_of(reads: Sequence[Read]) -> Stamps:
    """Which totals came with which stamp (V29): looked up only once one is of another day."""

    @cache
    def found() -> Mapping[datetime, set[tuple[date, Decimal]]]:
        by_stamp: dict[datetime, set[tuple[date, Decimal]]] = defaultdict(set)
        for read in reads:
            by_stamp[_stamp(read)].add((read.day, read.registers.total))
        return by_stamp

    return lambda stamp: found()[stamp]


def candidates_of(
    run: Run, day: date, reads: Sequence[Read], facts: InForce, stamps: Stamps
) -> list[Candidate]:
    """The candidates of one day; at most one of them is confirmed."""
    if len(reads) == 1:
        return [_candidate(run, day, reads[0].registers, reads, facts, stamps)]
    by_registers: dict[Registers, list[Read]] = defaultdict(list)
    for read in reads:
        by_registers[read.registers].append(read)
    found = [
        _candidate(run, day, registers, same, facts, stamps)
        for registers, same in by_registers.items()
    ]
    return _one_confirmed(found, facts)


def _candidate(
    run: Run,
    day: date,
    registers: Registers,
    reads: Sequence[Read],
    facts: InForce,
    stamps: Stamps,
) -> Candidate:
    # A read with another serial or stamp is none of this day, so it says nothing of those that are.
    told = [read for read in reads if _is_of_this_day(run, read)]
    failed: set[str] = set()
    if not told:
        told = list(reads)
        failed = set().union(*(_not_this_day(run, read, stamps) for read in reads))
    steps = run.steps(registers)
    if steps is None or min(steps) < 0 or max(steps) >= run.modulus:
        failed.add("V06")
    decision = facts.decisions.get((day, registers.total)) if facts.decisions else None
    action = decision.action if decision is not None else None
    is_named = bool(facts.named) and (day, registers) in facts.named
    is_confirmed = action == "release" or is_named
    skew_s = max((_skew_error_s(run, read, facts) for read in told), default=0)
    if not is_confirmed:
        failed |= _releasable(run, registers, skew_s)
    if action == "withdraw":
        failed.add("V38")
    first = told[0]
    if len(told) > 1:
        first = min(told, key=lambda read: (read.read_at, read.source))
    return Candidate(
        day=day,
        registers=registers,
        steps=steps if steps is not None else (0,),
        reads=1 if len(told) == 1 else len({(read.source, read.read_at) for read in told}),
        read_at=first.read_at,
        source=first.source,
        host_offset_s=min(abs(read.host_offset_s or 0) for read in told),
        failed=frozenset(failed),
        is_clock_doubtful=CLOCK_SOFT_S < skew_s <= CLOCK_HARD_S,
        is_rejected=action == "reject",
        is_confirmed=is_confirmed and not failed,
        has_rolled_over=decision is not None and decision.rolled_over,
    )


def _is_of_this_day(run: Run, read: Read) -> bool:
    is_other_meter = read.serial is not None and read.serial != run.installation.serial
    return not (is_other_meter or _is_far(read) or _is_stamped_otherwise(read))


def _is_far(read: Read) -> bool:
    return read.host_offset_s is not None and abs(read.host_offset_s) > HOST_OFFSET_S


def _is_stamped_otherwise(read: Read) -> bool:
    return read.stamp is not None and read.stamp != datetime.combine(read.day, wall_clock())


def _not_this_day(run: Run, read: Read, stamps: Stamps) -> set[str]:
    """V03, V04 and V29 of one answer."""
    failed = set()
    if read.serial is not None and read.serial != run.installation.serial:
        failed.add("V03")
    if _is_far(read) or _is_stamped_otherwise(read):
        failed.add("V04")
        with_this_stamp = stamps(_stamp(read))
        if any(day != read.day and total != read.registers.total for day, total in with_this_stamp):
            failed.add("V29")
    return failed


def _releasable(run: Run, registers: Registers, skew_s: int) -> set[str]:
    """V05 and V11: what a person may look over."""
    failed = set()
    if skew_s > CLOCK_HARD_S:
        failed.add("V05")
    if registers.rates:
        # Each is truncated by itself on the wire, so each may hide one step; and turns over.
        allowed = Decimal(len(registers.rates)).scaleb(-run.installation.wire_decimals)
        modulus = run.installation.modulus
        apart = abs(registers.total - sum([rate for _, rate in registers.rates])) % modulus
        if min(apart, modulus - apart) > allowed:
            failed.add("V11")
    return failed


def _skew_error_s(run: Run, read: Read, facts: InForce) -> int:
    """How far the clock was from where it should be."""
    found = facts.skew_s(read.day) if facts.clock_findings else None
    skew_s = read.skew_s if found is None else found
    if skew_s is None:
        return 0
    expected_s = -summer_time_s(run.zone, read.read_at) if run.clock == "standard" else 0
    return abs(skew_s - expected_s)


def _stamp(read: Read) -> datetime:
    return read.stamp if read.stamp is not None else datetime.combine(read.day, wall_clock())


def _one_confirmed(found: list[Candidate], facts: InForce) -> list[Candidate]:
    """What a closing named comes before what was released, the last release before others."""
    confirmed = [it for it in found if it.is_confirmed]
    if len(confirmed) < 2:
        return found

    def rank(it: Candidate) -> tuple[object, ...]:
        decision = facts.decisions.get((it.day, it.registers.total))
        number = decision.number if decision is not None else 0
        return ((it.day, it.registers) not in facts.named, -number, *it.preference)

    chosen = min(confirmed, key=rank)
    return [
        it if it is chosen or not it.is_confirmed else it._replace(is_confirmed=False)
        for it in found
    ]
