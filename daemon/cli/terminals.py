"""What is known of the terminals of a listener, in rows for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from protocols.channels.terminals import Terminals


def terminal_rows(terminals: Terminals, lines: Mapping[str, str], now: float) -> list[dict[str, Any]]:
    """A row for each terminal that is a line, then for each in quarantine, the newest first.

    `lines`: terminal -> line. `now`: the event loop's time. `state` is connected, away or unknown.
    """
    rows: list[dict[str, Any]] = []
    for terminal, line in lines.items():
        row: dict[str, Any] = {"line": line, "terminal": terminal, "state": "away"}
        if (session := terminals.sessions.get(terminal)) is not None:
            row |= {
                "state": "connected",
                "address": session.address,
                "connected_s": round(now - session.since),
                "silent_s": round(now - session.heard_at),
                "heartbeats": session.heartbeats,
            }
        rows.append(row)
    rows += [
        {
            "line": None,
            "terminal": seen.terminal,
            "state": "unknown",
            "address": seen.address,
            "first_seen": seen.first_seen.isoformat(timespec="seconds"),
            "last_seen": seen.last_seen.isoformat(timespec="seconds"),
            "times": seen.times,
            "why": seen.why,
        }
        for seen in reversed(terminals.quarantine.values())
    ]
    return rows
