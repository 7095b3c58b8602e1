"""F: what an account's use, closed days and entries cost, exactly. Pure.

`amounts` is X of money.md section 7 for every (month, component); what is posted is R(X) less what
was posted before (`postings`; of a closed month as an `adjustment`). It looks at no order of
arrival and keeps nothing, so late data, corrections, bonuses and closes are one more call with
other arguments.

How settlement (T2) calls it: it keeps of each account, for each rating period and version, `Use`
as integers (`use.gathered`; of a matrix ladder the part of each link) with the number of its links,
the closed days, and what was posted by stream. After a batch it adds the uses of links that came
and takes away those of links that went (`use.uses_of`), and prices the touched months of all
accounts of a tariff at once with `many.amounts_fen`; where that cannot (a matrix) with `amounts`. A
change of use in a ladder by year touches every later month of that year; a close or a bonus
touches its whole cycle. The result is written as the legs of `postings`.

`priced_uses` tells of each use what each kWh of it cost, line by line; fees, surcharges, minimum
and tax have no steps: their amounts say all."""

from __future__ import annotations

import calendar
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from config.tariff_version import (
    TOTAL,
    Fixed,
    Ladder,
    PartialYear,
    TariffVersion,
    Versions,
)
from daemon.billing.posting import Stream
from daemon.billing.rounding import nearest_fen
from daemon.billing.use import USE_DECIMALS, NoPrice, Use

ENERGY: Final = "energy"
TIER: Final = "tier"
FIXED: Final = "fixed"
MINIMUM: Final = "minimum"
TAX: Final = "tax"
NOTHING: Final = Fraction(0)
ONE_KWH: Final = 10**USE_DECIMALS
MONTHS: Final = 12


