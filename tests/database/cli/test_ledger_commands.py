"""A payment needs the ledger, nothing else: commands on accounts go on while files are mended."""

import json
import os
import pty
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg import AsyncConnection

from daemon.transactions.sealing import seal
from tests.database.small_site import NOW, Site, on
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

[[line]]
name = "line"
tcp = "127.0.0.1:1"

[control]
mode = "auto"
password = { file = "password" }
"""
FILES = {
    "meterd.toml": SETTINGS,
    "password": "123456",
    "tariffs.toml": '[[tariff.T.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n',
    "archive/meters.csv": "address,line,point,installed_on\n000000000001,line,P1,2026-01-01\n",
    "archive/points.csv": "point,account\nP1,A1\n",
    "archive/accounts.csv": "account,tariff\nA1,T\n",
}
BROKEN: dict[str, dict[str, str | None]] = {
    "nothing": {},
    "a meter": {"archive/meters.csv": "address,line,point,installed_on\n1,nowhere,P9,yesterday\n"},
    "everything": {
        **dict.fromkeys([name for name in FILES if name != "meterd.toml"]),
        "meterd.toml": SETTINGS.replace('tcp = "127.0.0.1:1"', "baud = 7")
        .replace('"archive"', "5")
        .replace("[control]", "[control]\nmax_reading_age_h = -1"),
    },
}


@pytest.fixture(params=BROKEN)
def broken(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Path:
    """A site with an account that is cut, and something wrong in its files."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await connection.execute("UPDATE account SET state = 'active'")
        await connection.execute("UPDATE point_supply SET supply_state = 'disconnected'")

    on(database_url, story)
    for name, text in {**FILES, "url": database_url, **BROKEN[request.param]}.items():
        if text is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    checked = meterd(tmp_path, "check")
    assert checked.returncode == (0 if request.param == "nothing" else 78), checked.stdout
    return tmp_path


def meterd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run(*arguments, "-c", folder / "meterd.toml")


@pytest.mark.acceptance
def test_a_mistake_in_the_files_stops_no_payment(broken: Path) -> None:
    paid = meterd(broken, "topup", "A1", "10", "--key", "R1")
    assert (paid.returncode, paid.stderr) == (0, "")
    assert paid.stdout.startswith("posted: balance 10.00 yuan")
    assert "holds the button of the meter" in paid.stdout

    shown = meterd(broken, "account", "show", "A1", "--json")
    assert (shown.returncode, json.loads(shown.stdout)["balance_fen"]) == (0, 1000)
    (movement,) = json.loads(shown.stdout)["movements"]
    assert movement["recorded_at"].endswith("+08:00"), "not the site's time"

    points = meterd(broken, "supply", "show", "--json")
    assert (points.returncode, json.loads(points.stdout)["point_id"]) == (0, "P1")

    gaps = meterd(broken, "gaps", "--days", "3", "--json")
    assert gaps.returncode == 1, gaps.stderr
    assert json.loads(gaps.stdout)["days"] == 3


@pytest.mark.acceptance
def test_who_takes_a_payment_in_is_told_whose_it_is_and_what_the_customer_must_do(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)
        await connection.execute(
            "UPDATE account SET state = 'active', name = 'Flat 1', address = '5 Lake Rd'"
        )
        await connection.execute("UPDATE point SET reconnect = 'allow_close', area = 'east'")
        await connection.execute("UPDATE point_supply SET supply_state = 'disconnected'")

    on(database_url, story)
    for name, text in {"meterd.toml": SETTINGS, "url": database_url, "password": "1"}.items():
        (tmp_path / name).write_text(text)
    paid = meterd(tmp_path, "topup", "A1", "10", "--key", "R1 ", "--operator", "li")
    assert paid.stdout.splitlines()[1] == (
        "account A1: Flat 1, 5 Lake Rd; P1 (east), meter 000000000001"
    )
    assert "holds the button of the meter" in paid.stdout.splitlines()[2]
    again = meterd(tmp_path, "topup", "A1", "10", "--key", " R1", "--operator", "wang")
    assert again.stdout.startswith("already posted: balance 10.00 yuan")
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT actor FROM ledger_transaction WHERE kind = 'top_up'")
        assert rows.fetchall() == [("person:li",)]


