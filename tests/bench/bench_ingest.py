"""Not in it: meters, lines, the queue, the spool, money. What T1 costs, from what lines hand on to
published slots and marks, beside plain COPY of the same rows.

Run it: `PYTHONPATH=. .venv/bin/python tests/bench/bench_ingest.py [--help]`, on a server that syncs.
Both sides of a ratio take turns in one run; a figure is the median of its rounds. CPU is that of
this process and of PostgreSQL's backend together: where others use the machine, it says more than
the wall clock."""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg import AsyncConnection

from daemon.quality.arrival import PolledFreeze
from daemon.runtime.garbage import spare_what_is_there
from daemon.transactions.collect import collect, raw_reading
from daemon.transactions.known_tails import KnownTails
from storage import judging, migrate, readings
from storage.archive import SiteMeter, site_meters
from storage.database import connect
from storage.judging import NewSlot
from storage.readings import RawReading
from tests.servers.postgres import Server, embedded_server, timescale_server

ZONE: Final = ZoneInfo("Asia/Shanghai")
TODAY: Final = datetime.now(ZONE).date()
DAY: Final = timedelta(days=1)
RATES: Final = 4
USE: Final = 175
"""Hundredths of a kWh that every rate of every point advances by in a day."""
MOST_BYTES: Final = 250
MOST_TIMES: Final = 1.2
LONG_DAYS: Final = 365
SIZE_POINTS: Final = 2000
SIZE_DAYS: Final = 30
WARM_ROUNDS: Final = 6
"""The driver prepares a statement when it has seen it five times."""
MADE: Final = """
INSERT INTO site (name, zone) VALUES ('bench', 'Asia/Shanghai');
INSERT INTO tariff_version (tariff_id, effective_from, revision, form)
    VALUES ('T', '2020-01-01', 0, '{{"id": "T", "effective_from": "2020-01-01", "energy": {{"mode": "flat", "price": "0.5"}}}}');
INSERT INTO account (number, tariff_id, state, agreement, opened_on, warn_fen, trip_fen, reconnect_fen)
    SELECT 'A' || n, 'T', 'active', 'signed', '{first}', 3000, 0, 0 FROM generate_series(1, {points}) n;
INSERT INTO point (number) SELECT 'P' || n FROM generate_series(1, {points}) n;
INSERT INTO point_account (point_id, account_id, from_day) SELECT n, n, '{first}' FROM generate_series(1, {points}) n;
INSERT INTO point_ratio (point_id, from_day, ratio) SELECT n, '2000-01-01', 1 FROM generate_series(1, {points}) n;
INSERT INTO point_limit (point_id, from_day, max_daily_kwh)
    SELECT n, '2000-01-01', 380 FROM generate_series(1, {points}) n;
INSERT INTO meter (address, line, protocol)
    SELECT lpad(n::text, 12, '0'), 'line', 'dlt645-2007' FROM generate_series(1, {points}) n;
INSERT INTO installation (point_id, meter_id, from_at, first_day, modulus, decimals, wire_decimals)
    SELECT n, n, '{first}'::timestamptz - interval '8 hours', '{first}', 100000000, 2, 2
    FROM generate_series(1, {points}) n;
INSERT INTO chain (point_id, kind, first_day) SELECT n, 1, '{first}' FROM generate_series(1, {points}) n;
"""
SAID: Final = """
INSERT INTO closing (point_id, through_day, published, actor)
    SELECT n, c.through, (SELECT jsonb_object_agg(s.day, ARRAY[s.total, s.total / 4, s.total / 4, s.total / 4, s.total / 4])
                          FROM slot s WHERE s.point_id = n AND s.day BETWEEN c.through - 30 AND c.through), 'bench'
    FROM generate_series(1, {points}) n, (VALUES (date '{last}' - 33), (date '{last}' - 3)) c (through);
INSERT INTO finding (point_id, code, from_day, rev, active)
    SELECT n, 'V25', '{last}'::date - 10, 1, true FROM generate_series(1, {points}) n;
INSERT INTO clock_finding (meter_id, from_day, to_day, rev, skew_s)
    SELECT n, '{last}'::date - 10, '{last}'::date - 9, 1, 20 FROM generate_series(1, {points}) n;
INSERT INTO decision (point_id, day, action, total, maker, reason, rev, takes_effect)
    SELECT n, '{last}'::date - 10, 'release', 0, 'bench', 'seen', 1, true FROM generate_series(1, {points}) n;
"""
"""Two closings, a finding of the point and of its clock, and a decision, all of them old."""
PLAIN: Final = """
CREATE TABLE plain (LIKE reading, PRIMARY KEY (day, meter_id, id)) PARTITION BY RANGE (day);
CREATE TABLE plain_now PARTITION OF plain FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
"""
MADE_DAY: Final = """
INSERT INTO reading (day, meter_id, id, kind, source, total, rate_1, rate_2, rate_3, rate_4, arrived_at, told_by)
    SELECT '{day}', n, hashint8extended(n, {rate}), 1, 1, 4 * {rate}, {rate}, {rate}, {rate}, {rate},
           '{day}'::timestamptz - interval '7 hours', 0
    FROM generate_series(1, {points}) n;
INSERT INTO slot (day, point_id, kind, state, meter_id, total, reading_id, rule_set, link_days)
    SELECT day, meter_id, 1, 'published', meter_id, total, id, 1, {link} FROM reading WHERE day = '{day}';
"""