class Bonus(NamedTuple):
    """So many kWh are added to every bound, by month, until the next entry (section 5).

    It counts from the first month whose first day is not before `start` (15a)."""

    start: date
    kwh_per_month: Decimal


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of an account besides its use.

    `opened`, `last_day`: its first and last day in service, None where there is none yet.
    `used_elsewhere`: kWh by cycle, `2026` or `2026-07`, that others billed before.
    `is_by_month`: what is charged is posted when its month is over (R30)."""

    versions: Versions
    phases: int = 1
    opened: date | None = None
    last_day: date | None = None
    bonuses: tuple[Bonus, ...] = ()
    used_elsewhere: Mapping[str, Decimal] = field(default_factory=dict)
    is_by_month: bool = False

    def serves(self, day: date) -> bool:
        """Whether the account is in service on that day."""
        is_open = self.opened is None or self.opened <= day
        return is_open and (self.last_day is None or day <= self.last_day)

    def days_in_service(self, month: date) -> list[date]:
        """Those of a month."""
        return [day for day in days_of(month) if self.serves(day)]

    def bounds(self, ladder: Ladder, month: date) -> list[Fraction]:
        """The bounds of the cycle that holds the month, moved by bonuses and scaled by a close."""
        if ladder.cycle == "month":
            share = Fraction(1)
            bonus = self.bonus_kwh([month])
        else:
            months = self.months_that_count(month.year, ladder.partial_year)
            share = Fraction(len(months), MONTHS)
            bonus = self.bonus_kwh(months)
        return [Fraction(bound) * share + bonus for bound in ladder.bounds_kwh]

    def months_that_count(self, year: int, partial_year: PartialYear) -> list[date]:
        """Those that bounds and bonuses of a year are made of.

        All, but for the year of a close with `months`; a started month counts as one (section
        5)."""
        months = [date(year, number, 1) for number in range(1, MONTHS + 1)]
        is_closed = self.last_day is not None and self.last_day.year == year
        if is_closed and partial_year == "months":
            return [it for it in months if self.days_in_service(it)]
        return months

    def bonus_kwh(self, months: Iterable[date]) -> Fraction:
        """The sum of the bonuses of months; each is the one in force on its first day."""
        bonus = NOTHING
        for month in months:
            entries = [it for it in self.bonuses if it.start <= month]
            if entries:
                bonus += Fraction(max(entries, key=lambda it: it.start).kwh_per_month)
        return bonus

    def whole_above(self, ladder: Ladder, month: date) -> Fraction:
        """The bound above which a slab re-prices the month; it moves with the others."""
        assert ladder.whole_above_kwh is not None, "only a slab has it"
        if ladder.whole_above_kwh == 0:
            return NOTHING
        number = ladder.bounds_kwh.index(ladder.whole_above_kwh)
        return self.bounds(ladder, month)[number]

    def elsewhere(self, cycle: str) -> Fraction:
        """What others billed of a cycle."""
        return Fraction(self.used_elsewhere.get(cycle, 0))


@dataclass(frozen=True, slots=True)
class Amounts:
    """Exact yuan by stream; `included` what prices hold of a surcharge, by its code."""

    charged: Mapping[Stream, Fraction]
    included: Mapping[Stream, Fraction]
    ladder_used: Mapping[str, Fraction]
    """kWh by cycle, with what others billed."""


class Line(NamedTuple):
    """What one version adds to a stream."""

    month: date
    version: int
    component: str


class PriceLine(NamedTuple):
    """So many kWh of a register at one price.

    `version`: its number in the tariff. `step`: of its ladder from 0 on, None: there is none.
    `is_whole`: a slab was reached that prices the whole month."""

    month: date
    version: int
    component: str
    register: str
    step: int | None
    is_whole: bool
    price: Decimal
    kwh: Fraction

    @property
    def yuan(self) -> Fraction:
        """Exactly."""
        return self.kwh * Fraction(self.price)


@dataclass(frozen=True, slots=True)
class PricedUse:
    """A use, and where the cycle of its ladder stood before and after it, in kWh.

    `bounds`: of the ladder, with bonuses; empty where there is no ladder."""

    use: Use
    before: Fraction
    after: Fraction
    bounds: Sequence[Fraction]
    lines: Sequence[PriceLine]


def rounded_fen(yuan: Fraction) -> int:
    """R(x): yuan to fen, nearest, ties away from zero."""
    return nearest_fen(100 * yuan)


def days_of(month: date) -> list[date]:
    """All days of the month that begins on this day."""
    count = calendar.monthrange(month.year, month.month)[1]
    return [month + timedelta(days=number) for number in range(count)]


def cycle_of(ladder: Ladder, month: date) -> str:
    """`2026` or `2026-07`."""
    return f"{month:%Y}" if ladder.cycle == "year" else f"{month:%Y-%m}"


def amounts(terms: Terms, uses: Iterable[Use], closed: Collection[date]) -> Amounts:
    """What the account owes, by (month, component).

    `uses` need not be gathered; of those that begin at once a matrix ladder takes the first one
    first. `closed`: the days whose end is known to have come (`day_close`);
    days out of service among them do not count."""
    in_order = sorted(uses, key=lambda use: (use.month, use.version, use.start))
    ladder_used = used_of_cycles(terms, in_order)
    lines: defaultdict[Line, Fraction] = defaultdict(Fraction)
    included: defaultdict[Stream, Fraction] = defaultdict(Fraction)
    for priced in priced_uses(terms, in_order):
        for it in priced.lines:
            lines[Line(it.month, it.version, it.component)] += it.yuan
    for use in in_order:
        for surcharge in terms.versions.all[use.version].surcharges:
            yuan = Fraction(surcharge.per_kwh) * Fraction(use.total, ONE_KWH)
            if surcharge.is_included:
                included[Stream(use.month, surcharge.code)] += yuan
            else:
                lines[Line(use.month, use.version, surcharge.code)] += yuan
    served = {day for day in closed if terms.serves(day)}
    for month in sorted({day.replace(day=1) for day in served}):
        _charge_days(terms, month, served, ladder_used, lines)
    _charge_tax(terms, lines)
    charged: defaultdict[Stream, Fraction] = defaultdict(Fraction)
    for line, yuan in lines.items():
        charged[Stream(line.month, line.component)] += yuan
    return Amounts(charged, included, ladder_used)


def postings(
    charged: Mapping[Stream, Fraction], posted_fen: Mapping[Stream, int]
) -> dict[Stream, int]:
    """What each stream posts, in fen, never a zero: R(X) less what was posted.

    Against what was posted, not against R of the amount before: a stream whose sum was wrong is
    mended by its next event (section 7.6)."""
    moved = {}
    for stream in {**charged, **posted_fen}:
        fen = rounded_fen(charged.get(stream, NOTHING)) - posted_fen.get(stream, 0)
        if fen:
            moved[stream] = fen
    return moved


def used_of_cycles(terms: Terms, uses: Sequence[Use]) -> dict[str, Fraction]:
    """U of every cycle: the use of the account under versions with a ladder of that cycle."""
    used = {cycle: terms.elsewhere(cycle) for cycle in terms.used_elsewhere}
    for use in uses:
        ladder = terms.versions.all[use.version].ladder
        if ladder is not None:
            cycle = cycle_of(ladder, use.month)
            used[cycle] = used.get(cycle, NOTHING) + Fraction(use.total, ONE_KWH)
    return used


def priced_uses(terms: Terms, uses: Iterable[Use]) -> list[PricedUse]:
    """Each use by itself, in order of time."""
    in_order = sorted(uses, key=lambda use: (use.month, use.version, use.start))
    standing = used_of_cycles(terms, in_order)
    position: dict[str, Fraction] = {}
    priced = []
    for use in in_order:
        version = terms.versions.all[use.version]
        lines = _energy(use, version.energy)
        ladder = version.ladder
        if ladder is None:
            priced.append(PricedUse(use, NOTHING, NOTHING, (), list(lines)))
            continue
        cycle = cycle_of(ladder, use.month)
        is_first = cycle not in position
        before = position.get(cycle, terms.elsewhere(cycle))
        after = before + Fraction(use.total, ONE_KWH)
        position[cycle] = after
        way = _Way(use, ladder, terms.bounds(ladder, use.month), before, after)
        if ladder.method == "slab":
            whole_above = terms.whole_above(ladder, use.month)
            lines = way.slab(whole_above, standing[cycle], is_first=is_first)
        elif ladder.method == "matrix":
            lines = way.matrix()
        elif ladder.method == "adder":
            lines = iter([*lines, *way.steps(TIER, before, after)])
        else:
            lines = way.steps(ENERGY, before, after)
        priced.append(PricedUse(use, before, after, way.bounds, list(lines)))
    return priced


def summed(lines: Iterable[PriceLine]) -> list[PriceLine]:
    """One line for all kWh of a price, in order; none for no kWh."""
    kwh: defaultdict[PriceLine, Fraction] = defaultdict(Fraction)
    for line in lines:
        kwh[line._replace(kwh=NOTHING)] += line.kwh
    found = [line._replace(kwh=it) for line, it in kwh.items() if it]
    return sorted(found, key=lambda it: (it.month, it.version, it.component, it.step or 0))


def _energy(use: Use, prices: Mapping[str, Decimal]) -> Iterator[PriceLine]:
    for register, price in prices.items():
        kwh = Fraction(use.registers[register], ONE_KWH)
        yield PriceLine(use.month, use.version, ENERGY, register, None, False, price, kwh)


class _Way(NamedTuple):
    """From one position of a cycle to another."""

    use: Use
    ladder: Ladder
    bounds: Sequence[Fraction]
    before: Fraction
    after: Fraction

    def steps(self, component: str, first: Fraction, last: Fraction) -> Iterator[PriceLine]:
        for step, kwh in enumerate(overlaps(self.bounds, first, last)):
            yield self._line(component, step, kwh)

    def slab(
        self, whole_above: Fraction, standing: Fraction, *, is_first: bool
    ) -> Iterator[PriceLine]:
        """At the slab where the month stands; its first use tells what that makes of use that
        others billed."""
        yield from self._at_slab(self.before, self.after, whole_above, standing)
        if is_first:
            yield from self._at_slab(NOTHING, self.before, whole_above, standing)
            for line in self._at_slab(NOTHING, self.before, whole_above, self.before):
                yield line._replace(kwh=-line.kwh)

    def matrix(self) -> Iterator[PriceLine]:
        """Each rate is split over the steps as the total is (section 5)."""
        way = self.after - self.before
        shares = (
            [kwh / way for kwh in overlaps(self.bounds, self.before, self.after)] if way else []
        )
        if not way:
            shares = [NOTHING] * (len(self.bounds) + 1)
            shares[slab_reached(self.bounds, self.before)] = Fraction(1)
        for step, share in enumerate(shares):
            for register, price in self.ladder.matrix[step].items():
                kwh = share * Fraction(self.use.registers[register], ONE_KWH)
                line = self._line(ENERGY, step, kwh, price)
                yield line._replace(register=register)

    def _at_slab(
        self, first: Fraction, last: Fraction, whole_above: Fraction, standing: Fraction
    ) -> Iterator[PriceLine]:
        if standing <= whole_above:
            yield from self.steps(ENERGY, first, last)
            return
        step = slab_reached(self.bounds, standing)
        yield self._line(ENERGY, step, last - first)._replace(is_whole=True)

    def _line(
        self, component: str, step: int, kwh: Fraction, price: Decimal | None = None
    ) -> PriceLine:
        costs = self.ladder.prices[step] if price is None else price
        return PriceLine(
            self.use.month, self.use.version, component, TOTAL, step, False, costs, kwh
        )


def overlaps(bounds: Sequence[Fraction], first: Fraction, last: Fraction) -> Iterator[Fraction]:
    """How much of the way lies in each step; a bound hit exactly is the lower one's."""
    below = NOTHING
    for bound in bounds:
        yield max(NOTHING, min(last, bound) - max(first, below))
        below = bound
    yield max(NOTHING, last - max(first, below))


