"""What accounts owe: links that change, the use that follows, and what streams are to be charged.

Everything is read, nothing is written: `settle` writes it, `rehearsal` only compares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.settlement import Book, Moved, moved_fen
from daemon.billing.use import NoPrice
from daemon.transactions.books import Ground, books_of, closed_since
from daemon.transactions.relinking import Relinked, relinked
from storage import terms
from storage.links import BilledPoint
from storage.settling import Days


class Owed(NamedTuple):
    """By account the links that leave and come and the fen by stream that are not posted; the books
    with these links in them, and the closed days that count for them, in order."""

    changes: Mapping[int, Relinked]
    books: list[Book]
    closed: Sequence[date]
    moved_fen: Mapping[int, Moved]


async def owed(
    connection: AsyncConnection[Any],
    points: Sequence[BilledPoint],
    marks: Mapping[int, Days],
    ground: Ground,
    zone: ZoneInfo,
    today: date,
) -> Owed:
    """Of the accounts in `marks`, which tells the days that changed. NoPrice: of one of them."""
    changes = await relinked(connection, points, marks, ground.tariffs, ground.registers, zone)
    for account in changes.keys() - ground.tariffs.keys():
        raise NoPrice(f"tariff {ground.began_with[account]} has no version that counts")
    books = await books_of(connection, marks, changes, ground, zone)
    since = closed_since(books)
    closed = [] if since is None else await terms.closed_days(connection, since, today)
    return Owed(changes, books, closed, moved_fen(books, closed, zone))
