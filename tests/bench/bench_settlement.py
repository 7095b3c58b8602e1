"""Not in it: meters, lines, T1. What T2 costs, from marks to postings, of a day of time of use with a
ladder by year, beside the bare insert of the same postings with the same triggers.

Run it: `PYTHONPATH=. .venv/bin/python tests/bench/bench_settlement.py [--help]`, on a server that
syncs. Each round is a day of some of the accounts: it is settled, told again (replay), and its
postings are inserted into the journal again by one COPY of columns that lie ready. CPU is that of this
process and of PostgreSQL's backend together; locks are held by that clock too, as they are on a
machine that nobody else uses."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import psycopg
import structlog

from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import PolledFreeze
from daemon.transactions.collect import collect, settle_marked
from daemon.transactions.next_days import usual_pace
from daemon.transactions.rounds import Pace
from storage import ledger
from storage.charge_posting import Charges, post_charges
from storage.settling import Days, mark_accounts
from tests.bench.bench_ingest import (
    DAY,
    TODAY,
    USE,
    ZONE,
    Bench,
    database,
    make_site,
    opened,
    verdict,
)
from tests.servers.postgres import Server, embedded_server

TARIFF: Final = {
    "effective_from": "2000-01-01",
    "energy": {
        "mode": "tou",
        "prices": {"sharp": "0.95", "peak": "0.75", "flat": "0.5283", "valley": "0.31"},
    },
    "ladder": {
        "cycle": "year",
        "method": "adder",
        "bounds_kwh": ["2160", "4200"],
        "adders": ["0", "0.05", "0.30"],
    },
}
HISTORY: Final = """
INSERT INTO link (point_id, account_id, from_day, to_day, meter_id, end_total, end_rate_1, end_rate_2, end_rate_3, end_rate_4,
                  used_total, used_rate_1, used_rate_2, used_rate_3, used_rate_4, modulus, decimals, ratio)
    SELECT s.point_id, s.point_id, s.day - 1, s.day, s.meter_id, s.total, s.total / 4, s.total / 4, s.total / 4, s.total / 4,
           {step}, {step} / 4, {step} / 4, {step} / 4, {step} / 4, 100000000, 2, 1
    FROM slot s WHERE s.day > '{first}';
INSERT INTO account_month (account_id, month, use, components, posted_fen)
    SELECT a.id, m.month::date,
           ARRAY[1, d.days, 0, 5, d.days * u, d.days * u / 4, d.days * u / 4, d.days * u / 4, d.days * u / 4], '{{}}', '{{}}'
    FROM account a, generate_series(date_trunc('month', '{first}'::date), '{last}'::date - 1, interval '1 month') m (month)
    CROSS JOIN LATERAL (SELECT least('{last}'::date, (m.month + interval '1 month')::date) - greatest('{first}'::date, m.month::date) AS days) d
    CROSS JOIN (SELECT {step} * 1000000::bigint AS u) u;
