"""meterd terminals: who dials in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from daemon.cli.output import as_json, echo, print_json, print_table
from daemon.cli.running import daemon_asked
from daemon.cli.site_option import site_option


@click.command()
@site_option
@as_json
def terminals(site_path: Path, as_json: bool) -> None:
    """Show the terminals of the running daemon's listeners, then the callers that are no line.

    Exit code 69 when no daemon runs.
    """
    with daemon_asked(site_path, {"do": "terminals"}) as answers:
        # Listeners come first, or a site without any could not be told from one without callers.
        listeners = next(answers)["listeners"]
        rows = [row for row in answers if "end" not in row]
    if not listeners:
        echo("this site has no [[listener]]", err=True)
    if as_json:
        for row in rows:
            print_json(row)
        return
    head = ("listener", "line", "terminal", "state", "address", "since", "heard", "note")
    print_table(head, [_cells(row) for row in rows], whole=["terminal"])


def _cells(row: Mapping[str, Any]) -> tuple[object, ...]:
    since, heard, note = _state_in_words(row)
    return (
        row["listener"],
        row["line"],
        row["terminal"] or None,
        row["state"],
        row.get("address"),
        since,
        heard,
        note,
    )


def _state_in_words(row: Mapping[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Since when a terminal is there, when it was heard last, and a note."""
    match row["state"]:
        case "connected":
            heartbeats = f"{row['heartbeats']} heartbeats"
            return _ago(row["connected_s"]), _ago(row["silent_s"]), heartbeats
        case "unknown":
            calls = f"{row['times']} calls, {row['why']}"
            return row["first_seen"], row["last_seen"], calls
    return None, None, None


def _ago(seconds: int) -> str:
    return f"{timedelta(seconds=seconds)} ago"
