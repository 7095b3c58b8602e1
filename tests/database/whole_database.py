"""All that a database keeps, in a form in which two runs of one story are equal.

What only says when a run took place is left out: moments since it began, numbers that a sequence
gave (their order stays), identities drawn at random (so does theirs), and what was noted for
whoever remembers chains: a run that was disturbed notes more of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.database.small_site import ZONE

TABLES: Final = """
    SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
    AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname !~ 'migration|chain_change' ORDER BY 1"""
NUMBERED: Final = """
    SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND a.attidentity <> ''
    UNION ALL VALUES ('command', 'id'), ('journal', 'id'), ('ledger_account', 'place'),
                     ('posting_stream', 'place'), ('command_event', 'place')"""
REFERRING: Final = """
    SELECT f.conrelid::regclass::text, a.attname, f.confrelid::regclass::text, b.attname
    FROM pg_constraint f
    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
    JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = f.confkey[1]
    WHERE f.contype = 'f' AND cardinality(f.conkey) = 1
    UNION ALL VALUES ('journal', 'account', 'ledger_account', 'id'), ('journal', 'other_account', 'ledger_account', 'id'),
                     ('journal', 'stream', 'posting_stream', 'id'),
                     ('journal', 'reverses', 'journal', 'id'), ('link', 'billed_by', 'journal', 'id'),
                     ('past_link', 'billed_by', 'journal', 'id'), ('old_charge', 'transaction_id', 'journal', 'id')"""
OF_THE_RUN: Final = frozenset({"horizon"})
"""Which transaction wrote a row."""

Column = tuple[str, str]


def whole(url: str, began: datetime) -> dict[str, list[str]]:
    """By table its rows in order. `began`: when the run did; later moments are all the same."""
    with psycopg.connect(url) as connection:
        tables = [table for (table,) in connection.execute(TABLES)]
        every = connection.execute(NUMBERED.encode()).fetchall()
        numbered = {(table, column) for table, column in every if table in tables}
        refers = {
            (table, column): (other, key)
            for table, column, other, key in connection.execute(REFERRING.encode())
        }
        found = {table: _rows(connection, table) for table in tables}
    orders = {column: _order(found[column[0]], column[1]) for column in numbered}
    accounts, streams = orders["ledger_account", "id"], orders["posting_stream", "id"]
    for row in found["journal"]:
        for name, places in (("leg_accounts", accounts), ("leg_streams", streams)):
            row[name] = row[name] and [places[it] for it in row[name]]
    shown = {}
    for table, rows in found.items():
        of_columns: dict[str, Mapping[Any, int]] = {}
        for column in rows[0] if rows else ():
            named = (column.removesuffix("_id"), "id")
            origin = refers.get((table, column), named if named in orders else (table, column))
            if origin in orders:
                of_columns[column] = orders[origin]
        shown[table] = sorted(_shown(row, of_columns, began) for row in rows)
    return shown


def _rows(connection: psycopg.Connection[Any], table: str) -> list[dict[str, Any]]:
    query = sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table))
    return [row for (row,) in connection.execute(query)]


def _order(rows: list[dict[str, Any]], column: str) -> dict[Any, int]:
    """Places of the values; of what is drawn at random in the order of the rows' sequence."""
    ordered = sorted(rows, key=lambda row: row.get("sequence", row[column]))
    return {row[column]: place for place, row in enumerate(ordered)}


def _shown(row: dict[str, Any], orders: Mapping[str, Mapping[Any, int]], began: datetime) -> str:
    columns = {
        column: orders[column].get(value, value) if column in orders else _timeless(value, began)
        for column, value in row.items()
        if column not in OF_THE_RUN
    }
    return json.dumps(columns, sort_keys=True)


def _timeless(value: Any, began: datetime) -> Any:
    """Without the moments since the run began, and the ages that are told with a fraction."""
    match value:
        case dict():
            return {key: _timeless(item, began) for key, item in value.items()}
        case list():
            return [_timeless(item, began) for item in value]
        case str() if "T" in value and _moment(value) is not None:
            moment = _moment(value)
            return "lately" if moment is not None and moment >= began else value
        case float():
            return "age"
    return value


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # What the guard was told is wall clock of the site.
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=ZONE)
