"""Where a site names its persons: what each may do, through the installed command."""

from __future__ import annotations

import pytest

from tests.database.cli.test_document_commands import Place, pytestmark
from tests.database.cli.test_supply_people import place, said, told

__all__ = ["place", "pytestmark"]

PERSONS = """
[[person]]
name = "money"
roles = ["finance"]

[[person]]
name = "desk"
roles = ["service"]

[[person]]
name = "maker"
roles = ["control"]

[[person]]
name = "checker"
roles = ["control", "station"]

[database]"""


@pytest.fixture
def staffed(place: Place) -> Place:
    path = place.folder / "meterd.toml"
    path.write_text(path.read_text().replace("[database]", PERSONS))
    return place


def test_who_answers_customers_takes_no_money_and_cuts_nobody(staffed: Place) -> None:
    paid = ("topup", "A1", "10.00", "--channel", "counter", "--key", "1")
    refused = said(staffed, *paid, "--operator", "desk", code=1)
    assert "desk may not topup here: that is for finance" in refused
    said(staffed, *paid, "--operator", "money")
    ordered = ("approve", "request", "A2", "--reason", "owes")
    assert "that is for control or marketing" in said(staffed, *ordered, "--actor", "money", code=1)
    said(staffed, *ordered, "--actor", "maker")
    assert "that is for control, and money" in said(
        staffed, "approve", "give", "1", "--actor", "money", code=1
    )
    said(staffed, "approve", "give", "1", "--actor", "checker")
    assert told(staffed, "supply", "hold", "--reason", "storm", "--actor", "desk")


def test_a_payment_is_taken_back_by_two_of_finance(staffed: Place) -> None:
    path = staffed.folder / "meterd.toml"
    path.write_text(path.read_text().replace('["service"]', '["service", "finance"]'))
    said(
        staffed,
        *("topup", "A1", "10.00", "--channel", "counter", "--key", "1", "--operator", "money"),
    )
    reversal = ("payment", "reverse", "pay:counter:1", "--reason", "bounced")
    number = str(told(staffed, *reversal, "--actor", "money")["document"])
    refused = said(staffed, "document", "approve", number, "--actor", "checker", code=1)
    assert "that is for finance, and checker works as control and station" in refused
    rejection = ("document", "reject", number, "--reason", "no", "--actor")
    assert "that is for finance, and checker" in said(staffed, *rejection, "checker", code=1)
    said(staffed, "document", "approve", number, "--actor", "desk")


def test_who_made_a_document_takes_it_back_as_what_he_works_now(staffed: Place) -> None:
    path = staffed.folder / "meterd.toml"
    paid = ("topup", "A1", "10.00", "--channel", "counter", "--key", "1", "--operator", "money")
    said(staffed, *paid)
    reversal = ("payment", "reverse", "pay:counter:1", "--reason", "bounced", "--actor", "money")
    number = str(told(staffed, *reversal)["document"])
    path.write_text(path.read_text().replace('["finance"]', '["marketing"]'))
    said(staffed, "document", "reject", number, "--reason", "mistaken", "--actor", "money")
