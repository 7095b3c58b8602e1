"""judgement.md sections 6 and 7.3: states, codes, next steps."""

from datetime import datetime

import pytest

from tests.unit.quality.point import Point, day, kwh


def test_a_suspect_day_shows_the_candidate_with_most_reads() -> None:
    point = Point().values(100, 9000).value(2, 9100, after_h=1).value(2, 9100, after_h=2)
    assert point.shows(2) == ("suspect", "9100")


def test_of_as_many_reads_it_shows_the_earliest() -> None:
    assert Point().values(100, 9000).value(2, 8000, after_h=1).shows(2) == ("suspect", "9000")


def test_a_rejected_candidate_is_not_shown_beside_another() -> None:
    point = Point().values(100, 9000).value(2, 9000, after_h=1).says("reject", 2, 9000)
    assert point.value(2, 8000, after_h=2).shows(2) == ("suspect", "8000")
    assert point.codes(2) == ("V08",)


def test_backward_after_the_neighbour_is_v07() -> None:
    # O20, R11
    assert Point().values(400, 410, 41).codes(3) == ("V07",)


def test_the_neighbour_is_that_of_the_chain_even_while_it_waits() -> None:
    assert Point().values(5000, 100).codes(2) == ("V07",)


def test_a_value_after_which_the_neighbour_behind_goes_back_is_v27() -> None:
    point = Point().values(100, 9105, 115)
    assert point.codes(2) == ("V08", "V27")


def test_a_spike_to_the_neighbour_before_is_v08() -> None:
    assert Point().values(100, 105, 9105).codes(3) == ("V08",)


def test_a_spike_to_the_neighbour_behind_is_v08() -> None:
    # late against 90, and too low for 120 a day later
    point = Point(limit="10").values(100, None, 120, 126, 90).value(2, 101, after_h=100)
    assert point.codes(2) == ("V08", "V31")


def test_what_followed_and_is_not_in_the_chain_is_v31() -> None:
    # J01
    assert Point().values(115, 480, 125, 130, 135).codes(2) == ("V27", "V31")


def test_what_precedes_the_chains_start_is_v31() -> None:
    assert Point().values(5000, 100, 105, 110).codes(1) == ("V27", "V31")


def test_an_only_value_is_v32_and_waits() -> None:
    assert Point().values(5000, 100).codes(1) == ("V32",)


# --- V33 ------------------------------------------------------------------------------------------


def test_a_published_value_against_which_one_stands_is_disputed() -> None:
    # J01: published, and no trip on it
    point = Point().values(115, 480, 125)
    assert (point.published()[2], point.codes(2)) == ("480", ("V33",))


def test_a_day_with_two_values_disputes_nothing() -> None:
    point = Point().values(115, 480, 125).value(3, 126, after_h=1)
    assert point.published()[2] == "480"
    assert point.codes(2) == ()


def test_a_late_value_disputes_nothing() -> None:
    # 125 was read after 120 of the fifth day, which stands against it
    point = Point().values(115, 480).value(5, 120).value(5, 121, after_h=1)
    assert point.value(3, 125, after_h=0.1).codes(2) == ("V33",)
    point = Point().values(115, 480).value(5, 120).value(5, 121, after_h=1)
    assert point.value(3, 125, after_h=100).codes(2) == ()


def test_a_value_that_would_follow_nothing_disputes_nothing() -> None:
    # J14: a restart from 0
    assert Point().values(5000, 5005, 0).codes(2) == ()


def test_a_value_that_would_follow_only_at_a_distance_disputes_nothing() -> None:
    # J11
    assert Point().values(115, 480).value(8, 125).codes(2) == ("V33",)
    assert Point().values(115, 480).value(9, 125).codes(2) == ()


def test_three_values_of_the_chain_behind_it_end_a_dispute() -> None:
    point = Point().values(115, 480, 125, 485, 490)
    assert point.codes(2) == ("V33",)
    assert point.value(6, 495).codes(2) == ()


def test_the_values_behind_that_are_higher_are_not_disputed_by_it() -> None:
    point = Point().values(115, 480, 125, 485)
    assert point.codes(4) == ()


def test_a_spike_disputes_nothing() -> None:
    assert Point().values(100, 105, 50000).codes(2) == ()


# --- V34 ------------------------------------------------------------------------------------------


def test_another_value_of_the_day_is_a_conflict_on_what_is_published() -> None:
    # J06
    assert Point().values(100, 9105).value(2, 105, after_h=1).codes(2) == ("V34",)


def test_another_value_of_the_day_is_a_conflict_on_what_is_withheld() -> None:
    assert Point().values(100, 9105).value(2, 9205, after_h=1).codes(2) == ("V08", "V34")


def test_a_rejected_value_is_no_conflict() -> None:
    point = Point().values(100, 9105).value(2, 105, after_h=1).says("reject", 2, 9105)
    assert point.codes(2) == ()


def test_a_value_of_the_day_is_told_beside_what_is_shown_of_another() -> None:
    point = Point().values(100).value(2, 100, stamp=datetime(2026, 3, 1))
    assert point.value(2, 9105, after_h=1).codes(2) == ("V04", "V34")


def test_a_value_that_fails_its_clock_is_a_conflict() -> None:
    point = Point().values(100, 105).value(2, 106, after_h=1, skew_s=420)
    assert point.codes(2) == ("V34",)


# --- V36 ------------------------------------------------------------------------------------------


def test_three_values_behind_the_chain_that_follow_one_another_are_a_break() -> None:
    # J14, J21
    point = Point().values(5000, 5005, 0, 3)
    assert (point.codes(3), point.next_step(3)) == (("V07",), "reread")
    point.value(5, 6)
    assert [point.codes(n) for n in (3, 4, 5)] == [("V07", "V36")] * 3
    assert point.next_step(3) == "person"


