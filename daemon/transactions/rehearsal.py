"""What accounts would have paid under another tariff: settled in memory, some at a time.

Each portion is read in a transaction of its own that cannot write, so a running daemon waits for
nothing, and what settling it would post is computed by what settles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import count
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.tariff_version import Versions
from daemon.billing.month_use import rates_needed
from daemon.billing.rehearsal import DAY, Bill, Tried, as_told, bill
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.use import NoPrice
from daemon.transactions.books import Ground, ground_of
from daemon.transactions.owed import owed
from daemon.transactions.relinking import Relinked, relinked
from daemon.transactions.tariffs import stored_versions
from storage import links, tariff_filing
from storage.links import BilledPoint
from storage.rehearsal import Holder, holders, reading
from storage.settling import ALL_DAYS, Days
from storage.tariff_filing import STAYS

ACCOUNTS_AT_ONCE: Final = 100
"""So many are in memory with the links of their months."""
NO_CHANGES: Final[Mapping[int, Relinked]] = {}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is tried: tariffs by name, from a day on."""

    instead: Mapping[str, StoredTariff]
    since: date


@dataclass(frozen=True, slots=True)
class Portion:
    """The bills of some accounts. `held`: those of which use would wait for rates that were not
    told; `unpriced`: those that cannot be billed, with the reason."""

    bills: Mapping[str, Bill] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    unpriced: Mapping[str, str] = field(default_factory=dict)


async def tried_tariffs(
    connection: AsyncConnection[Any], told: Mapping[str, Versions], since: date | None
) -> dict[str, Tried]:
    """Of these tariffs those that the database knows, as if what is told counted."""
    # Below the numbers of versions that are stored, and each once.
    numbers = count(-1, -1)
    stored = await stored_versions(connection, told)
    return {
        name: as_told(counting, told[name], since, numbers) for name, counting in stored.items()
    }


async def rehearse(
    connection: AsyncConnection[Any], rehearsal: Rehearsal, zone: ZoneInfo, today: date
) -> AsyncIterator[Portion]:
    """What accounts that have one of the tariffs pay and would pay from the month of the first day
    on, some at a time."""
    async with reading(connection):
        found = await holders(connection, rehearsal.instead, rehearsal.since)
    for start in range(0, len(found), ACCOUNTS_AT_ONCE):
        some = found[start : start + ACCOUNTS_AT_ONCE]
        try:
            yield await _portion(connection, some, rehearsal, zone, today)
        except NoPrice:
            for holder in some:
                try:
                    yield await _portion(connection, [holder], rehearsal, zone, today)
                except NoPrice as error:
                    yield Portion(unpriced={holder.account: str(error)})


async def _portion(
    connection: AsyncConnection[Any],
    some: Sequence[Holder],
    rehearsal: Rehearsal,
    zone: ZoneInfo,
    today: date,
) -> Portion:
    accounts = {it.account_id: it.began_with for it in some}
    days = ALL_DAYS._replace(first=rehearsal.since)
    present = dict.fromkeys(accounts, days)
    anew = dict.fromkeys(accounts, days._replace(causes=frozenset({"tariff"})))
    async with reading(connection):
        points = await links.billed_points(connection, present)
        ground = await ground_of(connection, accounts, points)
        was = await owed(connection, present, NO_CHANGES, ground, zone, today)
        tried = await ground_of(connection, accounts, points, rehearsal.instead)
        # Links are cut by the rates that a price needs; where these are the same, so are links.
        others = [
            point
            for point in points
            if len(_needs(point, ground, days) | _needs(point, tried, days)) > 1
        ]
        marks = {point.account_id: days for point in others}
        theirs = [point for point in points if point.account_id in marks]
        changes = await relinked(connection, theirs, marks, tried.tariffs, tried.registers, zone)
        would = await owed(connection, anew, changes, tried, zone, today)
    month = rehearsal.since.replace(day=1)
    now = {book.account_id: book for book in was.books}
    names = {it.account_id: it.account for it in some}
    bills = {
        names[book.account_id]: bill(
            (now[book.account_id], was.moved_fen[book.account_id]),
            (book, would.moved_fen[book.account_id]),
            month,
        )
        for book in would.books
    }
    held = {
        names[account]
        for account, change in changes.items()
        if any(link.hold == "rates" for link in change.coming)
    }
    return Portion(bills, frozenset(held))


def _needs(point: BilledPoint, ground: Ground, days: Days) -> set[int]:
    """How many rates each version from the first of the days on needs."""
    tariff = ground.tariffs.get(point.account_id)
    if tariff is None:
        return set()
    versions = tariff.versions
    starts = [days.first, *versions.starts_between(days.first, days.last)]
    registers = ground.registers[point.point_id]
    return {rates_needed(versions, registers, day, day + DAY) for day in starts}


async def not_to_be_followed(
    connection: AsyncConnection[Any], found: Mapping[str, Tried]
) -> list[str]:
    """Words for each version that could not be taken over as it is tried."""
    counting = await tariff_filing.versions(connection, "counts")
    return [
        STAYS.format(it.tariff, it.effective_from)
        for it in counting
        if it.is_used and it.tariff in found and it.effective_from in found[it.tariff].starts
    ]
