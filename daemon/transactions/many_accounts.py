"""What is charged to many accounts at once, and how it is written: by columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import compress
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
from psycopg import AsyncConnection

from config.tariff_version import Versions
from daemon.billing.credit import STATES
from daemon.billing.many import Flags
from daemon.billing.many_links import Charged, by_pattern, encoded
from daemon.billing.posting import account_of
from daemon.billing.pricing import Terms, days_of
from daemon.billing.span_grace import OLD_AFTER
from daemon.billing.stored_tariff import StoredTariff
from daemon.transactions.books import account_terms
from daemon.transactions.credit import update_credit
from daemon.transactions.old_charges import remember_old
from storage import ledger, tariffs, terms
from storage import links as stored_links
from storage import many_accounts as stored
from storage.binary import SINCE
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.columns import Integers
from storage.many_accounts import Alike, LinkColumns, MonthColumns
from storage.months import OldCharge

DAY: Final = timedelta(days=1)
NEVER: Final = 1 << 30
EXHAUSTED: Final = STATES.index("exhausted")
Told = Mapping[int, terms.AccountTerms]
"""What is entered of accounts, by account."""


@dataclass(frozen=True, slots=True)
class LinksOf:
    """Links that come, or leave, and of each the place of its account."""

    links: LinkColumns
    places: Integers


@dataclass(frozen=True, slots=True)
class Changed:
    """Which links of accounts leave and come, and the first and last of the days that changed
    [accounts], in days since 2000."""

    leaving: Sequence[LinksOf]
    coming: Sequence[LinksOf]
    firsts: Integers
    lasts: Integers

    @property
    def has_links(self) -> Flags:
        """Of whom any do [accounts]."""
        found = np.zeros(len(self.firsts), dtype=bool)
        for it in (*self.leaving, *self.coming):
            found[it.places] = True
        return found


@dataclass(frozen=True, slots=True)
class Settled:
    """Accounts alike, what changed of their links, and what that makes of them."""

    alike: Alike
    tariff: StoredTariff
    changed: Changed
    charged: Charged

    @property
    def moved_fen(self) -> Integers:
        """[accounts]: the sum of all that each is charged."""
        moved = np.zeros(len(self.alike.accounts), dtype=np.int64)
        for month in self.charged.months.values():
            for fen in month.moved_fen.values():
                moved += fen
        return moved


@dataclass(frozen=True, slots=True)
class _Bill:
    """What some of these accounts are charged for a month: each is a transaction.

    `which`: their places; `kinds`: a ChargeKind of each; `moved_fen` [accounts, components];
    `first_days`, `value_dates`: of each."""

    settled: Settled
    month: date
    which: Integers
    kinds: Integers
    components: Sequence[str]
    moved_fen: Integers
    first_days: Integers
    value_dates: Integers


async def entries_of(connection: AsyncConnection[Any], found: Sequence[Alike]) -> Told:
    """What is entered of bonuses and of use elsewhere, by account that has any."""
    asked = [account for it in found if it.has_entries for account in it.accounts.tolist()]
    return await terms.terms_of(connection, asked) if asked else {}


def terms_alike(alike: Alike, versions: Versions, told: Told) -> tuple[list[Terms], Integers]:
    """The terms of accounts that differ, and the place of each account's."""
    usual = Terms(versions, alike.phases, alike.opened_on)
    if not alike.has_entries:
        return [usual], np.zeros(len(alike.accounts), dtype=np.int64)
    of_each = [told.get(account) for account in alike.accounts.tolist()]
    differing = [account_terms(it, versions) if it else usual for it in of_each]
    return differing, np.arange(len(differing))


async def put(
    connection: AsyncConnection[Any], settled: Sequence[Settled], zone: ZoneInfo, now: datetime
) -> list[int]:
    """Post and keep it; the accounts whose money has run out."""
    today = _day_number(now.astimezone(zone).date())
    bills = [bill for it in settled for bill in _bills(it, today)]
    numbers = await _post(connection, bills)
    await remember_old(connection, list(_old_charges(bills, numbers, today, now)), zone, now)
    await _put_links(connection, settled, bills, numbers)
    await stored.put_months(connection, [kept for it in settled for kept in _kept(it)])
    used = {n for it in settled for n in it.charged.versions if n in it.tariff.unused}
    await tariffs.mark_used(connection, used)
    return await _update_credit(connection, settled, now)


