"""Two meters were crossed: both points and both accounts are mended by one document."""

import json
from datetime import date

import pytest

from daemon.transactions.sweep import sweep
from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import ARMED, DAY, NOW, OPEN, on

__all__ = ["place"]

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
CROSSED = ("meter", "crossed", "P1", "P2", "--reason", "labels compared", "--actor", "Li")
SERVING = (
    "SELECT p.number, m.address, i.from_at = '2026-01-01 00:00+08' FROM installation i "
    "JOIN meter m ON m.id = i.meter_id JOIN point p ON p.id = i.point_id "
    "ORDER BY p.number, i.from_at"
)


@pytest.fixture
def billed(place: Place) -> Place:
    """P1 is billed for 10 kWh, which P2 used; P2 for the 40 kWh of P1."""
    place.read("P1", 100, 105, 110)
    place.read("P2", 500, 520, 540)
    return place


def test_a_dry_run_tells_of_both_points_and_accounts(billed: Place) -> None:
    told = json.loads(billed.done(*CROSSED, "--dry-run", "--json"))
    assert [it["point"] for it in told["points"]] == ["P1", "P2"]
    assert told["balances_moved_fen"] == {"A1": -1500, "A2": 1500}
    assert billed.ask("SELECT count(*) FROM document") == [(0,)]


def test_the_money_of_both_follows_when_a_second_person_agrees(billed: Place) -> None:
    before = (billed.balance("A1"), billed.balance("A2"))
    assert "document 1 waits" in billed.done(*CROSSED)
    own = billed.meterd("document", "approve", "1", "--actor", "li")
    assert "same_person" in own.stderr
    told = billed.done("document", "approve", "1", "--actor", "Wang")
    assert "archive/meters.csv: point: each of P1 and P2 in the row of the other" in told
    assert (billed.balance("A1"), billed.balance("A2")) == (before[0] - 1500, before[1] + 1500)
    assert billed.ask(SERVING) == [("P1", "000000000002", True), ("P2", "000000000001", True)]


def test_said_again_by_somebody_who_got_no_answer_it_is_not_taken_back(billed: Place) -> None:
    billed.done(*CROSSED)
    billed.done("document", "approve", "1", "--actor", "Wang")
    serving = billed.ask(SERVING)
    again = billed.meterd(*CROSSED)
    assert "said_already: document 1" in again.stderr
    assert billed.ask(SERVING) == serving
    assert "document 2 waits" in billed.done(*CROSSED, "--reason", "it was right before")


def test_files_that_do_not_know_it_undo_nothing_and_those_that_do_agree(billed: Place) -> None:
    billed.done(*CROSSED)
    billed.done("document", "approve", "1", "--actor", "Wang")
    billed.restart()
    serving = billed.ask(SERVING)
    billed.edit("meters.csv", "000000000001,line,P1", "000000000001,line,P2")
    billed.edit("meters.csv", "000000000002,line,P2", "000000000002,line,P1")
    billed.restart()
    assert billed.ask(SERVING) == serving
    before = billed.balance("A1")
    billed.read_on("P1", OPEN + 3 * DAY, "550")
    assert billed.balance("A1") == before - 500


def test_meters_that_were_crossed_later_are_mended_from_that_day_on(place: Place) -> None:
    place.read("P1", 100, 105, 110, 130, 150)
    place.read("P2", 500, 520, 540, 545, 550)
    since = OPEN + 2 * DAY
    before = (place.balance("A1"), place.balance("A2"))
    place.done(*CROSSED, "--from", str(since))
    place.done("document", "approve", "1", "--actor", "Wang")
    # From the third day on 10 kWh instead of 40, and the other way round.
    assert (place.balance("A1"), place.balance("A2")) == (before[0] + 1500, before[1] - 1500)
    assert [address for _, address, _ in place.ask(SERVING)] == [
        "000000000001",
        "000000000002",
        "000000000002",
        "000000000001",
    ]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("P1", "P1"), "nothing_changes"),
        (("P1", "P9"), "unknown_point"),
        (("P1", "P2", "--from", str(OPEN + 9 * DAY)), "no_freeze"),
        (("P1", "P2", "--from", str(date(2026, 1, 1))), "overlapping_installation"),
    ],
)
def test_what_cannot_be_is_refused(billed: Place, arguments: tuple[str, ...], reason: str) -> None:
    refused = billed.meterd("meter", "crossed", *arguments, "--reason", "labels")
    assert (refused.returncode, reason in refused.stderr) == (1, True)


