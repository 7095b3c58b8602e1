"""Work that waits as marks in the database, done some at a time, so that nobody waits long."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import Final

from storage.blame import is_of_the_whole

LONGEST_LOCK_S: Final = 0.05
"""For so long what is worked on is to be locked: less is done at once where it takes longer."""
Clock = Callable[[], float]
"""Seconds; it tells how long locks were held."""


async def in_portions(
    do_some: Callable[[int, list[int]], Awaitable[bool]],
    put_off: Callable[[int, Exception], Awaitable[None]],
    at_once: int,
    clock: Clock = time.monotonic,
    within_s: float = math.inf,
    least: int = 1,
    give_way: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Do all that is marked. What fails by itself is put off, and does not hold up the others.

    `at_once`, `least`: how many are done in one transaction, the most and the fewest.
    `do_some`: does so many in one transaction, and what has to be done with them, adds to the list
    whose marks it takes, and tells whether there were any. `put_off`: keeps the mark of one, with
    the reason. After `within_s` the rest stays marked. `give_way`: awaited before each
    transaction."""
    most = at_once
    until_s = math.inf
    while True:
        if give_way is not None:
            await give_way()
        taken: list[int] = []
        began_s = clock()
        until_s = min(until_s, began_s + within_s)
        if began_s >= until_s:
            return
        try:
            if not await do_some(most, taken):
                return
            most = next_portion(len(taken), clock() - began_s, at_once, least)
        except Exception as error:
            if is_of_the_whole(error) or not taken:
                raise
            # What has to be done together is too few to be parted.
            if most == 1 or len(taken) == 1:
                for one in taken:
                    await put_off(one, error)
            most = max(1, len(taken) // 2)


def next_portion(done: int, took_s: float, at_once: int, least: int = 1) -> int:
    """How many are done next, after `done` of them were locked for so long.

    A transaction is not cut short: the next one is as large as this one shows that it may be.
    `least`: where a transaction has a cost of its own, which takes longer than the lock may on a
    slow machine, smaller ones hold it no shorter, and more often."""
    if took_s <= 0:
        return at_once
    return min(at_once, max(least, int(done * LONGEST_LOCK_S / took_s)))
