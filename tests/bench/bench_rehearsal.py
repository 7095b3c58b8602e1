"""A tariff is rehearsed over accounts with a year behind them: time of use with a ladder by year, whose
prices change from the first of the months on.

PYTHONPATH=. .venv/bin/python tests/bench/bench_rehearsal.py [--accounts 1000] [--months 12]"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Final

import psycopg

from config.tariff_form import read_version
from config.tariff_version import Versions
from daemon.billing.rehearsal import Summary, first_month
from daemon.transactions.rehearsal import Rehearsal, rehearse, tried_tariffs
from tests.bench.bench_ingest import DAY, TODAY, ZONE, database, make_site, verdict
from tests.bench.bench_settlement import TARIFF, prepare
from tests.bench.bench_spool import server_cpu_s
from tests.database.small_site import connect
from tests.servers.postgres import Server, embedded_server

MOST_S: Final = 600
"""Of 10,000 accounts over twelve months (limits, G)."""
OF_ACCOUNTS: Final = 10_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=1000)
    arguments.add_argument("--months", type=int, default=12)
    given = arguments.parse_args()
    # Of today nothing is billed yet, which on the first of a month is all of it.
    since = first_month(TODAY - DAY, given.months)
    days = (TODAY - since).days + 1
    with embedded_server() as server, database(server, "rehearsal") as url:
        make_site(url, given.accounts, days, is_analyzed=False)
        with psycopg.connect(url, autocommit=True) as connection:
            prepare(connection, TODAY - days * DAY)
        asyncio.run(measured(server, url, since, given.accounts, given.months))


async def measured(server: Server, url: str, since: date, accounts: int, months: int) -> None:
    counting, mistakes = read_version(json.loads(json.dumps(TARIFF)), "bench")
    assert counting is not None, mistakes
    dearer = {rate: price + Decimal("0.01") for rate, price in counting.energy.items()}
    new = Versions((replace(counting, effective_from=since, energy=dearer),))
    summary = Summary()
    async with await connect(url) as connection:
        database_s = server_cpu_s(server)
        began_s, cpu_s = time.perf_counter(), time.process_time()
        tried = await tried_tariffs(connection, {"bench": new}, None)
        wanted = Rehearsal({"bench": tried["bench"].tariff}, since)
        async for portion in rehearse(connection, wanted, ZONE, TODAY):
            assert not portion.held, portion.held
            assert not portion.unpriced, portion.unpriced
            for account, told in portion.bills.items():
                summary.add(account, told)
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        database_s = server_cpu_s(server) - database_s
    assert summary.paying_more == accounts, summary.quantiles()
    assert len(summary.months) == months, sorted(summary.months)
    of_all_s = took_s * OF_ACCOUNTS / accounts
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"{accounts} accounts, {months} months: {took_s:.1f} s; "
        f"of processors ours {cpu_s:.1f} s, PostgreSQL {database_s:.1f} s"
    )
    print(f"most memory: {memory} MB")
    print(f"{OF_ACCOUNTS} accounts: {of_all_s:.0f} s (goal {MOST_S}): {verdict(of_all_s < MOST_S)}")


if __name__ == "__main__":
    main()
