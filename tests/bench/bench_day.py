"""A day of a site, from sockets to postings: the installed program reads today's freeze of every
meter, stores it, publishes it, settles it in double entry and seals it.

Run it: `PYTHONPATH=. .venv/bin/python tests/bench/bench_day.py --meters 10000`. The meters are
`meters.c` in another process, a hundred behind each port; accounts pay by time of use with a ladder
by year. The first days were settled before, by the same functions. Two are measured, by a clock of
the daemon and of the meters that is set on: the first one of a daemon, when all lines begin at once
and nothing is known of the meters yet, and the one after it, which is one of many; there lines look
for the new day within 15 s, so its slots a second say nothing. Counted are the processors' seconds
of the program and of PostgreSQL, its start apart; of the meters apart.

In the same run on the same server: COPY of as many raw rows into a table with the same columns and
key, and a naive script (PyPI `dlt645`, executemany, one statement that bills) over the same meters.
It asks one question a meter, one meter of a gateway at a time, where the program asks three,
believes everything, keeps one row for a posting and cuts nobody: it is what somebody writes in an
afternoon, and the measure of what the truth may cost. Third, the wire alone: the program's three
questions a meter as bytes that lie ready, sent and received by one loop over all gateways, answers
counted and thrown away; nothing that asks in Python costs less. Judge the ratios."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import select
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import psycopg
import structlog
from dlt645.common.transform import bcd_to_float
from dlt645.protocol.protocol import DLT645Protocol
from dlt645.transport.client.async_tcp_client import AsyncTcpClient

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.planning.wanted import due_day
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.quality.arrival import PolledFreeze
from daemon.transactions.collect import collect, raw_reading, settle_marked
from daemon.transactions.known_tails import KnownTails
from daemon.transactions.sealing import seal
from storage import readings
from storage.archive import SiteMeter, site_meters
from storage.database import connect
from tests.at_hours import libfaketime, real_sleep
from tests.bench.bench_fleet import cpu_s, running
from tests.bench.bench_ingest import PLAIN, verdict
from tests.bench.bench_spool import server_cpu_s
from tests.bench.contest import allow_files, headline, measure_in_turn, told
from tests.bench.meters import Meters, address_of, energies
from tests.bench.wire import ANSWER, IDENTIFIER, request_of
from tests.servers.ports import free_port
from tests.servers.postgres import Server, embedded_server

ZONE: Final = ZoneInfo("Asia/Shanghai")
ZONE_MIN: Final = 480
DAY: Final = timedelta(days=1)
EPOCH: Final = date(1970, 1, 1)
HOST: Final = "127.0.0.1"
METERS_OF_A_LINE: Final = 100
BATCH: Final = 1000
FIRST_DAY_AT: Final = 10
LOOKS_AT: Final = 11
NEXT_DAY_AT: Final = 2
LOOK_S: Final = 0.25
PATIENCE_S: Final = 3600.0
QUESTIONS: Final = 3
"""The program asks a meter: its clock, the day of its freeze, its registers."""
TIMES_COPY: Final = 5.0
LEAST_SLOTS_A_SECOND: Final = 5000.0
SITE: Final = """
[site]
name = "day"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"
[database]
url = {{ file = "url" }}
[collection]
reconnect_s = 3600
[http]
listen = "127.0.0.1:{http}"
"""
LINE: Final = """
[[line]]
name = "line-{number}"
tcp = "127.0.0.1:{port}"
enabled = {enabled}
pipelined = {pipelined}
"""
TARIFF: Final = """
[[tariff.home.version]]
effective_from = 2020-01-01
energy = { mode = "tou", prices = { sharp = "0.95", peak = "0.75", flat = "0.5283", valley = "0.31" } }
ladder = { cycle = "year", method = "adder", bounds_kwh = ["2160", "4200"], adders = ["0", "0.05", "0.30"] }
"""
NAIVE: Final = """
DROP TABLE IF EXISTS naive_reading, naive_ledger, naive_balance;
CREATE TABLE naive_reading (meter text, day date, total bigint, r1 bigint, r2 bigint, r3 bigint, r4 bigint, PRIMARY KEY (day, meter));
CREATE TABLE naive_ledger (meter text, day date, fen bigint, PRIMARY KEY (day, meter));
CREATE TABLE naive_balance (meter text PRIMARY KEY, fen bigint);
INSERT INTO naive_reading SELECT m.address, s.day, s.total, s.total / 4, s.total / 4, s.total / 4, s.total / 4
    FROM slot s JOIN meter m ON m.id = s.meter_id WHERE s.day = '{yesterday}';
