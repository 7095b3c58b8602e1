"""What would follow for slots, use and money: done, looked at, and taken back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from daemon.billing.document_effect import NOTHING, Effect, Use, changed_days
from daemon.quality.judge import RULE_SET
from daemon.quality.verdict import DayState, Held
from daemon.transactions.chain_facts import day_state, point_facts
from daemon.transactions.judging import rejudge
from daemon.transactions.settle import settle_accounts
from storage import holdings, judging, ledger, links, rule_sets
from storage.archive import BEGINNING
from storage.installations import zone_name
from storage.links import LinkedUse
from storage.settling import ALL_DAYS, Days

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """By point what would be otherwise, and by account the fen by which its balance would move."""

    effects: Mapping[int, Effect] = field(default_factory=dict)
    fen: Mapping[str, int] = field(default_factory=dict)


async def foresee(
    connection: AsyncConnection[Any],
    changed: Mapping[int, date],
    zone: ZoneInfo,
    now: datetime,
    limits: Mapping[int, Decimal] | None = None,
    thresholds: Mapping[str, int] | None = None,
) -> Foreseen:
    """What judging these points anew would change; nothing of it is kept.

    `changed`: by point, the first day to be judged. `limits`, `thresholds`: by point the most kWh a
    day and what the site says in `[quality]`, as if a reload had just taken them over. The caller
    holds the lock on the chains."""
    today = now.astimezone(zone).date()
    async with connection.transaction(force_rollback=True):
        sinces = {**changed, **await judging.put_limits(connection, limits or {}, today)}
        await _put_thresholds(connection, thresholds)
        judged = await rejudge(connection, sinces, zone, is_trial=True)
        differing = set(judged.changed) | {row.point_id for row in judged.rows}
    if not differing:
        return Foreseen()
    async with connection.transaction(force_rollback=True):
        await settled(connection, differing, zone, now)
        before = await _shown(connection, differing, zone)
        await judging.put_limits(connection, limits or {}, today)
        await _put_thresholds(connection, thresholds)
        await rejudge(
            connection, {point: sinces[point] for point in differing}, zone, is_trial=True
        )
        fen = await settled(connection, differing, zone, now)
        after = await _shown(connection, differing, zone)
    effects = {point: _difference(before[point], after[point]) for point in sorted(differing)}
    return Foreseen({point: it for point, it in effects.items() if not it.is_empty}, fen)


async def _put_thresholds(
    connection: AsyncConnection[Any], thresholds: Mapping[str, int] | None
) -> None:
    if thresholds is not None:
        await rule_sets.put(connection, RULE_SET, thresholds, "trial")


async def settled(
    connection: AsyncConnection[Any], points: set[int], zone: ZoneInfo, now: datetime
) -> dict[str, int]:
    """Settle whoever is billed for these points, inside a trial; by account the fen it moved."""
    asked = await holdings.accounts_of(connection, points)
    # Locked before: what others post to these accounts is no part of the difference.
    accounts = await ledger.lock_accounts(connection, asked)
    before = await ledger.balances(connection, accounts)
    await settle_accounts(connection, dict.fromkeys(accounts, ALL_DAYS), zone, now)
    after = await ledger.balances(connection, accounts)
    moved = {row.number: after[id_] - before[id_] for id_, row in accounts.items()}
    return {number: fen for number, fen in sorted(moved.items()) if fen}


async def moved_fen(
    connection: AsyncConnection[Any],
    account_id: int,
    rated_anew: Days,
    write: Callable[[], Awaitable[None]],
    now: datetime,
) -> int:
    """The fen by which the balance of an account would move if `write` were done; nothing of it is
    kept. `rated_anew`: the days that may cost something else then."""
    zone = ZoneInfo(await zone_name(connection))
    marks = {account_id: rated_anew}
    async with connection.transaction(force_rollback=True):
        # What is owed already moves the balance too, and not because of what is tried.
        await settle_accounts(connection, marks, zone, now)
        before = await ledger.balances(connection, marks)
        await write()
        await settle_accounts(connection, marks, zone, now)
        after = await ledger.balances(connection, marks)
    return after[account_id] - before[account_id]


@dataclass(frozen=True, slots=True)
class _Shown:
    """What a point shows."""

    days: Mapping[date, DayState]
    uses: tuple[Use, ...]


async def _shown(
    connection: AsyncConnection[Any], points: set[int], zone: ZoneInfo
) -> dict[int, _Shown]:
    facts = point_facts(await judging.facts(connection, points), zone)
    days: dict[int, dict[date, DayState]] = {point: {} for point in points}
    for slot in await judging.slots(connection, dict.fromkeys(points, BEGINNING)):
        decimals = facts[slot.point_id].decimals_on(slot.day)
        days[slot.point_id][slot.day] = day_state(slot, decimals)
    uses: dict[int, list[Use]] = {point: [] for point in points}
    for link in await links.uses(connection, points):
        uses[link.point_id].append(_use(link))
    return {point: _Shown(days[point], tuple(uses[point])) for point in points}


def _use(link: LinkedUse) -> Use:
    held = cast("Held | None", link.hold)
    return Use(link.from_day, link.to_day, link.kwh, held, link.account)


def _difference(before: _Shown, after: _Shown) -> Effect:
    gone = tuple(use for use in before.uses if use not in after.uses)
    come = tuple(use for use in after.uses if use not in before.uses)
    days = tuple(changed_days(before.days, after.days))
    moved = {day for use in gone if use.held is None for day in _days(use)}
    return replace(NOTHING, days=days, gone=gone, come=come, moved=frozenset(moved))


def _days(use: Use) -> list[date]:
    return [use.start + n * DAY for n in range((use.end - use.start).days)]
