"""Q5 through the commands: a substitute by two persons, and the reading that comes late."""

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
USED = (
    "SELECT (ends[1] - begins[1])::int FROM link "
    "WHERE point_id = 1 AND hold IS NULL ORDER BY from_day"
)


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
