"""What a version of a tariff prices, and from when on which one counts."""

from datetime import date
from decimal import Decimal

import pytest

from config.tariff_version import TOTAL, Ladder, Method, TariffVersion, Versions

APRIL, MAY, JUNE = (date(2026, month, 1) for month in (4, 5, 6))
BY_RATES = {"peak": Decimal("0.6"), "valley": Decimal("0.3")}


def version(start: date = APRIL, ladder: Ladder | None = None) -> TariffVersion:
    return TariffVersion(f"T@{start}", start, BY_RATES, ladder)


def test_what_is_left_out_is_not_there() -> None:
    bare = TariffVersion("T", APRIL, {TOTAL: Decimal("0.5")})
    assert (bare.ladder, bare.surcharges, bare.fixed) == (None, (), None)
    assert (bare.minimum_yuan, bare.tax_rate, bare.included_tax_rate) == (None, None, None)
    ladder = Ladder("month", "price", (Decimal(100),))
    assert (ladder.prices, ladder.matrix, ladder.whole_above_kwh) == ((), (), None)
    assert ladder.partial_year == "full"


@pytest.mark.parametrize(
    ("method", "rates"),
    [("adder", ("peak", "valley")), ("price", ()), ("slab", ()), ("matrix", ("sharp", "rest"))],
)
def test_the_rates_are_those_that_something_prices(method: Method, rates: tuple[str, ...]) -> None:
    row = {"sharp": Decimal(1), "rest": Decimal("0.2")}
    matrix = (row, {**row, "other": Decimal(1)}) if method == "matrix" else ()
    ladder = Ladder("month", method, (Decimal(100),), (Decimal(0), Decimal(1)), matrix)
    assert version(ladder=ladder).rates == rates
    assert version().rates == ("peak", "valley")


def test_a_version_starts_between_two_days_and_on_neither() -> None:
    versions = Versions((version(APRIL), version(MAY), version(JUNE)))
    assert versions.starts_between(APRIL, JUNE) == [MAY]
    assert versions.starts_between(date(2026, 3, 31), date(2026, 6, 2)) == [APRIL, MAY, JUNE]


def test_a_slab_that_is_cheaper_than_the_bound_below_it_is_named() -> None:
    half, one = Decimal("0.5"), Decimal(1)
    whole = Ladder("month", "slab", (half, one), (one, half, one), whole_above_kwh=Decimal(0))
    assert list(whole.cheaper_slabs()) == [1]
    rising = Ladder("month", "slab", (half, one), (one, one, one), whole_above_kwh=one)
    assert list(rising.cheaper_slabs()) == []
