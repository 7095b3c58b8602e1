"""Who of the staff is told what: the edges of each level, and what one call says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from config.notice_texts import STAFF_ALARM, shipped_texts
from config.settings import MOST_LEVELS, OnCallSection
from daemon.control.alarms import ALARMS
from daemon.figures import JOBS, LEVELS
from daemon.notices.on_call import (
    JOB,
    NAMED,
    REPEAT,
    Call,
    StaffAlarm,
    answering,
    call_text,
    calls_due,
    level_due,
)

NOW = datetime(2026, 3, 2, 18, 0, tzinfo=UTC)
AFTER = timedelta(minutes=10)
SECOND = timedelta(seconds=1)
ZONE = ZoneInfo("Asia/Shanghai")


def alarm(number: int = 1, level: int = 0, waited: timedelta | None = None, **more: Any) -> Any:
    told = {"level": level, "told_at": None if waited is None else NOW - waited}
    fixed = {
        "kind": "reconnect_late",
        "about": f"P{number}",
        "area": "T-1",
        "opened_at": NOW,
        "since": NOW - AFTER,
    }
    return StaffAlarm(**{"id": number, **fixed, **told, "has_failed": False, **more})


def person(name: str, level: int = 1, *areas: str, language: Any = "en") -> OnCallSection:
    return OnCallSection(
        name=name, areas=areas, level=level, channel="sms", address="1", language=language
    )


@pytest.mark.parametrize(
    ("told", "levels", "due"),
    [
        (alarm(), [], None),
        (alarm(), [1, 2], 1),
        (alarm(), [2, 3], 2),
        (alarm(level=1, waited=AFTER - SECOND), [1, 2, 3], None),
        (alarm(level=1, waited=AFTER), [1, 2, 3], 2),
        (alarm(level=1, waited=5 * AFTER), [1, 2, 3], 2),
        (alarm(level=1, waited=AFTER), [1, 3], 3),
        (alarm(level=1, waited=SECOND, has_failed=True), [1, 2, 3], 2),
        # The last one is told again; one of a level that is configured no more goes to the last.
        (alarm(level=2, waited=REPEAT - SECOND), [1, 2], None),
        (alarm(level=2, waited=REPEAT), [1, 2], 2),
        (alarm(level=2, waited=SECOND, has_failed=True), [1, 2], None),
        (alarm(level=3, waited=REPEAT), [1, 2], 2),
        (alarm(level=1, waited=REPEAT), [], None),
    ],
)
def test_a_level_is_told_when_its_time_has_come(
    told: StaffAlarm, levels: Sequence[int], due: int | None
) -> None:
    assert level_due(told, levels, NOW, AFTER) == due


def test_the_last_level_is_never_told_more_often_than_any_other() -> None:
    told = alarm(level=1, waited=2 * REPEAT)
    assert level_due(told, [1], NOW, 2 * REPEAT + SECOND) is None
    assert level_due(told, [1], NOW, 2 * REPEAT) == 1


def called(
    alarms: Sequence[StaffAlarm], persons: Sequence[OnCallSection], lately: Any = ()
) -> list[tuple[str, str, str, list[int]]]:
    due = calls_due(alarms, persons, lately, NOW, AFTER)
    return [(it.person.name, it.kind, it.area, [one.id for one in it.alarms]) for it in due]


def test_each_person_of_the_level_and_area_is_told_all_of_a_kind_at_once() -> None:
    persons = [person("Li", 1, "T-1"), person("Wu", 1), person("Xu", 2), person("Yu", 1, "T-2")]
    alarms = [
        alarm(1),
        alarm(2),
        alarm(3, area="T-2"),
        alarm(4, kind="breaker_open", area=""),
        alarm(5, level=1, waited=AFTER),
    ]
    assert called(alarms, persons) == [
        ("Li", "reconnect_late", "T-1", [1, 2]),
        ("Wu", "reconnect_late", "T-1", [1, 2]),
        ("Wu", "reconnect_late", "T-2", [3]),
        ("Yu", "reconnect_late", "T-2", [3]),
        ("Li", "breaker_open", "", [4]),
        ("Wu", "breaker_open", "", [4]),
        ("Yu", "breaker_open", "", [4]),
        ("Xu", "reconnect_late", "T-1", [5]),
    ]


@pytest.mark.parametrize(
    ("area", "names"), [("T-1", ["Li", "An"]), ("T-2", ["An"]), ("T-3", ["An"]), ("", ["Li", "An"])]
)
def test_who_is_called_first_answers_for_a_cut(area: str, names: list[str]) -> None:
    persons = [person("Wu", 2), person("Li", 1, "T-1"), person("An", 1), person("Bo", 2, "T-2")]
    assert answering(persons, area) == names
    assert answering([person("Bo", 2, "T-2")], area) == (["Bo"] if area in ("", "T-2") else [])


def test_levels_are_those_of_the_area() -> None:
    persons = [person("Li", 1, "T-1"), person("Wu", 2, "T-2")]
    assert called([alarm(1, area="T-2"), alarm(2, area="T-3")], persons) == [
        ("Wu", "reconnect_late", "T-2", [1])
    ]


@pytest.mark.parametrize(
    ("lately", "is_told"),
    [
        (("reconnect_late", "T-1", 1), False),
        (("reconnect_late", "T-1", 2), True),
        (("reconnect_late", "T-2", 1), True),
        (("breaker_open", "T-1", 1), True),
    ],
)
def test_a_level_that_was_told_lately_hears_later_of_what_came_since(
    lately: tuple[str, str, int], is_told: bool
) -> None:
    assert bool(called([alarm()], [person("Li")], {lately})) == is_told


def test_a_call_says_what_where_since_when_and_how_it_is_acknowledged() -> None:
    older = alarm(9, since=NOW - 3 * AFTER)
    many = [older, *(alarm(number) for number in range(1, NAMED + 1))]
    call = Call(person("Li", 2), "reconnect_late", "T-1", many)
    assert call_text(call, 17, shipped_texts()["en"], ZONE) == (
        "meterd 17: reconnects not done in time\n"
        "reconnects not done in time: 6 in area T-1: P9, P1, P2, P3, P4, .... "
        "Since 2026-03-03 01:30. Level 2, call 17.\n"
        "Say that you have it: meterd supply acknowledge 17"
    )
    of_nowhere = Call(person("Li"), "job_restore", "", [alarm(3, about="12 (P3)")] * NAMED)
    told = call_text(of_nowhere, 18, shipped_texts()["zh"], ZONE)
    assert "台区 -：" + ", ".join(["12 (P3)"] * NAMED) + "。" in told
    assert told.endswith("meterd job assign JOB NAME")
    # It may have somebody already, to whom it was given in vain.
    late = Call(person("Li"), "job_overdue", "T-1", [alarm(3, about="12 (P3)")])
    told = call_text(late, 19, shipped_texts()["en"], ZONE)
    assert told.endswith("meterd supply acknowledge 19")
    unknown = Call(person("Li"), "job_of_tomorrow", "", [alarm()])
    assert "meterd 1: job_of_tomorrow\n" in call_text(unknown, 1, shipped_texts()["en"], ZONE)


def test_everything_that_may_be_told_has_words_and_every_level_a_series() -> None:
    # What is a case is told as the job that it is.
    cases = {"notice_failed", "foreign_open", "foreign_closed"}
    assert set(STAFF_ALARM) == (set(ALARMS) - cases) | {
        JOB + kind for kind in JOBS if kind != "visit"
    }
    assert tuple(str(level) for level in range(MOST_LEVELS + 1)) == LEVELS
