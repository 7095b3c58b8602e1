"""Of which days an entry of an account says something, and which ones it prices anew."""

from datetime import date
from decimal import Decimal

import pytest

from daemon.transactions.account_entries import HouseholdBonus, UsedElsewhere
from storage.settling import ALL_DAYS, Days
from storage.terms import AccountTerms, BonusRow

KNOWN = AccountTerms(
    bonuses=(
        BonusRow(date(2026, 3, 1), Decimal(10)),
        BonusRow(date(2026, 9, 10), Decimal(20)),
    )
)


@pytest.mark.parametrize(
    ("from_day", "days"),
    [
        (date(2026, 1, 1), (date(2026, 1, 1), date(2026, 3, 1))),
        (date(2026, 3, 1), (date(2026, 3, 1), date(2026, 10, 1))),
        (date(2026, 3, 2), (date(2026, 4, 1), date(2026, 10, 1))),
        (date(2026, 9, 30), (date(2026, 10, 1), ALL_DAYS.last)),
        (date(2026, 12, 2), (date(2027, 1, 1), ALL_DAYS.last)),
    ],
)
def test_a_bonus_says_something_from_its_first_month_to_that_of_the_next_one(
    from_day: date, days: tuple[date, date]
) -> None:
    bonus = HouseholdBonus("A1", from_day, Decimal(1))
    assert bonus.days(KNOWN) == days
    assert bonus.rated_anew() == Days(date(days[0].year, 1, 1), ALL_DAYS.last)


@pytest.mark.parametrize(
    ("cycle", "end"),
    [
        ("2026", date(2027, 1, 1)),
        ("2026-01", date(2026, 2, 1)),
        ("2026-02", date(2026, 3, 1)),
        ("2026-12", date(2027, 1, 1)),
    ],
)
def test_use_that_others_billed_is_of_its_year_or_month(cycle: str, end: date) -> None:
    elsewhere = UsedElsewhere("A1", cycle, Decimal(1))
    first = date(2026, int(cycle[5:] or 1), 1)
    assert elsewhere.days(KNOWN) == (first, end)
    assert elsewhere.rated_anew() == Days(first, date.fromordinal(end.toordinal() - 1))
