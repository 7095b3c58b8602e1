"""A file of worked cases in JSON, as the commands that try them read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from daemon.cli.output import BAD_DATA, fail
from daemon.quality.case_fields import CaseError, Fields


def cases_of(path: Path) -> list[Any]:
    """The list `cases` of the file; it fails with exit code 65 if there is none.

    A number with a point is a Decimal: as a binary fraction it would be another one."""
    try:
        found = json.loads(path.read_bytes(), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise fail(f"{path}: is not JSON: {error}", BAD_DATA) from None
    cases = found.get("cases") if isinstance(found, Mapping) else None
    if not isinstance(cases, list):
        raise fail(f"{path}: must be an object with a list `cases`", BAD_DATA)
    return cases


def case_name(case: object, number: int) -> str:
    """The case's id; its place in the list where it has none."""
    try:
        return Fields(case).text("id")
    except CaseError:
        return f"[{number}]"
