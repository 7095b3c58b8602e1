"""Ask for trips and restore supply; the caller holds the account's lock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.control import guard
from daemon.control.authority import Authority
from daemon.control.commands import (
    RECONNECT_EXPIRY,
    TRIP_EXPIRY,
    TRY_AGAIN_AFTER,
    TRY_AGAIN_AFTER_REFUSAL,
)
from daemon.control.guard import Facts, Verdict
from storage import supply
from storage.supply import ControlFacts

log = structlog.get_logger("control")


async def request_trips(
    connection: AsyncConnection[Any], authority: Authority, accounts: Iterable[str], now: datetime
) -> None:
    """For each energised point of an exhausted account: a trip command if the guard allows it, else
    its reasons.

    The caller holds the locks on the account rows."""
    for facts in await supply.control_facts(connection, accounts, now):
        if facts.credit_state != "exhausted" or facts.supply_state != "energised":
            continue
        if await _was_just_tried(connection, facts.point_id, now, is_trip=True):
            continue
        guard_facts = facts_for_guard(facts, authority, now)
        verdict = guard.evaluate(authority.policy, guard_facts)
        await _note_verdict(
            connection,
            authority,
            facts,
            guard_facts,
            verdict,
            now,
        )
        if verdict.decision != "allow":
            continue
        command = uuid4()
        await supply.add_command(
            connection,
            command,
            facts,
            action="trip",
            cause="balance below the floor",
            guard=guard.snapshot(authority.policy, guard_facts, verdict),
            now=now,
            expires_at=min(now + TRIP_EXPIRY, _window_end(authority, now)),
        )
        await supply.set_supply(connection, facts.point_id, "trip_commanded")
        log.info(
            "trip requested",
            point=facts.point_id,
            balance_fen=facts.balance_fen,
            command=str(command),
        )


async def restore(
    connection: AsyncConnection[Any], accounts: Iterable[str], cause: str, now: datetime
) -> list[UUID]:
    """Restore every cut point of accounts whose balance is back at the reconnect threshold, and
    every protected one.

    Unsent trips are cancelled in this very transaction; what may have reached a meter is followed
    by a reconnect. No guard, no window, no approval. The caller holds the locks on the account
    rows."""
    cut = [
        facts
        for facts in await supply.control_facts(connection, accounts, now)
        if facts.supply_state in ("disconnected", "trip_commanded")
        and (facts.balance_fen >= facts.reconnect_fen or facts.protected or facts.life_support)
    ]
    ended = await supply.end_open_trips(connection, [facts.point_id for facts in cut], cause)
    commands = []
    for facts in cut:
        was_sent = facts.supply_state == "disconnected" or ended.get(facts.point_id, 1) > 0
        if not was_sent:
            await supply.set_supply(connection, facts.point_id, "energised")
            log.info("trip cancelled", point=facts.point_id, cause=cause)
            continue
        if await _was_just_tried(connection, facts.point_id, now, is_trip=False):
            continue
        command = uuid4()
        await supply.add_command(
            connection,
            command,
            facts,
            action=facts.reconnect,
            cause=cause,
            guard=None,
            now=now,
            expires_at=now + RECONNECT_EXPIRY,
        )
        await supply.set_supply(connection, facts.point_id, "reconnect_commanded")
        log.info(
            "reconnect requested",
            point=facts.point_id,
            cause=cause,
            command=str(command),
        )
        commands.append(command)
    return commands


def facts_for_guard(facts: ControlFacts, authority: Authority, now: datetime) -> Facts:
    """What the database says, in the guard's words: local wall time, published readings, this
    site's mode."""
    local_now = now.astimezone(authority.zone).replace(tzinfo=None)
    return Facts(
        now=local_now,
        balance_fen=facts.balance_fen,
        trip_threshold_fen=facts.trip_fen,
        credit_limit_fen=facts.credit_limit_fen,
        account_state=facts.account_state,
        has_agreement=facts.has_agreement,
        reading_state=facts.newest_state or "missing",
        last_reading_at=_midnight(facts.last_published_day),
        longest_recent_span_days=facts.longest_recent_span_days,
        episode_started_at=_local(facts.episode_started_at, authority.zone),
        protected=facts.protected,
        life_support=facts.life_support,
        reconnect_pending=facts.reconnect_pending,
        relay_open=facts.relay_observed == "open",
        device_keep_power=facts.keep_power_observed,
        breaker_open=facts.trips_last_minute >= guard.MAX_TRIPS_PER_MINUTE,
        shadow_mode=authority.shadow_mode,
        running_for=max(now - authority.started_at, timedelta(0)),
    )


async def _note_verdict(
    connection: AsyncConnection[Any],
    authority: Authority,
    facts: ControlFacts,
    guard_facts: Facts,
    verdict: Verdict,
    now: datetime,
) -> None:
    """Keep and log the verdict where it differs from the last one; an unchanged one would only fill
    the log."""
    snapshot = guard.snapshot(authority.policy, guard_facts, verdict)
    reasons = verdict.reasons
    if await supply.record_verdict(
        connection,
        facts.point_id,
        now,
        verdict.decision,
        reasons,
        snapshot,
    ):
        log.info(
            "guard",
            point=facts.point_id,
            account=facts.account_id,
            decision=verdict.decision,
            reasons=",".join(reasons),
            balance_fen=facts.balance_fen,
            floor_fen=guard_facts.floor_fen,
            would_trip=reasons == ("SHADOW_MODE",),
        )


async def _was_just_tried(
    connection: AsyncConnection[Any], point: str, now: datetime, *, is_trip: bool
) -> bool:
    return await supply.was_tried_since(
        connection,
        point,
        is_trip=is_trip,
        since=now - TRY_AGAIN_AFTER,
        refused_since=now - TRY_AGAIN_AFTER_REFUSAL,
    )


def _window_end(authority: Authority, now: datetime) -> datetime:
    """The end of today's window as an instant: a trip never expires after it."""
    local = now.astimezone(authority.zone)
    if authority.policy.window_end == time.max:
        return now + TRIP_EXPIRY
    return datetime.combine(local.date(), authority.policy.window_end, authority.zone)


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time())


def _local(at: datetime | None, zone: ZoneInfo) -> datetime | None:
    return None if at is None else at.astimezone(zone).replace(tzinfo=None)
