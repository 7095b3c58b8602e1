"""judgement.md section 3: when two values follow one another."""

import pytest

from tests.unit.quality.point import Point, kwh


def small(limit: str) -> Point:
    """A register that turns over at 10,000 kWh."""
    return Point(modulus="10000", decimals=1, limit=limit)


def test_the_limit_of_a_day_is_exact() -> None:
    assert Point().values("1000.00", "1380.00").codes(2) == ()
    # Q2, R21: 410 kWh in a day on 60 A
    assert Point().values("1000.00", "1380.01").codes(2) == ("V08",)


def test_the_limit_grows_with_the_days() -> None:
    # Q3
    assert Point().values(1000, None, None, 2140).codes(4) == ()
    assert Point().values(1000, None, None, "2140.01").codes(4) == ("V08",)


def test_each_day_counts_with_its_own_limit() -> None:
    point = Point(limit="10").max_daily(2, "100")
    assert point.values(1000, None, 1110).codes(3) == ()
    point = Point(limit="10").max_daily(2, "100")
    assert point.values(1000, None, "1110.01").codes(3) == ("V08",)


@pytest.mark.parametrize(("number", "hours"), [(29, 23), (28, 24)])
def test_a_day_has_the_hours_that_it_has(number: int, hours: int) -> None:
    # Q10: the clocks of Berlin go forward on the 29th of March
    point = Point("Europe/Berlin", limit="24")
    assert point.value(number, 100).value(number + 1, 100 + hours).codes(number + 1) == ()
    point.value(number + 1, f"{100 + hours}.01", after_h=1)
    point = Point("Europe/Berlin", limit="24").value(number, 100)
    assert point.value(number + 1, f"{100 + hours}.01").codes(number + 1) == ("V08",)


def test_the_day_on_which_clocks_go_back_has_25_hours() -> None:
    number = 239  # the 25th of October
    point = Point("Europe/Berlin", limit="24").value(number, 100).value(number + 1, 125)
    assert point.codes(number + 1) == ()


def test_the_day_of_lord_howe_has_24_hours_and_a_half() -> None:
    number = 36  # the 5th of April
    point = Point("Australia/Lord_Howe", limit="24").value(number, 100)
    assert point.value(number + 1, "124.50").codes(number + 1) == ()
    assert Point("Australia/Lord_Howe", limit="24").value(number, 100).value(
        number + 1, "124.51"
    ).codes(number + 1) == ("V08",)


def test_the_days_of_a_meter_in_standard_time_have_24_hours() -> None:
    point = Point("Europe/Berlin", limit="24").standard().value(29, 100).value(30, 124)
    assert point.codes(30) == ()


def test_the_least_time_is_an_hour() -> None:
    # the freeze of the midnight at which the meter was installed
    point = Point(limit="24", initial=kwh(0)).values(1)
    assert point.published() == {1: "1"}
    assert Point(limit="24", initial=kwh(0)).values("1.01").codes(1) == ("V08",)


@pytest.mark.parametrize("offsets", [(60, 0), (0, 60), (30, -30)])
def test_the_error_bounds_of_host_freezes_are_on_top(offsets: tuple[int, int]) -> None:
    # 24 kWh a day x 60 s = 0.0167, rounded up to a step for each
    point = Point(limit="24").value(1, 100, host_offset_s=offsets[0])
    point.value(2, "124.02", host_offset_s=offsets[1])
    assert point.codes(2) == ()
    point = Point(limit="24").value(1, 100, host_offset_s=offsets[0])
    assert point.value(2, "124.03", host_offset_s=offsets[1]).codes(2) == ("V08",)


def test_an_advance_of_a_quarter_turn_is_a_spike_whatever_the_limit() -> None:
    assert small("9999").values(0, "2499.9").codes(2) == ()
    assert small("9999").values(0, "2500.0").codes(2) == ("V08",)


def test_a_rollover_within_the_limit_is_good() -> None:
    # Q7, R22
    point = small("4.4").values("9998.7", "3.1")
    assert point.published() == {1: "9998.7", 2: "3.1"}


def test_a_rollover_beyond_the_limit_is_backward() -> None:
    assert small("4.3").values("9998.7", "3.1").codes(2) == ("V07",)


def test_a_rollover_of_a_quarter_turn_is_backward() -> None:
    assert small("9999").values("9998.0", "2497.9").codes(2) == ()
    assert small("9999").values("9998.0", "2498.0").codes(2) == ("V07",)


def test_a_step_back_has_no_tolerance() -> None:
    assert Point().values("100.00", "99.99").codes(2) == ("V07",)


def test_a_rate_that_goes_back_is_backward() -> None:
    point = Point().values(kwh(100, peak=50, valley=50), kwh(105, peak=49, valley=56))
    assert point.codes(2) == ("V07",)


def test_a_rate_that_leaps_is_a_spike() -> None:
    # the residual between total and rates hides it
    point = Point(wire_decimals=0, limit="2")
    point.values(kwh(100, peak=50, valley=50), kwh(101, peak="52.50", valley=50))
    assert point.codes(2) == ("V08",)


def test_backward_outranks_spike() -> None:
    point = Point(limit="10").values(kwh(100, peak=50, valley=50), kwh(105, peak=65, valley=40))
    assert point.codes(2) == ("V07",)


def test_backward_outranks_spike_to_the_neighbour_behind() -> None:
    point = Point().values(
        kwh(100, peak=30, valley=70), kwh(50, peak=45, valley=5), kwh(600, peak=40, valley=560)
    )
    assert point.codes(2) == ("V07", "V27")


def test_rates_count_only_between_equal_ones() -> None:
    point = Point().values(kwh(100, peak=50, valley=50), kwh(105, sharp=1, peak=49, valley=55))
    assert point.published() == {1: "100", 2: "105"}


def test_a_rate_turns_over_by_itself() -> None:
    point = Point(modulus="1000", decimals=0)
    point.values(kwh(998, peak=2, valley=996), kwh(1, peak=3, valley=998))
    assert point.published() == {1: "998", 2: "1"}
    point = Point(modulus="1000", decimals=0)
    point.values(kwh(1, peak=2, valley=999), kwh(2, peak=2, valley=0))
    assert point.published() == {1: "1", 2: "2"}


def test_rates_that_turned_over_still_add_up_to_the_total() -> None:
    point = Point(modulus="1000", decimals=0)
    point.values(kwh(998, peak=2, valley=996), kwh(1, peak=3, valley=996))
    assert point.published() == {1: "998", 2: "1"}
    point.value(3, kwh(1, peak=3, valley=995))
    assert point.codes(3) == ("V11",)


def test_what_a_person_confirmed_has_no_upper_limit() -> None:
    point = Point().values(100, 9105).says("release", 2, 9105)
    assert point.published() == {1: "100", 2: "9105"}


def test_a_final_register_has_no_upper_limit() -> None:
    point = Point().values(100, 105)
    point.exchange(point.midnight(3), initial=kwh(0), final=kwh(9000))
    assert point.published() == {1: "100", 2: "105"}
    assert point.links()[-1] == ("2", "3 00:00", "8895", None)


def test_after_a_confirmed_value_the_limit_holds() -> None:
    point = Point().values(100, 9105, 9500).says("release", 2, 9105)
    assert point.codes(3) == ("V08",)


def test_a_release_may_say_that_the_register_rolled_over() -> None:
    point = small("5").values("9000", "3")
    point.says("release", 2, "3", rolled_over=True)
    assert point.links() == [("1", "2", "1003", None)]
