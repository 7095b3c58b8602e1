"""judgement.md section 1: facts."""

from datetime import timedelta
from decimal import Decimal

import pytest

from daemon.quality.facts import Limit, Read
from tests.unit.quality.point import Point, day, kwh


def test_a_second_read_of_the_same_registers_makes_no_second_candidate() -> None:
    point = Point().values(100, 105).value(2, 105, after_h=1)
    assert point.codes(2) == ()


def test_equal_totals_with_other_rates_are_two_candidates() -> None:
    point = Point().values(kwh(100, peak=50, valley=50), kwh(105, peak=55, valley=50))
    point.value(2, kwh(105, peak=50, valley=55), after_h=1)
    assert point.codes(2) == ("V34",)


@pytest.mark.parametrize("second", [{"after_h": 0.2}, {"source": "terminal"}])
def test_a_read_at_another_time_or_from_another_source_is_a_second_one(second: object) -> None:
    assert isinstance(second, dict)
    point = Point().values(100, 9105).value(2, 9105, **second)
    assert point.next_step(2) == "person"


def test_two_deliveries_of_one_read_are_one() -> None:
    assert Point().values(100, 9105).value(2, 9105).next_step(2) == "reread"


def test_a_candidates_reading_time_is_the_earliest_of_its_reads() -> None:
    # 160 was read again after 150 of the sixth day was, and before it too: it is not late.
    point = Point().values(100, 160).value(6, 150, after_h=0.1).value(2, 160, after_h=120)
    assert point.published() == {1: "100", 2: "160"}


def test_a_refused_second_read_is_a_fact_of_its_day() -> None:
    assert Point().values(100, 9105).refused(2).next_step(2) == "person"
    assert Point().values(100, 9105).refused(1).next_step(2) == "reread"


def test_a_limit_holds_from_its_date() -> None:
    point = Point(limit="10").max_daily(2, "30")
    assert point.values(100, 105, 135).published() == {1: "100", 2: "105", 3: "135"}
    assert Point(limit="10").max_daily(3, "30").values(100, 105, 135).codes(3) == ("V08",)


@pytest.mark.parametrize("revs", [(1, 2), (2, 1)])
def test_of_limits_with_one_date_the_highest_number_counts_not_the_last(
    revs: tuple[int, int],
) -> None:
    point = Point().max_daily(1, "10", rev=revs[0]).max_daily(1, "30", rev=revs[1])
    limit = "30" if revs[1] == 2 else "10"
    expected = () if limit == "30" else ("V08",)
    assert point.values(100, 105, 125).codes(3) == expected


@pytest.mark.parametrize("revs", [(1, 2), (2, 1)])
def test_of_clock_findings_for_the_same_days_the_highest_number_counts(
    revs: tuple[int, int],
) -> None:
    point = Point().values(100, 105, 110)
    point.clock(2, 2, 400, rev=revs[0]).clock(2, 2, 5, rev=revs[1])
    assert point.codes(2) == (() if revs[1] == 2 else ("V05",))


@pytest.mark.parametrize("revs", [(1, 2), (2, 1)])
def test_a_finding_is_taken_back_by_a_higher_number(revs: tuple[int, int]) -> None:
    point = Point().values(100, 105).finding("V25", 1, 2, rev=revs[0])
    point.finding("V25", 1, 2, rev=revs[1], is_active=False)
    assert point.codes(2) == (() if revs[1] == 2 else ("V25",))


@pytest.mark.parametrize("revs", [(1, 2), (2, 1)])
def test_of_findings_that_overlap_the_highest_number_counts_on_each_day(
    revs: tuple[int, int],
) -> None:
    point = Point().values(100, 105, 110, 115).finding("V25", 1, 4, rev=revs[0])
    point.finding("V25", 3, 4, rev=revs[1], is_active=False)
    kept = () if revs[1] == 2 else ("V25",)
    assert [point.codes(n) for n in (2, 3, 4)] == [("V25",), kept, kept]