INSERT INTO naive_balance SELECT address, 0 FROM meter;
"""
NAIVE_READING: Final = "INSERT INTO naive_reading VALUES (%s, %s, %s, %s, %s, %s, %s)"
NAIVE_BILLING: Final = """
WITH posted AS (
    INSERT INTO naive_ledger
    SELECT r.meter, r.day, round(0.95 * (r.r1 - b.r1) + 0.75 * (r.r2 - b.r2) + 0.5283 * (r.r3 - b.r3) + 0.31 * (r.r4 - b.r4))
    FROM naive_reading r JOIN naive_reading b ON b.meter = r.meter AND b.day = r.day - 1
    WHERE r.day = %s RETURNING meter, fen
)
UPDATE naive_balance b SET fen = b.fen - p.fen FROM posted p WHERE p.meter = b.meter
"""
STORED: Final = """
SELECT count(*) FILTER (WHERE s.state = 'published'
                        AND s.total = 10 * (m.address::bigint %% 1000000) + 4 * (s.day - DATE '1970-01-01'))
FROM slot s JOIN meter m ON m.id = s.meter_id WHERE s.day = %s
"""
CHARGED: Final = """
SELECT count(DISTINCT j.account) FROM journal j JOIN transaction_kind k ON k.id = j.kind
WHERE j.id > %s AND k.kind = 'charge'
"""


@dataclass(frozen=True)
class Spent:
    """Seconds of the clock, and of processors by who used them."""

    wall_s: float
    daemon_s: float
    database_s: float
    meters_s: float

    @property
    def cpu_s(self) -> float:
        """Of the program: its process and its database."""
        return self.daemon_s + self.database_s

    def since(self, before: Spent) -> Spent:
        """What was spent from there to here."""
        return Spent(
            self.wall_s - before.wall_s,
            self.daemon_s - before.daemon_s,
            self.database_s - before.database_s,
            self.meters_s - before.meters_s,
        )


# --- the site -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """So many billed meters behind simulated gateways, and `today`, the day that is measured.

    `pipelined`: so many of a gateway are asked at a time."""

    folder: Path
    meters: int
    history: int
    today: date
    pipelined: int

    @property
    def config(self) -> Path:
        """Its meterd.toml."""
        return self.folder / "meterd.toml"

    @property
    def first_day(self) -> date:
        """Of every account."""
        return self.today - self.history * DAY

    def set_up(self, ports: Sequence[int], *, enabled: bool) -> None:
        """Its settings: a line to each port."""
        told = str(enabled).lower()
        lines = [
            LINE.format(number=n, port=port, enabled=told, pipelined=self.pipelined)
            for n, port in enumerate(ports)
        ]
        self.config.write_text(SITE.format(http=free_port()) + "".join(lines))

    def write(self, url: str) -> None:
        """Its other files."""
        (self.folder / "url").write_text(url)
        (self.folder / "archive").mkdir()
        (self.folder / "tariffs.toml").write_text(TARIFF)
        numbers = range(self.meters)
        self._table("accounts", "account,tariff,open_from,agreement,trip_yuan",
                    (f"A{n},home,{self.first_day},agreement {n},-1000" for n in numbers))  # fmt: skip
        self._table("points", "point,account,residual_rate", (f"P{n},A{n},flat" for n in numbers))
        self._table("meters", "address,line,point,installed_on",
                    (f"{address_of(n)},line-{n // METERS_OF_A_LINE},P{n},{self.first_day}" for n in numbers))  # fmt: skip

    def _table(self, name: str, head: str, rows: Iterator[str]) -> None:
        (self.folder / "archive" / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")


async def days_before(url: str, fleet: Fleet) -> None:
    """All days before yesterday, stored, settled and sealed as the daemon does it."""
    async with await connect(url) as connection:
        meters = sorted(await site_meters(connection), key=lambda meter: meter.meter_id)
        authority = Authority(Policy(), ZONE, shadow_mode=True, running_for=timedelta)
        known = KnownTails()
        for back in range(fleet.history, 1, -1):
            day = fleet.today - back * DAY
            for first in range(0, len(meters), BATCH):
                batch = [freeze(meter, day) for meter in meters[first : first + BATCH]]
                await collect(connection, batch, ZONE, known=known)
            await settle_marked(connection, authority, datetime.now(UTC))
            await seal(connection, datetime.now(UTC))


def freeze(meter: SiteMeter, day: date) -> PolledFreeze:
    """What a line hands on of a meter that answered."""
    registers = energies(meter.address, (day - EPOCH).days)
    return PolledFreeze(meter, day, registers, datetime.now(UTC), None)


# --- the clock ------------------------------------------------------------------------------------


class Clock:
    """The wall clock of the processes that are started meanwhile, which can be set."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "clock"
        self._environment = {
            "FAKETIME_TIMESTAMP_FILE": str(self._told),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "LD_PRELOAD": f"{real_sleep(folder)} {libfaketime()}",
        }

    def set(self, day: date, hour: int) -> None:
        """Let it show this hour of the site's day, in a second at the latest."""
        shown = datetime(day.year, day.month, day.day, hour, tzinfo=ZONE)
        ahead_s = round((shown - datetime.now(ZONE)).total_seconds())
        self._told.write_text(f"{ahead_s:+d}\n")

    def __enter__(self) -> Self:
        os.environ |= self._environment
        return self

    def __exit__(self, *_: object) -> None:
        for name in self._environment:
            del os.environ[name]


