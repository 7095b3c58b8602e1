"""The tariff of an account that changed its tariff."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.tariff_version import TOTAL, TariffVersion, Versions
from daemon.billing.stored_tariff import StoredTariff, composed

FIRST = date(2026, 1, 1)
MOST_DAYS = 40
DAYS = st.integers(0, MOST_DAYS).map(lambda n: FIRST + timedelta(days=n))


def tariff(starts: list[date], first_number: int) -> StoredTariff:
    """Every version has a price of its own: its number."""
    versions = [
        TariffVersion(f"v{number}", start, {TOTAL: Decimal(number)})
        for number, start in enumerate(sorted(starts), first_number)
    ]
    numbers = range(first_number, first_number + len(versions))
    return StoredTariff(Versions(tuple(versions)), tuple(numbers))


@st.composite
def pieces(draw: st.DrawFn) -> list[tuple[date, StoredTariff]]:
    """The first tariff may have no price on its first days; each later one has one by its day."""
    days = sorted(draw(st.lists(DAYS, min_size=1, max_size=4, unique=True)))
    found = []
    for index, day in enumerate(days):
        starts = set(draw(st.lists(DAYS, min_size=1, max_size=4)))
        if index:
            starts.add(draw(st.dates(FIRST, day)))
        found.append((day, tariff(sorted(starts), 100 * index)))
    return found


@given(pieces())
def test_each_day_is_priced_as_the_piece_of_that_day_does(
    pieces: list[tuple[date, StoredTariff]],
) -> None:
    whole = composed(pieces)
    starts = [version.effective_from for version in whole.versions.all]
    assert starts == sorted(set(starts))
    for offset in range(-1, MOST_DAYS + 2):
        day = FIRST + timedelta(days=offset)
        (_, first), *later = pieces
        of_day = ([first] + [stored for start, stored in later if start <= day])[-1]
        expected = of_day.versions.on(day)
        found = whole.versions.on(day)
        assert (found and found.energy) == (expected and expected.energy)
        if found is not None:
            number = whole.numbers[whole.versions.all.index(found)]
            assert found.energy == {TOTAL: Decimal(number)}


def test_a_single_tariff_is_as_it_is() -> None:
    one = tariff([FIRST, FIRST + timedelta(days=5)], 1)
    assert composed([(date.max, one)]) == one


def test_versions_by_which_nothing_was_billed_stay_those_of_each_tariff() -> None:
    one, two = tariff([FIRST], 1), tariff([FIRST], 2)
    pieces = [
        (FIRST, replace(one, unused=frozenset({1}))),
        (FIRST, replace(two, unused=frozenset({2}))),
    ]
    assert composed(pieces).unused == {1, 2}


def test_a_tariff_that_has_no_price_yet_on_its_day_is_refused() -> None:
    one = tariff([FIRST], 1)
    two = tariff([FIRST + timedelta(days=3)], 2)
    with pytest.raises(ValueError, match="from 2026-01-03 on has no price then"):
        composed([(FIRST, one), (FIRST + timedelta(days=2), two)])
