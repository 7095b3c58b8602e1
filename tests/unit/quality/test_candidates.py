"""judgement.md section 2: what a candidate fails by itself."""

from datetime import datetime

import pytest

from tests.unit.quality.point import Point, day, kwh


def midnight(number: int, hour: int = 0) -> datetime:
    return datetime.combine(day(number), datetime.min.time()).replace(hour=hour)


# --- V03, V04, V06: not a value of this day -------------------------------------------------------


def test_another_serial_is_v03_and_read_again() -> None:
    # R05
    point = Point().values(100).value(2, 105, serial="B")
    assert (point.codes(2), point.next_step(2)) == (("V03",), "recollect")


def test_the_serial_of_the_meter_of_that_day_counts() -> None:
    point = Point().values(100).value(3, 2, serial="B")
    point.exchange(point.midnight(2), serial="B", initial=kwh(0), final=kwh(105))
    assert point.published() == {1: "100", 3: "2"}


def test_a_freeze_stamped_with_the_day_before_is_v04_and_read_again() -> None:
    # Q1: the meter had no power at midnight, and gives the freeze of the day before
    point = Point().values(100).value(2, 100, stamp=midnight(1))
    assert (point.codes(2), point.next_step(2)) == (("V04",), "recollect")


def test_a_freeze_not_stamped_at_midnight_is_v04() -> None:
    assert Point().values(100).value(2, 105, stamp=midnight(2, hour=1)).codes(2) == ("V04",)


@pytest.mark.parametrize(
    ("offset_s", "codes"), [(60, ()), (-60, ()), (61, ("V04",)), (-61, ("V04",))]
)
def test_a_host_freeze_may_lie_60_s_from_midnight(offset_s: int, codes: tuple[str, ...]) -> None:
    point = Point().values(100).value(2, 105, host_offset_s=offset_s)
    assert point.codes(2) == codes


def test_one_stamp_with_two_totals_on_two_days_is_v29() -> None:
    point = Point().values(100, 105).value(3, 110, stamp=midnight(2))
    assert point.codes(3) == ("V04", "V29")
    assert point.codes(2) == ()


def test_one_stamp_with_the_same_total_is_no_v29() -> None:
    assert Point().values(100, 105).value(3, 105, stamp=midnight(2)).codes(3) == ("V04",)


def test_v29_wants_another_day() -> None:
    point = Point().values(100).value(2, 105, stamp=midnight(9))
    assert point.value(2, 110, stamp=midnight(9)).codes(2) == ("V04",)


@pytest.mark.parametrize("total", ["-0.01", "1000000.00", "105.001"])
def test_what_the_register_cannot_show_is_v06_and_read_again(total: str) -> None:
    point = Point().values(100).value(2, total)
    assert (point.codes(2), point.next_step(2)) == (("V06",), "recollect")


def test_the_highest_register_is_below_the_modulus() -> None:
    assert Point().value(1, "999999.99").codes(1) == ("V32",)


def test_a_rate_that_the_register_cannot_show_is_v06() -> None:
    assert "V06" in Point().value(1, kwh(100, peak="-1", valley="101")).codes(1)


def test_what_cannot_be_written_in_the_registers_decimals_is_shown_as_0() -> None:
    state = Point().value(1, "105.001").on(1)
    assert str(state.total) == "0.00"


def test_a_value_of_another_day_is_no_conflict() -> None:
    point = Point().values(100, 105).value(2, 100, stamp=midnight(1), after_h=1)
    assert point.codes(2) == ()


def test_a_good_answer_counts_beside_an_equal_one_from_another_meter() -> None:
    point = Point().values(100).value(2, 105, serial="B").value(2, 105, after_h=1)
    assert point.published() == {1: "100", 2: "105"}


def test_an_answer_of_another_meter_is_no_second_read() -> None:
    point = Point().values(100, 9105).value(2, 9105, serial="B", after_h=1)
    assert point.next_step(2) == "reread"


# --- V11, V05: a person may release them ----------------------------------------------------------


@pytest.mark.parametrize(("total", "codes"), [("500.04", ()), ("500.05", ("V11",))])
def test_rates_may_differ_by_one_step_each(total: str, codes: tuple[str, ...]) -> None:
    # Q4: 4 rates, tolerance 0.04
    rates = {"sharp": "100.00", "peak": "150.00", "flat": "200.00", "valley": "50.00"}
    point = Point().value(1, kwh(total, **rates)).value(2, kwh(total, **rates))
    assert point.codes(2) == codes


@pytest.mark.parametrize(("total", "codes"), [("500.4", ()), ("500.5", ("V11",))])
def test_the_step_is_that_of_the_wire(total: str, codes: tuple[str, ...]) -> None:
    rates = {"sharp": "100", "peak": "150", "flat": "200", "valley": "50"}
    point = Point(wire_decimals=1).value(1, kwh(total, **rates)).value(2, kwh(total, **rates))
    assert point.codes(2) == codes


