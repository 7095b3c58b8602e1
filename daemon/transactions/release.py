"""Release commands to a line: the last look before a frame leaves.

Lock order everywhere: account row, then command row. Payment and control of one account never
overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import structlog
from psycopg import AsyncConnection

from daemon.control.authority import Authority
from daemon.control.commands import after_restart, look_again, may_probe
from daemon.control.facts import is_source_changed
from daemon.control.restoration import is_locked_off, renewed_expiry
from daemon.control.sources import FarEnd
from daemon.control.trips import guard_trip, waits_for_settling
from daemon.transactions.amnesty import is_ramp_full
from daemon.transactions.control_facts import control_facts
from daemon.transactions.supply import note_verdicts
from storage import breakers, ledger, site_lock, supply
from storage.supply import Command, CommandMove, OpenCommand

log = structlog.get_logger("control")


@dataclass(frozen=True, slots=True)
class DueCommand:
    """What a line has to do with a command: send its control frame, or verify the relay."""

    kind: Literal["send", "verify"]
    command: Command


async def resume(
    connection: AsyncConnection[Any], now: datetime, *, shadow_mode: bool = False
) -> None:
    """After a start: verify what may be on its way, and send no trip late."""
    async with connection.transaction():
        expired: list[OpenCommand] = []
        verifying: list[OpenCommand] = []
        for it in await supply.lock_open_commands(connection):
            becomes = after_restart(
                it.action,
                it.state,
                sends=it.sends,
                created_at=it.created_at,
                expires_at=it.expires_at,
                now=now,
                shadow_mode=shadow_mode,
            )
            if becomes is not None:
                (expired if becomes == "expired" else verifying).append(it)
        for moved, state, detail in (
            (expired, "expired", "waited too long to be sent"),
            (verifying, "verifying", "daemon restarted"),
        ):
            await supply.move_commands(connection, [(it.id, state) for it in moved], detail, now)
        await supply.set_supply(connection, [it.point_id for it in expired], "energised")
        await supply.due_at_once(connection, now)


async def take_step(
    connection: AsyncConnection[Any],
    authority: Authority,
    line: str,
    now: datetime,
    far_end: FarEnd | None = None,
    host_now: Callable[[], datetime] | None = None,
) -> DueCommand | None:
    """The line's next command that is due; one to be sent is committed as `sent` before.

    I1: a trip passes the guard once more, on fresh facts with the account locked; if it fails, the
    trip is cancelled. I16: in shadow mode, or while another process may hold the site, nothing is
    released; relays are still read. `now`: by the database's clock. `far_end`: who is at the other
    end of the line. `host_now`: the host's clock, None where it shows the same."""
    sending = await may_send(connection, authority)
    hosts = host_now or (lambda: now)
    while True:
        due = await supply.due_command(connection, line, now, sending=sending)
        if due is None:
            return None
        command_id, account = due
        step = await _take(
            connection,
            authority,
            command_id,
            account,
            now,
            far_end,
            hosts,
        )
        if step is not None:
            return step


async def is_still_released(connection: AsyncConnection[Any], command: Command) -> bool:
    """Right before its frame leaves: nothing superseded the command since it was released.

    I4: after the commit of a payment no trip of the old episode is sent."""
    return await supply.is_sent(connection, command.id, command.sends + 1)


async def abandon_trip(
    connection: AsyncConnection[Any],
    command: Command,
    reason: str,
    now: datetime,
) -> None:
    """Nothing was sent although the command was released.

    The trip failed, unless an earlier frame of it may still be on its way: then the relay is
    watched until the trip is past its expiry."""
    # `sends` is as of before this release, which sent nothing.
    state = "verifying" if command.sends else "failed"
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        next_at = look_again(now, 0)
        is_taken = await supply.answer_command(connection, command.id, state, reason, next_at)
        if is_taken and state == "failed":
            await supply.set_supply(connection, [command.point_id], "energised")
    log.warning(
        "trip not sent",
        point=command.point,
        command=str(command.id),
        reason=reason,
        at=now,
    )


async def may_send(connection: AsyncConnection[Any], authority: Authority) -> bool:
    """I16: in shadow mode, or while another process may hold the site, nothing is sent."""
    if authority.shadow_mode:
        return False
    if authority.hold is None:
        return True
    # Asked of the database each time: this process may have lost the site without knowing.
    return await site_lock.holds_site(connection, authority.hold.token)


async def _take(
    connection: AsyncConnection[Any],
    authority: Authority,
    command_id: UUID,
    account: int | None,
    now: datetime,
    far_end: FarEnd | None,
    host_now: Callable[[], datetime],
) -> DueCommand | None:
    """What is to be done with a command that is due; None when it was ended, or has to wait."""
    async with connection.transaction():
        if account is not None:
            await ledger.lock_accounts(connection, [account])
        command = await supply.lock_command(connection, command_id)
        if command is None:
            return None
        # Something of it may be on its way: the relay is looked at before anything is sent again.
        if command.state != "persisted":
            if await _is_word_of_another(connection, command, account, now, far_end):
                await _look_later(connection, command, now)
                return None
            return DueCommand("verify", command)
        snapshot: Mapping[str, Any] | None = None
        if command.action == "trip":
            snapshot = await _release_trip(
                connection,
                authority,
                command,
                account,
                now,
                far_end,
                host_now,
            )
            if snapshot is None:
                return None
        elif await _has_to_wait(connection, command, account, now):
            await _wait(connection, command, now)
            return None
        else:
            # The frame says how long it is valid: the line is given the renewed command.
            command = replace(command, expires_at=renewed_expiry(command.expires_at, now))
        move = CommandMove(
            state="sent",
            next_at=look_again(now, 0),
            sends=1,
            guard=snapshot,
            expires_at=command.expires_at,
            fence=None if authority.hold is None else authority.hold.token,
        )
        await supply.move_command(connection, command_id, move, now)
    return DueCommand("send", command)


