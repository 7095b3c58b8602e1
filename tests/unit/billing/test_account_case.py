"""Sentences of money.md that no open case shows, event by event."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.account_case import advanced, rounded_series, settled
from daemon.quality.case_fields import CaseError, Fields
from tests.unit.golden_cases import CASES

FLAT = {"id": "T1", "effective_from": "2026-01-01", "energy": {"mode": "flat", "price": "0.5"}}
TOU = {
    **FLAT,
    "energy": {"mode": "tou", "prices": {"peak": "1", "valley": "0.5"}},
}
POINT = {"id": "P1", "ratio": "1", "modulus": "1000000", "decimals": 2, "max_daily_kwh": "100"}
SLAB = {
    "cycle": "month",
    "method": "slab",
    "bounds_kwh": ["100", "200"],
    "prices": ["0.50", "0.60", "0.80"],
    "whole_above_kwh": "100",
}
YEAR = {
    "cycle": "year",
    "method": "price",
    "bounds_kwh": ["1200"],
    "prices": ["0.5", "1"],
    "partial_year": "months",
}
ADDER = {"cycle": "year", "method": "adder", "bounds_kwh": ["10"], "adders": ["0", "2"]}
Event = dict[str, Any]


def reading(at: str, total: str, kind: str = "reading", **rates: str) -> Event:
    when = at if "T" in at else f"{at}T00:00"
    return {"type": kind, "point": "P1", "at": when, "registers": {"total": total, **rates}}


def days(first: str, last: str) -> Event:
    return {"type": "day_close", "from": first, "to": last}


def story(*events: Event, version: Event | list[Event] = FLAT, **given: Any) -> dict[str, Any]:
    point = {**POINT, **given.pop("point", {})}
    return settled(
        Fields(
            {
                "timezone": "Asia/Shanghai",
                "opening_balance_fen": 0,
                "points": given.pop("points", [point]),
                "tariff_versions": version if isinstance(version, list) else [version],
                "events": list(events),
                **given,
            },
            "input",
        )
    )


def told(result: dict[str, Any]) -> list[tuple[str, int]]:
    return [(step["status"], step["delta_fen"]) for step in result["steps"]]


def statuses(result: dict[str, Any]) -> list[str]:
    return [step["status"] for step in result["steps"]]


def charges(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = result["final"]["charges_fen_by_period"]
    return found


# Section 1 and 2


@pytest.mark.parametrize("number", [100, 100.0])
def test_a_register_that_is_a_number_of_json_is_refused(number: float) -> None:
    with pytest.raises(CaseError, match="must be a decimal number in a text"):
        story({**reading("2026-03-01", "1"), "registers": {"total": number}})


def test_what_is_no_number_however_long_is_told_in_a_line() -> None:
    with pytest.raises(CaseError, match=r"'1{27}\.\.\.1{28}' is not a decimal number") as refused:
        story(reading("2026-03-01", "1" * 5000))
    assert len(str(refused.value)) < 120


def test_a_freeze_closes_the_day_before_so_the_first_of_a_month_ends_the_last_one() -> None:
    result = story(reading("2026-02-28", "10"), reading("2026-03-01", "20"))
    assert charges(result) == {"2026-02": {"energy": 500}}


@pytest.mark.parametrize("number", ["-1", "1000000", "1000000.00", "1_0", "１", "٣", " 1", "1e3"])
def test_a_register_that_no_meter_of_this_modulus_shows_is_refused(number: str) -> None:
    with pytest.raises(
        CaseError, match=r"^input\.events\[0\]\.registers\.total: .* is not (between 0|a decimal)"
    ):
        story(reading("2026-03-01", number))


# Section 3


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ("10.00", "10.00", "accepted"),
        ("10.00", "110.00", "accepted"),
        ("10.00", "110.01", "suspect:spike"),
        ("10.00", "9.99", "suspect:backward"),
        ("999950.00", "50.00", "accepted:rollover"),
        ("999950.00", "50.01", "suspect:backward"),
    ],
)
def test_a_register_moves_at_most_its_limit(before: str, after: str, status: str) -> None:
    result = story(reading("2026-03-01", before), reading("2026-03-02", after))
    assert statuses(result) == ["accepted", status]


def test_the_limit_is_by_days_and_never_less_than_that_of_an_hour() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-03", "200"),
        reading("2026-03-03T00:10", "204.16"),
        reading("2026-03-03T00:20", "208.33"),
    )
    assert statuses(result) == ["accepted", "accepted", "accepted", "suspect:spike"]


def test_a_late_reading_between_two_that_roll_over_tells_it() -> None:
    result = story(
        reading("2026-03-01", "999950"), reading("2026-03-03", "30"), reading("2026-03-02", "10")
    )
    assert statuses(result) == ["accepted", "accepted:rollover", "accepted:rollover"]


def test_a_meter_that_does_not_roll_over_has_run_backwards() -> None:
    result = story(
        reading("2026-03-01", "999950"),
        reading("2026-03-02", "10"),
        point={"allow_rollover": False},
    )
    assert statuses(result)[1] == "suspect:backward"


def test_a_limit_beyond_the_modulus_makes_no_rollover_of_a_step_back() -> None:
    given = {"prev": "10", "next": "9", "modulus": "1000", "max_daily_kwh": "400", "ratio": "1"}
    assert advanced(Fields({**given, "days": 3})) == {"status": "suspect:backward", "kwh": None}


@pytest.mark.parametrize(("after", "status"), [("239", "ok:rollover"), ("240", "suspect:backward")])
def test_a_rollover_is_less_than_a_quarter_of_the_modulus(after: str, status: str) -> None:
    given = {"prev": "990", "next": after, "modulus": "1000", "max_daily_kwh": "400", "ratio": "1"}
    assert advanced(Fields({**given, "days": 1}))["status"] == status


def test_a_limit_is_of_86400_seconds_a_day() -> None:
    events = reading("2026-03-01", "0"), reading("2026-03-02", "100.0001")
    assert statuses(story(*events, point={"decimals": 4}))[1] == "suspect:spike"


def test_a_reading_rolls_over_with_its_total() -> None:
    result = story(
        tou("2026-03-01", "999999", "999990", "9"),
        tou("2026-03-02", "4", "999995", "9"),
        tou("2026-03-03", "14", "5", "9"),
        version=TOU,
        rates=["peak", "valley"],
    )
    assert statuses(result)[1:] == ["accepted:rollover", "accepted"]


@pytest.mark.parametrize("days", [0.5, "0.5"])
def test_the_days_of_an_energy_delta_may_be_parts_of_one(days: object) -> None:
    given = {"prev": "0", "next": "5", "modulus": "1000", "max_daily_kwh": "10", "ratio": "1"}
    assert advanced(Fields({**given, "days": days})) == {"status": "ok", "kwh": "5"}
    assert advanced(Fields({**given, "days": days, "next": "5.1"}))["kwh"] is None


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"prev": "1", "next": "1"}, {"status": "ok", "kwh": "0"}),
        ({"prev": "1", "next": "11"}, {"status": "ok", "kwh": "25"}),
        ({"prev": "1", "next": "11.01"}, {"status": "suspect:spike", "kwh": None}),
        ({"prev": "1", "next": "0.99"}, {"status": "suspect:backward", "kwh": None}),
        ({"prev": "999999", "next": "9"}, {"status": "ok:rollover", "kwh": "25"}),
    ],
)
def test_an_energy_delta_is_told_in_kwh(given: Event, result: Event) -> None:
    rest = {"modulus": "1000000", "max_daily_kwh": "10", "days": 1, "ratio": "2.5"}
    assert advanced(Fields({**given, **rest})) == result


def test_an_energy_delta_of_no_time_has_the_limit_of_an_hour_and_every_digit() -> None:
    given = {"prev": "0", "modulus": "99999999999999999999", "max_daily_kwh": "240"}
    at_once = {**given, "days": 0, "ratio": "1"}
    assert advanced(Fields({**at_once, "next": "10"}))["kwh"] == "10"
    assert advanced(Fields({**at_once, "next": "10.01"}))["kwh"] is None
    long = {**given, "days": 1, "next": "239.0000000000000001", "ratio": "1.000000000000000001"}
    assert advanced(Fields(long))["kwh"] == "239.0000000000000003390000000000000001"


@pytest.mark.parametrize("days", [float("nan"), float("inf"), -1, "-1", "x"])
def test_days_of_an_energy_delta_that_are_none_are_refused(days: object) -> None:
    given = {"prev": "0", "next": "5", "modulus": "1000", "max_daily_kwh": "10", "ratio": "1"}
    with pytest.raises(CaseError, match=r"days: .* is (not a|below 0)"):
        advanced(Fields({**given, "days": days}))


def test_a_suspect_reading_moves_nothing_and_is_no_neighbour() -> None:
    result = story(
        reading("2026-03-01", "10"),
        reading("2026-03-02", "500"),
        reading("2026-03-03", "20"),
    )
    assert told(result) == [("accepted", 0), ("suspect:spike", 0), ("accepted", -500)]


def test_the_same_reading_again_is_a_duplicate_and_another_a_conflict() -> None:
    result = story(
        reading("2026-03-01", "10"), reading("2026-03-01", "10.0"), reading("2026-03-01", "11")
    )
    assert statuses(result) == ["accepted", "duplicate", "suspect:conflict"]


# Section 4


def tou(at: str, total: str, peak: str, valley: str) -> Event:
    return reading(at, total, peak=peak, valley=valley)


@pytest.mark.parametrize(
    ("point", "total", "status"),
    [
        ({}, "10.02", "accepted"),
        ({}, "10.03", "suspect:tou_mismatch"),
        ({}, "9.97", "suspect:tou_mismatch"),
        ({"decimals": 1}, "10.2", "accepted"),
        ({"decimals": 1}, "10.3", "suspect:tou_mismatch"),
        ({"decimals": 4}, "10.0003", "suspect:tou_mismatch"),
        ({"tou_tolerance_kwh": "0.5"}, "10.50", "accepted"),
        ({"tou_tolerance_kwh": "0"}, "10.01", "suspect:tou_mismatch"),
    ],
)
def test_rates_make_the_total_but_for_a_digit_each(point: Event, total: str, status: str) -> None:
    result = story(
        tou("2026-03-01", total, "6", "4"), version=TOU, rates=["peak", "valley"], point=point
    )
    assert statuses(result) == [status]


def test_a_total_that_rolled_over_before_its_rates_is_no_mismatch() -> None:
    result = story(
        tou("2026-03-01", "999990", "600000", "399990"),
        tou("2026-03-02", "10", "600012", "399997.99"),
        version=TOU,
        rates=["peak", "valley"],
    )
    assert told(result) == [("accepted", 0), ("accepted:rollover", -1600)]


def test_a_residual_below_zero_is_credited() -> None:
    result = story(
        tou("2026-03-01", "10.00", "6.00", "4.00"),
        tou("2026-03-02", "10.00", "6.01", "4.00"),
        version=TOU,
        rates=["peak", "valley"],
        point={"residual_rate": "valley", "ratio": "1000"},
    )
    assert told(result)[1] == ("accepted", -1000 + 500)


def test_a_credit_is_not_charged_as_a_minimum_that_nobody_has() -> None:
    result = story(
        tou("2026-03-01", "10.00", "6.00", "4.00"),
        tou("2026-03-02", "10.00", "6.00", "4.01"),
        days("2026-03-01", "2026-03-31"),
        version=TOU,
        rates=["peak", "valley"],
        point={"residual_rate": "peak", "ratio": "1000"},
    )
    assert charges(result) == {"2026-03": {"energy": -1000 + 500}}


def test_a_rate_that_is_missing_is_a_mismatch_but_not_the_residual() -> None:
    events = reading("2026-03-01", "10", peak="6"), reading("2026-03-01", "10", valley="4")
    given: dict[str, Any] = {"version": TOU, "rates": ["peak", "valley"]}
    result = story(*events, **given, point={"residual_rate": "valley"})
    assert statuses(result) == ["accepted", "suspect:conflict"]
    assert statuses(story(*events, **given)) == ["suspect:tou_mismatch", "suspect:tou_mismatch"]


def test_rates_are_compared_with_the_total_under_a_flat_price_too_but_need_not_be_told() -> None:
    events = tou("2026-03-01", "10", "6", "3"), reading("2026-03-01", "10", peak="6")
    assert statuses(story(*events, rates=["peak", "valley"])) == [
        "suspect:tou_mismatch",
        "accepted",
    ]


def test_a_register_is_compared_where_both_readings_tell_it() -> None:
    result = story(
        reading("2026-03-01", "10", peak="6"),
        reading("2026-03-02", "11"),
        reading("2026-03-03", "12", peak="5"),
        reading("2026-03-04", "13", peak="4"),
    )
    assert statuses(result) == ["accepted", "accepted", "accepted", "suspect:backward"]


@pytest.mark.parametrize("residual", [None, "flat"])
def test_a_register_that_no_version_prices_is_refused(residual: str | None) -> None:
    with pytest.raises(
        CaseError,
        match=r"^input\.tariff_versions: .*(without a price: flat|no price of the residual flat)",
    ):
        story(
            tou("2026-03-01", "10", "6", "4") | {"registers": dict.fromkeys(("total", "peak", "valley", "flat"), "0")},
            reading("2026-03-02", "3", peak="1", valley="1", flat="1"),
            version=TOU,
            rates=["peak", "valley", "flat"],
            point={"residual_rate": residual},
        )  # fmt: skip


# Section 5


def test_a_bound_that_is_hit_is_the_lower_step_and_a_day_may_pass_two() -> None:
    ladder = {
        "cycle": "month",
        "method": "price",
        "bounds_kwh": ["10", "20"],
        "prices": ["1", "2", "4"],
    }
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "10"),
        reading("2026-03-03", "25"),
        version={**FLAT, "ladder": ladder},
    )
    assert told(result)[1:] == [("accepted", -1000), ("accepted", -4000)]


def test_a_year_begins_again_and_a_span_over_its_end_is_split() -> None:
    ladder = {**YEAR, "bounds_kwh": ["10"]}
    result = story(
        reading("2026-12-31", "0"), reading("2027-01-02", "40"), version={**FLAT, "ladder": ladder}
    )
    assert charges(result) == {"2026-12": {"energy": 1500}, "2027-01": {"energy": 1500}}
    assert result["final"]["ladder_used_kwh"] == {"2026": "20", "2027": "20"}


def test_a_matrix_with_constant_adders_is_the_adder_method() -> None:
    base, adders = {"peak": "1", "valley": "0.5"}, ["0", "0.05"]
    rows = [{"peak": "1", "valley": "0.5"}, {"peak": "1.05", "valley": "0.55"}]
    ladder = {"cycle": "year", "bounds_kwh": ["10"]}
    events = [
        tou("2026-03-01", "0", "0", "0"),
        tou("2026-03-02", "7", "3", "4"),
        tou("2026-03-03", "16.5", "8", "8.5"),
    ]
    bills = [
        story(
            *events,
            version={
                **TOU,
                "energy": {"mode": "tou", "prices": base},
                "ladder": {**ladder, **method},
            },
            rates=["peak", "valley"],
        )["final"]["balance_fen"]
        for method in (
            {"method": "adder", "adders": adders},
            {"method": "matrix", "matrix": rows},
        )
    ]
    assert bills[0] == bills[1]


def test_a_late_reading_inside_a_span_over_a_bound_moves_a_matrix_and_no_other_ladder() -> None:
    events = [
        tou("2026-03-01", "0", "0", "0"),
        tou("2026-03-03", "20", "10", "10"),
        tou("2026-03-02", "10", "10", "0"),
    ]
    rows = [{"peak": "1", "valley": "0.5"}, {"peak": "3", "valley": "1"}]
    matrix = {"cycle": "year", "method": "matrix", "bounds_kwh": ["10"], "matrix": rows}
    result = story(*events, version={**TOU, "ladder": matrix}, rates=["peak", "valley"])
    # 5 x 1 + 5 x 0.5 + 5 x 3 + 5 x 1; known to be 10 x 1 + 10 x 1
    assert told(result)[1:] == [("accepted", -2750), ("accepted", 750)]
    adder = {"cycle": "year", "method": "adder", "bounds_kwh": ["10"], "adders": ["0", "2"]}
    result = story(*events, version={**TOU, "ladder": adder}, rates=["peak", "valley"])
    assert told(result)[2] == ("accepted", 0)


def test_a_rate_that_moves_without_the_total_costs_the_step_of_the_total() -> None:
    rows = [{"peak": "1", "valley": "0.5"}, {"peak": "3", "valley": "1"}]
    matrix = {"cycle": "year", "method": "matrix", "bounds_kwh": ["10"], "matrix": rows}
    result = story(
        tou("2026-03-01", "0.00", "0.00", "0.00"),
        tou("2026-03-02", "10.00", "9.99", "0.00"),
        tou("2026-03-03", "10.00", "10.00", "0.00"),
        version={**TOU, "ladder": matrix},
        rates=["peak", "valley"],
    )
    assert told(result)[1:] == [("accepted", -999), ("accepted", -1)]


def close(at: str, **registers: str) -> Event:
    told = {"point": "P1", "registers": registers} if registers else {}
    return {"type": "close", "at": at, **told}


def test_bounds_of_a_year_are_scaled_at_its_close_only() -> None:
    version = {**FLAT, "ladder": YEAR}
    events = [
        reading("2026-11-10", "0"),
        reading("2026-11-12", "190"),
        reading("2026-12-31", "290"),
        reading("2027-01-01", "290"),
    ]
    opened = story(*events, version=version, open_date="2026-11-10")
    assert opened["final"]["balance_fen"] == -14500
    # A close in the year after leaves the bounds of the first one as they were.
    later = story(*events, close("2027-02-01T10:00"), version=version, open_date="2026-11-10")
    assert later["final"]["balance_fen"] == -14500
    # November and December: 200 kWh, so 90 kWh rise by 0.50.
    events[3:] = [close("2026-12-31T10:00", total="290")]
    closed = story(*events[:2], events[2], close("2026-12-31T10:00", total="290"), version=version, open_date="2026-11-10")  # fmt: skip
    assert closed["final"]["balance_fen"] == -14500 - 4500


def test_bounds_of_a_month_are_never_scaled() -> None:
    ladder = {**SLAB, "partial_year": "months"}
    result = story(
        reading("2026-03-20", "0"),
        reading("2026-03-21", "90"),
        close("2026-03-21T12:00", total="100"),
        version={**FLAT, "ladder": ladder},
        open_date="2026-03-20",
        point={"max_daily_kwh": "500"},
    )
    assert result["final"]["balance_fen"] == -5000


# Sections 6 and 8


def test_a_price_from_the_middle_of_a_day_is_refused() -> None:
    version = {**FLAT, "effective_from": "2026-01-01T12:00"}
    with pytest.raises(CaseError, match="effective_from: must be a date"):
        story(version=version)


def test_use_before_the_first_version_is_no_use_without_a_price() -> None:
    with pytest.raises(CaseError, match="no version of the tariff is in force on 2025-12-31"):
        story(reading("2025-12-31", "0"), reading("2026-01-01", "1"))


def test_parts_of_a_span_stay_on_the_grid_and_every_register_is_split_by_itself() -> None:
    result = story(
        reading("2026-02-27", "0", peak="0", valley="0"),
        reading("2026-03-02", "1.00", peak="0.50", valley="0.50"),
        version=TOU,
        rates=["peak", "valley"],
        point={"ratio": "100"},
    )
    # Two of three days, half up: 0.33 x 100 of each rate.
    assert charges(result) == {"2026-02": {"energy": 4950}, "2026-03": {"energy": 2550}}


def test_a_late_reading_without_a_cut_moves_nothing_and_one_against_the_chain_is_suspect() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-04", "30"),
        reading("2026-03-02", "10"),
        reading("2026-03-03", "31"),
        reading("2026-03-03", "9"),
    )
    assert told(result)[2:] == [
        ("accepted", 0),
        ("suspect:backward", 0),
        ("suspect:backward", 0),
    ]


def test_a_late_reading_in_a_span_over_the_end_of_a_year_moves_both_years() -> None:
    ladder = {**YEAR, "bounds_kwh": ["10"]}
    result = story(
        reading("2026-12-31", "0"),
        reading("2027-01-02", "30"),
        reading("2027-01-01", "5"),
        version={**FLAT, "ladder": ladder},
    )
    # Both 10 x 0.50 + 5 x 1; then 5 x 0.50 and 10 x 0.50 + 15 x 1.
    assert told(result)[1:] == [("accepted", -2000), ("accepted", -250)]
    assert result["final"]["ladder_used_kwh"] == {"2026": "5", "2027": "25"}


@given(st.lists(st.integers(0, 9_000), min_size=4, max_size=20), st.sets(st.integers(1, 17)))
def test_a_span_is_worth_the_sum_of_its_days_whatever_was_missing(
    steps: list[int], missing: set[int]
) -> None:
    """Section 5, of every ladder but a matrix; no month starts inside."""
    totals = list(itertools.accumulate(steps))
    events = [
        reading(f"2026-03-{day:02}", f"{total // 100}.{total % 100:02}")
        for day, total in enumerate(totals, 1)
    ]
    kept = [it for n, it in enumerate(events) if n not in missing or n == len(events) - 1]
    for ladder in (SLAB, {**YEAR, "bounds_kwh": ["100"]}, {**ADDER, "cycle": "month"}):
        version = {**FLAT, "ladder": ladder}
        whole = story(*events, version=version)["final"]
        assert story(*kept, version=version)["final"] == whole


# Section 9


def test_a_corrected_early_reading_moves_later_days_across_versions() -> None:
    ladder = {**YEAR, "bounds_kwh": ["50"]}
    later = {**FLAT, "effective_from": "2026-03-03", "ladder": {**ladder, "prices": ["2", "4"]}}
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "40"),
        exchange("2026-03-02T12:00", "40", "0"),
        reading("2026-03-03", "0"),
        reading("2026-03-04", "20"),
        reading("2026-03-01", "20", "correct_reading"),
        version=[{**FLAT, "ladder": ladder}, later],
    )
    # 40 x 0.50 and 10 x 2 + 10 x 4; then 20 x 0.50 and 20 x 2
    assert [fen for _, fen in told(result) if fen] == [-2000, -6000, 1000 + 2000]


def test_correcting_to_and_fro_nets_to_zero() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "33.33"),
        reading("2026-03-02", "11.11", "correct_reading"),
        reading("2026-03-02", "22.22", "correct_reading"),
        reading("2026-03-02", "33.33", "correct_reading"),
    )
    assert sum(fen for _, fen in told(result)[2:]) == 0


def test_a_span_over_the_start_of_summer_time_is_split_by_the_hours_that_it_has() -> None:
    result = story(
        reading("2026-03-28", "0"),
        reading("2026-04-02", "119"),
        version=FLAT,
        timezone="Europe/Berlin",
    )
    # 95 of 119 hours lie in March.
    assert charges(result) == {"2026-03": {"energy": 4750}, "2026-04": {"energy": 1200}}


def test_a_day_of_23_hours_has_their_part_of_the_limit() -> None:
    events = reading("2026-03-29", "0"), reading("2026-03-30", "95.84")
    assert statuses(story(*events, timezone="Europe/Berlin"))[1] == "suspect:spike"
    assert statuses(story(*events))[1] == "accepted"


def test_a_correction_against_the_chain_changes_nothing() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "30"),
        reading("2026-03-03", "40"),
        reading("2026-03-02", "41", "correct_reading"),
    )
    assert told(result)[3] == ("suspect:backward", 0)


# Section 11


def fixed(**keys: Any) -> Event:
    return {**FLAT, "fixed": keys}


def test_a_month_broken_by_a_close_is_rated_again_by_thirtieths_without_a_cap() -> None:
    version = fixed(monthly_yuan="31", proration="thirtieth")
    result = story(days("2026-03-01", "2026-03-30"), close("2026-03-30T12:00"), version=version)
    # 31 x 30/31 until the close; then 31 x 30/30.
    assert told(result) == [("accepted", -3000), ("accepted", -100)]


def test_a_close_at_midnight_ends_the_day_before() -> None:
    version = fixed(daily_yuan="1")
    result = story(days("2026-03-01", "2026-03-05"), close("2026-03-04T00:00"), version=version)
    assert result["final"]["balance_fen"] == -300


def test_a_close_on_the_last_day_breaks_no_month() -> None:
    version = fixed(monthly_yuan="30", proration="thirtieth")
    events = days("2026-03-01", "2026-03-31"), close("2026-03-31T12:00")
    assert story(*events, version=version)["final"]["balance_fen"] == -3000


def test_each_version_of_a_month_has_its_own_days_and_a_lower_fee_gives_nothing_back() -> None:
    first = fixed(monthly_yuan="60", proration="thirtieth")
    second = {**fixed(monthly_yuan="30", proration="thirtieth"), "effective_from": "2026-03-11"}
    result = story(
        days("2026-03-01", "2026-03-10"),
        days("2026-03-11", "2026-03-20"),
        version=[first, second],
        open_date="2026-03-01",
    )
    # 60 x 10/31 and 30 x 10/31: the month is not broken yet.
    assert told(result) == [("accepted", -1935), ("accepted", -968)]
    broken = story(
        days("2026-03-02", "2026-03-10"),
        days("2026-03-11", "2026-03-20"),
        version=[first, second],
        open_date="2026-03-02",
    )
    assert told(broken) == [("accepted", -1800), ("accepted", -1000)]


# Section 12


def exchange(at: str, old: str, new: str, **more: str | int) -> Event:
    return {
        "type": "exchange",
        "point": "P1",
        "at": at,
        "old_final": {"total": old},
        "new_initial": {"total": new},
        **more,
    }


def test_readings_of_the_removed_meter_that_come_late_are_its_own_by_time() -> None:
    result = story(
        reading("2026-03-01", "50"),
        exchange("2026-03-03T12:00", "90", "7", new_ratio="10"),
        reading("2026-03-04", "8"),
        reading("2026-03-02", "60"),
        reading("2026-03-03", "6"),
    )
    assert told(result) == [
        ("accepted", 0),
        ("accepted", -2000),
        ("accepted", -500),
        ("accepted", 0),
        ("suspect:backward", 0),
    ]


@pytest.mark.parametrize(
    ("final_valley", "initial_valley", "status"),
    [
        ("5", "1", "accepted"),
        ("4", "1", "suspect:tou_mismatch"),
        ("5", "2", "suspect:tou_mismatch"),
    ],
)
def test_the_rates_of_both_meters_of_an_exchange_make_their_totals(
    final_valley: str, initial_valley: str, status: str
) -> None:
    change = exchange("2026-03-02T12:00", "11", "2")
    change["old_final"] |= {"peak": "6", "valley": final_valley}
    change["new_initial"] |= {"peak": "1", "valley": initial_valley}
    result = story(tou("2026-03-01", "10", "6", "4"), change, rates=["peak", "valley"])
    assert statuses(result) == ["accepted", status]


def test_an_exchange_may_come_after_the_readings_of_the_new_meter() -> None:
    result = story(
        reading("2026-03-01", "50"),
        reading("2026-03-03", "60"),
        exchange("2026-03-02T00:00", "52", "57"),
    )
    assert told(result)[1:] == [("accepted", -500), ("accepted", 250)]


def test_the_new_meter_has_its_own_modulus_and_digits() -> None:
    result = story(
        reading("2026-03-01", "50"),
        exchange("2026-03-02T00:00", "50", "9999.9995", new_modulus="10000", new_decimals=4),
        reading("2026-03-03", "1.0015"),
    )
    assert told(result)[2] == ("accepted:rollover", -50)


def test_an_exchange_that_the_chain_contradicts_is_suspect_and_a_second_one_a_conflict() -> None:
    result = story(
        reading("2026-03-01", "50"),
        exchange("2026-03-02T12:00", "49", "0"),
        exchange("2026-03-02T12:00", "51", "0"),
        exchange("2026-03-02T12:00", "51", "0"),
        exchange("2026-03-02T12:00", "52", "0"),
    )
    assert statuses(result)[1:] == [
        "suspect:backward",
        "accepted",
        "duplicate",
        "suspect:conflict",
    ]


def test_an_exchange_that_is_told_late_leaves_what_it_changes_to_the_next_meter() -> None:
    """M6: the second meter has the ratio of the first one, whichever document came first."""
    first = exchange("2026-03-02T12:00", "2", "0", new_ratio="10", new_decimals=1)
    events = [
        reading("2026-03-01", "0"),
        first,
        exchange("2026-03-03T12:00", "3", "0"),
        reading("2026-03-05", "4"),
        exchange("2026-03-03T12:00", "3", "0"),
    ]
    result = story(*events)
    assert statuses(result)[4] == "duplicate"
    assert result["final"]["balance_fen"] == -100 - 1500 - 2000
    late = story(events[0], *events[2:4], first, events[4])
    assert (late["final"], statuses(late)[4]) == (result["final"], "duplicate")


def test_a_freeze_of_the_moment_of_an_exchange_belongs_to_the_old_meter() -> None:
    result = story(
        reading("2026-03-01", "50"),
        reading("2026-03-02", "60"),
        exchange("2026-03-02T00:00", "60", "7"),
        reading("2026-03-02", "7"),
        reading("2026-03-02", "8"),
        reading("2026-03-02", "8", "correct_reading"),
        reading("2026-03-03", "9"),
    )
    assert told(result)[1:] == [
        ("accepted", -500),
        ("accepted", 0),
        ("duplicate", 0),
        ("suspect:conflict", 0),
        ("suspect:conflict", 0),
        ("accepted", -100),
    ]


def test_a_freeze_of_that_moment_has_the_digits_of_the_meter_that_showed_it() -> None:
    result = story(
        reading("2026-03-01", "50"),
        exchange("2026-03-02T00:00", "60.55", "7.0005", new_modulus="10", new_decimals=4),
        reading("2026-03-02", "60.55"),
        reading("2026-03-02", "7.0005"),
    )
    assert statuses(result)[2:] == ["duplicate", "duplicate"]


def test_a_freeze_of_that_moment_may_be_the_new_meters_before_anybody_knows_of_it() -> None:
    result = story(
        reading("2026-03-01", "50"),
        reading("2026-03-02", "65"),
        exchange("2026-03-02T00:00", "60", "65"),
    )
    assert told(result)[1:] == [("accepted", -750), ("accepted", 250)]


def test_an_exchange_that_a_reading_of_its_moment_contradicts_is_a_conflict() -> None:
    result = story(
        reading("2026-03-01", "50"),
        reading("2026-03-02", "60"),
        exchange("2026-03-02T00:00", "61", "7"),
    )
    assert told(result)[2] == ("suspect:conflict", 0)


def test_a_new_ratio_counts_from_the_register_at_its_moment() -> None:
    change = {"type": "ratio_change", "point": "P1", "at": "2026-03-02T12:00", "new_ratio": "3"}
    result = story(
        reading("2026-03-01", "50"),
        {**change, "old_final": {"total": "60"}},
        reading("2026-03-03", "64"),
    )
    assert told(result)[1:] == [("accepted", -500), ("accepted", -600)]


# Section 14 and 15


EXCHANGE = {
    "type": "exchange",
    "point": "P1",
    "at": "2026-03-02T00:00",
    "old_final": {"total": "1"},
    "new_initial": {"total": "0"},
}


def test_a_key_with_another_amount_is_refused_and_an_unknown_one_not_reversed() -> None:
    def topup(key: str, fen: int) -> Event:
        return {"type": "topup", "key": key, "amount_fen": fen}

    result = story(topup("a", 100), topup("a", 200), {"type": "reverse_topup", "key": "b"})
    assert told(result) == [("accepted", 100), ("suspect:conflict", 0), ("suspect:conflict", 0)]
    assert story(topup("a", 7), opening_balance_fen=5)["final"]["balance_fen"] == 12
    assert told(story(topup("a", 1), topup("a", 1))) == [("accepted", 1), ("duplicate", 0)]
    back = {"type": "reverse_topup", "key": "a"}
    assert told(story(topup("a", 7), back, back))[1:] == [("accepted", -7), ("duplicate", 0)]


def test_an_account_begins_with_what_is_told_and_with_nothing_where_nothing_is() -> None:
    for opening_fen, balance_fen in ((None, 0), (0, 0), (-250, -250)):
        result = story(opening_balance_fen=opening_fen)
        assert result["final"]["balance_fen"] == balance_fen


def test_who_has_one_point_need_not_name_it_and_who_has_two_must() -> None:
    nameless = {name: it for name, it in reading("2026-03-01", "1").items() if name != "point"}
    assert statuses(story(nameless)) == ["accepted"]
    with pytest.raises(CaseError, match=r"^input\.events\[0\]\.point: is missing$"):
        story(nameless, points=[POINT, {**POINT, "id": "P2"}])


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "topup", "key": "a", "amount_fen": 0}, "amount_fen: 0 is less than 1"),
        (days("2026-03-02", "2026-03-01"), "to: 2026-03-01 is before 2026-03-02"),
        (
            {"type": "household", "from": "2026-03-01", "bonus_kwh_per_month": "-1"},
            "bonus_kwh_per_month: -1 is below 0",
        ),
        (
            {"type": "read"},
            r"^input\.events\[0\]\.type: 'read' is none of reading, correct_reading, ",
        ),
        ({"type": "household", "bonus_kwh_per_month": "1"}, r"\.from: is missing$"),
        ({"type": "household", "from": "2026-03-01"}, r"\.bonus_kwh_per_month: is missing$"),
        ({"type": "topup", "amount_fen": 1}, r"\.key: is missing$"),
        ({"type": "topup", "key": "a"}, r"\.amount_fen: is missing$"),
        ({"type": "reverse_topup"}, r"\.key: is missing$"),
        ({"type": "day_close", "to": "2026-03-01"}, r"\.from: is missing$"),
        ({"type": "day_close", "from": "2026-03-01"}, r"\.to: is missing$"),
        ({"type": "close"}, r"\.at: is missing$"),
        ({"type": "reading", "registers": {"total": "1"}}, r"\.at: is missing$"),
        ({"type": "reading", "at": "2026-03-01T00:00"}, r"\.registers: is missing$"),
        ({**reading("2026-03-01", "1"), "point": "P9"}, r"\.point: there is no point 'P9'$"),
        (reading("2026-03-01", "1.001"), r"\.registers\.total: 1\.001 has more than 2 decimals$"),
        (
            reading("2026-03-01", "1000000"),
            r"\.registers\.total: 1000000 is not between 0 and the modulus 1000000$",
        ),
        ({**EXCHANGE, "old_final": None}, r"\.old_final: must be an object, is null$"),
        (
            {**EXCHANGE, "new_initial": {"total": "-1"}},
            r"\.new_initial\.total: -1 is not between 0",
        ),
        ({**EXCHANGE, "new_ratio": "0"}, r"\.new_ratio: 0 is not above 0$"),
        ({**EXCHANGE, "new_modulus": "0"}, r"\.new_modulus: 0 is not above 0$"),
        ({**EXCHANGE, "new_decimals": 10}, r"\.new_decimals: 10 is not between 0 and 9$"),
    ],
)
def test_an_event_that_can_not_be_says_where_and_what(event: Event, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        story(event)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"points": [POINT, POINT]}, "input.points: two have the id 'P1'"),
        ({"version": [FLAT, FLAT]}, "input.tariff_versions: two versions start on the same day"),
        ({"point": {"phases": 2}}, r"points\[0\].phases: 2 is neither 1 nor 3"),
        ({"point": {"id": 7}}, r"^input\.points\[0\]\.id: must be a text"),
        ({"point": {"ratio": "0"}}, r"^input\.points\[0\]\.ratio: 0 is not above 0$"),
        ({"point": {"modulus": "0"}}, r"\.modulus: 0 is not above 0$"),
        ({"point": {"decimals": 10}}, r"\.decimals: 10 is not between 0 and 9$"),
        ({"point": {"max_daily_kwh": "0"}}, r"\.max_daily_kwh: 0 is not above 0$"),
        ({"point": {"allow_rollover": 1}}, r"\.allow_rollover: must be true or false"),
        ({"point": {"residual_rate": 7}}, r"\.residual_rate: must be a text"),
        ({"point": {"tou_tolerance_kwh": "-1"}}, r"\.tou_tolerance_kwh: -1 is below 0$"),
        ({"rates": [7]}, r"^input\.rates\[0\]: must be a text"),
        ({"open_date": "1 May"}, r"^input\.open_date: '1 May' is not a day"),
        (
            {"version": {**FLAT, "energy": 7}},
            r"^input\.tariff_versions\.0\.energy: must be a table",
        ),
        (
            {"version": [{**FLAT, "energy": 7}, {**FLAT, "vat": 1}]},
            r"^input\.tariff_versions\.0\.energy: .*; input\.tariff_versions\.1\.vat: unknown key",
        ),
        (
            {"household": [{"from": "2026-03-01", "bonus_kwh_per_month": "1"}] * 2},
            "input.household: two entries begin on the same day",
        ),
        ({"ladder_used_kwh": {"2026-7": "1"}}, "ladder_used_kwh.2026-7: is no cycle"),
        ({"ladder_used_kwh": {"2026-07": "-1"}}, "ladder_used_kwh.2026-07: -1 is below 0"),
    ],
)
def test_an_account_that_can_not_be_says_where_and_what(given: Event, message: str) -> None:
    with pytest.raises(CaseError, match=message):
        story(**given)


def test_versions_may_be_told_in_any_order_and_an_account_have_no_point() -> None:
    later = {**fixed(daily_yuan="3"), "effective_from": "2026-03-03"}
    result = story(
        days("2026-03-01", "2026-03-04"), version=[later, fixed(daily_yuan="1")], points=[]
    )
    assert (result["final"]["balance_fen"], result["final"]["billed_through"]) == (-800, {})


def test_a_shortfall_at_the_close_is_owed() -> None:
    result = story(reading("2026-03-01", "0"), close("2026-03-01T12:00", total="3"))
    assert (result["final"]["refund_fen"], result["final"]["owed_fen"]) == (0, 150)
    result = story(close("2026-03-01T12:00"), opening_balance_fen=9)
    assert (result["final"]["refund_fen"], result["final"]["owed_fen"]) == (9, 0)


def test_the_second_an_account_is_billed_through_is_told_where_there_is_one() -> None:
    for at in ("2026-03-01T12:00:30", "2026-03-01T12:01"):
        assert story(reading(at, "1"))["final"]["billed_through"] == {"P1": at}


def test_an_exchange_told_again_is_of_the_meter_that_was_there() -> None:
    exchange = {**EXCHANGE, "old_final": {"total": "1.25"}, "new_decimals": 0}
    assert statuses(story(reading("2026-03-01", "1"), exchange, exchange))[2] == "duplicate"


def test_use_before_the_opening_and_after_the_close_is_on_no_bill_of_the_account() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "10"),
        reading("2026-03-03", "11"),
        close("2026-03-03T12:00", total="12"),
        reading("2026-03-04", "13"),
        open_date="2026-03-02",
    )
    assert statuses(result)[4] == "accepted"
    assert result["final"]["balance_fen"] == -100


def test_an_account_is_billed_through_its_close_and_no_further() -> None:
    events = [reading("2026-03-01", "0"), reading("2026-03-02", "1"), reading("2026-03-03", "2")]
    result = story(*events, close("2026-03-02T12:00"))
    assert result["final"]["billed_through"] == {"P1": "2026-03-02T00:00"}
    result = story(*events, close("2026-03-02T12:00", total="1.5"))
    assert result["final"]["billed_through"] == {"P1": "2026-03-02T12:00"}
    assert result["final"]["balance_fen"] == -75


def test_an_account_closes_with_the_last_of_its_meters() -> None:
    points = [{**POINT, "id": name} for name in ("A", "B")]
    events: list[Event] = []
    for name, hour in (("A", 12), ("B", 10)):
        at = {"type": "reading", "point": name, "at": "2026-03-01T00:00"}
        events.append({**at, "registers": {"total": "0"}})
        at = {"type": "close", "point": name, "at": f"2026-03-02T{hour}:00"}
        events.append({**at, "registers": {"total": "2"}})
    result = story(*events, points=points)
    assert told(result)[1::2] == [("accepted", -100), ("accepted", -100)]


def test_the_same_close_again_is_a_duplicate_and_other_registers_a_conflict() -> None:
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "2"),
        close("2026-03-02T00:00", total="2"),
        close("2026-03-02T00:00", total="2"),
        close("2026-03-02T00:00", total="3"),
        close("2026-03-03T00:00"),
        close("2026-03-03T00:00"),
    )
    assert statuses(result)[2:] == [
        "accepted",
        "duplicate",
        "suspect:conflict",
        "accepted",
        "duplicate",
    ]


# Section 15a


def test_whole_above_zero_is_above_the_first_bound() -> None:
    version = {**FLAT, "ladder": {**SLAB, "whole_above_kwh": "0"}}
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "100"),
        reading("2026-03-03", "100.01"),
        version=version,
    )
    assert told(result)[1:] == [("accepted", -5000), ("accepted", -1001)]


def test_up_to_and_including_the_bound_above_which_all_is_re_priced_steps_count() -> None:
    version = {**FLAT, "ladder": {**SLAB, "whole_above_kwh": "200"}}
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-03", "200"),
        reading("2026-03-04", "200.01"),
        version=version,
    )
    # 100 x 0.50 + 100 x 0.60; then 200.01 x 0.80
    assert told(result)[1:] == [("accepted", -11000), ("accepted", -5001)]


def test_a_second_version_prices_its_use_at_the_slab_of_the_whole_month() -> None:
    prices = ["1.00", "1.20", "1.60"]
    second = {**FLAT, "effective_from": "2026-03-03", "ladder": {**SLAB, "prices": prices}}
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-03", "90"),
        reading("2026-03-04", "100"),
        reading("2026-03-05", "101"),
        version=[{**FLAT, "ladder": SLAB}, second],
    )
    # 90 x 0.50; 10 x 1.00; then 90 x 0.60 + 11 x 1.20
    assert told(result)[1:] == [("accepted", -4500), ("accepted", -1000), ("accepted", -1220)]


def test_a_three_phase_point_makes_a_three_phase_account_and_lacks_its_fees() -> None:
    version = {**FLAT, "ladder": SLAB, "fixed": {"by_slab": {"1": ["1", "2", "3"]}}}
    with pytest.raises(CaseError, match=r"^T1: has no fee by slab for 3 phases"):
        story(version=version, point={"phases": 3})
    nameless = {name: it for name, it in version.items() if name != "id"}
    with pytest.raises(CaseError, match=r"^#1@2026-01-01: has no fee by slab for 3 phases"):
        story(version=[{**FLAT, "effective_from": "2025-01-01"}, nameless], point={"phases": 3})


def test_an_account_without_a_point_is_of_one_phase() -> None:
    version = {**FLAT, "ladder": SLAB, "fixed": {"by_slab": {"1": ["31", "62", "93"]}}}
    result = story(days("2026-03-01", "2026-03-02"), version=version, points=[])
    assert charges(result) == {"2026-03": {"fixed": 200}}


def bonus(start: str, kwh: str) -> Event:
    return {"type": "household", "from": start, "bonus_kwh_per_month": kwh}


def test_a_bonus_counts_from_the_first_month_that_begins_with_it() -> None:
    version = {**FLAT, "ladder": {**SLAB, "whole_above_kwh": "0"}}
    events = reading("2026-03-01", "0"), reading("2026-03-03", "105")
    late = story(*events, bonus("2026-03-02", "10"), version=version)
    assert told(late)[2] == ("accepted", 0)
    in_time = story(*events, bonus("2026-03-01", "10"), version=version)
    # The first slab ends at 110 now, so all of it costs 0.50.
    assert told(in_time)[1:] == [("accepted", -6300), ("accepted", 1050)]


def test_another_number_on_the_day_of_a_bonus_is_a_conflict() -> None:
    given = {"household": [{"from": "2026-03-01", "bonus_kwh_per_month": "10"}]}
    result = story(bonus("2026-03-01", "10.0"), bonus("2026-03-01", "11"), **given)
    assert statuses(result) == ["duplicate", "suspect:conflict"]


def test_a_code_may_be_added_in_one_version_and_included_in_the_next() -> None:
    charge = {"code": "fund", "per_kwh": "0.1"}
    first = {**FLAT, "surcharges": [charge]}
    second = {**FLAT, "effective_from": "2026-03-02", "surcharges": [{**charge, "included": True}]}
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-03-02", "10"),
        reading("2026-03-03", "30"),
        version=[first, second],
    )
    assert charges(result) == {"2026-03": {"energy": 1500, "fund": 100}}
    assert result["final"]["included_fen_by_period"] == {"2026-03": {"fund": 200}}


def test_a_minimum_is_by_the_days_of_each_version_and_taxed_at_the_rate_of_the_last_day() -> None:
    def version(start: str, yuan: str, rate: str) -> Event:
        tax = {"mode": "exclusive", "rate": rate}
        return {**FLAT, "effective_from": start, "minimum": {"monthly_yuan": yuan}, "tax": tax}

    versions = [version("2026-01-01", "31", "0.1"), version("2026-03-11", "62", "0.2")]
    result = story(days("2026-03-01", "2026-03-31"), version=versions)
    assert charges(result) == {"2026-03": {"minimum": 5200, "tax": 1040}}


def test_a_version_that_starts_on_the_last_day_taxes_the_minimum() -> None:
    tax = {"mode": "exclusive", "rate": "0.1"}
    first = {**FLAT, "minimum": {"monthly_yuan": "31"}}
    last = {**first, "effective_from": "2026-03-31", "tax": tax}
    result = story(days("2026-03-01", "2026-03-31"), version=[first, last])
    assert charges(result) == {"2026-03": {"minimum": 3100, "tax": 310}}


def test_days_before_the_first_version_cost_nothing() -> None:
    first = {**fixed(daily_yuan="1"), "effective_from": "2026-03-22"}
    version = {**first, "minimum": {"monthly_yuan": "31"}}
    result = story(days("2026-03-01", "2026-03-31"), version=version)
    assert charges(result) == {"2026-03": {"fixed": 1000}}
    result = story(days("2026-03-01", "2026-03-31"), version={**version, "fixed": None})
    assert charges(result) == {"2026-03": {"minimum": 1000}}
    assert charges(story(days("2026-02-01", "2026-02-28"), version=version)) == {}


def test_a_fee_of_nothing_charges_nothing() -> None:
    for fees in (fixed(daily_yuan="0"), fixed(monthly_yuan="0.00")):
        assert told(story(days("2026-03-01", "2026-03-31"), version=fees)) == [("accepted", 0)]


def test_surcharges_and_tax_do_not_count_towards_a_minimum() -> None:
    version = {
        **FLAT,
        "minimum": {"monthly_yuan": "10"},
        "surcharges": [{"code": "fund", "per_kwh": "1"}],
    }
    result = story(
        reading("2026-03-01", "0"),
        reading("2026-04-01", "15"),
        days("2026-03-01", "2026-03-31"),
        version=version,
    )
    assert charges(result) == {"2026-03": {"energy": 750, "fund": 1500, "minimum": 250}}


GOOD = [
    name
    for name, case in CASES.items()
    if case["kind"] == "settle"
    and {event["type"] for event in case["input"]["events"]}
    <= {"reading", "day_close", "household"}
    and all(step["status"] == "accepted" for step in case["expected"]["steps"])
]


@pytest.mark.parametrize("name", GOOD)
def test_any_order_of_arrival_ends_on_the_same_balances(name: str) -> None:
    """M6, on a hundred permutations."""
    case = CASES[name]
    events = case["input"]["events"]
    orders = itertools.islice(itertools.permutations(events[::-1]), 0, 5000, 50)
    for order in orders:
        result = settled(Fields({**case["input"], "events": list(order)}))
        assert result["final"] == case["expected"]["final"]


@pytest.mark.parametrize(
    "name",
    [name for name, case in CASES.items() if case["kind"] in ("energy_delta", "round_series")],
)
def test_an_open_case_without_an_account_comes_out_as_expected(name: str) -> None:
    run = {"energy_delta": advanced, "round_series": rounded_series}[CASES[name]["kind"]]
    assert run(Fields(CASES[name]["input"])) == CASES[name]["expected"]
