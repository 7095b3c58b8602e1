"""What waits for the database: where it is, what a kill leaves, and whose fault an error is."""

# ruff: noqa: ASYNC110 - what waits in a pipeline tells nobody when it changes

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog.testing
from psycopg import AsyncConnection, errors
from psycopg.conninfo import make_conninfo

from daemon.pipeline.outlet import Outlet, slots_of
from daemon.pipeline.pipeline import Pipeline
from daemon.pipeline.portions import LEAST_DRAINED
from daemon.quality.arrival import Arrival
from daemon.spool.spool import open_spool
from storage.archive import SiteMeter
from storage.blame import is_of_the_whole
from storage.database import Pool, bounded
from tests.database.small_site import DAY, OPEN, SHADOW, Site, connect, freeze, rows, slots

PATIENCE_S = 30.0
DAYS = [OPEN + n * DAY for n in range(6)]
Slot = tuple[int, date]


@dataclass
class Running:
    """A pipeline, and what it told."""

    pipeline: Pipeline
    folder: Path
    stored: list[Slot] = field(default_factory=list)
    kept: list[Slot] = field(default_factory=list)
    missed: int = 0

    def start(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(run()) for run in (self.pipeline.run, self.pipeline.keep)]

    def on_disk(self) -> int:
        """What a daemon would find that is started after a kill of this one."""
        copy = self.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.folder, copy)
        with open_spool(copy, 10**8) as spool:
            return spool.readings


@asynccontextmanager
async def a_running(
    url: str, folder: Path, meters: Sequence[SiteMeter], max_bytes: int = 10**8
) -> AsyncIterator[Running]:
    """A pipeline of which no task runs yet; `start` those."""
    by_address = {meter.address: meter for meter in meters}
    with open_spool(folder, max_bytes) as spool:
        async with Pool(url, most=2, timeout=1.0) as pool:
            running: Running

            def missed() -> None:
                running.missed += 1

            outlet = Outlet(
                meters=by_address.get,
                stored=lambda slots: running.stored.extend(slots),
                kept=lambda slots: running.kept.extend(slots),
                missed=missed,
            )
            pipeline = Pipeline(pool, SHADOW, spool, outlet, batch_readings=100)
            running = Running(pipeline, folder)
            yield running


@asynccontextmanager
async def going(running: Running) -> AsyncIterator[None]:
    tasks = running.start()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


def at_midnight(arrival: Arrival) -> Arrival:
    """As the host reads it of a meter without memory."""
    return replace(arrival, freeze=replace(arrival.freeze, host_offset=timedelta(seconds=1)))