async def _has_to_wait(
    connection: AsyncConnection[Any], command: Command, account: int | None, now: datetime
) -> bool:
    """Whether others have to go before a reconnect, or somebody works there."""
    marks = await supply.marks_that_hold(connection, [command.point_id], now)
    if is_locked_off(marks.get(command.point_id, ())):
        return True
    if await breakers.is_open(connection, "wrong_password"):
        # Each meter counts wrong passwords, and locks itself: one of the site is tried at a time.
        await supply.lock_trips(connection)
        last = await supply.last_reconnect(connection)
        if last is not None and not may_probe(*last, now):
            return True
    return await is_ramp_full(connection, command, account, now)


async def _wait(connection: AsyncConnection[Any], command: Command, now: datetime) -> None:
    move = CommandMove(state=command.state, next_at=look_again(now, 1), detail=command.detail)
    await supply.move_command(connection, command.id, move, now)


async def _release_trip(
    connection: AsyncConnection[Any],
    authority: Authority,
    command: Command,
    account: int | None,
    now: datetime,
    far_end: FarEnd | None,
    host_now: Callable[[], datetime],
) -> Mapping[str, Any] | None:
    """The guard's snapshot when the trip may be sent now; None when it was ended instead."""
    # One release at a time over the whole site, so that the cap on trips counts every one.
    await supply.lock_trips(connection)
    if now >= command.expires_at:
        await _end_trip(
            connection,
            command,
            "expired",
            "waited too long to be sent",
            now,
        )
        return None
    accounts = [] if account is None else [account]
    points = await control_facts(connection, accounts, now)
    by_id = {point.point_id: point for point in points}
    if command.point_id not in by_id:
        await _end_trip(connection, command, "cancelled", "the point has no account", now)
        return None
    clocks = authority.clocks.beside(host_now(), await supply.database_clock(connection))
    trip = guard_trip(by_id[command.point_id], replace(authority, clocks=clocks), now, far_end)
    if trip.facts.cause != trip.point.cut_for:
        # An order came, or ended, since it was asked for: what it asks for is another trip.
        detail = f"asked for because of {trip.point.cut_for}, now it would be {trip.facts.cause}"
        await _end_trip(connection, command, "superseded", detail, now, trip.snapshot)
        return None
    if trip.is_allowed:
        return trip.snapshot
    if waits_for_settling(trip):
        await _wait(connection, command, now)
        return None
    await note_verdicts(connection, [trip], now)
    reasons = " ".join(trip.verdict.reasons)
    await _end_trip(
        connection,
        command,
        "cancelled",
        reasons,
        now,
        trip.snapshot,
    )
    return None


async def _is_word_of_another(
    connection: AsyncConnection[Any],
    command: Command,
    account: int | None,
    now: datetime,
    far_end: FarEnd | None,
) -> bool:
    """Whether what the relay is said to be proves nothing: somebody else may say it.

    A1: no trip is verified by a far end that took the terminal's place since. A reconnect waits
    only while it is in dispute who speaks: a customer who paid is not kept waiting for a day."""
    if far_end is None:
        return False
    if command.action != "trip":
        return bool(far_end.question)
    accounts = [] if account is None else [account]
    points = await control_facts(connection, accounts, now)
    return any(
        is_source_changed(point, far_end) for point in points if point.point_id == command.point_id
    )


async def _look_later(connection: AsyncConnection[Any], command: Command, now: datetime) -> None:
    """The relay is read when its line's far end is no longer in question."""
    detail = "not verified: it is not sure who speaks for the meter"
    move = CommandMove(
        state=command.state, next_at=look_again(now, command.checks + 1), detail=detail, checks=1
    )
    await supply.move_command(connection, command.id, move, now)
    log.warning(detail, point=command.point, line=command.line, command=str(command.id))


async def _end_trip(
    connection: AsyncConnection[Any],
    command: Command,
    state: str,
    detail: str,
    now: datetime,
    snapshot: Mapping[str, Any] | None = None,
) -> None:
    # A9: an earlier frame of it may still open the relay, which is watched until that is past.
    if command.sends:
        state = "verifying"
    next_at = look_again(now, command.checks) if command.sends else now
    move = CommandMove(state=state, next_at=next_at, detail=detail, guard=snapshot)
    await supply.move_command(connection, command.id, move, now)
    if not command.sends:
        await supply.set_supply(connection, [command.point_id], "energised")
    log.info(
        f"trip {state}",
        point=command.point,
        command=str(command.id),
        detail=detail,
    )