@pytest.mark.acceptance
@pytest.mark.parametrize(("answer", "balance_fen"), [(b"n\n", 0), (b"y\n", 200_100)])
def test_much_money_is_asked_about_on_a_terminal(
    small: Path, answer: bytes, balance_fen: int
) -> None:
    ours, theirs = pty.openpty()
    paying = subprocess.Popen(
        [commands.METERD, "topup", "A1", "2001", "--key", "R9", "-c", str(small / "meterd.toml")],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, answer)
    _, asked = paying.communicate(timeout=60)
    os.close(ours)
    assert b"Post 2001.00 yuan to account A1?" in asked
    assert paying.returncode == (0 if balance_fen else 1)
    shown = meterd(small, "account", "show", "A1", "--json")
    assert json.loads(shown.stdout)["balance_fen"] == balance_fen


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://meterd:s3%cret@127.0.0.1/x",
        "postgresql://meterd:s3@cret@127.0.0.1/x",
        "postgresql://meterd:s3/cret@127.0.0.1/x",
        "s3cret",
    ],
)
@pytest.mark.parametrize("command", ["check", "run", "topup A1 10 --key k", "account list", "gaps"])
def test_a_malformed_url_of_the_database_is_told_without_its_password(
    tmp_path: Path, url: str, command: str
) -> None:
    for name, text in {**FILES, "url": url}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = meterd(tmp_path, *command.split())
    assert done.returncode == 78, done.stderr
    assert "meterd.toml:10: database.url: " in done.stderr
    assert "cret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.acceptance