@dataclass(frozen=True)
class Cost:
    """Of one reading, microseconds."""

    ours: float
    database: float
    wall: float

    @property
    def cpu(self) -> float:
        """Of this process and of PostgreSQL's backend."""
        return self.ours + self.database


class Costs:
    """What parts of a run cost, each round by round."""

    def __init__(self, backend_pid: int) -> None:
        self._backend = Path(f"/proc/{backend_pid}/schedstat")
        self._rounds: dict[str, list[Cost]] = {}

    @contextmanager
    def of(self, name: str, readings: int) -> Iterator[None]:
        """Measure one round of a part."""
        before = self._now()
        yield
        spent = [
            (after - was) / 1000 / readings for after, was in zip(self._now(), before, strict=True)
        ]
        self._rounds.setdefault(name, []).append(Cost(*spent))

    def cpu_s(self) -> float:
        """A clock that stands still while others have the processor."""
        ours, database, _ = self._now()
        return (ours + database) / 1e9

    def _now(self) -> tuple[int, int, int]:
        backend_ns = int(self._backend.read_text().split()[0])
        return (time.process_time_ns(), backend_ns, time.perf_counter_ns())

    def median(self, name: str) -> Cost:
        """Each figure by itself."""
        rounds = self._rounds[name]
        figures = [
            [it.ours for it in rounds],
            [it.database for it in rounds],
            [it.wall for it in rounds],
        ]
        return Cost(*map(statistics.median, figures))

    def show(self, name: str) -> None:
        """One line of the table."""
        cost = self.median(name)
        print(
            f"| {name} | {cost.ours:.1f} | {cost.database:.1f} | {cost.cpu:.1f} | {cost.wall:.1f} |"
        )

    def goal(self, claim: str, name: str, peer: str, least: float) -> None:
        """Whether ours does at least so much of what the peer does, for the same CPU."""
        reached = self.median(peer).cpu / self.median(name).cpu
        in_time = self.median(peer).wall / self.median(name).wall
        print(
            f"{claim}: {reached:.2f} by CPU, {in_time:.2f} by the wall clock (goal {least}): "
            f"{verdict(reached >= least)}"
        )


