"""What is kept of accounts: loaded, moved by links that leave and come, and stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config.tariff_version import Versions
from daemon.billing.links import Link
from daemon.billing.many import is_for_many
from daemon.billing.month_use import PointRegisters, add, decoded, encoded, is_whole, uses_of_link
from daemon.billing.pricing import Bonus, Terms
from daemon.billing.settlement import Book, Month, has_fees, has_year
from daemon.billing.stored_tariff import StoredTariff
from daemon.transactions.relinking import Relinked, link_in_force
from daemon.transactions.tariffs import NO_OTHERS, tariffs_of_accounts
from storage import links as stored_links
from storage import months as stored_months
from storage import terms
from storage.links import BilledPoint
from storage.months import MonthRow
from storage.settling import NO_DAYS, Days

log = structlog.get_logger("billing")


@dataclass(frozen=True, slots=True)
class Ground:
    """What accounts are billed by, besides use: tariffs and terms by account, rates by point."""

    tariffs: Mapping[int, StoredTariff]
    terms: Mapping[int, Terms]
    registers: Mapping[int, PointRegisters]


async def ground_of(
    connection: AsyncConnection[Any],
    began_with: Mapping[int, str],
    points: Iterable[BilledPoint],
    instead: Mapping[str, StoredTariff] = NO_OTHERS,
) -> Ground:
    """Of the accounts in `began_with`. One whose tariff has no version has neither tariff nor
    terms. `instead`: tariffs by name that are tried, and count instead of those that do."""
    found = await tariffs_of_accounts(connection, began_with, instead)
    # One object for all who pay the same: their months are priced at once.
    same: dict[Hashable, StoredTariff] = {}
    by_account = {account: same.setdefault(_key(it), it) for account, it in found.items()}
    told = await terms.terms_of(connection, began_with)
    registers = await terms.registers_of(connection, {point.point_id for point in points})
    return Ground(
        by_account,
        {account: account_terms(told[account], it.versions) for account, it in by_account.items()},
        {point: PointRegisters(*it) for point, it in registers.items()},
    )


async def books_of(
    connection: AsyncConnection[Any],
    marks: Mapping[int, Days],
    changes: Mapping[int, Relinked],
    ground: Ground,
    zone: ZoneInfo,
) -> list[Book]:
    """The books of the accounts that may have to be charged otherwise, with these changes in
    them. One that was never opened has none: it owes nothing, not even fees of days."""
    books = {
        account: Book(account, ground.terms[account], since)
        for account, days in marks.items()
        if account in ground.terms
        and ground.terms[account].opened is not None
        and (since := _since(days, changes.get(account))) is not None
    }
    kept, unknown = await _kept(connection, books, ground)
    anew = {account for account in books if marks[account].is_anew} | unknown
    for account in books.keys() - anew:
        books[account].months = kept[account]
        _move(books[account], changes.get(account) or Relinked(), ground, zone)
        if not all(is_whole(month.use) for month in books[account].months.values()):
            log.error("use is gathered anew", account_id=account)
            anew.add(account)
    by_link = {it for it in books if not is_for_many(ground.tariffs[it].versions)}
    links = await _links(connection, {it: books[it] for it in anew | by_link}, changes)
    for account, book in books.items():
        if account in by_link:
            versions = book.terms.versions
            book.parts = [
                use
                for link in links[account]
                for use in uses_of_link(link, versions, zone, ground.registers[link.point_id])
            ]
        if account in anew:
            book.months = kept[account]
            _gather(book, links[account], ground, zone)
    return list(books.values())


async def put_books(
    connection: AsyncConnection[Any], books: Iterable[Book], ground: Ground
) -> None:
    """Keep what the books say from now on."""
    rows = []
    for book in books:
        numbers = ground.tariffs[book.account_id].numbers
        for month, kept in book.months.items():
            if month >= book.since:
                posted = {code: fen for code, fen in sorted(kept.posted_fen.items()) if fen}
                use = encoded(kept.use, numbers)
                row = (book.account_id, month, use, list(posted), [*posted.values()])
                rows.append(MonthRow(*row))
    await stored_months.put(connection, rows)


def closed_since(books: Iterable[Book]) -> date | None:
    """From which day on closed days have to be known; None where neither a day costs by itself nor
    a month has to be over."""
    sinces = [it.since for it in books if has_fees(it.terms.versions) or it.terms.is_by_month]
    by_link = [it for it in books if not is_for_many(it.terms.versions)]
    sinces += [book.since.replace(month=1) for book in by_link if has_fees(book.terms.versions)]
    return min(sinces, default=None)


def _key(tariff: StoredTariff) -> Hashable:
    return tariff.numbers, tuple(it.effective_from for it in tariff.versions.all)


def account_terms(told: terms.AccountTerms, versions: Versions) -> Terms:
    """What is known of an account as rules take it."""
    return Terms(
        versions,
        told.phases,
        told.opened_on,
        told.last_day,
        tuple(Bonus(*row) for row in told.bonuses),
        told.used_elsewhere,
        told.is_by_month,
    )


def _since(days: Days, change: Relinked | None) -> date | None:
    """The first month that may cost something else; None where none may."""
    firsts = [] if days == NO_DAYS else [days.first]
    if change is not None:
        firsts += [link.from_day for link in change.coming]
        firsts += [old.link.from_day for old in change.leaving]
    return min(firsts).replace(day=1) if firsts else None


async def _kept(
    connection: AsyncConnection[Any], books: Mapping[int, Book], ground: Ground
) -> tuple[dict[int, dict[date, Month]], set[int]]:
    """By account its months; and the accounts whose use is kept by versions that they have no
    more."""
    sinces = {
        account: book.since.replace(month=1) if has_year(book.terms.versions) else book.since
        for account, book in books.items()
    }
    kept: dict[int, dict[date, Month]] = {account: {} for account in books}
    unknown = set()
    for row in await stored_months.months(connection, sinces) if sinces else ():
        use = decoded(row.use, ground.tariffs[row.account_id].numbers)
        if use is None:
            unknown.add(row.account_id)
        posted = dict(zip(row.components, row.posted_fen, strict=True))
        kept[row.account_id][row.month] = Month(use or {}, posted)
    return kept, unknown


async def _links(
    connection: AsyncConnection[Any],
    books: Mapping[int, Book],
    changes: Mapping[int, Relinked],
) -> dict[int, list[Link]]:
    """By account its links of the cycles that are asked for, as they will be."""
    if not books:
        return {}
    sinces = {account: book.since.replace(month=1) for account, book in books.items()}
    links: defaultdict[int, list[Link]] = defaultdict(list)
    for row in await stored_links.of_accounts(connection, sinces):
        links[row.account_id].append(link_in_force(row).link)
    for account in books:
        change = changes.get(account)
        if change is not None:
            left = {old.link for old in change.leaving}
            there = [it for it in links[account] if it not in left]
            # Of links that begin at once a matrix ladder takes one first: always the same.
            links[account] = sorted(
                there + change.coming, key=lambda link: (link.from_day, link.point_id)
            )
    return links


def _gather(book: Book, links: Sequence[Link], ground: Ground, zone: ZoneInfo) -> None:
    """The use of all its months, from nothing."""
    versions = book.terms.versions
    if has_year(versions):
        book.since = book.since.replace(month=1)
    for month in book.months.values():
        month.use = {}
    for link in links:
        for use in uses_of_link(link, versions, zone, ground.registers[link.point_id]):
            if use.month >= book.since:
                add(book.month(use.month).use, use, 1, versions)


def _move(book: Book, change: Relinked, ground: Ground, zone: ZoneInfo) -> None:
    """The use of what left out, and that of what came in."""
    versions = book.terms.versions
    for sign, links in ((-1, [old.link for old in change.leaving]), (1, change.coming)):
        for link in links:
            for use in uses_of_link(link, versions, zone, ground.registers[link.point_id]):
                add(book.month(use.month).use, use, sign, versions)
