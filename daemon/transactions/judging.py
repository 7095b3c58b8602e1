"""Judge points anew, and write what days show otherwise.

Clean new values of many points are proved as arrays; every other point is judged by itself, from
as far back as its last value that nothing can change. The caller holds the lock on the chains."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.quality.judge import judge
from daemon.quality.uses import Use, uses_of
from daemon.quality.verdict import DayState, Verdict
from daemon.quality.window import (
    BEFORE_CHANGE_DAYS,
    OWN_CHECKS,
    SETTLED_DAYS,
    believed_from,
    window_start,
)
from daemon.transactions.chain_facts import PointFacts, day_state, point_facts
from daemon.transactions.clean_values import clean_values
from storage import judging
from storage.judging import Asked, NewSlot, ReadRow, Relinked, SlotRow, Tail
from storage.readings import RawReading
from storage.settling import Days

log = structlog.get_logger("quality")

LOOKED_BACK: Final = timedelta(days=2 * BEFORE_CHANGE_DAYS + SETTLED_DAYS)
"""A value with which a window may begin is looked for so far before what changed."""


POINTS_AT_ONCE: Final = 20
"""In dispute, that one transaction judges: others wait meanwhile who judge or decide."""


@dataclass
class Judged:
    """What came of a judgement. `changed`: by point, the days whose use may be another one.

    `recollect`: (point, day) of what came and is no value of its day; `is_doubtful`: something is
    to be read again or seen by a person now that was not before; `is_trial`: nothing of it is kept,
    so nobody is told."""

    changed: dict[int, Days] = field(default_factory=dict)
    numbers: dict[int, str] = field(default_factory=dict)
    """What persons call the points that were judged by themselves."""
    rows: list[SlotRow] = field(default_factory=list)
    clean: list[NewSlot] = field(default_factory=list)
    """Published values of days that showed nothing: the others are `rows`."""
    relinked: list[Relinked] = field(default_factory=list)
    """Published values behind them."""
    begun: dict[int, date] = field(default_factory=dict)
    """By point the first of its clean values, where its chain begins with it."""
    recollect: set[tuple[int, date]] = field(default_factory=set)
    is_doubtful: bool = False
    waits: bool = False
    """Some points were not judged, but marked."""
    is_trial: bool = False


async def arrival_tails(
    connection: AsyncConnection[Any], arrived: Mapping[int, Sequence[RawReading]]
) -> dict[int, Tail]:
    """What the chains of points are, before what arrived is kept. `arrived`: in order of days."""
    asked = [
        Asked(point, told[0].day, told[-1].day, told[0].total or 0)
        for point, told in arrived.items()
    ]
    meters = {reading.meter_id for told in arrived.values() for reading in told}
    return await judging.tails(connection, asked, meters, OWN_CHECKS)


async def judge_arrivals(
    connection: AsyncConnection[Any],
    arrived: Mapping[int, Sequence[RawReading]],
    tails: Mapping[int, Tail],
    zone: ZoneInfo,
    proved_slots: bytes = b"",
) -> Judged:
    """Judge what has just been kept as raw rows; the same arguments as of `arrival_tails`.

    `proved_slots`: rows of slots of other points that are proved already."""
    proved = clean_values(arrived, tails, zone)
    others = {
        point: told[0].day
        for point, told in arrived.items()
        if point in tails and point not in proved.changed and point not in proved.told
    }
    judged = await _judged_or_waiting(connection, others, zone)
    judged.clean = proved.slots
    judged.relinked = proved.relinked
    judged.begun = proved.begun
    judged.changed |= proved.changed
    metrics.SLOTS_DECIDED.labels("published").inc(len(proved.slots))
    for point, rows in proved.told.items():
        new = {reading.day for reading in arrived[point]}
        # A neighbour that is told of again had another link, or waited for a second value.
        before = {
            day: replace(row, state="suspect", codes=("V32",))
            for day, row in rows.items()
            if day not in new
        }
        _take(judged, point, before, rows)
    if _are_few(others):
        # Who judged points by themselves asked enough: no statement of its own for these.
        judged.rows += map(_as_row, judged.relinked)
        judged.relinked = []
    if judged.relinked or not judged.rows:
        await judging.link_chains(connection, judged.begun, judged.relinked)
    await judging.add_slots(connection, judged.clean, proved_slots)
    await judging.put_slots(connection, judged.rows, judged.begun)
    return judged


def _are_few(others: Mapping[int, date]) -> bool:
    """Whether these points are judged by themselves in the transaction of their arrivals."""
    return 0 < len(others) <= POINTS_AT_ONCE


async def _judged_or_waiting(
    connection: AsyncConnection[Any], others: Mapping[int, date], zone: ZoneInfo
) -> Judged:
    """What came of points that are judged by themselves; too many are marked instead.

    So are those that have to be judged from their first day on, and those of which one cannot be
    judged: their readings are kept, and who waits is looked at a few at a time, or one by one."""
    judged = Judged()
    waiting = others
    if _are_few(others):
        try:
            waiting = await _judge(connection, others, zone, judged)
        except psycopg.Error:
            raise
        except Exception as error:
            log.debug("why points wait to be judged", exc_info=error)
            judged = Judged()
    await judging.wait(connection, waiting)
    judged.waits = bool(waiting)
    return judged


async def rejudge(
    connection: AsyncConnection[Any],
    changed: Mapping[int, date],
    zone: ZoneInfo,
    *,
    is_trial: bool = False,
) -> Judged:
    """Judge points of which a fact changed: a document, limit, finding or decision.

    `changed`: by point, the first day that the fact speaks of. Marking the accounts is the
    caller's, and so is taking a trial back."""
    judged = Judged(is_trial=is_trial)
    whole = await _judge(connection, changed, zone, judged)
    await _judge(connection, whole, zone, judged)
    await judging.put_slots(connection, judged.rows)
    return judged


