"""A window says what the whole history says."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from hypothesis import assume, event, given
from hypothesis import strategies as st

from daemon.quality.acceptance import closing, refusal
from daemon.quality.facts import (
    Action,
    Decision,
    Facts,
    Installation,
    Limit,
    Read,
    Registers,
    with_fact,
)
from daemon.quality.judge import judge
from daemon.quality.verdict import DayState, Verdict
from daemon.quality.window import BEFORE_CHANGE_DAYS, believed_from, window_start
from tests.examples import examples

FIRST = date(2026, 1, 1)
ZONE = ZoneInfo("Europe/Berlin")
DAYS = 130
PUBLISHED = DayState("published", Decimal(0))


@dataclass(frozen=True)
class History:
    before: Facts
    after: Facts
    changed_from: date


def reads(draw: st.DrawFn, first: int, last: int, wrong: int) -> Iterator[Read]:
    """Days of a register that goes up by 10, some unread, some wrong, some late."""
    days = st.integers(first, last)
    odd = draw(st.dictionaries(days, st.integers(-400, 400), max_size=wrong))
    unread = draw(st.sets(days, max_size=(last - first) // 4))
    late = draw(st.dictionaries(days, st.integers(1, 60), max_size=4))
    again = draw(st.dictionaries(days, st.integers(-30, 30), max_size=2))
    for number in range(first, last + 1):
        if number in unread:
            continue
        total = Decimal(max(0, 1_000 + 10 * number + odd.get(number, 0)))
        day = FIRST + timedelta(days=number)
        midnight = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
        read_at = midnight + timedelta(days=late.get(number, 0))
        yield Read(day, Registers(total), read_at)
        if number in again:
            other = Registers(max(Decimal(0), total + again[number]))
            yield Read(day, other, read_at + timedelta(hours=1))


@st.composite
def histories(draw: st.DrawFn) -> History:
    changed = draw(st.integers(100, 110))
    # Few mistakes long ago, so that a window is found; many where it matters.
    old = [*reads(draw, 0, 37, 1), *reads(draw, 38, changed - 1, 9)]
    new = list(reads(draw, changed, DAYS - 1, 6))
    known = draw(st.integers(0, len(new)))
    initial = Registers(Decimal(draw(st.integers(900, 1_000)))) if draw(st.booleans()) else None
    facts = Facts(
        ZONE,
        (
            Installation(
                at=datetime(2026, 1, 1, tzinfo=ZONE),
                serial="A",
                modulus=Decimal(100_000),
                decimals=0,
                wire_decimals=0,
                initial=initial,
            ),
        ),
        (Limit(FIRST, Decimal(draw(st.sampled_from([12, 40, 400])))),),
        reads=(*old, *new[:known]),
        max_auto_span_days=draw(st.sampled_from([7, 1, 3, 14, 31])),
    )
    if draw(st.booleans()):
        facts = with_fact(facts, closing(facts, FIRST + timedelta(days=draw(st.integers(0, 60)))))
    released = draw(st.sampled_from(facts.reads))
    if draw(st.booleans()):
        action: Action = draw(st.sampled_from(["release", "release", "reject", "withdraw"]))
        decision = Decision(action, released.day, released.registers.total, 1)
        assume(action == "release" or refusal(facts, decision) is None)
        facts = with_fact(facts, decision)
    arriving = new[known:]
    assume(arriving)
    after = replace(facts, reads=(*facts.reads, *arriving))
    return History(facts, after, min(read.day for read in arriving))


def from_day(verdict: Verdict, first: date) -> list[object]:
    chain = [it for it in verdict.chain if not isinstance(it.at, datetime) and it.at >= first]
    links = [it for it in verdict.links if not isinstance(it.start, datetime) and it.start >= first]
    return [{day: it for day, it in verdict.days.items() if day >= first}, chain, links]


@examples(80)
@given(histories())
def test_a_window_says_what_the_whole_history_says(history: History) -> None:
    before = judge(history.before)
    released = {it.day for it in history.before.decisions if it.action == "release"}
    named = {day for it in history.before.closings for day, _ in it.published}
    start = window_start(before.days, released | named, history.changed_from)
    event("whole" if start is None else "window")
    if start is None:
        return
    found = judge(replace(history.after, begins_on=start))
    event("too short" if found.is_too_short else "enough")
    if found.is_too_short:
        return
    whole = judge(history.after)
    first = believed_from(start)
    assert from_day(found, first) == from_day(whole, first)
    # Nothing changes before the days of which it counts.
    assert {d: it for d, it in whole.days.items() if d < first} == {
        d: it for d, it in before.days.items() if d < first
    }


def test_a_window_begins_with_more_values_than_a_new_source_is_marked_on() -> None:
    # V37 marks the first two of a source; they must lie before the days that count.
    days = {FIRST + timedelta(days=n): PUBLISHED for n in (*range(60), 90)}
    changed = FIRST + timedelta(days=90 + BEFORE_CHANGE_DAYS)
    assert window_start(days, set(), changed) == FIRST + timedelta(days=57)