def test_an_account_is_opened_by_what_the_database_knows_of_its_tariff(
    database_url: str, tmp_path: Path
) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1, opened_on=None, agreement=None).take_over(connection)

    on(database_url, story)
    for name, text in {"meterd.toml": SETTINGS, "url": database_url}.items():
        (tmp_path / name).write_text(text)
    opening = ("account", "open", "A1", "--agreement", "signed", "--from")
    early = meterd(tmp_path, *opening, "2025-12-31")
    assert (early.returncode, early.stderr) == (
        1,
        "meterd: tariff T starts on 2026-01-01; nothing was opened\n",
    )
    today = datetime.now(ZoneInfo("Asia/Shanghai")).date()
    for day, why in {
        today + timedelta(days=367): "is more than a year away",
        today - timedelta(days=63): "no meter remembers more than 62 days",
    }.items():
        never = meterd(tmp_path, *opening, str(day))
        assert (never.returncode, why in never.stderr) == (1, True), never.stderr
    day = today - timedelta(days=30)
    opened = meterd(tmp_path, *opening, str(day), "--actor", "li")
    assert (opened.returncode, opened.stdout) == (
        0,
        f"account A1 is pending, billed from {day}\n",
    )
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT actor FROM account_journal").fetchall() == [("li",)]


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('zone = "Asia/Shanghai"', "", "meterd.toml:2: site.zone: is missing"),
        ('mode = "auto"', 'mode = "live"', "meterd.toml:17: control.mode: "),
        ("url =", "urls =", "database.urls: unknown key (did you mean url?)"),
        ("[control]", "[control", "meterd.toml:16: file: is no TOML"),
    ],
)
def test_what_a_payment_does_need_is_told_as_check_tells_it(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    (tmp_path / "meterd.toml").write_text(SETTINGS.replace(old, new))
    (tmp_path / "url").write_text("postgresql://127.0.0.1:1/nothing")
    refused = meterd(tmp_path, "topup", "A1", "10", "--key", "R1")
    assert refused.returncode == 78
    assert told in refused.stderr
    assert refused.stderr.endswith("1 mistake\n")


@pytest.fixture
def small(database_url: str, tmp_path: Path) -> Path:
    """A site with an account, and settings that know its database."""

    async def story(connection: AsyncConnection[Any]) -> None:
        await Site.of(1).take_over(connection)

    on(database_url, story)
    for name, text in {"meterd.toml": SETTINGS, "url": database_url}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.acceptance
def test_a_payment_that_bounced_is_taken_back_by_two_persons(small: Path) -> None:
    assert meterd(small, "topup", "A1", "10", "--key", "R1", "--channel", "bank").returncode == 0
    asked = meterd(small, "payment", "reverse", "pay:bank:R1", "--reason", "no money", "--as", "Li")
    assert asked.stdout.startswith("document 1 waits for a second person, nothing is posted yet:\n")
    assert meterd(small, "document", "list", "--waiting").stdout.count("payment_reversal") == 1
    shown = meterd(small, "document", "show", "1")
    assert 'content: {"cause": "bounced", "payment": "pay:bank:R1"}' in shown.stdout

    refused = meterd(small, "document", "approve", "1", "--actor", "li")
    assert (refused.returncode, refused.stderr[:19]) == (1, "meterd: same_person")
    approved = meterd(small, "document", "approve", "1", "--actor", "Wang")
    assert approved.stdout == (
        "pay:bank:R1 of 10.00 yuan is taken back from A1: balance 0.00 yuan, credit low\n"
        "document 1 counts\n"
    )
    again = meterd(small, "payment", "reverse", "pay:bank:R1", "--reason", "no money", "--as", "Li")
    assert (again.returncode, again.stderr[:24]) == (1, "meterd: reversed_already")
    shown = meterd(small, "account", "show", "A1", "--json")
    assert [row["kind"] for row in json.loads(shown.stdout)["movements"]] == [
        "payment_reversal",
        "top_up",
    ]


@pytest.mark.acceptance
def test_verify_names_the_row_that_the_owner_changed(small: Path, owner_url: str) -> None:
    for number in (1, 2, 3):
        meterd(small, "topup", "A1", "10", "--key", f"R{number}")

    async def sealed(connection: AsyncConnection[Any]) -> None:
        await seal(connection, NOW)

    on((small / "url").read_text(), sealed)
    whole = meterd(small, "ledger", "verify")
    assert (whole.returncode, whole.stdout.splitlines()[0]) == (
        0,
        "blocks 1 to 1 are as they were sealed: 5 transactions, names and steps, 0 transactions not sealed yet",
    )
    known = whole.stdout.splitlines()[1]
    assert meterd(small, "ledger", "verify", "--known", known).returncode == 0
    other = known[:-1] + ("0" if known[-1] != "0" else "1")
    assert "not the known one" in meterd(small, "ledger", "verify", "--known", other).stderr
    assert meterd(small, "ledger", "verify", "--known", "1:xyz").returncode == 2

    with psycopg.connect(owner_url) as owner:
        owner.execute("ALTER TABLE journal DISABLE TRIGGER USER")
        owner.execute("UPDATE journal SET fen = 2000 WHERE key = 'pay:counter:R2'")
        owner.execute("ALTER TABLE journal ENABLE TRIGGER USER")
    changed = meterd(small, "ledger", "verify", "--from", "1")
    assert (changed.returncode, changed.stdout) == (
        1,
        "block 1: transaction 4 (pay:counter:R2) was changed\n",
    )


@pytest.mark.acceptance
def test_a_month_is_closed_once(small: Path) -> None:
    closed = meterd(small, "ledger", "close", "2026-03", "--reason", "invoiced")
    assert (closed.returncode, closed.stdout) == (0, "2026-03 is closed\n")
    again = meterd(small, "ledger", "close", "2026-03")
    assert (again.returncode, again.stderr) == (1, "meterd: 2026-03 is closed already\n")
