"""Settle new readings: links, charges, postings and credit of many accounts, under their locks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from config import tariff_version as config_version
from config.tariff_version import TOTAL
from daemon.billing.credit import CreditStatus, Thresholds, next_credit
from daemon.billing.links import (
    END_OF_TIME,
    ChainValue,
    Link,
    LinkInForce,
    MeterRegister,
    PointHistory,
    Span,
    changed_links,
    dated_links,
    span_to_link,
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
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.tariff import Tariff, TariffVersion
from daemon.transactions.tariffs import tariffs_of_accounts
from storage import ledger, readings, tariffs
from storage.archive import BEGINNING
from storage.ledger import (
    AccountRow,
    BilledPoint,
    ChargeRow,
    CreditRow,
    Leg,
    NewLink,
    StreamRow,
    Transaction,
    prepaid,
)
from storage.settling import Days

log = structlog.get_logger("billing")


@dataclass(slots=True)
class _Relinked:
    """The links of one account that leave and come."""

    account: AccountRow
    leaving: list[LinkInForce] = field(default_factory=list)
    coming: list[PricedLink] = field(default_factory=list)


class _Ground(NamedTuple):
    """Where the links of one holding of a point begin: from one day to another."""

    begins: date
    ends: date


class _Stored(NamedTuple):
    """The links that left and came, by span: one may take the place of another of its days."""

    left: Mapping[Span, LinkInForce]
    came: Mapping[Span, LinkInForce]
    points: Mapping[int, str]


async def settle_accounts(
    connection: AsyncConnection[Any], marks: Mapping[int, Days], zone: ZoneInfo, now: datetime
) -> list[int]:
    """Bring links, charges and postings of these accounts in line with their published chains.

    `marks`: by account the days that changed. Returns the accounts that are there, whose rows stay
    locked until the caller's transaction ends. Doing it again changes nothing. The number of
    statements does not depend on the number of accounts."""
    # Locked before anything is read that money depends on: a payment waits, or is seen.
    accounts = await ledger.lock_accounts(connection, marks)
    points = await ledger.billed_points(connection, marks)
    await _activate(connection, accounts, points)
    spans = _spans(points, marks)
    if spans:
        relinked = await _relinked(connection, accounts, spans, _grounds(points), zone)
        await _settle(connection, relinked, {point.point_id: point.point for point in points})
    await update_credit(connection, accounts.values(), now)
    return sorted(accounts)


async def _activate(
    connection: AsyncConnection[Any],
    accounts: Mapping[int, AccountRow],
    points: Iterable[BilledPoint],
) -> None:
    """R41: an account is active when the opening freeze of each of its points is there."""
    are_open: defaultdict[int, list[bool]] = defaultdict(list)
    for point in points:
        if point.to_day is None:
            are_open[point.account_id].append(point.is_open)
    complete = [
        account
        for account, opened in are_open.items()
        if accounts[account].state == "pending" and all(opened)
    ]
    await ledger.activate(connection, complete)
    for account in complete:
        log.info("account active", account=accounts[account].number)


def _spans(
    points: Iterable[BilledPoint], marks: Mapping[int, Days]
) -> list[tuple[BilledPoint, Span]]:
    """What is to be linked anew of each point, as far as it is the account's."""
    spans = []
    for point in points:
        if not (point.is_open or point.was_open):
            continue
        changed = marks[point.account_id]
        if point.to_day is not None and changed.first > point.to_day:
            continue  # what happened after it was given away is another's
        # R41: without the opening freeze all links of the holding leave, until it is there again.
        linked_to = point.linked_to if point.is_open else None
        span = span_to_link(point.point_id, changed, point.opens_on, linked_to)
        # Up to the last change, even where the point was given away before: what was billed of
        # those days is given back.
        if span is not None:
            spans.append((point, span))
    return spans


def _grounds(points: Iterable[BilledPoint]) -> dict[BilledPoint, _Ground]:
    """By holding; an account may have had a point before, and has what is of that time."""
    held: defaultdict[tuple[int, int], list[BilledPoint]] = defaultdict(list)
    for point in points:
        held[point.account_id, point.point_id].append(point)
    grounds = {}
    for holdings in held.values():
        for before, point, behind in zip(
            [None, *holdings], holdings, [*holdings[1:], None], strict=False
        ):
            begins = BEGINNING if before is None or before.to_day is None else before.to_day
            grounds[point] = _Ground(begins, behind.opens_on if behind else END_OF_TIME)
    return grounds


