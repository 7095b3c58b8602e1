"""Not in it: meters, lines, time. What a billed slot takes on disk, by table, index and column.

Run it: `PYTHONPATH=. .venv/bin/python tests/bench/bench_bytes.py [--help]`. Days come one after the
other to all accounts, in another order each day, through T1, T2 and the seal, as in the daemon;
once a day all is vacuumed, as autovacuum does it with tables of which so much was updated. Of a
table itself its columns are shown, and as `rows` all that is not in them: the header of each row and
its place in the page, what aligns columns, and room that is free."""

from __future__ import annotations

import argparse
import asyncio
import logging
from datetime import datetime, time
from random import Random
from typing import Any, Final

import psycopg
import structlog

from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.next_days import usual_pace
from daemon.transactions.sealing import seal
from tests.bench.bench_ingest import DAY, TODAY, ZONE, database, make_site, opened, verdict
from tests.bench.bench_settlement import TARIFF, armed, bill_all
from tests.servers.postgres import Server, embedded_server

BATCH: Final = 1000
OF_A_READING: Final = ("reading", "slot", "link")
TABLES: Final = (
    *OF_A_READING,
    "journal",
    "account_month",
    "to_settle",
    "sealed_block",
    "sealed_balance",
)
MOST_BYTES_OF_A_READING: Final = 250
MOST_BYTES: Final = 500
FLAT: Final = {
    "effective_from": "2000-01-01",
    "energy": {"mode": "flat", "price": "0.5283"},
    "ladder": TARIFF["ladder"],
}
SIZES: Final = """
WITH part AS (
    SELECT relid FROM pg_partition_tree('{table}') WHERE isleaf
    UNION ALL SELECT '{table}'::regclass WHERE NOT EXISTS (SELECT FROM pg_partition_tree('{table}'))
), piece AS (
    SELECT '{table}' AS name, pg_table_size(relid) AS bytes FROM part
    UNION ALL
    SELECT coalesce(parent.relname, own.relname), pg_relation_size(i.indexrelid)
    FROM part JOIN pg_index i ON i.indrelid = part.relid
    JOIN pg_class own ON own.oid = i.indexrelid
    LEFT JOIN pg_inherits h ON h.inhrelid = i.indexrelid
    LEFT JOIN pg_class parent ON parent.oid = h.inhparent
)
SELECT name, sum(bytes)::bigint FROM piece GROUP BY 1
"""
"""Of the table itself and of each of its indexes."""
COLUMNS: Final = "SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"


async def billed(server: Server, accounts: int, days: int, registers: int) -> None:
    """Bill all of it day by day, and say what it takes."""
    name = f"bytes{accounts}x{days}x{registers}"
    with database(server, name) as url:
        first = TODAY - days * DAY
        make_site(url, accounts, days, is_analyzed=False, is_owed=True)
        with psycopg.connect(url, autocommit=True) as connection:
            bill_all(connection, first, TARIFF if registers > 1 else FLAT)
        bench = await opened(url, days, BATCH)
        pace = usual_pace()
        order = Random(1)
        for back in range(-days, 0):
            meters = list(bench.meters)
            order.shuffle(meters)
            for begin in range(0, accounts, BATCH):
                some = bench.freezes(meters[begin : begin + BATCH], back)
                some = [it._replace(registers=it.registers[:registers]) for it in some]
                await collect(bench.connection, some, ZONE, known=bench.known)
            now = datetime.combine(TODAY + back * DAY, time(1), ZONE)
            await settle_marked(bench.connection, armed(), now, pace=pace)
            await seal(bench.connection, now)
            await bench.connection.execute("VACUUM")
        failed = await bench.one("SELECT min(error) FROM not_settled")
        links = await bench.one("SELECT count(*) FROM link WHERE billed_by IS NOT NULL")
        assert (failed, links) == (None, accounts * (days - 1)), (failed, links)
        print(f"\n{accounts} accounts x {days} days, registers: {registers}; B a billed slot\n")
        print("| | B | |\n|---|---:|---|")
        # The reading of the first day opens the account: nothing is billed with it.
        slots = dict.fromkeys(("reading", "slot"), accounts * days)
        sizes = {it: await shown(bench.connection, it, slots.get(it, links)) for it in TABLES}
        await bench.connection.close()
    linked = sum(sizes[table] for table in OF_A_READING)
    every = sum(sizes.values())
    print(
        f"reading, slot and link {linked:.0f} B (goal {MOST_BYTES_OF_A_READING}): "
        f"{verdict(linked <= MOST_BYTES_OF_A_READING)}; all {every:.0f} B (goal {MOST_BYTES}): "
        f"{verdict(every <= MOST_BYTES)}"
    )


async def shown(connection: psycopg.AsyncConnection[Any], table: str, slots: int) -> float:
    """Print what a table and its indexes take by billed slot; returns the sum."""
    found = await connection.execute(SIZES.format(table=table).encode())
    sizes = {name: bytes_ / slots for name, bytes_ in await found.fetchall()}
    found = await connection.execute(COLUMNS.format(table=table).encode())
    names = [name for (name,) in await found.fetchall()]
    sums = ", ".join(f"coalesce(sum(pg_column_size({name})), 0)" for name in names)
    found = await connection.execute(f"SELECT {sums} FROM {table}".encode())
    row = await found.fetchone()
    assert row is not None
    columns = {name: float(sum_) / slots for name, sum_ in zip(names, row, strict=True)}
    told = [f"{name} {size:.1f}" for name, size in columns.items() if size >= 0.05]
    total: float = sum(sizes.values())
    rest = sizes[table] - sum(columns.values())
    print(f"| {table} | {sizes.pop(table):.1f} | rows {rest:.1f}; {', '.join(told)} |")
    for name, size in sorted(sizes.items()):
        print(f"| … {name} | {size:.1f} | |")
    return total


def main() -> None:
    """Both kinds of meters."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=4000)
    arguments.add_argument("--days", type=int, default=30)
    arguments.add_argument("--registers", type=int, nargs="*", default=[5, 1])
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with embedded_server() as server:
        for registers in given.registers:
            asyncio.run(billed(server, given.accounts, given.days, registers))


if __name__ == "__main__":
    main()
