"""An outage of the database under load: how fast the spool fills, and how fast it drains beside the
same load.

Run it: `python tests/bench/bench_spool.py`. Readings come at a steady rate, one in twenty of a meter
without memory; the database (a real one, that syncs) lets nobody in for a while, and then is there
again while readings go on coming. An outage of ten minutes is scaled by time: `--outage-s` is the
one that is measured, and both rates are what they are, so the ratio is that of ten minutes. Judge
the ratio (goal: 20) and how long live readings waited. The load at which the ratio is 20 is told
too: what the same machine drains with nothing beside it, divided by 21."""

from __future__ import annotations

# ruff: noqa: ASYNC110 - what waits in a pipeline tells nobody when it changes
import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg
import uvloop
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).parents[2]))

from daemon.pipeline.outlet import Outlet, slots_of
from daemon.pipeline.pipeline import Pipeline
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime import logs
from daemon.spool.spool import open_spool
from daemon.transactions.collect import collect
from protocols.reading import DailyFreeze, Quantity
from storage import migrate
from storage.archive import SiteMeter
from storage.database import Pool
from tests.database.small_site import SHADOW, ZONE, Site, connect
from tests.servers.postgres import Server, embedded_server

ONE_WITHOUT_MEMORY_IN = 20
FIRST_DAY = datetime.now(UTC).date() - timedelta(days=20)
PAST_DAYS = 2
"""Of every meter there when it begins: a first value costs more, and comes once."""
STEP_S = 0.02
PATIENCE_S = 600.0


@dataclass(frozen=True)
class Measured:
    """Readings per second in and out, what they cost, and how long live ones waited at most."""

    filled_per_s: float
    drained_per_s: float
    drain_s: float
    fill_cpu_us: float
    our_cpu_us: float
    database_cpu_us: float
    longest_wait_s: float

    @property
    def ratio(self) -> float:
        """How many times faster it drains than it filled."""
        return self.drained_per_s / self.filled_per_s


def readings(meters: Sequence[SiteMeter], first: int) -> Iterator[Arrival | PolledFreeze]:
    """Day after day the freeze of every meter, from the `first` day of the bench on."""
    for back in itertools.count(first):
        day = FIRST_DAY + timedelta(days=back)
        for number, meter in enumerate(meters):
            yield _reading(meter, day, 10_000 + 1000 * back + number % 1000, number)


def _reading(meter: SiteMeter, day: date, hundredths: int, number: int) -> Arrival | PolledFreeze:
    now = datetime.now(UTC)
    if number % ONE_WITHOUT_MEMORY_IN:
        return PolledFreeze(meter, day, (hundredths,), now, None)
    freeze = DailyFreeze(
        meter.address,
        Quantity.FORWARD_ACTIVE_ENERGY,
        datetime(day.year, day.month, day.day),
        (Decimal(hundredths).scaleb(-2),),
        now,
        host_offset=timedelta(seconds=1),
    )
    return Arrival(meter, freeze)


class Load:
    """Readings at a steady rate, and how long the oldest one that is not stored waits."""

    def __init__(
        self, pipeline: Pipeline, source: Iterator[Arrival | PolledFreeze], per_s: float
    ) -> None:
        self.submitted = 0
        self.live: dict[tuple[int, date], float] | None = None
        """While it is one: by slot when those were told that are not stored yet."""
        self.longest_wait_s = 0.0
        self._pipeline = pipeline
        self._source = source
        self._per_s = per_s

    async def run(self, seconds: float | None = None) -> None:
        """For so long, or until cancelled."""
        began = time.monotonic()
        sent = 0
        while seconds is None or time.monotonic() - began < seconds:
            due = int((time.monotonic() - began) * self._per_s)
            for _ in range(due - sent):
                await self._submit(next(self._source))
            sent = max(sent, due)
            await asyncio.sleep(STEP_S)

    def stored(self, slots: Iterable[tuple[int, date]]) -> None:
        """Note how long live readings waited."""
        now = time.monotonic()
        for slot in slots:
            told = None if self.live is None else self.live.pop(slot, None)
            if told is not None:
                self.longest_wait_s = max(self.longest_wait_s, now - told)

    async def _submit(self, arrival: Arrival | PolledFreeze) -> None:
        if self.live is not None:
            (slot,) = slots_of([arrival])
            self.live[slot] = time.monotonic()
        while not self._pipeline.submit(arrival):
            await asyncio.sleep(STEP_S)
        self.submitted += 1


def server_cpu_s(server: Server) -> float:
    """Processor time of the server and of everything it ever started."""
    with psycopg.connect(server.url()) as connection:
        parent = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
    postmaster = int(parent.rpartition(")")[2].split()[1])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for process in (postmaster, *map(int, children)):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
        ticks += sum(map(int, fields[11:13]))
        if process == postmaster:
            ticks += sum(map(int, fields[13:15]))  # of those that have ended
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def away(server: Server, url: str) -> Iterator[None]:
    """Meanwhile nobody gets into this database."""
    name = conninfo_to_dict(url)["dbname"]
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
    server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    yield
    server.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")