def test_a_break_is_told_in_its_middle_and_at_its_end_too() -> None:
    point = Point().values(5000, 5005, 0, 3, 6, 9)
    assert [point.codes(n) for n in (3, 4, 5, 6)] == [("V07", "V36")] * 4


def test_a_value_that_follows_none_of_them_is_no_part_of_a_break() -> None:
    point = Point().values(5000, 5005, 0, 3, 4000, 6)
    assert point.codes(5) == ("V07",)
    assert point.codes(6) == ("V07", "V36")


def test_values_before_the_chains_end_are_no_break() -> None:
    point = Point().values(5000, 5005, 0, 3, 6, 5010)
    assert point.codes(4) == ("V07", "V08")


def test_what_contradicts_a_person_can_be_a_break() -> None:
    # J18
    point = Point().values(100, 480).says("release", 2, 480).values(110, 115, 120, first=3)
    assert point.codes(3) == ("V07", "V35", "V36")


def test_what_fits_the_chains_end_is_no_break_though_a_person_contradicts_it() -> None:
    rates = [kwh(100 + n, peak=90 + n, flat=10) for n in range(1, 4)]
    point = Point().value(1, kwh(100, peak=80, flat=20)).value(2, 101)
    point.says("release", 1, 100).values(*rates, first=3)
    assert [point.codes(n) for n in (3, 4, 5)] == [("V31", "V35")] * 3


# --- V37, V10, V25, V28 ---------------------------------------------------------------------------


def test_the_first_two_values_of_a_source_that_replaced_another_are_v37() -> None:
    point = Point().values(100, 105)
    for number in (3, 4, 5):
        point.value(number, 100 + 5 * number, source="terminal")
    assert [point.codes(n) for n in (1, 2, 3, 4, 5)] == [(), (), ("V37",), ("V37",), ()]


def test_a_source_that_comes_back_replaces_too() -> None:
    point = Point().values(100, 105).value(3, 110, source="terminal").values(115, 120, 125, first=4)
    assert [point.codes(n) for n in (3, 4, 5, 6)] == [("V37",), ("V37",), ("V37",), ()]


def test_a_source_is_that_of_the_first_read() -> None:
    point = Point().values(100, 105).value(2, 105, source="terminal", after_h=1)
    assert point.codes(2) == ()


def test_only_what_is_in_the_chain_counts_for_a_source() -> None:
    point = Point().values(100, 105).value(3, 9000, source="terminal").value(4, 115)
    assert point.codes(4) == ()


def test_another_meter_is_no_replaced_source() -> None:
    point = Point().values(100, 105).value(3, 1, source="terminal")
    point.exchange(point.midnight(3), initial=kwh(0), final=kwh(107))
    assert point.codes(3) == ()


def test_a_total_that_stood_still_for_30_days_is_v10() -> None:
    # R24
    point = Point().values(99, *[100] * 32)
    assert [number for number in range(1, 34) if "V10" in point.codes(number)] == [32, 33]


def test_a_total_that_moved_is_no_v10() -> None:
    point = Point().values(100, *[100] * 15, *[101] * 20)
    assert [number for number in range(1, 37) if "V10" in point.codes(number)] == []


def test_missing_days_do_not_end_the_30() -> None:
    point = Point().values(100).value(20, 100).value(31, 100)
    assert point.codes(31) == ("V10",)


@pytest.mark.parametrize("code", ["V25", "V28"])
def test_a_finding_is_a_remark_on_every_day_that_it_covers(code: str) -> None:
    point = Point().values(100, 105, 110, 9110, 120).finding(code, 2, 3).finding(code, 9, 9)
    assert [point.codes(n) for n in (1, 2, 3, 5)] == [(), (code,), (code,), ()]
    assert point.published() == {1: "100", 2: "105", 3: "110", 5: "120"}


def test_a_finding_is_a_remark_on_what_is_withheld_too() -> None:
    assert Point().values(100, 105, 9110).finding("V25", 3, 3).codes(3) == ("V08", "V25")


def test_several_codes_stand_in_order() -> None:
    point = Point().values(100, 9105).value(2, 9205, after_h=1, skew_s=100).finding("V25", 2, 2)
    assert point.codes(2) == ("V08", "V25", "V34")


# --- next step ------------------------------------------------------------------------------------


def test_a_suspect_is_read_again() -> None:
    assert Point().values(100, 9105).next_step(2) == "reread"


def test_a_second_read_that_is_equal_is_for_a_person() -> None:
    # quality.md section 6.7
    assert Point().values(100, 9105).value(2, 9105, after_h=1).next_step(2) == "person"


def test_a_second_read_that_was_refused_is_for_a_person() -> None:
    # J07
    assert Point().values(100, 9105).refused(2).next_step(2) == "person"


def test_a_second_read_that_differs_is_judged_anew() -> None:
    # J06
    assert Point().values(100, 9105).value(2, 105, after_h=1).published() == {1: "100", 2: "105"}


def test_what_fails_the_sum_of_rates_is_read_again() -> None:
    # J15
    point = Point().values(100).value(2, kwh(105, peak=10))
    assert (point.codes(2), point.next_step(2)) == (("V11",), "reread")


def test_a_soft_remark_about_the_clock_is_no_matter_for_a_person() -> None:
    point = Point().values(100).value(2, 9105, skew_s=100)
    assert (point.codes(2), point.next_step(2)) == (("V05", "V08"), "reread")


def test_what_is_published_has_no_next_step() -> None:
    point = Point().values(100, 105)
    assert point.next_step(2) is None


def test_a_day_without_facts_is_not_there() -> None:
    assert set(Point().values(100, None, 110).verdict.days) == {day(1), day(3)}
