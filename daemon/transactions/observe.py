"""What the line saw of a command: its answer, and the relay as the meter tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon.control.commands import (
    ALARM_AFTER,
    judge,
    look_again,
)
from protocols.reading import RelayState
from storage import supply
from storage.supply import Command

log = structlog.get_logger("control")


async def take_answer(
    connection: AsyncConnection[Any],
    command: Command,
    state: str,
    detail: str,
    now: datetime,
) -> None:
    """What came back for the control frame: `acked`, `unknown` (silence) or `refused` (the meter's
    words in detail)."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if (
            await supply.answer_command(connection, command.id, state, detail)
            and state == "refused"
        ):
            back = "energised" if command.action == "trip" else "disconnected"
            await supply.set_supply(connection, command.point_id, back)
    level = log.error if state == "refused" else log.warning if state == "unknown" else log.info
    level(
        f"{command.action} {state}",
        point=command.point_id,
        command=str(command.id),
        detail=detail,
        at=now,
    )


async def take_observation(
    connection: AsyncConnection[Any], command: Command, relay: RelayState | None, now: datetime
) -> None:
    """The relay as the meter told it, or None when it stayed silent; decides what becomes of the
    command."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        if relay is not None:
            await supply.observe_relay(
                connection,
                command.point_id,
                is_open=relay.relay_open,
                keep_power=relay.keep_power,
                now=now,
            )
        current = await supply.lock_command(connection, command.id)
        if current is None or current.sends != command.sends:
            return
        is_late = now - current.created_at > ALARM_AFTER
        if relay is None:
            next_at = look_again(now, current.checks)
            await supply.move_command(
                connection,
                command.id,
                state="unknown",
                now=now,
                next_at=next_at,
                checks=1,
                detail="meter is silent",
            )
            if is_late:
                log.error("relay cannot be read", point=command.point_id, command=str(command.id))
            return
        verdict = judge(
            current.action,
            relay,
            sends=current.sends,
            checks=current.checks,
            now=now,
            expires_at=current.expires_at,
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
    if (
        is_late
        and verdict.state in ("verifying", "persisted")
        and verdict.supply_state != "wait_customer_button"
    ):
        log.error(
            "relay does not follow",
            point=command.point_id,
            command=str(command.id),
            detail=verdict.detail,
        )
    if verdict.state in ("verified", "failed"):
        log.info(
            f"{command.action} {verdict.state}",
            point=command.point_id,
            command=str(command.id),
            confirmed_by="read-back",
            relay="open" if relay.relay_open else "closed",
            detail=verdict.detail,
        )
