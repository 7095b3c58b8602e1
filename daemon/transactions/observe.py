"""What the line saw of a command: its answer, and the relay as the meter tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon.control.commands import after_refusal, look_again
from daemon.control.observation import Answer, Finding, judge_observation, state_after_answer
from daemon.transactions.breaker import stop_trips
from protocols.reading import RelayState
from storage import supply
from storage.supply import Command, CommandMove

log = structlog.get_logger("control")


async def take_answer(
    connection: AsyncConnection[Any],
    command: Command,
    answer: Answer,
    detail: str,
    now: datetime,
) -> None:
    """What came back for the control frame, with the meter's words in `detail`."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        becomes = state_after_answer(command.action, answer, sends_before=command.sends)
        # A slow wire brought the frame long after its release: a relay that is looked at too early
        # is looked at twice.
        is_again = becomes == "persisted"
        next_at = after_refusal(now, command.sends) if is_again else look_again(now, 0)
        # False: a payment superseded the command while its answer was on the way.
        is_taken = await supply.answer_command(connection, command.id, becomes, detail, next_at)
        if is_taken and becomes == "refused":
            await supply.set_supply(connection, [command.point_id], "energised")
        if answer == "unauthorised":
            # The next meter would say the same, and count it.
            await stop_trips(connection, "wrong_password", now)
    # A refusal needs a person: password, right, or a meter that is not the one it should be.
    levels = {"refused": log.error, "unauthorised": log.error, "unknown": log.warning}
    levels.get(answer, log.info)(
        f"{command.action} {answer}",
        point=command.point,
        command=str(command.id),
        detail=detail,
        at=now,
    )


async def take_observation(
    connection: AsyncConnection[Any],
    command: Command,
    relay: RelayState | None,
    now: datetime,
) -> None:
    """Take in the relay as the meter told it, or None when it stayed silent.

    It decides what becomes of the command: an acknowledgement is not an open relay."""
    async with connection.transaction():
        await supply.lock_account_of(connection, command.point_id)
        # I14: what is stored is what the meter told, whatever becomes of the command.
        if relay is not None:
            await supply.observe_relay(
                connection,
                command.point_id,
                is_open=relay.relay_open,
                is_ordered_open=relay.command_open,
                keep_power=relay.keep_power,
                now=now,
            )
        current = await supply.lock_command(connection, command.id)
        # Ended or sent again since the relay was asked for: the answer is about another send.
        if current is None or current.sends != command.sends:
            return
        finding = judge_observation(
            current.action,
            relay,
            sends=current.sends,
            checks=current.checks,
            created_at=current.created_at,
            expires_at=current.expires_at,
            now=now,
        )
        judgement = finding.judgement
        move = CommandMove(
            state=judgement.state,
            next_at=judgement.next_at,
            detail=judgement.detail,
            checks=1,
        )
        await supply.move_command(connection, command.id, move, now)
        if judgement.supply_state is not None:
            await supply.set_supply(connection, [command.point_id], judgement.supply_state)
    _report(command, finding, relay)


def _report(command: Command, finding: Finding, relay: RelayState | None) -> None:
    judgement = finding.judgement
    if finding.alarm is not None:
        log.error(
            finding.alarm,
            point=command.point,
            command=str(command.id),
            detail=judgement.detail,
        )
    if relay is not None and finding.is_final:
        log.info(
            f"{command.action} {judgement.state}",
            point=command.point,
            command=str(command.id),
            confirmed_by="read-back",
            relay="open" if relay.relay_open else "closed",
            detail=judgement.detail,
        )
