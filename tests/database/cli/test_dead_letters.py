"""A reading that the database refused is looked at, stored after all, or given up."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.spool.record import as_content, waiting
from storage import dead_letters
from tests.database.small_site import OPEN, Site, balance, freeze, on, rows, slots
from tests.servers import commands

pytestmark = pytest.mark.acceptance
SETTINGS = """
[site]
name = "s"
zone = "Asia/Shanghai"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

[database]
url = { file = "url" }
"""
REFUSED = "NumericValueOutOfRange: out of range"


@pytest.fixture
def folder(database_url: str, tmp_path: Path) -> Path:
    """A site whose database holds two dead letters, of P1 and of a meter that nobody knows."""

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await Site.of(1).take_over(connection))["P1"]
        found = as_content(waiting(freeze(meter, OPEN, "100.00")))
        await dead_letters.add(connection, found, REFUSED)
        await dead_letters.add(connection, {**found, "address": "000000000099"}, REFUSED)

    on(database_url, story)
    for name, text in {"meterd.toml": SETTINGS, "url": database_url}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def meterd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("deadletter", *arguments, "-c", folder / "meterd.toml")


def listed(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    done = meterd(folder, "list", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_list_tells_what_it_is_since_when_and_why(folder: Path) -> None:
    first, second = listed(folder)
    assert [first["id"], second["id"]] == [1, 2]
    assert first["reason"] == REFUSED
    assert first["content"]["address"] == "000000000001"
    assert first["content"]["registers"] == [10_000]
    assert 0 <= first["age_s"] < 600
    table = meterd(folder, "list").stdout.splitlines()
    assert table[0].split("\t")[:3] == ["id", "age", "meter"]
    assert table[1].split("\t")[2:6] == ["000000000001", f"{OPEN}T00:00:00", "100.00", REFUSED]


def test_a_replayed_reading_is_stored_once_and_its_slot_filled(
    folder: Path, database_url: str
) -> None:
    done = meterd(folder, "replay", "1", "--by", "anna")
    assert (done.returncode, done.stdout, done.stderr) == (0, "dead letter 1 is stored\n", "")
    assert [letter["id"] for letter in listed(folder)] == [2]
    replayed, _ = listed(folder, "--all")
    assert replayed["actor"] == "anna"
    assert replayed["replayed_at"] is not None
    again = meterd(folder, "replay", "1")
    assert again.returncode == 1
    assert "dead letter 1 was replayed by anna at" in again.stdout

    async def story(connection: AsyncConnection[Any]) -> None:
        assert list(await slots(connection, "P1")) == [OPEN]
        assert await rows(connection, "SELECT count(*) FROM reading") == [1]
        assert await balance(connection, "A1") == 0

    on(database_url, story)


def test_one_that_still_cannot_be_stored_keeps_the_newer_reason_and_stops_no_other(
    folder: Path,
) -> None:
    done = meterd(folder, "replay", "--all")
    assert done.returncode == 1
    assert "dead letter 1 is stored" in done.stdout
    assert "dead letter 2 still cannot be stored: no meter of this address" in done.stdout
    assert "1 of 2 dead letters are left" in done.stderr
    (left,) = listed(folder)
    assert (left["id"], left["actor"]) == (2, None)
    assert "no meter of this address" in left["reason"]


def test_what_is_dropped_stays_with_who_and_why(folder: Path, database_url: str) -> None:
    done = meterd(folder, "drop", "2", "--reason", "a test meter", "--by", "anna")
    assert (done.returncode, done.stdout) == (0, "dead letter 2 is dropped\n")
    with psycopg.connect(database_url) as connection:
        (typed,) = connection.execute("SELECT actor, by_way_of, command FROM act").fetchall()
    assert typed[0] == "anna"
    assert re.fullmatch(r".+ on (no terminal|/dev/\S+)", typed[1])
    assert typed[2].startswith("meterd deadletter drop 2 --reason 'a test meter' --by anna")
    dropped = listed(folder, "--all")[1]
    assert (dropped["actor"], dropped["drop_reason"]) == ("anna", "a test meter")
    assert [letter["id"] for letter in listed(folder)] == [1]
    assert "dropped by anna: a test meter" in meterd(folder, "list", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["replay"], 2, "give the ids of dead letters, or --all"),
        (["replay", "1", "--all"], 2, "give the ids of dead letters, or --all"),
        (["replay", "seven"], 2, "'seven' is no whole number"),
        (["drop", "0", "--reason", "x"], 2, "0 is not in the range x>=1"),
        (["drop", "1"], 2, "Missing option '--reason'"),
        (["drop", "1", "--reason", " "], 2, "--reason must say why"),
        (["drop", "1", "77", "--reason", "x"], 1, "no dead letter 77; `meterd deadletter list`"),
    ],
)
def test_what_is_no_dead_letter_is_told_in_words_and_nothing_is_done(
    folder: Path, arguments: list[str], code: int, told: str
) -> None:
    done = meterd(folder, *arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert len(listed(folder)) == 2


def test_an_unknown_id_stops_no_other(folder: Path) -> None:
    done = meterd(folder, "replay", "77", "1")
    assert done.returncode == 1
    assert "no dead letter 77" in done.stdout
    assert "dead letter 1 is stored" in done.stdout


def test_a_database_that_cannot_store_is_no_reading_s_fault(folder: Path, owner_url: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(owner_url)["dbname"]
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    done = meterd(folder, "replay", "1")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "read-only" in done.stderr
    (first, _) = listed(folder)
    assert first["reason"] == REFUSED