async def _relinked(
    connection: AsyncConnection[Any],
    accounts: Mapping[int, AccountRow],
    spans: Sequence[tuple[BilledPoint, Span]],
    grounds: Mapping[BilledPoint, _Ground],
    zone: ZoneInfo,
) -> dict[int, _Relinked]:
    """By account, in order, the links that leave and come."""
    asked = [span for _, span in spans]
    theirs = [
        span._replace(to_day=min(span.to_day, point.to_day or END_OF_TIME)) for point, span in spans
    ]
    chains = await readings.published_chains(connection, theirs)
    # The chain may reach further than the span: to the next value, whose link may be there already.
    reached = [
        span._replace(
            # Where it opens later than it was billed from, the days before are given back.
            from_day=BEGINNING if span.from_day == point.opens_on else span.from_day,
            to_day=max([span.to_day, *(value.day for value in chains[span.point_id])]),
        )
        for point, span in spans
    ]
    in_force = await _links_in_force(connection, reached)
    histories = await _histories(connection, {span.point_id for span in asked})
    priced = await _tariffs(connection, accounts.values())
    relinked = {account: _Relinked(row) for account, row in sorted(accounts.items())}
    for point, span in spans:
        end = point.to_day or END_OF_TIME
        chain = [
            ChainValue(*value)
            for value in chains[span.point_id]
            if point.is_open and span.from_day <= value.day <= end
        ]
        links = dated_links(span.point_id, chain, histories[span.point_id])
        ground = grounds[point]
        there = [
            old
            for old in in_force[point.account_id, span.point_id]
            if ground.begins <= old.link.from_day < ground.ends
            and (old.link.to_day > span.from_day or old.link.from_day < point.opens_on)
        ]
        leaving, coming = changed_links(links, there)
        change = relinked[point.account_id]
        tariff = priced.get(point.account_id)
        if coming and tariff is None:
            raise ValueError(f"tariff {change.account.tariff_id} has no version that counts")
        change.leaving += leaving
        change.coming += [_price(link, tariff, zone) for link in coming if tariff]
    return {
        account: change for account, change in relinked.items() if change.coming or change.leaving
    }


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
        changes.append(
            CreditRow(row.id, credit.status, credit.episode_started_at, row.episode_started_at)
        )
        log.info(
            "credit state",
            account=row.number,
            was=row.credit_state,
            now=credit.status,
            balance_fen=balances[row.id],
        )
    await ledger.put_credit(connection, changes, now)
    return states


async def _links_in_force(
    connection: AsyncConnection[Any], spans: Sequence[Span]
) -> dict[tuple[int, int], list[LinkInForce]]:
    """By account and point."""
    links: dict[tuple[int, int], list[LinkInForce]] = defaultdict(list)
    for row in await ledger.live_links(connection, spans):
        begins = row.begins[0]
        delta = row.ends[0] - begins
        link = Link(
            row.point_id,
            row.from_day,
            row.to_day,
            delta + row.modulus if delta < 0 else delta,
            rolled_over=delta < 0,
            begins=begins,
            meter_id=row.meter_id,
            modulus=row.modulus,
            decimals=row.decimals,
            ratio=row.ratio,
            hold=row.hold,
        )
        links[row.account_id, row.point_id].append(LinkInForce(row.id, row.revision, link))
    return links


async def _histories(
    connection: AsyncConnection[Any], points: Collection[int]
) -> dict[int, PointHistory]:
    """The ratios and meters of each point, as they are known now: not as a reading came in."""
    ratios: dict[int, list[tuple[date, Decimal]]] = defaultdict(list)
    for point, from_day, ratio in await ledger.ratios_of_points(connection, points):
        ratios[point].append((from_day, ratio))
    registers: dict[int, dict[int, MeterRegister]] = defaultdict(dict)
    for row in await ledger.registers_of_points(connection, points):
        registers[row.point_id][row.meter_id] = MeterRegister(row.modulus, row.decimals)
    return {point: PointHistory(tuple(ratios[point]), registers[point]) for point in points}


async def _tariffs(
    connection: AsyncConnection[Any], accounts: Iterable[AccountRow]
) -> dict[int, Tariff]:
    began_with = {row.id: row.tariff_id for row in accounts}
    found = await tariffs_of_accounts(connection, began_with)
    return {account: _flat(began_with[account], stored) for account, stored in found.items()}


