"""A month of many accounts at once is to the fen what the rules say of each."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from config.tariff_form import read_version
from config.tariff_version import Versions
from daemon.billing.many import Month, amounts_fen, is_for_many, month_of
from daemon.billing.pricing import rounded_fen
from tests.unit.billing.exact_account import Story, bill
from tests.unit.billing.stories import stories
from tests.unit.billing.test_pricing import terms_of, uses_of

MONTHS = (date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1))


def month_of_stories(told: Sequence[Story], month: date) -> Month:
    accounts = []
    for story in told:
        terms = terms_of(story)
        accounts.append((terms, uses_of(story, terms), story.closed))
    return month_of(accounts, month)


@st.composite
def neighbours(draw: st.DrawFn) -> list[Story]:
    """Accounts with one tariff and lives of their own."""
    first, *others = (draw(stories()) for _ in range(3))
    return [first, *(replace(other, versions=first.versions) for other in others)]


def expected(told: Sequence[Story], month: date) -> dict[str, list[int]]:
    bills = [bill(story) for story in told]
    name = f"{month:%Y-%m}"
    found = {component for it in bills for of, component in it if of == name}
    return {
        component: [rounded_fen(it.get((name, component), Fraction(0))) for it in bills]
        for component in found
    }


def priced(month: Month) -> dict[str, list[int]]:
    return {component: fen.tolist() for component, fen in amounts_fen(month).items()}


def without_nothing(amounts: dict[str, list[int]]) -> dict[str, list[int]]:
    return {component: fen for component, fen in amounts.items() if any(fen)}


@settings(max_examples=40, deadline=None)
@given(neighbours())
def test_each_account_of_many_pays_what_the_rules_say(told: list[Story]) -> None:
    for month in MONTHS:
        found = priced(month_of_stories(told, month))
        assert without_nothing(found) == without_nothing(expected(told, month))


@settings(max_examples=15, deadline=None)
@given(neighbours(), st.integers(3, 13))
def test_numbers_beyond_64_bits_are_worked_out_exactly(told: list[Story], zeros: int) -> None:
    """The first account has a great deal more use, and the others are as exact beside it."""
    factor = 10**zeros
    huge = {
        day: {name: kwh * factor for name, kwh in used.items()} for day, used in told[0].use.items()
    }
    told = [replace(told[0], use=huge), *told[1:]]
    for month in MONTHS:
        found = priced(month_of_stories(told, month))
        assert without_nothing(found) == without_nothing(expected(told, month))


def test_a_matrix_is_not_for_many() -> None:
    written = {
        "effective_from": "2026-01-01",
        "ladder": {
            "cycle": "year",
            "method": "matrix",
            "bounds_kwh": ["10"],
            "matrix": [{"peak": "1"}, {"peak": "2"}],
        },
    }
    version, _ = read_version(written, "T")
    assert version is not None
    assert not is_for_many(Versions((version,)))
    assert is_for_many(Versions((replace(version, ladder=None),)))
