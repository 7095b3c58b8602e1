"""meterd quality try: the judgement on cases, without a daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from daemon.cli.case_file import work_out
from daemon.cli.output import as_json
from daemon.quality.cases import result_of


@click.command("try", short_help="Judge the readings of a file of cases.")
@click.argument(
    "path", metavar="CASES.json", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@as_json
def try_cases(path: Path, as_json: bool) -> None:
    """Judge each of the `cases` in CASES.json, event by event.

    Needs no daemon, no database and no configuration. What a case `expected` is not looked at. Exit
    code 65 if a case is not understood; the others are judged."""
    head = ("day", "state", "register", "codes", "next")
    work_out(path, result_of, head, _rows, as_json=as_json)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for day, shown in result["days"].items():
        codes = ", ".join(shown["codes"])
        yield day, shown["state"], shown["value"], codes, shown.get("next", "")