def test_a_clock_finding_taken_back_for_some_days_stays_for_the_others() -> None:
    point = Point().values(100, 105, 110).clock(1, 3, 100, rev=1).clock(2, 2, None, rev=2)
    assert [point.codes(n) for n in (1, 2, 3)] == [("V05",), (), ("V05",)]


@pytest.mark.parametrize("revs", [(1, 2), (2, 1)])
def test_of_ratios_with_one_date_the_highest_number_counts(revs: tuple[int, int]) -> None:
    point = Point().values(100, 105).ratio(1, "10", rev=revs[0]).ratio(1, "80", rev=revs[1])
    assert point.links() == [("1", "2", "400" if revs[1] == 2 else "50", None)]


def test_two_facts_of_one_number_do_not_depend_on_arrival() -> None:
    one = Limit(day(1), Decimal(10), 1)
    other = Limit(day(1), Decimal(30), 1)
    assert Point().add(one).add(other).values(100, 105, 125).codes(3) == Point().add(other).add(
        one
    ).values(100, 105, 125).codes(3)


def test_the_last_decision_about_a_value_counts() -> None:
    point = Point().values(100, 9105).says("reject", 2, 9105).says("release", 2, 9105)
    assert point.published() == {1: "100", 2: "9105"}


def test_a_freeze_belongs_to_the_run_that_began_at_or_before_its_midnight() -> None:
    point = Point().values(100, 105, 2, 4)
    point.exchange(point.midnight(3), initial=kwh(0), final=kwh(107))
    assert point.published() == {1: "100", 2: "105", 3: "2", 4: "4"}


def test_a_freeze_before_an_exchange_later_that_day_belongs_to_the_old_run() -> None:
    point = Point().values(100, 105, 110, 4)
    point.exchange(point.midnight(3, hour=15), initial=kwh(0), final=kwh(112))
    assert point.published() == {1: "100", 2: "105", 3: "110", 4: "4"}


def test_each_run_is_judged_alone() -> None:
    # Of another meter no value says anything about the first.
    point = Point().values(5000, 1, 2, 3)
    point.exchange(point.midnight(2), initial=kwh(1), final=kwh(5001))
    assert point.published() == {1: "5000", 2: "1", 3: "2", 4: "3"}


def test_days_before_the_first_installation_are_not_judged() -> None:
    point = Point().value(0, 95).value(1, 100)
    assert set(point.verdict.days) == {day(1)}


def test_a_meter_installed_in_the_afternoon_owes_the_next_midnight_first() -> None:
    # Q9
    point = Point()
    point.facts = type(point.facts)(point.facts.zone, (), point.facts.limits)
    point.exchange(point.midnight(1, hour=15), serial="A").values(100, 105)
    assert set(point.verdict.days) == {day(2)}


def test_an_installation_told_twice_is_one() -> None:
    point = Point().values(100, 105)
    once = point.verdict
    point.exchange(point.midnight(1), serial="A")
    assert point.verdict == once


def test_without_a_limit_only_the_quarter_of_the_modulus_bounds() -> None:
    point = Point(modulus="1000", decimals=0)
    point.facts = type(point.facts)(point.facts.zone, point.facts.installations)
    assert point.values(100, 349).published() == {1: "100", 2: "349"}
    assert Point(modulus="1000", decimals=0, limit="9999").values(100, 350).codes(2) == ("V08",)


def test_numbers_beyond_64_bits_are_judged_exactly() -> None:
    point = Point(modulus="100000000000000000", decimals=4, limit="380")
    point.values("90000000000000000.0001", "90000000000000380.0001", "90000000000000760.0002")
    assert point.published() == {1: "90000000000000000.0001", 2: "90000000000000380.0001"}
    assert point.codes(3) == ("V08",)


def test_a_read_is_told_by_its_stamp_not_by_when_it_was_read() -> None:
    read = Read(day(2), kwh(105), Point().midnight(2) + timedelta(days=40))
    assert Point().values(100).add(read).published() == {1: "100", 2: "105"}
