"""T2 of a day that came to many accounts as it mostly does, by columns.

For others `past_days` does it, or `settle`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from psycopg import AsyncConnection

from daemon.billing.many_links import (
    DAY,
    Charged,
    KeptMonth,
    ManyLinks,
    Moving,
    charged,
    kept_use,
    month_number,
)
from daemon.billing.month_use import PointRegisters
from daemon.billing.settlement import has_fees
from daemon.billing.span_grace import OLD_AFTER
from daemon.billing.stored_tariff import StoredTariff
from daemon.control.authority import Authority
from daemon.transactions.many_accounts import (
    Changed,
    LinksOf,
    Settled,
    Told,
    entries_of,
    put,
    terms_alike,
)
from daemon.transactions.portions import Clock
from daemon.transactions.rounds import Pace, in_rounds
from daemon.transactions.tariffs import stored_versions
from storage import next_days as stored
from storage import terms
from storage.binary import SINCE
from storage.many_accounts import LinkColumns
from storage.next_days import NextDay
from storage.settling import Days, put_back

FIRST_ACCOUNTS: Final = 500
"""They take 25 ms of a processor."""
MANY_ACCOUNTS: Final = 2000


def usual_pace() -> Pace:
    """How many are settled at once, as long as nobody knows how long that takes."""
    return Pace(FIRST_ACCOUNTS, MANY_ACCOUNTS)


async def settle_next_days(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    until: datetime,
    clock: Clock = time.monotonic,
    pace: Pace | None = None,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> list[Exception]:
    """Settle accounts of which only a recent day's reading is new, and was marked until a moment.

    `give_way`: awaited before each transaction. Returns what transactions failed of."""
    # What is for days long past is looked at by itself (SPAN_GRACE).
    since = now.astimezone(authority.zone).date() - OLD_AFTER + DAY

    async def take(after: int, most: int) -> Mapping[int, date]:
        return await stored.take(connection, after, most, since, until)

    async def settle(taken: Mapping[int, date]) -> list[int]:
        return await _settle(connection, taken, authority.zone, now, until)

    pace = pace or usual_pace()
    return await in_rounds(connection, authority, now, take, settle, pace, clock, give_way)


async def _settle(
    connection: AsyncConnection[Any],
    taken: Mapping[int, date],
    zone: ZoneInfo,
    now: datetime,
    until: datetime,
) -> list[int]:
    """The accounts whose money has run out. Whoever is not as most are keeps its marks."""
    ((day, _),) = Counter(taken.values()).most_common(1)
    month = (day - DAY).replace(day=1)
    some = [account for account, of_day in taken.items() if of_day == day]
    found = await stored.next_days(connection, some, day, month)
    if not found:
        return []
    by_name = await stored_versions(connection, {it.alike.tariff for it in found})
    closed: list[date] = []
    if any(has_fees(it.versions) for it in by_name.values()):
        closed = await terms.closed_days(connection, month, now.astimezone(zone).date())
    told = await entries_of(connection, [it.alike for it in found])
    settled = []
    others: dict[int, Days] = {}
    for it in found:
        tariff = by_name.get(it.alike.tariff)
        what = _charged(it, day, tariff, told, closed, zone) if tariff else None
        alone = np.ones(len(it.meters), dtype=bool) if what is None else what.are_dearer
        others |= dict.fromkeys(it.alike.accounts[alone].tolist(), Days(day, day))
        if tariff is None or alone.all():
            continue
        if alone.any():
            it = it.those(~alone)
            what = _charged(it, day, tariff, told, closed, zone)
        assert what is not None, "what is for columns is for fewer accounts, too"
        settled.append(Settled(it.alike, tariff, _changed(it, day), what))
    exhausted = await put(connection, settled, zone, now)
    if others:
        await put_back(connection, others, until)
    return exhausted


def _charged(
    it: NextDay,
    day: date,
    tariff: StoredTariff,
    told: Told,
    closed: Sequence[date],
    zone: ZoneInfo,
) -> Charged | None:
    """None where it is not for columns."""
    given = _links(it, day, tariff, told)
    return charged(given, closed, zone) if given else None


def _links(it: NextDay, day: date, tariff: StoredTariff, told: Told) -> ManyLinks | None:
    """The links that come, as the rules take them; None where what is kept is of other versions."""
    use = kept_use(it.use, tariff)
    if use is None:
        return None
    terms_of, which = terms_alike(it.alike, tariff.versions, told)
    every = np.arange(len(which))
    month = (day - DAY).replace(day=1)
    kept = KeptMonth(
        np.full(len(which), it.use.shape[1] + it.posted_fen.shape[1] > 0),
        use,
        dict(zip(it.components, it.posted_fen.T, strict=True)),
    )
    coming = [Moving(day - DAY, day, 1, every, it.begins, it.ends)]
    return ManyLinks(
        tariff,
        PointRegisters(it.alike.rates, it.alike.residual_rate),
        it.modulus,
        it.decimals,
        it.ratio,
        coming,
        np.full(len(which), month_number(month)),
        {month: kept},
        it.used_before,
        terms_of,
        which,
    )


def _changed(it: NextDay, day: date) -> Changed:
    accounts = it.alike.accounts
    days = np.full(len(accounts), (day - SINCE).days)
    links = LinkColumns(
        it.modulus,
        it.decimals,
        it.ratio,
        None,
        accounts,
        it.alike.points,
        it.meters,
        days - 1,
        days,
        it.begins,
        it.ends,
    )
    return Changed([], [LinksOf(links, np.arange(len(accounts)))], days, days)
