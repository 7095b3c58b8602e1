"""What accounts owe by what is kept of them: use, and what streams are to be charged.

Everything is read, nothing is written: `settle` writes it, `rehearsal` only compares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.settlement import Book, Moved, moved_fen
from daemon.transactions.books import Ground, books_of, closed_since
from daemon.transactions.relinking import Relinked
from storage import terms
from storage.settling import Days


class Owed(NamedTuple):
    """The books with the links in them that come, the closed days that count for them, in order,
    and by account the fen by stream that are not posted."""

    books: list[Book]
    closed: Sequence[date]
    moved_fen: Mapping[int, Moved]


async def owed(
    connection: AsyncConnection[Any],
    marks: Mapping[int, Days],
    changes: Mapping[int, Relinked],
    ground: Ground,
    zone: ZoneInfo,
    today: date,
) -> Owed:
    """Of the accounts in `marks`, which tells the days that changed. `changes`: by account the
    links that leave and come. NoPrice: of one of them."""
    books = await books_of(connection, marks, changes, ground, zone)
    since = closed_since(books)
    closed = [] if since is None else await terms.closed_days(connection, since, today)
    return Owed(books, closed, moved_fen(books, closed, zone))
