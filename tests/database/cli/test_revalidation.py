"""Points are judged anew: seen before, and by two persons where billed days move."""

import json
from typing import Any

import pytest

from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import DAY, OPEN

__all__ = ["place"]

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
WHY = ("--reason", "rules of the new version")


def objects(place: Place, *arguments: str) -> list[dict[str, Any]]:
    done = place.meterd("quality", "revalidate", *arguments, "--json")
    assert done.stdout or done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def forbid(place: Place) -> None:
    """Whatever P1 used from the second day on is too much now, and nobody judged that yet."""
    place.ask(
        "INSERT INTO point_limit (point_id, from_day, max_daily_kwh) "
        f"VALUES (1, '{OPEN + DAY}', 3) RETURNING 1"
    )


def test_a_dry_run_tells_days_use_and_money_and_changes_nothing(place: Place) -> None:
    place.read("P1", 100, 105, 110, 115)
    forbid(place)
    before = place.balance("A1")
    told, money = objects(place, "--point", "P1", "--dry-run")
    assert [it["change"] for it in told["readings"]] == ["withdrawn"] * 2
    assert [use["kwh"] for use in told["use"]["before"]] == ["5.00", "5.00"]
    assert money == {"balances_moved_fen": {"A1": 500}}
    assert place.balance("A1") == before
    assert place.meterd("quality", "revalidate", "--all", "--dry-run").returncode == 1


def test_billed_days_move_when_a_second_person_agrees(place: Place) -> None:
    place.read("P1", 100, 105, 110, 115)
    forbid(place)
    before = place.balance("A1")
    told, money = objects(place, "--all", *WHY, "--actor", "Li")
    assert place.balance("A1") == before
    again, _ = objects(place, "--point", "P1", *WHY, "--actor", "Li")
    number = str(again["document"])
    assert told["document"] == again["document"]
    own = place.meterd("document", "approve", number, "--actor", "Li")
    assert "same_person" in own.stderr
    place.done("document", "approve", number, "--actor", "Wang")
    assert place.balance("A1") == before + money["balances_moved_fen"]["A1"]
    assert objects(place, "--all", "--dry-run") == []


def test_what_moves_no_billed_day_is_shown_at_once(place: Place) -> None:
    place.read("P1", 100, 105, 605)
    place.ask(
        "INSERT INTO point_limit (point_id, from_day, rev, max_daily_kwh) "
        "SELECT point_id, from_day, rev + 1, 1000 FROM point_limit WHERE point_id = 1 RETURNING 1"
    )
    told, _ = objects(place, "--all", *WHY)
    assert ([it["change"] for it in told["readings"]], told["document"]) == (["published"], None)
    assert place.ask(f"SELECT state::text FROM slot WHERE day = '{OPEN + 2 * DAY}'") == [
        ("published",)
    ]


def test_a_mended_limit_is_seen_before_it_is_reloaded(place: Place) -> None:
    place.read("P1", 100, 105, 605)
    place.edit(
        "points.csv", "ratio\nP1,A1,1\nP2,A2,1\n", "ratio,max_daily_kwh\nP1,A1,1,600\nP2,A2,1,\n"
    )
    told, money = objects(place, "--all", "--files", "--dry-run")
    assert [(it["day"], it["change"]) for it in told["readings"]] == [
        (str(OPEN + 2 * DAY), "published")
    ]
    before = place.balance("A1")
    place.restart()
    assert place.balance("A1") == before + money["balances_moved_fen"]["A1"] == before - 25_000


def test_an_unknown_point_is_named(place: Place) -> None:
    refused = place.meterd("quality", "revalidate", "--point", "P9", "--dry-run")
    assert "there is no point P9" in refused.stderr
