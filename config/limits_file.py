"""Limits of use by point, from a table like points.csv; other columns may be missing."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from config.archive import OF_CONNECTION, POINT_COLUMNS
from config.point_limit import DEFAULT, ONE_PHASE_60_A_KWH, TOLD, Connection, limit_of
from config.problems import ConfigError, Mistakes
from config.table import Keys, read_table
from config.table_text import table_bytes, table_file


def load_limits(path: Path) -> dict[str, Decimal]:
    """By point the most kWh of the register a day, told or as it follows from its connection.

    ConfigError with every mistake; a point of which nothing is told is one."""
    mistakes = Mistakes(str(table_file(path)))
    limits: dict[str, Decimal] = {}
    for row in read_table(table_bytes(path, mistakes), POINT_COLUMNS, mistakes, Keys()):
        if row["point"] in limits:
            mistakes.tell("point", f"{row['point']} stands twice")
        connection = Connection._make(OF_CONNECTION(row))
        limit, basis = limit_of(connection, row[TOLD], ONE_PHASE_60_A_KWH)
        if basis == DEFAULT:
            message = "is empty, and so are i_max_a, contract_kw and transformer_kva"
            mistakes.tell(TOLD, message)
        limits[row["point"]] = limit
    if mistakes.problems:
        raise ConfigError(mistakes.problems)
    return limits
