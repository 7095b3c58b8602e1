"""What a database holds, so that it can be compared with what comes out of a backup."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from storage.sql import Connection, fetch_row, fetch_rows, load

SQL = load("backup")


@dataclass(frozen=True, slots=True)
class Server:
    """`major`: of PostgreSQL. `timescaledb`: its version, or None."""

    major: int
    timescaledb: str | None


@dataclass(frozen=True, slots=True)
class Content:
    """Of a table: its `rows`, and a `sum` over all that stands in them, in whatever order."""

    rows: int
    sum: str


async def begin(connection: Connection) -> None:
    """Let the session last as long as a backup does, and write values in one way everywhere."""
    await connection.execute(SQL["begin"])


async def snapshot(connection: Connection) -> str:
    """The moment that this transaction (REPEATABLE READ) looks at, for pg_dump."""
    row = await fetch_row(connection, SQL["snapshot"])
    assert row is not None
    return str(row[0])


async def server(connection: Connection) -> Server:
    """What is connected to."""
    row = await fetch_row(connection, SQL["server"])
    assert row is not None
    return Server(*row)


async def is_empty(connection: Connection) -> bool:
    """True when there is no table, whoever made it."""
    return not await fetch_rows(connection, SQL["tables"])


async def hand_over(connection: Connection) -> None:
    """Give everything that a superuser made here to the owner of the database, whom it has to
    belong to: its functions act with the rights of their owner, and its owner alone migrates."""
    for (statement,) in await fetch_rows(connection, SQL["hand_over"]):
        await connection.execute(statement.encode())


async def contents(connection: Connection) -> dict[str, Content]:
    """Every table of ours by name; the session has begun as `begin` says."""
    found: dict[str, Content] = {}
    for (name,) in await fetch_rows(connection, SQL["tables"]):
        question = sql.SQL(SQL["content"]).format(sql.Identifier(name))
        row = await (await connection.execute(question)).fetchone()
        assert row is not None
        found[name] = Content(*row)
    return found
