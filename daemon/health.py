"""Whether every line makes progress: what /healthz and systemd's watchdog are told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from daemon.acquisition.line import Line
from daemon.control.authority import Authority
from daemon.runtime import systemd

STUCK_AFTER_S = 60.0
"""A line's task that took no step for so long is stuck: /healthz says so and systemd restarts the
daemon."""


def health(lines: Iterable[Line], authority: Authority) -> tuple[bool, dict[str, Any]]:
    """(no line is stuck, what /healthz shows). A line that is down, a listener none of whose
    terminals is connected, or a database that is away, degrades only."""
    now = time.monotonic()
    shown: dict[str, dict[str, Any]] = {}
    listeners: dict[str, dict[str, int]] = {}
    stuck: list[str] = []
    for line in lines:
        is_stuck = _is_stuck(line, now)
        if is_stuck:
            stuck.append(line.name)
        if line.is_one_of_many:
            listener = listeners.setdefault(line.shown_as, {"terminals": 0, "connected": 0})
            listener["terminals"] += 1
            listener["connected"] += line.up
            continue
        wanted, present = line.counts()
        shown[line.name] = {
            "up": line.up,
            "seconds_since_progress": round(now - line.progress, 1),
            "stuck": is_stuck,
            "wanted": wanted,
            "present": present,
        }
    down = [name for name, line in shown.items() if not line["up"]]
    down += [name for name, listener in listeners.items() if not listener["connected"]]
    database = (
        "away" if authority.hold is not None and not authority.hold.database_process else "ok"
    )
    status = "stuck" if stuck else "degraded" if down or database == "away" else "ok"
    mode = "shadow" if authority.shadow_mode else "auto"
    return not stuck, {
        "status": status,
        "mode": mode,
        "database": database,
        "stuck": stuck,
        "down": down,
        "lines": shown,
        "listeners": listeners,
    }


def _is_stuck(line: Line, now: float) -> bool:
    """It gave no sign of life for too long. A terminal's line gives none while it waits for the
    call."""
    waits = line.is_one_of_many and not line.up
    return not waits and now - line.progress > max(STUCK_AFTER_S, line.longest_step_s)


async def feed_watchdog(lines: Iterable[Line]) -> None:
    """Tell systemd that we are alive as long as every line makes progress."""
    period_s = systemd.watchdog_period_s()
    while True:
        now = time.monotonic()
        if not any(_is_stuck(line, now) for line in lines):
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(period_s or STUCK_AFTER_S)
