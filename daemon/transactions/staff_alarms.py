"""What is wrong becomes calls to those who are on call, once each however often it is looked at
(R78)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config.notice_texts import Texts
from config.settings import OnCallSection
from daemon.notices.on_call import Call, StaffAlarm, call_text, calls_due, is_to_be_assigned
from storage import staff_alarms as stored
from storage.staff_alarms import FoundAlarm, StaffCall

log = structlog.get_logger("control")


@dataclass(frozen=True, slots=True)
class Staff:
    """Who is on call, and how they are told."""

    persons: Sequence[OnCallSection]
    escalate_after: timedelta
    texts: Texts
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Untaken:
    """Alarms that nobody has. `levels`: how many, by the level that was told last; `oldest_at`:
    when the one was found that has waited longest, None without any."""

    levels: Mapping[int, int] = field(default_factory=dict)
    oldest_at: datetime | None = None


async def call_staff(
    connection: AsyncConnection[Any],
    staff: Staff,
    rows: Iterable[Mapping[str, Any]],
    now: datetime,
) -> Untaken:
    """Make the calls that are due; returns what nobody has.

    `rows`: of `supply_alarms`. A job in the field speaks for what it is about."""
    async with connection.transaction():
        found = [_found(row) for row in rows if not row["has_job"]]
        found += await stored.jobs(connection, now)
        await stored.follow(connection, found, now, staff.escalate_after)
        alarms = await stored.waiting(connection, StaffAlarm)
        levels = {it.id: it.level for it in alarms}
        if alarms:
            lately = await stored.told_lately(connection, now - staff.escalate_after)
            due = [*calls_due(alarms, staff.persons, lately, now, staff.escalate_after)]
            if due:
                await _make(connection, staff, due, now)
                levels |= {it.id: call.person.level for call in due for it in call.alarms}
    return Untaken(Counter(levels.values()), min((it.opened_at for it in alarms), default=None))


async def take_call_receipt(
    connection: AsyncConnection[Any],
    *,
    channel: str,
    call: int,
    state: Literal["acknowledged", "failed"],
) -> Literal["taken", "known", "to_assign"]:
    """What became of a call that went over this channel. `known`: that is known, or there is no
    such call; `to_assign`: it tells of jobs, and whoever is given one has it."""
    async with connection.transaction():
        made = await stored.call_of(connection, call)
        if made is None or made.channel != channel:
            return "known"
        if state == "failed":
            return "taken" if await stored.mark_unreached(connection, call) else "known"
        if is_to_be_assigned(made.kind):
            return "to_assign"
        taken = await stored.acknowledge(connection, call, f"{made.name}, over {channel}")
        return "taken" if taken else "known"


async def _make(
    connection: AsyncConnection[Any], staff: Staff, due: Sequence[Call], now: datetime
) -> None:
    first = await stored.last_number(connection) + 1
    calls = [_new(call, number, staff) for number, call in enumerate(due, first)]
    await stored.add_calls(connection, calls, now)
    for it in calls:
        log.info(
            "staff is called",
            call=it.id,
            alarm=it.kind,
            area=it.area,
            count=len(it.alarms),
            level=it.level,
            name=it.name,
        )


def _new(call: Call, number: int, staff: Staff) -> StaffCall:
    person = call.person
    return StaffCall(
        id=number,
        alarms=[it.id for it in call.alarms],
        kind=call.kind,
        area=call.area,
        level=person.level,
        name=person.name,
        channel=person.channel,
        address=person.address,
        language=person.language,
        text=call_text(call, number, staff.texts[person.language], staff.zone),
    )


def _found(row: Mapping[str, Any]) -> FoundAlarm:
    about = row["point"] or row["account"] or row["line"] or row["detail"]
    return FoundAlarm(row["kind"], about, row["area"], row["since"])
