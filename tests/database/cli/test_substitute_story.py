"""S1 to S6 through the commands, each by as many persons as it takes; Q5, the reading that comes late.

S3 has a story of its own."""

import json

import pytest

from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import DAY, OPEN

__all__ = ["place"]
pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
MISSED = OPEN + DAY
SLOT = f"SELECT state::text, total FROM slot WHERE point_id = 1 AND day = '{MISSED}'"
USED = "SELECT used_total FROM link WHERE point_id = 1 AND hold IS NULL ORDER BY from_day"


def test_a_late_reading_takes_the_place_of_a_substitute_and_money_nets(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")
    place.read_on("P1", OPEN + 2 * DAY, "124.00")
    whole = place.balance("A1")
    made = place.done(
        *("quality", "substitute", "P1", str(MISSED), "--method", "S4", "--total", "118.10"),
        *("--evidence", "form 3", "--reason", "the line was cut", "--actor", "Li"),
    )
    assert "waits for another person" in made
    own = place.meterd("quality", "approve", "1", "--actor", "Li")
    assert (own.returncode, "same_person" in own.stderr) == (65, True)
    assert place.ask(SLOT) == []
    place.done("quality", "approve", "1", "--actor", "Wang")
    assert place.ask(SLOT) == [("substituted", 11810)]
    assert place.ask(USED) == [(610,), (590,)]
    place.read_on("P1", MISSED, "117.95")
    assert place.ask(SLOT) == [("published", 11795)]
    assert place.ask(USED) == [(595,), (605,)]
    assert place.balance("A1") == whole
    told = place.done("quality", "show", "P1", str(MISSED))
    assert "substituted" in told
    assert "118.10" in told


def said(place: Place, method: str, total: str, *more: str) -> str:
    """Li puts a value on the missed day; what was told, or why not."""
    of_day = ("quality", "substitute", "P1", str(MISSED), "--method", method, "--total", total)
    why = ("--evidence", "form 3", "--reason", "the line was cut", "--actor", "Li", "--json")
    done = place.meterd(*of_day, *why, *more)
    told = json.loads(done.stdout)
    return str(told["refused"] if done.returncode else told["state"])


def agreed(place: Place, who: str) -> str:
    done = place.meterd("quality", "approve", "1", "--actor", who, "--json")
    told = json.loads(done.stdout)
    return str(told["refused"] if done.returncode else told["state"])


@pytest.mark.parametrize("method", ["S1", "S2"])
def test_what_was_read_elsewhere_counts_when_another_person_agreed(
    place: Place, method: str
) -> None:
    place.read_on("P1", OPEN, "112.00")
    place.read_on("P1", OPEN + 2 * DAY, "124.00")
    assert said(place, method, "118.10") == "waits"
    assert agreed(place, "Li") == "same_person"
    assert place.ask(SLOT) == []
    assert agreed(place, "Wang") == "counts"
    assert place.ask(SLOT) == [("substituted", 11810)]
    assert place.ask(USED) == [(610,), (590,)]


def test_history_counts_only_with_a_basis_and_never_above_the_next_known_value(
    place: Place,
) -> None:
    prevented = ("--basis", "prevented")
    assert said(place, "S5", "118.10", *prevented) == "no_neighbours"
    place.read_on("P1", OPEN, "112.00")
    place.read_on("P1", OPEN + 2 * DAY, "124.00")
    whole = place.balance("A1")
    assert said(place, "S5", "118.10") == "no_basis"
    assert said(place, "S5", "124.10", *prevented) == "does_not_fit"
    assert said(place, "S5", "118.10", *prevented) == "waits"
    assert agreed(place, "Wang") == "counts"
    assert place.ask(USED) == [(610,), (590,)]
    assert place.balance("A1") == whole


def test_what_was_agreed_upon_counts_when_two_others_did(place: Place) -> None:
    place.read_on("P1", OPEN, "112.00")
    place.read_on("P1", OPEN + 2 * DAY, "124.00")
    assert said(place, "S6", "118.10") == "waits"
    assert agreed(place, "Wang") == "waits"
    assert place.ask(SLOT) == []
    assert agreed(place, "Wang") == "same_person"
    assert agreed(place, "Zhao") == "counts"
    assert place.ask(USED) == [(610,), (590,)]
