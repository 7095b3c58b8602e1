"""Facts in any order end on the same verdict; decisions and closings are the only barriers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.quality.cases import result_of
from tests.examples import examples
from tests.unit.quality.judge_cases import CASES

BARRIERS = ("operator", "close")
PERMUTABLE = [name for name, case in CASES.items() if case.get("permutable")]
BASE = {
    "timezone": "Europe/Berlin",
    "installations": [
        {"serial": "A", "from": "2026-03-25T00:00", "modulus": "1000", "decimals": 0}
    ],
    "ratios": [{"from": "2026-03-25", "ratio": "1", "rev": 0}],
    "limits": [{"from": "2026-03-25", "max_daily_register": "40", "rev": 0}],
}


@st.composite
def shuffled(draw: st.DrawFn, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events of each stretch between two barriers in another order."""
    found: list[dict[str, Any]] = []
    stretch: list[dict[str, Any]] = []
    for event in [*events, {"type": "close"}]:
        if event["type"] not in BARRIERS:
            stretch.append(event)
            continue
        found += [*draw(st.permutations(stretch)), event]
        stretch = []
    return found[:-1]


def end(given_input: dict[str, Any], events: list[dict[str, Any]]) -> dict[str, Any]:
    result = result_of({"id": "X", "input": {**given_input, "events": events}})
    return {key: result[key] for key in ("days", "chain", "links")}


@pytest.mark.parametrize("name", PERMUTABLE)
def test_the_events_of_a_case_in_any_order_end_alike(name: str) -> None:
    case = CASES[name]["input"]

    @examples(10)
    @given(shuffled(case["events"]))
    def check(events: list[dict[str, Any]]) -> None:
        expected = CASES[name]["expected"]
        assert end(case, events) == {key: expected[key] for key in ("days", "chain", "links")}

    check()


def day(number: int) -> str:
    return f"2026-03-{number:02d}" if number < 32 else f"2026-04-{number - 31:02d}"


DAYS = st.integers(25, 40)


@st.composite
def an_event(draw: st.DrawFn) -> dict[str, Any]:
    """Of every kind; documents leave their registers open, so that none is ever refused."""
    kind = draw(st.sampled_from(["value"] * 12 + ["refused", "limit", "clock", "finding", "ratio"]))
    first = draw(DAYS)
    rev = draw(st.integers(0, 50))
    match kind:
        case "value":
            total = 5 * first + draw(st.sampled_from([0, 0, 0, 0, -60, 30, 400]))
            hour = draw(st.integers(0, 23))
            return {
                "type": "value",
                "day": day(first),
                "registers": {"total": str(total)},
                "read_at": f"{day(first + draw(st.sampled_from([0, 0, 0, 3])))}T{hour:02d}:07",
                "source": draw(st.sampled_from(["line", "terminal"])),
                "skew_s": draw(st.sampled_from([0, 0, 100, 400, -3600])),
                "stamp": f"{day(first - draw(st.sampled_from([0, 0, 0, 0, 1])))}T00:00",
            }
        case "refused":
            return {"type": "second_read", "day": day(first), "refused": True}
        case "limit":
            limit = str(draw(st.sampled_from([4, 40, 90])))
            return {"type": "limit", "from": day(first), "max_daily_register": limit, "rev": rev}
        case "clock":
            skew_s = draw(st.sampled_from([0, 400]))
            last = day(first + 3)
            return {
                "type": "clock_finding",
                "from": day(first),
                "to": last,
                "skew_s": skew_s,
                "rev": rev,
            }
        case "finding":
            last = day(first + 3)
            return {"type": "finding", "code": "V25", "from": day(first), "to": last, "rev": rev}
    return {
        "type": "ratio",
        "at": f"{day(first)}T00:00",
        "ratio": str(draw(st.integers(1, 3))),
        "rev": rev,
    }


@st.composite
def a_barrier(draw: st.DrawFn) -> dict[str, Any]:
    first = draw(DAYS)
    action = draw(st.sampled_from(["release", "reject", "withdraw", "substitute", "close"]))
    if action == "close":
        return {"type": "close", "through": day(first)}
    total = str(5 * first + draw(st.sampled_from([0, 0, 30])))
    return {"type": "operator", "action": action, "day": day(first), "total": total}


@st.composite
def two_orders(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        events += draw(st.lists(an_event(), min_size=3, max_size=12))
        events.append(draw(a_barrier()))
    events += draw(st.lists(an_event(), max_size=6))
    serials = [{"type": "setting", "clock": "standard", "rev": 1}] if draw(st.booleans()) else []
    exchange = {
        "type": "exchange",
        "at": f"{day(draw(DAYS))}T11:00",
        "serial": "A",
        "modulus": "1000",
        "decimals": 0,
        "initial": None,
        "old_final": None,
    }
    events += [*serials, exchange] if draw(st.booleans()) else serials
    return events, draw(shuffled(events))


@examples(150)
@given(two_orders(), st.sampled_from([7, 1, 3, 14]))
def test_any_order_between_barriers_ends_alike(
    orders: tuple[list[dict[str, Any]], list[dict[str, Any]]], span_days: int
) -> None:
    one, other = orders
    given_input = {**BASE, "max_auto_span_days": span_days}
    assert end(given_input, one) == end(given_input, other)
