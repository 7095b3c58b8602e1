"""The database is gone for ten minutes under load: is anything lost or doubled, and how fast does
what waited come in?

Run it: `python tests/bench/bench_outage.py`, `--outage-s 60` for a shorter one. The installed
`meterd run` reads the simulated meters of `meters.c` over TCP, at the pace of lines whose answers
take `--delay-ms` each. Its PostgreSQL, a real one that syncs, is stopped by its own process id and
started again later, while the lines go on. Before it is started the files of the spool are copied:
what a person would find there is what must be in the database afterwards, once, and withheld from
nobody. The last lines are the verdict, and the exit code is 1 where it is a
bad one. Goal: it drains 20 times faster than it filled."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.planning.wanted import due_day, first_day
from daemon.quality.freeze import MEMORY_DAYS
from daemon.spool.spool import open_spool
from storage import migrate
from storage.database import DAEMON, OWNER
from tests.bench.contest import allow_files, headline
from tests.bench.meters import Meters, address_of, energies
from tests.servers.commands import METERD
from tests.servers.ports import free_port
from tests.servers.postgres import Server, embedded_server

ZONE: Final = "Asia/Shanghai"
ZONE_MIN: Final = 480
GOAL: Final = 20
LOOK_S: Final = 0.1
PATIENCE_S: Final = 300.0
STOP_S: Final = 60.0
SITE = """
[site]
name = "outage"
zone = "{zone}"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[database]
url = {{ file = "database-url" }}

{lines}
[collection]
backfill_days = {days}

[http]
listen = "127.0.0.1:{port}"

