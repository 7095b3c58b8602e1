"""Posting charges one by one and by columns, beside a bare insert; sealing, and verifying.

Charges of three legs, by one writer and by writers side by side, each in transactions of so many.
The disk is not waited for; what is told of processors is this program's and PostgreSQL's together.

PYTHONPATH=. .venv/bin/python tests/bench/bench_ledger.py [--transactions 20000] [--writers 8]"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np
import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.transactions.sealing import audit, seal, verify
from storage import ledger, migrate, seals
from storage.binary import SINCE
from storage.charge_posting import ChargeKind, Charges, post_charges
from storage.database import DAEMON, OWNER
from storage.ledger import Leg, Transaction
from tests.bench.bench_spool import server_cpu_s
from tests.servers.postgres import Server, embedded_server

MARCH: Final = date(2026, 3, 1)
TOGETHER: Final = 1_000
"""Charges of one transaction of the database."""
ACCOUNTS: Final = 1_000
"""Of each writer."""
AUDITS: Final = 10
"""One is over before a clock of hundredths has moved."""
Writer = Callable[[AsyncConnection[Any], int, range], Awaitable[None]]


@dataclass
class Spent:
    """Seconds by the clock and of processors."""

    wall_s: float
    cpu_s: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--transactions", type=int, default=20_000)
    arguments.add_argument("--writers", type=int, default=8)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    ways: dict[str, Writer] = {
        "bare insert": bare,
        "one by one": one_by_one,
        "by columns": by_columns,
    }
    with embedded_server() as server:
        for writers in (1, given.writers):
            for number, (way, writer) in enumerate(ways.items()):
                url = made(server, f"ledger_{writers}_{number}")
                # Accounts, streams and what connections learn come first.
                measured(server, posted(url, writer, TOGETHER * writers, writers))
                before = size(url)
                spent = measured(server, posted(url, writer, given.transactions, writers))
                each_us = 1e6 * spent.cpu_s / given.transactions
                bytes_each = (size(url) - before) / given.transactions
                print(
                    f"{writers} writers, {way}: {3 * given.transactions / spent.wall_s:.0f} legs/s, "
                    f"{each_us:.1f} us and {bytes_each:.0f} B a transaction",
                    flush=True,
                )
        sealed(server, url, each_us)


def made(server: Server, name: str) -> str:
    """A database with the schema."""
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    with psycopg.connect(server.url(name, OWNER), autocommit=True) as connection:
        connection.execute("CREATE TABLE bare (LIKE journal INCLUDING DEFAULTS INCLUDING INDEXES)")
        connection.execute(f"GRANT INSERT ON bare TO {DAEMON}")
    return server.url(name, DAEMON)


def size(url: str) -> int:
    """Bytes of transactions with their indexes."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT pg_total_relation_size('journal') + pg_total_relation_size('bare')"
        ).fetchone()
    assert row is not None
    return int(row[0])


def measured(server: Server, work: Awaitable[None]) -> Spent:
    async def run() -> None:
        await work

    cpu, wall = server_cpu_s(server) + time.process_time(), time.perf_counter()
    asyncio.run(run())
    return Spent(time.perf_counter() - wall, server_cpu_s(server) + time.process_time() - cpu)


async def posted(url: str, writer: Writer, transactions: int, writers: int) -> None:
    each = transactions // writers

    async def write(number: int) -> None:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            for first in range(0, each, TOGETHER):
                async with connection.transaction():
                    await writer(connection, number, range(first, min(first + TOGETHER, each)))

    await asyncio.gather(*map(write, range(writers)))


async def bare(connection: AsyncConnection[Any], writer: int, numbers: range) -> None:
    """The rows alone with their indexes, made by PostgreSQL: no check, no balance."""
    await connection.execute(
        "INSERT INTO bare (value_date, kind, account, leg_accounts, leg_amounts, leg_streams) "
        "SELECT %s::date, 1, n, ARRAY[n, -1, -2], ARRAY[-100, 99, 1], ARRAY[1, 1, 2] "
        "FROM generate_series(%s::int, %s::int) n",
        (MARCH, 1 + writer * ACCOUNTS, writer * ACCOUNTS + len(numbers)),
    )


