"""What a person has to know of supply: counted by kind, told when there is more, and when over."""

from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.control.alarms import ALARMS, Alarm, alarms_of, news

NOW = datetime(2026, 3, 11, 2, 30, tzinfo=UTC)


def row(kind: str, minutes: int, **known: Any) -> dict[str, Any]:
    nothing = {"point": None, "account": None, "line": None, "detail": ""}
    return {**nothing, "kind": kind, "since": NOW - timedelta(minutes=minutes), **known}


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
            "reconnect_late", 2, 1800, "point P1, line bus, unknown meter is silent"
        ),
        "breaker_open": Alarm("breaker_open", 1, 60, "too many trips"),
    }
    assert found["breaker_open"].word == ALARMS["breaker_open"]


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
