"""A dead letter goes back the way that it came, or is given up by somebody."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import structlog
from psycopg import AsyncConnection

from daemon.quality.arrival import Arrival
from daemon.spool.record import UnknownRecord, of_content
from daemon.transactions.collect import collect
from storage import archive, dead_letters
from storage.blame import is_of_the_whole

log = structlog.get_logger("pipeline")

UNKNOWN_METER = "no meter of this address serves a point"


async def replay(
    connection: AsyncConnection[Any], letter_id: int, actor: str, zone: ZoneInfo
) -> str | None:
    """Store the reading as one that arrives now; why not, where it still cannot be.

    Stored and marked in one transaction, so it is done once. Its money moves with the next
    settlement. NoOpenLetter; psycopg.Error when the database cannot store."""
    async with connection.transaction():
        letter = await dead_letters.lock_open(connection, letter_id)
        try:
            reading = of_content(letter.content)
            meters = await archive.site_meters(connection, addresses=[reading.address])
            if not meters:
                raise UnknownRecord(UNKNOWN_METER)
            async with connection.transaction():
                await collect(connection, [Arrival(meters[0], reading.freeze)], zone)
        except Exception as error:
            if is_of_the_whole(error):
                raise
            why = reason_of(error)
            await dead_letters.set_reason(connection, letter_id, why)
            return why
        await dead_letters.set_replayed(connection, letter_id, actor)
    log.info("dead letter replayed", id=letter_id, meter=reading.address, actor=actor)
    return None


async def drop(connection: AsyncConnection[Any], letter_id: int, actor: str, reason: str) -> None:
    """Give the reading up. NoOpenLetter."""
    async with connection.transaction():
        letter = await dead_letters.lock_open(connection, letter_id)
        await dead_letters.set_dropped(connection, letter_id, actor, reason)
    log.info(
        "dead letter dropped",
        id=letter_id,
        meter=letter.content.get("address"),
        actor=actor,
        reason=reason,
    )


def reason_of(error: Exception) -> str:
    """Why a reading could not be stored, in one line."""
    text = str(error).strip()
    return text if isinstance(error, UnknownRecord) else f"{type(error).__name__}: {text}"