async def _judge(
    connection: AsyncConnection[Any], changed: Mapping[int, date], zone: ZoneInfo, judged: Judged
) -> dict[int, date]:
    """Judge points by no more days than their changes need.

    Returns by point its first day, where these were too few: judged from there on, none is."""
    if not changed:
        return {}
    known = point_facts(await judging.facts(connection, changed), zone)
    sinces = {point: _since(known[point], day) for point, day in changed.items() if point in known}
    shown: defaultdict[int, dict[date, SlotRow]] = defaultdict(dict)
    for slot in await judging.slots(connection, sinces):
        shown[slot.point_id][slot.day] = slot
    confirmed = {point: _confirmed(known[point], shown[point]) for point in sinces}
    whole = {}
    starts: dict[int, date | None] = {}
    for point, since in sinces.items():
        first_day = known[point].first_day
        if first_day is None or first_day >= since:
            starts[point] = None
            continue
        days = _day_states(known[point], shown[point])
        start = window_start(days, confirmed[point], changed[point])
        if start is None or start < since:
            whole[point] = first_day
        else:
            starts[point] = start
    verdicts = await _verdicts(connection, known, starts, confirmed, changed)
    for point, (verdict, reads) in verdicts.items():
        start = starts[point]
        first_day = known[point].first_day
        if verdict.is_too_short and first_day is not None:
            whole[point] = first_day
            continue
        # Whoever is judged from the beginning is compared from the beginning.
        first = date.min if start is None else believed_from(start)
        before = {day: slot for day, slot in shown[point].items() if day >= first}
        after = _rows(point, verdict, reads, known[point], first)
        judged.numbers[point] = known[point].number
        _take(judged, point, before, after)
    return whole


def _since(facts: PointFacts, changed_from: date) -> date:
    """From when on it is looked at what a point shows: of an exchanged meter from the first day."""
    since = changed_from - LOOKED_BACK
    is_exchanged = len(facts.installations) > 1
    return min(since, facts.first_day or since) if is_exchanged else since


def _confirmed(facts: PointFacts, shown: Mapping[date, SlotRow]) -> list[date]:
    """The days with a confirmed value; one that is not shown here is published."""
    return [it for it in facts.confirmed if it not in shown or shown[it].state == "published"]


def _day_states(facts: PointFacts, shown: Mapping[date, SlotRow]) -> dict[date, DayState]:
    return {day: day_state(slot, facts.decimals_on(day)) for day, slot in shown.items()}


async def _verdicts(
    connection: AsyncConnection[Any],
    known: Mapping[int, PointFacts],
    starts: Mapping[int, date | None],
    confirmed: Mapping[int, Sequence[date]],
    changed: Mapping[int, date],
) -> dict[int, tuple[Verdict, dict[date, list[ReadRow]]]]:
    if not starts:
        return {}
    sinces = {
        point: start or min(known[point].first_day or changed[point], changed[point])
        for point, start in starts.items()
    }
    # A window has the last confirmed value before it besides.
    befores = {
        point: max(earlier)
        for point, start in starts.items()
        if start is not None and (earlier := [it for it in confirmed[point] if it < start])
    }
    reads: dict[int, dict[date, list[ReadRow]]] = {point: defaultdict(list) for point in starts}
    for row in await judging.reads(connection, sinces, befores):
        reads[row.point_id][row.day].append(row)
    found = {}
    for point, start in starts.items():
        told = [row for of_day in reads[point].values() for row in of_day]
        verdict = judge(known[point].with_reads(told, start))
        found[point] = (verdict, reads[point])
    return found


