"""Look again at every account whose money and supply do not fit together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.commands import is_look_due
from daemon.control.guard import Policy
from daemon.control.restoration import is_opened_by_others, is_to_be_restored, needs_job
from daemon.control.trips import guard_trip, is_any_possible, is_trip_due
from daemon.transactions.amnesty import restore_on_ramps
from daemon.transactions.breaker import watch
from daemon.transactions.control_facts import control_facts, supply_facts
from daemon.transactions.supply import request_trips, restore
from storage import field_jobs, ledger, supply
from storage.supply import NoticesAsked

log = structlog.get_logger("control")
ASKED_ABOUT: Final = 2000
"""Accounts: so many cost half a second, and ten thousand that owe must not keep a reconnect
waiting."""
LOOKED_AT_TOGETHER: Final = 1000
LOCKED_TOGETHER: Final = 100
"""Accounts: a payment of one of them waits some tens of milliseconds, not for the whole sweep."""
LATE_TRIPS: Final = timedelta(days=1)
"""Whose last trip was sent before that is looked at every day, as all are."""
CAUSE: Final = "balance is good, or protected"


async def sweep(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    after: int = 0,
    most: int = ASKED_ABOUT,
) -> int:
    """Look again at accounts whose money and supply do not fit together.

    It heals whatever an event missed: at once whoever is to be restored. Of those that owe, whom
    columns do not show to be safe are heard by the guard every time, `most` of them at once; what
    speaks against the others is noted of `most` behind the account `after`. Their last is returned
    for the next sweep, 0 when there is none behind it. Many are looked at together and without a
    lock; where there is something to do, it is done for some at a time."""
    # A line that is down takes no step: what waits for it would wait as long as it is.
    await supply.expire_trips(connection, now)
    # Before anybody is looked at: what emptied them may be a mistake of all.
    async with connection.transaction():
        await watch(connection, authority, now)
    await _restore(connection, authority, now)
    asked_about = await supply.accounts_to_ask_about(connection, after, most)
    may_be_cut = await who_may_be_cut(connection, authority, now, after, most)
    ordered = await supply.accounts_with_orders(connection)
    await _ask_for_trips(connection, authority, sorted({*asked_about, *may_be_cut, *ordered}), now)
    await restore_on_ramps(connection, now)
    await _look_for_late_trips(connection, now)
    await open_restore_jobs(connection)
    for number in await field_jobs.close_order_jobs(connection):
        log.warning("nobody has to go there: the order is not in force any more", job=number)
    for number in await field_jobs.open_order_jobs(connection):
        log.error("what was ordered off is on still, somebody has to go there", job=number)
    return asked_about[-1] if len(asked_about) == most else 0


async def open_restore_jobs(connection: AsyncConnection[Any]) -> None:
    """R89a, A12: what is overdue is seen from here, whatever became of its line."""
    reconnects = await field_jobs.open_reconnects(connection)
    late = [command for command, state, waited in reconnects if needs_job(state, waited)]
    if late:
        for number in await field_jobs.open_restore_jobs(connection, late):
            log.error("reconnect is overdue, somebody has to go there", job=number)


async def _look_for_late_trips(connection: AsyncConnection[Any], now: datetime) -> None:
    """A frame of a trip may be executed when its customer is back: the relay tells."""
    trips = await supply.trips_before(connection, now - LATE_TRIPS)
    meters = [
        meter
        for meter, expires_at, seen_at, is_ordered_open in trips
        if is_look_due(expires_at, seen_at, now, is_ordered_open=is_ordered_open)
    ]
    if meters:
        await supply.look_at_relays(connection, meters)


async def _restore(connection: AsyncConnection[Any], authority: Authority, now: datetime) -> None:
    # In shadow mode it could only wait: whoever opened it is another, and still has it in hand.
    of_others = not authority.shadow_mode
    for some in _portions(await supply.accounts_to_restore(connection), LOOKED_AT_TOGETHER):
        found = {
            point.account_id
            for point in await supply_facts(connection, some, now)
            if is_to_be_restored(point) and (of_others or not is_opened_by_others(point))
        }
        for accounts in _portions(sorted(found), LOCKED_TOGETHER):
            async with connection.transaction():
                # What was found a moment ago may have changed: all is looked at again here.
                await ledger.lock_accounts(connection, accounts)
                await restore(connection, accounts, CAUSE, now, of_others=of_others)


async def who_may_be_cut(
    connection: AsyncConnection[Any], authority: Authority, now: datetime, after: int, most: int
) -> list[int]:
    """Nobody whom the guard would let be cut is missing; it denies most of the others, too."""
    policies = {"": authority.policy, **authority.profiles}
    asked = [
        _notices_asked(name, policy, now)
        for name, policy in policies.items()
        if is_any_possible(policy, authority, now)
    ]
    if not asked:
        return []
    return await supply.accounts_that_may_be_cut(connection, asked, policies, after, most)


def _notices_asked(profile: str, policy: Policy, now: datetime) -> NoticesAsked:
    """R81: both limits of an age are included."""
    written = (now - policy.written_max, now - policy.written_min)
    final = (now - policy.final_max, now - policy.final_min)
    return NoticesAsked(
        profile,
        written=written if policy.written_required else None,
        final=final if policy.final_required else None,
    )


async def _ask_for_trips(
    connection: AsyncConnection[Any], authority: Authority, accounts: Sequence[int], now: datetime
) -> None:
    for some in _portions(accounts, LOOKED_AT_TOGETHER):
        with_news = await _with_news(connection, authority, some, now)
        for few in _portions(with_news, LOCKED_TOGETHER):
            async with connection.transaction():
                await ledger.lock_accounts(connection, few)
                await request_trips(connection, authority, few, now)


async def _with_news(
    connection: AsyncConnection[Any], authority: Authority, accounts: Sequence[int], now: datetime
) -> list[int]:
    """Those that may be cut, or of which the guard says something new."""
    points = await control_facts(connection, accounts, now)
    trips = [guard_trip(point, authority, now) for point in points if is_trip_due(point)]
    last = await supply.last_verdicts(connection, [trip.point.point_id for trip in trips])
    found = {
        trip.point.account_id
        for trip in trips
        if trip.is_allowed
        or last.get(trip.point.point_id) != (trip.verdict.decision, trip.verdict.reasons)
    }
    return sorted(found)


def _portions(accounts: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    return (accounts[start : start + most] for start in range(0, len(accounts), most))
