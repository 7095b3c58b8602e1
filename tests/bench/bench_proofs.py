"""Bills of a month that prove themselves: read, written and looked at, and verified by themselves.

Accounts with a yearly ladder, read every day: so a bill holds every day since January. The time of
a processor is that of Python; the time of the whole is that of the database too.

PYTHONPATH=. .venv/bin/python tests/bench/bench_proofs.py [--accounts 1000] [--days 31]"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog
from psycopg import AsyncConnection

from config.tariff_form import read_version
from daemon.billing.proof import verify
from daemon.cli.prove import AT_ONCE, write
from daemon.transactions.archive import tariff_row
from daemon.transactions.proofs.bills import bills
from daemon.transactions.sealing import seal
from storage import migrate, proofs
from storage.archive import take_over
from storage.database import DAEMON, OWNER
from storage.owner import claim
from tests.database.small_site import ZONE, Site, freeze, meters, store
from tests.servers.postgres import embedded_server

FIRST: Final = date(2026, 1, 1)
DAY: Final = timedelta(days=1)
LADDER: Final = {
    "effective_from": "2026-01-01",
    "energy": {"mode": "flat", "price": "0.5283"},
    "ladder": {
        "cycle": "year",
        "method": "adder",
        "bounds_kwh": ["300", "2760"],
        "adders": ["0", "0.05", "0.3"],
    },
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=1000)
    arguments.add_argument("--days", type=int, default=31)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with embedded_server() as server, TemporaryDirectory() as folder:
        server.execute(f"CREATE DATABASE proofs OWNER {OWNER}")
        migrate(server.url("proofs", DAEMON), server.url("proofs", OWNER))
        url = server.url("proofs", DAEMON)
        asyncio.run(made(url, server.url("proofs", OWNER), given.accounts, given.days))
        told(url, given, Path(folder))


def told(url: str, given: argparse.Namespace, folder: Path) -> None:
    began = Clock()
    asyncio.run(written(url, given.days, folder))
    print(f"read, written and looked at: {began.took()}")
    paths = sorted(folder.glob("*.zip"))
    size = sum(path.stat().st_size for path in paths) / len(paths)
    print(f"{len(paths)} bills of {given.days} days, {size / 1000:.0f} kB each")
    (folder / "verify.py").write_bytes(verify.unpacked(paths[0].read_bytes())["verify.py"])
    began = Clock()
    command = [sys.executable, "-I", str(folder / "verify.py"), *map(str, paths)]
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.stdout.count(b"\nVALID") == len(paths), run.stdout.decode()[-500:]
    print(f"verified by themselves: {began.took()}")


class Clock:
    """Time and processor time from here on, that of programs it started too."""

    def __init__(self) -> None:
        self.began = self.now()

    def now(self) -> tuple[float, float]:
        return time.perf_counter(), sum(os.times()[:4])

    def took(self) -> str:
        whole, processor = (now - was for now, was in zip(self.now(), self.began, strict=True))
        return f"{whole:.1f} s, {processor:.1f} s of a processor"


async def written(url: str, days: int, folder: Path) -> None:
    month = (FIRST + (days - 1) * DAY).replace(day=1)
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        accounts = await proofs.in_service(connection, month)
        for start in range(0, len(accounts), AT_ONCE):
            portion = accounts[start : start + AT_ONCE]
            for bill in await bills(connection, portion, month, ZONE):
                write(bill, folder)


async def made(url: str, owner: str, accounts: int, days: int) -> None:
    """Accounts with so many days that are billed and sealed."""
    version, mistakes = read_version(LADDER, "T")
    assert version is not None, mistakes
    site = Site.of(accounts, opened_on=FIRST)
    rows = replace(site.rows(), tariffs=[tariff_row("T", version)])
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await claim(connection, "bench", ZONE)
        await take_over(connection, rows, datetime.now(UTC))
        known = await meters(connection)
        for number in range(days + 1):
            day = FIRST + number * DAY
            read = [freeze(it, day, 100 + 9 * number) for it in known.values()]
            await store(connection, *read)
            await seal(connection, datetime.now(UTC))
            if number == 1:
                await analyzed(owner)
        await seal(connection, datetime.now(UTC))


async def analyzed(owner: str) -> None:
    """What a server does by itself, and that of the tests does not."""
    async with await AsyncConnection.connect(owner, autocommit=True) as connection:
        await connection.execute("ANALYZE")


if __name__ == "__main__":
    main()
