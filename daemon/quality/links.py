"""The use between neighbours of the published chain, and why some is held (judgement.md 7)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from daemon.quality.capacity import Capacity
from daemon.quality.chain import exceeds_days
from daemon.quality.facts import Ratio, SeenUse
from daemon.quality.in_force import InForce
from daemon.quality.judged_run import JudgedRun
from daemon.quality.runs import Run
from daemon.quality.values import Value
from daemon.quality.verdict import ChainValue, Held, Link

EXACT: Final = Context(prec=64)
FIRST: Final = np.array([0])
SECOND: Final = np.array([1])


def chain_of(runs: Sequence[JudgedRun]) -> tuple[ChainValue, ...]:
    """The published values of all runs."""
    return tuple(
        ChainValue(judged.values[n].at, judged.run.kwh(judged.values[n].steps[0]))
        for judged in runs
        if judged.is_published
        for n in judged.chain
    )


def links_of(runs: Sequence[JudgedRun], facts: InForce) -> tuple[Link, ...]:
    """In order of time; they touch, over exchanges too."""
    return tuple(_links(runs, facts))


def _links(runs: Sequence[JudgedRun], facts: InForce) -> Iterator[Link]:
    reached: date | datetime | None = None
    for judged in runs:
        chain = judged.chain if judged.is_published else []
        values = [judged.values[n] for n in chain]
        if values and reached is not None and judged.run.seconds(reached) < values[0].at_s:
            yield Link(reached, values[0].at, None, "initial_lost")
        ratios = _Ratios(judged.run, facts.ratios)
        for earlier, later in pairwise(chain):
            yield from _link(judged, earlier, later, ratios, facts)
        if values:
            reached = values[-1].at
        ended = judged.run.ended
        if ended is not None and reached is not None:
            is_before = judged.run.seconds(reached) < judged.run.seconds(ended.at)
            if ended.old_final is None and is_before:
                yield Link(reached, ended.at, None, "final_lost")
            reached = ended.at


def links_beside(
    runs: Sequence[JudgedRun],
    standing: Sequence[Sequence[Value]],
    facts: InForce,
    chain: Sequence[ChainValue],
    links: Collection[Link],
) -> tuple[Link, ...]:
    """What the substitutes that stand in each run show of the use before the first value of the
    whole chain and behind the last, in order, and all of it where there is no chain; also that it
    was lost with a meter. And what they show inside a use that was lost: there no value of the
    chain ends it."""
    if not runs:
        return ()
    zone = runs[0].run.zone
    ever = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    open_ends = [ever]
    if chain:
        first, last = (moment(chain[n].at, zone) for n in (0, -1))
        open_ends = [(ever[0], first), (last, ever[1])]
    open_ends += [
        (moment(it.start, zone), moment(it.end, zone))
        for it in links
        if it.held in ("final_lost", "initial_lost")
    ]
    return tuple(
        link
        for link in _links_beside(runs, standing, facts)
        if link not in links
        and any(
            begin <= moment(link.start, zone) and moment(link.end, zone) <= end
            for begin, end in open_ends
        )
    )


def _links_beside(
    runs: Sequence[JudgedRun], standing: Sequence[Sequence[Value]], facts: InForce
) -> Iterator[Link]:
    reached: date | datetime | None = None
    for judged, told in zip(runs, standing, strict=True):
        run = judged.run
        ways = _ways(judged, sorted(told, key=lambda it: it.place))
        if ways and reached is not None and run.seconds(reached) < ways[0][0].at_s:
            yield Link(reached, ways[0][0].at, None, "initial_lost")
        ratios = _Ratios(run, facts.ratios)
        for way in ways:
            for earlier, later in pairwise(way):
                yield _beside(judged, earlier, later, ratios, facts)
            reached = way[-1].at
        ended = run.ended
        if ended is not None and reached is not None:
            if ended.old_final is None and run.seconds(reached) < run.seconds(ended.at):
                yield Link(reached, ended.at, None, "final_lost")
            reached = ended.at


def _ways(judged: JudgedRun, told: Sequence[Value]) -> list[list[Value]]:
    """What stands before the chain of a run, with its first value, and behind it, with the last."""
    if not (judged.is_published and judged.chain):
        return [[*told]] if told else []
    first, last = (judged.values[judged.chain[n]] for n in (0, -1))
    before = [it for it in told if it.place < first.place]
    behind = [it for it in told if it.place > last.place]
    return [[*before, first], [last, *behind]]


def moment(at: date | datetime, zone: ZoneInfo) -> datetime:
    """A freeze is of its midnight."""
    return at if isinstance(at, datetime) else datetime.combine(at, time(), zone)


def _beside(
    judged: JudgedRun, earlier: Value, later: Value, ratios: _Ratios, facts: InForce
) -> Link:
    run = judged.run
    advance = (later.steps[0] - earlier.steps[0]) % run.modulus
    ratio = ratios.at(earlier.at_s)
    held: Held | None = None
    if exceeds_days(earlier, later, judged.max_auto_span_days):
        held = "span"
    elif ratios.changes(earlier.at_s, later.at_s):
        held = "ratio"
    elif advance > _allowed(run, earlier, later, facts):
        held = "spike"
    kwh = EXACT.multiply(run.kwh(advance), ratio)
    return Link(earlier.at, later.at, kwh, held, ratio)


def _allowed(run: Run, earlier: Value, later: Value, facts: InForce) -> int:
    """The most steps that one follows the other by where nobody confirmed it."""
    (most,) = Capacity(run, (earlier, later), facts).between(FIRST, SECOND)
    return min(int(most), (run.modulus - 1) // 4)


class _Ratios:
    """What the register of a run is multiplied with, and when that changes."""

    def __init__(self, run: Run, ratios: Iterable[Ratio]) -> None:
        told = sorted((run.seconds(it.at), it.ratio) for it in ratios)
        self._begins_s = [begins_s for begins_s, _ in told]
        self._ratios = [ratio for _, ratio in told] or [Decimal(1)]

    def at(self, at_s: int) -> Decimal:
        """At that moment; the first ratio holds before its date too."""
        return self._ratios[max(0, bisect_right(self._begins_s, at_s) - 1)]

    def changes(self, start_s: int, end_s: int) -> bool:
        """Whether another ratio begins between, and not at an end."""
        if len(self._ratios) == 1:
            return False
        first = bisect_right(self._begins_s, start_s)
        last = bisect_left(self._begins_s, end_s)
        return any(ratio != self.at(start_s) for ratio in self._ratios[first:last])


def _link(
    judged: JudgedRun, earlier: int, later: int, ratios: _Ratios, facts: InForce
) -> Iterator[Link]:
    start = judged.values[earlier]
    end = judged.values[later]
    delta = end.steps[0] - start.steps[0]
    if end.at_s == start.at_s and delta == 0:
        return
    if delta < 0:
        delta += judged.run.modulus
    if judged.steps.backward[earlier, later]:
        # Only two persons can contradict one another; none of them bills a turn of the register.
        yield Link(start.at, end.at, None, "backward")
        return
    ratio = ratios.at(start.at_s)
    kwh = EXACT.multiply(judged.run.kwh(delta), ratio)
    allowed_kwh = None
    if end.is_confirmed and not _was_seen(start, end, kwh, facts):
        allowed = _allowed(judged.run, start, end, facts)
        if delta > allowed:
            allowed_kwh = EXACT.multiply(judged.run.kwh(allowed), ratio)
    held = _held(judged, earlier, later, ratios)
    yield Link(start.at, end.at, kwh, held, ratio, allowed_kwh)


def _was_seen(start: Value, end: Value, kwh: Decimal, facts: InForce) -> bool:
    """Whether who confirmed the end saw this very use up to it.

    Who releases a value sees from where its use is counted, and how much that is: of another
    beginning, or another ratio, nothing. Who closes a period sees what the closing names. A
    document tells what a register showed, and nothing of the one before it."""
    if end.candidate is None:
        return False
    said = facts.decisions.get((end.day, end.candidate.registers.total))
    if said is not None and said.action == "release" and said.seen == SeenUse(start.at, kwh):
        return True
    return _is_named(end, facts) and (start.candidate is None or _is_named(start, facts))


def _is_named(value: Value, facts: InForce) -> bool:
    """Whether a period was closed with this value."""
    it = value.candidate
    return it is not None and (it.day, it.registers) in facts.named


def _held(judged: JudgedRun, earlier: int, later: int, ratios: _Ratios) -> Held | None:
    start = judged.values[earlier]
    end = judged.values[later]
    if exceeds_days(start, end, judged.max_auto_span_days):
        return "span"
    if ratios.changes(start.at_s, end.at_s):
        return "ratio"
    if later > earlier + 1 and not end.is_confirmed and _launders_a_spike(judged, earlier, later):
        return "spike"
    return None


def _launders_a_spike(judged: JudgedRun, earlier: int, later: int) -> bool:
    """Whether the jump took place inside a shorter time than the limit of the whole gap allows."""
    steps = judged.steps
    skipped = steps.spike[earlier] & steps.good[:, later]
    places = steps.places.tolist()
    return any(places.count(places[n]) == 1 for n in skipped.nonzero()[0])