def test_relays_go_with_their_meters(billed: Place) -> None:
    billed.ask(
        "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'open', "
        "cut_for = 'theft' WHERE point_id = 1 RETURNING 1"
    )
    billed.done(*CROSSED)
    billed.done("document", "approve", "1", "--actor", "Wang")
    seen = "SELECT supply_state, relay_observed FROM point_supply ORDER BY point_id"
    assert billed.ask(seen)[0] == ("energised", "unknown")
    # Who was dark by another's order comes back, whatever he owes.
    cut_for = "SELECT cut_for FROM point_supply ORDER BY point_id"
    assert billed.ask(cut_for) == [("arrears",), ("theft",)]


@pytest.mark.parametrize("state", ["disconnected", "trip_commanded"])
def test_who_was_cut_for_the_others_arrears_is_lit_whatever_he_owes(
    billed: Place, state: str
) -> None:
    billed.ask(DONE)
    billed.ask(DARK.format(state))
    billed.done(*CROSSED)
    assert billed.ask(SUPPLIES)[0] == (state, "open", "open", "arrears")
    billed.done("document", "approve", "1", "--actor", "Wang")
    assert billed.ask(SUPPLIES) == [
        ("energised", "unknown", "unknown", "arrears"),
        ("reconnect_commanded", "open", "open", "former_customer"),
    ]
    reconnects = "SELECT point_id, address FROM command WHERE action <> 'trip'"
    assert billed.ask(reconnects) == [(2, "000000000001")]


def test_who_has_both_points_stays_cut(billed: Place) -> None:
    since = str(OPEN + 2 * DAY)
    billed.done("point", "assign", "P2", "A1", "--from", since, "--reason", "let", "--actor", "Li")
    billed.ask(DONE)
    billed.ask(DARK.format("disconnected"))
    billed.done(*CROSSED)
    billed.done("document", "approve", "2", "--actor", "Wang")
    assert billed.ask(SUPPLIES)[1] == ("disconnected", "open", "open", "arrears")


DONE = "UPDATE command SET state = 'superseded', sends = 1, sent_at = now() RETURNING 1"
DARK = (
    "UPDATE point_supply SET supply_state = '{}', relay_observed = 'open', command_observed = "
    "'open' WHERE point_id = 1 RETURNING 1"
)
SUPPLIES = (
    "SELECT supply_state, relay_observed, command_observed, cut_for FROM point_supply "
    "ORDER BY point_id"
)


def test_trips_of_both_end_because_they_would_cut_the_other(billed: Place) -> None:
    open_trips = "SELECT count(*) FROM command WHERE state = 'persisted'"
    # A day later, when nobody is spared any more for a large sum at once.
    billed.ask("UPDATE account SET span_grace_until = NULL RETURNING 1")
    on(billed.url, lambda connection: sweep(connection, ARMED, NOW))
    assert billed.ask(open_trips) == [(2,)]
    billed.done(*CROSSED)
    assert billed.ask(open_trips) == [(2,)]
    billed.done("document", "approve", "1", "--actor", "Wang")
    ended = "SELECT DISTINCT state, detail FROM command WHERE sequence <= 2"
    assert billed.ask(ended) == [("cancelled", "the meters were crossed")]


def test_a_reconnect_on_its_way_is_waited_for(billed: Place) -> None:
    billed.ask("UPDATE command SET action = 'close' RETURNING 1")
    refused = billed.meterd(*CROSSED)
    assert (refused.returncode, "command_open" in refused.stderr) == (1, True)


def test_a_reconnect_that_never_left_because_its_point_is_locked_holds_nothing_up(
    billed: Place,
) -> None:
    billed.ask("UPDATE command SET action = 'close', state = 'persisted', sends = 0 RETURNING 1")
    billed.ask(
        "UPDATE point_supply SET supply_state = 'reconnect_commanded' WHERE point_id = 1 RETURNING 1"
    )
    assert "command_open" in billed.meterd(*CROSSED, "--dry-run").stderr
    billed.done("supply", "lock", "--point", "P1", "--reason", "cable", "--actor", "Li")
    billed.done(*CROSSED)
    billed.done("document", "approve", "1", "--actor", "Wang")
    # Nobody works at the other, whose meter it is.
    told = "SELECT point_id, state, detail FROM command ORDER BY sequence"
    assert billed.ask(told) == [
        (1, "superseded", "the meters were crossed"),
        (2, "persisted", ""),
    ]
    supply = "SELECT supply_state FROM point_supply ORDER BY point_id"
    assert billed.ask(supply) == [("energised",), ("reconnect_commanded",)]
