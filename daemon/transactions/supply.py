"""Ask for trips and restore supply; the caller holds the account's lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.commands import (
    RECONNECT_EXPIRY,
    TRY_AGAIN_AFTER_REFUSAL,
    ended_trip,
    is_just_tried,
)
from daemon.control.facts import SupplyFacts
from daemon.control.restoration import is_opened_by_others, is_to_be_restored, restorations
from daemon.control.trips import GuardedTrip, guard_trip, is_trip_due, trip_expires_at
from daemon.runtime.late_logs import LateLogger
from daemon.transactions.breaker import watch
from daemon.transactions.control_facts import control_facts, supply_facts
from storage import cut_orders, supply
from storage.supply import NewCommand, NewVerdict

log = LateLogger("control")


async def request_trips(
    connection: AsyncConnection[Any],
    authority: Authority,
    accounts: Iterable[int],
    now: datetime,
    cause: str = "balance below the floor",
) -> list[GuardedTrip]:
    """For each energised point of an exhausted account, or that is ordered off: a trip if the guard
    allows it.

    Where it does not, its reasons are kept. Returns what the guard was heard about.

    The caller holds the locks on the account rows."""
    points = await control_facts(connection, accounts, now)
    due = [point for point in points if is_trip_due(point)]
    # A command that failed for good is not followed by the next at once: relays wear out, and a
    # meter that refuses may count wrong passwords and lock itself.
    just_tried = await _just_tried(connection, due, now, is_trip=True)
    trips = [guard_trip(point, authority, now) for point in due if point.point_id not in just_tried]
    await note_verdicts(connection, trips, now)
    allowed = [trip for trip in trips if trip.is_allowed]
    commands = [
        _trip(trip, cause, now, trip_expires_at(trip, authority.zone, now)) for trip in allowed
    ]
    await supply.add_commands(connection, commands)
    for cut_for in sorted({trip.facts.cause for trip in allowed}):
        points_cut = [it.point.point_id for it in allowed if it.facts.cause == cut_for]
        await supply.set_supply(connection, points_cut, "trip_commanded", cut_for)
    for trip, command in zip(allowed, commands, strict=True):
        log.info(
            "trip requested",
            point=trip.point.point,
            balance_fen=trip.point.balance_fen,
            command=str(command.id),
        )
    if commands:
        await watch(connection, authority, now)
    return trips


async def restore(
    connection: AsyncConnection[Any],
    accounts: Iterable[int],
    cause: str,
    now: datetime,
    *,
    of_others: bool = False,
) -> list[UUID]:
    """Restore every point that we cut and that must not be dark; returns the reconnects.

    `of_others`: also those that somebody else opened.

    I4: unsent trips are cancelled in this very transaction; what may have reached a meter is
    followed by a reconnect. The caller holds the locks on the account rows."""
    points = await supply_facts(connection, accounts, now)
    cut = [
        point
        for point in points
        if is_to_be_restored(point) and (of_others or not is_opened_by_others(point))
    ]
    return await bring_back(connection, cut, cause, now)


async def pass_on(
    connection: AsyncConnection[Any], point_id: int, account_id: int, cause: str
) -> list[UUID]:
    """A point was given to this account, or its meter was another's: it is restored, for
    whatever it was cut, unless it is off for safety; returns the reconnects.

    The caller holds the locks on this account's row and on that of who had it."""
    await cut_orders.end_former_orders(connection)
    now = await supply.database_clock(connection)
    cut = [
        point
        for point in await supply_facts(connection, [account_id], now)
        if point.point_id == point_id
        and point.supply_state in ("disconnected", "trip_commanded")
        and point.ordered is None
    ]
    return await bring_back(connection, cut, cause, now)