async def one_by_one(connection: AsyncConnection[Any], writer: int, numbers: range) -> None:
    """Each with a key and what it stands for, as others than settlement post."""
    began = time.perf_counter_ns()
    await ledger.post(connection, [charge(writer, number, began) for number in numbers])


def charge(writer: int, number: int, began: int) -> Transaction:
    legs = (
        Leg(customer(writer, number), -100, MARCH, "energy"),
        Leg("revenue:energy", 99, MARCH, "energy"),
        Leg("payable:surcharge:fund", 1, MARCH, "fund"),
    )
    content = {"account": f"{writer}-{number % ACCOUNTS}"}
    return Transaction(f"{began}-{writer}-{number}", "charge", content, legs, "role:bench")


def customer(writer: int, number: int) -> str:
    return f"customer:{writer}-{number % ACCOUNTS}:prepaid"


async def by_columns(connection: AsyncConnection[Any], writer: int, numbers: range) -> None:
    """As settlement posts, its look at the accounts' numbers included."""
    names = [customer(writer, number) for number in numbers]
    others = ("revenue:energy", "payable:surcharge:fund")
    found = await ledger.ledger_accounts(connection, {*names, *others})
    streams = await ledger.posting_streams(connection, [(MARCH, "energy"), (MARCH, "fund")])
    accounts = np.empty((len(numbers), 3), dtype=np.int64)
    accounts[:, 0] = [found[name] for name in names]
    accounts[:, 1:] = [found[name] for name in others]
    months = [streams[MARCH, of] for of in ("energy", "energy", "fund")]
    charges = Charges(
        kinds=np.full(len(numbers), ChargeKind.CHARGE, dtype=np.int64),
        value_dates=np.full(len(numbers), (MARCH - SINCE).days, dtype=np.int64),
        legs=np.full(len(numbers), 3, dtype=np.int64),
        accounts=accounts.ravel(),
        fen=np.tile(np.array([-100, 99, 1], dtype=np.int64), len(numbers)),
        streams=np.tile(np.array(months, dtype=np.int64), len(numbers)),
    )
    await post_charges(connection, charges)


def sealed(server: Server, url: str, posting_us: float) -> None:
    """Sealing and verifying what the last way posted."""
    places = 0
    began = datetime.now(UTC)

    async def sealing() -> None:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            await seal(connection, datetime.now(UTC))
            assert await seals.unsealed(connection) == 0

    async def verifying() -> None:
        nonlocal places
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            # From a block on: without a look at every balance.
            found = await verify(connection, 2)
        assert found.fault is None
        places = found.places

    async def auditing() -> None:
        async with await AsyncConnection.connect(url, autocommit=True) as connection:
            for _ in range(AUDITS):
                found = await audit(connection, None, began)
                assert found is not None
                assert found.fault is None

    sealing_s = measured(server, sealing()).cpu_s
    verifying_s = measured(server, verifying()).cpu_s
    audits_s = measured(server, auditing()).cpu_s
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM journal").fetchone()
    assert row is not None
    seal_us, verify_us = 1e6 * sealing_s / row[0], 1e6 * verifying_s / places
    audit_us = 1e6 * audits_s / AUDITS / row[0]
    print(
        f"sealing {row[0]} transactions: {seal_us:.1f} us each, {seal_us / posting_us:.2f} of posting"
    )
    print(f"verifying them: {verify_us:.1f} us each, {verify_us / posting_us:.2f} of posting")
    print(
        f"auditing them: {audit_us:.2f} us each, {audit_us / posting_us:.3f} of posting (goal 0.02)"
    )


if __name__ == "__main__":
    main()
