"""Why a balance, a charge or a day is what it is, from the installed command."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.database.cli.test_document_commands import Place
from tests.database.small_site import on, pay

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A1 is billed for 1 to 3 March, two kWh a day; both points were read."""
    place = Place(tmp_path, database_url)
    place.restart()
    place.read("P1", 10, 12, 14, 16)
    return place


def paid(place: Place, fen: int) -> None:
    async def story(connection: AsyncConnection[Any]) -> None:
        await pay(connection, "A1", fen)

    on(place.url, story)


def objects(place: Place, *command: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in place.done(*command, "--json").splitlines()]


def test_the_list_tells_state_balance_and_days(place: Place) -> None:
    first, second = objects(place, "account", "list")
    assert (first["id"], first["state"], first["credit_state"]) == ("A1", "active", "exhausted")
    assert (first["balance_fen"], first["billed_through"]) == (-300, "2026-03-04")
    assert first["in_arrears_since"] is not None
    assert (second["id"], second["state"], second["billed_through"]) == ("A2", "pending", None)
    assert second["days_left"] is None
    assert [it["id"] for it in objects(place, "account", "list", "--state", "pending")] == ["A2"]
    assert [it["id"] for it in objects(place, "account", "list", "--credit", "exhausted")] == ["A1"]
    assert [it["id"] for it in objects(place, "account", "list", "--limit", "1")] == ["A1"]
    head, row, _ = place.done("account", "list").splitlines()
    assert head.startswith("account\tname\tstate\tcredit\tbalance yuan\tdays left")
    assert row.startswith("A1\t\tactive\texhausted\t-3.00\t")


def test_a_balance_is_what_was_paid_less_what_was_charged(place: Place) -> None:
    paid(place, 5000)
    (found,) = objects(place, "explain", "balance", "A1")
    parts = {(it["kind"], it["component"]): it["fen"] for it in found["parts"]}
    assert parts == {("top_up", None): 5000, ("charge", "energy"): -300}
    assert (found["opening_fen"], found["balance_fen"]) == (0, 4700)
    lines = place.done("explain", "balance", "A1", "--from", "2026-03-04").splitlines()
    assert lines[1].endswith("\t-3.00")
    assert lines[-1].endswith("\t47.00")
    assert "no account A9" in place.meterd("explain", "balance", "A9").stderr


def test_a_charge_names_its_links_and_what_took_their_place(place: Place) -> None:
    place.read_on("P1", date(2026, 3, 6), "20")
    (span,) = place.ask("SELECT billed_by FROM link WHERE to_day = '2026-03-06'")
    place.read_on("P1", date(2026, 3, 5), "19")
    (found,) = objects(place, "explain", "charge", str(span[0]))
    assert (found["kind"], found["why"]) == ("charge", "use and fees, as they first came")
    (link,) = found["links"]
    assert (link["point"], link["from_day"], link["to_day"], link["kwh"]) == (
        *("P1", "2026-03-04", "2026-03-06", "4"),
    )
    assert link["left_at"] is not None
    assert [(it["account"], it["amount_fen"]) for it in found["legs"]] == [
        ("customer:A1:prepaid", -200),
        ("revenue:energy", 200),
    ]
    assert "revenue:energy\t2026-03\tenergy\t2.00" in place.done("explain", "charge", str(span[0]))
    assert "no transaction 999" in place.meterd("explain", "charge", "999").stderr


def test_the_guards_mind_is_told_with_times(place: Place) -> None:
    (verdict, *_) = objects(place, "supply", "history", "P1")
    assert verdict["at"].startswith("20")
    assert verdict["decision"] in ("allow", "deny", "needs_approval")
    assert place.done("supply", "history", "P1").startswith("when\tguard\treasons\n2")
    assert "no point P9" in place.meterd("supply", "history", "P9").stderr


def test_a_day_is_told_from_registers_to_fen(place: Place) -> None:
    paid(place, 5000)
    place.read_on("P1", date(2026, 3, 5), "18.51")
    (found,) = objects(place, "explain", "day", "A1", "2026-03-04")
    (link,) = found["links"]
    assert (link["point"], link["from"], link["to"]) == ("P1", "2026-03-04", "2026-03-05")
    (shown,) = found["registers"]
    assert [shown[it] for it in ("meter", "begin", "end", "ratio", "kWh", "note")] == [
        *("000000000001", "16.00", "18.51", "1", "2.51", None),
    ]
    assert [it["version"] for it in found["version"]] == ["T@2026-01-01"]
    assert [(it["register"], it["kWh"]) for it in found["use"]] == [("total", "2.51")]
    (price,) = found["prices"]
    assert (price["kWh"], price["price"], price["yuan"]) == ("2.51", "0.5", "1.255")
    (money,) = found["money"]
    assert [money[it] for it in ("before", "after", "rounded_before", "rounded_after")] == [
        *("3", "4.255", "3.00", "4.26"),
    ]
    assert [money[it] for it in ("difference", "posted_before", "posted_with_it")] == [
        *("1.26", "3.00", "1.26"),
    ]
    assert (money["now"], money["posted_now"]) == ("4.255", "4.26")
    (charged,) = objects(place, "explain", "charge", str(link["billed_by"]))
    assert charged["legs"][0]["amount_fen"] == -126
    chinese = place.done("explain", "day", "A1", "2026-03-04", "--language", "zh")
    assert "计量点\t表号\t起\t止\t示数\t起码\t止码" in chinese


def test_a_day_that_others_took_the_place_of_names_them(place: Place) -> None:
    place.read_on("P1", date(2026, 3, 6), "20")
    place.read_on("P1", date(2026, 3, 5), "19")
    (found,) = objects(place, "explain", "day", "A1", "2026-03-04")
    (past,) = found["replaced_links"]
    assert (past["from"], past["to"]) == ("2026-03-04", "2026-03-06")
    assert [it["to"] for it in found["links"]] == ["2026-03-05"]


def test_a_day_of_an_exchange_shows_both_meters(place: Place) -> None:
    swap = [
        *("meter", "exchange", "P1", "--at", "2026-03-04 14:30", "--new-address", "000000000044"),
        *("--old-final", "17.40", "--new-initial", "3.10", "--reason", "burnt"),
        *("--evidence", "photo 7", "--actor", "Li"),
    ]
    place.done(*swap)
    place.read_on("P1", date(2026, 3, 5), "4.00")
    (found,) = objects(place, "explain", "day", "A1", "2026-03-04")
    shown = [(it["meter"], it["begin"], it["end"], it["kWh"]) for it in found["registers"]]
    assert shown == [
        ("000000000001", "16.00", "17.40", "1.4"),
        ("000000000044", "3.10", "4.00", "0.9"),
    ]
    assert [it["kWh"] for it in found["use"]] == ["2.3"]


def test_a_day_without_a_link_has_none(place: Place) -> None:
    (found,) = objects(place, "explain", "day", "A1", "2026-03-20")
    assert (found["links"], found["registers"], found["prices"]) == ([], [], [])
    assert "no account A9" in place.meterd("explain", "day", "A9", "2026-03-20").stderr
