from typing import Any

import pytest

from daemon.quality.case_fields import CaseError
from daemon.quality.cases import result_of
from tests.unit.quality.judge_cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_a_case_comes_to_what_it_expects(name: str) -> None:
    assert result_of(CASES[name]) == CASES[name]["expected"]


def test_what_a_case_expects_is_not_looked_at() -> None:
    assert result_of({**CASES["J01"], "expected": 7}) == CASES["J01"]["expected"]


def spoilt(**changed: Any) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": "value",
        "day": "2026-03-01",
        "registers": {"total": "1.00"},
        "read_at": "2026-03-01T00:07",
    }
    value |= changed
    given = {
        "timezone": "Asia/Shanghai",
        "installations": [],
        "ratios": [],
        "limits": [],
        "events": [{key: it for key, it in value.items() if it is not ...}],
    }
    return {"id": "X", "input": given}


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"input": 7}, "input: must be an object, is the number 7"),
        ({"kind": "settle", "input": {}}, "kind: 'settle' is not a kind"),
        ({"input": {"timezone": "Asia/Nowhere", "events": []}}, "input.timezone: there is no zone"),
        (spoilt(type="valeu"), "input.events[0].type: 'valeu' is none of value, second_read"),
        (spoilt(day=...), "input.events[0].day: is missing"),
        (spoilt(day="2026-02-30"), "input.events[0].day: '2026-02-30' is not a day"),
        (spoilt(day="9999-12-31"), "input.events[0].day: the year 9999 is not between"),
        (spoilt(read_at="noon"), "input.events[0].read_at: 'noon' is not a moment"),
        (spoilt(registers={"total": 1}), "input.events[0].registers.total: must be a decimal"),
        (spoilt(registers={"total": "1e9"}), "input.events[0].registers.total: '1e9' is not a"),
        (spoilt(registers={"total": "NaN"}), "input.events[0].registers.total: 'NaN' is not a"),
        (spoilt(registers={"peak": "1"}), "input.events[0].registers.total: is missing"),
        (spoilt(registers=["1"]), "input.events[0].registers: must be an object, is a list"),
        (spoilt(skew_s="7"), "input.events[0].skew_s: must be a whole number, is a text"),
        (spoilt(type="limit", max_daily_register="0"), "input.events[0].from: is missing"),
        (spoilt(registers={"total": "one"}), "input.events[0].registers.total: 'one' is not a"),
        (spoilt(registers=None), "input.events[0].registers: must be an object, is null"),
        (spoilt(source=7), "input.events[0].source: must be a text, is the number 7"),
        (
            spoilt(type="second_read", refused="yes"),
            "input.events[0].refused: must be true or false, is a text",
        ),
        (
            spoilt(type="exchange", decimals=10),
            "input.events[0].decimals: 10 is not between 0 and 9",
        ),
        (
            {"input": {"timezone": "Asia/Shanghai", "events": {}}},
            "input.events: must be a list, is an object",
        ),
        (
            spoilt(type="finding", code="V25", to="2026-03-01", **{"from": "2026-03-09"}),
            "input.events[0].to: 2026-03-01 is before 2026-03-09",
        ),
        (
            spoilt(type="clock_finding", skew_s=5, to="2026-03-01", **{"from": "2026-03-09"}),
            "input.events[0].to: 2026-03-01 is before 2026-03-09",
        ),
        (
            spoilt(type="limit", max_daily_register="0", **{"from": "2026-03-01"}),
            "input.events[0].max_daily_register: 0 is not above 0",
        ),
    ],
)
def test_a_case_that_is_not_understood_says_which_field(case: Any, message: str) -> None:
    with pytest.raises(CaseError) as raised:
        result_of(case)
    assert str(raised.value).startswith(message)
