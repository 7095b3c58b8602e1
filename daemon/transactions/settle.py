"""Settle new readings: links, charges, postings and credit of many accounts, under their locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import groupby
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.billing.credit import CreditStatus, Thresholds, next_credit
from daemon.billing.links import (
    BilledPoint,
    Link,
    LinkInForce,
    Span,
    chain_links,
    changed_links,
    spans_to_link,
)
from daemon.billing.posting import charge_key, charge_kind, charge_legs
from daemon.billing.settlement import (
    Charge,
    PricedLink,
    Settlement,
    Stream,
    StreamState,
    price_link,
    settle,
)
from daemon.billing.tariff import Tariff, TariffVersion
from daemon.quality.register import ChainPoint
from storage import ledger, readings
from storage.ledger import AccountRow, Leg, Transaction, prepaid

log = structlog.get_logger("billing")


@dataclass(slots=True)
class _Relinked:
    """The links of one account that leave and come."""

    leaving: list[LinkInForce] = field(default_factory=list)
    coming: list[PricedLink] = field(default_factory=list)


async def settle_points(
    connection: AsyncConnection[Any],
    published: Mapping[str, tuple[date, date]],
    points: Mapping[str, BilledPoint],
    zone: ZoneInfo,
    now: datetime,
) -> list[str]:
    """Bring links, charges and postings in line with the published chains that changed.

    `published`: point -> (first, last day that was newly published). Returns the accounts
    concerned, whose rows stay locked until the caller's transaction ends. Doing it again changes
    nothing. The number of statements does not depend on the number of accounts."""
    account_of = await ledger.account_of_points(connection, published)
    accounts = await ledger.lock_accounts(connection, account_of.values())
    for account in await ledger.activate(connection, accounts):
        log.info("account active", account=account)
    first_days = {point: published[point][0] for point in account_of}
    openings = await ledger.opened_points(connection, first_days)
    spans = spans_to_link(published, openings)
    if not spans:
        return sorted(accounts)
    chains = await _published_chains(connection, spans)
    in_force = await _links_in_force(connection, spans)
    tariffs = await _tariffs(connection, {row.tariff_id for row in accounts.values()})

    relinked: dict[str, _Relinked] = defaultdict(_Relinked)
    for span in spans:
        row = accounts[account_of[span.point_id]]
        point = points[span.point_id]
        links = chain_links(point.point_id, chains[point.point_id], point.register.modulus)
        leaving, coming = changed_links(links, in_force[point.point_id])
        change = relinked[row.id]
        change.leaving += leaving
        change.coming += [_price(link, point, tariffs[row.tariff_id], zone) for link in coming]
    await _settle_accounts(
        connection,
        {account: relinked[account] for account in sorted(relinked) if relinked[account].coming},
    )
    await update_credit(connection, accounts.values(), now)
    return sorted(accounts)


async def update_credit(
    connection: AsyncConnection[Any], accounts: Iterable[AccountRow], now: datetime
) -> list[CreditStatus]:
    """Derive the credit states from the balances; returns them in order.

    Starts and ends arrears episodes."""
    rows = list(accounts)
    balances = await ledger.balances(connection, [row.id for row in rows])
    states: list[CreditStatus] = []
    changes: list[tuple[str, str, datetime | None]] = []
    for row in rows:
        thresholds = Thresholds(row.warn_fen, row.trip_fen, row.reconnect_fen, row.credit_limit_fen)
        credit = next_credit(balances[row.id], thresholds, row.episode_started_at, now)
        states.append(credit.status)
        if (credit.status, credit.episode_started_at) == (row.credit_state, row.episode_started_at):
            continue
        changes.append((row.id, credit.status, credit.episode_started_at))
        log.info(
            "credit state",
            account=row.id,
            was=row.credit_state,
            now=credit.status,
            balance_fen=balances[row.id],
        )
    await ledger.put_credit(connection, changes)
    return states


async def _published_chains(
    connection: AsyncConnection[Any], spans: Sequence[Span]
) -> dict[str, list[ChainPoint]]:
    """By point the published registers from the first day of its span on."""
    slots = await readings.slots_around(connection, spans)
    return {
        span.point_id: [
            ChainPoint(slot.day, slot.total)
            for slot in slots[span.point_id]
            if slot.state == "published" and slot.day >= span.from_day
        ]
        for span in spans
    }


async def _links_in_force(
    connection: AsyncConnection[Any], spans: Sequence[Span]
) -> dict[str, list[LinkInForce]]:
    links: dict[str, list[LinkInForce]] = defaultdict(list)
    for row in await ledger.live_links(connection, spans):
        link = Link(row.point_id, row.from_day, row.to_day, row.delta, row.rolled_over)
        links[row.point_id].append(LinkInForce(row.id, row.revision, link))
    return links


async def _tariffs(connection: AsyncConnection[Any], ids: set[str]) -> dict[str, Tariff]:
    versions = [TariffVersion(*row) for row in await ledger.tariff_versions(connection, ids)]
    return {
        tariff: Tariff(tuple(group))
        for tariff, group in groupby(versions, key=lambda version: version.tariff_id)
    }


def _price(link: Link, point: BilledPoint, tariff: Tariff, zone: ZoneInfo) -> PricedLink:
    return price_link(
        link,
        ratio=point.ratio,
        decimals=point.register.decimals,
        tariff=tariff,
        zone=zone,
    )


async def _settle_accounts(
    connection: AsyncConnection[Any], relinked: Mapping[str, _Relinked]
) -> None:
    """Settle each account by itself, and write what all of them come to."""
    leaving = [old for change in relinked.values() for old in change.leaving]
    charges = await _charges(connection, leaving)
    removed = {
        account: [PricedLink(old.link, tuple(charges[old.number])) for old in change.leaving]
        for account, change in relinked.items()
    }
    added = {account: change.coming for account, change in relinked.items()}
    streams = await _streams(connection, relinked, [*removed.values(), *added.values()])
    settlements = {
        account: settle(streams[account], removed=removed[account], added=added[account])
        for account in relinked
    }
    await ledger.replace_links(connection, [old.number for old in leaving])
    rows = await ledger.add_links(
        connection,
        [_link_row(account, new.link) for account in added for new in added[account]],
    )
    await _add_charges(connection, rows, [new for coming in added.values() for new in coming])
    await ledger.put_streams(
        connection,
        [
            (account, stream.period, stream.component, state.exact_yuan, state.posted_fen)
            for account, settlement in settlements.items()
            for stream, state in settlement.streams.items()
        ],
    )
    await _post(connection, settlements, rows, leaving)


async def _charges(
    connection: AsyncConnection[Any], links: Sequence[LinkInForce]
) -> dict[int, list[Charge]]:
    """By number of the link what it was billed with.

    It is not priced again: what is taken back is what was taken, whatever zone or tariff say now."""
    charges: dict[int, list[Charge]] = defaultdict(list)
    if not links:
        return charges
    found = await ledger.charges_of_links(connection, [old.number for old in links])
    for number, period, component, kwh, price, exact_yuan, tariff_id, start, is_split in found:
        version = TariffVersion(tariff_id, start, price)
        charge = Charge(Stream(period, component), kwh, version, exact_yuan, is_split)
        charges[number].append(charge)
    return charges


async def _streams(
    connection: AsyncConnection[Any],
    accounts: Collection[str],
    links: Iterable[Iterable[PricedLink]],
) -> dict[str, dict[Stream, StreamState]]:
    """By account the streams of every period that these links are charged to."""
    periods = {
        charge.stream.period for group in links for priced in group for charge in priced.charges
    }
    streams: dict[str, dict[Stream, StreamState]] = {account: {} for account in accounts}
    for account, period, component, exact_yuan, posted_fen in await ledger.streams(
        connection, accounts, periods
    ):
        streams[account][Stream(period, component)] = StreamState(exact_yuan, posted_fen)
    return streams


async def _add_charges(
    connection: AsyncConnection[Any],
    rows: Mapping[tuple[str, date, date], tuple[int, int]],
    links: Iterable[PricedLink],
) -> None:
    values = []
    for priced in links:
        number, _ = rows[priced.link.span]
        for part, charge in enumerate(priced.charges):
            values.append(
                (
                    number,
                    part,
                    charge.stream.period,
                    charge.stream.component,
                    charge.kwh,
                    charge.version.price_yuan_per_kwh,
                    charge.exact_yuan,
                    charge.version.tariff_id,
                    charge.version.effective_from,
                    charge.is_estimated_split,
                )
            )
    await ledger.add_charges(connection, values)


async def _post(
    connection: AsyncConnection[Any],
    settlements: Mapping[str, Settlement],
    rows: Mapping[tuple[str, date, date], tuple[int, int]],
    replaced: Iterable[LinkInForce],
) -> None:
    """One transaction of the ledger for each group of links that moves money."""
    revisions = {old.link.span: old.revision for old in replaced}
    revisions |= {Span(*span): revision for span, (_, revision) in rows.items()}
    transactions = []
    for account, settlement in settlements.items():
        for postings in settlement.postings:
            if not postings.fen:
                continue
            numbers = [rows[priced.link.span][0] for priced in postings.links]
            legs = charge_legs(prepaid(account), postings)
            transactions.append(
                Transaction(
                    key=charge_key(postings, revisions),
                    kind=charge_kind(postings),
                    content={"account": account, "links": numbers},
                    legs=tuple(Leg(*leg) for leg in legs),
                )
            )
    await ledger.post(connection, transactions)


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
