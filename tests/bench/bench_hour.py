"""An unattended hour at full load: do memory, open files, threads or the queue of the daemon grow?

Run it: `python tests/bench/bench_hour.py`, `--minutes 5` for a shorter one. `meterd run` reads the
simulated meters of `meters.c` over TCP, stores what they tell in its embedded PostgreSQL and bills
it. There are so many meters, with 62 days each, that it is not done before the time is over; some
of them are dead. Every 10 s a row goes into a CSV file, the daemon's log lies beside it. At the end
every stored value and the ledger are proven and the growth is printed, without the first ten
minutes (or the first sixth of a shorter run). PostgreSQL is made of other processes: what they use
is not counted."""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple
from zoneinfo import ZoneInfo

import psycopg
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.acquisition.planning.wanted import due_day, first_day
from daemon.quality.freeze import MEMORY_DAYS
from storage import ledger
from storage.database import open_database
from tests.bench.contest import allow_files, headline
from tests.bench.meters import Meters, address_of
from tests.servers.ports import free_port

ROOT = Path(__file__).parents[2]
ZONE, ZONE_MIN = "Asia/Shanghai", 480
SAMPLE_S = 10.0
SETTLING_MINUTES = 10.0
START_LIMIT_S = 900.0
STOP_LIMIT_S = 60.0
OUTCOMES = ("ok", "no_reply", "refused", "bad_frame", "late", "foreign")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PROGRAM = "from daemon.cli import main; main()"
"""Of the tree in which this file lies, whatever else is installed."""

SITE = """
[site]
name = "hour"
zone = "{zone}"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

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

[[tariff.home.version]]
effective_from = {change}
price = "0.5583"
"""
STORED = """
SELECT count(*), count(*) FILTER (WHERE state = 'published'),
       count(*) FILTER (WHERE total <> 10 * (address::bigint % 1000000) + 4 * (day - DATE '1970-01-01'))
FROM slot JOIN meter ON meter.id = slot.meter_id
"""
"""How many slots there are, how many are published, how many hold another total than `meters.c`
shows."""


class Sample(NamedTuple):
    """One row of the CSV file. Counters count from the daemon's start; `anonymous_kib` is memory
    that no file backs. `queue`: readings left in the queue after the newest batch was taken out."""

    second: float
    rss_kib: int
    anonymous_kib: int
    files: int
    threads: int
    cpu_s: float
    queue: int
    published: int
    withheld: int
    wanted: int
    backed_off: int
    ok: int
    no_reply: int
    refused: int
    bad_frame: int
    late: int
    foreign: int
    batches: int
    batches_failed: int
    ticks_failed: int
    restarts: int


class Proof(NamedTuple):
    """What the database held when all was over."""

    slots: int
    published: int
    wrong: int
    ledger: dict[str, int]


# --- the site -------------------------------------------------------------------------------------


def write_site(
    folder: Path, ports: Sequence[int], meters: int, http_port: int, today: date
) -> Path:
    """A line to each port, behind it `meters` meters; each has an account of its own, which may owe
    100 yuan: nobody pays in this hour, and nobody is to be cut."""
    opens, numbers = first_day(today, MEMORY_DAYS), range(len(ports) * meters)
    lines = "".join(LINE.format(number=number, port=port) for number, port in enumerate(ports))
    (folder / "tariffs.toml").write_text(TARIFFS.format(change=today - timedelta(days=10)))
    _table(folder / "accounts.csv", "account,tariff,open_from,agreement,warn_yuan,trip_yuan",
           (f"C{n},home,{opens},A-{n},-50,-100" for n in numbers))  # fmt: skip
    _table(folder / "points.csv", "point,account", (f"P{n},C{n}" for n in numbers))
    _table(folder / "meters.csv", "address,line,point,installed_on",
           (f"{address_of(n)},line-{n // meters:03d},P{n},{opens}" for n in numbers))  # fmt: skip
    site = folder / "meterd.toml"
    site.write_text(SITE.format(zone=ZONE, lines=lines, days=MEMORY_DAYS, port=http_port))
    return site


