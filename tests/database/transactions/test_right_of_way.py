"""A payment goes before the next accounts that are settled."""

import asyncio

from psycopg import AsyncConnection

from daemon.api.payment_queue import PaymentQueue
from daemon.transactions.collect import LEAST_ACCOUNTS, collect, settle_marked
from daemon.transactions.payment import Payment
from daemon.transactions.right_of_way import RightOfWay
from storage.database import Pool
from tests.database.small_site import ARMED, DAY, NOW, OPEN, Site, at_now, freeze, on, rows

ACCOUNTS = 70
"""Settled in two transactions."""
WHO = "SELECT kind FROM ledger_transaction ORDER BY id"


def test_a_payment_goes_before_the_next_accounts(database_url: str) -> None:
    """It comes when the first accounts are settled, and the others wait for it."""

    async def story(connection: AsyncConnection[object]) -> None:
        found = await Site.of(ACCOUNTS).take_over(connection)
        for day in (0, 1):
            told = [freeze(meter, OPEN + day * DAY, 100 + 10 * day) for meter in found.values()]
            await collect(connection, told, ARMED.zone)
        way = RightOfWay()
        asked: list[asyncio.Task[object]] = []
        async with Pool(database_url, most=2) as pool:
            queue = PaymentQueue(pool, at_now, way)

            async def give_way() -> None:
                if not asked and "charge" in await rows(connection, WHO):
                    asked.append(asyncio.create_task(queue.take_in(payment())))
                    await asyncio.sleep(0)  # it claims its way
                    await way.given()

            await settle_marked(connection, ARMED, NOW, give_way=give_way)
            await asked[0]
        kinds = await rows(connection, WHO)
        assert kinds.count("charge") == ACCOUNTS
        assert LEAST_ACCOUNTS <= kinds.index("top_up") < ACCOUNTS

    on(database_url, story)


def payment() -> Payment:
    return Payment("A1", 100, "counter", "1")