[log]
format = "json"
"""
LINE = """
[[line]]
name = "line-{number:03d}"
tcp = "127.0.0.1:{port}"
"""
TARIFFS = """
[[tariff.home.version]]
effective_from = 2020-01-01
price = "0.5283"
"""
STORED = "SELECT address, day, total FROM reading JOIN meter ON meter.id = meter_id WHERE kind = 1"
SHOWN = """
SELECT address, day, total
FROM slot JOIN meter ON meter.id = meter_id LEFT JOIN doubt USING (point_id, day, kind)
WHERE state = 'published' OR next_step = 'wait'
"""
"""Published, or the first value of its point, which waits for a second one."""
Value = tuple[str, date, int]
"""Address, day, total in 0.01 kWh."""


@dataclass(frozen=True)
class Load:
    """How many lines and meters there are, and how long an answer takes."""

    lines: int
    meters: int
    delay_ms: int


@dataclass(frozen=True)
class Outage:
    """What came of one.

    `waited`: readings in the spool when the database was started again; `lost` of these: not
    stored; `doubled`: stored twice; `withheld`: stored, and not what its slot shows; `wrong`: shown
    with another total than its meter has."""

    away_s: float
    waited: int
    noticed_s: float
    drain_s: float
    stored: int
    lost: int
    doubled: int
    withheld: int
    wrong: int
    dead_letters: int
    dropped: int
    complaints: list[str]

    @property
    def times(self) -> float:
        """How many times faster it drained than it filled, from the moment that it was back."""
        return self.away_s / (self.noticed_s + self.drain_s)

    @property
    def faults(self) -> list[str]:
        """What must not be, in words."""
        counted = {
            "lost": self.lost,
            "stored twice": self.doubled,
            "withheld": self.withheld,
            "wrong": self.wrong,
            "dead letters": self.dead_letters,
            "dropped": self.dropped,
        }
        return [f"{count} {what}" for what, count in counted.items() if count] + self.complaints


class Daemon:
    """The installed program on files in a folder."""

    def __init__(self, folder: Path, http_port: int) -> None:
        self._folder = folder
        self._http_port = http_port
        self._log = folder / "meterd.log"

    @contextmanager
    def running(self) -> Iterator[None]:
        """SIGTERM at the end, which it must obey."""
        with self._log.open("wb") as log:
            command = [METERD, "run", "-c", str(self._folder / "meterd.toml")]
            process = subprocess.Popen(command, stderr=log)
        try:
            yield
            process.send_signal(signal.SIGTERM)
            code = process.wait(STOP_S)
            assert code == 0, f"the daemon ended with exit code {code}"
        finally:
            process.kill()
            process.wait()

    def storing(self) -> dict[str, Any]:
        """What `/healthz` tells of the way into the database."""
        url = f"http://127.0.0.1:{self._http_port}/healthz"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["storing"]
        return found

    def until(self, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        """What it tells once this holds."""
        give_up_at = time.monotonic() + PATIENCE_S
        while True:
            assert time.monotonic() < give_up_at, f"not within {PATIENCE_S} s: {what}"
            try:
                found = self.storing()
            except OSError:  # not there yet
                found = {}
            if found and holds(found):
                return found
            time.sleep(LOOK_S)

    def copy_of_spool(self) -> Path:
        """As a kill at this moment would leave it."""
        copy = self._folder / "copy"
        shutil.copytree(self._folder / "data" / "spool", copy)
        return copy

    def complaints(self) -> list[str]:
        """Errors in the log, but that the database went away, and that all is owed at the start."""
        events = [
            json.loads(line) if line.startswith("{") else {"level": "error", "event": line.strip()}
            for line in self._log.read_text(encoding="utf-8").splitlines()
        ]
        allowed = ("the database cannot store", "database away", "about to be lost")
        return [
            f"said: {event['event']}"
            for event in events
            if event["level"] in ("error", "critical") and not event["event"].startswith(allowed)
        ]


def write_site(folder: Path, url: str, ports: Sequence[int], meters: int, http_port: int) -> None:
    """A line to each port, behind it `meters` meters, each with an account of its own."""
    today = due_day(datetime.now(ZoneInfo(ZONE)))
    opens = first_day(today, MEMORY_DAYS)
    numbers = range(len(ports) * meters)
    lines = "".join(LINE.format(number=number, port=port) for number, port in enumerate(ports))
    (folder / "database-url").write_text(url)
    (folder / "tariffs.toml").write_text(TARIFFS)
    tables = {
        "accounts.csv": ("account,tariff,open_from,agreement", "C{n},home,{opens},A-{n}"),
        "points.csv": ("point,account", "P{n},C{n}"),
        "meters.csv": ("address,line,point,installed_on", "{address},line-{line:03d},P{n},{opens}"),
    }
    for name, (head, row) in tables.items():
        rows = [
            row.format(n=n, opens=opens, address=address_of(n), line=n // meters) for n in numbers
        ]
        (folder / name).write_text("\n".join([head, *rows]) + "\n")
    (folder / "meterd.toml").write_text(
        SITE.format(zone=ZONE, lines=lines, days=MEMORY_DAYS, port=http_port)
    )


def outage(server: Server, folder: Path, load: Load, away_s: float, before_s: float) -> Outage:
    """Take the server away for so long, and see what comes of it. `folder`: an empty one."""
    server.execute(f"CREATE DATABASE outage OWNER {OWNER}")
    url = server.url("outage", DAEMON)
    owner_url = server.url("outage", OWNER)
    migrate(url, owner_url)
    http_port = free_port()
    daemon = Daemon(folder, http_port)
    meters = Meters("tcp", ports=load.lines, zone_min=ZONE_MIN, delay_ms=load.delay_ms)
    with meters:
        write_site(folder, url, meters.told["ports"], load.meters, http_port)
        with daemon.running():
            daemon.until(lambda storing: storing["seconds_since_commit"] is not None, "it stores")
            time.sleep(before_s)
            with server.stopped():
                began = time.monotonic()
                daemon.until(lambda storing: not storing["stores"], "it is noticed")
                time.sleep(max(0.0, away_s - (time.monotonic() - began)))
                copy = daemon.copy_of_spool()
                was_away_s = time.monotonic() - began
            returned = time.monotonic()
            daemon.until(lambda storing: storing["stores"], "it stores again")
            noticed = time.monotonic()
            last = daemon.until(lambda storing: not storing["spooled"], "the spool is empty")
            emptied = time.monotonic()
            time.sleep(before_s)
    with open_spool(copy, 10**12) as spool:
        waited = [
            (reading.address, reading.frozen_at.date(), reading.registers[0] or 0)
            for reading in spool.unstored()
        ]
    with psycopg.connect(server.url("outage")) as connection:
        stored = connection.execute(STORED).fetchall()
        shown = connection.execute(SHOWN).fetchall()
        ((dead_letters,),) = connection.execute("SELECT count(*) FROM dead_letter").fetchall()
    return Outage(
        away_s=was_away_s,
        waited=len(waited),
        noticed_s=noticed - returned,
        drain_s=emptied - noticed,
        stored=len(stored),
        lost=len(set(waited) - set(stored)),
        doubled=len(stored) - len({(address, day) for address, day, _ in stored}),
        withheld=len(set(stored) - set(shown)),
        wrong=sum(not _is_true(value) for value in shown),
        dead_letters=dead_letters,
        dropped=sum(last["dropped"].values()),
        complaints=daemon.complaints(),
    )


def _is_true(value: Value) -> bool:
    address, day, total = value
    return total == energies(address, (day - date(1970, 1, 1)).days)[0]


def main() -> None:
    """Take it away, and print the verdict."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outage-s", type=float, default=600.0)
    parser.add_argument("--before-s", type=float, default=20.0, help="under load before and after")
    parser.add_argument("--lines", type=int, default=40)
    parser.add_argument("--meters", type=int, default=100, help="behind each line")
    parser.add_argument("--delay-ms", type=int, default=100, help="before each answer")
    asked = parser.parse_args()
    allow_files()
    load = Load(asked.lines, asked.meters, asked.delay_ms)
    with embedded_server(durable=True) as server, tempfile.TemporaryDirectory(dir="/tmp") as folder:
        found = outage(server, Path(folder), load, asked.outage_s, asked.before_s)
    print(headline(f"{load.lines} lines of {load.meters} meters, {load.delay_ms} ms an answer"))
    print(
        f"away {found.away_s:.0f} s; {found.waited:,} readings waited, "
        f"{found.waited / found.away_s:,.0f} came each second"
    )
    print(
        f"noticed {found.noticed_s:.1f} s after its return, then {found.drain_s:.1f} s until all "
        f"was stored: {found.waited / found.drain_s:,.0f} each second beside the same load"
    )
    print(f"in the database {found.stored:,} readings")
    for fault in found.faults:
        print(f"FAULT: {fault}")
    is_quick = found.times >= GOAL
    print(f"{found.times:.1f} times as fast as it filled, goal {GOAL}: "
          f"{'reached' if is_quick else 'MISSED'}")  # fmt: skip
    print("nothing lost, nothing doubled" if not found.faults else "NOT WELL")
    sys.exit(0 if is_quick and not found.faults else 1)


if __name__ == "__main__":
    main()