def slab_reached(bounds: Sequence[Fraction], used: Fraction) -> int:
    """The number of the first slab that holds the use."""
    return sum(used > bound for bound in bounds)


def _charge_days(
    terms: Terms,
    month: date,
    served: Collection[date],
    ladder_used: Mapping[str, Fraction],
    lines: defaultdict[Line, Fraction],
) -> None:
    """Components fixed and minimum of a month, by its closed days in service."""
    in_service = terms.days_in_service(month)
    by_version: defaultdict[int, int] = defaultdict(int)
    for day in in_service:
        version = terms.versions.number_on(day)
        if version is not None and day in served:
            by_version[version] += 1
    days = len(days_of(month))
    is_broken = len(in_service) < days
    for number, closed in by_version.items():
        fixed = terms.versions.all[number].fixed
        if fixed is not None:
            yuan = _fee(terms, number, month, ladder_used)
            lines[Line(month, number, FIXED)] += yuan * _days_share(fixed, closed, days, is_broken)
    if all(day in served for day in in_service):
        _charge_minimum(terms, month, in_service, lines)


def _days_share(fixed: Fixed, closed: int, days: int, is_broken: bool) -> Fraction:
    """How many of its fees the closed days are worth."""
    if fixed.daily_yuan is not None:
        return Fraction(closed)
    is_thirtieth = fixed.proration == "thirtieth" and is_broken
    return Fraction(closed, 30 if is_thirtieth else days)