def test_rates_are_added_up_of_what_the_register_cannot_show_too() -> None:
    assert Point().value(1, kwh("105.001", peak=10)).codes(1) == ("V06", "V11")


def test_without_rates_there_is_no_sum() -> None:
    assert Point().values(100, 105).codes(2) == ()


@pytest.mark.parametrize(
    ("skew_s", "codes"),
    [
        (60, ()),
        (61, ("V05",)),
        (300, ("V05",)),
        (-300, ("V05",)),
    ],
)
def test_a_clock_off_by_more_than_60_s_is_a_remark(skew_s: int, codes: tuple[str, ...]) -> None:
    point = Point().values(100).value(2, 105, skew_s=skew_s)
    assert point.published() == {1: "100", 2: "105"}
    assert point.codes(2) == codes


@pytest.mark.parametrize("skew_s", [301, -301, 420])
def test_a_clock_off_by_more_than_300_s_withholds(skew_s: int) -> None:
    # Q6, R07
    point = Point().values(100).value(2, 105, skew_s=skew_s)
    assert (point.codes(2), point.next_step(2)) == (("V05",), "person")


def test_a_read_after_the_clock_was_set_does_not_make_the_freeze_better() -> None:
    point = Point().values(100).value(2, 105, skew_s=420).value(2, 105, skew_s=1, after_h=9)
    assert point.codes(2) == ("V05",)


def test_a_finding_replaces_the_skew_that_was_read() -> None:
    point = Point().values(100).value(2, 105, skew_s=420).value(3, 110, skew_s=1)
    point.clock(2, 2, 10).clock(3, 3, 500)
    assert (point.codes(2), point.codes(3)) == ((), ("V05",))


def test_a_finding_says_nothing_of_other_days() -> None:
    assert Point().values(100, 105, 110).clock(2, 2, 500).codes(3) == ()


def test_a_finding_that_was_taken_back_leaves_what_was_read() -> None:
    point = Point().values(100).value(2, 105, skew_s=420)
    assert point.clock(2, 2, 10, rev=1).clock(2, 2, None, rev=2).codes(2) == ("V05",)


@pytest.mark.parametrize(
    ("number", "skew_s", "codes"),
    [(30, -3600, ()), (30, 0, ("V05",)), (28, 0, ()), (28, -3600, ("V05",))],
)
def test_standard_time_is_an_hour_behind_in_summer(
    number: int, skew_s: int, codes: tuple[str, ...]
) -> None:
    # The clocks of Berlin go forward on the 29th.
    point = Point("Europe/Berlin").standard().value(27, 95).value(number, 100, skew_s=skew_s)
    assert point.codes(number) == (codes or ())


def test_standard_time_of_lord_howe_is_half_an_hour_behind_in_summer() -> None:
    point = Point("Australia/Lord_Howe").standard().values(95).value(2, 100, skew_s=-1800)
    assert point.codes(2) == ()


def test_standard_time_of_ireland_is_that_of_winter() -> None:
    point = Point("Europe/Dublin").standard().value(30, 95).value(31, 100, skew_s=-3600)
    assert point.codes(31) == ()


def test_a_person_may_release_what_fails_v05_or_v11() -> None:
    point = Point().values(100).value(2, 105, skew_s=420)
    point.value(3, kwh(110, peak=10)).says("release", 2, 105).says("release", 3, 110)
    assert point.published() == {1: "100", 2: "105", 3: "110"}
    assert (point.codes(2), point.codes(3)) == ((), ())


def test_what_fails_takes_no_part() -> None:
    # 130 would make 480 outvoted
    point = Point().values(115, 480, 125, 128).value(5, 130, skew_s=420)
    assert point.published() == {1: "115", 2: "480"}


# --- V38, rejected --------------------------------------------------------------------------------


def test_what_a_person_withdrew_is_v38_and_for_a_person() -> None:
    point = Point().values(100, 105, 110).says("withdraw", 2, 105)
    assert (point.codes(2), point.next_step(2)) == (("V38",), "person")
    assert point.published() == {1: "100", 3: "110"}


def test_what_a_person_rejected_stays_rejected_when_it_is_read_again() -> None:
    point = Point().values(100, 105, 110).says("reject", 2, 105)
    state = point.on(2)
    assert (state.state, state.codes, state.next_step) == ("rejected", (), "recollect")
    again = point.value(2, 105, after_h=5).on(2)
    assert (again.state, again.next_step) == ("rejected", "person")


def test_a_rejected_day_takes_another_value() -> None:
    point = Point().values(100, 480, 110).says("reject", 2, 480).value(2, 105, after_h=5)
    assert point.published() == {1: "100", 2: "105", 3: "110"}
    assert point.codes(2) == ()
