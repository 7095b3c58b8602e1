"""meterd quality try: the judgement on cases, without a daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from daemon.cli.case_file import case_name, cases_of
from daemon.cli.output import BAD_DATA, as_json, print_json, print_table
from daemon.quality.case_fields import CaseError
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
    is_wrong = False
    for number, case in enumerate(cases_of(path)):
        name = case_name(case, number)
        try:
            result = result_of(case)
        except CaseError as error:
            click.echo(f"{path}: case {name}: {error}", err=True)
            is_wrong = True
            continue
        if as_json:
            print_json({"id": name, "result": result})
        else:
            print_table(("day", "state", "register", "codes", "next"), _rows(result), title=name)
    if is_wrong:
        raise SystemExit(BAD_DATA)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for day, shown in result["days"].items():
        codes = ", ".join(shown["codes"])
        yield day, shown["state"], shown["value"], codes, shown.get("next", "")
