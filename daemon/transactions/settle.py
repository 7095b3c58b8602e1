"""Settle new readings: links, charges, postings and credit of many accounts, under their locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
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
    Postings,
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
from storage.ledger import (
    AccountRow,
    ChargeRow,
    CreditRow,
    Leg,
    NewLink,
    StreamRow,
    Transaction,
    prepaid,
)

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
    # Locked before anything is read that money depends on: a payment waits, or is seen.
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
    tariffs = await _tariffs(connection, accounts.values())

    relinked: dict[str, _Relinked] = defaultdict(_Relinked)
    for span in spans:
        account_id = account_of[span.point_id]
        point = points[span.point_id]
        tariff = tariffs[accounts[account_id].tariff_id]
        chain = chains[span.point_id]
        links = chain_links(span.point_id, chain, point.register.modulus)
        leaving, coming = changed_links(links, in_force[span.point_id])
        change = relinked[account_id]
        change.leaving += leaving
        change.coming += [_price(link, point, tariff, zone) for link in coming]
    # In order of accounts, so that the ledger of a repeated batch reads the same.
    changed = {account: relinked[account] for account in sorted(relinked)}
    await _settle_accounts(
        connection, {account: change for account, change in changed.items() if change.coming}
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
    changes: list[CreditRow] = []
    for row in rows:
        was = (row.credit_state, row.episode_started_at)
        credit = next_credit(balances[row.id], _thresholds(row), row.episode_started_at, now)
        states.append(credit.status)
        # Only changes are written: most accounts of a batch stay as they are.
        if (credit.status, credit.episode_started_at) == was:
            continue
        changes.append(CreditRow(row.id, credit.status, credit.episode_started_at))
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
        link = Link(
            row.point_id,
            row.from_day,
            row.to_day,
            row.delta,
            row.rolled_over,
        )
        links[row.point_id].append(LinkInForce(row.id, row.revision, link))
    return links


async def _tariffs(
    connection: AsyncConnection[Any], accounts: Iterable[AccountRow]
) -> dict[str, Tariff]:
    versions: dict[str, list[TariffVersion]] = defaultdict(list)
    tariff_ids = {row.tariff_id for row in accounts}
    for tariff_id, start, price in await ledger.tariff_versions(connection, tariff_ids):
        versions[tariff_id].append(TariffVersion(tariff_id, start, price))
    return {tariff_id: Tariff(tuple(found)) for tariff_id, found in versions.items()}


def _thresholds(row: AccountRow) -> Thresholds:
    return Thresholds(
        warn_fen=row.warn_fen,
        trip_fen=row.trip_fen,
        reconnect_fen=row.reconnect_fen,
        credit_limit_fen=row.credit_limit_fen,
    )


def _price(
    link: Link,
    point: BilledPoint,
    tariff: Tariff,
    zone: ZoneInfo,
) -> PricedLink:
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
    coming = [new for change in relinked.values() for new in change.coming]
    as_billed = await _as_billed(connection, leaving)
    streams = await _streams(connection, relinked, [*as_billed.values(), *coming])
    settlements = {
        account: settle(
            streams[account],
            removed=[as_billed[old.number] for old in change.leaving],
            added=change.coming,
        )
        for account, change in relinked.items()
    }
    # Nothing was written up to here: the rules saw one state of all accounts.
    # First out of force, then in force: no two live links of a point may begin on one day (M1).
    await ledger.replace_links(connection, [old.number for old in leaving])
    stored = {old.link.span: old for old in leaving}
    stored |= await _add_links(connection, relinked)
    await _add_charges(connection, coming, stored)
    await _put_streams(connection, settlements)
    await _post(connection, settlements, stored)


async def _as_billed(
    connection: AsyncConnection[Any], links: Sequence[LinkInForce]
) -> dict[int, PricedLink]:
    """By number of the link what it was billed with.

    It is not priced again: what is taken back is what was taken, whatever zone or tariff say
    now."""
    if not links:
        return {}  # the usual batch splits no span
    charges: dict[int, list[Charge]] = {old.number: [] for old in links}
    found = await ledger.charges_of_links(connection, list(charges))
    for row in found:
        charge = Charge(
            stream=Stream(row.period, row.component),
            kwh=row.kwh,
            version=TariffVersion(row.tariff_id, row.tariff_from, row.price_yuan_per_kwh),
            exact_yuan=row.exact_yuan,
            is_estimated_split=row.is_estimated_split,
        )
        charges[row.link_id].append(charge)
    return {old.number: PricedLink(old.link, tuple(charges[old.number])) for old in links}


async def _streams(
    connection: AsyncConnection[Any], accounts: Collection[str], links: Iterable[PricedLink]
) -> dict[str, dict[Stream, StreamState]]:
    """By account the streams of every period that these links are charged to."""
    periods = {charge.stream.period for priced in links for charge in priced.charges}
    streams: dict[str, dict[Stream, StreamState]] = {account: {} for account in accounts}
    rows = await ledger.streams(connection, accounts, periods)
    for account, period, component, exact_yuan, posted_fen in rows:
        stream = Stream(period, component)
        streams[account][stream] = StreamState(exact_yuan, posted_fen)
    return streams


async def _add_links(
    connection: AsyncConnection[Any], relinked: Mapping[str, _Relinked]
) -> dict[Span, LinkInForce]:
    links = [
        (account, priced.link) for account, change in relinked.items() for priced in change.coming
    ]
    rows = [_link_row(account, link) for account, link in links]
    added = await ledger.add_links(connection, rows)
    stored = {}
    for _, link in links:
        number, revision = added[link.span]
        stored[link.span] = LinkInForce(number, revision, link)
    return stored


async def _add_charges(
    connection: AsyncConnection[Any],
    links: Iterable[PricedLink],
    stored: Mapping[Span, LinkInForce],
) -> None:
    rows = []
    for priced in links:
        number = stored[priced.link.span].number
        for part, charge in enumerate(priced.charges):
            # R39: everything that explains the charge to the customer is kept with it.
            row = ChargeRow(
                link_id=number,
                part=part,
                period=charge.stream.period,
                component=charge.stream.component,
                kwh=charge.kwh,
                price_yuan_per_kwh=charge.version.price_yuan_per_kwh,
                exact_yuan=charge.exact_yuan,
                tariff_id=charge.version.tariff_id,
                tariff_from=charge.version.effective_from,
                is_estimated_split=charge.is_estimated_split,
            )
            rows.append(row)
    await ledger.add_charges(connection, rows)


async def _put_streams(
    connection: AsyncConnection[Any], settlements: Mapping[str, Settlement]
) -> None:
    rows = [
        StreamRow(
            account_id=account,
            period=stream.period,
            component=stream.component,
            exact_yuan=state.exact_yuan,
            posted_fen=state.posted_fen,
        )
        for account, settlement in settlements.items()
        for stream, state in settlement.streams.items()
    ]
    await ledger.put_streams(connection, rows)


async def _post(
    connection: AsyncConnection[Any],
    settlements: Mapping[str, Settlement],
    stored: Mapping[Span, LinkInForce],
) -> None:
    """One transaction of the ledger for each group of links that moves money."""
    transactions = [
        _transaction(account, postings, stored)
        for account, settlement in settlements.items()
        for postings in settlement.postings
        if postings.fen
    ]
    await ledger.post(connection, transactions)


def _transaction(
    account: str, postings: Postings, stored: Mapping[Span, LinkInForce]
) -> Transaction:
    links = [stored[priced.link.span].number for priced in postings.links]
    legs = charge_legs(prepaid(account), postings)
    return Transaction(
        key=charge_key(postings, stored),
        kind=charge_kind(postings),
        content={"account": account, "links": links},
        legs=tuple(Leg(*leg) for leg in legs),
    )


def _link_row(account: str, link: Link) -> NewLink:
    return NewLink(
        point_id=link.point_id,
        account_id=account,
        from_day=link.from_day,
        to_day=link.to_day,
        delta=link.delta,
        rolled_over=link.rolled_over,
        state="held" if link.is_held else "billed",
    )
