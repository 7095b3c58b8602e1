"""Jobs in the field: what cannot be done from afar, and who has it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from storage.sql import Connection, fetch_dicts, fetch_row, fetch_rows, load

SQL = load("field_jobs")


async def open_reconnects(connection: Connection) -> list[tuple[UUID, str, timedelta]]:
    """(command, supply state of its point, for how long it waits and nothing keeps it back) of
    reconnects that have no job."""
    return await fetch_rows(connection, SQL["open_reconnects"])


async def open_restore_jobs(connection: Connection, commands: Sequence[UUID]) -> list[int]:
    """Open a job for each of these reconnects; returns their numbers."""
    values = {"commands": commands}
    return [number for (number,) in await fetch_rows(connection, SQL["open_restore_jobs"], values)]


async def open_order_jobs(connection: Connection) -> list[int]:
    """Open a job for each order of two persons that the guard let nobody carry out in time; returns
    their numbers."""
    return [number for (number,) in await fetch_rows(connection, SQL["open_order_jobs"])]


async def close_order_jobs(connection: Connection) -> list[int]:
    """Close the jobs of orders that are not in force any more; returns their numbers."""
    return [number for (number,) in await fetch_rows(connection, SQL["close_order_jobs"])]


async def field_jobs(connection: Connection, *, all_times: bool = False) -> list[dict[str, Any]]:
    """Jobs that are open, the most urgent first; with `all_times` also those that are done."""
    return await fetch_dicts(connection, SQL["field_jobs"], {"all": all_times})


async def assign(connection: Connection, number: int, owner: str, actor: str) -> bool:
    """Give a job to somebody; False if it is not open."""
    values = {"number": number, "owner": owner, "actor": actor}
    return await fetch_row(connection, SQL["assign"], values) is not None


async def open_visits(connection: Connection) -> dict[str, int]:
    """By account the job of whoever has to go there with a written notice."""
    return dict(await fetch_rows(connection, SQL["open_visits"]))


async def paper_of(connection: Connection, number: int) -> tuple[int, datetime] | None:
    """The notice that somebody goes there with, and when it was made; None: the job has none, or
    is not open."""
    return await fetch_row(connection, SQL["paper_of"], {"number": number})


async def close_visit(connection: Connection, notice: int, result: str, actor: str) -> None:
    """The way on which this notice was taken is over, if it was delivered in person."""
    values = {"notice": notice, "result": result, "actor": actor}
    await connection.execute(SQL["close_visit"], values)


async def close_job(connection: Connection, number: int, result: str, actor: str) -> bool:
    """Say what came of a job; False if it is not open."""
    values = {"number": number, "result": result, "actor": actor}
    return await fetch_row(connection, SQL["close_job"], values) is not None