# --- ours -----------------------------------------------------------------------------------------


class Watch:
    """What a daemon, its database and the meters have used since it began."""

    def __init__(self, server: Server, daemon: int, meters: int) -> None:
        self._server, self._daemon, self._meters = server, daemon, meters

    def spent(self) -> Spent:
        """Up to now."""
        return Spent(
            time.monotonic(), cpu_s(self._daemon), server_cpu_s(self._server), cpu_s(self._meters)
        )


@dataclass(frozen=True)
class Days:
    """What a day cost until all was stored, and until all was settled: the first one of a daemon,
    which knows nothing of the meters yet, and the one after it; what it looks at once a day
    besides, and what it does when there is nothing to do."""

    first: tuple[Spent, Spent]
    next: tuple[Spent, Spent]
    looks: Spent
    rest: Spent


def days_of_daemon(
    fleet: Fleet, server: Server, url: str, clock: Clock, meters: int, rest_s: float
) -> Days:
    """From ready on yesterday, by the daemon's clock, to the end of the day after."""
    yesterday = fleet.today - DAY
    with (
        psycopg.connect(url, autocommit=True) as connection,
        running(fleet.config, server) as (daemon, _),
    ):
        watch = Watch(server, daemon, meters)
        first = one_day(connection, fleet, watch, yesterday)
        began = watch.spent()
        clock.set(yesterday, LOOKS_AT)
        time.sleep(rest_s)
        looks = watch.spent().since(began)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        # Before the looks are due again.
        clock.set(fleet.today, NEXT_DAY_AT)
        next_ = one_day(connection, fleet, watch, fleet.today)
        began = watch.spent()
        time.sleep(rest_s)
        return Days(first, next_, looks, watch.spent().since(began))


def one_day(
    connection: psycopg.Connection[Any], fleet: Fleet, watch: Watch, day: date
) -> tuple[Spent, Spent]:
    """Until the freezes of this day are stored, and until they are settled; all is sealed then."""
    newest = one(connection, "SELECT coalesce(max(id), 0) FROM journal")
    began = watch.spent()
    until(connection, "SELECT count(*) = %s FROM slot WHERE day = %s", fleet.meters, day)
    stored = watch.spent().since(began)
    until(connection, "SELECT NOT EXISTS (SELECT FROM to_settle)")
    settled = watch.spent().since(began)
    assert one(connection, STORED, day) == fleet.meters
    assert one(connection, CHARGED, newest) == fleet.meters
    until(connection, "SELECT max(j.id) <= (SELECT max(through) FROM sealed_block) FROM journal j")
    return stored, settled


