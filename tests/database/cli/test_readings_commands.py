"""What a clerk sees of a point: its readings, what is withheld, and what settles that."""

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.database.cli.test_ledger_commands import FILES
from tests.database.small_site import DAY, SHADOW, TODAY, Site, freeze, on, store
from tests.servers import commands

FIRST = TODAY - 3 * DAY


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Path:
    """Point P1 with two true values, one that cannot be, and nothing since."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meters = await Site.of(1, opened_on=FIRST).take_over(connection)
        for number, kwh in enumerate(("100", "105", "9105")):
            await store(
                connection, freeze(meters["P1"], FIRST + number * DAY, kwh), authority=SHADOW
            )

    on(database_url, story)
    for name, text in {**FILES, "url": database_url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def meterd(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, cwd=site)


def objects(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_list_names_what_is_withheld_with_its_owner(site: Path) -> None:
    done = meterd(site, "quality", "list", "--json")
    assert done.returncode == 1, done.stderr
    (row,) = objects(done)
    assert (row["point"], row["account"], row["state"]) == ("P1", "A1", "suspect")
    assert (row["first_day"], row["total"]) == (str(FIRST + 2 * DAY), "9105.00")
    assert row["codes"] == ["V08"]
    assert "more than the limit allows" in row["words"]
    assert row["commands"]


def test_the_list_can_be_narrowed(site: Path) -> None:
    for narrowed in (["--code", "V11"], ["--point", "P9"], ["--age", "9"], ["--state", "rejected"]):
        assert meterd(site, "quality", "list", *narrowed).returncode == 0


def test_show_tells_chain_reads_limits_and_tasks(site: Path) -> None:
    (found,) = objects(meterd(site, "quality", "show", "P1", "--json"))
    assert [row["register"] for row in found["chain"]] == ["100.00", "105.00", "9105.00"]
    assert len(found["reads"]) == 3
    assert found["limits"][0]["max_daily_kwh"] == "380"
    assert len(found["tasks"]) == 1
    told = meterd(site, "quality", "show", "P1")
    assert told.returncode == 0, told.stderr
    assert "limits" in told.stdout or "9105.00" in told.stdout


def test_raw_readings_have_their_source_and_times(site: Path) -> None:
    rows = objects(meterd(site, "readings", "P1", "--raw", "--json"))
    assert [row["register"] for row in rows] == ["100.00", "105.00", "9105.00"]
    assert {row["source"] for row in rows} == {"frozen by the meter"}
    assert all(row["meter"] == "000000000001" and row["read at"] for row in rows)


def test_slots_can_be_had_as_csv(site: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(meterd(site, "readings", "P1", "--csv").stdout)))
    assert [(row["register"], row["state"]) for row in rows][-1] == ("9105.00", "suspect")


def test_an_unknown_point_is_said_to_be_unknown(site: Path) -> None:
    for command in (["readings", "P9"], ["quality", "show", "P9"]):
        done = meterd(site, *command)
        assert (done.returncode, done.stdout) == (1, "")
        assert "there is no point P9" in done.stderr


def test_standstill_says_who_is_not_billed(site: Path) -> None:
    done = meterd(site, "standstill", "--json")
    assert done.returncode == 1, done.stderr
    (row,) = objects(done)
    assert (row["reason"], row["owner"]) == ("withheld", "daemon")
    assert row["since"] == str(FIRST + DAY)
    (task,) = objects(meterd(site, "quality", "list", "--json"))
    assert row["commands"] == task["commands"]
    assert (row["why"], row["next"]) == (task["why"], task["commands"][0])