def _flat(tariff_id: str, stored: StoredTariff) -> Tariff:
    """ValueError for a version that charges for more than the total."""
    for version in stored.versions.all:
        flat = config_version.TariffVersion(
            version_id=version.version_id,
            effective_from=version.effective_from,
            energy=version.energy,
            included_tax_rate=version.included_tax_rate,
        )
        if version != flat or version.rates:
            raise ValueError(
                f"tariff {tariff_id} from {version.effective_from} is no price of the total alone, "
                "and others are not billed yet"
            )
    return Tariff(
        tuple(
            TariffVersion(tariff_id, version.effective_from, version.energy[TOTAL], number)
            for version, number in zip(stored.versions.all, stored.numbers, strict=True)
        )
    )


def _thresholds(row: AccountRow) -> Thresholds:
    return Thresholds(
        warn_fen=row.warn_fen,
        trip_fen=row.trip_fen,
        reconnect_fen=row.reconnect_fen,
        credit_limit_fen=row.credit_limit_fen,
    )


def _price(link: Link, tariff: Tariff, zone: ZoneInfo) -> PricedLink:
    return price_link(
        link,
        ratio=link.ratio,
        decimals=link.decimals,
        tariff=tariff,
        zone=zone,
    )


async def _settle(
    connection: AsyncConnection[Any],
    relinked: Mapping[int, _Relinked],
    points: Mapping[int, str],
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
    left = {old.link.span: old for old in leaving}
    came = await _add_links(connection, relinked)
    await _add_charges(connection, coming, came)
    await _put_streams(connection, settlements)
    await _post(connection, relinked, settlements, _Stored(left, came, points))


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
    connection: AsyncConnection[Any], accounts: Collection[int], links: Iterable[PricedLink]
) -> dict[int, dict[Stream, StreamState]]:
    """By account the streams of every period that these links are charged to."""
    periods = {charge.stream.period for priced in links for charge in priced.charges}
    streams: dict[int, dict[Stream, StreamState]] = {account: {} for account in accounts}
    rows = await ledger.streams(connection, accounts, periods)
    for account, period, component, exact_yuan, posted_fen in rows:
        stream = Stream(period, component)
        streams[account][stream] = StreamState(exact_yuan, posted_fen)
    return streams


async def _add_links(
    connection: AsyncConnection[Any], relinked: Mapping[int, _Relinked]
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
    versions = {charge.version for priced in links for charge in priced.charges}
    await tariffs.mark_used(connection, {it.number for it in versions if it.number is not None})


async def _put_streams(
    connection: AsyncConnection[Any], settlements: Mapping[int, Settlement]
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
    relinked: Mapping[int, _Relinked],
    settlements: Mapping[int, Settlement],
    stored: _Stored,
) -> None:
    """One transaction of the ledger for each group of links that moves money."""
    open_from = await ledger.open_from(connection)
    transactions = [
        _transaction(relinked[account].account.number, postings, stored, open_from)
        for account, settlement in settlements.items()
        for postings in settlement.postings
        if postings.fen
    ]
    await ledger.post(connection, transactions)


def _transaction(account: str, postings: Postings, stored: _Stored, open_from: date) -> Transaction:
    links = [stored.came[priced.link.span].number for priced in postings.links]
    legs = charge_legs(prepaid(account), postings)
    replaced = postings.replaced
    moved = postings.links[0].link if replaced is None else replaced
    named = stored.came if replaced is None else stored.left
    value_date = moved.to_day - timedelta(days=1)
    return Transaction(
        key=charge_key(postings, named, stored.points[moved.point_id]),
        kind=charge_kind(postings) if value_date >= open_from else "adjustment",
        content={"account": account, "links": links},
        legs=tuple(Leg(*leg) for leg in legs),
        actor="daemon:settlement",
        value_date=value_date,
    )


def _link_row(account: int, link: Link) -> NewLink:
    return NewLink(
        point_id=link.point_id,
        account_id=account,
        from_day=link.from_day,
        to_day=link.to_day,
        meter_id=link.meter_id,
        begins=link.begins,
        ends=link.ends,
        modulus=link.modulus,
        decimals=link.decimals,
        ratio=link.ratio,
        state="held" if link.is_held else "billed",
        hold=link.hold,
    )
