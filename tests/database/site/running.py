"""A site of two lines that runs on a database: its files in a folder, its lines on no wire."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from config.load import load_site
from daemon.acquisition.lines import Lines
from daemon.control.authority import Authority
from daemon.runtime.supervision import Supervisor
from daemon.site.assembly import Assembly, site_policy_of
from daemon.site.reload import Configuration
from daemon.transactions.archive import take_over_site
from storage.database import Pool
from tests.spooled import a_pipeline

ZONE = ZoneInfo("Asia/Shanghai")
FILES = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[[line]]
name = "a"
tcp = "127.0.0.1:1"

[[line]]
name = "b"
tcp = "127.0.0.1:8"
""",
    "tariffs.toml": '[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "0.5"\n',
    "meters.csv": "address,line,point,installed_on\n000000000001,a,P1,2026-01-01\n"
    "000000000002,b,P2,2026-01-01\n",
    "points.csv": "point,account\nP1,C1\nP2,C2\n",
    "accounts.csv": "account,tariff\nC1,home\nC2,home\n",
}


def with_a_running_site(
    url: str, folder: Path, test: Callable[[Configuration, Lines], Awaitable[None]]
) -> None:
    """The daemon's lines, started as a daemon starts them; files that are there already stay."""

    async def run() -> None:
        for name, text in FILES.items():
            if not (folder / name).exists():
                (folder / name).write_text(text)
        site = load_site(folder / "meterd.toml")
        authority = Authority(site_policy_of(site.settings.control), ZONE, True, timedelta)
        async with Pool(url, most=6) as pool, Supervisor() as supervisor:
            lines = Lines(supervisor)
            with a_pipeline(pool, authority, batch_readings=10, stored=lines.stored) as pipeline:
                assembly = Assembly(pool, authority, pipeline, may_backfill=lambda: True)
                configuration = Configuration(site, lines, assembly, pool, asyncio.Event())
                async with pool.connection() as connection:
                    meters = await take_over_site(connection, site)
                    await configuration.start(connection, meters)
                supervisor.start("reload", configuration.run)
                await test(configuration, lines)

    asyncio.run(run())


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Put `new` where `old` stands in one of the files."""
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
