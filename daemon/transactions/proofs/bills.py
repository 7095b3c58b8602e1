"""The facts of bills: one snapshot, and a number of statements that no account adds to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.tariff_version import Versions
from daemon.billing.links import Link
from daemon.billing.pricing import Terms, days_of
from daemon.billing.proof.bill import BillFacts, Money, PointFact
from daemon.billing.proof.measured import Known, NotSettled, Shown, measured
from daemon.billing.settlement import is_posted
from daemon.transactions.books import account_terms
from daemon.transactions.proofs.journal import posted
from daemon.transactions.relinking import link_in_force
from daemon.transactions.tariffs import tariffs_of_accounts
from protocols.errors import MeterdError
from storage import links as stored_links
from storage import proofs, terms
from storage.proofs import CountedRow, NumberedAccount, ShownRow
from storage.readings import Source

SOURCES: Final = {
    Source.METER: "frozen by the meter",
    Source.HOST: "read beside midnight",
    Source.ON_DEMAND: "read on demand",
}


class NoTariff(MeterdError):
    """An account has no tariff that counts. Whoever keeps the tariffs acts."""


async def bills(
    connection: AsyncConnection[Any],
    accounts: Sequence[NumberedAccount],
    month: date,
    zone: ZoneInfo,
    head: int | None = None,
) -> list[BillFacts]:
    """The bills of a month, in the order of the accounts; of who is settled by months there is none
    before the month is over.

    `head`: the block up to which they are proved, None: the newest one. NotSealed, NotSettled:
    something is still on its way."""
    if not accounts:
        return []
    async with connection.transaction():
        # What is posted and settled meanwhile belongs to another bill.
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        counted: defaultdict[int, list[CountedRow]] = defaultdict(list)
        for row in await proofs.counted(connection, accounts, month):
            counted[row.account_id].append(row)
        rated = {it.id: _rated(counted[it.id], month) for it in accounts}
        told = await _terms(connection, accounts)
        links = await _links(connection, told, rated)
        known = await _known(connection, [link for of in links.values() for link in of])
        closed = set(await _closed_days(connection, rated.values()))
        due = [it for it in accounts if is_posted(told[it.id], month, closed)]
        await _look_for_unsettled(connection, [it for it in due if told[it.id].is_by_month], month)
        ledger = await posted(connection, accounts, month, rated, head)
    return [
        BillFacts(
            account=it.number,
            month=month,
            zone=zone,
            terms=told[it.id],
            closed_days=[day for day in sorted(closed) if day.replace(day=1) in rated[it.id]],
            measured=measured(links[it.id], known, zone),
            money=_money(counted[it.id], ledger[it.id].charged, rated[it.id], month),
            seals=ledger[it.id].seals,
        )
        for it in due
    ]


async def _look_for_unsettled(
    connection: AsyncConnection[Any], by_month: Sequence[NumberedAccount], month: date
) -> None:
    """Between the end of a month and its postings there is no bill. NotSettled."""
    waiting = await proofs.unsettled(connection, by_month, month) if by_month else None
    if waiting is not None:
        raise NotSettled(
            f"account {waiting}: something of {month:%Y-%m} is yet to be settled; ask again soon, "
            "and meterd standstill says what keeps it"
        )


def _rated(counted: Iterable[CountedRow], month: date) -> set[date]:
    """The months that the bill explains: its own, and those that its adjustments are about."""
    return {month} | {it.about for it in counted if it.month == month and it.about is not None}


async def _terms(
    connection: AsyncConnection[Any], accounts: Sequence[NumberedAccount]
) -> dict[int, Terms]:
    tariffs = await tariffs_of_accounts(connection, {it.id: it.tariff_id for it in accounts})
    for it in accounts:
        if it.id not in tariffs:
            raise NoTariff(f"account {it.number}: tariff {it.tariff_id} has no version that counts")
    told = await terms.terms_of(connection, [it.id for it in accounts])
    return {it.id: account_terms(told[it.id], tariffs[it.id].versions) for it in accounts}


async def _links(
    connection: AsyncConnection[Any],
    told: Mapping[int, Terms],
    rated: Mapping[int, Collection[date]],
) -> dict[int, list[Link]]:
    """Of the months that are explained, and as far back as a ladder begins."""
    sinces = {account: _since(told[account].versions, rated[account]) for account in told}
    links: dict[int, list[Link]] = {account: [] for account in told}
    for row in await stored_links.of_accounts(connection, sinces):
        if row.from_day <= days_of(max(rated[row.account_id]))[-1]:
            links[row.account_id].append(link_in_force(row).link)
    return links


def _since(versions: Versions, rated: Collection[date]) -> date:
    first = min(rated)
    has_year = any(it.ladder is not None and it.ladder.cycle == "year" for it in versions.all)
    return first.replace(month=1) if has_year else first


async def _known(connection: AsyncConnection[Any], links: Collection[Link]) -> Known:
    points = {link.point_id for link in links}
    meters = {link.meter_id for link in links}
    meters |= {piece.meter_id for link in links for piece in link.pieces}
    ends = {(link.point_id, day) for link in links for day in (link.from_day, link.to_day)}
    numbers = await proofs.point_numbers(connection, points)
    registers = await terms.registers_of(connection, points)
    return Known(
        points={it: PointFact(numbers[it], *registers[it]) for it in points},
        addresses=await proofs.addresses(connection, meters),
        shown={(it.point_id, it.day): _shown(it) for it in await proofs.shown(connection, ends)},
        documents=await proofs.documents(connection, points),
    )


def _shown(row: ShownRow) -> Shown:
    source = "put in its place" if row.source is None else SOURCES[row.source]
    return Shown(row.registers, source, row.stamp, row.arrived_at)


async def _closed_days(
    connection: AsyncConnection[Any], rated: Iterable[Collection[date]]
) -> list[date]:
    months = {month for of_account in rated for month in of_account}
    last = max(months) + timedelta(days=31)
    return await terms.closed_days(connection, min(months), last)


def _money(
    counted: Iterable[CountedRow],
    charged: Mapping[Any, int],
    rated: Collection[date],
    month: date,
) -> Money:
    before = [it for it in counted if it.month < month]
    own = [it for it in counted if it.month == month]
    return Money(
        rated_months=sorted(rated),
        charged=charged,
        opening_fen=sum(it.other_fen - it.charged_fen for it in before),
        charged_fen=sum(it.charged_fen for it in own),
        others_fen=sum(it.other_fen for it in own),
    )
