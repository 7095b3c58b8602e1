"""Posting with and without a row that every charge updates, sealing, and verifying.

Charges of three legs, in transactions of so many, by writers side by side; the disk is not waited
for, so what is told is processors and locks.

PYTHONPATH=. .venv/bin/python tests/bench/bench_ledger.py [--transactions 20000] [--writers 8]"""

from __future__ import annotations

import argparse
import asyncio
import time
from datetime import UTC, date, datetime
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.transactions.sealing import seal, verify
from storage import ledger, migrate, seals
from storage.database import DAEMON, OWNER
from storage.ledger import Leg, Transaction
from tests.servers.postgres import Server, embedded_server

MARCH: Final = date(2026, 3, 1)
TOGETHER: Final = 50
"""Charges of one transaction of the database: a payment waits for so many."""
BESIDE_S: Final = 0.05


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--transactions", type=int, default=20_000)
    arguments.add_argument("--writers", type=int, default=8)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with embedded_server() as server:
        for name, is_hot in (("hot", True), ("derived", False)):
            url = made(server, name, is_hot=is_hot)
            took_s = asyncio.run(posted(url, given.transactions, given.writers))
            legs = 3 * given.transactions
            print(
                f"{name} revenue: {legs / took_s:.0f} legs/s, {given.writers} writers", flush=True
            )
        asyncio.run(sealed(url))


def made(server: Server, name: str, *, is_hot: bool) -> str:
    """A database with the schema; `is_hot`: revenue keeps its balance in its row."""
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    if is_hot:
        with psycopg.connect(server.url(name, OWNER), autocommit=True) as connection:
            connection.execute("UPDATE chart_of_accounts SET keeps_balance = true")
    return server.url(name, DAEMON)


async def posted(url: str, transactions: int, writers: int) -> float:
    """Seconds that the writers took."""
    each = transactions // writers
    began = time.perf_counter()
    await asyncio.gather(*(writer(url, number, each) for number in range(writers)))
    return time.perf_counter() - began


async def writer(url: str, number: int, count: int) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        for first in range(0, count, TOGETHER):
            charges = [charge(number, n) for n in range(first, min(first + TOGETHER, count))]
            async with connection.transaction():
                await ledger.post(connection, charges)
                # What a settlement does besides, with its locks held.
                await connection.execute("SELECT pg_sleep(%s)", (BESIDE_S,))


def charge(writer: int, number: int) -> Transaction:
    legs = (
        Leg(f"customer:{writer}-{number % 1000}:prepaid", -100, MARCH, "energy"),
        Leg("revenue:energy", 99, MARCH, "energy"),
        Leg("payable:surcharge:fund", 1, MARCH, "fund"),
    )
    content = {"account": f"{writer}-{number % 1000}", "links": [number]}
    return Transaction(f"chg:{writer}:{number}", "charge", content, legs, "daemon:settlement")


async def sealed(url: str) -> None:
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        blocks, seal_s = await timed(seal(connection, datetime.now(UTC)))
        whole, whole_s = await timed(verify(connection))
        assert whole.fault is None
        assert await seals.unsealed(connection) == 0
        last, last_s = await timed(verify(connection, whole.last))
        each_us = 1e6 * seal_s / whole.transactions
        print(f"sealing {whole.transactions} transactions, {blocks} blocks: {each_us:.0f} us each")
        print(f"verifying {whole.transactions} transactions: {whole_s:.2f} s")
        print(f"the last block alone, {last.transactions} of them: {last_s * 1000:.0f} ms")
        _, view_s = await timed(ledger.sum_of_balances(connection))
        print(f"the sum of all balances: {view_s * 1000:.1f} ms")


async def timed(work: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    done = await work
    return done, time.perf_counter() - began


if __name__ == "__main__":
    main()
