"""Accounts in transactions: settle new readings, take in payments. Everything happens under the
account's lock."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.billing.credit import CreditStatus, Thresholds, credit_state
from daemon.billing.settlement import (
    Charge,
    Link,
    Postings,
    PricedLink,
    Stream,
    StreamState,
    chain_links,
    price_link,
    settle,
)
from daemon.billing.tariff import Tariff, TariffVersion
from daemon.quality.meter import Meter, register_of
from daemon.quality.register import ChainPoint, Register
from storage import ledger, readings
from storage.ledger import AccountRow, Leg, LinkRow, Transaction, prepaid

log = structlog.get_logger("billing")
REVENUE = "revenue:energy"
END_OF_TIME = date(9999, 12, 31)


@dataclass(frozen=True, slots=True)
class BilledPoint:
    """What settlement must know of a metering point."""

    point_id: str
    ratio: Decimal
    register: Register


async def settle_points(
    connection: AsyncConnection[Any],
    changed: Mapping[str, tuple[date, date]],
    points: Mapping[str, BilledPoint],
    zone: ZoneInfo,
    now: datetime,
) -> list[str]:
    """Bring links, charges and postings in line with the published chain of the points that
    changed.

    `changed`: point -> (first, last day that was newly published). Returns the accounts concerned,
    whose rows stay locked until the caller's transaction ends. Doing it again changes nothing."""
    account_of = await ledger.account_of_points(connection, changed)
    accounts = await ledger.lock_accounts(connection, account_of.values())
    for account in await ledger.activate(connection, accounts):
        log.info("account active", account=account)
    opened = await ledger.opened_points(
        connection, {point: changed[point][0] for point in account_of}
    )
    spans = _spans(changed, account_of, accounts, opened)
    if not spans:
        return sorted(accounts)
    chains = await readings.slots_around(connection, spans)
    live: dict[str, list[LinkRow]] = defaultdict(list)
    for old in await ledger.live_links(connection, spans):
        live[old.point_id].append(old)
    tariffs = await _tariffs(connection, {row.tariff_id for row in accounts.values()})

    removed: dict[str, list[LinkRow]] = defaultdict(list)
    added: dict[str, list[PricedLink]] = defaultdict(list)
    for point_id, first, _ in spans:
        row, point = accounts[account_of[point_id]], points[point_id]
        price = partial(
            price_link,
            ratio=point.ratio,
            decimals=point.register.decimals,
            tariff=tariffs[row.tariff_id],
            zone=zone,
        )
        chain = [
            ChainPoint(slot.day, slot.total)
            for slot in chains[point_id]
            if slot.state == "published" and slot.day >= first
        ]
        present = {(old.from_day, old.to_day): old for old in live[point_id]}
        for link in chain_links(point_id, chain, point.register.modulus):
            if present.pop((link.from_day, link.to_day), None) is None:
                added[row.id].append(price(link))
        removed[row.id] += present.values()

    for account_id in sorted(added):
        gone = await _as_billed(connection, removed[account_id])
        await _settle_account(connection, account_id, gone, added[account_id])
    await update_credit(connection, accounts.values(), now)
    return sorted(accounts)


def billed_point(meter: Meter) -> BilledPoint:
    """The point that a meter serves, as settlement knows it."""
    return BilledPoint(meter.point_id, meter.ratio, register_of(meter))


async def update_credit(
    connection: AsyncConnection[Any], accounts: Iterable[AccountRow], now: datetime
) -> list[CreditStatus]:
    """Derive the credit states from the balances; returns them in order. Starts and ends arrears
    episodes.

    An episode starts when an account becomes exhausted and ends at the reconnect threshold."""
    rows = list(accounts)
    balances = await ledger.balances(connection, [row.id for row in rows])
    states: list[CreditStatus] = []
    changes: list[tuple[str, str, datetime | None]] = []
    for row in rows:
        balance = balances[row.id]
        thresholds = Thresholds(row.warn_fen, row.trip_fen, row.reconnect_fen, row.credit_limit_fen)
        state = credit_state(balance, thresholds)
        episode = row.episode_started_at
        if state == "exhausted":
            episode = episode or now
        elif balance >= thresholds.reconnect:
            episode = None
        if (state, episode) != (row.credit_state, row.episode_started_at):
            changes.append((row.id, state, episode))
            log.info(
                "credit state",
                account=row.id,
                was=row.credit_state,
                now=state,
                balance_fen=balance,
            )
        states.append(state)
    await ledger.put_credit(connection, changes)
    return states


