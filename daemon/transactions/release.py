"""Supply control in transactions: ask for a trip, restore, release to a line, take in what the line
saw.

Lock order everywhere: account row, then command row. Payment and control of one account never
overlap."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon.control import guard
from daemon.control.authority import Authority
from daemon.control.commands import (
    LATE_AFTER_RESTART,
    RECONNECT_EXPIRY,
    CommandStep,
    look_again,
)
from daemon.transactions.supply import _note_verdict, facts_for_guard
from storage import ledger, supply
from storage.supply import Command

log = structlog.get_logger("control")


async def resume(
    connection: AsyncConnection[Any], now: datetime, *, shadow_mode: bool = False
) -> None:
    """After a start: verify what may be on its way. A trip that was never sent is not sent late,
    nor in shadow mode."""
    await supply.resume(
        connection, now=now, trips_before=now if shadow_mode else now - LATE_AFTER_RESTART
    )


async def take_order(
    connection: AsyncConnection[Any], authority: Authority, line: str, now: datetime
) -> CommandStep | None:
    """The line's next command that is due. A command to be sent is committed as `sent` before this
    returns.

    A trip passes the guard once more, on fresh facts with the account locked; if it fails, the trip
    is cancelled. In shadow mode, or while another process may hold the site, nothing is released;
    relays are still read."""
    sending = not authority.shadow_mode and (
        authority.hold is None
        or await supply.holds_site(connection, authority.hold.database_process)
    )
    while (due := await supply.due_command(connection, line, now, sending=sending)) is not None:
        command_id, account = due
        async with connection.transaction():
            await ledger.lock_accounts(connection, [account])
            command = await supply.lock_command(connection, command_id)
            if command is None:
                continue
            if command.state != "persisted":
                return CommandStep("verify", command)
            snapshot = None
            expires_at = None
            if command.action == "trip":
                await supply.lock_trips(connection)
                snapshot = await _release_trip(
                    connection,
                    authority,
                    command,
                    account,
                    now,
                )
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
        return CommandStep("send", command)
    return None


async def is_still_released(connection: AsyncConnection[Any], command: Command) -> bool:
    """Right before its frame leaves: nobody superseded the command since `take_order` released
    it."""
    return await supply.is_sent(connection, command.id, command.sends + 1)


async def abandon_trip(
    connection: AsyncConnection[Any], command: Command, reason: str, now: datetime
) -> None:
    """Nothing was sent although the command was released. The trip failed, unless an earlier frame
    of it may still be on its way: then the relay is watched until the trip is past its expiry."""
    state = "verifying" if command.sends else "failed"
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if await supply.answer_command(connection, command.id, state, reason) and state == "failed":
            await supply.set_supply(connection, command.point_id, "energised")
    log.warning(
        "trip not sent",
        point=command.point_id,
        command=str(command.id),
        reason=reason,
        at=now,
    )


async def _release_trip(
    connection: AsyncConnection[Any],
    authority: Authority,
    command: Command,
    account: str,
    now: datetime,
) -> Mapping[str, Any] | None:
    """The guard's snapshot when the trip may be sent now; None when it was ended instead."""
    if now >= command.expires_at:
        await _end_trip(
            connection,
            command,
            "expired",
            "waited too long to be sent",
            now,
        )
        return None
    (facts,) = [
        f
        for f in await supply.control_facts(connection, [account], now)
        if f.point_id == command.point_id
    ]
    guard_facts = facts_for_guard(facts, authority, now)
    verdict = guard.evaluate(authority.policy, guard_facts)
    snapshot = guard.snapshot(authority.policy, guard_facts, verdict)
    if verdict.decision == "allow":
        return snapshot
    await _note_verdict(
        connection,
        authority,
        facts,
        guard_facts,
        verdict,
        now,
    )
    await _end_trip(
        connection,
        command,
        "cancelled",
        " ".join(verdict.reasons),
        now,
        snapshot,
    )
    return None


async def _end_trip(
    connection: AsyncConnection[Any],
    command: Command,
    state: str,
    detail: str,
    now: datetime,
    snapshot: Mapping[str, Any] | None = None,
) -> None:
    await supply.move_command(
        connection,
        command.id,
        state=state,
        now=now,
        next_at=now,
        detail=detail,
        guard=snapshot,
    )
    await supply.set_supply(connection, command.point_id, "energised")
    log.info(
        f"trip {state}",
        point=command.point_id,
        command=str(command.id),
        detail=detail,
    )