@asynccontextmanager
async def running(
    url: str, folder: Path, meters: Sequence[SiteMeter], per_s: float
) -> AsyncIterator[tuple[Pipeline, Load]]:
    """A pipeline as a daemon has it, and what comes in."""
    by_address = {meter.address: meter for meter in meters}
    nobody = Outlet(
        meters=by_address.get,
        stored=lambda slots: load.stored(slots),
        kept=lambda slots: None,
        missed=lambda: None,
    )
    with open_spool(folder / "spool", 10**9) as spool:
        async with Pool(url, most=4) as pool:
            pipeline = Pipeline(pool, replace(SHADOW), spool, nobody, batch_readings=1000)
            load = Load(pipeline, readings(meters, PAST_DAYS), per_s)
            runs = (pipeline.run, pipeline.keep, pipeline.settle)
            tasks = [asyncio.create_task(run()) for run in runs]
            try:
                yield pipeline, load
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def measure(
    server: Server, url: str, *, meters: int, per_s: float, outage_s: float, is_live: bool
) -> Measured:
    """One outage. `is_live`: readings go on coming while the spool drains."""
    async with await connect(url) as connection:
        site = Site.of(meters, opened_on=FIRST_DAY, installed_on=FIRST_DAY - timedelta(days=10))
        found = list((await site.take_over(connection)).values())
        past = itertools.islice(readings(found, 0), PAST_DAYS * len(found))
        while batch := list(itertools.islice(past, 1000)):
            await collect(connection, batch, ZONE)
    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute("DELETE FROM to_settle")  # the money of before is not what is measured
        owner.execute("ANALYZE")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        async with running(url, Path(folder), found, per_s) as (pipeline, load):
            await load.run(3.0)
            await _until_stored(pipeline)
            with away(server, url):
                before = load.submitted
                cpu_before = time.process_time()
                await load.run(outage_s)
                fill_cpu_s = time.process_time() - cpu_before
                filled = load.submitted - before
            return await _drain(server, pipeline, load, filled, outage_s, fill_cpu_s, is_live)


async def _drain(
    server: Server,
    pipeline: Pipeline,
    load: Load,
    filled: int,
    outage_s: float,
    fill_cpu_s: float,
    is_live: bool,
) -> Measured:
    live = asyncio.create_task(load.run()) if is_live else None
    while not pipeline.condition()["stores"]:
        await asyncio.sleep(STEP_S)  # until the next attempt, 5 s at most
    load.live = {}
    began = time.monotonic()
    before = load.submitted
    our_cpu_s = time.process_time()
    database_cpu_s = server_cpu_s(server)
    backlog = pipeline.condition()["spooled"]
    while pipeline.condition()["spooled"] > 0.001 * filled:
        await asyncio.sleep(STEP_S)
        assert time.monotonic() - began < PATIENCE_S, pipeline.condition()
    drain_s = time.monotonic() - began
    stored = backlog + load.submitted - before
    if live is not None:
        live.cancel()
    await _until_stored(pipeline)
    return Measured(
        filled_per_s=filled / outage_s,
        drained_per_s=backlog / drain_s,
        drain_s=drain_s,
        fill_cpu_us=1e6 * fill_cpu_s / filled,
        our_cpu_us=1e6 * (time.process_time() - our_cpu_s) / stored,
        database_cpu_us=1e6 * (server_cpu_s(server) - database_cpu_s) / stored,
        longest_wait_s=load.longest_wait_s,
    )


async def _until_stored(pipeline: Pipeline) -> None:
    while pipeline.condition()["in_memory"] or pipeline.condition()["spooled"]:
        await asyncio.sleep(STEP_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--meters", type=int, default=5000)
    parser.add_argument("--per-s", type=float, default=150.0, help="readings that come each second")
    parser.add_argument("--outage-s", type=float, default=60.0)
    chosen = parser.parse_args()
    logs.configure(level="error")
    print(
        f"{chosen.meters} meters, {chosen.per_s:g} readings/s, the database is away for "
        f"{chosen.outage_s:g} s (ten minutes, scaled by time); no lines and meters are in it, and no "
        "reading in doubt\n"
    )
    print("| load while it drains | filled/s | drained/s | times | drain s | fill CPU us |"
          " our CPU us | PostgreSQL CPU us | live waited s |")  # fmt: skip
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with embedded_server(durable=True) as server:
        for number, is_live in enumerate((True, False)):
            name = f"bench_{number}"
            server.execute(f"CREATE DATABASE {name}")
            url = server.url(name)
            migrate(url)
            found = uvloop.run(
                measure(
                    server,
                    url,
                    meters=chosen.meters,
                    per_s=chosen.per_s,
                    outage_s=chosen.outage_s,
                    is_live=is_live,
                )
            )
            print(
                f"| {'the same' if is_live else 'none'} | {found.filled_per_s:,.0f} | "
                f"{found.drained_per_s:,.0f} | {found.ratio:.1f} | {found.drain_s:.1f} | "
                f"{found.fill_cpu_us:.0f} | {found.our_cpu_us:.0f} | {found.database_cpu_us:.0f} | "
                f"{found.longest_wait_s:.2f} |"
            )
    print(
        f"\ndrains 20 times faster than it fills up to {found.drained_per_s / 21:,.0f} readings/s"
    )


if __name__ == "__main__":
    main()