@contextmanager
def read_only(url: str) -> Iterator[None]:
    """As the server's administrator does it."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    out = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    options = "-c default_transaction_read_only=off"
    administrator = make_conninfo(url, user="postgres", options=options)
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        connection.execute(out)
        yield
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
        connection.execute(out)


def tell(url: str, count: int, story: Callable[[dict[str, SiteMeter]], Awaitable[None]]) -> None:
    async def run() -> None:
        async with await connect(url) as connection:
            meters = await Site.of(count).take_over(connection)
        await story(meters)

    asyncio.run(run())


def test_a_freeze_that_nobody_can_tell_again_is_on_disk_before_anything_is_done_with_it(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        meter = meters["P1"]
        async with a_running(database_url, tmp_path / "spool", [meter]) as running:
            assert running.pipeline.submit(at_midnight(freeze(meter, OPEN, 100)))
            assert running.on_disk() == 1
            async with going(running):
                await until(lambda: (meter.meter_id, OPEN) in running.stored)
                await until(lambda: (meter.meter_id, OPEN) in running.kept)
            assert running.on_disk() == 0
        async with await connect(database_url) as connection:
            assert list(await slots(connection, "P1")) == [OPEN]

    tell(database_url, 1, story)


def test_while_the_database_stores_what_can_be_told_again_costs_no_disk(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        meter = meters["P1"]
        async with a_running(database_url, tmp_path / "spool", [meter]) as running, going(running):
            for n, day in enumerate(DAYS):
                assert running.pipeline.submit(freeze(meter, day, 100 + n))
                assert running.on_disk() == 0
            await until(lambda: len(running.stored) == len(DAYS))
            assert running.kept == []

    tell(database_url, 1, story)


def test_what_waits_is_safe_before_it_is_said_and_stored_when_it_can_be(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        found = list(meters.values())
        async with a_running(database_url, tmp_path / "spool", found) as running:
            with structlog.testing.capture_logs() as logged:
                async with going(running):
                    with read_only(database_url):
                        for meter in found:
                            assert running.pipeline.submit(freeze(meter, OPEN, 100))
                        await until(lambda: len(running.kept) == len(found))
                        assert running.on_disk() == len(found)
                        assert running.stored == []
                        await until(lambda: not running.pipeline.condition()["stores"])
                    await until(lambda: len(running.stored) == len(found))
            events = [line["event"] for line in logged]
            assert events.count("the database cannot store, readings go to the spool") == 1
            assert events.count("the database stores again") == 1
        async with await connect(database_url) as connection:
            assert await rows(connection, "SELECT count(*) FROM reading") == [len(found)]
            assert await rows(connection, "SELECT count(*) FROM dead_letter") == [0]

    tell(database_url, 3, story)


def test_live_readings_do_not_wait_for_what_waited(database_url: str, tmp_path: Path) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        found = list(meters.values())
        async with a_running(database_url, tmp_path / "spool", found) as running:
            running.pipeline._drain_readings = LEAST_DRAINED
            waiting = [freeze(meter, day, 100) for day in DAYS[:5] for meter in found]
            running.pipeline._spool.append(waiting)
            live = freeze(found[0], DAYS[5], 100)
            assert running.pipeline.submit(live)
            async with going(running):
                await until(lambda: (found[0].meter_id, DAYS[5]) in running.stored)
                assert len(running.stored) < len(waiting) / 2
                await until(lambda: len(running.stored) == len(waiting) + 1)

    tell(database_url, 100, story)


def test_a_reading_of_a_meter_that_is_not_read_any_more_is_stored_and_of_a_stranger_is_kept(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        meter = meters["P1"]
        stranger = replace(meter, address="000000000099")
        async with a_running(database_url, tmp_path / "spool", []) as running:
            for told in (meter, stranger):
                assert running.pipeline.submit(at_midnight(freeze(told, OPEN, 100)))
            async with going(running):
                await until(lambda: not running.pipeline.condition()["spooled"])
        async with await connect(database_url) as connection:
            assert list(await slots(connection, "P1")) == [OPEN]
            (content,) = await rows(connection, "SELECT content ->> 'address' FROM dead_letter")
            assert content == stranger.address

    tell(database_url, 1, story)


def test_what_was_dropped_is_looked_for_again_when_the_rest_is_stored(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        found = list(meters.values())
        async with a_running(database_url, tmp_path / "spool", found, 16_000) as running:
            running.pipeline._spool.append(
                [freeze(meter, day, 100) for day in DAYS for meter in found]
            )
            running.pipeline._work.set()
            left = running.pipeline.condition()["spooled"]
            assert left < len(DAYS) * len(found)
            async with going(running):
                await until(lambda: running.missed == 1)
                assert len(running.stored) == left

    tell(database_url, 100, story)


def test_in_a_long_outage_the_oldest_that_meters_can_tell_again_goes_first_and_each_is_counted(
    database_url: str, tmp_path: Path
) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        found = list(meters.values())
        told_once = [at_midnight(freeze(meter, OPEN, 100)) for meter in found[:40]]
        again = [freeze(meter, day, 110) for day in DAYS[1:5] for meter in found]
        async with a_running(database_url, tmp_path / "spool", found, 16_000) as running:
            pipeline = running.pipeline
            async with going(running):
                with read_only(database_url):
                    assert all(map(pipeline.submit, told_once))
                    await until(lambda: not pipeline.condition()["stores"])
                    assert all(map(pipeline.submit, again))
                    await until(lambda: pipeline.condition()["in_memory"] == 0)
                await until(lambda: pipeline.condition()["spooled"] == 0)
                await until(lambda: running.missed == 1)
            dropped = pipeline.condition()["dropped"]
        lost = dropped["with_memory"]
        assert 0 < lost < len(again)
        assert dropped["without_memory"] == 0
        assert sorted(running.stored) == sorted(slots_of([*told_once, *again[lost:]]))

    tell(database_url, 100, story)


def test_a_stop_keeps_what_is_in_memory(database_url: str, tmp_path: Path) -> None:
    async def story(meters: dict[str, SiteMeter]) -> None:
        meter = meters["P1"]
        async with a_running(database_url, tmp_path / "spool", [meter]) as running:
            for day in DAYS:
                assert running.pipeline.submit(freeze(meter, day, 100))
            await running.pipeline.finish()  # nothing runs that would store them
            assert running.on_disk() == len(DAYS)

    tell(database_url, 1, story)


def test_a_use_of_a_connection_that_takes_too_long_ends_with_an_error(database_url: str) -> None:
    async def story() -> None:
        async with Pool(database_url, most=2) as pool:
            with pytest.raises(psycopg.OperationalError) as severed:
                async with pool.connection(lasts_s=0.2) as connection:
                    await connection.execute("SELECT pg_sleep(60)")
            assert is_of_the_whole(severed.value)
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
        async with await connect(database_url) as connection:
            with bounded(connection, 60):
                await connection.execute("SELECT 1")

    asyncio.run(story())


def test_every_connection_of_the_pool_is_limited(server: Any, database_url: str) -> None:
    async def story() -> None:
        async with Pool(database_url, most=2) as pool, pool.connection() as connection:
            assert await limits(connection) == ["5min", "10s", "1min"]

    async def limits(connection: AsyncConnection[Any]) -> list[str]:
        names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        return [(await rows(connection, f"SHOW {name}"))[0] for name in names]

    async def stricter() -> None:
        async with Pool(database_url, most=2) as pool, pool.connection() as connection:
            assert (await limits(connection))[0] == "7s"

    asyncio.run(story())
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    server.execute(f"ALTER DATABASE {name} SET statement_timeout = '7s'")
    asyncio.run(stricter())


@pytest.mark.parametrize(
    ("error", "is_whole"),
    [
        (errors.NumericValueOutOfRange("22003"), False),
        (errors.InvalidTextRepresentation("22P02"), False),
        (errors.ForeignKeyViolation("23503"), False),
        (errors.CheckViolation("23514"), False),
        (errors.ProgramLimitExceeded("54000"), False),
        (psycopg.DataError("not sent"), False),
        (AssertionError("1.234 kWh has more than 2 decimals"), False),
        (errors.ReadOnlySqlTransaction("25006"), True),
        (errors.InsufficientPrivilege("42501"), True),
        (errors.UndefinedTable("42P01"), True),
        (errors.DiskFull("53100"), True),
        (errors.TooManyConnections("53300"), True),
        (errors.OutOfMemory("53200"), True),
        (errors.LockNotAvailable("55P03"), True),
        (errors.QueryCanceled("57014"), True),
        (errors.AdminShutdown("57P01"), True),
        (errors.CannotConnectNow("57P03"), True),
        (errors.IoError("58030"), True),
        (errors.DataCorrupted("XX001"), True),
        (errors.DeadlockDetected("40P01"), True),
        (psycopg.OperationalError("the connection is lost"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (OSError("no route"), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_sqlstate_says_whose_fault_it_is(error: Exception, is_whole: bool) -> None:
    assert is_of_the_whole(error) is is_whole
