"""Supply control in transactions: ask for a trip, restore, release to a line, take in what the line saw.

Lock order everywhere: account row, then command row. Payment and control of one account never overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.control import guard
from daemon.control.commands import (
    ALARM_AFTER,
    LATE_AFTER_RESTART,
    RECONNECT_EXPIRY,
    TRIP_EXPIRY,
    TRY_AGAIN_AFTER,
    TRY_AGAIN_AFTER_REFUSAL,
    judge,
    look_again,
)
from daemon.control.guard import Facts, Policy, Verdict
from protocols.reading import RelayState
from storage import ledger, supply
from storage.supply import Command, ControlFacts

log = structlog.get_logger("control")


@dataclass(slots=True)
class SiteHold:
    """The database process whose lock makes this daemon the only one to act; 0 while it is lost."""

    database_process: int = 0


@dataclass(frozen=True, slots=True)
class Authority:
    """What decides about supply besides the facts: the policy, the site's zone, shadow mode, the daemon's start, and
    the hold on the site (None where no other process can exist)."""

    policy: Policy
    zone: ZoneInfo
    shadow_mode: bool
    started_at: datetime
    hold: SiteHold | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What a line has to do with a command: send its control frame, or verify the relay."""

    kind: Literal["send", "verify"]
    command: Command


async def request_trips(
    connection: AsyncConnection[Any], authority: Authority, accounts: Iterable[str], now: datetime
) -> None:
    """For each energised point of an exhausted account: a trip command if the guard allows it, else its reasons.

    The caller holds the locks on the account rows.
    """
    for facts in await supply.control_facts(connection, accounts, now):
        if facts.credit_state != "exhausted" or facts.supply_state != "energised":
            continue
        if await _was_just_tried(connection, facts.point_id, now, is_trip=True):
            continue
        guard_facts = facts_for_guard(facts, authority, now)
        verdict = guard.evaluate(authority.policy, guard_facts)
        await _note_verdict(connection, authority, facts, guard_facts, verdict, now)
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
        log.info("trip requested", point=facts.point_id, balance_fen=facts.balance_fen, command=str(command))


async def restore(connection: AsyncConnection[Any], accounts: Iterable[str], cause: str, now: datetime) -> list[UUID]:
    """Restore every cut point of accounts whose balance is back at the reconnect threshold, and every protected one.

    Unsent trips are cancelled in this very transaction; what may have reached a meter is followed by a reconnect.
    No guard, no window, no approval. The caller holds the locks on the account rows.
    """
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
        log.info("reconnect requested", point=facts.point_id, cause=cause, command=str(command))
        commands.append(command)
    return commands


async def sweep(connection: AsyncConnection[Any], authority: Authority, now: datetime) -> None:
    """Look again at every account whose money and supply do not fit together; heals whatever an event missed."""
    for account in await supply.accounts_to_look_at(connection):
        async with connection.transaction():
            await ledger.lock_accounts(connection, [account])
            await restore(connection, [account], "balance is back, or protected", now)
            await request_trips(connection, authority, [account], now)


async def resume(connection: AsyncConnection[Any], now: datetime, *, shadow_mode: bool = False) -> None:
    """After a start: verify what may be on its way. A trip that was never sent is not sent late, nor in shadow mode."""
    await supply.resume(connection, now=now, trips_before=now if shadow_mode else now - LATE_AFTER_RESTART)


async def take_order(connection: AsyncConnection[Any], authority: Authority, line: str, now: datetime) -> Order | None:
    """The line's next command that is due. A command to be sent is committed as `sent` before this returns.

    A trip passes the guard once more, on fresh facts with the account locked; if it fails, the trip is cancelled.
    In shadow mode, or while another process may hold the site, nothing is released; relays are still read.
    """
    sending = not authority.shadow_mode and (
        authority.hold is None or await supply.holds_site(connection, authority.hold.database_process)
    )
    while (due := await supply.due_command(connection, line, now, sending=sending)) is not None:
        command_id, account = due
        async with connection.transaction():
            await ledger.lock_accounts(connection, [account])
            command = await supply.lock_command(connection, command_id)
            if command is None:
                continue
            if command.state != "persisted":
                return Order("verify", command)
            snapshot = None
            expires_at = None
            if command.action == "trip":
                await supply.lock_trips(connection)
                snapshot = await _release_trip(connection, authority, command, account, now)
                if snapshot is None:
                    continue
            elif command.expires_at <= now:
                expires_at = now + RECONNECT_EXPIRY
            await supply.move_command(
                connection,
                command_id,
                state="sent",
                now=now,
                next_at=look_again(now, 0),
                sends=1,
                guard=snapshot,
                expires_at=expires_at,
            )
        return Order("send", command)
    return None


