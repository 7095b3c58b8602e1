"""What accounts are charged, and how it is posted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from psycopg import AsyncConnection

from daemon.billing.posting import Leg, Stream, charge_legs
from daemon.billing.pricing import days_of
from daemon.billing.settlement import Book, Moved
from daemon.transactions.relinking import Relinked
from storage import ledger
from storage.binary import SINCE
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.ledger import AccountRow, prepaid
from storage.settling import NO_DAYS, Days

DAY = timedelta(days=1)
NO_CHANGE = Relinked()


class Charged(NamedTuple):
    """What one account is charged in a month, in fen by stream.

    `first_day`: of the use or fees that it is for."""

    account_id: int
    moved_fen: Moved
    kind: ChargeKind
    first_day: date
    value_date: date


def charges(
    books: Iterable[Book],
    moved: Mapping[int, Moved],
    changes: Mapping[int, Relinked],
    marks: Mapping[int, Days],
    open_from: date,
    today: date,
) -> list[Charged]:
    """What is to be posted: each month by itself, and the closed ones as an adjustment today."""
    found = []
    for book in books:
        account, streams = book.account_id, moved[book.account_id]
        change = changes.get(account, NO_CHANGE)
        first, last = _days(change, marks[account], streams, today)
        is_true_up = any(old.link.hold is None for old in change.leaving)
        kind = ChargeKind.TRUE_UP if is_true_up else ChargeKind.CHARGE
        current = max(today, open_from)
        late: Moved = {}
        by_month: defaultdict[date, Moved] = defaultdict(dict)
        for stream, fen in streams.items():
            if stream.period < open_from:
                late[stream.adjusted_in(current.replace(day=1))] = fen
            else:
                by_month[stream.period][stream] = fen
        if late:
            found.append(Charged(account, late, ChargeKind.ADJUSTMENT, first, current))
        for month, own in sorted(by_month.items()):
            day = min(max(last, month), days_of(month)[-1])
            found.append(Charged(account, own, kind, min(first, day), day))
    return found


async def put_charges(
    connection: AsyncConnection[Any],
    charged: Sequence[Charged],
    books: Mapping[int, Book],
    accounts: Mapping[int, AccountRow],
) -> list[int]:
    """Post them; the number of the transaction of each. The books get what was posted."""
    legs: list[Leg] = []
    counts: list[int] = []
    for it in charged:
        book = books[it.account_id]
        for stream, fen in it.moved_fen.items():
            month, component = stream.about
            posted = book.month(month).posted_fen
            posted[component] = posted.get(component, 0) + fen
        theirs = charge_legs(prepaid(accounts[it.account_id].number), it.moved_fen)
        counts.append(len(theirs))
        legs += theirs
    if not charged:
        return []
    numbers = await ledger.ledger_accounts(connection, {leg.account for leg in legs})
    of = [(leg.period, leg.component) for leg in legs if leg.period and leg.component]
    assert len(of) == len(legs), "every leg of a charge is for something"
    streams = await ledger.posting_streams(connection, set(of))
    told = Charges(
        kinds=_column(it.kind for it in charged),
        value_dates=_column((it.value_date - SINCE).days for it in charged),
        legs=_column(counts),
        accounts=_column(numbers[leg.account] for leg in legs),
        fen=_column(leg.amount_fen for leg in legs),
        streams=_column(streams[stream] for stream in of),
    )
    return list(map(int, await post_charges(connection, told)))


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
    if marked.causes or not links or earliest < first.replace(day=1):
        first = min(first, max(marked.first, earliest))
    return first, last


def _column(values: Iterable[int]) -> NDArray[np.int64]:
    return np.fromiter(values, dtype=np.int64)
