"""Whether work is done: what /healthz and systemd's watchdog are told.

Of the database it is not asked whether a connection is open, but whether readings are stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from daemon.acquisition.line import Line
from daemon.billing.day_close import late_days
from daemon.billing.standstill import oldest_unwanted
from daemon.control.alarms import Alarm
from daemon.control.authority import Authority
from daemon.runtime import systemd
from daemon.runtime.kernel_clock import is_synchronised
from daemon.runtime.purposes import Achieved

STUCK_AFTER_S = 60.0
"""A line's task that took no step for so long is stuck: /healthz says so and systemd restarts the
daemon."""

LATE_AFTER_S = 120.0
"""A reading that waits longer to be stored is late."""

BATCH_LATE_S = 20.0
"""One that has taken longer is held up: by a lock, or by a standby that does not confirm."""

COMMAND_LATE_AFTER_S = 120.0
"""A line looks at a due command within seconds; longer, and somebody may be dark who paid."""

NOTICE_LATE_AFTER_S = 13 * 3600.0
"""A notice that waits longer waits for no morning."""
NO_NOTICES: Mapping[str, Any] = {"waiting": 0, "oldest_s": 0, "last_success": None}

LEAST_DISK_BYTES = 16 * 2**20
"""With less room a disk is full: an embedded database may write no log any more, nor the spool a
file."""

STORING_STUCK_AFTER_S = 600.0
"""Each use of a connection ends long before: only a fault of ours keeps a batch for so long."""


@dataclass(slots=True)
class WorkDone:
    """Whether the daemon does what it is there for, beside storing.

    `achieved`: when each tick last did its work. `counts`: what the last look for points that are
    not billed to yesterday found, by reason (points, age of the oldest in days). Health is degraded
    when one stands still for more than `most_days`. `next_day`: the first day of the site that is
    not closed; None while nobody looked, or no account was opened. `alarms`: what a person has to
    know of supply, by kind."""

    most_days: int
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    next_day: date | None = None
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    achieved: Achieved = field(default_factory=Achieved)

    def is_well(self, late: int) -> bool:
        """No point stands still for too long, no day waits to be closed, and of supply nobody has
        to know anything."""
        is_billed = oldest_unwanted(self.counts) <= self.most_days and not late
        return is_billed and not self.alarms

    def late_days(self, now: datetime, zone: ZoneInfo) -> int:
        """How many days of the site are over for hours and not closed."""
        return 0 if self.next_day is None else late_days(now, zone, self.next_day)


def health(
    lines: Iterable[Line],
    authority: Authority,
    storing: Callable[[], Mapping[str, Any]],
    work: WorkDone,
    clock_doubt: Callable[[], str] = lambda: "",
    outbox: Callable[[], Mapping[str, Any]] = lambda: NO_NOTICES,
) -> tuple[bool, dict[str, Any]]:
    """(no line is stuck, what /healthz shows).

    A line that is down, a listener none of whose terminals is connected, a database that is away or
    cannot store, accounts that were settled one by one because many at once failed, a disk without
    room, a host's clock that is doubted, a reading that waits too long, a point that is not billed
    for too long, a day that is not closed, or what the daemon is there for and does not achieve,
    degrades only: a restart mends none of them. `storing`: `Pipeline.condition`. `clock_doubt`:
    what speaks against the host's clock. `outbox`: `Outbox.condition`; a notice that waits for more
    than a night degrades too."""
    now = time.monotonic()
    late = work.late_days(datetime.now(UTC), authority.zone)
    all_lines = list(lines)
    stuck = [line.name for line in all_lines if _is_stuck(line, now)]
    shown = {line.name: _shown(line, now) for line in all_lines if not line.is_one_of_many}
    listeners = _listeners(all_lines)
    down = [name for name, line in shown.items() if not line["up"]]
    down += [name for name, listener in listeners.items() if not listener["connected"]]
    waiting = storing()
    database = _database(authority, waiting)
    doubt = clock_doubt()
    missed = _missed(authority, work.achieved)
    notices = outbox()
    is_late = notices["oldest_s"] > NOTICE_LATE_AFTER_S
    disk = _disk(waiting["disk_free_bytes"])
    is_in_time = not (missed or is_late) and work.is_well(late)
    is_storing_well = database == "ok" and waiting["settlement"] == "ok"
    is_well = not (down or doubt or disk != "ok") and is_storing_well and is_in_time
    return not stuck, {
        "status": _status(stuck, is_well=is_well),
        "mode": "shadow" if authority.shadow_mode else "auto",
        "database": database,
        "disk": disk,
        "clock": _clock(doubt),
        "storing": waiting,
        "missed": missed,
        "achieved": {
            "seconds_since": work.achieved.ages_s(),
            "command_waits_s": round(work.achieved.command_waits_s, 1),
        },
        "standstill": {
            "points": {reason: points for reason, (points, _) in work.counts.items()},
            "oldest_days": oldest_unwanted(work.counts),
        },
        "days_not_closed": late,
        "notices": notices,
        "alarms": {
            kind: {"count": it.count, "oldest_s": round(it.oldest_s), "first": it.first}
            for kind, it in work.alarms.items()
        },
        "stuck": stuck,
        "down": down,
        "lines": shown,
        "listeners": listeners,
    }


async def feed_watchdog(lines: Iterable[Line], storing: Callable[[], Mapping[str, Any]]) -> None:
    """Tell systemd that the daemon is alive as long as every line makes progress, and no batch is
    under way for ever."""
    period_s = systemd.watchdog_period_s()
    while True:
        now = time.monotonic()
        # Silence is the message: systemd restarts the daemon when it misses enough of these.
        is_storing_stuck = storing()["batch_s"] > STORING_STUCK_AFTER_S
        if not is_storing_stuck and not any(_is_stuck(line, now) for line in lines):
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(period_s or STUCK_AFTER_S)


def _is_stuck(line: Line, now_s: float) -> bool:
    """It gave no sign of life for too long."""
    # A terminal's line gives none while it waits for the call, which may never come.
    if line.is_one_of_many and not line.up:
        return False
    return now_s - line.progress > max(STUCK_AFTER_S, line.longest_step_s)


def _shown(line: Line, now_s: float) -> dict[str, Any]:
    wanted, present = line.counts()
    return {
        "up": line.up,
        "seconds_since_progress": round(now_s - line.progress, 1),
        "stuck": _is_stuck(line, now_s),
        "wanted": wanted,
        "present": present,
    }


def _listeners(lines: Iterable[Line]) -> dict[str, dict[str, int]]:
    """By listener how many terminals it has, and how many of them are connected."""
    listeners: dict[str, dict[str, int]] = {}
    for line in lines:
        if line.is_one_of_many:
            listener = listeners.setdefault(line.shown_as, {"terminals": 0, "connected": 0})
            listener["terminals"] += 1
            listener["connected"] += line.up
    return listeners


def _database(authority: Authority, waiting: Mapping[str, Any]) -> str:
    # 0 while the connection that holds the site is lost; see ownership.
    if authority.hold is not None and not authority.hold.token:
        return "away"
    if not waiting["stores"]:
        return "cannot store"
    is_late = waiting["oldest_unstored_s"] > LATE_AFTER_S or waiting["batch_s"] > BATCH_LATE_S
    return "late" if is_late else "ok"


def _disk(free_bytes: int | None) -> str:
    if free_bytes is None:
        return "gone"
    return "full" if free_bytes < LEAST_DISK_BYTES else "ok"


def _missed(authority: Authority, achieved: Achieved) -> list[str]:
    """What is not achieved in time, in words."""
    missed = achieved.late()
    # In shadow mode nothing is sent, and what waits was told at the start.
    if achieved.command_waits_s > COMMAND_LATE_AFTER_S and not authority.shadow_mode:
        missed.append("a supply command waits")
    return missed


def _clock(doubt: str) -> str:
    if doubt:
        return f"doubted: {doubt}"
    return "not synchronised" if is_synchronised() is False else "ok"


def _status(stuck: list[str], *, is_well: bool) -> str:
    if stuck:
        return "stuck"
    return "ok" if is_well else "degraded"
