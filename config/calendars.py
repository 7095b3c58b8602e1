"""Public holidays of a country, and the weekend days that are worked for them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date


def country_days(country: str, years: Collection[int]) -> tuple[frozenset[date], frozenset[date]]:
    """(holidays, make-up workdays) of a country by its two letters. ValueError: not known.

    Both from the library `holidays`, which takes them from the announcements of the governments.
    China's are announced a year at a time: of years that are not announced it knows the statutory
    days and no make-up workdays."""
    # It takes half a second to load, which only a site with a calendar has to wait for.
    from holidays import country_holidays

    try:
        known = country_holidays(country, years=years)
    except NotImplementedError:
        raise ValueError(f"no holidays are known of {country!r}: write two letters, CN") from None
    # It tells the make-up workdays of every year that it was told of.
    asked = set(years)
    return (
        frozenset(day for day in known if day.year in asked),
        frozenset(day for day in known.weekend_workdays if day.year in asked),
    )