def _rows(
    point: int,
    verdict: Verdict,
    reads: Mapping[date, Sequence[ReadRow]],
    facts: PointFacts,
    first: date,
) -> dict[date, SlotRow]:
    """What each day from `first` on shows by this verdict."""
    uses = uses_of(verdict, facts.zone)
    rows = {}
    for day, state in verdict.days.items():
        if day < first:
            continue
        use = uses.get(day, Use())
        total = int(state.total.scaleb(facts.decimals_on(day)))
        chosen = _chosen(reads.get(day, ()), state)
        rows[day] = SlotRow(
            point_id=point,
            day=day,
            state=state.state,
            meter_id=facts.meter_on(day) if chosen is None else chosen.meter_id,
            total=total,
            reading_id=None if chosen is None else chosen.id,
            link_days=-use.days if use.hold else use.days,
            codes=state.codes,
            next_step=state.next_step,
            hold=use.hold,
            kwh=use.kwh,
            is_agreed=use.is_agreed,
        )
    return rows


def _chosen(reads: Sequence[ReadRow], state: DayState) -> ReadRow | None:
    """The first read that returned the value of the day; a substitute has none."""
    if state.state == "substituted":
        return None
    fitting = [
        row
        for row in reads
        if row.total is not None and Decimal(row.total).scaleb(-row.decimals) == state.total
    ]
    return min(fitting or reads, key=lambda row: (row.arrived_at, row.id), default=None)


def _take(
    judged: Judged,
    point: int,
    before: Mapping[date, SlotRow],
    after: Mapping[date, SlotRow],
) -> None:
    """Note what differs."""
    moved: list[date] = []
    for day, row in after.items():
        was = before.get(day)
        if row.next_step == "recollect":
            judged.recollect.add((point, day))
        if was == row:
            continue
        judged.rows.append(row)
        if _use(was) != _use(row):
            moved += _moved_by(was, day)
        if row.next_step in ("reread", "person") and (
            was is None or was.next_step != row.next_step
        ):
            judged.is_doubtful = True
        _report(judged, was, row)
    for day in before:
        if day not in after:
            nothing = SlotRow(point, day, "missing", None, None, None, 0)
            judged.rows.append(nothing)
            moved += _moved_by(before[day], day)
    if moved:
        judged.changed[point] = Days(min(moved), max(moved))


def _moved_by(was: SlotRow | None, day: date) -> tuple[date, ...]:
    """The days whose use is another one: what ended there before began earlier."""
    return (day,) if was is None else (day - timedelta(days=abs(was.link_days)), day)


def _use(row: SlotRow | None) -> tuple[Any, ...] | None:
    """What money depends on; None of a day that is not billed."""
    if row is None or row.state not in ("published", "substituted"):
        return None
    return (
        row.meter_id,
        row.total,
        row.reading_id,
        row.link_days,
        row.hold,
        row.kwh,
        row.is_agreed,
    )


def _report(judged: Judged, was: SlotRow | None, row: SlotRow) -> None:
    if judged.is_trial:
        return
    if was is None or was.state != row.state:
        metrics.SLOTS_DECIDED.labels(row.state).inc()
    told = {
        "point": judged.numbers.get(row.point_id),
        "day": row.day,
        "total": row.total,
        "codes": ",".join(row.codes),
    }
    if was is not None and was.state == "published" and _use(was) != _use(row):
        if row.state != "published" or was.total != row.total:
            log.warning("reading withdrawn", was=was.total, **told)
    elif row.state == "suspect" and row.codes != ("V32",):
        log.warning("reading withheld", next=row.next_step, **told)


def _as_row(value: Relinked) -> SlotRow:
    return SlotRow(
        point_id=value.point_id,
        day=value.day,
        state="published",
        meter_id=value.meter_id,
        total=value.total,
        reading_id=value.reading_id,
        link_days=value.link_days,
        hold="span" if value.link_days < 0 else None,
    )
