"""Payments that come at the same time are posted in one transaction, each with its own answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.api.payment_queue import PaymentQueue
from daemon.transactions.payment import Payment, TopUp, take_in
from daemon.transactions.right_of_way import RightOfWay
from storage.database import Pool
from storage.ledger import KeyReused, Outcome
from tests.database.small_site import (
    DAY,
    NOW,
    OPEN,
    Site,
    at_now,
    balance,
    connect,
    freeze,
    intact,
    on,
    pay,
    rows,
    store,
)


def payment(account: str, fen: int, reference: str) -> Payment:
    return Payment(account, fen, "counter", reference)


@asynccontextmanager
async def queue(database_url: str) -> AsyncIterator[PaymentQueue]:
    async with Pool(database_url, most=2) as pool:
        yield PaymentQueue(pool, at_now, RightOfWay())


@asynccontextmanager
async def locked(database_url: str, account: str) -> AsyncIterator[None]:
    """As one who settles it holds it."""
    async with await connect(database_url) as other, other.transaction():
        await other.execute("SELECT FROM account WHERE number = %s FOR NO KEY UPDATE", (account,))
        yield


async def waiting(connection: AsyncConnection[Any]) -> None:
    """Until somebody waits for a lock."""
    question = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await rows(connection, question) == [0]:
        pass


def test_each_has_its_own_answer(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(3).take_over(connection)
        await pay(connection, "A3", 70, "old")
        told = [
            payment("A1", 100, "1"),
            payment("A2", 200, "2"),
            payment("A9", 900, "3"),
            payment("A1", 100, "1"),
            payment("A2", 201, "2"),
            payment("A1", 50, "4"),
            payment("A3", 70, "old"),
        ]
        taken = await take_in(connection, told, NOW)
        shown = [
            (it.outcome, it.balance_fen) if isinstance(it, TopUp) else type(it) for it in taken
        ]
        assert shown == [
            (Outcome.POSTED, 150),
            (Outcome.POSTED, 200),
            type(None),
            (Outcome.ALREADY_POSTED, 150),
            KeyReused,
            (Outcome.POSTED, 150),
            (Outcome.ALREADY_POSTED, 70),
        ]
        assert await intact(connection)

    on(database_url, story)


@pytest.mark.hypertables
def test_each_restores_its_own_account_for_its_own_reason(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(2).take_over(connection)
        for meter in meters.values():
            await store(connection, freeze(meter, OPEN, "0"), freeze(meter, OPEN + DAY, "90"))
        await connection.execute("UPDATE point_supply SET supply_state = 'disconnected'")
        told = [payment("A1", 5_000, "1"), payment("A2", 4_400, "2")]
        first, second = await take_in(connection, told, NOW)
        assert isinstance(first, TopUp)
        assert isinstance(second, TopUp)
        assert (len(first.commands), first.missing_fen) == (1, 0)
        assert (len(second.commands), second.missing_fen) == (0, 100)
        assert await rows(connection, "SELECT cause FROM command WHERE action <> 'trip'") == [
            "payment pay:counter:1"
        ]

    on(database_url, story)


def test_what_waits_is_posted_together(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(20).take_over(connection)
        async with queue(database_url) as payments:
            async with locked(database_url, "A1"):
                first = asyncio.create_task(payments.take_in(payment("A1", 1, "first")))
                await waiting(connection)
                others = [
                    asyncio.create_task(payments.take_in(payment(f"A{n}", n, f"{n}")))
                    for n in range(1, 21)
                ]
                await asyncio.sleep(0)
            done = await asyncio.gather(first, *others)
        assert [it and it.balance_fen for it in done] == [1, 2, *range(2, 21)]
        assert await rows(connection, "SELECT count(DISTINCT xmin::text) FROM journal") == [2]
        assert await intact(connection)

    on(database_url, story)


def test_one_that_cannot_be_posted_keeps_no_other_from_being_so(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(3).take_over(connection)
        async with queue(database_url) as payments:
            told = [payment("A1", 1, "1"), payment("A2", 2**63, "2"), payment("A3", 3, "3")]
            done = await asyncio.gather(
                *(payments.take_in(it) for it in told), return_exceptions=True
            )
            reused = payments.take_in(payment("A1", 9, "1"))
            with pytest.raises(KeyReused):
                await reused
            assert await payments.take_in(payment("A9", 9, "9")) is None
        assert isinstance(done[1], psycopg.DataError)
        assert [await balance(connection, f"A{n}") for n in (1, 2, 3)] == [1, 0, 3]

    on(database_url, story)


def test_whoever_hangs_up_takes_no_other_payment_along(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(3).take_over(connection)
        async with queue(database_url) as payments:
            async with locked(database_url, "A2"):
                async with locked(database_url, "A1"):
                    first = asyncio.create_task(payments.take_in(payment("A1", 1, "first")))
                    await waiting(connection)
                    poster, *others = [
                        asyncio.create_task(payments.take_in(payment(f"A{n}", n, f"{n}")))
                        for n in (1, 2, 3)
                    ]
                    await asyncio.sleep(0)
                await first
                # Now the next one posts for all three, and is cancelled meanwhile.
                await waiting(connection)
                poster.cancel()
            done = await asyncio.gather(*others)
            assert [it and it.balance_fen for it in done] == [2, 3]
            with pytest.raises(asyncio.CancelledError):
                await poster
        assert await balance(connection, "A1") == 1
        assert await intact(connection)

    on(database_url, story)


def test_a_database_that_is_away_is_told_and_the_payment_can_be_told_again(
    database_url: str,
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        async with queue(database_url) as payments:
            async with locked(database_url, "A1"):
                first = asyncio.create_task(payments.take_in(payment("A1", 1, "1")))
                await waiting(connection)
                await connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
                with pytest.raises(psycopg.OperationalError):
                    await first
            again = await payments.take_in(payment("A1", 1, "1"))
        assert again is not None
        assert again.outcome is Outcome.POSTED

    on(database_url, story)