def one(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    """The first column of the first row."""
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def until(connection: psycopg.Connection[Any], query: str, *values: Any) -> None:
    """Look until it is so."""
    gives_up = time.monotonic() + PATIENCE_S
    while not one(connection, query, *values):
        assert time.monotonic() < gives_up, query
        time.sleep(LOOK_S)


# --- what it is measured by -----------------------------------------------------------------------


async def copied(server: Server, url: str, fleet: Fleet) -> Spent:
    """COPY of the raw rows of the day, which lie ready, in batches as large as the daemon's."""
    async with await connect(url) as connection:
        await connection.execute(PLAIN.encode())
        meters = sorted(await site_meters(connection), key=lambda meter: meter.meter_id)
        rows = [raw_reading(freeze(meter, fleet.today), ZONE) for meter in meters]
        statement = readings.SQL["add"].replace("COPY reading", "COPY plain")
        ours, theirs, wall = time.process_time(), server_cpu_s(server), time.monotonic()
        for first in range(0, len(rows), BATCH):
            async with connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.set_types(list(readings.COPIED.values()))
                for row in rows[first : first + BATCH]:
                    await copy.write_row(row)
        return Spent(
            time.monotonic() - wall, time.process_time() - ours, server_cpu_s(server) - theirs, 0.0
        )


async def naive(url: str, ports: Sequence[int], meters: int, today: date) -> None:
    """The afternoon's script: a connection to each gateway, its meters one after the other."""
    identifier = bytes.fromhex(IDENTIFIER)[::-1]
    rows: list[tuple[Any, ...]] = []

    async def read(line: int, port: int) -> None:
        client = AsyncTcpClient(HOST, port)
        assert await client.connect()
        numbers = range(line * METERS_OF_A_LINE, min((line + 1) * METERS_OF_A_LINE, meters))
        for address in map(address_of, numbers):
            request = DLT645Protocol.build_frame(bytes.fromhex(address)[::-1], 0x11, identifier)
            data = DLT645Protocol.deserialize(await client.send_request(bytes(request))).data
            values = [
                round(100 * bcd_to_float(data[at : at + 4], "XXXXXX.XX", "little"))
                for at in range(4, 24, 4)
            ]
            rows.append((address, today, *values))
        await client.disconnect()

    wall, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(read(line, port) for line, port in enumerate(ports)))
    async with await psycopg.AsyncConnection.connect(url) as connection:
        async with connection.cursor() as cursor:
            await cursor.executemany(NAIVE_READING, rows)
        await connection.commit()
        await connection.execute(NAIVE_BILLING, [today])
    told(cpu_s=time.process_time() - cpu, wall_s=time.monotonic() - wall, rows=len(rows))


