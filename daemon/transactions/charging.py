"""What accounts are charged: posted, and remembered where it is for days long past."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from daemon.billing.posting import Leg, Stream, charge_legs
from daemon.billing.settlement import Book, Moved
from daemon.billing.span_grace import GRACE, PastCharge, grace_until, is_old
from daemon.transactions.relinking import Relinked
from storage import ledger, months
from storage.binary import SINCE
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.ledger import AccountRow, prepaid
from storage.months import OldCharge
from storage.settling import NO_DAYS, Days

DAY = timedelta(days=1)
NO_CHANGE = Relinked()


class Charged(NamedTuple):
    """What one account is charged at once, in fen by stream.

    `first_day`, `last_day`: the days whose use or fees it is for."""

    account_id: int
    moved_fen: Moved
    kind: ChargeKind
    first_day: date
    last_day: date


def charges(
    books: Iterable[Book],
    moved: Mapping[int, Moved],
    changes: Mapping[int, Relinked],
    marks: Mapping[int, Days],
    open_from: date,
    today: date,
) -> list[Charged]:
    """What is to be posted: of closed months as an adjustment by itself."""
    found = []
    for book in books:
        streams = moved[book.account_id]
        change = changes.get(book.account_id, NO_CHANGE)
        first, last = _days(change, marks[book.account_id], streams, today)
        is_true_up = any(old.link.hold is None for old in change.leaving)
        late = {it: fen for it, fen in streams.items() if it.period < open_from}
        rest = {it: fen for it, fen in streams.items() if it.period >= open_from}
        if rest:
            kind = ChargeKind.TRUE_UP if is_true_up else ChargeKind.CHARGE
            day = max(last, open_from)
            found.append(Charged(book.account_id, rest, kind, min(first, day), day))
        if late:
            day = min(last, open_from - DAY)
            found.append(
                Charged(book.account_id, late, ChargeKind.ADJUSTMENT, min(first, day), day)
            )
    return found


async def put_charges(
    connection: AsyncConnection[Any],
    charged: Sequence[Charged],
    books: Mapping[int, Book],
    accounts: Mapping[int, AccountRow],
) -> dict[int, int]:
    """Post them; by account the number of the transaction. The books get what was posted."""
    legs: list[Leg] = []
    counts: list[int] = []
    for it in charged:
        book = books[it.account_id]
        for stream, fen in it.moved_fen.items():
            posted = book.month(stream.period).posted_fen
            posted[stream.component] = posted.get(stream.component, 0) + fen
        theirs = charge_legs(prepaid(accounts[it.account_id].number), it.moved_fen)
        counts.append(len(theirs))
        legs += theirs
    if not charged:
        return {}
    numbers = await ledger.ledger_accounts(connection, {leg.account for leg in legs})
    of = [(leg.period, leg.component) for leg in legs if leg.period and leg.component]
    assert len(of) == len(legs), "every leg of a charge is for something"
    streams = await ledger.posting_streams(connection, set(of))
    told = Charges(
        kinds=_column(it.kind for it in charged),
        value_dates=_column((it.last_day - SINCE).days for it in charged),
        legs=_column(counts),
        accounts=_column(numbers[leg.account] for leg in legs),
        fen=_column(leg.amount_fen for leg in legs),
        streams=_column(streams[stream] for stream in of),
    )
    ids = (await post_charges(connection, told)).tolist()
    numbered = zip(charged, ids, strict=True)
    # A link is billed with what is posted of open months; an adjustment alone stands for all.
    in_order = sorted(numbered, key=lambda it: it[0].kind is not ChargeKind.ADJUSTMENT)
    return {it.account_id: number for it, number in in_order}


async def remember_old(
    connection: AsyncConnection[Any],
    charged: Iterable[Charged],
    accounts: Mapping[int, AccountRow],
    zone: ZoneInfo,
    now: datetime,
) -> None:
    """SPAN_GRACE by sums (amendment 2): what is posted for days long past, and until when nobody is
    cut for it by itself. Asked before the books are put: the usual cost is that of before."""
    old = [
        OldCharge(it.account_id, now, it.first_day, sum(it.moved_fen.values()))
        for it in charged
        if is_old(PastCharge(now, it.first_day, 0), zone)
    ]
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
    recent = await months.old_charges(connection, ids, now - 2 * GRACE)
    for account in ids:
        past = [PastCharge(*it[1:]) for it in recent if it.account_id == account]
        until = grace_until(past, usual.get(account, Fraction(0)), zone)
        if until is not None:
            untils[account] = until
    await months.put_grace(connection, untils)


def _days(
    change: Relinked, marked: Days, streams: Iterable[Stream], today: date
) -> tuple[date, date]:
    links = [*change.coming, *(old.link for old in change.leaving)]
    last = max((it.to_day - DAY for it in links), default=today)
    if not links and marked != NO_DAYS:
        last = min(marked.last, today)
    first = min((it.from_day for it in links), default=last)
    # Other days than those of the links may have another price: a tariff, a bonus was changed.
    earliest = min((stream.period for stream in streams), default=last)
    if marked.is_anew or not links or earliest < first.replace(day=1):
        first = min(first, max(marked.first, earliest))
    return first, last


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
