"""judgement.md section 4.2: what would overturn published days by a side door is refused."""

from daemon.quality.acceptance import refusal
from daemon.quality.facts import Decision, Installation, Ratio, Registers
from tests.unit.quality.point import Point, day, kwh


def exchange(point: Point, number: int, final: Registers | None, hour: int = 14) -> Installation:
    at = point.midnight(number, hour=hour)
    old = point.facts.installations[0]
    return Installation(at, "B", old.modulus, 2, 2, kwh(0), final)


def test_a_release_above_a_published_later_value_is_refused() -> None:
    point = Point().values(100, 480, 110, 115, 120)
    assert point.refusal("release", 2, 480) == "contradicts_published"


def test_a_release_above_a_later_value_that_is_not_published_is_a_fact() -> None:
    assert Point().values(100, 480, 110).refusal("release", 2, 480) is None


def test_a_release_below_the_published_value_before_needs_a_document() -> None:
    point = Point().values(5000, 5005, 0)
    assert point.refusal("release", 3, 0) == "backward_needs_document"


def test_a_release_that_says_rolled_over_is_a_fact() -> None:
    assert Point().values(5000, 5005, 0).refusal("release", 3, 0, rolled_over=True) is None


def test_a_release_below_an_initial_register_needs_a_document() -> None:
    assert Point(initial=kwh(100)).values(90).refusal("release", 1, 90) == "backward_needs_document"


def test_a_release_beside_values_that_fit_is_a_fact() -> None:
    assert Point().values(100, 9105, 9110).refusal("release", 2, 9105) is None


def test_a_single_value_that_waits_refuses_nothing() -> None:
    assert Point().values(5000, 100).refusal("release", 2, 100) is None


def test_a_release_of_another_day_is_refused() -> None:
    point = Point().values(100).value(2, 105, serial="B")
    assert point.refusal("release", 2, 105) == "not_this_day"
    assert Point().values(100, "105.001").refusal("release", 2, "105.001") == "not_this_day"
    assert Point().value(0, 95).values(100).refusal("release", 0, 95) == "not_this_day"


def test_a_release_of_what_one_good_answer_told_is_a_fact() -> None:
    point = Point().values(100).value(2, 9105, serial="B").value(2, 9105, after_h=1)
    assert point.refusal("release", 2, 9105) is None


def test_a_total_that_was_never_read_is_refused() -> None:
    point = Point().values(100, 9105)
    assert point.refusal("release", 2, 9106) == "no_such_value"
    assert point.refusal("reject", 2, 9106) == "no_such_value"
    assert point.refusal("withdraw", 3, 9105) == "no_such_value"


def test_a_total_is_told_by_its_number_not_by_how_it_is_written() -> None:
    assert Point().values(100, "9105.00").refusal("release", 2, "9105.0") is None


def test_in_a_closed_period_nothing_is_rejected_or_withdrawn() -> None:
    point = Point().values(100, 105, 110).closed(2)
    assert point.refusal("reject", 2, 105) == "closed_period"
    assert point.refusal("withdraw", 1, 100) == "closed_period"
    assert point.refusal("withdraw", 3, 110) is None


def test_in_a_closed_period_a_suspect_is_not_rejected_either() -> None:
    assert Point().values(100, 9105, 110).closed(3).refusal("reject", 2, 9105) == "closed_period"


def test_no_other_value_of_a_day_that_a_closing_named_is_released() -> None:
    point = Point().values(100, 105, 110).value(2, 106, after_h=1).closed(3)
    assert point.refusal("release", 2, 106) == "closed_period"
    assert point.refusal("release", 2, 105) is None


def test_a_substitute_is_never_refused() -> None:
    assert Point().values(100, 105).refusal("substitute", 2, 1) is None


def test_an_exchange_with_a_final_register_below_a_published_value_is_refused() -> None:
    point = Point().values(100, 105, 110)
    assert refusal(point.facts, exchange(point, 4, kwh("109.99"))) == "final_below_published"
    assert refusal(point.facts, exchange(point, 4, kwh(110))) is None
    assert refusal(point.facts, exchange(point, 4, None)) is None


def test_a_final_register_may_have_turned_over() -> None:
    point = Point(limit="10").values("999990.00", "999998.00")
    assert refusal(point.facts, exchange(point, 3, kwh(3))) is None


def test_an_exchange_dated_back_is_compared_with_what_was_published_before_it() -> None:
    point = Point().values(100, 105, 300, 305)
    assert refusal(point.facts, exchange(point, 2, kwh(106))) is None


def test_an_exchange_before_the_first_installation_ends_nothing() -> None:
    point = Point().values(100, 105)
    assert refusal(point.facts, exchange(point, 0, kwh(1))) is None


def test_the_first_installation_ends_nothing() -> None:
    point = Point()
    (first,) = point.facts.installations
    point.facts = type(point.facts)(point.facts.zone, ())
    assert refusal(point.facts, first) is None


def test_a_document_that_takes_a_closed_day_back_is_refused() -> None:
    point = Point().values(100, 105, 110).value(4, 115, serial="A").closed(4)
    assert refusal(point.facts, exchange(point, 3, kwh(112))) == "closed_period"


def test_a_ratio_is_a_fact() -> None:
    point = Point().values(100, 105).closed(2)
    assert refusal(point.facts, Ratio(day(2), point.facts.limits[0].max_daily)) is None


def test_what_is_refused_is_no_fact() -> None:
    point = Point().values(100, 480, 110, 115, 120)
    decision = Decision("release", day(2), kwh(480).total, 1)
    assert refusal(point.facts, decision) is not None
    assert point.facts.decisions == ()
