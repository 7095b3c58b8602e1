"""SPAN_GRACE by sums (money, amendment 2): what is posted for days long past is remembered, and
until when nobody is cut for it by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.earlier_days import Reason, may_reprice, of_earlier_days
from daemon.billing.month_use import MonthUse, PointRegisters, add, uses_of_link, uses_of_month
from daemon.billing.pricing import MINIMUM
from daemon.billing.settlement import Book
from daemon.billing.span_grace import GRACE, PastCharge, grace_until, is_old
from daemon.billing.use import Use
from daemon.transactions.charging import NO_CHANGE, Charged
from daemon.transactions.relinking import Relinked
from storage import months
from storage.months import OldCharge
from storage.settling import Days

DAY = timedelta(days=1)
BONUS = "household_bonus"


def old_charges(
    charged: Iterable[tuple[Charged, int]],
    books: Mapping[int, Book],
    changes: Mapping[int, Relinked],
    marks: Mapping[int, Days],
    registers: Mapping[int, PointRegisters],
    closed: Collection[date],
    zone: ZoneInfo,
    now: datetime,
) -> Iterator[OldCharge]:
    """What of these charges, each with the number of its transaction, is for days long past."""
    for it, number in charged:
        account, fen = it.account_id, sum(it.moved_fen.values())
        if is_old(PastCharge(now, it.first_day, 0), zone):
            reasons = list(_reasons(it, marks[account])) if fen > 0 else []
            yield OldCharge(account, now, it.first_day, fen, number, reasons)
            continue
        book = books[account]
        if not any(map(may_reprice, book.terms.versions.all)):
            continue
        moved_fen = {stream.about: fen for stream, fen in it.moved_fen.items()}
        for month in {stream.period for stream in moved_fen}:
            first = max(month, book.terms.opened or month)
            if not is_old(PastCharge(now, first, 0), zone):
                continue
            change = changes.get(account, NO_CHANGE)
            before, came = _use_that_came(book, month, change, registers, zone)
            earlier = {day for day in closed if is_old(PastCharge(now, day, 0), zone)}
            found = of_earlier_days(book.terms, month, before, came, moved_fen, earlier)
            if found.fen:
                yield OldCharge(account, now, first, found.fen, number, found.reasons)


def _reasons(charged: Charged, marked: Days) -> Iterator[Reason]:
    """Those that are known of a charge that is for old days as a whole."""
    missing = (fen for it, fen in charged.moved_fen.items() if it.about.component == MINIMUM)
    if sum(missing) > 0:
        yield "minimum"
    if BONUS in marked.causes:
        yield "bonus ended"


def _use_that_came(
    book: Book,
    month: date,
    change: Relinked,
    registers: Mapping[int, PointRegisters],
    zone: ZoneInfo,
) -> tuple[list[Use], list[Use]]:
    """The use of a month without that of these links, and theirs."""
    versions = book.terms.versions
    before: MonthUse = dict(book.month(month).use)
    came: MonthUse = {}
    for sign, links in ((1, change.coming), (-1, [old.link for old in change.leaving])):
        for link in links:
            for use in uses_of_link(link, versions, zone, registers[link.point_id]):
                if use.month == month:
                    add(came, use, sign, versions)
                    add(before, use, -sign, versions)
    return (
        list(uses_of_month(month, before, versions, zone)),
        list(uses_of_month(month, came, versions, zone)),
    )


async def remember_old(
    connection: AsyncConnection[Any], old: Sequence[OldCharge], zone: ZoneInfo, now: datetime
) -> None:
    """Write down what was charged for days long past, and until when nobody is cut for it.

    Asked before the books are put: the usual cost is that of before."""
    if not old:
        return
    ids = {it.account_id for it in old}
    today = now.astimezone(zone).date()
    since = (today.replace(day=1) - DAY).replace(day=1)
    usual = {
        account: Fraction(max(0, fen), max(1, (today - first).days))
        for account, fen, first in await months.usual_days(connection, ids, since)
    }
    await months.add_old_charges(connection, old)
    untils = {}
    recent: defaultdict[int, list[PastCharge]] = defaultdict(list)
    for it in await months.old_charges(connection, ids, now - 2 * GRACE):
        recent[it.account_id].append(PastCharge(it.posted_at, it.first_day, it.fen))
    for account, past in recent.items():
        until = grace_until(past, usual.get(account, Fraction(0)), zone)
        if until is not None:
            untils[account] = until
    await months.put_grace(connection, untils)
