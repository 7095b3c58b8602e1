"""A month is closed: what counts for its days is posted no more, but as an adjustment."""

from __future__ import annotations

from datetime import date
from typing import Any

import structlog
from psycopg import AsyncConnection

from protocols.errors import MeterdError
from storage import ledger, terms
from storage.chains import lock_chains
from storage.documents import Said

log = structlog.get_logger("billing")


class MonthNotClosed(MeterdError):
    """The month cannot be closed now, or not before another one. Nothing was changed."""


async def close_month(
    connection: AsyncConnection[Any], month: date, said: Said, today: date
) -> None:
    """Close a month, named by its first day. MonthNotClosed.

    Ends when everything has ended that was posting when it was closed: from then on the month's
    postings are the same for ever."""
    async with connection.transaction():
        await lock_chains(connection)  # of two persons the second one is told
        open_from = await ledger.open_from(connection)
        if month < open_from:
            raise MonthNotClosed(f"{month:%Y-%m} is closed already")
        if open_from > date.min and month > open_from:
            raise MonthNotClosed(f"{open_from:%Y-%m} is to be closed before {month:%Y-%m}")
        opening = (await terms.known_days(connection)).opening
        # Closed by a slip of the pen, it would have all months up to the first one closed in order.
        if open_from == date.min and opening is not None and month < opening.replace(day=1):
            raise MonthNotClosed(
                f"nothing was billed in {month:%Y-%m}: the first account is open from {opening} on"
            )
        if (month.year, month.month) >= (today.year, today.month):
            raise MonthNotClosed(f"{month:%Y-%m} has not ended yet")
        await ledger.close_month(connection, month, said.actor, said.reason)
    # Asked behind the commit: who began to post while it was under way did not see it either.
    posting = await ledger.drawn_now(connection)
    while not await ledger.have_ended(connection, posting):
        log.info("waiting for what began before", month=f"{month:%Y-%m}")
    log.info("month closed", month=f"{month:%Y-%m}", actor=said.actor)
