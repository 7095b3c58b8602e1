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
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
FILL: Final = {
    "begin": """
        SET session_replication_role = replica;
        INSERT INTO chain SELECT id, 1, '{first}' FROM point;
        UPDATE account SET state = 'active';
        TRUNCATE to_settle;
        ALTER TABLE link DROP CONSTRAINT link_pkey;
    """,
    "day": """
        INSERT INTO slot (day, point_id, meter_id, kind, rule_set, link_days, reading_id, total)
        SELECT date '{first}' + {n}, point_id, meter_id, 1, 1, least(1, {n}), point_id, 1000 * {n}
        FROM installation WHERE {n} < {days} - {lacked} OR point_id % {lacking} <> 0 ORDER BY point_id;
        INSERT INTO link (point_id, account_id, from_day, to_day, meter_id, used_total, end_total, modulus, decimals, ratio)
        SELECT point_id, account_id, s.day - 1, s.day, meter_id, 1000, total, 100000000, 2, 1
        FROM slot s JOIN point_account USING (point_id) WHERE s.day = date '{first}' + {n} AND {n} > 0 ORDER BY point_id;
    """,
    "end": """
        ALTER TABLE link ADD CONSTRAINT link_pkey PRIMARY KEY (point_id, from_day) WITH (fillfactor = 67);
        ALTER INDEX link_pkey RESET (fillfactor);
        SELECT brin_summarize_new_values('links_by_day');
    """,
}
"""Replica: references hold by the way it is made, and checking millions of them is not measured.

A key that grows day by day, at each point's end, has leaves that are two thirds full, 30.8 bytes a
link after a year; made at once at the end, and so full, it has 30.2 of them. Pages of links are summarised by day as they fill, by
autovacuum, which these servers do without."""


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
    """A site of so many points in `folder`, with `days` days present up to `newest`."""

    folder: Path
    points: int
    days: int
    newest: date

    @property
    def config(self) -> Path:
        """Its meterd.toml."""
        return self.folder / "meterd.toml"

    @property
    def first_day(self) -> date:
        """The opening day of every account, and the first that is there."""
        return self.newest - timedelta(days=self.days - 1)

    def write(self, url: str) -> None:
        """Its files; every account is open, each point is billed to one of its own."""
        lines = range(-(-self.points // METERS_OF_A_LINE))
        (self.folder / "url").write_text(url)
        (self.folder / "archive").mkdir()
        self.config.write_text(
            '[site]\nname = "fleet"\nzone = "Asia/Shanghai"\ndata_directory = "data"\n'
            'archive = "archive"\ntariffs = "tariffs.toml"\n'
            '[database]\nurl = { file = "url" }\n'
            "[collection]\nbackfill_days = 62\nreconnect_s = 3600\n"
            f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            + "".join(f'[[line]]\nname = "gate-{n}"\ntcp = "{_gateway(n)}"\n' for n in lines)
        )
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

    def fill(self, url: str) -> None:
        """Slots and links of every day, as if all had been read and settled; no statistics."""
        months = {(self.first_day + timedelta(days=n)).replace(day=1) for n in range(self.days)}
        said = {"first": self.first_day, "days": self.days}
        said |= {"lacking": LACKING_ONE_IN, "lacked": LACKED_DAYS}
        with psycopg.connect(url) as connection:
            connection.execute("SELECT make_partitions(%s)", ([*months],))
            connection.execute(FILL["begin"].format(**said).encode())
            for n in range(self.days):
                connection.execute(FILL["day"].format(n=n, **said).encode())
            connection.execute(FILL["end"].encode())

    def darken(self, url: str) -> None:
        """Nothing of the newest day is there, of no point."""
        with psycopg.connect(url) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute("DELETE FROM slot WHERE day = %s", (self.newest,))
            connection.execute("DELETE FROM link WHERE to_day = %s", (self.newest,))
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


def measure(fleet: Fleet, server: Server, url: str, report: Report) -> None:
    """Everything, without statistics and with them."""
    with running(fleet.config, server) as (_, cost):
        report.row("first start, empty database", cost, None)
    fleet.fill(url)
    measure_filled(fleet, server, url, report)


def measure_filled(fleet: Fleet, server: Server, url: str, report: Report) -> None:
    """All but the first start."""
    linear_s = 15 * fleet.points / 100_000
    start_s = max(3.0, linear_s if fleet.points <= 100_000 else 120.0 * fleet.points / 1_000_000)
    at_once = max(1.0, fleet.points / 100_000)
    for statistics in ("none", "fresh"):
        if statistics == "fresh":
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("VACUUM ANALYZE")
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
            paid = idle(*pay_in(f"{statistics}-daemon"))
            report.row(f"{told}topup, by the daemon", paid, ONE_S)
        paid = command(fleet, server, *pay_in(f"{statistics}-alone"))
        report.row(f"{told}topup, no daemon runs", paid, ONE_S)
        report.row(f"{told}account show", command(fleet, server, "account", "show", NUMBER), ONE_S)
        report.row(f"{told}account list", command(fleet, server, "account", "list"), 1 * at_once)
        for name in ("gaps", "standstill"):
            report.row(f"{told}{name}, 1 % lack", command(fleet, server, name), 2 * at_once)
    fleet.darken(url)
    for name in ("gaps", "standstill"):
        report.row(f"{name}, all lack yesterday", command(fleet, server, name), 2 * at_once)
        report.row(f"{name} --json, all lack", command(fleet, server, name, "--json"), 2 * at_once)


def pay_in(key: str) -> tuple[str, ...]:
    """The words of a payment to one of the accounts."""
    return ("topup", NUMBER, "10", "--key", key)


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
    chosen = parser.parse_args()
    newest = datetime.now(ZONE).date()
    if datetime.now(ZONE).hour < 6:
        newest -= timedelta(days=1)
    report = Report()
    print(f"{chosen.points:,} points with {chosen.days} days\n")
    report.head()
    with tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder:
        fleet = Fleet(Path(folder), chosen.points, chosen.days, newest)
        start = timescale_server if chosen.timescale else embedded_server
        with start(on_disk=chosen.on_disk) as server:
            server.execute("CREATE DATABASE fleet")
            fleet.write(server.url("fleet"))
            measure(fleet, server, server.url("fleet"), report)
    found_ms = scan_ms(1_000_000)
    print(f"\nscan of 1,000,000 meters x 62 days: {found_ms:.1f} ms of the processor (goal 20)")
    if found_ms > 20:
        report.missed.append("scan")
    print(f"missed: {', '.join(report.missed)}" if report.missed else "every goal reached")


if __name__ == "__main__":
    main()
