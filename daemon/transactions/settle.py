"""T2: bring links, charges, postings and credit of many accounts in line, under their locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.billing.links import Link
from daemon.billing.settlement import charging_versions, posted_now
from daemon.billing.use import NoPrice
from daemon.transactions.books import ground_of, put_books
from daemon.transactions.charging import Charged, charges, put_charges
from daemon.transactions.credit import update_credit
from daemon.transactions.old_charges import old_charges, remember_old
from daemon.transactions.owed import owed
from daemon.transactions.relinking import Relinked, link_row, relinked
from storage import ledger, links, tariffs
from storage.ledger import AccountRow
from storage.links import BilledPoint
from storage.settling import ALL_DAYS, Days

log = structlog.get_logger("billing")


async def settle_accounts(
    connection: AsyncConnection[Any], marks: Mapping[int, Days], zone: ZoneInfo, now: datetime
) -> list[int]:
    """Bring links and postings of these accounts in line with their published chains and terms.

    `marks`: by account the days that changed. Returns the accounts that are there, whose rows stay
    locked until the caller's transaction ends. Doing it again changes nothing. The number of
    statements does not depend on the number of accounts. NoPrice: of one of them."""
    # Locked before anything is read that money depends on: a payment waits, or is seen.
    accounts = await ledger.lock_accounts(connection, marks)
    marks = {account: marks[account] for account in accounts}
    points = await links.billed_points(connection, marks)
    await _activate(connection, accounts, points)
    began_with = {account: row.tariff_id for account, row in accounts.items()}
    ground = await ground_of(connection, began_with, points)
    found = await relinked(connection, points, marks, ground.tariffs, ground.registers, zone)
    for account in found.keys() - ground.tariffs.keys():
        raise NoPrice(f"tariff {accounts[account].tariff_id} has no version that counts")
    today = now.astimezone(zone).date()
    books, closed, moved = await owed(connection, marks, found, ground, zone, today)
    by_account = {book.account_id: book for book in books}
    over = set(closed)
    moved = {account: posted_now(by_account[account], it, over) for account, it in moved.items()}
    charged = charges(books, moved, found, marks, await ledger.open_from(connection), today)
    # Nothing was written up to here: the rules saw one state of all accounts.
    numbers = await put_charges(connection, charged, by_account, accounts)
    posted = list(zip(charged, numbers, strict=True))
    old = old_charges(posted, by_account, found, marks, ground.registers, closed, zone, now)
    await remember_old(connection, list(old), zone, now)
    await _put_links(connection, found, posted)
    await links.bill_months(
        connection,
        [
            (it.account_id, stream.about.period, number)
            for it, number in posted
            # Who was settled by months until now is looked at from the first day on.
            if by_account[it.account_id].terms.is_by_month
            or marks[it.account_id].first == ALL_DAYS.first
            for stream in it.moved_fen
        ],
    )
    await put_books(connection, books, ground)
    used = {
        ground.tariffs[book.account_id].numbers[number]
        for book in books
        for number in charging_versions(book, closed)
    }
    await tariffs.mark_used(connection, used)
    await update_credit(connection, accounts.values(), now)
    return sorted(accounts)


async def _activate(
    connection: AsyncConnection[Any],
    accounts: Mapping[int, AccountRow],
    points: Iterable[BilledPoint],
) -> None:
    """R41: an account is active when the opening freeze of each of its points is there."""
    are_open: defaultdict[int, list[bool]] = defaultdict(list)
    for point in points:
        if point.to_day is None:
            are_open[point.account_id].append(point.is_open)
    complete = [
        account
        for account, opened in are_open.items()
        if accounts[account].state == "pending" and all(opened)
    ]
    await ledger.activate(connection, complete)
    for account in complete:
        log.info("account active", account=accounts[account].number)


async def _put_links(
    connection: AsyncConnection[Any],
    changes: Mapping[int, Relinked],
    posted: Iterable[tuple[Charged, int]],
) -> None:
    # First out of force, then in force: no two live links of a point may begin on one day (M1).
    leaving = [old.link for change in changes.values() for old in change.leaving]
    await links.put_out(connection, [(link.point_id, link.from_day) for link in leaving])
    billed_by: defaultdict[int, dict[date, int]] = defaultdict(dict)
    for it, number in posted:
        billed_by[it.account_id] |= {stream.about.period: number for stream in it.moved_fen}
    coming = [
        link_row(account, link, None if link.hold else _billed_by(link, billed_by[account]))
        for account, change in changes.items()
        for link in change.coming
    ]
    if coming:
        await links.put_in(connection, coming)


def _billed_by(link: Link, numbers: Mapping[date, int]) -> int | None:
    """The transaction about the month in which it ends, or another of its settlement."""
    month = (link.to_day - timedelta(days=1)).replace(day=1)
    return numbers.get(month) or next(iter(numbers.values()), None)
