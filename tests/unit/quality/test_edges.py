"""Edges of judgement.md as cases of `quality try`: the last value that is good beside the first that
is not, by hand from the text of the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from daemon.quality.cases import result_of

Event = dict[str, Any]


def on(day: int, month: int = 3) -> str:
    return f"2026-{month:02d}-{day:02d}"


def read(day: int, total: str, *, month: int = 3, at: str = "00:07", **said: Any) -> Event:
    """A value of a day, read some minutes after its midnight; other keyword are registers' rates
    where they are texts of numbers, else fields of the event."""
    fields = {"read_on", "source", "stamp", "serial", "skew_s", "host_offset_s", "type"}
    rates = {name: it for name, it in said.items() if name not in fields}
    about = {name: it for name, it in said.items() if name in fields - {"read_on"}}
    read_at = f"{said.get('read_on', on(day, month))}T{at}"
    event = {"type": "value", "day": on(day, month), "registers": {"total": total, **rates}}
    return {**event, "read_at": read_at, **about}


def daily(*totals: str, first: int = 1, month: int = 3) -> list[Event]:
    return [read(n, total, month=month) for n, total in enumerate(totals, start=first)]


def again(day: int, total: str, **said: Any) -> Event:
    return read(day, total, at="01:07", type="second_read", **said)


def says(action: str, day: int, total: str, **said: Any) -> Event:
    return {"type": "operator", "action": action, "day": on(day), "total": total, **said}


def tried(events: Sequence[Event], **given: Any) -> dict[str, Any]:
    """What a case comes to: meter A from the first of the month, 1,000,000 kWh in steps of 0.01,
    380 kWh a day."""
    meter = {"serial": "A", "from": "2026-03-01T00:00", "initial": None, "decimals": 2}
    meter |= {"modulus": "1000000"} | given.pop("meter", {})
    case = {
        "timezone": "Asia/Shanghai",
        "installations": [meter],
        "ratios": [{"from": "2026-01-01", "ratio": "1", "rev": 0}],
        "limits": [{"from": "2026-01-01", "max_daily_register": given.pop("limit", "380")}],
        "events": events,
    }
    return result_of({"id": "E", "kind": "judge", "input": case | given})


def day_of(result: Mapping[str, Any], day: int, month: int = 3) -> str:
    """State, codes and next step of a day."""
    shown = result["days"][on(day, month)]
    return " ".join(
        [shown["state"], *shown["codes"], *([shown["next"]] if "next" in shown else [])]
    )


def links_of(result: Mapping[str, Any]) -> list[str]:
    """From, to, kWh, held."""
    return [
        " ".join([it["from"][5:], it["to"][5:], it.get("kwh", "?"), it.get("held", "billed")])
        for it in result["links"]
    ]


TWO = daily("100.00", "105.00")
FOUR = daily("100.00", "105.00", "110.00", "115.00")


# --- section 2: checks of one candidate -----------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (read(3, "105.00", stamp="2026-03-02T00:00"), "suspect V04 recollect"),
        (read(3, "112.00", stamp="2026-03-03T00:01"), "suspect V04 recollect"),
        (read(3, "112.00", stamp="2026-03-03T00:00"), "published"),
        (read(3, "112.00", host_offset_s=60), "published"),
        (read(3, "112.00", host_offset_s=-60), "published"),
        (read(3, "112.00", host_offset_s=61), "suspect V04 recollect"),
        (read(3, "112.00", serial="A"), "published"),
        (read(3, "112.00", serial="B"), "suspect V03 recollect"),
        (read(3, "112.00", skew_s=60), "published"),
        (read(3, "112.00", skew_s=-61), "published V05"),
        (read(3, "112.00", skew_s=300), "published V05"),
        (read(3, "112.00", skew_s=-301), "suspect V05 person"),
        (read(3, "-0.01"), "suspect V06 recollect"),
        (read(3, "1000000.00"), "suspect V06 recollect"),
        (read(3, "112.005"), "suspect V06 recollect"),
        (read(3, "112.00", a="28.00", b="28.00", c="28.00", d="27.96"), "published"),
        (read(3, "112.00", a="28.00", b="28.00", c="28.00", d="27.95"), "suspect V11 reread"),
        (read(3, "112.00", a="28.00", b="28.00", c="28.00", d="28.04"), "published"),
        (read(3, "112.00", a="112.01"), "published"),
        (read(3, "112.00", a="112.02"), "suspect V11 reread"),
    ],
)
def test_a_candidate_is_checked_by_itself(event: Event, expected: str) -> None:
    assert day_of(tried([*TWO, event]), 3) == expected


def test_a_host_that_read_once_near_enough_to_midnight_has_a_value_of_the_day() -> None:
    far = read(3, "112.00", host_offset_s=61)
    assert day_of(tried([*TWO, far]), 3) == "suspect V04 recollect"
    assert day_of(tried([*TWO, far, again(3, "112.00", host_offset_s=30)]), 3) == "published"


def test_a_clock_that_was_wrong_at_one_of_two_reads_was_wrong_at_midnight() -> None:
    events = [*TWO, read(3, "112.00", skew_s=400), again(3, "112.00", skew_s=0)]
    assert day_of(tried(events), 3) == "suspect V05 person"


def test_a_stamp_that_another_day_had_with_another_total_is_stuck() -> None:
    second = read(2, "105.00", stamp="2026-03-02T00:00")
    stuck = read(3, "112.00", stamp="2026-03-02T00:00")
    assert day_of(tried([TWO[0], second, stuck]), 3) == "suspect V04 V29 recollect"


def test_the_tolerance_of_rates_is_a_step_of_the_wire() -> None:
    event = read(3, "112.00", a="56.00", b="55.80")
    assert day_of(tried([*TWO, event], meter={"wire_decimals": 1}), 3) == "published"
    assert day_of(tried([*TWO, event]), 3) == "suspect V11 reread"


def test_what_is_no_value_of_its_day_makes_no_conflict() -> None:
    result = tried([*TWO, read(3, "900.00", serial="B"), read(3, "110.00", at="00:09")])
    assert day_of(result, 3) == "published"


def test_two_values_of_a_day_are_a_conflict() -> None:
    result = tried([*TWO, read(3, "9000.00"), read(3, "110.00", at="00:09")])
    assert day_of(result, 3) == "published V34"


def test_a_clock_finding_replaces_the_skew_that_was_read_until_it_is_taken_back() -> None:
    found = {"type": "clock_finding", "from": on(3), "to": on(4), "skew_s": 420, "rev": 1}
    taken_back = {**found, "skew_s": None, "rev": 2}
    late = {**found, "rev": 1, "skew_s": 500}
    assert day_of(tried([*FOUR, found]), 3) == "suspect V05 person"
    assert day_of(tried([*FOUR, found, taken_back]), 3) == "published"
    assert day_of(tried([*FOUR, taken_back, late]), 3) == "published"


@pytest.mark.parametrize(
    ("clock", "skew_s", "month", "expected"),
    [
        ("standard", -3600, 6, "published"),
        ("standard", 0, 6, "suspect V05 person"),
        ("standard", 0, 3, "published"),
        ("zone", -3600, 6, "suspect V05 person"),
        ("zone", 0, 6, "published"),
        ("standard", -3300, 6, "published V05"),
        ("standard", -3299, 6, "suspect V05 person"),
    ],
)
def test_skew_is_judged_against_the_time_that_the_meter_keeps(
    clock: str, skew_s: int, month: int, expected: str
) -> None:
    events = [read(n, f"{100 + n}.00", month=month, skew_s=skew_s) for n in (10, 11)]
    result = tried(events, timezone="Europe/Berlin", clock=clock)
    assert day_of(result, 11, month) == expected


# --- section 3: when two values follow one another ------------------------------------------------


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (daily("100.00", "480.00"), "published"),
        (daily("100.00", "480.01"), "suspect V08 reread"),
        ([*TWO, read(4, "865.00")], "published"),
        ([*TWO, read(4, "865.01")], "suspect V08 reread"),
        (daily("100.00", "100.00"), "published"),
    ],
)
def test_the_limit_grows_with_the_days(events: list[Event], expected: str) -> None:
    result = tried(events)
    assert day_of(result, int(events[-1]["day"][-2:])) == expected


@pytest.mark.parametrize(
    ("clock", "month", "day", "advance", "expected"),
    [
        ("zone", 3, 29, "230.00", "published"),
        ("zone", 3, 29, "230.01", "suspect V08 reread"),
        ("standard", 3, 29, "240.00", "published"),
        ("standard", 3, 29, "240.01", "suspect V08 reread"),
        ("zone", 10, 25, "250.00", "published"),
        ("zone", 10, 25, "250.01", "suspect V08 reread"),
        ("zone", 3, 28, "240.00", "published"),
    ],
)
def test_a_day_of_a_change_of_clocks_has_its_own_hours(
    clock: str, month: int, day: int, advance: str, expected: str
) -> None:
    # Confirmed by the value of the day before.
    begin = [read(day - 1, "99.00", month=month), read(day, "100.00", month=month)]
    end = read(day + 1, f"{Decimal(100) + Decimal(advance)}", month=month)
    result = tried([*begin, end], timezone="Europe/Berlin", clock=clock, limit="240")
    assert day_of(result, day + 1, month) == expected


@pytest.mark.parametrize(
    ("total", "expected"), [("354.99", "published"), ("355.00", "suspect V08 reread")]
)
def test_a_quarter_turn_is_too_far_whatever_the_limit(total: str, expected: str) -> None:
    result = tried([*TWO, read(3, total)], meter={"modulus": "1000"}, limit="900")
    assert day_of(result, 3) == expected


@pytest.mark.parametrize(
    ("total", "expected"), [("5.0", "published"), ("5.1", "suspect V07 reread")]
)
def test_a_rollover_is_as_far_as_the_limit(total: str, expected: str) -> None:
    meter = {"modulus": "10000", "decimals": 1}
    result = tried(
        [*daily("9990.0", "9995.0"), read(3, total)],
        meter=meter,
        limit="10",
        ratios=[{"from": "2026-01-01", "ratio": "80"}],
    )
    assert day_of(result, 3) == expected
    if expected == "published":
        assert links_of(result)[-1] == "03-02 03-03 800 billed"


def test_a_rate_that_runs_backward_outranks_a_total_that_is_good() -> None:
    events = [
        read(1, "90.00", a="40.00", b="50.00"),
        read(2, "100.00", a="50.00", b="50.00"),
        read(3, "105.00", a="60.00", b="45.00"),
    ]
    assert day_of(tried(events), 3) == "suspect V07 reread"


def test_rates_of_other_names_are_not_compared() -> None:
    events = [read(1, "90.00", a="90.00"), read(2, "100.00", b="100.00"), read(3, "105.00")]
    assert day_of(tried(events), 3) == "published"


@pytest.mark.parametrize(
    ("total", "expected"), [("124.04", "published"), ("124.05", "suspect V08 reread")]
)
def test_host_freezes_add_their_error_bounds_rounded_up(total: str, expected: str) -> None:
    events = [
        read(1, "90.00"),
        read(2, "100.00", host_offset_s=60),
        read(3, total, host_offset_s=-60),
    ]
    # 24 kWh x 60 s is 0.0167 kWh: two steps for each end.
    assert day_of(tried(events, limit="24"), 3) == expected


@pytest.mark.parametrize(
    ("total", "expected"), [("124.01", "published"), ("124.02", "suspect V08 person")]
)
def test_of_two_reads_of_a_host_the_nearer_to_midnight_bounds_the_error(
    total: str, expected: str
) -> None:
    events = [*daily("90.00", "100.00"), read(3, total, host_offset_s=60)]
    events.append(again(3, total, host_offset_s=10))
    assert day_of(tried(events, limit="24"), 3) == expected


# --- section 4: what a person said ----------------------------------------------------------------

SPIKE = [*TWO, read(3, "900.00"), again(3, "900.00")]


def test_a_released_jump_is_billed_and_has_no_upper_limit() -> None:
    result = tried([*SPIKE, says("release", 3, "900.00")])
    assert day_of(result, 3) == "published"
    assert links_of(result)[-1] == "03-02 03-03 795 billed"


def test_after_a_released_value_the_limit_holds_as_ever() -> None:
    result = tried([*SPIKE, says("release", 3, "900.00"), read(4, "1280.01")])
    assert day_of(result, 4) == "suspect V08 reread"


def test_what_is_below_a_released_value_contradicts_a_person() -> None:
    result = tried([*SPIKE, says("release", 3, "900.00"), *daily("110.00", "115.00", first=4)])
    assert day_of(result, 4) == "suspect V07 V35 person"


@pytest.mark.parametrize(
    ("events", "command", "refused"),
    [
        (SPIKE, says("release", 3, "900.01"), "no_such_value"),
        ([*TWO, read(3, "9.00", serial="B")], says("release", 3, "9.00"), "not_this_day"),
        (
            [*TWO, read(3, "900.00"), *daily("115.00", "120.00", first=4)],
            says("release", 3, "900.00"),
            "contradicts_published",
        ),
        ([*TWO, read(3, "5.00")], says("release", 3, "5.00"), "backward_needs_document"),
        (
            [*FOUR, {"type": "close", "through": on(3)}],
            says("reject", 2, "105.00"),
            "closed_period",
        ),
        (
            [*FOUR, {"type": "close", "through": on(3)}],
            says("withdraw", 3, "110.00"),
            "closed_period",
        ),
        (
            FOUR,
            {
                "type": "exchange",
                "at": "2026-03-04T10:00",
                "serial": "B",
                "initial": {"total": "0.00"},
                "old_final": {"total": "114.99"},
                "modulus": "1000000",
                "decimals": 2,
            },
            "final_below_published",
        ),
    ],
)
def test_a_side_door_is_shut(events: list[Event], command: Event, refused: str) -> None:
    result = tried([*events, command])
    before = tried(events)
    assert result["steps"][-1]["refused"] == refused
    assert (result["days"], result["links"]) == (before["days"], before["links"])


def test_outside_a_closed_period_a_value_is_withdrawn() -> None:
    result = tried([*FOUR, {"type": "close", "through": on(3)}, says("withdraw", 4, "115.00")])
    assert day_of(result, 4) == "suspect V38 person"


def test_a_release_that_says_so_goes_over_the_highest_value() -> None:
    result = tried([*TWO, read(3, "5.00"), says("release", 3, "5.00", rollover=True)])
    assert day_of(result, 3) == "published"
    assert links_of(result)[-1] == "03-02 03-03 999900 billed"


def test_what_a_closing_named_stands_when_a_limit_is_lowered() -> None:
    lowered = {"type": "limit", "from": on(1), "max_daily_register": "1", "rev": 1}
    open_ = tried([*FOUR, lowered])
    closed = tried([*FOUR, {"type": "close", "through": on(3)}, lowered])
    assert day_of(open_, 3) == "suspect V08 reread"
    assert [day_of(closed, n) for n in (1, 2, 3)] == ["published"] * 3
    assert day_of(closed, 4) == "suspect V08 reread"


def test_a_rejected_value_stays_rejected_and_another_takes_its_place() -> None:
    said = [*TWO, read(3, "110.00"), says("reject", 3, "110.00")]
    assert day_of(tried(said), 3) == "rejected recollect"
    assert day_of(tried([*said, again(3, "110.00")]), 3) == "rejected person"
    assert day_of(tried([*said, again(3, "109.00")]), 3) == "published"


def test_a_substitute_stands_between_its_neighbours_until_a_reading_comes() -> None:
    gap = [*TWO, *daily("120.00", "125.00", first=5)]
    stands = says("substitute", 3, "112.00", method="S2")
    assert day_of(tried([*gap, stands]), 3) == "substituted"
    assert day_of(tried([*gap, stands, read(3, "111.00", read_on=on(6))]), 3) == "published"
    below = says("substitute", 3, "104.99", method="S2")
    above = says("substitute", 3, "120.01", method="S2")
    assert day_of(tried([*gap, below]), 3) == "suspect V07 person"
    assert day_of(tried([*gap, above]), 3) == "suspect V27 person"


# --- section 5: the choice of the chain -----------------------------------------------------------


def test_seven_days_is_the_farthest_that_an_outlier_is_outvoted() -> None:
    near = tried([*daily("100.00", "480.00"), *daily("135.00", "140.00", "145.00", first=8)])
    assert day_of(near, 2) == "suspect V27 V31 reread"
    assert links_of(near)[0] == "03-01 03-08 35 billed"
    far = tried([*daily("100.00", "480.00"), *daily("135.00", "140.00", "145.00", first=9)])
    assert day_of(far, 2) == "published"
    assert day_of(far, 9) == "suspect V07 V36 person"


@pytest.mark.parametrize(("wrong", "needed"), [(1, 3), (2, 3), (3, 4)])
def test_so_many_wrong_values_need_one_more_behind_them_and_three_at_least(
    wrong: int, needed: int
) -> None:
    junk = daily(*(f"{300 + n}.00" for n in range(wrong)), first=3)
    honest = daily(*(f"{110 + n}.00" for n in range(needed)), first=3 + wrong)
    assert day_of(tried([*TWO, *junk, *honest[:-1]]), 3).startswith("published")
    assert day_of(tried([*TWO, *junk, *honest]), 3) == "suspect V27 V31 reread"


def test_a_delivery_that_comes_twice_is_one_read() -> None:
    spike = read(3, "900.00")
    assert day_of(tried([*TWO, spike, spike]), 3) == "suspect V08 reread"
    assert day_of(tried([*TWO, spike, {**spike, "source": "hand"}]), 3) == "suspect V08 person"


def test_a_second_read_makes_a_value_heavier() -> None:
    once = [*TWO, read(3, "300.00"), *daily("110.00", "111.00", "112.00", first=4)]
    assert day_of(tried(once), 3) == "suspect V27 V31 reread"
    # 3 x 3 against 6: still lighter; two wrong days that were read twice are not.
    twice = [*TWO, *(f(n, "300.00") for n in (3, 4) for f in (read, again))]
    three = daily("110.00", "111.00", "112.00", first=5)
    assert day_of(tried([*twice, *three]), 3).startswith("published")
    assert day_of(tried([*twice, *three, *daily("113.00", "114.00", first=8)]), 3) == (
        "suspect V27 V31 person"
    )


def test_a_value_that_came_late_gives_way_to_what_was_there() -> None:
    result = tried([*TWO, *daily("115.00", "120.00", first=4), read(3, "118.00", read_on=on(6))])
    assert day_of(result, 3) == "suspect V27 V31 reread"


def test_an_only_value_waits_unless_a_document_begins_the_chain() -> None:
    assert day_of(tried([read(1, "100.00")]), 1) == "suspect V32 wait"
    begun = {"initial": {"total": "99.00"}, "from": "2026-02-28T10:00"}
    result = tried([read(1, "100.00")], meter=begun)
    assert day_of(result, 1) == "published"
    assert links_of(result) == ["02-28T10:00 03-01 1 billed"]


# --- section 6: codes -----------------------------------------------------------------------------


def test_a_total_that_has_not_moved_for_thirty_days_is_remarked() -> None:
    result = tried(daily(*["100.00"] * 31))
    assert day_of(result, 30) == "published"
    assert day_of(result, 31) == "published V10"


def test_the_first_two_values_of_a_new_source_are_remarked() -> None:
    others = [read(n, f"{105 + n}.00", source="terminal") for n in (3, 4, 5)]
    result = tried([*TWO, *others])
    assert [day_of(result, n) for n in (2, 3, 4, 5)] == [
        "published",
        "published V37",
        "published V37",
        "published",
    ]


def test_a_disputed_value_is_no_more_when_three_follow_it() -> None:
    disputed = [*TWO, read(3, "300.00"), read(4, "110.00")]
    assert day_of(tried(disputed), 3) == "published V33"
    assert day_of(tried([*disputed, *daily("305.00", "310.00", first=5)]), 3) == "published V33"
    followed = [*disputed, *daily("305.00", "310.00", "315.00", first=5)]
    assert day_of(tried(followed), 3) == "published"


def test_three_values_that_fit_one_another_behind_the_end_are_a_break() -> None:
    low = daily("5.00", "6.00", "7.00", first=3)
    # Two registers below could outvote nothing, as the two before them weigh as much.
    many = [*daily(*(f"{1000 + n}.00" for n in range(5))), *daily("5.00", "6.00", "7.00", first=6)]
    assert day_of(tried(many), 6) == "suspect V07 V36 person"
    assert day_of(tried([*daily("1000.00", "1001.00"), *low[:2]]), 3) == "suspect V07 reread"


# --- section 7: links -----------------------------------------------------------------------------


def test_a_span_of_eight_days_is_held_and_one_of_seven_is_not() -> None:
    seven = tried([*TWO, *daily("130.00", "131.00", first=9)])
    eight = tried([*TWO, *daily("130.00", "131.00", first=10)])
    assert "03-02 03-09 25 billed" in links_of(seven)
    assert "03-02 03-10 25 span" in links_of(eight)


def test_a_ratio_that_changes_inside_holds_the_link_and_at_its_end_does_not() -> None:
    gap = [*TWO, *daily("120.00", "125.00", first=5)]
    ratio = {"type": "ratio", "at": "2026-03-04T00:00", "ratio": "10", "rev": 1}
    inside = tried([*gap, ratio])
    assert links_of(inside) == [
        "03-01 03-02 5 billed",
        "03-02 03-05 15 ratio",
        "03-05 03-06 50 billed",
    ]
    at_end = tried([*gap, {**ratio, "at": "2026-03-05T00:00"}])
    assert links_of(at_end)[1] == "03-02 03-05 15 billed"
    known = tried([*gap, {**ratio, "register": {"total": "112.00"}}])
    assert links_of(known)[1:3] == [
        "03-02 03-04T00:00 7 billed",
        "03-04T00:00 03-05 80 billed",
    ]


def test_a_jump_in_less_time_than_the_limit_allows_is_not_laundered() -> None:
    launders = tried([*TWO, read(3, "600.00"), *daily("700.00", "705.00", first=4)])
    assert day_of(launders, 3) == "suspect V08 reread"
    assert "03-02 03-04 595 spike" in links_of(launders)
    honest = tried([*TWO, read(3, "600.00"), *daily("115.00", "120.00", first=4)])
    assert "03-02 03-04 10 billed" in links_of(honest)


def test_a_jump_whose_end_a_person_confirmed_is_billed() -> None:
    events = [*TWO, read(3, "600.00"), *daily("700.00", "705.00", first=4)]
    assert "03-02 03-04 595 billed" in links_of(tried([*events, says("release", 4, "700.00")]))


EXCHANGE = {
    "type": "exchange",
    "at": "2026-03-03T10:00",
    "serial": "B",
    "modulus": "1000000",
    "decimals": 2,
}


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        (
            {"old_final": {"total": "108.00"}, "initial": {"total": "1.00"}},
            ["03-01 03-02 5 billed", "03-02 03-03T10:00 3 billed", "03-03T10:00 03-04 2 billed"],
        ),
        (
            {"old_final": None, "initial": {"total": "1.00"}},
            [
                "03-01 03-02 5 billed",
                "03-02 03-03T10:00 ? final_lost",
                "03-03T10:00 03-04 2 billed",
            ],
        ),
        (
            {"old_final": {"total": "108.00"}, "initial": None},
            [
                "03-01 03-02 5 billed",
                "03-02 03-03T10:00 3 billed",
                "03-03T10:00 03-04 ? initial_lost",
            ],
        ),
    ],
)
def test_links_touch_over_an_exchange(registers: dict[str, Any], expected: list[str]) -> None:
    result = tried([*TWO, {**EXCHANGE, **registers}, *daily("3.00", "4.00", first=4)])
    assert links_of(result)[:3] == expected


def test_the_freeze_of_the_midnight_of_an_exchange_is_the_new_meters() -> None:
    swap = {**EXCHANGE, "at": "2026-03-03T00:00", "initial": {"total": "1.00"}, "old_final": None}
    result = tried([*TWO, swap, *daily("1.00", "2.00", first=3)])
    assert [day_of(result, n) for n in (3, 4)] == ["published", "published"]


def test_days_before_the_first_meter_are_not_judged() -> None:
    result = tried([read(28, "90.00", month=2), *TWO])
    assert list(result["days"]) == [on(1), on(2)]


# --- limits and their numbers ---------------------------------------------------------------------


def test_of_limits_of_one_date_the_highest_number_counts_and_not_the_last() -> None:
    high = {"type": "limit", "from": "2026-01-01", "max_daily_register": "1000", "rev": 2}
    low = {"type": "limit", "from": "2026-01-01", "max_daily_register": "10", "rev": 1}
    result = tried([*TWO, read(3, "900.00"), high, low])
    assert day_of(result, 3) == "published"


def test_a_limit_holds_from_its_day_on() -> None:
    lowered = {"type": "limit", "from": on(3), "max_daily_register": "4", "rev": 1}
    result = tried([*FOUR, lowered])
    assert [day_of(result, n) for n in (1, 2, 3)] == ["published"] * 3
    assert day_of(result, 4) == "suspect V08 reread"


def test_nothing_was_read_of_an_empty_case() -> None:
    result = tried([])
    assert result == {"steps": [], "days": {}, "chain": [], "links": []}
    assert tried(TWO, installations=[])["days"] == {}
