"""What is said of an account by commands: who says it, who agrees, and what shows."""

import json
from pathlib import Path

import pytest

from tests.database.cli.test_document_commands import Place

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
BONUS = ("account", "bonus", "A1", "100", "--from", "2026-03-01", "--reason", "five children")


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A1 is billed for 1 to 3 March, two kWh a day."""
    place = Place(tmp_path, database_url)
    place.restart()
    place.read("P1", 10, 12, 14, 16)
    return place


def test_a_bonus_of_billed_days_counts_when_a_second_person_agrees(place: Place) -> None:
    tried = place.meterd(*BONUS, "--dry-run")
    told = "A1: bonus of 100 kWh a month from 2026-03-01 on; 3 days of that time are billed\n"
    assert tried.stdout.startswith(told)
    assert tried.stdout.endswith("dry run, nothing was written\n")
    filed = place.meterd(*BONUS, "--actor", "li")
    assert "meterd document approve 1 --actor NAME" in filed.stdout
    assert "five children" in place.meterd("document", "list", "--waiting").stdout
    listed = place.meterd("document", "list").stdout.splitlines()[1]
    assert listed.startswith("1\thousehold_bonus\tA1\twaits\t")
    shown = place.meterd("document", "show", "1").stdout
    assert '"kwh": "100"' in shown
    assert shown.endswith(told)
    assert json.loads(place.meterd("document", "show", "1", "--json").stdout)["billed_days"] == 3
    assert "same_person" in place.meterd("document", "approve", "1", "--actor", "li").stderr
    approved = place.meterd("document", "approve", "1", "--actor", "wang", "--json")
    assert json.loads(approved.stdout) == {
        "document": 1,
        "state": "counts",
        "account": "A1",
        "of": "2026-03-01",
        "kwh": "100",
        "was": None,
        "billed_days": 3,
        "balances_moved_fen": {},
    }
    again = place.meterd(*BONUS, "--actor", "li")
    assert "is said already, nothing was written" in again.stdout
    assert place.ask("SELECT kwh_per_month::text, actor FROM household_bonus") == [
        ("100", "li, wang")
    ]


def test_what_is_said_of_an_account_shows(place: Place) -> None:
    elsewhere = ("account", "elsewhere", "A1", "2025-12", "812.5", "--reason", "moved in")
    assert "document 1 counts" in place.meterd(*elsewhere).stdout
    refused = place.meterd("account", "elsewhere", "A1", "2025-12", "800", "--reason", "typing")
    command = "meterd account elsewhere A1 2025-12 800 --correct"
    assert refused.returncode == 1
    assert refused.stderr.endswith(f"{command}\n")
    corrected = place.meterd(*command.split()[1:], "--reason", "typing")
    assert "800 kWh of 2025-12 were billed by others, instead of 812.5" in corrected.stdout
    bonus = ("account", "bonus", "A1", "90.5", "--from", "2026-04-01", "--reason", "two more")
    place.meterd(*bonus)
    shown = json.loads(place.meterd("account", "show", "A1", "--json").stdout)
    assert shown["bonuses"] == [{"from_day": "2026-04-01", "kwh_per_month": "90.5"}]
    assert shown["used_elsewhere"] == {"2025-12": "800"}
    assert (shown["phases"], shown["last_day"]) == (1, None)
    text = place.meterd("account", "show", "A1").stdout
    assert "2026-04-01\t90.5" in text
    assert "2025-12\t800" in text


MISTYPED = [
    (("bonus", "A1", "-1", "--from", "2026-03-01"), "-1"),
    (("bonus", "A1", "1000001", "--from", "2026-03-01"), "between 0 and 1000000"),
    (("bonus", "A1", "1e3", "--from", "2026-03-01"), "is no number of kWh"),
    (("bonus", "A1", "1", "--from", "9999-12-31"), "is no day from 2000 to 2099"),
    (("bonus", "A1", "1", "--from", "2100-01-01"), "is no day from 2000 to 2099"),
    (("bonus", "A1", "1", "--from", "1999-12-31"), "is no day from 2000 to 2099"),
    (("bonus", "A1", "1", "--from", "2026-03-01"), "say --reason"),
    (("elsewhere", "A1", "2026-13", "1"), "write 2026 or 2026-07"),
    (("elsewhere", "A1", "26", "1"), "write 2026 or 2026-07"),
]


def test_what_was_mistyped_is_told_before_anything_is_asked(place: Place) -> None:
    for words, told in MISTYPED:
        refused = place.meterd("account", *words)
        assert refused.returncode == 2, words
        assert told in refused.stderr
    assert place.ask("SELECT FROM document") == []


def test_an_address_comes_by_import_and_is_told_with_a_payment(place: Place) -> None:
    place.edit("accounts.csv", "account,tariff", "account,address,tariff")
    place.edit("accounts.csv", "A1,", 'A1,"幸福路 5 号, 2 单元",')
    place.edit("accounts.csv", "A2,", "A2,,")
    place.restart()
    imported = place.meterd("account", "import", "A1", "--actor", "li")
    assert imported.stdout.splitlines()[1:] == ["A1\taddress\t\t幸福路 5 号, 2 单元"]
    assert place.meterd("account", "import", "--actor", "li").stdout.startswith("the database says")
    paid = place.meterd("topup", "A1", "10", "--key", "R1")
    assert paid.stdout.splitlines()[1].startswith("account A1: no name, 幸福路 5 号, 2 单元; P1")
