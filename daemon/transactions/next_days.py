"""T2 of a day that came to many accounts as it mostly does, by columns; else `settle` does it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import structlog
from psycopg import AsyncConnection

from daemon.billing.credit import STATES
from daemon.billing.month_use import PointRegisters
from daemon.billing.next_days import DAY, Charged, NextDay, charged
from daemon.billing.posting import account_of
from daemon.billing.pricing import Terms
from daemon.billing.settlement import has_fees
from daemon.billing.span_grace import OLD_AFTER
from daemon.billing.stored_tariff import StoredTariff
from daemon.control.authority import Authority
from daemon.transactions.books import account_terms
from daemon.transactions.credit import update_credit
from daemon.transactions.portions import LONGEST_LOCK_S, Clock, next_portion
from daemon.transactions.settle import settle_accounts
from daemon.transactions.supply import request_trips
from daemon.transactions.tariffs import stored_versions
from storage import ledger, supply, tariffs, terms
from storage import next_days as stored
from storage.binary import SINCE
from storage.blame import is_of_the_whole
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.columns import Integers
from storage.next_days import Alike, KeptMonth
from storage.settling import Days

log = structlog.get_logger("billing")

FEW_ACCOUNTS: Final = 500
"""So many may be locked for however long it takes; for how long that is shows how many may be.
They take 25 ms of a processor. On a busy machine fewer are locked no shorter: each statement waits
for its turn."""
MANY_ACCOUNTS: Final = 2000
"""More at once are hardly cheaper."""
EXHAUSTED: Final = STATES.index("exhausted")


@dataclass(slots=True)
class Pace:
    """How many accounts were locked at once for as long as they may be, for whoever goes on."""

    at_once: int = FEW_ACCOUNTS


async def settle_next_days(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    until: datetime,
    clock: Clock = time.monotonic,
    pace: Pace | None = None,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Settle accounts of which only a recent day's reading is new, and was marked until a moment.

    Many in a transaction, but no more than are locked for a moment. Others keep their marks, and so
    do those whose transaction failed: one by one it shows which of them it was. `give_way`: awaited
    before each transaction."""
    pace = pace or Pace()
    # What is for days long past is looked at by itself (SPAN_GRACE).
    since = now.astimezone(authority.zone).date() - OLD_AFTER + DAY
    tried: set[int] = set()
    before = -1
    # What a batch stored that was under way meanwhile may lie before those that were taken.
    while len(tried) > before:
        before = len(tried)
        after = 0
        while True:
            if give_way is not None:
                await give_way()
            taken = await _settle_some(
                connection, authority, now, (after, since, until), clock, pace, tried
            )
            if not taken:
                break
            tried |= taken
            after = max(taken)


async def _settle_some(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    marked: tuple[int, date, datetime],
    clock: Clock,
    pace: Pace,
    tried: Set[int],
) -> Set[int]:
    """Settle some that were not tried, in one transaction; who was looked at.

    `marked`: behind which account, since which day, until which moment."""
    taken: dict[int, date] = {}
    after, since, until = marked
    try:
        async with connection.transaction():
            taken |= await stored.take(connection, after, pace.at_once, since, until)
            fresh = {account: day for account, day in taken.items() if account not in tried}
            if not fresh:
                return taken.keys()
            locked_at_s = clock()
            exhausted = await _settle(connection, fresh, authority.zone, now)
            if exhausted:
                await request_trips(connection, authority, exhausted, now)
        took_s = clock() - locked_at_s
        # A small rest says nothing, unless it is slow.
        if len(fresh) == pace.at_once or took_s > LONGEST_LOCK_S:
            pace.at_once = next_portion(len(fresh), took_s, MANY_ACCOUNTS, FEW_ACCOUNTS)
    except Exception as error:
        if is_of_the_whole(error) or not taken:
            raise
        log.warning("accounts are settled one by one", accounts=len(taken), error=str(error))
    return taken.keys()


@dataclass(frozen=True, slots=True)
class _Settled:
    """Accounts alike, and what the day makes of them."""

    alike: Alike
    charged: Charged

    @property
    def moved_fen(self) -> Integers:
        """[accounts, components]"""
        return np.stack([*self.charged.moved_fen.values()], axis=1)