def _spans(
    changed: Mapping[str, tuple[date, date]],
    account_of: Mapping[str, str],
    accounts: Mapping[str, AccountRow],
    opened: Mapping[str, tuple[date, date | None]],
) -> list[tuple[str, date, date]]:
    """(point, first, last) whose links may change: only of points whose opening freeze is there,
    because the first link starts with it. A span begins where the links before it end; without any,
    the whole chain is linked."""
    spans = []
    for point, (_, last) in sorted(changed.items()):
        if point in opened and account_of[point] in accounts:
            opening, linked = opened[point]
            if last >= opening:
                spans.append((point, linked or opening, last if linked else END_OF_TIME))
    return spans


async def _as_billed(
    connection: AsyncConnection[Any], rows: Sequence[LinkRow]
) -> list[tuple[LinkRow, PricedLink]]:
    """Links with the charges they were billed with. They are not priced again: what is taken back
    is what was taken."""
    charges: dict[int, list[Charge]] = defaultdict(list)
    found = await ledger.charges_of_links(connection, [row.id for row in rows]) if rows else []
    for link, period, component, kwh, price, exact, tariff, start, is_split in found:
        version = TariffVersion(tariff, start, price)
        charges[link].append(
            Charge(
                Stream(period, component),
                kwh,
                version,
                exact,
                is_split,
            )
        )
    links = [
        Link(
            row.point_id,
            row.from_day,
            row.to_day,
            row.delta,
            row.rolled_over,
        )
        for row in rows
    ]
    return [
        (row, PricedLink(link, tuple(charges[row.id])))
        for row, link in zip(rows, links, strict=True)
    ]


async def _settle_account(
    connection: AsyncConnection[Any],
    account_id: str,
    removed: Sequence[tuple[LinkRow, PricedLink]],
    added: Sequence[PricedLink],
) -> None:
    priced = [link for _, link in removed] + list(added)
    periods = {charge.stream.period for link in priced for charge in link.charges}
    streams = {
        Stream(period, component): StreamState(exact, posted)
        for _, period, component, exact, posted in await ledger.streams(
            connection, [account_id], periods
        )
    }
    settlement = settle(streams, removed=[link for _, link in removed], added=added)
    await ledger.replace_links(connection, [row.id for row, _ in removed])
    rows = await ledger.add_links(connection, [_link_row(account_id, link.link) for link in added])
    await ledger.add_charges(
        connection,
        [
            (
                *(
                    rows[_span(link.link)][0],
                    part,
                    charge.stream.period,
                    charge.stream.component,
                    charge.kwh,
                ),
                *(
                    charge.version.price,
                    charge.exact_yuan,
                    charge.version.tariff_id,
                    charge.version.effective_from,
                ),
                charge.is_estimated_split,
            )
            for link in added
            for part, charge in enumerate(link.charges)
        ],
    )
    await ledger.put_streams(
        connection,
        [
            (account_id, stream.period, stream.component, state.exact_yuan, state.posted_fen)
            for stream, state in settlement.streams.items()
        ],
    )
    revisions = {(row.point_id, row.from_day, row.to_day): row.revision for row, _ in removed}
    await ledger.post(
        connection,
        [
            _transaction(account_id, postings, rows, revisions)
            for postings in settlement.postings
            if postings.fen
        ],
    )


def _transaction(
    account_id: str,
    postings: Postings,
    rows: Mapping[tuple[str, date, date], tuple[int, int]],
    revisions: Mapping[tuple[str, date, date], int],
) -> Transaction:
    if postings.replaced is None:
        (priced,) = postings.links
        link, kind = priced.link, "charge"
        revision = rows[_span(link)][1]
    else:
        link, kind = postings.replaced, "true_up"
        revision = revisions[_span(link)]
    legs = [
        leg
        for stream, fen in sorted(
            postings.fen.items(), key=lambda item: (item[0].period, item[0].component)
        )
        for leg in (
            Leg(prepaid(account_id), -fen, stream.period, stream.component),
            Leg(REVENUE, fen, stream.period, stream.component),
        )
    ]
    return Transaction(
        key=f"{'chg' if kind == 'charge' else 'tru'}:{link.point_id}:{link.from_day}:{link.to_day}:{revision}",
        kind=kind,
        content={
            "account": account_id,
            "links": [rows[_span(priced.link)][0] for priced in postings.links],
        },
        legs=tuple(legs),
    )


def _span(link: Link) -> tuple[str, date, date]:
    return link.point_id, link.from_day, link.to_day


def _link_row(account_id: str, link: Link) -> tuple[str, str, date, date, int, bool, str]:
    state = "held" if link.is_held else "billed"
    return (
        link.point_id,
        account_id,
        link.from_day,
        link.to_day,
        link.delta,
        link.rolled_over,
        state,
    )


async def _tariffs(connection: AsyncConnection[Any], ids: set[str]) -> dict[str, Tariff]:
    versions = [TariffVersion(*row) for row in await ledger.tariff_versions(connection, ids)]
    return {
        tariff: Tariff(tuple(group))
        for tariff, group in groupby(versions, key=lambda version: version.tariff_id)
    }