def _bills(settled: Settled, today: int) -> Iterator[_Bill]:
    """Each month by itself, in order (`charging.charges`)."""
    firsts, lasts = _days(settled, today)
    kinds = np.full(len(firsts), ChargeKind.CHARGE)
    for it in settled.changed.leaving:
        if it.links.hold is None:
            kinds[it.places] = ChargeKind.TRUE_UP
    for month, charged in sorted(settled.charged.months.items()):
        some = {code: fen for code, fen in charged.moved_fen.items() if fen.any()}
        moved = _stacked(some, len(firsts))
        which = np.flatnonzero((moved != 0).any(axis=1))
        if len(which):
            value_dates = np.clip(lasts[which], _day_number(month), _day_number(days_of(month)[-1]))
            yield _Bill(
                settled,
                month,
                which,
                kinds[which],
                [*some],
                moved[which],
                np.minimum(firsts[which], value_dates),
                value_dates,
            )


def _days(settled: Settled, today: int) -> tuple[Integers, Integers]:
    """The first and the last day that each account is charged for."""
    changed = settled.changed
    firsts = np.full(len(changed.firsts), NEVER)
    lasts = -firsts
    for it in (*changed.leaving, *changed.coming):
        np.minimum.at(firsts, it.places, it.links.from_days)
        np.maximum.at(lasts, it.places, it.links.to_days - 1)
    has_links = firsts < NEVER
    lasts = np.where(has_links, lasts, np.minimum(changed.lasts, today))
    firsts = np.where(has_links, firsts, lasts)
    earliest = lasts
    for month, charged in sorted(settled.charged.months.items(), reverse=True):
        is_moved = (_stacked(charged.moved_fen, len(firsts)) != 0).any(axis=1)
        earliest = np.where(is_moved, _day_number(month), earliest)
    # Other days than those of the links may have another price: fees of a month before them.
    is_earlier = ~has_links | (earliest < _month_begins(firsts))
    before = np.minimum(firsts, np.maximum(changed.firsts, earliest))
    return np.where(is_earlier, before, firsts), lasts


async def _post(connection: AsyncConnection[Any], bills: Sequence[_Bill]) -> list[Integers]:
    """Of each bill the numbers of its transactions."""
    codes = {(it.month, code) for it in bills for code in it.components}
    if not codes:
        return []
    new = await _without_balance(connection, bills)
    names = {account_of(code) for _, code in codes} | {*new.values()}
    accounts_of = await ledger.ledger_accounts(connection, names)
    streams = await ledger.posting_streams(connection, codes)
    legs: list[Integers] = []
    accounts: list[Integers] = []
    amounts: list[Integers] = []
    of: list[Integers] = []
    for it in bills:
        rows, columns = np.nonzero(it.moved_fen)
        revenue = np.array([accounts_of[account_of(code)] for code in it.components])[columns]
        fen = it.moved_fen[rows, columns]
        customers = it.settled.alike.ledger_accounts[it.which]
        for place in np.flatnonzero(customers == 0).tolist():
            customers[place] = accounts_of[new[int(it.settled.alike.accounts[it.which[place]])]]
        # From the customer's account to revenue, component by component.
        accounts.append(np.stack([customers[rows], revenue], axis=1).ravel())
        amounts.append(np.stack([-fen, fen], axis=1).ravel())
        stream = np.array([streams[it.month, code] for code in it.components])[columns]
        of.append(np.repeat(stream, 2))
        legs.append(2 * (it.moved_fen != 0).sum(axis=1))
    posted = Charges(
        kinds=np.concatenate([it.kinds for it in bills]),
        value_dates=np.concatenate([it.value_dates for it in bills]),
        legs=np.concatenate(legs),
        accounts=np.concatenate(accounts),
        fen=np.concatenate(amounts),
        streams=np.concatenate(of),
    )
    ids = await post_charges(connection, posted)
    return np.split(ids, np.cumsum([len(it.which) for it in bills])[:-1])


async def _without_balance(
    connection: AsyncConnection[Any], bills: Sequence[_Bill]
) -> dict[int, str]:
    """The names of the accounts of customers to which nothing was posted before."""
    new: set[int] = set()
    for it in bills:
        alike = it.settled.alike
        new |= {*alike.accounts[it.which][alike.ledger_accounts[it.which] == 0].tolist()}
    if not new:
        return {}
    rows = await ledger.account_rows(connection, sorted(new))
    return {account: ledger.prepaid(row.number) for account, row in rows.items()}


