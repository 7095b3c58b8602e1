"""What a person has to know of supply: counted by kind, told when there is more, and when over."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from daemon.control.alarms import ALARMS, SILENT, TRIP_LATE, UNSEEN, Alarm, alarms_of, news

NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)


def row(kind: str, minutes: int, **known: Any) -> dict[str, Any]:
    nothing = {"point": None, "account": None, "line": None, "detail": ""}
    return {**nothing, "kind": kind, "since": NOW - timedelta(minutes=minutes), **known}


def test_each_kind_is_in_the_manual_and_has_a_word_for_the_log() -> None:
    _, _, section = Path("docs/supply.md").read_text().partition("\n## Alarms\n")
    table, _, _ = section.partition("\n## ")
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert re.findall(r"\w+", " ".join(cells)) == [*ALARMS]
    assert [word for word in ALARMS.values() if word != word.lower()] == []


def test_how_long_is_waited_before_somebody_is_told() -> None:
    assert timedelta(minutes=10) == SILENT
    assert timedelta(minutes=15) == TRIP_LATE
    assert timedelta(hours=36) == UNSEEN


def test_rows_are_counted_by_kind_with_the_oldest() -> None:
    found = alarms_of(
        [
            row("reconnect_late", 30, point="P1", line="bus", detail="unknown meter is silent"),
            row("reconnect_late", 12, point="P2"),
            row("breaker_open", 1, detail="too many trips"),
        ],
        NOW,
    )
    assert found == {
        "reconnect_late": Alarm(
            "reconnect_late",
            2,
            1800,
            "point P1, line bus, unknown meter is silent",
            frozenset({("P1", None, "bus"), ("P2", None, None)}),
        ),
        "breaker_open": Alarm(
            "breaker_open", 1, 60, "too many trips", frozenset({("too many trips",)})
        ),
    }
    assert found["breaker_open"].word == ALARMS["breaker_open"]


def test_another_in_the_place_of_one_that_is_over_is_news() -> None:
    one, two, other = (
        alarms_of([row("reconnect_late", 12, point=point, detail=detail)], NOW)
        for point, detail in (("P1", "sent"), ("P1", "verifying"), ("P2", "sent"))
    )
    assert news(one, two) == ([], [])
    assert news(one, other) == ([other["reconnect_late"]], [])
    assert news(
        alarms_of([row("breaker_open", 1, detail="site")], NOW),
        alarms_of([row("breaker_open", 1, detail="area T1")], NOW),
    )[0]


def test_a_time_to_come_has_no_age() -> None:
    assert alarms_of([row("job_overdue", -5)], NOW)["job_overdue"].oldest_s == 0


def test_only_what_is_more_than_before_and_what_is_over_is_news() -> None:
    one = Alarm("job_overdue", 1, 60, "")
    two = Alarm("job_overdue", 2, 75, "")
    other = Alarm("breaker_open", 1, 5, "")
    assert news({}, {"job_overdue": one}) == ([one], [])
    assert news({"job_overdue": one}, {"job_overdue": one}) == ([], [])
    assert news({"job_overdue": one}, {"job_overdue": two}) == ([two], [])
    assert news({"job_overdue": two}, {"job_overdue": one}) == ([], [])
    assert news({"job_overdue": one}, {"breaker_open": other}) == ([other], ["job_overdue"])
