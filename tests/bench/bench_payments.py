"""Payments that come at the same time, beside one at a time by pgbench; a payment beside a settlement.

pgbench posts what one payment needs with prepared statements, each payment in a transaction of its
own: the account, its lock, the journal with all its triggers, the balance. Ours does the rest too:
credit state, arrears, supply. The disk is not waited for.

PYTHONPATH=. .venv/bin/python tests/bench/bench_payments.py [--accounts 2000] [--clients 16]"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psycopg
import structlog

from daemon.api.payment_queue import PaymentQueue
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.payment import Payment
from daemon.transactions.right_of_way import RightOfWay
from storage import migrate
from storage.database import DAEMON, OWNER, Pool
from tests.bench.bench_spool import server_cpu_s
from tests.database.small_site import ARMED, DAY, OPEN, Site, at_now, connect, freeze
from tests.servers.postgres import Server, embedded_server
from tests.servers.timescaledb import wheel_installation

SECONDS: Final = 3
DAYS: Final = 8
PGBENCH_OF: Final = 16
"""The major version of PostgreSQL whose pgbench it is."""
# pgbench takes `:name` for a variable within quotes too.
ONE_AT_A_TIME: Final = """
\\set n random(1, {accounts})
BEGIN;
SELECT id AS account FROM account WHERE number = 'A' || :n::int \\gset
SELECT id FROM account WHERE id = :account FOR NO KEY UPDATE;
SELECT id AS prepaid FROM ledger_account WHERE name = replace('customer/A' || :n::int || '/prepaid', '/', ':') \\gset
INSERT INTO journal (value_date, kind, account, other_account, fen, actor, key, channel, content)
VALUES (current_date, 11, :prepaid, {clearing}, 100, replace('role/channel', '/', ':'),
        replace('pay/bench/' || :client_id::int || '-' || nextval('bench_key'), '/', ':'), 'bench', jsonb_build_object('account', 'A' || :n::int));
SELECT balance_fen FROM ledger_account WHERE id = :prepaid;
COMMIT;
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=2_000)
    arguments.add_argument("--clients", type=int, default=16)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with embedded_server() as server:
        url = made(server, "payments")
        asyncio.run(opened(url, given.accounts))
        for run in range(2):
            with measured(server) as alone:
                alone.payments = one_at_a_time(server, url, given.accounts, given.clients)
            with measured(server) as together:
                together.payments = asyncio.run(at_once(url, given.accounts, given.clients, run))
            print(f"{given.clients} clients: pgbench {alone}, together {together}", flush=True)
            print(f"  {alone.cpu_us / together.cpu_us:.1f} times less of processors", flush=True)
        url = made(server, "beside")
        waits = asyncio.run(beside_settlement(url, given.accounts))
        show = [f"{1000 * waits[len(waits) * part // 100]:.0f}" for part in (50, 95, 99)]
        print(f"{len(waits)} payments beside a settlement: p50 p95 p99 {' '.join(show)} ms")


@dataclass
class Spent:
    """What payments cost all processors, and how many a second there were of them."""

    payments: int = 0
    cpu_s: float = 0.0

    @property
    def cpu_us(self) -> float:
        """Of one payment."""
        return 1e6 * self.cpu_s / self.payments

    def __str__(self) -> str:
        return f"{self.payments / SECONDS:.0f}/s {self.cpu_us:.0f} us"


@contextmanager
def measured(server: Server) -> Iterator[Spent]:
    """Of the server, of this program and of those that it starts."""

    def now() -> float:
        own = os.times()
        return server_cpu_s(server) + sum(own[:4])

    spent = Spent()
    began = now()
    yield spent
    spent.cpu_s = now() - began


def made(server: Server, name: str) -> str:
    """An empty database with the schema."""
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    return server.url(name, DAEMON)


async def opened(url: str, accounts: int) -> None:
    """Accounts that have paid once, so that all of them have a balance."""
    async with await connect(url) as connection:
        await Site.of(accounts).take_over(connection)
    async with Pool(url, most=2) as pool:
        queue = PaymentQueue(pool, at_now, RightOfWay())
        first = (Payment(f"A{n}", 100, "bench", f"first-{n}") for n in range(1, accounts + 1))
        await asyncio.gather(*map(queue.take_in, first))


def one_at_a_time(server: Server, url: str, accounts: int, clients: int) -> int:
    """Payments of pgbench."""
    with psycopg.connect(server.url("payments", "postgres"), autocommit=True) as connection:
        connection.execute("CREATE SEQUENCE IF NOT EXISTS bench_key")
        connection.execute(f"GRANT USAGE ON SEQUENCE bench_key TO {DAEMON}")
        row = connection.execute("SELECT id FROM ledger_account WHERE name = 'clearing:bench'")
        clearing = row.fetchall()[0][0]
    with TemporaryDirectory() as folder:
        script = Path(folder, "payment.sql")
        script.write_text(ONE_AT_A_TIME.format(accounts=accounts, clearing=clearing))
        pgbench = wheel_installation(PGBENCH_OF) / "bin/pgbench"
        command = [str(pgbench), "-n", "-M", "prepared", "-f", str(script)]
        command += ["-c", str(clients), "-j", "2", "-T", str(SECONDS), url]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = re.search(r"transactions actually processed: ([0-9]+)", told)
    assert found is not None, told
    return int(found[1])


async def at_once(url: str, accounts: int, clients: int, run: int) -> int:
    """Payments of clients each of which waits for its answer."""
    async with Pool(url, most=4) as pool:
        queue = PaymentQueue(pool, at_now, RightOfWay())
        ends = time.perf_counter() + SECONDS

        async def client(number: int) -> int:
            chance = random.Random(number)
            done = 0
            while time.perf_counter() < ends:
                account = f"A{chance.randint(1, accounts)}"
                await queue.take_in(Payment(account, 100, "bench", f"{run}-{number}-{done}"))
                done += 1
            return done

        counts = await asyncio.gather(*map(client, range(clients)))
    return sum(counts)


async def beside_settlement(url: str, accounts: int) -> list[float]:
    """Seconds that each payment took while all accounts were settled, in order of length."""
    async with await connect(url) as connection, Pool(url, most=4) as pool:
        meters = await Site.of(accounts).take_over(connection)
        right_of_way = RightOfWay()
        queue = PaymentQueue(pool, at_now, right_of_way)
        waits: list[float] = []
        for day in range(DAYS):
            told = [freeze(meter, OPEN + day * DAY, 10 * day) for meter in meters.values()]
            await collect(connection, told, ARMED.zone)
        settling = asyncio.create_task(
            settle_marked(connection, ARMED, datetime.now(UTC), give_way=right_of_way.given)
        )
        chance = random.Random(1)
        while not settling.done():
            began = time.perf_counter()
            account = f"A{chance.randint(1, accounts)}"
            await queue.take_in(Payment(account, 100, "bench", f"{len(waits)}"))
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
        await settling
    return sorted(waits)


if __name__ == "__main__":
    main()
