"""meterd tariff try: worked cases of money and of the guard, without a daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from daemon.billing import credit_cases
from daemon.billing.account_case import advanced, rounded_series, settled
from daemon.cli.case_file import work_out
from daemon.cli.output import as_json
from daemon.control.guard_cases import decided
from daemon.quality.case_fields import Fields

KINDS: Final[Mapping[str, Callable[[Fields], dict[str, Any]]]] = {
    "settle": settled,
    "energy_delta": advanced,
    "round_series": rounded_series,
    "trip_guard": decided,
    **credit_cases.KINDS,
}


@click.command("try", short_help="Work out a file of cases to the fen.")
@click.argument(
    "path", metavar="CASES.json", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@as_json
def try_cases(path: Path, as_json: bool) -> None:
    """Work out each of the `cases` in CASES.json: accounts event by event, penalties, top-ups, the
    guard.

    Needs no daemon, no database and no configuration. What a case `expected` is not looked at. Exit
    code 65 if a case is not understood; the others are worked out."""
    work_out(path, result_of, ("what", "comes to"), _rows, as_json=as_json)


def result_of(told: Any) -> dict[str, Any]:
    """What a case comes to. CaseError where it is not understood."""
    case = Fields(told)
    kind = case.choice("kind", tuple(KINDS))
    return KINDS[kind](case.inside("input"))


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for step in result.get("steps", ()):
        told = f"{step['status']}, {step['delta_fen']:+} fen, balance {step['balance_fen']} fen"
        yield f"event {step['event']}", told
    for name, found in result.get("final", result).items():
        yield name, str(found)
