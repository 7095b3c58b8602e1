"""What settles a withheld day or held use has one answer, whichever command is asked."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.database.cli.test_ledger_commands import FILES
from tests.database.small_site import DAY, NOW, SHADOW, TODAY, Site, freeze, on, store
from tests.servers import commands

FIRST = TODAY - 20 * DAY
HONEST = {day: Decimal(6041 + 5 * day) for day in range(21)}
PASTS = {
    "wrong first value": {**HONEST, 0: Decimal(100)},
    "first value too high": {**HONEST, 0: Decimal(60_000)},
    "held span": {day: kwh for day, kwh in HONEST.items() if not 5 < day < 15},
    "restart": {day: kwh - (6000 if day > 9 else 0) for day, kwh in HONEST.items()},
}


def written(database_url: str, folder: Path, past: Mapping[int, Decimal]) -> Path:
    """The site of a point P1 that told this, each day twice."""

    async def story(connection: AsyncConnection[Any]) -> None:
        site = Site.of(opened_on=FIRST, installed_on=FIRST, first_registers_are_known=False)
        meter = (await site.take_over(connection))["P1"]
        once = [freeze(meter, FIRST + day * DAY, kwh) for day, kwh in past.items()]
        later = NOW + timedelta(hours=1)
        again = [replace(it, freeze=replace(it.freeze, arrived_at=later)) for it in once]
        for batch in (once, again):
            await store(connection, *batch, authority=SHADOW)

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def meterd(site: Path, *arguments: str) -> str:
    done = commands.run(*arguments, cwd=site)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def told(site: Path, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in meterd(site, *arguments, "--json").splitlines()]


@pytest.mark.parametrize("past", PASTS)
def test_standstill_list_and_show_name_the_same_commands(
    database_url: str, tmp_path: Path, past: str
) -> None:
    site = written(database_url, tmp_path, PASTS[past])
    listed = told(site, "quality", "list")
    stopped = [it for it in told(site, "standstill") if it["reason"] in ("held", "withheld")]
    assert bool(stopped) == bool(listed)
    for row in stopped:
        day = row["held_to"] or row["doubt_day"]
        (task,) = [it for it in listed if it["first_day"] <= day <= it["last_day"]]
        assert (row["why"], row["owner"]) == (task["why"], task["owner"])
        assert day != task["first_day"] or row["commands"] == task["commands"]
        (shown,) = told(site, "quality", "show", "P1", day)
        assert row["commands"] in [it["commands"] for it in shown["tasks"]]


def test_the_jump_behind_a_wrong_first_value_names_that_value_wherever_it_is_told(
    database_url: str, tmp_path: Path
) -> None:
    site = written(database_url, tmp_path, PASTS["wrong first value"])
    (row,) = told(site, "standstill")
    assert row["reason"] == "held"
    (reject,) = [it for it in row["commands"] if f"reject P1 {FIRST} 100.00" in it]
    (release,) = [it for it in row["commands"] if "release-link" in it]
    assert reject.endswith(f"(if 100.00 of {FIRST} is wrong)")
    assert f"(if 100.00 of {FIRST} and " in release
    command = reject.split(" (")[0].replace("WHY", "photo").replace("YOU", "Li")
    meterd(site, *shlex.split(command)[1:])

    listed = told(site, "quality", "list")
    assert {it["first_day"] for it in listed} == {str(FIRST)}, "all the others are published"
    assert not any("release-link" in it for row in listed for it in row["commands"])
