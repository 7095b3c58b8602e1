"""A register that was lost at an exchange: what is owed is agreed upon, by three persons."""

import json
from datetime import date

import pytest

from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import DAY, OPEN

__all__ = ["place"]
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
FROM = OPEN + 2 * DAY
TO = OPEN + 3 * DAY
SAID = ("--reason", "burnt in the fire", "--evidence", "protocol 12")


@pytest.fixture
def lost(place: Place) -> Place:
    """P1 used 5 kWh a day; its meter burnt on the third, and the new one tells from the next on."""
    place.read("P1", 100, 105, 110)
    place.done(
        *("meter", "exchange", "P1", "--at", f"{FROM} 14:30", "--new-address", "000000000044"),
        *("--old-final-lost", "--new-initial", "0", "--reason", "burnt", "--actor", "Li"),
    )
    place.edit("meters.csv", "000000000001", "000000000044")
    place.restart()
    tell(place, TO, "2.10")
    return place


def tell(place: Place, day: date, kwh: str) -> None:
    place.read_on("P1", day, kwh)


def agree(place: Place, kwh: str) -> dict[str, object]:
    made = place.done(
        *("quality", "release-link", "P1", str(FROM), str(TO), "--agreed", kwh),
        *(*SAID, "--actor", "Li", "--json"),
    )
    decided: dict[str, object] = json.loads(made)
    return decided


def test_the_use_of_the_day_is_held_and_names_the_command(lost: Place) -> None:
    listed = lost.meterd("quality", "list", "--json")
    (task,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (task["hold"], task["owner"]) == ("final_lost", "three persons")
    assert task["commands"][0].startswith(
        f"meterd quality release-link P1 {FROM} {TO} --agreed KWH --evidence WHAT"
    )
    (standing,) = [
        row
        for line in lost.meterd("standstill", "--json").stdout.splitlines()
        if (row := json.loads(line))["point"] == "P1"
    ]
    assert "--agreed KWH --evidence WHAT" in standing["next"]


def test_without_an_agreement_it_cannot_be_released(lost: Place) -> None:
    refused = lost.meterd("quality", "release-link", "P1", str(FROM), str(TO), "--reason", "x")
    assert (refused.returncode, "--agreed KWH" in refused.stderr) == (65, True)


def test_what_was_agreed_is_billed_when_two_others_approved_it(lost: Place) -> None:
    billed = lost.balance("A1")
    number = str(agree(lost, "6.40")["decision"])
    own = lost.meterd("quality", "approve", number, "--actor", "li")
    assert (own.returncode, "same_person" in own.stderr) == (65, True)
    lost.done("quality", "approve", number, "--actor", "Wang")
    assert lost.balance("A1") == billed
    lost.done("quality", "approve", number, "--actor", "Zhao")
    assert lost.balance("A1") == billed - 320
    assert lost.meterd("quality", "list").returncode == 0


def test_two_approvals_are_of_two_persons(lost: Place) -> None:
    number = str(agree(lost, "6.40")["decision"])
    lost.done("quality", "approve", number, "--actor", "Wang")
    again = lost.meterd("quality", "approve", number, "--actor", "WANG")
    assert (again.returncode, "same_person" in again.stderr) == (65, True)


def test_use_that_registers_show_is_not_agreed_upon(place: Place) -> None:
    place.read_on("P1", OPEN, "100")
    place.read_on("P1", OPEN + 9 * DAY, "150")
    refused = place.meterd(
        *("quality", "release-link", "P1", str(OPEN), str(OPEN + 9 * DAY), "--agreed", "60", *SAID)
    )
    assert (refused.returncode, "has_energy" in refused.stderr) == (65, True)