async def take_answer(
    connection: AsyncConnection[Any], command: Command, state: str, detail: str, now: datetime
) -> None:
    """What came back for the control frame: `acked`, `unknown` (silence) or `refused` (the meter's words in detail)."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if await supply.answer_command(connection, command.id, state, detail) and state == "refused":
            back = "energised" if command.action == "trip" else "disconnected"
            await supply.set_supply(connection, command.point_id, back)
    level = log.error if state == "refused" else log.warning if state == "unknown" else log.info
    level(f"{command.action} {state}", point=command.point_id, command=str(command.id), detail=detail, at=now)


async def is_still_released(connection: AsyncConnection[Any], command: Command) -> bool:
    """Right before its frame leaves: nobody superseded the command since `take_order` released it."""
    return await supply.is_sent(connection, command.id, command.sends + 1)


async def abandon_trip(connection: AsyncConnection[Any], command: Command, reason: str, now: datetime) -> None:
    """Nothing was sent although the command was released. The trip failed, unless an earlier frame of it may still be
    on its way: then the relay is watched until the trip is past its expiry."""
    state = "verifying" if command.sends else "failed"
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if await supply.answer_command(connection, command.id, state, reason) and state == "failed":
            await supply.set_supply(connection, command.point_id, "energised")
    log.warning("trip not sent", point=command.point_id, command=str(command.id), reason=reason, at=now)


async def take_observation(
    connection: AsyncConnection[Any], command: Command, relay: RelayState | None, now: datetime
) -> None:
    """The relay as the meter told it, or None when it stayed silent; decides what becomes of the command."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if relay is not None:
            await supply.observe_relay(
                connection, command.point_id, is_open=relay.relay_open, keep_power=relay.keep_power, now=now
            )
        current = await supply.lock_command(connection, command.id)
        if current is None or current.sends != command.sends:
            return
        is_late = now - current.created_at > ALARM_AFTER
        if relay is None:
            next_at = look_again(now, current.checks)
            await supply.move_command(
                connection, command.id, state="unknown", now=now, next_at=next_at, checks=1, detail="meter is silent"
            )
            if is_late:
                log.error("relay cannot be read", point=command.point_id, command=str(command.id))
            return
        verdict = judge(
            current.action, relay, sends=current.sends, checks=current.checks, now=now, expires_at=current.expires_at
        )
        await supply.move_command(
            connection,
            command.id,
            state=verdict.state,
            now=now,
            next_at=verdict.next_at,
            checks=1,
            detail=verdict.detail,
        )
        if verdict.supply_state is not None:
            await supply.set_supply(connection, command.point_id, verdict.supply_state)
    if is_late and verdict.state in ("verifying", "persisted") and verdict.supply_state != "wait_customer_button":
        log.error("relay does not follow", point=command.point_id, command=str(command.id), detail=verdict.detail)
    if verdict.state in ("verified", "failed"):
        log.info(
            f"{command.action} {verdict.state}",
            point=command.point_id,
            command=str(command.id),
            confirmed_by="read-back",
            relay="open" if relay.relay_open else "closed",
            detail=verdict.detail,
        )


def facts_for_guard(facts: ControlFacts, authority: Authority, now: datetime) -> Facts:
    """What the database says, in the guard's words: local wall time, published readings, this site's mode."""
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


async def _release_trip(
    connection: AsyncConnection[Any], authority: Authority, command: Command, account: str, now: datetime
) -> Mapping[str, Any] | None:
    """The guard's snapshot when the trip may be sent now; None when it was ended instead."""
    if now >= command.expires_at:
        await _end_trip(connection, command, "expired", "waited too long to be sent", now)
        return None
    (facts,) = [f for f in await supply.control_facts(connection, [account], now) if f.point_id == command.point_id]
    guard_facts = facts_for_guard(facts, authority, now)
    verdict = guard.evaluate(authority.policy, guard_facts)
    snapshot = guard.snapshot(authority.policy, guard_facts, verdict)
    if verdict.decision == "allow":
        return snapshot
    await _note_verdict(connection, authority, facts, guard_facts, verdict, now)
    await _end_trip(connection, command, "cancelled", " ".join(verdict.reasons), now, snapshot)
    return None


async def _end_trip(
    connection: AsyncConnection[Any],
    command: Command,
    state: str,
    detail: str,
    now: datetime,
    snapshot: Mapping[str, Any] | None = None,
) -> None:
    await supply.move_command(connection, command.id, state=state, now=now, next_at=now, detail=detail, guard=snapshot)
    await supply.set_supply(connection, command.point_id, "energised")
    log.info(f"trip {state}", point=command.point_id, command=str(command.id), detail=detail)


async def _note_verdict(
    connection: AsyncConnection[Any],
    authority: Authority,
    facts: ControlFacts,
    guard_facts: Facts,
    verdict: Verdict,
    now: datetime,
) -> None:
    """Keep and log the verdict where it differs from the last one; an unchanged one would only fill the log."""
    snapshot = guard.snapshot(authority.policy, guard_facts, verdict)
    reasons = verdict.reasons
    if await supply.record_verdict(connection, facts.point_id, now, verdict.decision, reasons, snapshot):
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


async def _was_just_tried(connection: AsyncConnection[Any], point: str, now: datetime, *, is_trip: bool) -> bool:
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
