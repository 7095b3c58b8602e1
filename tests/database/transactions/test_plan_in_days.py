"""What a change of files means is told in days and accounts, and nothing of it is kept."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.load import LoadedSite, load_site
from daemon.site.difference import changed_part
from daemon.transactions.archive import take_over_archive, told_in_days
from tests.database.small_site import OPEN, ZONE, everything, freeze, meters, on, store

FILES = {
    "meterd.toml": """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[[line]]
name = "line"
tcp = "127.0.0.1:1"
""",
    "tariffs.toml": '[[tariff.T.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n',
    "meters.csv": "address,line,point,installed_on\n"
    "000000000001,line,P1,2026-01-01\n"
    "000000000002,line,P2,2026-01-01\n",
    "points.csv": "point,account,max_daily_kwh\nP1,A1,380\nP2,,380\n",
    "accounts.csv": "account,tariff,open_from,agreement\n"
    "A1,T,2026-03-01,signed\nA2,T,2026-03-01,signed\n",
}
CHANGES: dict[str, tuple[str, str, str, list[str]]] = {
    "a vacant point is given to an account": (
        "points.csv",
        "P2,,",
        "P2,A1,",
        ["P2: from TODAY on billed to A1; opening register 103.2"],
    ),
    "a limit was too small": (
        "points.csv",
        "P1,A1,380",
        "P1,A1,500",
        [
            "P1: at most 500 kWh a day instead of 380, always; 1 withheld days are judged again: "
            "2026-03-03"
        ],
    ),
    "a limit is lowered": (
        "points.csv",
        "P1,A1,380",
        "P1,A1,100",
        ["P1: at most 100 kWh a day instead of 380, from today on"],
    ),
    "a billed point has another residual rate and other phases": (
        "points.csv",
        "max_daily_kwh\nP1,A1,380\nP2,,380",
        "max_daily_kwh,phases,residual_rate\nP1,A1,380,3,flat\nP2,,380,,",
        [
            "P1: phases 3 instead of 1, residual rate flat instead of none; every billed day is "
            "rated again; told by OWNER, it waits for a second person: meterd document approve 1 "
            "--actor NAME -c SITE"
        ],
    ),
    "a billed point has other rates": (
        "points.csv",
        "max_daily_kwh\nP1,A1,380\nP2,,380",
        "max_daily_kwh,rates\nP1,A1,380,peak valley\nP2,,380,",
        [
            "P1: rates peak valley instead of sharp peak flat valley; every billed day is rated "
            "again; told by OWNER, it waits for a second person: meterd document approve 1 "
            "--actor NAME -c SITE"
        ],
    ),
    "a vacant point has other rates": (
        "points.csv",
        "max_daily_kwh\nP1,A1,380\nP2,,380",
        "max_daily_kwh,rates\nP1,A1,380,\nP2,,380,peak",
        ["P2: rates peak instead of sharp peak flat valley; nothing was billed with it"],
    ),
    "a billed point is taken out": (
        "points.csv",
        "P1,A1,380\n",
        "",
        [
            "P1: is in the files no more; its meter is not polled any more, and A1 stays billed for "
            "it until: meterd point release P1 --on DAY"
        ],
    ),
    "the first day of a vacant point is earlier": (
        "meters.csv",
        "P2,2026-01-01",
        "P2,2025-12-30",
        ["P2: its meter counts from 2025-12-30 on instead of 2026-01-01; 2 days more are owed"],
    ),
}


def written(folder: Path, file: str = "points.csv", old: str = "", new: str = "") -> LoadedSite:
    for name, text in FILES.items():
        (folder / name).write_text(text.replace(old, new) if name == file and old else text)
    if (file, new) == ("points.csv", "") and old:
        rows = FILES["meters.csv"].replace("000000000001,line,P1,2026-01-01\n", "")
        (folder / "meters.csv").write_text(rows)
    return load_site(folder / "meterd.toml")


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_files_is_told_in_days(database_url: str, tmp_path: Path, change: str) -> None:
    file, old, new, expected = CHANGES[change]

    async def story(connection: AsyncConnection[Any]) -> None:
        before = written(tmp_path)
        await take_over_archive(connection, before)
        found = await meters(connection)
        today = datetime.now(ZONE).date()
        for day, kwh in ((OPEN, 100), (OPEN + timedelta(1), 105), (OPEN + timedelta(2), 600)):
            await store(connection, freeze(found["P1"], day, kwh))
        await store(
            connection,
            freeze(found["P2"], today - timedelta(1), Decimal("101.20")),
            freeze(found["P2"], today, Decimal("103.20")),
        )
        after = written(tmp_path, file, old, new)
        kept = await everything(connection)
        told = await told_in_days(connection, *changed_part(before, after))
        owner, site = after.points_owner or "", str(after.path)
        names = {"OWNER": owner, "SITE": site, "TODAY": str(today)}
        words = [re.sub("OWNER|SITE|TODAY", lambda name: names[name[0]], it) for it in expected]
        assert [*told.days, *told.waiting] == words
        assert await everything(connection) == kept

    on(database_url, story)


def test_a_plan_of_many_changes_tells_the_first_ones_and_how_many_follow(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        before = written(tmp_path)
        (meter, _), (point, _) = before.archive.meters, before.archive.points
        site = replace(
            before,
            archive=replace(
                before.archive,
                meters=tuple(
                    replace(meter, address=f"{n:012d}", point=f"P{n}") for n in range(1, 101)
                ),
                points=tuple(replace(point, point=f"P{n}") for n in range(1, 101)),
            ),
        )
        await take_over_archive(connection, site)
        archive = site.archive
        lowered = tuple(replace(it, max_daily_kwh=Decimal(9)) for it in archive.points)
        after = replace(site, archive=replace(archive, points=lowered))
        told = (await told_in_days(connection, *changed_part(site, after))).days
        assert told[-1] == "and 50 more like these"
        assert len(told) == 51

    on(database_url, story)
