"""Tariffs of a site by its commands: who says what, who agrees, and what it changes."""

import json
from pathlib import Path

import pytest

from tests.database.cli.test_document_commands import Place

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
SHOP = '[[tariff.shop.version]]\neffective_from = 2026-01-01\nprice = "1"\n'


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A1 is billed for 1 to 3 March, two kWh a day."""
    place = Place(tmp_path, database_url)
    tariffs = tmp_path / "tariffs.toml"
    tariffs.write_text(tariffs.read_text() + SHOP)
    place.restart()
    place.read("P1", 10, 12, 14, 16)
    return place


def test_an_account_changes_its_tariff_when_a_second_person_agrees(place: Place) -> None:
    change = ("account", "tariff", "A1", "shop", "--from", "2026-03-03", "--reason", "a shop")
    tried = place.meterd(*change, "--dry-run")
    assert "A1: tariff shop instead of T from 2026-03-03 on; 1 billed days are" in tried.stdout
    assert tried.stdout.endswith("dry run, nothing was written\n")
    filed = place.meterd(*change, "--actor", "li")
    assert "meterd document approve 1 --actor NAME" in filed.stdout
    refused = place.meterd("document", "approve", "1", "--actor", "li")
    assert "same_person" in refused.stderr
    approved = place.meterd("document", "approve", "1", "--actor", "wang", "--json")
    assert json.loads(approved.stdout) == {
        "document": 1,
        "state": "counts",
        "account": "A1",
        "was": "T",
        "tariff": "shop",
        "from": "2026-03-03",
        "billed_days": 1,
        "balances_moved_fen": {},
        "to_do": ["accounts.csv, A1: tariff: write shop"],
    }
    shown = json.loads(place.meterd("account", "show", "A1", "--json").stdout)
    assert shown["tariff_id"] == "shop"


def test_an_import_of_another_tariff_names_the_command_that_says_from_when(place: Place) -> None:
    place.edit("accounts.csv", "A1,T", "A1,shop")
    refused = place.meterd("account", "import")
    assert "meterd account tariff A1 shop --from DAY" in refused.stderr


def test_a_version_is_listed_approved_and_shown(place: Place) -> None:
    tariffs = place.folder / "tariffs.toml"
    march = SHOP.replace("shop", "T").replace("2026-01-01", "2026-03-02")
    tariffs.write_text(tariffs.read_text() + march + march.replace("03-02", "09-01"))
    place.restart()
    listed = place.meterd("tariff", "list", "T").stdout.splitlines()
    assert [line.split("\t")[:4] for line in listed[1:4]] == [
        ["T", "2026-01-01", "counts", "yes"],
        ["T", "2026-03-02", "waits", "no"],
        ["T", "2026-09-01", "waits", "no"],
    ]
    assert listed[4] == "meterd tariff approve T 2026-03-02 --actor NAME"
    approved = place.meterd("tariff", "approve", "T", "2026-03-02", "--actor", "wang")
    assert approved.stdout == (
        "tariff T from 2026-03-02 counts: billed days from 2026-03-02 to 2026-03-03 are priced "
        "anew, 2 of 1 accounts: A1\n"
    )
    rejected = place.meterd("tariff", "reject", "T", "2026-09-01", "--actor", "wang")
    assert rejected.stdout.startswith("tariff T from 2026-09-01 does not count; take it out")
    refused = place.meterd("tariff", "approve", "T", "2026-09-01", "--actor", "wang")
    assert "no_version: no version of tariff T from 2026-09-01 waits: it was rejected by wang" in (
        refused.stderr
    )
    every = place.meterd("tariff", "list", "--all", "--json").stdout.splitlines()
    assert [(it["tariff"], it["state"], it["reviewer"]) for it in map(json.loads, every)] == [
        ("T", "counts", None),
        ("T", "counts", "wang"),
        ("T", "rejected", "wang"),
        ("shop", "counts", None),
    ]
    shown = place.meterd("tariff", "show", "T", "--json").stdout.splitlines()
    assert [(it["effective_from"], it["costs"], it["state"]) for it in map(json.loads, shown)] == [
        ("2026-01-01", {"kWh of total": "0.5"}, "counts"),
        ("2026-03-02", {"kWh of total": "1"}, "counts"),
    ]
    unknown = place.meterd("tariff", "show", "U")
    assert "there is no tariff U in the database, and no such file" in unknown.stderr


def test_a_waiting_version_is_a_document_too(place: Place) -> None:
    tariffs = place.folder / "tariffs.toml"
    tariffs.write_text(
        tariffs.read_text() + SHOP.replace("shop", "T").replace("2026-01", "2026-03")
    )
    place.restart()
    waiting = place.meterd("document", "list", "--waiting").stdout
    assert "tariff_version" in waiting
    approved = place.meterd("document", "approve", "1", "--actor", "wang", "--json")
    assert json.loads(approved.stdout)["priced_anew"]["days"] == 3


def test_a_version_that_waits_shows_what_it_moves_and_moves_it(place: Place) -> None:
    tariffs = place.folder / "tariffs.toml"
    march = SHOP.replace("shop", "T").replace("2026-01-01", "2026-03-02")
    tariffs.write_text(tariffs.read_text() + march + march.replace("2026-03", "2035-09"))
    place.restart()
    before = place.balance("A1")
    shown = place.done("document", "show", "1").splitlines()
    # Two days of two kWh, for 1 yuan instead of 0.50.
    assert shown[-2:] == [
        "tariff T from 2026-03-02: billed days from 2026-03-02 to 2026-03-03 are priced anew, "
        "2 of 1 accounts: A1",
        "A1: balance moves by -2.00 yuan",
    ]
    told = json.loads(place.done("document", "show", "1", "--json"))
    assert told["balances_moved_fen"] == {"A1": -200}
    assert (told["priced_anew"]["days"], told["unpriced"]) == (2, {})
    later = place.done("document", "show", "2").splitlines()
    assert later[-1] == "tariff T from 2035-09-02: nothing is billed that it changes"
    assert place.balance("A1") == before
    place.done("document", "approve", "1", "--actor", "wang")
    assert place.balance("A1") == before - 200
    assert "balance" not in place.done("document", "show", "1")


def test_a_change_of_tariff_that_waits_shows_what_it_moves(place: Place) -> None:
    change = ("account", "tariff", "A1", "shop", "--from", "2026-03-03", "--reason", "a shop")
    place.done(*change, "--actor", "li")
    before = place.balance("A1")
    assert place.done("document", "show", "1").splitlines()[-2:] == [
        "A1: tariff shop instead of T from 2026-03-03 on; 1 billed days are priced anew",
        "A1: balance moves by -1.00 yuan",
    ]
    told = json.loads(place.done("document", "show", "1", "--json"))
    assert (told["billed_days"], told["balances_moved_fen"]) == (1, {"A1": -100})
    assert place.balance("A1") == before


def test_who_owns_the_file_of_a_version_cannot_approve_it(place: Place) -> None:
    tariffs = place.folder / "tariffs.toml"
    march = SHOP.replace("shop", "T").replace("2026-01-01", "2026-03-02")
    tariffs.write_text(tariffs.read_text() + march)
    place.restart()
    for owner in (tariffs.owner(), tariffs.owner().upper()):
        refused = place.meterd("document", "approve", "1", "--actor", owner)
        assert (refused.returncode, "same_person" in refused.stderr) == (1, True)
    assert json.loads(place.done("document", "show", "1", "--json"))["actor"] == tariffs.owner()
    place.done("document", "approve", "1", "--actor", "wang")