async def bring_back(
    connection: AsyncConnection[Any], cut: Sequence[SupplyFacts], cause: str, now: datetime
) -> list[UUID]:
    """Restore these points, which are cut; returns the reconnects.

    The caller holds the locks on their accounts."""
    if not cut:
        return []
    # Before anything else is decided: from here on no line can release one of these trips.
    sends = await end_trips(connection, [point.point_id for point in cut], cause, now)
    just_tried = await _just_tried(connection, cut, now, is_trip=False)
    never_cut, reconnect = restorations(cut, sends, just_tried)
    commands = [_reconnect(point, cause, now) for point in reconnect]
    await supply.set_supply(connection, [point.point_id for point in never_cut], "energised")
    await supply.add_commands(connection, commands)
    await supply.set_supply(
        connection, [command.point_id for command in commands], "reconnect_commanded"
    )
    for point in never_cut:
        log.info("trip cancelled", point=point.point, cause=cause)
    for point, command in zip(reconnect, commands, strict=True):
        # Somebody else, or something else, has the relay in hand: a person should know.
        log_at_level = log.error if is_opened_by_others(point) else log.info
        log_at_level(
            "reconnect requested",
            point=point.point,
            cause=command.cause,
            command=str(command.id),
        )
    return [command.id for command in commands]


async def end_trips(
    connection: AsyncConnection[Any], points: Sequence[int], detail: str, now: datetime
) -> dict[int, int]:
    """End the open trips of these points; returns point -> how often its trip had been sent.

    The caller holds the locks on their accounts."""
    trips = await supply.lock_open_trips(connection, points)
    moves = [(command, ended_trip(sends)) for command, _, sends in trips]
    await supply.move_commands(connection, moves, detail, now)
    return {point: sends for _, point, sends in trips}


async def note_verdicts(
    connection: AsyncConnection[Any], trips: Sequence[GuardedTrip], now: datetime
) -> None:
    """Keep and log each verdict that differs from the last one about its point.

    An unchanged one would only fill the log."""
    last = await supply.last_verdicts(connection, [trip.point.point_id for trip in trips])
    changed = []
    rows = []
    for trip in trips:
        point_id = trip.point.point_id
        decision = trip.verdict.decision
        reasons = trip.verdict.reasons
        if last.get(point_id) != (decision, reasons):
            changed.append(trip)
            rows.append(NewVerdict(point_id, decision, reasons, trip.snapshot))
    if rows:
        await supply.add_verdicts(connection, rows, now)
    for trip in changed:
        log.info(
            "guard",
            point=trip.point.point,
            account=trip.point.account,
            decision=trip.verdict.decision,
            reasons=",".join(trip.verdict.reasons),
            balance_fen=trip.point.balance_fen,
            floor_fen=trip.facts.floor_fen,
            would_trip=trip.verdict.reasons == ("SHADOW_MODE",),
        )


async def _just_tried(
    connection: AsyncConnection[Any],
    points: Iterable[SupplyFacts],
    now: datetime,
    *,
    is_trip: bool,
) -> set[int]:
    ended = await supply.ended_in_vain(
        connection,
        [point.point_id for point in points],
        is_trip=is_trip,
        since=now - TRY_AGAIN_AFTER_REFUSAL,
    )
    return {point for point, state, at in ended if is_just_tried(state, at, now)}


def _trip(trip: GuardedTrip, cause: str, now: datetime, expires_at: datetime) -> NewCommand:
    return NewCommand(
        id=uuid4(),
        point_id=trip.point.point_id,
        meter_id=trip.point.meter_id,
        address=trip.point.address,
        line=trip.point.line,
        action="trip",
        cause=_cause(trip, cause),
        guard=trip.snapshot,
        created_at=now,
        expires_at=expires_at,
    )


def _cause(trip: GuardedTrip, cause: str) -> str:
    """R40: who ordered it, for whoever looks at it later."""
    if trip.facts.cause == "arrears":
        return cause
    agreed = ", ".join(it.approver for it in trip.facts.approvals)
    return f"{trip.facts.cause}: ordered by {trip.facts.requested_by}, agreed by {agreed}"


def _reconnect(point: SupplyFacts, cause: str, now: datetime) -> NewCommand:
    return NewCommand(
        id=uuid4(),
        point_id=point.point_id,
        meter_id=point.meter_id,
        address=point.address,
        line=point.line,
        # R89b: allow close or direct close, by the point's safety class.
        action=point.reconnect,
        cause=f"opened by somebody else; {cause}" if is_opened_by_others(point) else cause,
        guard=None,
        created_at=now,
        expires_at=now + RECONNECT_EXPIRY,
    )