def _table(path: Path, head: str, rows: Iterator[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n")


@contextmanager
def running_daemon(site: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`meterd run`; SIGTERM at the end, which it must obey."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    with log.open("wb") as errors:
        command = [sys.executable, "-c", PROGRAM, "run", "-c", str(site)]
        process = subprocess.Popen(command, stderr=errors, env=environment)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_LIMIT_S)
        assert code == 0, f"the daemon ended with exit code {code}"
    finally:
        process.kill()
        process.wait()


# --- sampling -------------------------------------------------------------------------------------


class Figures:
    """The daemon's own figures, summed over all lines."""

    def __init__(self, http_port: int) -> None:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{http_port}/metrics", timeout=SAMPLE_S
        ) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        self._rows = [row for family in families for row in family.samples]

    def sum(self, name: str, **labels: str) -> int:
        wanted = labels.items()
        return int(
            sum(
                row.value for row in self._rows if row.name == name and wanted <= row.labels.items()
            )
        )


def sample(pid: int, figures: Figures, second: float) -> Sample:
    """What the process uses and has done by now."""
    folder = Path("/proc") / str(pid)
    counted = (
        (folder / "smaps_rollup").read_text().splitlines()[1:]
    )  # page by page: `statm` is rounded
    memory = {name: int(size.split()[0]) for name, size in (line.split(":") for line in counted)}
    cpu_ticks = sum(map(int, (folder / "stat").read_text().rpartition(")")[2].split()[11:13]))
    replies = {
        outcome: figures.sum("meterd_replies_total", outcome=outcome) for outcome in OUTCOMES
    }
    batches = figures.sum("meterd_batches_total")
    stored = figures.sum("meterd_batches_total", outcome="stored")
    return Sample(
        second=round(second, 2),
        rss_kib=memory["Rss"],
        anonymous_kib=memory["Anonymous"],
        files=len(list((folder / "fd").iterdir())),
        threads=len(list((folder / "task").iterdir())),
        cpu_s=cpu_ticks / TICKS_A_SECOND,
        queue=figures.sum("meterd_pipeline_queue_readings"),
        published=figures.sum("meterd_slots_decided_total", state="published"),
        withheld=figures.sum("meterd_slots_decided_total", state="suspect"),
        wanted=figures.sum("meterd_slots_wanted"),
        backed_off=figures.sum("meterd_meters_backed_off"),
        ok=replies["ok"],
        no_reply=replies["no_reply"],
        refused=replies["refused"],
        bad_frame=replies["bad_frame"],
        late=replies["late"],
        foreign=replies["foreign"],
        batches=stored,
        batches_failed=batches - stored,
        ticks_failed=figures.sum("meterd_ticks_total", outcome="failed"),
        restarts=figures.sum("meterd_task_restarts_total"),
    )


def wait_until_ready(process: subprocess.Popen[bytes], http_port: int) -> float:
    """How many seconds that took."""
    began = time.monotonic()
    while time.monotonic() - began < START_LIMIT_S:
        assert process.poll() is None, f"the daemon ended with exit code {process.returncode}"
        try:
            Figures(http_port)
        except OSError:  # its port is open from the start, but nobody answers yet
            time.sleep(0.2)
        else:
            return time.monotonic() - began
    raise AssertionError(f"not ready within {START_LIMIT_S} s")


def watch(
    process: subprocess.Popen[bytes], http_port: int, minutes: float, path: Path
) -> list[Sample]:
    """One sample every 10 s, until the time is over."""
    found: list[Sample] = []
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(Sample._fields)
        began = time.monotonic()
        while (second := len(found) * SAMPLE_S) <= 60 * minutes:
            time.sleep(max(0.0, began + second - time.monotonic()))
            found.append(sample(process.pid, Figures(http_port), time.monotonic() - began))
            rows.writerow(found[-1])
            file.flush()
    return found


# --- verdict --------------------------------------------------------------------------------------


def prove(data: Path) -> Proof:
    """Compare every stored total with what the simulators show, and let the ledger check itself."""
    with (
        open_database(None, data, create=False) as database,
        psycopg.connect(database.url) as connection,
    ):
        ((slots, published, wrong),) = connection.execute(STORED).fetchall()
        return Proof(slots, published, wrong, asyncio.run(_integrity(database.url)))


async def _integrity(url: str) -> dict[str, int]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        return await ledger.integrity(connection)


def slope_per_min(found: Sequence[Sample], column: str) -> float:
    """Of a line laid through the samples."""
    seconds = [each.second for each in found]
    return (
        60 * statistics.linear_regression(seconds, [getattr(each, column) for each in found]).slope
    )


def print_growth(settled: Sequence[Sample]) -> None:
    """A table of what must not grow, and of the load meanwhile."""
    print("| what | first | last | least | most | most - least | growth a minute |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for column in ("rss_kib", "anonymous_kib", "files", "threads", "queue"):
        values = [getattr(each, column) for each in settled]
        least, most = min(values), max(values)
        shown = " | ".join(
            f"{value:,}" for value in (values[0], values[-1], least, most, most - least)
        )
        print(f"| {column} | {shown} | {slope_per_min(settled, column):+.3f} |")
    speeds = [(b.published - a.published) / (b.second - a.second) for a, b in pairwise(settled)]
    shown = " | ".join(
        f"{value:,.0f}" for value in (speeds[0], speeds[-1], min(speeds), max(speeds))
    )
    print(f"| slots published a second | {shown} | | |\n")


def print_verdict(
    found: Sequence[Sample], settled: Sequence[Sample], proof: Proof, log: Path
) -> None:
    """What grew, what was done, what the log complains of."""
    first, last = settled[0], settled[-1]
    print_growth(settled)
    cpu = (last.cpu_s - first.cpu_s) / (last.second - first.second)
    print(
        f"duration {last.second / 60:.1f} min; slots published {last.published:,}, withheld {last.withheld:,}"
    )
    print(f"slots wanted at the end {last.wanted:,}; meters backed off {last.backed_off:,}")
    if last.wanted == 0:
        print("NOT AT FULL LOAD to the end: more --meters")
    print(
        f"handles {first.files} -> {last.files}; most in the queue {max(each.queue for each in found):,}"
    )
    print(
        f"task restarts {last.restarts}, failed batches {last.batches_failed}, failed ticks {last.ticks_failed}"
    )
    print(f"CPU of the daemon: {cpu:.0%} of one; by PostgreSQL and the meters more, not counted")
    print("replies: " + ", ".join(f"{outcome} {getattr(last, outcome):,}" for outcome in OUTCOMES))
    answers_a_slot = (last.ok - first.ok) / max(1, last.published - first.published)
    print(f"answers for each slot published: {answers_a_slot:.1f}")
    print(
        f"in the database: {proof.slots:,} slots, {proof.published:,} published, {proof.wrong} wrong; {proof.ledger}"
    )
    for (level, event), count in complaints(log).most_common():
        print(f"log: {level} {event}: {count:,}")


def complaints(log: Path) -> Counter[tuple[str, str]]:
    """How often the log says what, from warnings upwards. A line that is no JSON (a traceback)
    counts as one kind."""
    found: Counter[tuple[str, str]] = Counter()
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            said = (
                json.loads(line)
                if line.startswith("{")
                else {"level": "error", "event": "not JSON"}
            )
            if said["level"] not in ("debug", "info"):
                found[said["level"], said["event"]] += 1
    return found


def main() -> None:
    """Watch, prove, and print what grew."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--meters", type=int, default=500, help="behind each line")
    parser.add_argument("--dead", type=int, default=1, help="so many meters are silent ...")
    parser.add_argument("--of", type=int, default=50, help="... of so many")
    parser.add_argument("--csv", type=Path, default=Path("bench_hour.csv"))
    asked = parser.parse_args()
    allow_files()
    log, http_port = asked.csv.with_suffix(".log"), free_port()
    simulated = Meters("tcp", ports=asked.lines, zone_min=ZONE_MIN, dead=asked.dead, of=asked.of)
    today = due_day(datetime.now(ZoneInfo(ZONE)))
    with ExitStack() as opened:
        folder = Path(mkdtemp(prefix="meterd-hour-"))
        opened.callback(shutil.rmtree, folder, ignore_errors=True)
        ports = opened.enter_context(simulated).told["ports"]
        site = write_site(folder, ports, asked.meters, http_port, today)
        with running_daemon(site, log) as process:
            print(
                f"began {datetime.now(UTC):%H:%M:%S}, pid {process.pid}, {folder}",
                file=sys.stderr,
                flush=True,
            )
            start_s = wait_until_ready(process, http_port)
            found = watch(process, http_port, asked.minutes, asked.csv)
        proof = prove(folder / "data")
    settled_s = 60 * min(SETTLING_MINUTES, asked.minutes / 6)
    settled = [each for each in found if each.second >= settled_s]
    site_words = f"{asked.lines} lines of {asked.meters} meters of {MEMORY_DAYS} days, {asked.dead} of {asked.of} dead"
    print(headline(f"{asked.minutes:g} min, {site_words}, {asked.csv}"))
    print(
        f"ready after {start_s:.0f} s; from minute {settled[0].second / 60:.1f}, {len(settled)} samples:\n"
    )
    print_verdict(found, settled, proof, log)


if __name__ == "__main__":
    main()
