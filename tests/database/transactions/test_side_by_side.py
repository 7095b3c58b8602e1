"""All who write, at the same time on the same rows: none is chosen by the server to give way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import pytest
from psycopg import AsyncConnection

from daemon.transactions import decisions
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.documents.desk import DocumentRefused
from daemon.transactions.documents.filing import approve, file_document
from daemon.transactions.documents.ratio_change import RatioChange
from daemon.transactions.sweep import sweep
from storage import archive
from storage.documents import Said
from tests.database.small_site import (
    ARMED,
    DAY,
    NOW,
    OPEN,
    ZONE,
    Site,
    account_row,
    connect,
    freeze,
    intact,
    meters,
    on,
    pay,
    rows,
)

POINTS = 12
ROUNDS = 15

Work = Callable[[AsyncConnection[Any], int], Awaitable[object]]
"""What a writer does in a round."""


async def read(connection: AsyncConnection[Any], n: int) -> None:
    found = await meters(connection)
    # In no order of the points: the locks have to be in one all the same.
    batch = [freeze(meter, OPEN + n * DAY, 100 + 9 * n) for meter in reversed(found.values())]
    await collect(connection, batch, ZONE)


async def settle(connection: AsyncConnection[Any], n: int) -> None:
    await settle_marked(connection, ARMED, NOW + n * timedelta(minutes=10))


async def pay_all(connection: AsyncConnection[Any], n: int) -> None:
    for number in range(POINTS, 0, -1):
        await pay(connection, f"A{number}", 100, f"{number}/{n}")


async def change_the_files(connection: AsyncConnection[Any], n: int) -> None:
    site = Site.of(POINTS, max_daily_kwh=Decimal(380 + n), area=f"area {n}")
    async with connection.transaction():
        await archive.take_over(connection, site.rows(), NOW)


async def import_accounts(connection: AsyncConnection[Any], n: int) -> None:
    site = Site.of(POINTS, warn_fen=4000 + n)
    await archive.import_accounts(connection, [account_row(row) for row in site.accounts], "Li")


async def change_ratios(connection: AsyncConnection[Any], n: int) -> None:
    document = RatioChange(f"P{n % POINTS + 1}", OPEN + 40 * DAY, Decimal(2 + n), None)
    with suppress(DocumentRefused):
        filed = await file_document(connection, document, Said("Li", "because"), NOW)
        if filed.number is not None and filed.state == "waits":
            await approve(connection, filed.number, Said("Wang", "seen"), NOW)


async def decide(connection: AsyncConnection[Any], n: int) -> None:
    order = decisions.Order(
        f"P{n % POINTS + 1}", OPEN + DAY, "withdraw", "Li", f"round {n}", Decimal(109)
    )
    with suppress(decisions.DecisionRefused):
        await decisions.decide(connection, order)


async def look(connection: AsyncConnection[Any], n: int) -> None:
    await sweep(connection, ARMED, NOW + n * timedelta(minutes=10))


WRITERS: Final[tuple[Work, ...]] = (
    read,
    settle,
    settle,
    pay_all,
    change_the_files,
    import_accounts,
    change_ratios,
    decide,
    look,
)


@pytest.mark.timeout(300)
def test_whoever_writes_at_the_same_time_none_has_to_give_way(database_url: str) -> None:
    async def work(do: Work) -> None:
        async with await connect(database_url) as connection:
            for n in range(ROUNDS):
                await do(connection, n)

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(POINTS).take_over(connection)
        async with asyncio.TaskGroup() as group:
            for do in WRITERS:
                group.create_task(work(do))
        await settle(connection, ROUNDS)
        assert await rows(connection, "SELECT error FROM not_settled") == []
        assert await intact(connection)
        assert await rows(connection, "SELECT count(*) FROM link") != [0]
        told = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await rows(connection, told) == [0]

    on(database_url, story)