def _old_charges(
    bills: Sequence[_Bill], numbers: Sequence[Integers], today: int, now: datetime
) -> Iterator[OldCharge]:
    """What is for days long past (SPAN_GRACE)."""
    oldest = today - OLD_AFTER.days
    for bill, ids in zip(bills, numbers, strict=True):
        for place in np.flatnonzero(bill.first_days < oldest).tolist():
            first_day = SINCE + int(bill.first_days[place]) * DAY
            account = int(bill.settled.alike.accounts[bill.which[place]])
            fen = int(bill.moved_fen[place].sum())
            yield OldCharge(account, now, first_day, fen, int(ids[place]))


async def _put_links(
    connection: AsyncConnection[Any],
    settled: Sequence[Settled],
    bills: Sequence[_Bill],
    numbers: Sequence[Integers],
) -> None:
    # First out of force, then in force: no two live links of a point may begin on one day (M1).
    leaving = [
        (point, SINCE + day * DAY)
        for it in settled
        for of in it.changed.leaving
        for point, day in zip(of.links.points.tolist(), of.links.from_days.tolist(), strict=True)
    ]
    await stored_links.put_out(connection, leaving)
    coming = []
    for it in settled:
        posted = {
            bill.month: (bill.which, ids)
            for bill, ids in zip(bills, numbers, strict=True)
            if bill.settled is it
        }
        billed = _billed_by(posted, len(it.alike.accounts))
        for of in it.changed.coming:
            links = of.links
            by = np.zeros(len(of.places), dtype=np.int64)
            for day in np.unique(links.to_days).tolist() if links.hold is None else ():
                is_then = links.to_days == day
                month = (SINCE + day * DAY - DAY).replace(day=1)
                by[is_then] = billed.get(month, billed[None])[of.places[is_then]]
            coming.append((links, by))
    await stored.add_links(connection, coming)


def _billed_by(
    posted: Mapping[date, tuple[Integers, Integers]], count: int
) -> dict[date | None, Integers]:
    """By month which transaction bills what ends in it: that of the month, or else (None) the first
    one of the account; 0 where it has none."""
    first = np.zeros(count, dtype=np.int64)
    for which, ids in reversed([*posted.values()]):
        first[which] = ids
    found: dict[date | None, Integers] = {None: first}
    for month, (which, ids) in posted.items():
        found[month] = first.copy()
        found[month][which] = ids
    return found


def _kept(settled: Settled) -> Iterator[MonthColumns]:
    """What is kept of those of whom anything changed."""
    count = len(settled.alike.accounts)
    is_changed = settled.changed.has_links
    for charged in settled.charged.months.values():
        is_changed |= (_stacked(charged.moved_fen, count) != 0).any(axis=1)
    for month, charged in settled.charged.months.items():
        kept = charged.kept
        posted = _stacked(kept.posted_fen, count)
        for which, use in encoded(kept, is_changed, settled.tariff.numbers):
            accounts = settled.alike.accounts[which]
            for is_posted, places in by_pattern(posted[which] != 0):
                yield MonthColumns(
                    month,
                    accounts[places],
                    use[places],
                    [*compress(kept.posted_fen, is_posted)],
                    posted[which[places]][:, is_posted],
                )


async def _update_credit(
    connection: AsyncConnection[Any], settled: Sequence[Settled], now: datetime
) -> list[int]:
    """Derive the credit of those whose balance reaches other thresholds than before; the accounts
    whose money has run out."""
    changed: list[int] = []
    exhausted: list[int] = []
    for it in settled:
        alike = it.alike
        # Whoever moves money of an account holds its row: nobody did since the balance was read.
        balances = alike.balances_fen - it.moved_fen
        standing = (balances[:, None] >= alike.thresholds_fen).sum(axis=1)
        is_in_arrears = alike.is_in_arrears > 0
        begins = (standing == EXHAUSTED) & ~is_in_arrears
        ends = (balances >= alike.reconnect_fen) & is_in_arrears
        changed += alike.accounts[(standing != alike.standing) | begins | ends].tolist()
        exhausted += alike.accounts[standing == EXHAUSTED].tolist()
    if changed:
        rows = await ledger.account_rows(connection, changed)
        await update_credit(connection, rows.values(), now)
    return exhausted


def _stacked(columns: Mapping[str, Integers], count: int) -> Integers:
    """[accounts, components]"""
    if not columns:
        return np.zeros((count, 0), dtype=np.int64)
    return np.stack([*columns.values()], axis=1)


def _day_number(day: date) -> int:
    return (day - SINCE).days


def _month_begins(days: Integers) -> Integers:
    """The first of the month of each."""
    since = np.datetime64(SINCE)
    found: Integers = ((since + days).astype("M8[M]").astype("M8[D]") - since).astype(np.int64)
    return found
