"""A limit that follows from the connection of a point: what it withholds names the column that is
mended, a plan names the days, and a reload publishes them."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from config.load import LoadedSite, load_site
from daemon.site.difference import changed_part
from daemon.transactions.archive import told_in_days
from tests.database.cli.test_document_commands import Place, place
from tests.database.small_site import DAY, NOW, OPEN, freeze, meters, on, store

__all__ = ["place"]

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.parametrize("server", ["embedded_server"], indirect=True, ids=["embedded"]),
]
WITHHELD = [OPEN + 2 * DAY, OPEN + 3 * DAY]


def told(place: Place, *arguments: str) -> list[dict[str, Any]]:
    done = place.meterd(*arguments, "--json")
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(place: Place) -> LoadedSite:
    return load_site(place.folder / "meterd.toml")


def plan(place: Place, before: LoadedSite) -> tuple[str, ...]:
    """What `meterd plan` says in days of the files as they are now."""
    found: list[tuple[str, ...]] = []

    async def story(connection: AsyncConnection[Any]) -> None:
        found.append((await told_in_days(connection, *changed_part(before, files(place)))).days)

    on(place.url, story)
    return found[0]


def connect(place: Place, before: str, after: str) -> None:
    """P1 has these further columns and cells."""
    path = place.folder / "archive/points.csv"
    path.write_text(
        f"point,account,{before}\nP1,A1,{after}\nP2,A2{',' * (before.count(',') + 1)}\n"
    )


def read_twice(place: Place, *kwh: int) -> None:
    """The meter of P1 tells the same again an hour later: it says so, and a person has to act."""
    place.read("P1", *kwh)

    async def story(connection: AsyncConnection[Any]) -> None:
        meter = (await meters(connection))["P1"]
        told = [freeze(meter, OPEN + n * DAY, it) for n, it in enumerate(kwh)]
        later = [
            replace(it, freeze=replace(it.freeze, arrived_at=NOW + timedelta(hours=1)))
            for it in told
        ]
        await store(connection, *later)

    on(place.url, story)


def published(place: Place) -> list[Any]:
    asked = "SELECT day FROM slot WHERE point_id = 1 AND state = 'published' ORDER BY day"
    return [day for (day,) in place.ask(asked)]


def limits(place: Place) -> list[tuple[str, str]]:
    (found,) = told(place, "quality", "show", "P1", str(OPEN))
    return [(it["max_daily_kwh"], it["basis"]) for it in found["limits"]]


def commands_of(place: Place) -> list[str]:
    return [it for row in told(place, "quality", "list", "--point", "P1") for it in row["commands"]]


def test_a_mended_current_publishes_what_it_withheld(place: Place) -> None:
    connect(place, "i_max_a", "6")
    # As if it had stood there from the first: a smaller limit holds from its day on only.
    place.ask(
        "UPDATE point_limit SET max_daily_kwh = 38, basis = 'x' WHERE point_id = 1 RETURNING 1"
    )
    place.restart()
    read_twice(place, 100, 105, 205, 305)
    before = place.balance("A1")
    assert limits(place) == [("38", "i_max_a 6, u_n_v 220, phases 1")]
    assert published(place) == [OPEN, OPEN + DAY]
    mends, *_ = [it for it in commands_of(place) if "points.csv" in it]
    assert mends.startswith("i_max_a or max_daily_kwh of P1 in points.csv, then meterd reload")
    assert "follows from i_max_a 6, u_n_v 220, phases 1" in mends

    was = files(place)
    connect(place, "i_max_a", "60")
    assert plan(place, was) == (
        "P1: at most 380 kWh a day (from i_max_a 60, u_n_v 220, phases 1) instead of 38 (from "
        "i_max_a 6, u_n_v 220, phases 1), always; 2 withheld days are judged again: "
        f"{WITHHELD[0]}, {WITHHELD[1]}",
    )
    seen = told(place, "quality", "revalidate", "--all", "--files", "--dry-run")
    assert [it["day"] for it in seen[0]["readings"]] == [*map(str, WITHHELD)]
    assert published(place) == [OPEN, OPEN + DAY]
    place.restart()
    assert published(place) == [OPEN, OPEN + DAY, *WITHHELD]
    assert place.balance("A1") == before - 200 * 50


def test_what_the_site_says_of_a_phase_mends_each_point_of_which_nothing_is_told(
    place: Place,
) -> None:
    place.read("P1", 100, 105, 605, 1105)
    place.read("P2", 100, 105, 605, 1105)
    assert limits(place) == [("380", "quality.max_daily_kwh")]
    assert published(place) == [OPEN, OPEN + DAY]
    was = files(place)
    connect(place, "contract_kw", "10")
    site = place.folder / "meterd.toml"
    site.write_text(f"{site.read_text()}\n[quality]\nmax_daily_kwh = 500\n")
    lowered, raised = plan(place, was)
    assert lowered == (
        "P1: at most 288 kWh a day (from contract_kw 10, ratio 1) instead of 380 (from "
        "quality.max_daily_kwh), from today on"
    )
    assert raised.startswith("P2: at most 500 kWh a day (from quality.max_daily_kwh) instead of")
    place.restart()
    assert published(place) == [OPEN, OPEN + DAY]
    of_second = "SELECT count(*) FROM slot WHERE point_id = 2 AND state = 'published'"
    assert place.ask(of_second) == [(4,)]


def test_use_that_waits_for_a_person_by_what_the_site_says_is_planned_and_tried_before(
    place: Place,
) -> None:
    place.read("P1", 100, 105, 0, 0, 0, 125)
    before = place.balance("A1")
    was = files(place)
    site = place.folder / "meterd.toml"
    site.write_text(f"{site.read_text()}\n[quality]\nmax_auto_span_days = 3\n")
    assert plan(place, was) == (
        "use of more than 3 days waits for a person, instead of 7, and outliers are outvoted over 3 "
        "days; points that are judged again: 1",
    )
    seen = told(place, "quality", "revalidate", "--all", "--files", "--dry-run")
    assert seen[0]["use"]["before"][0] | {"held": "span"} == seen[0]["use"]["after"][0]
    assert seen[1] == {"balances_moved_fen": {"A1": 20 * 50}}
    assert place.balance("A1") == before
    place.restart()
    assert place.balance("A1") == before + 20 * 50
    shown = told(place, "readings", "P1", "--from", str(OPEN), "--to", str(OPEN + 5 * DAY))
    assert [(it["held"], it["rules"]) for it in shown] == [*[(None, 1)] * 5, ("span", 2)]
    (found,) = told(place, "quality", "show", "P1", str(OPEN))
    assert [it["thresholds"]["max_auto_span_days"] for it in found["rule_sets"]] == [7, 3]
    assert "max_auto_span_days=3" in place.meterd("quality", "show", "P1", str(OPEN)).stdout
    place.restart()
    assert place.ask("SELECT count(*) FROM rule_set") == [(2,)]


def test_another_reason_for_the_same_limit_judges_nothing(place: Place) -> None:
    read_twice(place, 100, 105, 605)
    journal = "SELECT count(*) FROM slot_journal"
    before = place.ask(journal)
    was = files(place)
    connect(place, "i_max_a", "60")
    assert plan(place, was) == (
        "P1: at most 380 kWh a day (from i_max_a 60, u_n_v 220, phases 1), as from "
        "quality.max_daily_kwh; no day is judged otherwise",
    )
    place.restart()
    assert limits(place) == [("380", "i_max_a 60, u_n_v 220, phases 1")]
    assert place.ask("SELECT count(*) FROM point_limit WHERE point_id = 1") == [(1,)]
    assert place.ask(journal) == before
    connect(place, "max_daily_kwh", "380")
    place.restart()
    assert limits(place) == [("380", "max_daily_kwh")]
    mends, *_ = [it for it in commands_of(place) if "points.csv" in it]
    assert mends == "max_daily_kwh of P1 in points.csv, then meterd reload (if it is too small)"
