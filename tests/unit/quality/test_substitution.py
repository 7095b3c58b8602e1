"""quality.md section 7: which values persons may put where no reading is, and who has to agree."""

from decimal import Decimal

import pytest

from daemon.quality.facts import Registers
from daemon.quality.substitution import METHODS, approvals_needed, refused_substitute
from tests.unit.quality.point import Point, kwh

Rates = tuple[tuple[str, Decimal], ...]


def refused(
    point: Point,
    number: int,
    total: str | int,
    method: str = "S2",
    *,
    rates: Rates = (),
    has_basis: bool = False,
) -> str | None:
    substitute = point.decision("substitute", number, total, method=method, rates=rates)
    return refused_substitute(point.facts, substitute, has_basis=has_basis)


# --- who has to agree -----------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["release", "reject", "withdraw"])
def test_what_a_meter_told_is_one_persons_to_judge(action: str) -> None:
    assert approvals_needed(action) == 0


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"S6"}))
def test_a_substitute_needs_a_checker(method: str) -> None:
    assert approvals_needed("substitute", method) == 1


def test_an_agreed_value_needs_two() -> None:
    assert approvals_needed("substitute", "S6") == 2


def test_a_held_link_is_released_by_maker_and_checker() -> None:
    assert approvals_needed("release_link") == 1


# --- what stands ----------------------------------------------------------------------------------


def test_a_substitute_where_a_reading_was_chosen_is_refused() -> None:
    assert refused(Point().values(100, 105, 110), 2, 105) == "has_reading"


def test_a_substitute_where_no_reading_is_stands() -> None:
    assert refused(Point().values(100, None, 110), 2, 105) is None


def test_a_substitute_where_a_reading_was_withheld_stands() -> None:
    assert refused(Point().values(100, 9105, 110), 2, 105) is None


def test_a_value_that_waits_is_no_reading_that_was_chosen() -> None:
    # V32: it publishes nothing
    assert refused(Point().value(2, 105), 3, 110) is None


def test_where_a_value_waits_a_substitute_is_refused_as_what_it_is() -> None:
    point = Point().value(2, 105)
    assert [refused(point, 2, kwh) for kwh in (100, 105, 110)] == 3 * ["reading_waits"]
    assert refused(point.says("reject", 2, 105), 2, 110) is None


def test_a_substitute_below_the_chain_before_it_does_not_fit() -> None:
    # judgement.md section 4.3
    assert refused(Point().values(100, 105, None, 110), 3, "104.99") == "does_not_fit"


def test_a_substitute_above_the_chain_behind_it_does_not_fit() -> None:
    assert refused(Point().values(100, None, 110), 2, "110.01") == "does_not_fit"


def two_rates(peak: str, flat: str) -> Registers:
    rates = (("01", Decimal(peak)), ("02", Decimal(flat)))
    return Registers(Decimal(peak) + Decimal(flat), rates)


@pytest.mark.parametrize(
    ("peak", "flat", "expected"),
    [("42", "63", None), ("39.99", "65.01", "does_not_fit"), ("44.01", "60.99", "does_not_fit")],
)
def test_rates_of_a_substitute_neither_fall_nor_pass_those_behind_it(
    peak: str, flat: str, expected: str | None
) -> None:
    """Else each would turn over once."""
    point = Point().values(two_rates("40", "60"), None, two_rates("44", "66"))
    assert refused(point, 2, 105, rates=two_rates(peak, flat).rates) == expected


def test_rates_of_a_substitute_are_held_against_the_next_ones_that_are_told() -> None:
    point = Point().values(two_rates("40", "60"), None, None, None, two_rates("44", "66"))
    point.says("substitute", 2, 102).says("substitute", 4, 108)
    assert refused(point, 3, 105, rates=two_rates("39", "66").rates) == "does_not_fit"
    assert refused(point, 3, 105, rates=two_rates("45", "60").rates) == "does_not_fit"
    assert refused(point, 3, 105, rates=two_rates("42", "63").rates) is None


def test_a_substitute_fits_those_that_stand_already() -> None:
    point = Point().values(100, None, None, None, 110).says("substitute", 3, 105)
    assert refused(point, 2, "105.01") == "does_not_fit"
    assert refused(point, 4, "104.99") == "does_not_fit"
    assert refused(point, 2, 105) is None
    assert refused(point, 4, 105) is None


def test_what_was_said_first_stands_against_what_was_said_later() -> None:
    """Both can be said, where a value that was withdrawn since stood between them."""
    point = Point().values(100, 101, None, None, 110).says("substitute", 4, 102)
    later = point.decision("substitute", 3, 103)
    point.add(later)
    assert point.shows(4) == ("substituted", "102")
    assert point.shows(3) == ("suspect", "103")


def test_a_day_before_the_point_was_installed_has_no_substitute() -> None:
    # judgement.md section 1.6: such a day is not judged
    assert refused(Point().values(100, 105), 0, 95) == "does_not_fit"


@pytest.mark.parametrize("total", ["1000000", "-1", "105.001"])
def test_what_the_register_cannot_show_is_no_substitute(total: str) -> None:
    assert refused(Point().values(100, None, 110), 2, total) == "not_a_register"


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["S1", "S2", "S3", "S6"])
def test_what_somebody_saw_or_agreed_on_needs_no_neighbours(method: str) -> None:
    assert refused(Point(), 2, 105, method) is None


def test_between_two_values_both_are_needed() -> None:
    assert refused(Point().values(100, 105, None, 115), 3, 110, "S4") is None
    assert refused(Point().values(100, 105), 3, 110, "S4") == "no_neighbours"
    assert refused(Point().values(110, 115, first=3), 2, 105, "S4") == "no_neighbours"


def test_a_neighbour_that_is_withheld_is_none() -> None:
    point = Point().values(100, 105, None, 9115)
    assert refused(point, 3, 110, "S4") == "no_neighbours"


def test_history_goes_on_from_a_value_before() -> None:
    assert refused(Point().values(100, 105), 3, 110, "S5", has_basis=True) is None
    point = Point().values(110, 115, first=3)
    assert refused(point, 2, 105, "S5", has_basis=True) == "no_neighbours"


def test_history_needs_a_contract_or_a_prevented_reading() -> None:
    assert refused(Point().values(100, 105), 3, 110, "S5") == "no_basis"


def test_history_never_goes_above_the_next_known_value() -> None:
    point = Point().values(100, 105, None, 115)
    assert refused(point, 3, 116, "S5", has_basis=True) == "does_not_fit"
    assert refused(point, 3, 115, "S5", has_basis=True) is None


def test_a_substitute_may_follow_an_initial_register() -> None:
    assert refused(Point(initial=kwh(100)), 2, 105) is None
    assert refused(Point(initial=kwh(100)), 2, "99.99") == "does_not_fit"
