"""Payments that wait at the same time are posted in one transaction, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from daemon.transactions.payment import Payment, Taken, TopUp, take_in
from daemon.transactions.right_of_way import RightOfWay
from storage.database import Pool
from storage.supply import DatabaseClock

MOST: Final = 200
"""Payments of one transaction: whoever settles waits for their accounts."""


class PaymentQueue:
    """Whoever finds nobody posting posts for all that wait; the others are told what became of
    theirs."""

    def __init__(self, pool: Pool, clock: DatabaseClock, right_of_way: RightOfWay) -> None:
        """`clock`: what a database's clock shows. `right_of_way`: claimed while payments wait, so
        that no settlement begins before them."""
        self._pool = pool
        self._clock = clock
        self._right_of_way = right_of_way
        self._waiting: dict[asyncio.Future[TopUp | None], Payment] = {}
        self._posting = asyncio.Lock()

    async def take_in(self, payment: Payment) -> TopUp | None:
        """What `top_up` says. Cancelled, it was not posted, or is so and can be asked for again."""
        answer: asyncio.Future[TopUp | None] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = payment
        try:
            with self._right_of_way.claimed():
                async with self._posting:
                    while not answer.done():
                        await self._post_waiting()
            return answer.result()
        finally:
            self._waiting.pop(answer, None)
            answer.cancel()

    async def _post_waiting(self) -> None:
        """Post for all that wait. Cancelled with whoever does it, it leaves them to the next."""
        batch: dict[asyncio.Future[TopUp | None], Payment] = {}
        try:
            async with self._pool.connection() as connection:
                batch = self._batch()
                taken = await self._taken(connection, list(batch.values()))
        except Exception as error:
            batch = batch or self._batch()
            taken = [error] * len(batch)
        for answer, found in zip(batch, taken, strict=True):
            self._waiting.pop(answer, None)
            if answer.done():
                continue  # whoever asked has hung up
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

    def _batch(self) -> dict[asyncio.Future[TopUp | None], Payment]:
        return dict(islice(self._waiting.items(), MOST))

    async def _taken(
        self, connection: AsyncConnection[Any], payments: Sequence[Payment]
    ) -> list[Taken | Exception]:
        try:
            return list(await take_in(connection, payments, await self._clock(connection)))
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            if len(payments) == 1:
                return [error]
        # One of them is refused: each by itself, so that it is no other's.
        return [found for it in payments for found in await self._taken(connection, [it])]
