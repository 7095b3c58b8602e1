"""Versions of tariffs: what the files say, and which of it counts. A form is never changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from typing import NamedTuple

from storage.sql import Connection, fetch_rows, load

SQL = load("tariffs")


class CountingVersion(NamedTuple):
    """A version that counts. `number`: by which use refers to it. `form`: JSON."""

    tariff: str
    number: int
    form: str


async def counting_versions(
    connection: Connection, tariffs: Collection[str]
) -> list[CountingVersion]:
    """The versions of these tariffs that count, by tariff in order of their start."""
    rows = await fetch_rows(connection, SQL["counting"], {"tariffs": sorted(tariffs)})
    return [CountingVersion(*row) for row in rows]


async def mark_used(connection: Connection, numbers: Collection[int]) -> None:
    """Let versions stay as they are from now on, because use is billed by them.

    SerializationFailure where one does not count any more: whoever billed by it begins anew."""
    if numbers:
        await connection.execute(SQL["mark_used"], {"numbers": sorted(numbers)})


async def changed_after_billing(connection: Connection) -> list[tuple[str, date]]:
    """(tariff, start) of versions that the staged files change and after whose start use is
    billed."""
    differing = await fetch_rows(connection, SQL["differing"])
    if not differing:
        return []  # the usual start does not look at what is billed
    values = {
        "tariffs": [tariff for tariff, _ in differing],
        "starts": [start for _, start in differing],
    }
    return [
        (tariff, start) for tariff, start in await fetch_rows(connection, SQL["billed"], values)
    ]


async def follow_files(connection: Connection) -> None:
    """Let the staged versions count, and no others of their tariffs."""
    await connection.execute(SQL["withdraw"])
    await connection.execute(SQL["add"])
