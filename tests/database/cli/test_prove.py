"""meterd prove: what it writes is verified by the program inside, without meterd."""

import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from daemon.transactions.sealing import seal
from tests.database.small_site import DAY, NOW, OPEN, ZONE, Site, freeze, meters, on, pay, store
from tests.servers import commands

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


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Path:
    """Two accounts with a month of days behind them, of which nothing is sealed yet."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(2).take_over(connection)
        known = await meters(connection)
        days = range(33)
        read = [
            freeze(it, OPEN + day * DAY, 100 + 7 * day) for it in known.values() for day in days
        ]
        await store(connection, *read)
        await pay(connection, "A1", 5000)

    on(database_url, story)
    (tmp_path / "meterd.toml").write_text(SETTINGS)
    (tmp_path / "url").write_text(database_url)
    return tmp_path


def change(database_url: str, *statements: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        for statement in statements:
            await connection.execute(statement.encode())

    on(database_url, story)


def as_owner(database_url: str) -> str:
    """Who can switch triggers off, as the owner of the tables can."""
    return make_conninfo(database_url, user="postgres")


def sealed(database_url: str) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await seal(connection, NOW)
        await seal(connection, NOW)

    on(database_url, story)


def prove(site: Path, *arguments: str) -> tuple[int, bytes, str]:
    done = commands.run_for_bytes("prove", *arguments, "-c", site / "meterd.toml")
    return done.returncode, done.stdout, done.stderr.decode()


def verified(*arguments: object) -> list[str]:
    command = [sys.executable, "-I", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False).stdout.decode().splitlines()


@pytest.mark.acceptance
def test_a_bill_is_written_that_runs_and_reaches_the_hash_that_is_told(
    site: Path, database_url: str
) -> None:
    sealed(database_url)
    code, content, told = prove(site, "A1", "2026-03")
    assert code == 0, told
    (site / "bill.zip").write_bytes(content)
    head = told.split()[-1]
    assert told == f"1 bill proved up to {head}\n"
    lines = verified(site / "bill.zip", "--published", head)
    assert lines[-1] == "VALID account A1, 2026-03"
    assert "2026-03 energy: the registers make 108.50 yuan, 108.50 were posted" in lines
    assert f"the hash of block {head.split(':')[0]} is the published one" in lines


@pytest.mark.acceptance
def test_all_bills_go_into_a_folder_and_follow_each_other(site: Path, database_url: str) -> None:
    sealed(database_url)
    for month in ("2026-03", "2026-04"):
        code, content, told = prove(site, "--all", month, "--to", str(site / "bills"))
        assert (code, content) == (0, b""), told
        assert told.startswith("2 bills proved up to ")
    written = sorted((site / "bills").iterdir())
    assert [it.name for it in written] == [
        f"{account}-{month}.zip" for account in ("A1", "A2") for month in ("2026-03", "2026-04")
    ]
    lines = verified(written[0], *written)
    assert lines.count("2026-04 opens with the balance of 2026-03") == 2
    assert sum(line.startswith("VALID") for line in lines) == 4


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("A9", "2026-03"), 1, "no account A9; accounts come from accounts.csv"),
        (("A1", "2026-02"), 1, "account A1 was not in service in 2026-02"),
        (("--all", "2026-02", "--to", "bills"), 1, "no account was in service in 2026-02"),
        (("A1", "A2", "2026-03"), 2, "several bills go into a folder: --to FOLDER"),
        (("--all", "2026-03"), 2, "several bills go into a folder: --to FOLDER"),
        (("2026-03",), 2, "name accounts, or take --all"),
        (("--all", "A1", "2026-03"), 2, "name accounts, or take --all"),
        (("A1", "2026-13"), 2, "2026-13"),
        (("A1", "2199-12"), 2, "2199-12 has not begun"),
        (("A1", "2026-03"), 1, "is not sealed yet; ask again in a minute"),
    ],
)
def test_what_cannot_be_proved_is_said(
    site: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    found = prove(site, *arguments)
    assert (found[0], found[1]) == (code, b"")
    assert told in found[2]
    assert "Traceback" not in found[2]


@pytest.mark.acceptance
def test_a_block_before_the_last_posting_proves_nothing(site: Path, database_url: str) -> None:
    sealed(database_url)
    change(database_url, "SELECT 1")

    async def more(connection: AsyncConnection[Any]) -> None:
        await pay(connection, "A1", 700, "2")
        await seal(connection, NOW)
        await seal(connection, NOW)

    on(database_url, more)
    month = f"{datetime.now(ZONE):%Y-%m}"
    code, _, told = prove(site, "A1", month, "--head", "1")
    assert code == 1
    assert "block 1 was sealed before all of it was posted; the first that holds it is 2" in told
    code, _, told = prove(site, "A1", month, "--head", "9")
    assert code == 1
    assert "there is no block 9, the last one is 2" in told
    assert prove(site, "A1", "2026-03", "--head", "1")[0] == 0


@pytest.mark.acceptance
def test_a_changed_value_has_to_be_settled_first(site: Path, database_url: str) -> None:
    sealed(database_url)
    day = date(2026, 3, 10)
    change(
        database_url,
        f"UPDATE slot SET total = total + 1 WHERE day = '{day}' AND point_id = 1",
        f"UPDATE slot SET reading_id = NULL WHERE day = '{day}' AND point_id = 1",
    )
    code, _, told = prove(site, "A1", "2026-03")
    assert code == 1
    assert f"point P1, {day}: what is published is not what was billed" in told
    assert prove(site, "A2", "2026-03")[0] == 0


@pytest.mark.acceptance
def test_what_was_changed_behind_the_ledger_is_not_handed_out(
    site: Path, database_url: str
) -> None:
    sealed(database_url)
    change(
        as_owner(database_url),
        "SET session_replication_role = replica",
        "UPDATE journal SET fen = fen - 1 WHERE id = (SELECT min(id) FROM journal WHERE stream > 0)",
    )
    code, content, told = prove(site, "--all", "2026-03", "--to", str(site / "bills"))
    assert (code, content) == (1, b"")
    assert "block 1 does not hold what was sealed: `meterd ledger verify` names what" in told
