"""What about supply a person has to know at once, from tables and not from lines (A12). Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from daemon.control.commands import ALARM_AFTER

SILENT: Final = timedelta(minutes=10)
UNSEEN: Final = timedelta(hours=36)
"""A relay is looked at every day; one that is cut was then not seen for longer than that."""
TRIP_LATE: Final = ALARM_AFTER

ALARMS: Final[Mapping[str, str]] = {
    "reconnect_late": "reconnects are not done in time",
    "trip_unverified": "trips were sent and are not verified",
    "cut_on_disabled_line": "points are cut whose line does not run: nobody restores them",
    "cut_on_silent_line": "points are cut whose line is down: nobody can restore them",
    "cut_not_seen": "points are cut whose relay was not seen for long",
    "cut_in_shadow": "points are cut, and in shadow mode nobody is restored",
    "order_not_done": "supplies that two persons ordered off are on, or may be switched on",
    "foreign_open": "supplies were opened by somebody else and are not restored by themselves",
    "foreign_closed": "supplies that we hold open are used or closed",
    "notice_failed": "customers could not be told by any way",
    "breaker_open": "a breaker is open: nobody is cut",
    "job_overdue": "jobs in the field are overdue",
}
"""By kind, in words."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """All that is open of one kind. `first`: the oldest, in words; `of`: who, or what, each is
    about."""

    kind: str
    count: int
    oldest_s: float
    first: str
    of: frozenset[tuple[str | None, ...]] = frozenset()

    @property
    def word(self) -> str:
        """What is wrong."""
        return ALARMS[self.kind]


def alarms_of(rows: Iterable[Mapping[str, Any]], now: datetime) -> dict[str, Alarm]:
    """By kind. `rows`: kind, point, account, line, since, detail; the oldest of a kind first."""
    by_kind: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_kind[row["kind"]].append(row)
    return {
        kind: Alarm(
            kind,
            count=len(found),
            oldest_s=max(0.0, *((now - row["since"]).total_seconds() for row in found)),
            first=_in_words(found[0]),
            of=frozenset(map(_identity, found)),
        )
        for kind, found in by_kind.items()
    }


def news(was: Mapping[str, Alarm], now: Mapping[str, Alarm]) -> tuple[list[Alarm], list[str]]:
    """(kinds of which there are more than before, or others, kinds that are over)."""
    more = [it for kind, it in now.items() if kind not in was or _is_more(was[kind], it)]
    return more, [kind for kind in was if kind not in now]


def _is_more(was: Alarm, now: Alarm) -> bool:
    # One may be over in the moment in which another begins: then the number says nothing.
    return now.count > was.count or not now.of <= was.of


def _identity(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Whom it is about; of what is about nobody what it says, which changes otherwise."""
    about = (row["point"], row["account"], row["line"])
    return about if any(about) else (row["detail"],)


def _in_words(row: Mapping[str, Any]) -> str:
    parts = [
        row["point"] and f"point {row['point']}",
        row["line"] and f"line {row['line']}",
        row["detail"],
    ]
    return ", ".join(part for part in parts if part)