class Bench:
    """A site in a database of its own, and the days that come to it."""

    def __init__(
        self, connection: AsyncConnection[Any], meters: Sequence[SiteMeter], days: int, batch: int
    ) -> None:
        self.connection = connection
        self.costs = Costs(connection.info.backend_pid)
        self.batch = batch
        self.meters = meters
        self.known = KnownTails()
        self._days = days
        self._taken = 0

    def of_some(self, meters: Sequence[SiteMeter]) -> Bench:
        """The same for other meters of the site, measured together."""
        other = copy(self)
        other.meters = meters
        other._taken = 0
        return other

    def arrivals(self) -> list[PolledFreeze]:
        """What a line hands on of the next meters, for the first day that they have not told."""
        back, first = divmod(self._taken, len(self.meters))
        self._taken += self.batch
        return self.freezes(self.meters[first : first + self.batch], back)

    def freezes(self, meters: Sequence[SiteMeter], back: int) -> list[PolledFreeze]:
        """Those of some meters so many days after the first day that none has told yet."""
        rate = 25_000 + USE * (self._days + back)
        registers = (RATES * rate, *[rate] * RATES)
        now = datetime.now(UTC)
        return [PolledFreeze(meter, TODAY + back * DAY, registers, now, None) for meter in meters]

    async def t1(self, name: str, arrivals: Sequence[PolledFreeze]) -> None:
        """Measure one batch; its money is settled meanwhile, as in the daemon."""
        with self.costs.of(name, len(arrivals)):
            await collect(self.connection, arrivals, ZONE, known=self.known)
        await self.connection.execute("DELETE FROM to_settle")

    def rows(self) -> list[RawReading]:
        """The same as raw rows, in order of their keys."""
        return [raw_reading(arrival, ZONE) for arrival in self.arrivals()]

    async def copy(
        self,
        name: str,
        rows: Sequence[RawReading],
        *,
        with_slots: bool = False,
        into: str = "reading",
    ) -> None:
        """Measure plain COPY of rows that lie ready."""
        slots = [
            NewSlot(row.id, row.total or 0, row.meter_id, row.day, row.meter_id, 1, 1, 1)
            for row in rows
        ]
        statement = readings.SQL["add"].replace("COPY reading", f"COPY {into}")
        with self.costs.of(name, len(rows)):
            async with self.connection.transaction():
                await self._copy(statement, list(readings.COPIED.values()), rows)
                if with_slots:
                    await self._copy(
                        judging.SQL["add_slots"], list(judging.NEW_SLOT.values()), slots
                    )

    async def _copy(
        self, statement: str, types: list[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        async with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    async def raw(self, name: str, rows: Sequence[RawReading]) -> None:
        """Measure the raw half of T1 by itself."""
        with self.costs.of(name, len(rows)):
            async with self.connection.transaction():
                await readings.add(self.connection, rows)

    async def one(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        row = await (await self.connection.execute(query.encode(), values)).fetchone()
        return None if row is None else row[0]


def make_site(
    url: str,
    points: int,
    days: int,
    *,
    is_analyzed: bool,
    is_said: bool = False,
    is_owed: bool = False,
) -> None:
    """Points with a value on each of so many days until yesterday, by SQL.

    `is_said`: something was said of days before of every point; `is_owed`: none of these values
    has come yet."""
    first = TODAY - days * DAY
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(MADE.format(first=first, points=points).encode())
        months = sorted({(first + n * DAY).replace(day=1) for n in range(days + 3)})
        connection.execute("SELECT make_partitions(%s)", (months,))
        if is_owed:
            connection.execute("DELETE FROM chain")
        for n in range(0 if is_owed else days):
            text = MADE_DAY.format(
                day=first + n * DAY, rate=25_000 + USE * n, points=points, link=min(n, 1)
            )
            connection.execute(text.encode())
        if is_said:
            connection.execute(SAID.format(points=points, last=TODAY - DAY).encode())
        if is_analyzed:
            connection.execute("ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def database(server: Server, name: str) -> Iterator[str]:
    """A migrated database of its own."""
    server.execute(f"CREATE DATABASE {name}")
    migrate(server.url(name))
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def opened(url: str, days: int, batch: int) -> Bench:
    """On a site that is made."""
    connection = await connect(url)
    spare_what_is_there()
    meters = sorted(await site_meters(connection), key=lambda meter: meter.meter_id)
    return Bench(connection, meters, days, batch)


async def beside_copy(
    url: str, days: int, batch: int, rounds: int, *, is_hypertable: bool
) -> Bench:
    """T1, a replay of it, the raw half, and COPY of the same rows, in turns.

    Half of the meters are T1's, as every day's batch after the first one; the others are COPY's."""
    bench = await opened(url, days, batch)
    if is_hypertable:
        await bench.connection.execute(PLAIN.encode())
    half = len(bench.meters) // 2 // batch * batch
    ours = bench.of_some(bench.meters[:half])
    copied = bench.of_some(bench.meters[half : 2 * half])
    for _ in range(WARM_ROUNDS):
        await collect(bench.connection, ours.arrivals(), ZONE)
    for _ in range(2 * half // batch):
        await collect(bench.connection, ours.arrivals(), ZONE, known=ours.known)
    # What COPY puts is none of the points that are known.
    await bench.connection.execute("SET meterd.writer = '0'")
    for _ in range(rounds):
        arrivals = ours.arrivals()
        await ours.t1("T1", arrivals)
        await ours.t1("the same batch again", arrivals)
        await copied.copy("COPY of readings and slots", copied.rows(), with_slots=True)
        await copied.copy("COPY of readings", copied.rows())
        await copied.raw("raw ingest", copied.rows())
        if is_hypertable:
            await copied.copy("COPY into plain partitions", copied.rows(), into="plain")
    for _ in range(rounds):
        ours.known.forget()
        await ours.t1("T1 of points that are not known", ours.arrivals())
    return ours


async def replayed(bench: Bench) -> str:
    """What a batch writes that is there already."""
    arrivals = bench.arrivals()
    await collect(bench.connection, arrivals, ZONE)
    counted = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_xact_user_tables"
    written = []
    touched = 0
    # Others write to the same log, and the first look at a new row notes in its page that it is
    # there for good: the least of some replays is what a replay writes.
    for _ in range(6):
        async with bench.connection.transaction():
            before = await bench.one("SELECT pg_current_wal_insert_lsn()")
            # What transactions before this one did may not have been reported yet.
            touched_before = await bench.one(counted)
            await collect(bench.connection, arrivals, ZONE)
            touched = await bench.one(counted) - touched_before
            written.append(
                int(await bench.one("SELECT pg_current_wal_insert_lsn() - %s::pg_lsn", before))
            )
    is_nothing = (min(written[1:]), touched) == (0, 0)
    return (
        f"a replay writes {min(written[1:])} B of WAL and touches {touched} rows (goal 0, 0): "
        f"{verdict(is_nothing)}"
    )


async def size(url: str, points: int, days: int, batch: int) -> str:
    """What a reading and its slot take on disk when the daemon has stored them, day after day."""
    bench = await opened(url, 0, batch)
    for _ in range(points * days // batch):
        await collect(bench.connection, bench.arrivals(), ZONE)
    await bench.connection.execute("VACUUM")
    parts = []
    for table in ("reading", "slot"):
        total = await bench.one(
            "SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_partition_tree(%s)", table
        ) or await bench.one("SELECT hypertable_size(%s)", table)
        rows = await bench.one(f"SELECT count(*) FROM {table}")
        parts.append(total / rows)
    await bench.connection.close()
    return (
        f"on disk a reading takes {parts[0]:.0f} B and its slot with its link {parts[1]:.0f} B, "
        f"{sum(parts):.0f} B with their indexes (goal {MOST_BYTES} B): {verdict(sum(parts) <= MOST_BYTES)}"
    )


async def same_beside(urls: Sequence[tuple[str, str, int]], batch: int, rounds: int) -> None:
    """The next days of as many meters on each of the sites, in turns: (name, url, days). The first
    is the measure."""
    sites = [(name, await opened(url, days, batch)) for name, url, days in urls]
    benches = [(name, site.of_some(site.meters[:batch])) for name, site in sites]
    for number in range(WARM_ROUNDS + 2 * rounds):
        for name, bench in benches:
            if number < WARM_ROUNDS:
                await bench.t1("warm", bench.arrivals())
            elif number % 2:
                await bench.t1(name, bench.arrivals())
            else:
                bench.known.forget()
                await bench.t1(f"{name}, not known", bench.arrivals())
    _show_beside(benches, "")
    _show_beside(benches, ", not known")
    for _, site in sites:
        await site.connection.close()


def _show_beside(benches: Sequence[tuple[str, Bench]], how: str) -> None:
    benches = [(f"{name}{how}", bench) for name, bench in benches]
    small = benches[0][1].costs.median(benches[0][0])
    print("\n| a batch beside | our CPU | PostgreSQL's | together | wall | times the first |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, bench in benches:
        cost = bench.costs.median(name)
        print(
            f"| {name} | {cost.ours:.1f} | {cost.database:.1f} | {cost.cpu:.1f} | {cost.wall:.1f} "
            f"| {cost.cpu / small.cpu:.2f} |"
        )
    worst = max(bench.costs.median(name).cpu for name, bench in benches) / small.cpu
    print(
        f"the dearest is {worst:.2f} times the first (goal {MOST_TIMES}): {verdict(worst <= MOST_TIMES)}"
    )


async def back_fill(url: str, days: int, batch: int) -> None:
    """Points that owe all days: the newest freeze comes first, then from the oldest day on."""
    bench = await opened(url, 0, batch)
    for n in (days, *range(days), *range(days + 1, days + 1 + WARM_ROUNDS)):
        rate = 25_000 + USE * n
        arrivals = [
            PolledFreeze(
                meter,
                TODAY + (n - days) * DAY,
                (RATES * rate, *[rate] * RATES),
                datetime.now(UTC),
                None,
            )
            for meter in bench.meters[:batch]
        ]
        await bench.t1(_order(n, days), arrivals)
    for name in ("a back-fill, far from today", "near to it", "the next days after it"):
        bench.costs.show(name)
    await bench.connection.close()


def _order(n: int, days: int) -> str:
    if n == days or n < WARM_ROUNDS:
        return "warm"
    if n > days:
        return "the next days after it"
    return "a back-fill, far from today" if n < days // 2 else "near to it"


async def on_one_server(server: Server, chosen: argparse.Namespace) -> None:
    """Everything that needs one small site."""
    with database(server, "beside_copy") as url:
        make_site(url, chosen.points, chosen.days, is_analyzed=True)
        is_hypertable = server.name == "timescaledb"
        bench = await beside_copy(
            url, chosen.days, chosen.batch, chosen.rounds, is_hypertable=is_hypertable
        )
        print(
            f"\n{server.name}: {chosen.points} points with {chosen.days} days, batches of {chosen.batch}\n"
        )
        print("| CPU us a reading | ours | PostgreSQL's | together | wall |")
        print("|---|---:|---:|---:|---:|")
        for name in (
            "COPY of readings",
            "raw ingest",
            "COPY of readings and slots",
            "T1",
            "the same batch again",
            "T1 of points that are not known",
        ):
            bench.costs.show(name)
        bench.costs.goal("raw ingest by COPY", "raw ingest", "COPY of readings", 0.75)
        bench.costs.goal("T1 by COPY", "T1", "COPY of readings and slots", 0.5)
        bench.costs.goal("T1 by a replay of it", "the same batch again", "T1", 1.0)
        if is_hypertable:
            bench.costs.show("COPY into plain partitions")
            bench.costs.goal(
                "hypertable by plain", "COPY of readings", "COPY into plain partitions", 0.95
            )
        print(await replayed(bench))
        await bench.connection.close()
    with database(server, "back_fill") as url:
        make_site(url, chosen.batch, chosen.days, is_analyzed=True, is_owed=True)
        await back_fill(url, chosen.days, chosen.batch)
    with database(server, "size") as url:
        make_site(url, SIZE_POINTS, 0, is_analyzed=True)
        print(await size(url, SIZE_POINTS, SIZE_DAYS, chosen.batch))


async def beside_many(server: Server, chosen: argparse.Namespace) -> None:
    """The same batch beside few and many points, short and long histories, with and without
    statistics."""
    sites = [
        (chosen.points, chosen.days, True, False),
        (chosen.points, chosen.days, True, True),
        (chosen.points, chosen.days, False, False),
        (chosen.long_points, LONG_DAYS, True, False),
        (chosen.many, chosen.many_days, True, False),
        (chosen.many, chosen.many_days, False, False),
    ]
    urls = []
    with ExitStack() as made:
        for number, (points, days, is_analyzed, is_said) in enumerate(sites):
            url = made.enter_context(database(server, f"beside_{number}"))
            make_site(url, points, days, is_analyzed=is_analyzed, is_said=is_said)
            name = f"{points} points, {days} days, {'fresh' if is_analyzed else 'no'} statistics"
            urls.append((f"{name}, closed and found" if is_said else name, url, days))
        await same_beside(urls, chosen.batch, chosen.rounds)


def verdict(is_reached: bool) -> str:
    """As all goals of this bench are told."""
    return "reached" if is_reached else "MISSED"


def main() -> None:
    """Both servers, then many points on the embedded one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=62, help="that are there already")
    parser.add_argument("--many", type=int, default=100_000, help="points to compare with")
    parser.add_argument("--many-days", type=int, default=5, help="that these have")
    parser.add_argument("--long-points", type=int, default=2_000, help="those with a year")
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    for start in (embedded_server, timescale_server):
        with start(durable=True) as server:
            asyncio.run(on_one_server(server, chosen))
    with embedded_server(durable=True) as server:
        asyncio.run(beside_many(server, chosen))


if __name__ == "__main__":
    main()