def _fee(terms: Terms, number: int, month: date, ladder_used: Mapping[str, Fraction]) -> Fraction:
    version = terms.versions.all[number]
    fixed = version.fixed
    assert fixed is not None
    for fee in (fixed.daily_yuan, fixed.monthly_yuan):
        if fee is not None:
            return Fraction(fee)
    assert fixed.by_slab is not None, "one of three"
    assert version.ladder is not None, "checked at entry"
    cycle = cycle_of(version.ladder, month)
    used = ladder_used.get(cycle, NOTHING)
    slab = slab_reached(terms.bounds(version.ladder, month), used)
    if terms.phases not in fixed.by_slab:
        raise lacking_fees(version, terms.phases)
    return Fraction(fixed.by_slab[terms.phases][slab])


def lacking_fees(version: TariffVersion, phases: int) -> NoPrice:
    """What is wrong where a version has no fee of an account with so many phases."""
    return NoPrice(f"{version.version_id} has no fees of {phases} phases")


def _charge_minimum(
    terms: Terms,
    month: date,
    in_service: Sequence[date],
    lines: defaultdict[Line, Fraction],
) -> None:
    """The month is settled: what is missing to the minimum, at the version of the last day."""
    versions = [terms.versions.on(day) for day in in_service]
    fees = [it.minimum_yuan for it in versions if it is not None and it.minimum_yuan is not None]
    last = terms.versions.number_on(in_service[-1])
    if not fees or last is None:
        return
    least = sum(map(Fraction, fees), NOTHING) / len(days_of(month))
    counted = {ENERGY, TIER, FIXED}
    known = [
        yuan for line, yuan in lines.items() if line.month == month and line.component in counted
    ]
    lines[Line(month, last, MINIMUM)] += max(NOTHING, least - sum(known, NOTHING))


def _charge_tax(terms: Terms, lines: defaultdict[Line, Fraction]) -> None:
    """Every exact component at the rate of its version."""
    for line, yuan in list(lines.items()):
        rate = terms.versions.all[line.version].tax_rate
        if rate is not None:
            lines[line._replace(component=TAX)] += Fraction(rate) * yuan