def wire_alone(ports: Sequence[int], meters: int, pipelined: int) -> None:
    """As many questions as the program asks, so many of a gateway at a time, and nothing else."""
    plans: dict[int, list[tuple[bytes, int]]] = {}
    loop = select.epoll()
    with ExitStack() as open_:
        sockets: dict[int, socket.socket] = {}
        for line, port in enumerate(ports):
            gateway = open_.enter_context(socket.create_connection((HOST, port)))
            numbers = range(line * METERS_OF_A_LINE, min((line + 1) * METERS_OF_A_LINE, meters))
            asked = [request_of(address_of(n)) for n in numbers for _ in range(QUESTIONS)]
            sockets[gateway.fileno()] = gateway
            plans[gateway.fileno()] = [
                (b"".join(asked[at : at + pipelined]), ANSWER * len(asked[at : at + pipelined]))
                for at in reversed(range(0, len(asked), pipelined))
            ]
            loop.register(gateway, select.EPOLLIN)
        wall, cpu, answers, awaited = time.monotonic(), time.process_time(), 0, {}
        for number, gateway in sockets.items():
            question, awaited[number] = plans[number].pop()
            gateway.send(question)
        while awaited:
            for number, _ in loop.poll():
                received = len(sockets[number].recv(65_536))
                answers += received
                awaited[number] -= received
                if awaited[number]:
                    continue
                if plans[number]:
                    question, awaited[number] = plans[number].pop()
                    sockets[number].send(question)
                else:
                    del awaited[number]
        spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    told(**spent, rows=answers // (ANSWER * QUESTIONS))


def by_wire(fleet: Fleet, ports: Sequence[int], meters: int) -> Spent:
    """The wire alone, by a process of its own."""
    words = ["--meters", str(fleet.meters), "--pipelined", str(fleet.pipelined)]
    words += ["--ports", ",".join(map(str, ports))]
    simulated = cpu_s(meters)
    (found,) = measure_in_turn(__file__, ["wire"], 1, {"wire": words})["wire"]
    assert found["rows"] == fleet.meters
    return Spent(found["wall_s"], found["cpu_s"], 0.0, cpu_s(meters) - simulated)


def by_script(server: Server, url: str, fleet: Fleet, ports: Sequence[int], meters: int) -> Spent:
    """The naive script in a process of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(NAIVE.format(yesterday=fleet.today - DAY).encode())
    words = ["--url", url, "--meters", str(fleet.meters), "--today", fleet.today.isoformat()]
    words += ["--ports", ",".join(map(str, ports))]
    theirs, simulated = server_cpu_s(server), cpu_s(meters)
    (found,) = measure_in_turn(__file__, ["script"], 1, {"script": words})["script"]
    assert found["rows"] == fleet.meters
    return Spent(
        found["wall_s"],
        found["cpu_s"],
        server_cpu_s(server) - theirs,
        cpu_s(meters) - simulated,
    )


# --- measuring ------------------------------------------------------------------------------------


def measure(asked: argparse.Namespace, server: Server, folder: Path) -> None:
    """One site, and the table of it."""
    today = due_day(datetime.now(ZONE))
    fleet = Fleet(folder, asked.meters, asked.history, today, asked.pipelined)
    server.execute("CREATE DATABASE day")
    url = server.url("day")
    fleet.write(url)
    clock = Clock(folder)
    clock.set(fleet.today - DAY, FIRST_DAY_AT)
    with ExitStack() as open_:
        with clock:
            meters = Meters("tcp", ports=-(-fleet.meters // METERS_OF_A_LINE), zone_min=ZONE_MIN)
            simulated = open_.enter_context(meters)
        ports = simulated.told["ports"]
        fleet.set_up(ports, enabled=False)
        with running(fleet.config, server) as (_, started):
            print(f"first start, empty database: {started.cpu_s:.1f} s of processors", flush=True)
        asyncio.run(days_before(url, fleet))
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE meter SET identity_read_at = now()")  # asked once a month
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")
        fleet.set_up(ports, enabled=True)
        with clock:
            days = days_of_daemon(fleet, server, url, clock, simulated.pid, asked.rest_s)
        plain = asyncio.run(copied(server, url, fleet))
        wire = by_wire(fleet, ports, simulated.pid)
        script = by_script(server, url, fleet, ports, simulated.pid)
    print(
        headline(
            f"{fleet.meters:,} meters, {fleet.history} days before, load {os.getloadavg()[0]:.1f}"
        )
    )
    day, rest = days.next[1], days.rest
    print("| us a billed slot | process | PostgreSQL | together | meters | slots/s |")
    print("|---|---:|---:|---:|---:|---:|")
    ways = {
        "first day of a daemon: stored": days.first[0],
        "first day of a daemon: stored and settled": days.first[1],
        "looks of a day": days.looks,
        "a day: stored": days.next[0],
        "a day: stored and settled": day,
        "COPY of the raw rows": plain,
        "the wire alone": wire,
        "script": script,
    }
    for name, spent in ways.items():
        each = [
            1e6 * it / fleet.meters
            for it in (spent.daemon_s, spent.database_s, spent.cpu_s, spent.meters_s)
        ]
        shown = " | ".join(f"{it:.1f}" for it in each)
        print(f"| {name} | {shown} | {fleet.meters / spent.wall_s:,.0f} |")
    minute = 60 / rest.wall_s
    print(
        f"nothing to do: {minute * rest.daemon_s:.2f} s + PostgreSQL {minute * rest.database_s:.2f} s a minute"
    )
    times, rate = day.cpu_s / plain.cpu_s, fleet.meters / days.first[1].wall_s
    print(
        f"times COPY: {times:.1f} (goal {TIMES_COPY}; the wire alone {wire.cpu_s / plain.cpu_s:.1f}): "
        f"{verdict(times <= TIMES_COPY)}"
    )
    print(
        f"slots a second: {rate:,.0f} (goal {LEAST_SLOTS_A_SECOND:,.0f}): {verdict(rate >= LEAST_SLOTS_A_SECOND)}"
    )
    times = day.cpu_s / script.cpu_s
    print(f"times the script, by processors: {times:.2f} (goal below 1): {verdict(times < 1)}")


def main() -> None:
    """One site of simulated meters."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--history", type=int, default=3, help="days that were settled before")
    parser.add_argument("--pipelined", type=int, default=1, help="meters asked at a time on a line")
    parser.add_argument("--rest-s", type=float, default=60.0, help="how long nothing is to be done")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    parser.add_argument("--today", type=date.fromisoformat, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    allow_files()
    if asked.contender:
        ports = [int(port) for port in asked.ports.split(",")]
        if asked.contender == "wire":
            wire_alone(ports, asked.meters, asked.pipelined)
            return
        asyncio.run(naive(asked.url, ports, asked.meters, asked.today))
        return
    logging.disable(logging.WARNING)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with embedded_server(durable=True) as server, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        measure(asked, server, Path(folder))


if __name__ == "__main__":
    main()
