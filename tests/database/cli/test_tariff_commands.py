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
        "to_do": ["accounts.csv, A1: tariff: write shop from that day on"],
    }
    shown = json.loads(place.meterd("account", "show", "A1", "--json").stdout)
    assert shown["tariff_id"] == "shop"


def test_an_import_of_another_tariff_names_the_command_that_says_from_when(place: Place) -> None:
    place.edit("accounts.csv", "A1,T", "A1,shop")
    refused = place.meterd("account", "import")
    assert "meterd account tariff A1 shop --from DAY" in refused.stderr