"""
"""Of each day a link, of each month what is kept of it; nothing of it was posted, which the first
day mends."""


def armed() -> Authority:
    """In shadow mode: what follows for supply is part of T2."""
    return Authority(Policy(), ZONE, shadow_mode=True, running_for=timedelta)


async def measured(server: Server, accounts: int, days: int, rounds: int) -> Bench:
    """Days of so many accounts, with so many days of history behind them."""
    with database(server, f"settling{accounts}x{days}") as url:
        make_site(url, accounts, days, is_analyzed=False)
        first = TODAY - days * DAY
        with psycopg.connect(url, autocommit=True) as connection:
            prepare(connection, first)
        bench = await opened(url, days, accounts // rounds)
        pace = usual_pace()
        for number in range(2 * rounds):
            await one_day(bench, pace, is_first=number < rounds)
        await back_fill(bench)
        show(bench)
        await sizes(bench)
        await bench.connection.close()
        return bench


def prepare(connection: psycopg.Connection[Any], first: date) -> None:
    """Accounts that are billed since the first day, by time of use with a ladder."""
    bill_all(connection, first, TARIFF)
    text = HISTORY.format(first=first, last=TODAY - DAY, step=4 * USE)
    connection.execute(text.encode())
    connection.execute(
        "UPDATE account_month SET use[1] = (SELECT number FROM tariff_version WHERE tariff_id = 'bench')"
    )
    connection.execute("ANALYZE")
    connection.execute("CHECKPOINT")


def bill_all(connection: psycopg.Connection[Any], first: date, tariff: Mapping[str, Any]) -> None:
    """All accounts are billed by a tariff since a day."""
    connection.execute("UPDATE account SET opened_on = %s, agreement = 'signed'", (first,))
    connection.execute(
        "UPDATE account SET state = 'active', tariff_id = 'bench', credit_limit_fen = 100000000"
    )
    connection.execute("UPDATE point SET residual_rate = 'flat'")
    connection.execute(
        "INSERT INTO tariff_version (tariff_id, effective_from, revision, form) "
        "VALUES ('bench', '2000-01-01', 0, %s)",
        (json.dumps(tariff),),
    )


async def one_day(bench: Bench, pace: Pace, *, is_first: bool) -> None:
    """T1 of a day of some accounts, which is not measured, and what follows for money."""
    arrivals: list[PolledFreeze] = bench.arrivals()
    accounts = len(arrivals)
    for begin in range(0, accounts, 1000):
        await collect(bench.connection, arrivals[begin : begin + 1000], ZONE, known=bench.known)
    now = datetime.now().astimezone(ZONE)
    newest = await bench.one("SELECT coalesce(max(id), 0) FROM journal")
    name = "first day, with all that was owed" if is_first else "T2"
    with bench.costs.of(name, accounts):
        await settle_marked(bench.connection, armed(), now, bench.costs.cpu_s, pace=pace)
    posted = await bench.one("SELECT count(*) FROM journal WHERE id > %s", newest)
    failed = await bench.one("SELECT min(error) FROM not_settled")
    assert (posted, failed) == (accounts, None), (posted, failed)
    day = arrivals[0].day
    ids = [arrival.meter.meter_id for arrival in arrivals]
    await mark_accounts(bench.connection, ids, Days(day, day), "readings")
    with bench.costs.of("replay", accounts):
        await settle_marked(bench.connection, armed(), now, bench.costs.cpu_s, pace=pace)
    if not is_first:
        await bare(bench, newest, accounts)


async def back_fill(bench: Bench) -> None:
    """What an outage leaves: the newest day of its meters first, then the others in its place; and
    days that come together."""
    settled = 2
    await told_and_settled(bench, [settled + 4], "a span of five days")
    await told_and_settled(bench, [settled, settled + 1], "its first two days, in its place")
    await told_and_settled(bench, [settled + 2, settled + 3], "its last days, in its place")
    days = [settled + 5 + n for n in range(5)]
    await told_and_settled(bench, days, "five days at once")


async def told_and_settled(bench: Bench, backs: Sequence[int], name: str) -> None:
    """Freezes of some meters so many days after the first one, settled together."""
    meters = bench.meters[: bench.batch]
    for back in backs:
        for begin in range(0, len(meters), 1000):
            some = bench.freezes(meters[begin : begin + 1000], back)
            await collect(bench.connection, some, ZONE, known=bench.known)
    now = datetime.now().astimezone(ZONE) + max(backs) * DAY
    with bench.costs.of(name, len(meters)):
        await settle_marked(bench.connection, armed(), now, bench.costs.cpu_s)
    failed = await bench.one("SELECT min(error) FROM not_settled")
    left = await bench.one("SELECT count(*) FROM to_settle")
    assert (failed, left) == (None, 0), (failed, left)


async def bare(bench: Bench, newest: int, accounts: int) -> None:
    """The same postings again by themselves, and taken back: columns that lie ready."""
    rows = await (
        await bench.connection.execute(
            "SELECT value_date, kind, j.accounts, j.amounts, j.streams FROM journal j WHERE id > %s ORDER BY id",
            (newest,),
        )
    ).fetchall()
    told = Charges(
        kinds=np.array([row[1] for row in rows]),
        value_dates=np.array([(row[0] - date(2000, 1, 1)).days for row in rows]),
        legs=np.array([len(row[2]) for row in rows]),
        accounts=np.concatenate([row[2] for row in rows]),
        fen=np.concatenate([row[3] for row in rows]),
        streams=np.concatenate([row[4] for row in rows]),
    )
    with bench.costs.of("bare insert of the same postings", accounts):
        async with bench.connection.transaction(force_rollback=True):
            await post_charges(bench.connection, told)


def show(bench: Bench) -> None:
    """The table, and whether the goals are met."""
    print(
        "\n| microseconds an account-day | ours | PostgreSQL | CPU | wall |\n|---|---|---|---|---|"
    )
    for name in (
        "first day, with all that was owed",
        "T2",
        "replay",
        "bare insert of the same postings",
        "a span of five days",
        "its first two days, in its place",
        "its last days, in its place",
        "five days at once",
    ):
        bench.costs.show(name)
    bench.costs.goal("T2 beside the bare insert", "T2", "bare insert of the same postings", 0.3)
    share = bench.costs.median("replay").cpu / bench.costs.median("T2").cpu
    print(f"replay: {share:.2f} of T2 (goal 0.5): {verdict(share <= 0.5)}")


async def sizes(bench: Bench) -> None:
    """Bytes on disk of tables of money, by row."""
    # The bare inserts that were taken back lie there too.
    await bench.connection.execute("VACUUM FULL journal")
    for table in ("link", "journal", "account_month"):
        size = await bench.one(f"SELECT pg_total_relation_size('{table}')")
        count = await bench.one(f"SELECT count(*) FROM {table}")
        print(f"{table}: {size / max(1, count):.0f} B a row with its indexes, {count} rows")
    found = await ledger.integrity(bench.connection)
    print({name: count for name, count in found.items() if name != "transactions"})


def main() -> None:
    """Both sides in one run."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=300)
    arguments.add_argument("--days", type=int, default=31)
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    logging.disable(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with embedded_server() as server:
        asyncio.run(measured(server, given.accounts, given.days, given.rounds))


if __name__ == "__main__":
    main()
