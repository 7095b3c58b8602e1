"""Limits of use by point, from a table like points.csv; other columns may be missing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from config.archive import POINT_COLUMNS
from config.problems import ConfigError, Mistakes
from config.table import REQUIRED, Keys, read_table
from config.table_text import table_bytes


def load_limits(path: Path) -> dict[str, Decimal]:
    """By point the most kWh of the register a day. ConfigError with every mistake."""
    mistakes = Mistakes(str(path))
    parse, _ = POINT_COLUMNS["max_daily_kwh"]
    columns = {**POINT_COLUMNS, "max_daily_kwh": (parse, REQUIRED)}
    limits: dict[str, Decimal] = {}
    for row in read_table(table_bytes(path, mistakes), columns, mistakes, Keys()):
        if row["point"] in limits:
            mistakes.tell("point", f"{row['point']} stands twice")
        limits[row["point"]] = row["max_daily_kwh"]
    if mistakes.problems:
        raise ConfigError(mistakes.problems)
    return limits
