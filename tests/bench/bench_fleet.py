"""What a site costs by its size: start, reload, plan, gaps, standstill. Not in it: meters that answer
(every line is down), raw readings and money's postings (slots, links and accounts are there).

Run it: `python tests/bench/bench_fleet.py --points 100000`. The files of the site are written, the
installed program takes them over into an empty database, slots and links of `--days` days are put
there, and then every command is run as a person would, on a site where one point in a hundred lacks
its last three days, and on one that lacks yesterday whole. First without statistics of
what came in, as after a restore, then with fresh ones. A time is that of a process from its start
to its end. Judge the processor seconds (command + daemon + PostgreSQL): what one after the other
takes on a machine with nothing else to do; the clock says what it took beside everything else."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.planning.wanted import Wanted
from storage import columns
from storage.binary import HEADER, SINCE, TRAILER
from storage.columns import Column, Integers
from storage.migrations import migrations
from tests.bench.bench_spool import server_cpu_s
from tests.servers.ports import free_port
from tests.servers.postgres import Server, embedded_server, timescale_server

METERD = Path(sys.executable).parent / "meterd"
ZONE = ZoneInfo("Asia/Shanghai")
METERS_OF_A_LINE = 1000
LACKING_ONE_IN = 100
LACKED_DAYS = 3
TICKS_S = os.sysconf("SC_CLK_TCK")
PATIENCE_S = 1200.0
NUMBER = "A0000007"
"""One of the accounts."""
ONE_S = 0.4
"""What is asked of one account, whatever the size of the site."""
ROWS_AT_ONCE = 50_000
"""Rows that are made in memory together."""
SLOT: Final = {
    "reading_id": "int8", "total": "int8", "point_id": "int4", "day": "date", "meter_id": "int4",
    "kind": "int2", "rule_set": "int2", "link_days": "int2",
}  # fmt: skip
LINK: Final = {
    "modulus": "int8", "end_total": "int8", "used_total": "int4", "point_id": "int4",
    "account_id": "int4", "from_day": "date", "to_day": "date", "meter_id": "int4",
    "decimals": "int2", "ratio": "numeric",
}  # fmt: skip
ONE: Final = struct.pack(">5h", 1, 0, 0, 0, 1)
"""A numeric, as PostgreSQL sends it."""
OF_POINTS: Final = """
    SELECT point_id, i.meter_id, a.account_id
    FROM installation i JOIN point_account a USING (point_id) ORDER BY point_id
"""
BEFORE: Final = {
    "slot": """
        INSERT INTO chain SELECT id, 1, '{first}' FROM point;
        UPDATE account SET state = 'active';
        TRUNCATE to_settle, slot;
    """,
    "link": """
        TRUNCATE link;
        ALTER TABLE link DROP CONSTRAINT link_pkey;
    """,
}
"""What is done before all days are loaded. Replica: references hold by the way it is made, and
checking millions of them is not measured. A table that is emptied before is not logged."""
AFTER: Final = {
    "slot": "",
    "link": """
        SET LOCAL maintenance_work_mem = '1GB';
        ALTER TABLE link ADD CONSTRAINT link_pkey PRIMARY KEY (point_id, from_day) WITH (fillfactor = 67);
        ALTER INDEX link_pkey RESET (fillfactor);
        SELECT brin_summarize_new_values('links_by_day');
    """,
}
"""And after. A key that grows day by day, at each point's end, has leaves that are two thirds full,
30.8 bytes a link after a year; made at once at the end, and so full, it has 30.2 of them. Pages of
links are summarised by day as they fill, by autovacuum, which these servers do without."""


@dataclass(frozen=True)
class Cost:
    """Seconds of the clock, and of the processor by who used them."""

    wall_s: float
    command_s: float
    daemon_s: float
    database_s: float

    @property
    def cpu_s(self) -> float:
        """Of all of them."""
        return self.command_s + self.daemon_s + self.database_s


class Report:
    """The table, row by row, and whether every goal was reached."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def head(self) -> None:
        """What the columns are."""
        print("| what | clock s | CPU s | command | daemon | PostgreSQL | goal | |")
        print("|---|---:|---:|---:|---:|---:|---:|---|")

    def row(self, what: str, cost: Cost, most_s: float | None) -> None:
        """One measurement beside its goal."""
        verdict = ""
        if most_s is not None:
            verdict = "reached" if cost.cpu_s <= most_s else "MISSED"
            if cost.cpu_s > most_s:
                self.missed.append(what)
        goal = "" if most_s is None else f"{most_s:g}"
        print(
            f"| {what} | {cost.wall_s:.2f} | {cost.cpu_s:.2f} | {cost.command_s:.2f} | "
            f"{cost.daemon_s:.2f} | {cost.database_s:.2f} | {goal} | {verdict} |",
            flush=True,
        )


