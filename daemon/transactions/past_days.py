"""T2 of readings of whatever days that came to many accounts, by columns: the first days of an
account, spans over missing days, what a back-fill brings. For others `settle` does it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from psycopg import AsyncConnection

from daemon.billing.many_links import (
    DAY,
    KeptMonth,
    ManyLinks,
    Moving,
    are_plain,
    charged,
    kept_use,
    month_number,
    nothing_used,
)
from daemon.billing.month_use import PointRegisters
from daemon.billing.settlement import has_fees, has_year
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
from storage import ledger, terms
from storage import past_days as stored
from storage.binary import SINCE
from storage.columns import Integers
from storage.many_accounts import Alike, LinkColumns
from storage.past_days import MonthAlike, Moved, PastDays
from storage.settling import Days, put_back

log = structlog.get_logger("billing")
FIRST_ACCOUNTS: Final = 250
MANY_ACCOUNTS: Final = 2000


async def settle_past_days(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    until: datetime,
    clock: Clock = time.monotonic,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> list[Exception]:
    """Settle accounts of which readings are new, and were marked until a moment.

    `give_way`: awaited before each transaction. Returns what transactions failed of."""

    async def take(after: int, most: int) -> Mapping[int, date]:
        return await stored.take(connection, after, most, until)

    async def settle(taken: Mapping[int, date]) -> list[int]:
        return await _settle(connection, taken, authority.zone, now, until)

    pace = Pace(FIRST_ACCOUNTS, MANY_ACCOUNTS)
    return await in_rounds(connection, authority, now, take, settle, pace, clock, give_way)


async def _settle(
    connection: AsyncConnection[Any],
    taken: Mapping[int, date],
    zone: ZoneInfo,
    now: datetime,
    until: datetime,
) -> list[int]:
    """The accounts whose money has run out. Those that are not for columns keep their marks."""
    earliest = min(taken.values())
    first_month = (earliest - timedelta(days=stored.MOST_DAYS)).replace(day=1)
    found = await stored.facts(connection, taken, first_month)
    tariffs = await stored_versions(connection, {it.alike.tariff for it in found})
    for_columns = {name for name, it in tariffs.items() if are_plain(it.versions)}
    found = [it for it in found if it.alike.tariff in for_columns]
    today = now.astimezone(zone).date()
    moved = await stored.moved(connection, found, earliest, today + 2 * DAY) if found else []
    days = [it.links for it in moved if it.sign == 0]
    if not days:
        return []
    since = (SINCE + int(min(it.links.from_days.min() for it in moved)) * DAY).replace(day=1)
    closed: list[date] = []
    if any(has_fees(tariffs[it.alike.tariff].versions) for it in found):
        closed = await terms.closed_days(connection, since, today)
    told = await entries_of(connection, [it.alike for it in found])
    has_years = any(has_year(tariffs[it.alike.tariff].versions) for it in found)
    accounts = [account for it in days for account in it.accounts.tolist()]
    months = await stored.months(
        connection, accounts, since.replace(month=1) if has_years else since
    )
    settled = []
    others: dict[int, Days] = {}
    for of in found:
        tariff = tariffs[of.alike.tariff]
        for it in days:
            is_here = np.isin(of.alike.accounts, it.accounts)
            if not is_here.any():
                continue
            alike = of.alike.those(is_here)
            changed = _changed(alike, it, moved)
            given = _links(alike, tariff, changed, it, months, told)
            what = charged(given, closed, zone) if given else None
            if what is None:
                others |= _days(alike, changed)
            else:
                settled.append(Settled(alike, tariff, changed, what))
    await _activate(connection, found, days)
    exhausted = await put(connection, settled, zone, now)
    if others:
        await put_back(connection, others, until)
    return exhausted


def _changed(alike: Alike, days: LinkColumns, moved: Sequence[Moved]) -> Changed:
    """Of accounts whose days these are, too."""
    places = _places(alike, days.accounts)
    firsts = np.empty(len(alike.accounts), dtype=np.int64)
    lasts = firsts.copy()
    is_here = places >= 0
    firsts[places[is_here]] = days.from_days[is_here]
    lasts[places[is_here]] = days.to_days[is_here]
    of_sign: dict[int, list[LinksOf]] = {-1: [], 1: []}
    for it in moved:
        if it.sign:
            places = _places(alike, it.links.accounts)
            is_here = places >= 0
            of_sign[it.sign].append(LinksOf(it.links.those(is_here), places[is_here]))
    return Changed(of_sign[-1], of_sign[1], firsts, lasts)


def _places(alike: Alike, accounts: Integers) -> Integers:
    """Where each of these accounts is; -1: it is none of those alike."""
    order = np.argsort(alike.accounts)
    found = np.searchsorted(alike.accounts, accounts, sorter=order)
    places = order[np.minimum(found, len(order) - 1)]
    return np.where(alike.accounts[places] == accounts, places, -1)


def _links(
    alike: Alike,
    tariff: StoredTariff,
    changed: Changed,
    days: LinkColumns,
    months: Sequence[MonthAlike],
    told: Told,
) -> ManyLinks | None:
    """Links that leave and come, as the rules take them; None where what is kept is of other
    versions."""
    kept = _kept(alike, tariff, months)
    if kept is None:
        return None
    moving = [
        it
        for sign, of_sign in ((-1, changed.leaving), (1, changed.coming))
        for of in of_sign
        if of.links.hold is None
        for it in _moving(of, sign)
    ]
    terms_of, which = terms_alike(alike, tariff.versions, told)
    firsts = changed.firsts.copy()
    for of in (*changed.leaving, *changed.coming):
        np.minimum.at(firsts, of.places, of.links.from_days)
    since = [month_number(SINCE + first * DAY) for first in firsts.tolist()]
    return ManyLinks(
        tariff,
        PointRegisters(alike.rates, alike.residual_rate),
        days.modulus,
        days.decimals,
        days.ratio,
        moving,
        np.array(since, dtype=np.int64),
        kept,
        np.zeros(len(which), dtype=np.int64),
        terms_of,
        which,
    )


def _moving(of: LinksOf, sign: int) -> Iterator[Moving]:
    """Those over the same days at a time."""
    links = of.links
    spans, numbers = np.unique(
        np.stack([links.from_days, links.to_days], axis=1), axis=0, return_inverse=True
    )
    for number, (first, last) in enumerate(spans.tolist()):
        which = np.flatnonzero(numbers.ravel() == number)
        yield Moving(
            SINCE + first * DAY,
            SINCE + last * DAY,
            sign,
            of.places[which],
            links.begins[which],
            links.ends[which],
        )


def _kept(
    alike: Alike, tariff: StoredTariff, months: Sequence[MonthAlike]
) -> dict[date, KeptMonth] | None:
    """What is kept of these accounts by month; None where it is of versions they have no more."""
    count = len(alike.accounts)
    kept: dict[date, KeptMonth] = {}
    for it in months:
        places = _places(alike, it.accounts)
        is_here = places >= 0
        if not is_here.any():
            continue
        places = places[is_here]
        use = kept_use(it.use[is_here], tariff)
        if use is None:
            return None
        month = kept.setdefault(it.month, KeptMonth(np.zeros(count, dtype=bool)))
        month.is_there[places] = True
        for version, told in use.items():
            known = month.use.get(version) or nothing_used(tariff.versions.all[version], count)
            month.use[version] = known.plus(places, told)
        for code, fen in zip(it.components, it.posted_fen[is_here].T, strict=True):
            posted = month.posted_fen.setdefault(code, np.zeros(count, dtype=np.int64))
            posted[places] = fen
    return kept


def _days(alike: Alike, changed: Changed) -> dict[int, Days]:
    days = zip(changed.firsts.tolist(), changed.lasts.tolist(), strict=True)
    return {
        account: Days(SINCE + first * DAY, SINCE + last * DAY)
        for account, (first, last) in zip(alike.accounts.tolist(), days, strict=True)
    }


async def _activate(
    connection: AsyncConnection[Any], found: Sequence[PastDays], days: Sequence[LinkColumns]
) -> None:
    """R41: an account is active when the opening freeze of its point is there."""
    taken = np.concatenate([it.accounts for it in days])
    pending = [it.alike.accounts[it.is_pending > 0] for it in found]
    complete = np.concatenate([it[np.isin(it, taken)] for it in pending]).tolist()
    if complete:
        await ledger.activate(connection, complete)
        rows = await ledger.account_rows(connection, complete)
        for row in rows.values():
            log.info("account active", account=row.number)
