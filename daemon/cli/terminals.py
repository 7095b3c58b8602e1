"""meterd terminals: who dials in."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from daemon.cli.on_site import site_option
from daemon.cli.output import as_json, print_json, print_table
from daemon.cli.running import daemon_asked


@click.command(short_help="Show the terminals that dial in.")
@site_option
@as_json
def terminals(site_path: Path, as_json: bool) -> None:
    """Show the terminals of the running daemon's listeners, then the callers that are no line.

    Exit code 69 when no daemon runs.
    """
    with daemon_asked(site_path, {"do": "terminals"}) as answers:
        listeners = next(answers)["listeners"]
        rows = [row for row in answers if "end" not in row]
    if not listeners:
        click.echo("this site has no [[listener]]", err=True)
    if as_json:
        for row in rows:
            print_json(row)
        return
    head = ("listener", "line", "terminal", "state", "address", "since", "heard", "note")
    print_table(head, [_cells(row) for row in rows], whole=["terminal"])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    who = (row["listener"], row["line"], row["terminal"] or None, row["state"], row.get("address"))
    match row["state"]:
        case "connected":
            return (
                *who,
                _ago(row["connected_s"]),
                _ago(row["silent_s"]),
                f"{row['heartbeats']} heartbeats",
            )
        case "unknown":
            return *who, row["first_seen"], row["last_seen"], f"{row['times']} calls, {row['why']}"
    return *who, None, None, None


def _ago(seconds: int) -> str:
    return f"{timedelta(seconds=seconds)} ago"