# --- the site -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fleet:
    """A site of so many points in `folder`, with the days from `first_day` to `newest` present."""

    folder: Path
    points: int
    loaded_days: int
    """As it was made; a kept one has a day more with each day since."""
    first_day: date
    """The opening day of every account, and the first that is there."""
    newest: date

    @property
    def config(self) -> Path:
        """Its meterd.toml."""
        return self.folder / "meterd.toml"

    @property
    def days(self) -> int:
        """How many there are up to the newest."""
        return (self.newest - self.first_day).days + 1

    def settle_in(self, url: str) -> None:
        """Its settings, for the server that runs now."""
        lines = range(-(-self.points // METERS_OF_A_LINE))
        (self.folder / "url").write_text(url)
        self.config.write_text(
            '[site]\nname = "fleet"\nzone = "Asia/Shanghai"\ndata_directory = "data"\n'
            'archive = "archive"\ntariffs = "tariffs.toml"\n'
            '[database]\nurl = { file = "url" }\n'
            "[collection]\nbackfill_days = 62\nreconnect_s = 3600\n"
            f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            + "".join(f'[[line]]\nname = "gate-{n}"\ntcp = "{_gateway(n)}"\n' for n in lines)
        )

    def write(self) -> None:
        """Its archive and prices; every account is open, each point is billed to one of its own."""
        (self.folder / "archive").mkdir()
        (self.folder / "tariffs.toml").write_text(
            '[[tariff.T.version]]\neffective_from = 2020-01-01\nprice = "0.60"\n'
        )
        self._table("accounts", "account,name,tariff,open_from,agreement,trip_yuan,reconnect_yuan",
                    lambda n: f"A{n:07d},Zhang {n},T,{self.first_day},agreement {n},0.00,1.00")  # fmt: skip
        self._table("points", "point,account,ratio,max_daily_kwh,area,reconnect",
                    lambda n: f"P{n:07d},A{n:07d},{1 + n % 3 * 10},380,area {n % 50},allow_close")  # fmt: skip
        self._table("meters", "address,line,point,installed_on,serial",
                    lambda n: f"{n:012d},gate-{(n - 1) // METERS_OF_A_LINE},P{n:07d},"
                              f"{self.first_day},{n + 10**9:012d}")  # fmt: skip

    def _table(self, name: str, head: str, row: Callable[[int], str]) -> None:
        rows = "".join(f"{row(number)}\n" for number in range(1, self.points + 1))
        (self.folder / "archive" / f"{name}.csv").write_text(f"{head}\n{rows}")

    @contextmanager
    def one_meter_changed(self) -> Iterator[None]:
        """Meanwhile another point in the middle has a wider limit and its meter another serial."""
        number = self.points // 2
        changes = {
            "points": (f"P{number:07d},A{number:07d},{1 + number % 3 * 10},380,",
                       f"P{number:07d},A{number:07d},{1 + number % 3 * 10},400,"),
            "meters": (f"{number + 10**9:012d}\n", f"{number + 2 * 10**9:012d}\n"),
        }  # fmt: skip
        before = {name: self._replace(name, *change) for name, change in changes.items()}
        yield
        for name, text in before.items():
            (self.folder / "archive" / f"{name}.csv").write_text(text)

    def _replace(self, name: str, was: str, becomes: str) -> str:
        path = self.folder / "archive" / f"{name}.csv"
        text = path.read_text()
        assert text.count(was) == 1, was
        path.write_text(text.replace(was, becomes))
        return text

    def fill(self, url: str, since: date) -> None:
        """Slots and links of the days from `since` on, as if all had been read and settled; no
        statistics."""
        with psycopg.connect(url) as connection:
            of_points = connection.execute(OF_POINTS, binary=True).fetchall()
        points, meters, accounts = np.array(of_points, dtype=np.int64).T
        first = (since - self.first_day).days
        slots = (self._slots(n, points[at], meters[at]) for n, at in self._present(points, first))
        links = (
            self._links(n, points[at], meters[at], accounts[at])
            for n, at in self._present(points, max(1, first))
        )
        with ThreadPoolExecutor() as both:
            for done in [
                both.submit(self._load, url, "slot", SLOT, slots, is_all=first == 0),
                both.submit(self._load, url, "link", LINK, links, is_all=first == 0),
            ]:
                done.result()

    def _present(self, points: Integers, first: int) -> Iterator[tuple[int, Integers]]:
        """Of each day from that one on, which points have a value, some at a time."""
        for n in range(first, self.days):
            lack = n >= self.loaded_days - LACKED_DAYS
            for begin in range(0, len(points), ROWS_AT_ONCE):
                at = np.arange(begin, min(begin + ROWS_AT_ONCE, len(points)))
                yield n, at[points[at] % LACKING_ONE_IN != 0] if lack else at

    def _slots(self, n: int, points: Integers, meters: Integers) -> bytes:
        column: dict[str, Column] = {
            "reading_id": points,
            "total": 1000 * n,
            "point_id": points,
            "day": self._since_2000(n),
            "meter_id": meters,
            "kind": 1,
            "rule_set": 1,
            "link_days": min(1, n),
        }
        return columns.rows(SLOT, column, len(points))

    def _links(self, n: int, points: Integers, meters: Integers, accounts: Integers) -> bytes:
        column: dict[str, Column] = {
            "modulus": 100_000_000,
            "point_id": points,
            "account_id": accounts,
            "from_day": self._since_2000(n - 1),
            "to_day": self._since_2000(n),
            "meter_id": meters,
            "decimals": 2,
            "ratio": ONE,
            "end_total": 1000 * n,
            "used_total": 1000,
        }
        return columns.rows(LINK, column, len(points))

    def _since_2000(self, n: int) -> int:
        return (self.first_day - SINCE).days + n

    def _load(
        self, url: str, table: str, types: Mapping[str, str], rows: Iterator[bytes], *, is_all: bool
    ) -> None:
        days = [self.first_day + timedelta(days=n) for n in range(self.days)]
        with psycopg.connect(url) as connection:
            connection.execute("SET session_replication_role = replica")
            if table == "slot":
                months = {day.replace(day=1) for day in days}
                connection.execute("SELECT make_partitions(%s)", ([*months],))
            if is_all:
                connection.execute(BEFORE[table].format(first=self.first_day).encode())
            into = f"COPY {table} ({', '.join(types)}) FROM STDIN (FORMAT BINARY)"
            with connection.cursor() as cursor, cursor.copy(into.encode()) as copying:
                copying.write(HEADER)
                for some in rows:
                    copying.write(some)
                copying.write(TRAILER)
            if is_all:
                connection.execute(AFTER[table].encode())

    def darken(self, url: str) -> None:
        """Nothing of the newest day is there, of no point."""
        with psycopg.connect(url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM slot WHERE day = %s", (self.newest,))
            yesterday = self.newest - timedelta(days=1)
            connection.execute("DELETE FROM link WHERE from_day = %s", (yesterday,))
        # As if they had never come: nobody has to pass by what was deleted. So few rows of a table
        # would stay in its indexes otherwise.
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (INDEX_CLEANUP ON) slot, link")


def _gateway(number: int) -> str:
    """An address where nobody listens, of each line another."""
    third, fourth = divmod(number, 250)
    return f"127.0.{third}.{fourth + 1}:9"


# --- measuring ------------------------------------------------------------------------------------


def command(fleet: Fleet, server: Server, *words: str, daemon: int | None = None) -> Cost:
    """What one command costs; what it prints goes to a file."""
    database_s = server_cpu_s(server)
    daemon_s = cpu_s(daemon)
    began = time.monotonic()
    with (fleet.folder / "out").open("w") as out:
        process = subprocess.Popen(
            [METERD, *words, "-c", fleet.config], stdout=out, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.monotonic() - began
    assert process.returncode in (0, 1), (fleet.folder / "out").read_text()[-2000:]
    return Cost(
        wall_s,
        used.ru_utime + used.ru_stime,
        cpu_s(daemon) - daemon_s,
        server_cpu_s(server) - database_s,
    )


def cpu_s(process: int | None) -> float:
    """Processor seconds of a process that lives."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS_S


@contextmanager
def running(config: Path, server: Server) -> Iterator[tuple[int, Cost]]:
    """A daemon that is ready: (process, what that cost). Its log lies beside its settings."""
    database_s = server_cpu_s(server)
    began = time.monotonic()
    log = config.with_name("log")
    with log.open("w") as out:
        process = subprocess.Popen(
            [METERD, "run", "-c", config], stdout=out, stderr=subprocess.STDOUT
        )
    try:
        while " event=ready " not in (told := log.read_text()):
            assert process.poll() is None, told[-2000:]
            assert time.monotonic() - began < PATIENCE_S
            time.sleep(0.02)
        used = cpu_s(process.pid)
        yield (
            process.pid,
            Cost(time.monotonic() - began, 0.0, used, server_cpu_s(server) - database_s),
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def measure_start(fleet: Fleet, server: Server, database: str, report: Report) -> None:
    """The take-over into a new database of this name."""
    server.execute(f"DROP DATABASE IF EXISTS {database}")
    server.execute(f"CREATE DATABASE {database}")
    fleet.settle_in(server.url(database))
    with running(fleet.config, server) as (_, cost):
        report.row("first start, empty database", cost, most_of_start_s(fleet))


def most_of_start_s(fleet: Fleet) -> float:
    """The goal of a start."""
    linear_s = 15 * fleet.points / 100_000
    return max(3.0, linear_s if fleet.points <= 100_000 else 120.0 * fleet.points / 1_000_000)


def measure_filled(
    fleet: Fleet, server: Server, url: str, report: Report, *, is_kept: bool = False
) -> None:
    """All but the first start; without statistics, too, unless they were kept with the rest."""
    start_s = most_of_start_s(fleet)
    at_once = max(1.0, fleet.points / 100_000)
    for statistics in ("fresh",) if is_kept else ("none", "fresh"):
        if statistics == "fresh":
            vacuum(url)
        told = f"statistics {statistics}: "
        with running(fleet.config, server) as (daemon, cost):
            report.row(f"{told}start, files unchanged", cost, start_s)
            idle = partial(command, fleet, server, daemon=daemon)
            report.row(f"{told}reload, files unchanged", idle("reload"), start_s)
            report.row(f"{told}plan, files unchanged", idle("plan"), 2 * at_once)
            with fleet.one_meter_changed():
                report.row(f"{told}plan, one meter changed", idle("plan"), 2 * at_once)
                report.row(f"{told}reload, one meter changed", idle("reload"), 1 * at_once)
            report.row(f"{told}reload, changed back", idle("reload"), 1 * at_once)
            report.row(f"{told}topup, by the daemon", idle(*pay_in()), ONE_S)
        report.row(f"{told}topup, no daemon runs", command(fleet, server, *pay_in()), ONE_S)
        report.row(f"{told}account show", command(fleet, server, "account", "show", NUMBER), ONE_S)
        report.row(f"{told}account list", command(fleet, server, "account", "list"), 1 * at_once)
        for name in ("gaps", "standstill"):
            report.row(f"{told}{name}, 1 % lack", command(fleet, server, name), 2 * at_once)
    fleet.darken(url)
    for name in ("gaps", "standstill"):
        report.row(f"{name}, all lack yesterday", command(fleet, server, name), 2 * at_once)
        report.row(f"{name} --json, all lack", command(fleet, server, name, "--json"), 2 * at_once)


def vacuum(url: str) -> None:
    """Statistics of all that there is; of links, which are most of it, beside the rest."""
    with ThreadPoolExecutor() as both:
        for done in [
            both.submit(_vacuum, url, "VACUUM ANALYZE link"),
            both.submit(_vacuum, url, "VACUUM (ANALYZE, SKIP_LOCKED)"),
        ]:
            done.result()


def _vacuum(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def pay_in() -> tuple[str, ...]:
    """The words of a further payment to one of the accounts."""
    return ("topup", NUMBER, "10", "--key", f"bench-{time.time_ns()}")


def scan_ms(meters: int) -> float:
    """Milliseconds for a look at what of 62 days is wanted of so many meters."""
    today = date(2026, 11, 1)
    wanted = Wanted([today - timedelta(days=400)] * meters, days=62, today=today)
    wanted.rebuild([(1 << 62) - 1] * (meters - 1) + [(1 << 62) - 2], today)
    ready = np.ones(meters, dtype=bool)
    assert wanted.counts()[0] == 1
    times = []
    for _ in range(7):
        began = time.process_time()
        assert len(wanted.jobs(0.0, ready, 16)) == 1
        times.append(time.process_time() - began)
    return 1000 * sorted(times)[3]


def main() -> None:
    """The table of one size, then the goals that were missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=62, choices=range(5, 400), metavar="DAYS")
    parser.add_argument("--timescale", action="store_true", help="on a server with TimescaleDB")
    parser.add_argument(
        "--on-disk", action="store_true", help="100,000 points with a year take 13 GB"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the site and its database there; the "
        "next run with the same FOLDER adds the days since and measures again"
    )  # fmt: skip
    chosen = parser.parse_args()
    newest = datetime.now(ZONE).date()
    if datetime.now(ZONE).hour < 6:
        newest -= timedelta(days=1)
    report = Report()
    with ExitStack() as opened:
        place = chosen.keep or Path(
            opened.enter_context(tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp"))
        )
        start = timescale_server if chosen.timescale else embedded_server
        kept = None if chosen.keep is None else place / "postgresql"
        server = opened.enter_context(start(on_disk=chosen.on_disk, kept=kept))
        run(place, chosen.points, chosen.days, newest, server, report)
    found_ms = scan_ms(1_000_000)
    print(f"\nscan of 1,000,000 meters x 62 days: {found_ms:.1f} ms of the processor (goal 20)")
    if found_ms > 20:
        report.missed.append("scan")
    print(f"missed: {', '.join(report.missed)}" if report.missed else "every goal reached")


def run(place: Path, points: int, days: int, newest: date, server: Server, report: Report) -> None:
    """All measurements of a site in `place`. What was loaded there before is taken as it is, if it
    is such a site and the schema is still the same."""
    folder, loaded = place / "site", place / "loaded"
    first_day = newest - timedelta(days=days - 1)
    asked = {"points": points, "days": days, "schema": [it.checksum for it in migrations()]}
    made = json.loads(loaded.read_text()) if loaded.exists() else {}
    found = made.pop("first_day", None)
    if is_kept := made == asked:
        first_day = date.fromisoformat(found)
    else:
        loaded.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    fleet = Fleet(folder, points, days, first_day, newest)
    print(f"{points:,} points with {fleet.days} days, {newest}, load {os.getloadavg()[0]:.1f}\n")
    report.head()
    url = server.url("fleet")
    if is_kept:
        measure_start(fleet, server, "again", report)
        server.execute("DROP DATABASE again")
        fleet.settle_in(url)
        with psycopg.connect(url) as connection:
            ((newest_there,),) = connection.execute("SELECT max(day) FROM slot").fetchall()
        since = newest_there + timedelta(days=1)
    else:
        fleet.write()
        measure_start(fleet, server, "fleet", report)
        since = first_day
    began = time.monotonic()
    fleet.fill(url, since)
    print(f"| (loaded in {time.monotonic() - began:.0f} s) |", flush=True)
    loaded.write_text(json.dumps(asked | {"first_day": f"{first_day}"}))
    measure_filled(fleet, server, url, report, is_kept=is_kept)
    print(f"\nload at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
