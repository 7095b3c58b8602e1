"""What proves bills: read of many accounts at once, and never written."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from itertools import takewhile
from typing import NamedTuple

from storage.ledger import prepaid
from storage.readings import Source
from storage.sql import Connection, Row, array, days, fetch_rows, load

SQL = load("proofs")


class NumberedAccount(NamedTuple):
    """`tariff_id`: the one that it began with."""

    id: int
    number: str
    tariff_id: str


class CountedRow(NamedTuple):
    """Fen that count for a month. `about`: the month that charges are about; None: no charges."""

    account_id: int
    month: date
    about: date | None
    charged_fen: int
    other_fen: int


class TransactionRow(NamedTuple):
    """What was sealed of a transaction that moved a customer's balance."""

    account_id: int
    place: int
    recorded_at: datetime
    value_date: date
    kind: str
    accounts: Sequence[int]
    fen: Sequence[int]
    streams: Sequence[int | None] | None
    actor: str | None
    key: str | None
    channel: str | None
    content: str | None
    document: int | None
    reverses: int | None


class AccountName(NamedTuple):
    """An account of the ledger by its number, and the place of its name in the journal."""

    account: int
    place: int
    name: str


class StreamName(NamedTuple):
    """What legs of charges are for by its number, and the place of its name in the journal."""

    stream: int
    place: int
    month: date
    component: str


class ShownRow(NamedTuple):
    """A value that counts. `source`: NULL where no meter told it. Registers in their smallest
    step."""

    point_id: int
    day: date
    state: str
    source: Source | None
    stamp: datetime | None
    arrived_at: datetime | None
    registers: tuple[int, ...]


async def numbered(connection: Connection, numbers: Collection[str]) -> list[NumberedAccount]:
    """In order of their numbers; those that are unknown are left out."""
    rows = await fetch_rows(connection, SQL["numbered"], {"numbers": list(numbers)})
    return [NumberedAccount(*row) for row in rows]


async def in_service(connection: Connection, month: date) -> list[NumberedAccount]:
    """The accounts that had a day in service in the month, in order of their numbers."""
    rows = await fetch_rows(connection, SQL["in_service"], {"month": month})
    return [NumberedAccount(*row) for row in rows]


async def unsettled(
    connection: Connection, accounts: Sequence[NumberedAccount], month: date
) -> str | None:
    """The first of them of which something of the month, or before it, is yet to be settled."""
    values = {"accounts": array([it.id for it in accounts]), "month": month}
    ((number,),) = await fetch_rows(connection, SQL["unsettled"], values)
    return None if number is None else str(number)


async def counted(
    connection: Connection, accounts: Sequence[NumberedAccount], month: date
) -> list[CountedRow]:
    """What counts for a month, and for those before it."""
    values = {**_named(accounts), "month": month}
    return [CountedRow(*row) for row in await fetch_rows(connection, SQL["counted"], values)]


async def transactions(
    connection: Connection,
    accounts: Sequence[NumberedAccount],
    month: date,
    rated: Mapping[int, Collection[date]],
) -> list[TransactionRow]:
    """Charges that are about the `rated` months of each account and all else of a month, by account
    in order of their places."""
    months = [days(sorted(rated[account.id])) for account in accounts]
    values = {**_named(accounts), "month": month, "rated": months}
    rows = await fetch_rows(connection, SQL["transactions"], values)
    return [TransactionRow(*row) for row in rows]


async def account_names(connection: Connection, ids: Collection[int]) -> list[AccountName]:
    """Of accounts of the ledger."""
    rows = await fetch_rows(connection, SQL["account_names"], {"ids": list(ids)})
    return [AccountName(*row) for row in rows]


async def stream_names(connection: Connection, ids: Collection[int]) -> list[StreamName]:
    """Of what legs of charges are for."""
    rows = await fetch_rows(connection, SQL["stream_names"], {"ids": list(ids)})
    return [StreamName(*row) for row in rows]


async def shown(connection: Connection, ends: Collection[tuple[int, date]]) -> list[ShownRow]:
    """The values of (point, day) that count."""
    values = {"points": array(point for point, _ in ends), "days": days(day for _, day in ends)}
    return [_shown_row(row) for row in await fetch_rows(connection, SQL["shown"], values)]


async def documents(
    connection: Connection, points: Collection[int]
) -> dict[tuple[int, datetime], int]:
    """By point and moment the document that says what its meters showed then."""
    rows = await fetch_rows(connection, SQL["documents"], {"points": list(points)})
    return {(point, at): document for point, at, document in rows}


async def point_numbers(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """What persons call points."""
    return dict(await fetch_rows(connection, SQL["point_numbers"], {"ids": list(ids)}))


async def addresses(connection: Connection, ids: Collection[int]) -> dict[int, str]:
    """Of meters."""
    return dict(await fetch_rows(connection, SQL["addresses"], {"ids": list(ids)}))


async def sealed_in(connection: Connection, places: Collection[int]) -> dict[int, int | None]:
    """By place the number of the block that holds it; None: it is not sealed yet."""
    return dict(await fetch_rows(connection, SQL["sealed_in"], {"places": array(places)}))


async def hashes(
    connection: Connection, numbers: Collection[int]
) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """The hashes of blocks, and their peaks in the tree over all blocks."""
    rows = await fetch_rows(connection, SQL["hashes"], {"numbers": list(numbers)})
    return {row[0]: row[1] for row in rows}, {row[0]: row[2] for row in rows}


def _named(accounts: Sequence[NumberedAccount]) -> dict[str, object]:
    ids = array(account.id for account in accounts)
    return {"accounts": ids, "names": [prepaid(account.number) for account in accounts]}


def _shown_row(row: Row) -> ShownRow:
    point, day, state, source, stamp, arrived_at, total, *rates, more_rates = row
    registers = (total, *rates, *(more_rates or ()))
    known = tuple(takewhile(lambda register: register is not None, registers))
    told_by = None if source is None else Source(source)
    return ShownRow(point, day, state, told_by, stamp, arrived_at, known)
