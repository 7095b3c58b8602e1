"""A file of worked cases in JSON, as the commands that try them read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from config.bounded_file import MEBIBYTE, read_file
from daemon.cli.output import BAD_DATA, echo, fail, print_json, print_table
from daemon.quality.case_fields import CaseError, Fields

MOST_CASES_BYTES: Final = 64 * MEBIBYTE


def _cases_of(path: Path) -> list[Any]:
    """The list `cases` of the file; it fails with exit code 65 if there is none.

    A number with a point is a Decimal: as a binary fraction it would be another one."""
    try:
        found = json.loads(read_file(path, MOST_CASES_BYTES), parse_float=Decimal)
    except OSError as error:
        raise fail(f"{path}: cannot be read: {error.strerror}", BAD_DATA) from None
    except (ValueError, RecursionError) as error:
        raise fail(f"{path}: is not JSON: {error}", BAD_DATA) from None
    cases = found.get("cases") if isinstance(found, Mapping) else None
    if not isinstance(cases, list):
        raise fail(f"{path}: must be an object with a list `cases`", BAD_DATA)
    return cases


def work_out(
    path: Path,
    result_of: Callable[[Any], dict[str, Any]],
    head: Sequence[str],
    rows_of: Callable[[Mapping[str, Any]], Iterable[Sequence[object]]],
    *,
    as_json: bool,
) -> None:
    """Print what each case of the file comes to; exit code 65 if one is not understood.

    `result_of` raises CaseError then, and the others are worked out. `head` and `rows_of`: of the
    table of a result."""
    is_wrong = False
    for number, case in enumerate(_cases_of(path)):
        name = _case_name(case, number)
        try:
            _refuse_half_characters(case)
            result = result_of(case)
        except CaseError as error:
            echo(f"{path}: case {name}: {error}", err=True)
            is_wrong = True
            continue
        if as_json:
            print_json({"id": name, "result": result})
        else:
            print_table(head, rows_of(result), title=name)
    if is_wrong:
        raise SystemExit(BAD_DATA)


def _refuse_half_characters(case: Any) -> None:
    """JSON can write one half of a surrogate pair, which no text can be made of."""
    try:
        json.dumps(case, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise CaseError(f"a text holds {half}, half of a character") from None


def _case_name(case: object, number: int) -> str:
    """The case's id; its place in the list where it has none."""
    try:
        return Fields(case).text("id")
    except CaseError:
        return f"[{number}]"
