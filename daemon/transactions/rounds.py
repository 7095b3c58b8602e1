"""Marked accounts are settled many in a transaction, but no more than are locked for a moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import structlog
from psycopg import AsyncConnection

from daemon import metrics
from daemon.control.authority import Authority
from daemon.transactions.portions import LONGEST_LOCK_S, Clock, next_portion
from daemon.transactions.supply import request_trips
from storage.blame import is_of_the_whole

log = structlog.get_logger("billing")
Take = Callable[[int, int], Awaitable[Mapping[int, date]]]
"""Locks up to so many (second) accounts that lie behind one (first); of each a day."""
Settle = Callable[[Mapping[int, date]], Awaitable[list[int]]]
"""Settles those of them that it is for; tells the accounts whose money has run out."""


@dataclass(slots=True)
class Pace:
    """How many accounts were locked at once for as long as they may be, for whoever goes on.

    `most`: more at once are hardly cheaper. `fewest`: so many may be locked for however long it
    takes."""

    at_once: int
    most: int
    fewest: int = 50


async def in_rounds(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    take: Take,
    settle: Settle,
    pace: Pace,
    clock: Clock,
    give_way: Callable[[], Awaitable[None]] | None,
) -> list[Exception]:
    """Settle what can be, each account once. Others keep their marks, and so do those whose
    transaction failed: one by one it shows which of them it was, or that it was none of them.

    `give_way`: awaited before each transaction. Returns what transactions failed of."""
    tried: set[int] = set()
    failures: list[Exception] = []
    before = -1
    # What a batch stored that was under way meanwhile may lie before those that were taken.
    while len(tried) > before:
        before = len(tried)
        after = 0
        while True:
            if give_way is not None:
                await give_way()
            taken, failure = await _settle_some(
                connection, authority, now, take, settle, pace, clock, (after, tried)
            )
            if failure is not None:
                failures.append(failure)
            if not taken:
                break
            tried |= taken
            after = max(taken)
    return failures


async def _settle_some(
    connection: AsyncConnection[Any],
    authority: Authority,
    now: datetime,
    take: Take,
    settle: Settle,
    pace: Pace,
    clock: Clock,
    passed: tuple[int, Set[int]],
) -> tuple[Set[int], Exception | None]:
    """Settle some in one transaction; who was looked at, and what it failed of. `passed`: behind
    which account, and who was tried already."""
    after, tried = passed
    taken: dict[int, date] = {}
    try:
        async with connection.transaction():
            taken |= await take(after, pace.at_once)
            fresh = {account: day for account, day in taken.items() if account not in tried}
            if not fresh:
                return taken.keys(), None
            locked_at_s = clock()
            exhausted = await settle(fresh)
            if exhausted:
                await request_trips(connection, authority, exhausted, now)
        took_s = clock() - locked_at_s
        # A small rest says nothing, unless it is slow.
        if len(fresh) == pace.at_once or took_s > LONGEST_LOCK_S:
            pace.at_once = next_portion(len(fresh), took_s, pace.most, pace.fewest)
    except Exception as error:
        if is_of_the_whole(error) or not taken:
            raise
        metrics.SETTLED_ONE_BY_ONE.inc(len(taken))
        log.exception("accounts are settled one by one", accounts=len(taken))
        return taken.keys(), error
    return taken.keys(), None