async def _settle(
    connection: AsyncConnection[Any], taken: Mapping[int, date], zone: ZoneInfo, now: datetime
) -> list[int]:
    """The accounts whose money has run out. Of those that are not as they mostly are, what came is
    not settled here: either their marks stay, or they are settled account by account."""
    ((day, _),) = Counter(taken.values()).most_common(1)
    month = (day - DAY).replace(day=1)
    some = [account for account, of_day in taken.items() if of_day == day]
    found = await stored.next_days(connection, some, day, month)
    if not found:
        return []
    by_name = await stored_versions(connection, {it.tariff for it in found})
    closed: list[date] = []
    if any(has_fees(it.versions) for it in by_name.values()):
        closed = await terms.closed_days(connection, month, now.astimezone(zone).date())
    told = await _entries(connection, found)
    settled = []
    others: dict[int, Days] = {}
    for alike in found:
        tariff = by_name.get(alike.tariff)
        what = charged(_next_day(alike, day, tariff, told), closed) if tariff else None
        is_other = np.ones(len(alike.accounts), dtype=bool)
        if what is not None:
            settled.append(_Settled(alike, what))
            # A link that is there was charged for: where that does not hold, all is looked at.
            is_other = alike.is_linked & (settled[-1].moved_fen != 0).any(axis=1)
        others |= dict.fromkeys(alike.accounts[is_other].tolist(), Days(day, day))
    coming = [it for it in settled if not it.alike.is_linked]
    billed_by = await _post(connection, coming, day)
    await stored.add_links(
        connection, day, [(it.alike, by) for it, by in zip(coming, billed_by, strict=True)]
    )
    await stored.put_months(connection, month, [_kept(it) for it in coming])
    versions = {number for it in coming for number in it.charged.versions}
    await tariffs.mark_used(connection, versions)
    exhausted = await _update_credit(connection, settled, now)
    if others:
        await settle_accounts(connection, others, zone, now)
        exhausted += await supply.accounts_exhausted(connection, others)
    return exhausted


async def _entries(
    connection: AsyncConnection[Any], found: Sequence[Alike]
) -> Mapping[int, terms.AccountTerms]:
    """What is entered of bonuses and of use elsewhere, by account that has any."""
    asked = [account for it in found if it.has_entries for account in it.accounts.tolist()]
    return await terms.terms_of(connection, asked) if asked else {}


def _next_day(
    alike: Alike, day: date, tariff: StoredTariff, told: Mapping[int, terms.AccountTerms]
) -> NextDay:
    """Accounts alike as the rules take them."""
    usual = Terms(tariff.versions, alike.phases, alike.opened_on)
    which = np.zeros(len(alike.accounts), dtype=np.int64)
    differing = [usual]
    if alike.has_entries:
        of_each = [told.get(account) for account in alike.accounts.tolist()]
        differing = [account_terms(it, tariff.versions) if it else usual for it in of_each]
        which = np.arange(len(differing))
    return NextDay(
        day,
        tariff,
        PointRegisters(alike.rates, alike.residual_rate),
        alike.modulus,
        alike.decimals,
        alike.ratio,
        alike.is_linked,
        alike.begins,
        alike.ends,
        alike.use,
        alike.components,
        alike.posted_fen,
        alike.used_before,
        differing,
        which,
    )


async def _post(
    connection: AsyncConnection[Any], settled: Sequence[_Settled], day: date
) -> list[Integers]:
    """Post what is to be charged; of each account the number of its transaction, 0: it has none."""
    month = (day - DAY).replace(day=1)
    codes = {code for it in settled for code, fen in it.charged.moved_fen.items() if fen.any()}
    if not codes:
        return [np.zeros(len(it.alike.accounts), dtype=np.int64) for it in settled]
    numbers = await ledger.ledger_accounts(connection, {account_of(code) for code in codes})
    streams = await ledger.posting_streams(connection, {(month, code) for code in codes})
    legs: list[Integers] = []
    accounts: list[Integers] = []
    amounts: list[Integers] = []
    of: list[Integers] = []
    for it in settled:
        moved = it.moved_fen
        rows, columns = np.nonzero(moved)
        names = [*it.charged.moved_fen]
        revenue = np.array([numbers.get(account_of(code), 0) for code in names])[columns]
        fen = moved[rows, columns]
        # From the customer's account to revenue, component by component.
        accounts.append(np.stack([it.alike.ledger_accounts[rows], revenue], axis=1).ravel())
        amounts.append(np.stack([-fen, fen], axis=1).ravel())
        stream = np.array([streams.get((month, code), 0) for code in names])[columns]
        of.append(np.repeat(stream, 2))
        legs.append(2 * (moved != 0).sum(axis=1))
    counts = np.concatenate(legs)
    is_charged = counts > 0
    count = int(is_charged.sum())
    posted = Charges(
        kinds=np.full(count, ChargeKind.CHARGE),
        value_dates=np.full(count, (day - DAY - SINCE).days),
        legs=counts[is_charged],
        accounts=np.concatenate(accounts),
        fen=np.concatenate(amounts),
        streams=np.concatenate(of),
    )
    ids = np.zeros(len(counts), dtype=np.int64)
    ids[is_charged] = await post_charges(connection, posted)
    ends = np.cumsum([len(it) for it in legs])
    return np.split(ids, ends[:-1])


def _kept(settled: _Settled) -> KeptMonth:
    posted = settled.charged.posted_fen
    fen = np.stack([*posted.values()], axis=1)
    return KeptMonth(settled.alike.accounts, settled.charged.use, [*posted], fen)


async def _update_credit(
    connection: AsyncConnection[Any], settled: Sequence[_Settled], now: datetime
) -> list[int]:
    """Derive the credit of those whose balance reaches other thresholds than before; the accounts
    whose money has run out."""
    changed: list[int] = []
    exhausted: list[int] = []
    for it in settled:
        alike = it.alike
        # Whoever moves money of an account holds its row: nobody did since the balance was read.
        balances = alike.balances_fen - it.moved_fen.sum(axis=1)
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
