"""A person says what came of a job in the field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from protocols.errors import MeterdError
from storage import field_jobs, notices, supply


class JobRefused(MeterdError):
    """A job of which that cannot be said. Who typed it acts."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Of a written notice that was delivered in person. `evidence`: where it can be looked up."""

    delivered_at: datetime | None
    evidence: str | None


async def close_job(
    connection: AsyncConnection[Any],
    number: int,
    result: str,
    actor: str,
    receipt: Receipt | None = None,
) -> int | None:
    """Say what came of a job; returns the notice that it brought, if any.

    With a receipt that notice counts from when it was delivered, else it was not. JobRefused: the
    job is not open, brings no notice, or the receipt lacks something or is of another time."""
    async with connection.transaction():
        paper = await field_jobs.paper_of(connection, number)
        notice = None if paper is None else paper[0]
        if receipt is not None:
            notice, at, evidence = await _checked(connection, number, paper, receipt)
            await notices.mark_delivered(connection, notice, at, evidence, actor)
        elif notice is not None:
            now = await supply.database_clock(connection)
            await notices.mark_failed(connection, notice, now, result, actor)
        if not await field_jobs.close_job(connection, number, result, actor):
            raise JobRefused(f"there is no open job {number}")
    return notice


async def _checked(
    connection: AsyncConnection[Any],
    number: int,
    paper: tuple[int, datetime] | None,
    receipt: Receipt,
) -> tuple[int, datetime, str]:
    at, evidence = receipt.delivered_at, receipt.evidence
    if at is None or not evidence:
        raise JobRefused("a receipt is --delivered and --evidence: say both")
    if paper is None:
        raise JobRefused(
            f"there is no open job {number} that brings a notice: what was delivered all the same "
            "is written down with `meterd notice record`"
        )
    notice, made_at = paper
    if at < made_at:
        raise JobRefused(
            f"notice {notice} was made at {made_at:%Y-%m-%d %H:%M %Z}: mend --delivered"
        )
    if at > await supply.database_clock(connection):
        raise JobRefused("it has not happened yet: mend --delivered")
    return notice, at, evidence
