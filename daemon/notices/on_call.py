"""Who of the staff is told what now: level after level, until somebody says that he has it (R78).
Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from config.notice_texts import NoticeTexts
from config.settings import OnCallSection
from daemon.notices.wording import minute

REPEAT: Final = timedelta(hours=1)
"""The last level is told again after so long, until somebody has it."""
NAMED: Final = 5
"""What is named in one call, which may be an SMS."""
JOB: Final = "job_"
"""Kinds that begin so are jobs in the field."""
OVERDUE: Final = "job_overdue"


@dataclass(frozen=True, slots=True)
class StaffAlarm:
    """One thing that is wrong and that nobody has said to have. `about`: its point, account, line
    or job.

    `since`: it is wrong; `opened_at`: it was found. `level`: that was told last, 0: none yet;
    `told_at`: when. `has_failed`: somebody of that level could not be reached."""

    id: int
    kind: str
    about: str
    area: str
    since: datetime
    opened_at: datetime
    level: int
    told_at: datetime | None
    has_failed: bool


@dataclass(frozen=True, slots=True)
class Call:
    """What one person is told at once: all of one kind in one area whose time has come."""

    person: OnCallSection
    kind: str
    area: str
    alarms: Sequence[StaffAlarm]


def answering(persons: Iterable[OnCallSection], area: str) -> list[str]:
    """Who answers for what is cut in an area: the names of who is called first (R112)."""
    those = [it for it in persons if it.is_for(area)]
    first = min((it.level for it in those), default=0)
    return [it.name for it in those if it.level == first]


def calls_due(
    alarms: Iterable[StaffAlarm],
    persons: Sequence[OnCallSection],
    told_lately: Collection[tuple[str, str, int]],
    now: datetime,
    escalate_after: timedelta,
) -> Iterator[Call]:
    """Who is told what now. `told_lately`: (kind, area, level) that was told within that time: the
    level hears of what came since when it is over, all at once."""
    due: defaultdict[tuple[str, str, int], list[StaffAlarm]] = defaultdict(list)
    for alarm in alarms:
        levels = sorted({it.level for it in persons if it.is_for(alarm.area)})
        level = level_due(alarm, levels, now, escalate_after)
        if level is not None:
            due[alarm.kind, alarm.area, level].append(alarm)
    for (kind, area, level), of_level in due.items():
        if (kind, area, level) in told_lately:
            continue
        for it in persons:
            if it.level == level and it.is_for(area):
                yield Call(it, kind, area, of_level)


def level_due(
    alarm: StaffAlarm, levels: Sequence[int], now: datetime, escalate_after: timedelta
) -> int | None:
    """Which of these levels, in their order, is told now; None: nobody.

    The first one at once, each further one when the one before was told so long ago or cannot be
    reached, the last one again and again."""
    if not levels:
        return None
    if alarm.told_at is None:
        return levels[0]
    waited = now - alarm.told_at
    above = next((it for it in levels if it > alarm.level), None)
    if above is not None:
        return above if alarm.has_failed or waited >= escalate_after else None
    return levels[-1] if waited >= max(REPEAT, escalate_after) else None


def call_text(call: Call, number: int, texts: NoticeTexts, zone: tzinfo) -> str:
    """Title and text of a call, on a line of its own each. `number`: by which it is
    acknowledged."""
    named = ", ".join(it.about for it in call.alarms[:NAMED])
    values = {
        "number": str(number),
        "what": texts.tables["staff_alarm"].get(call.kind, call.kind),
        "count": str(len(call.alarms)),
        "area": call.area or "-",
        "which": named + (", ..." if len(call.alarms) > NAMED else ""),
        "since": minute(min(it.since for it in call.alarms), zone),
        "level": str(call.person.level),
        "how": _how_it_is_taken(call, number),
    }
    title = texts.fill("staff_call", "title", values)
    return f"{title}\n{texts.fill('staff_call', 'text', values)}"


def is_to_be_assigned(kind: str) -> bool:
    """It is a job that nobody has: whoever is given it has it, and nobody else can say so."""
    return kind.startswith(JOB) and kind != OVERDUE


def _how_it_is_taken(call: Call, number: int) -> str:
    if is_to_be_assigned(call.kind):
        return "meterd job assign JOB NAME"
    return f"meterd supply acknowledge {number}"
