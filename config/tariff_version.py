"""A version of a tariff: what a kWh, a day and a month cost from a local midnight on.

The words and the rules are those of money.md sections 4 to 6, 11 and 15a. Every number is exact."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

TOTAL: Final = "total"
"""The register that every meter has; the others are its rates."""
PRICE_DECIMALS: Final = 8
"""The most that a number of a tariff has; the database refuses more."""
Cycle = Literal["year", "month"]
Method = Literal["price", "adder", "matrix", "slab"]
Proration = Literal["calendar", "thirtieth"]
PartialYear = Literal["full", "months"]


@dataclass(frozen=True, slots=True)
class Ladder:
    """Steps by cumulative use of a cycle.

    `prices`: of each step; with method `adder` what is added, with `matrix` empty. `matrix`: the
    prices of the rates by step. `whole_above_kwh`: above it a slab re-prices the whole month."""

    cycle: Cycle
    method: Method
    bounds_kwh: tuple[Decimal, ...]
    prices: tuple[Decimal, ...] = ()
    matrix: tuple[Mapping[str, Decimal], ...] = ()
    partial_year: PartialYear = "full"
    whole_above_kwh: Decimal | None = None

    @property
    def replaces_energy(self) -> bool:
        """False where its prices are added to those of the energy."""
        return self.method != "adder"

    def cheaper_slabs(self) -> Iterator[int]:
        """The numbers of slabs at which the month gets cheaper than it was at the bound (M8)."""
        cost = Fraction(0)
        below = Fraction(0)
        for number, bound in enumerate(map(Fraction, self.bounds_kwh)):
            price = Fraction(self.prices[number])
            whole_above = Fraction(self.whole_above_kwh or 0)
            is_whole = bound > whole_above
            cost = price * bound if is_whole else cost + price * (bound - below)
            below = bound
            if bound >= whole_above and Fraction(self.prices[number + 1]) * bound < cost:
                yield number + 1


@dataclass(frozen=True, slots=True)
class Surcharge:
    """Of every kWh. `is_included`: it is inside the price already and only reported."""

    code: str
    per_kwh: Decimal
    is_included: bool = False


@dataclass(frozen=True, slots=True)
class Fixed:
    """One of three fees in yuan: by month, by month and slab reached, or by day.

    `by_slab`: by the account's phases, a fee of each slab."""

    monthly_yuan: Decimal | None = None
    by_slab: Mapping[int, tuple[Decimal, ...]] | None = None
    daily_yuan: Decimal | None = None
    proration: Proration = "calendar"


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """In force from `effective_from` 00:00 local until the next one (R34).

    `energy`: yuan per kWh of the registers it prices, which is the total or rates; empty where a
    ladder takes its place. `tax_rate`: what is added; None where prices hold the tax already."""

    version_id: str
    effective_from: date
    energy: Mapping[str, Decimal]
    ladder: Ladder | None = None
    surcharges: tuple[Surcharge, ...] = ()
    fixed: Fixed | None = None
    minimum_yuan: Decimal | None = None
    tax_rate: Decimal | None = None
    included_tax_rate: Decimal | None = None

    @property
    def rates(self) -> tuple[str, ...]:
        """The rate registers that it prices; none where the total is enough."""
        ladder = self.ladder
        if ladder is not None and ladder.replaces_energy:
            return tuple(ladder.matrix[0]) if ladder.matrix else ()
        return tuple(name for name in self.energy if name != TOTAL)


@dataclass(frozen=True, slots=True)
class Versions:
    """All versions of one tariff in order of their start, no two on a day."""

    all: tuple[TariffVersion, ...]

    def number_on(self, day: date) -> int | None:
        """The number of the version in force during the local day; None before the first one."""
        # R34: the reading frozen at 00:00 of its start closes the last day of the version before.
        number = bisect_right(self.all, day, key=lambda version: version.effective_from)
        return number - 1 if number else None

    def on(self, day: date) -> TariffVersion | None:
        """The version in force during the local day; None before the first one."""
        number = self.number_on(day)
        return None if number is None else self.all[number]

    def starts_between(self, first: date, last: date) -> list[date]:
        """The days after the first and before the last on which a version starts."""
        return [it.effective_from for it in self.all if first < it.effective_from < last]
