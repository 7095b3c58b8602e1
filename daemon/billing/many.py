"""F of a month for many accounts of one tariff at once, in integers. Pure.

The rules are those of `pricing`, which is read first. Use, prices and shares of days are integers
over common denominators, so nothing is rounded but to the fen. An account whose numbers could leave
64 bits is worked out in Python's integers by the same lines. A matrix ladder is not for many: its
parts are priced link by link."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.tariff_version import PRICE_DECIMALS, TOTAL, Fixed, Ladder, TariffVersion, Versions
from daemon.billing.pricing import (
    ENERGY,
    FIXED,
    MINIMUM,
    MONTHS,
    TAX,
    TIER,
    Terms,
    days_of,
    lacking_fees,
)
from daemon.billing.use import USE_DECIMALS, Use

Integers = NDArray[Any]
"""Of int64, or of Python's integers where those are too narrow."""
Flags = NDArray[np.bool_]
ROOM: Final = 2.0**61
"""The bound of intermediates is taken in floats, so it stays clear of the end of 64 bits."""
MOST_DENOMINATOR: Final = 2**54
"""200 times a remainder has to fit too."""
NO_VERSION: Final = -1
USE: Final = "use"
LINKED: Final = "linked"
YEAR_BEFORE: Final = "year_before"
UseKey = tuple[str, int, str] | tuple[str, int] | str
"""What is told of use: (USE, version, register), (LINKED, version) the number of links, YEAR_BEFORE
what ladders by year count of the months before."""
THIRTIETHS: Final = 30


@dataclass(frozen=True)
class Month:
    """A rating month of accounts of one tariff: each array has a number for each account.

    Energy in 10^-8 kWh. `use`: by (version, register), the total and the rates that the version
    prices. `linked`: whether a link lies under the version, if only of 0 kWh. `closed`, `served`:
    days of the month in service by version, NO_VERSION where none is in force. `year_before`: use
    of the year before this month under ladders by year, with what others billed; `elsewhere`: what
    others billed of the month. `month_bonus`, `year_bonus`, `partial_bonus`: of the month, of its
    year, of the months that count with `partial_year: months`, of which there are `months`."""

    versions: Versions
    month: date
    use: Mapping[tuple[int, str], Integers]
    linked: Mapping[int, Flags]
    closed: Mapping[int, Integers]
    served: Mapping[int, Integers]
    year_before: Integers
    elsewhere: Integers
    month_bonus: Integers
    year_bonus: Integers
    partial_bonus: Integers
    months: Integers
    phases: Integers

    def of(self, chosen: Flags, kind: type) -> Month:
        """The month of some accounts, in numbers of another kind."""

        def taken(value: Any) -> Any:
            if isinstance(value, Mapping):
                return {key: taken(it) for key, it in value.items()}
            if not isinstance(value, np.ndarray):
                return value
            some = value[chosen]
            return some if some.dtype == bool else some.astype(kind)

        return replace(self, **{it.name: taken(getattr(self, it.name)) for it in fields(self)})


def is_for_many(versions: Versions) -> bool:
    """Whether no version has a ladder that is priced link by link."""
    return not any(it.ladder is not None and it.ladder.method == "matrix" for it in versions.all)


def amounts_fen(month: Month) -> dict[str, Integers]:
    """R(X) of each component that the tariff has, in fen by account."""
    assert is_for_many(month.versions), "a matrix ladder is priced link by link"
    units = _Units.of(month)
    is_narrow = units.are_narrow_for(month)
    if is_narrow.all():
        return _Sheet(month, units).fen()
    result: dict[str, Integers] = {}
    for chosen, kind in ((is_narrow, np.int64), (~is_narrow, object)):
        if not chosen.any():
            continue  # the units themselves may not fit
        for component, fen in _Sheet(month.of(chosen, kind), units).fen().items():
            total = result.setdefault(component, np.zeros(len(chosen), dtype=object))
            total[chosen] = fen
    return result


def slabs_reached(month: Month) -> Integers:
    """[ladders by month, accounts]: the slab at which the month stands."""
    ladders = [
        (number, it.ladder)
        for number, it in enumerate(month.versions.all)
        if it.ladder is not None and it.ladder.cycle == "month"
    ]
    # Python's integers: bounds may be wide, and there are few.
    used = month.elsewhere.astype(object)
    for number, _ in ladders:
        used = used + month.use[number, TOTAL]
    reached = np.zeros((len(ladders), len(used)), dtype=np.int64)
    for place, (_, ladder) in enumerate(ladders):
        told = [int(bound.scaleb(USE_DECIMALS)) for bound in ladder.bounds_kwh]
        reached[place] = _slab_reached([month.month_bonus + bound for bound in told], used)
    return reached


def month_of(
    accounts: Sequence[tuple[Terms, Iterable[Use], Collection[date]]], month: date
) -> Month:
    """The month of accounts of one tariff, from what `pricing.amounts` takes of each."""
    # Most accounts have the same terms: those are worked out once.
    known: dict[Hashable, dict[Any, int]] = {}
    rows = []
    for terms, uses, closed in accounts:
        key = (id(closed), *_terms_of_month(terms, month))
        if key not in known:
            known[key] = _row(terms, closed, month)
        rows.append(_with_uses(known[key], terms, uses, month))
    return _month(accounts[0][0].versions, month, lambda key: _column(rows, key))


def month_of_columns(
    terms: Sequence[Terms],
    which: NDArray[np.int64],
    use: Mapping[UseKey, Integers],
    closed: Collection[date],
    month: date,
) -> Month:
    """The same of accounts whose use lies in columns; what is not in `use` is 0.

    `terms`: those that differ, of one tariff; `which` [accounts]: the place of each one's there."""
    rows = [_row(it, closed, month) for it in terms]

    def column(key: Any) -> Integers:
        told = _column(rows, key)[which]
        return told + use[key] if key in use else told

    return _month(terms[0].versions, month, column)


def _column(rows: Sequence[Mapping[Any, int]], key: Any) -> Integers:
    told = [row.get(key, 0) for row in rows]
    is_wide = any(abs(value) >= ROOM for value in told)
    return np.array(told, dtype=object if is_wide else np.int64)


def _month(versions: Versions, month: date, column: Callable[[Any], Integers]) -> Month:
    numbers = range(len(versions.all))
    return Month(
        versions,
        month,
        use={
            (number, register): column((USE, number, register))
            for number in numbers
            for register in (TOTAL, *versions.all[number].rates)
        },
        linked={number: column((LINKED, number)) > 0 for number in numbers},
        closed={number: column(("closed", number)) for number in (NO_VERSION, *numbers)},
        served={number: column(("served", number)) for number in (NO_VERSION, *numbers)},
        **{name: column(name) for name in _SINGLE},
    )


_SINGLE: Final = (
    YEAR_BEFORE,
    "elsewhere",
    "month_bonus",
    "year_bonus",
    "partial_bonus",
    "months",
    "phases",
)


def _terms_of_month(terms: Terms, month: date) -> tuple[Hashable, ...]:
    """What accounts have in common whose terms tell the same of a month."""
    is_first = terms.opened is not None and terms.opened > month
    opened = terms.opened if is_first or terms.last_day is not None else None
    elsewhere = tuple(sorted(terms.used_elsewhere.items()))
    return terms.phases, opened, terms.last_day, terms.bonuses, elsewhere


def _row(terms: Terms, closed: Collection[date], month: date) -> dict[Any, int]:
    """All of an account but its use."""
    partial = terms.months_that_count(month.year, "months")
    row: dict[Any, int] = {
        "elsewhere": _scaled(terms.elsewhere(f"{month:%Y-%m}")),
        YEAR_BEFORE: _scaled(terms.elsewhere(f"{month:%Y}")),
        "month_bonus": _scaled(terms.bonus_kwh([month])),
        "year_bonus": _scaled(terms.bonus_kwh(terms.months_that_count(month.year, "full"))),
        "partial_bonus": _scaled(terms.bonus_kwh(partial)),
        "months": len(partial),
        "phases": terms.phases,
    }

    for day in terms.days_in_service(month):
        number = terms.versions.number_on(day)
        version = NO_VERSION if number is None else number
        row["served", version] = row.get(("served", version), 0) + 1
        if day in closed:
            row["closed", version] = row.get(("closed", version), 0) + 1
    return row


def _with_uses(
    known: Mapping[Any, int], terms: Terms, uses: Iterable[Use], month: date
) -> dict[Any, int]:
    row = dict(known)

    def add(key: Any, amount: int = 1) -> None:
        row[key] = row.get(key, 0) + amount

    for use in uses:
        ladder = terms.versions.all[use.version].ladder
        is_by_year = ladder is not None and ladder.cycle == "year"
        if use.month == month:
            add((LINKED, use.version))
            for register, amount in use.registers.items():
                add((USE, use.version, register), amount)
        elif date(month.year, 1, 1) <= use.month < month and is_by_year:
            add(YEAR_BEFORE, use.total)
    return row


def _scaled(kwh: Fraction) -> int:
    scaled = kwh * 10**USE_DECIMALS
    assert scaled.denominator == 1, "energy of an account has at most eight decimals"
    return int(scaled)


@dataclass(frozen=True)
class _Units:
    """Denominators: so many make a kWh, a yuan, a fee and one of a rate of tax.

    As small as the numbers allow, so that they leave room."""

    kwh: int
    yuan: int
    fee: int
    tax: int

    @classmethod
    def of(cls, month: Month) -> _Units:
        versions = month.versions.all
        whole = 10**USE_DECIMALS
        energy = math.gcd(whole, *(_common(it) for it in _energies(month)))
        bounds = _bounds_kwh(versions)
        energy = math.gcd(energy, *(int(bound.scaleb(USE_DECIMALS)) for bound in bounds))
        # A bound of a year is shared by twelve months.
        is_shared = bool((month.months != MONTHS).any())
        days = len(days_of(month.month))
        return cls(
            kwh=whole // energy * (MONTHS if is_shared else 1),
            yuan=_unit(price for it in versions for price in _prices(it)),
            fee=math.lcm(*(_share_of_days(it, days) for it in versions)),
            tax=_unit(it.tax_rate for it in versions if it.tax_rate is not None),
        )

    def energy(self, told: Integers) -> Integers:
        """10^-8 kWh in units of a kWh, exactly."""
        whole = 10**USE_DECIMALS
        common = math.gcd(whole, self.kwh)
        return told * (self.kwh // common) // (whole // common)

    def price(self, told: Decimal) -> int:
        return int(told * self.yuan)

    def are_narrow_for(self, month: Month) -> Flags:
        """Whether an account's numbers stay within 64 bits whatever is computed of them."""
        position = np.zeros(len(month.months))
        for it in _energies(month):
            position += np.abs(it.astype(float))
        prices = 0.0
        fees = 0.0
        taxed = 1.0
        for version in month.versions.all:
            prices += sum(map(float, _prices(version))) * self.yuan
            fees += 31 * sum(map(float, _fees(version))) * self.yuan
            taxed += float(version.tax_rate or 0) * self.tax
        kwh = position / 10**USE_DECIMALS * self.kwh * self.fee
        most: NDArray[np.float64] = 8 * (kwh + self.kwh) * (prices + 1) * taxed
        most += 8 * fees * self.kwh * self.fee * taxed
        is_small = self.kwh * self.yuan * self.fee * self.tax < MOST_DENOMINATOR
        # The last bound of a ladder is often a number that nobody reaches.
        bound = max(map(float, _bounds_kwh(month.versions.all)), default=0.0)
        is_small &= MONTHS * bound * self.kwh < ROOM
        # Energy itself may be made a multiple of twelve.
        return np.asarray((np.maximum(most, MONTHS * position) < ROOM) & is_small)


def _energies(month: Month) -> Iterator[Integers]:
    yield from month.use.values()
    yield month.year_before
    yield month.elsewhere
    yield month.month_bonus
    yield month.year_bonus
    yield month.partial_bonus


def _bounds_kwh(versions: Iterable[TariffVersion]) -> list[Decimal]:
    return [bound for it in versions if it.ladder is not None for bound in it.ladder.bounds_kwh]


def _common(told: Integers) -> int:
    return int(np.gcd.reduce(told))


def _unit(numbers: Iterable[Decimal]) -> int:
    whole = 10**PRICE_DECIMALS
    return whole // math.gcd(whole, *(int(it.scaleb(PRICE_DECIMALS)) for it in numbers))


def _prices(version: TariffVersion) -> Iterator[Decimal]:
    """Of a kWh, and what else is in yuan."""
    yield from version.energy.values()
    if version.ladder is not None:
        yield from version.ladder.prices
    yield from (it.per_kwh for it in version.surcharges)
    yield from _fees(version)


def _fees(version: TariffVersion) -> Iterator[Decimal]:
    if version.minimum_yuan is not None:
        yield version.minimum_yuan
    fixed = version.fixed
    if fixed is not None:
        yield from (it for it in (fixed.monthly_yuan, fixed.daily_yuan) if it is not None)
        yield from (fee for row in (fixed.by_slab or {}).values() for fee in row)


def _share_of_days(version: TariffVersion, days: int) -> int:
    """What a share of a month's fee is a multiple of the reciprocal of."""
    fixed = version.fixed
    is_by_month = fixed is not None and fixed.daily_yuan is None
    if fixed is not None and is_by_month and fixed.proration == "thirtieth":
        return math.lcm(days, THIRTIETHS)
    return days if is_by_month or version.minimum_yuan is not None else 1


class _Sheet:
    """The amounts of a month by (version, component).

    Components of use in units of a kWh x yuan, of days in units of yuan x fee."""

    def __init__(self, month: Month, units: _Units) -> None:
        self._month = month
        self._units = units
        self._nothing: Integers = np.zeros_like(month.months)
        self._use = {key: units.energy(it) for key, it in month.use.items()}
        self._elsewhere = units.energy(month.elsewhere)
        self._of_use: dict[tuple[int, str], Integers] = {}
        self._of_days: dict[tuple[int, str], Integers] = {}
        self._month_used = self._elsewhere + sum(
            self._use[number, TOTAL] for number, _ in self._with_ladder("month")
        )

    def fen(self) -> dict[str, Integers]:
        for number, version in enumerate(self._month.versions.all):
            self._charge_registers(number, version)
        self._charge_ladders("year", self._units.energy(self._month.year_before))
        self._charge_ladders("month", self._elsewhere)
        for number, version in enumerate(self._month.versions.all):
            if version.fixed is not None:
                self._of_days[number, FIXED] = self._fixed(number, version, version.fixed)
        of_use = self._units.kwh * self._units.yuan
        of_days = self._units.yuan * self._units.fee
        result = _summed(self._of_use, of_use) | _summed(self._of_days, of_days)
        minimum = self._minimum()
        if minimum is not None:
            result[MINIMUM] = _nearest_fen(minimum, of_use * self._units.fee)
        if any(version.tax_rate is not None for version in self._month.versions.all):
            tax = self._tax(minimum)
            result[TAX] = _nearest_fen(tax, of_use * self._units.fee * self._units.tax)
        return result

    def _with_ladder(self, cycle: str) -> Iterator[tuple[int, Ladder]]:
        for number, version in enumerate(self._month.versions.all):
            if version.ladder is not None and version.ladder.cycle == cycle:
                yield number, version.ladder

    def _charge_registers(self, number: int, version: TariffVersion) -> None:
        ladder = version.ladder
        energy = self._nothing
        if ladder is None or not ladder.replaces_energy:
            for register, price in version.energy.items():
                energy = energy + self._units.price(price) * self._use[number, register]
        self._of_use[number, ENERGY] = energy
        for surcharge in version.surcharges:
            if not surcharge.is_included:
                per_kwh = self._units.price(surcharge.per_kwh)
                self._of_use[number, surcharge.code] = per_kwh * self._use[number, TOTAL]

    def _charge_ladders(self, cycle: str, position: Integers) -> None:
        begun: Flags = np.zeros(len(position), dtype=bool)
        for number, ladder in self._with_ladder(cycle):
            before = position
            position = before + self._use[number, TOTAL]
            is_first = self._month.linked[number] & ~begun
            begun = begun | is_first
            bounds = self._bounds(ladder)
            if ladder.method == "slab":
                cost = self._slab(ladder, bounds, before, position, is_first)
            else:
                cost = self._steps(ladder, bounds, position) - self._steps(ladder, bounds, before)
            self._of_use[number, TIER if ladder.method == "adder" else ENERGY] = cost

    def _bounds(self, ladder: Ladder) -> list[Integers]:
        month = self._month
        told = [int(bound * self._units.kwh) for bound in ladder.bounds_kwh]
        if ladder.cycle == "month":
            return [self._units.energy(month.month_bonus) + bound for bound in told]
        if ladder.partial_year == "full":
            return [self._units.energy(month.year_bonus) + bound for bound in told]
        bonus = self._units.energy(month.partial_bonus)
        # The unit of a kWh is a multiple of twelve where an account has fewer months.
        return [bonus + bound * month.months // MONTHS for bound in told]

    def _steps(self, ladder: Ladder, bounds: Sequence[Integers], used: Integers) -> Integers:
        """F: what so much use costs from 0 on, by steps."""
        cost = self._nothing
        below = self._nothing
        for bound, price in zip([*bounds, None], ladder.prices, strict=True):
            upto = used if bound is None else np.minimum(used, bound)
            cost = cost + self._units.price(price) * np.maximum(upto - below, 0)
            below = below if bound is None else bound
        return cost

    def _slab(
        self,
        ladder: Ladder,
        bounds: Sequence[Integers],
        before: Integers,
        after: Integers,
        is_first: Flags,
    ) -> Integers:
        whole_above = self._nothing
        if ladder.whole_above_kwh:
            whole_above = bounds[ladder.bounds_kwh.index(ladder.whole_above_kwh)]
        is_whole = self._month_used > whole_above
        prices = np.array([self._units.price(it) for it in ladder.prices])
        price = prices[_slab_reached(bounds, self._month_used)]
        stepped = self._steps(ladder, bounds, before)
        # What others billed of the month was priced as it stood then.
        was_whole = before > whole_above
        billed = prices[_slab_reached(bounds, before)] * before
        billed = np.where(was_whole, billed, stepped)
        begin = np.where(is_whole, price * before, stepped)
        end = np.where(is_whole, price * after, self._steps(ladder, bounds, after))
        return np.asarray(end - np.where(is_first, billed, begin))

    def _fixed(self, number: int, version: TariffVersion, fixed: Fixed) -> Integers:
        closed = self._month.closed[number]
        if fixed.daily_yuan is not None:
            return self._units.price(fixed.daily_yuan) * self._units.fee * closed
        days = len(days_of(self._month.month))
        share = closed * (self._units.fee // days)
        if fixed.proration == "thirtieth":
            served = sum(self._month.served.values())
            share = np.where(served < days, closed * (self._units.fee // THIRTIETHS), share)
        if fixed.monthly_yuan is not None:
            return np.asarray(self._units.price(fixed.monthly_yuan) * share)
        assert version.ladder is not None, "checked at entry"
        reached = _slab_reached(self._bounds(version.ladder), self._month_used)
        fee = self._nothing
        by_slab = fixed.by_slab or {}
        lacking = self._month.phases[(closed > 0) & ~np.isin(self._month.phases, [*by_slab])]
        if len(lacking):
            raise lacking_fees(version, int(lacking[0]))
        for phases, fees in by_slab.items():
            of_phases = np.array([self._units.price(it) for it in fees])
            fee = np.where(self._month.phases == phases, of_phases[reached], fee)
        return np.asarray(fee * share)

    def _minimum(self) -> Integers | None:
        """In units of a kWh x yuan x fee; None where the tariff has none."""
        least = self._nothing
        has_any: Flags = np.zeros(len(least), dtype=bool)
        days = len(days_of(self._month.month))
        for number, version in enumerate(self._month.versions.all):
            if version.minimum_yuan is not None:
                served = self._month.served[number]
                least = least + self._units.price(version.minimum_yuan) * served
                has_any = has_any | (served > 0)
        if all(version.minimum_yuan is None for version in self._month.versions.all):
            return None
        least = least * (self._units.fee // days) * self._units.kwh
        for (_, component), yuan in self._of_use.items():
            if component in (ENERGY, TIER):
                least = least - yuan * self._units.fee
        for yuan in self._of_days.values():
            least = least - yuan * self._units.kwh
        closed = sum(self._month.closed.values())
        is_settled = has_any & (closed == sum(self._month.served.values()))
        return np.where(is_settled, np.maximum(least, 0), self._nothing)

    def _last_version(self) -> Integers:
        last = np.full(len(self._nothing), NO_VERSION)
        for number in range(len(self._month.versions.all)):
            last = np.where(self._month.served[number] > 0, number, last)
        return last

    def _tax(self, minimum: Integers | None) -> Integers:
        tax = self._nothing
        last = self._last_version()
        for number, version in enumerate(self._month.versions.all):
            if version.tax_rate is None:
                continue
            base = self._nothing
            for (of, _), yuan in self._of_use.items():
                base = base + yuan * self._units.fee if of == number else base
            for (of, _), yuan in self._of_days.items():
                base = base + yuan * self._units.kwh if of == number else base
            if minimum is not None:
                base = base + np.where(last == number, minimum, self._nothing)
            tax = tax + int(version.tax_rate * self._units.tax) * base
        return tax


def _slab_reached(bounds: Sequence[Integers], used: Integers) -> NDArray[np.int64]:
    reached = np.zeros(len(used), dtype=np.int64)
    for bound in bounds:
        reached += used > bound
    return reached


def _summed(amounts: Mapping[tuple[int, str], Integers], unit: int) -> dict[str, Integers]:
    total: dict[str, Integers] = {}
    for (_, component), yuan in amounts.items():
        total[component] = total[component] + yuan if component in total else yuan
    return {component: _nearest_fen(yuan, unit) for component, yuan in total.items()}


def _nearest_fen(yuan: Integers, unit: int) -> Integers:
    """R of amounts in units of so many a yuan."""
    magnitude = np.abs(yuan)
    whole = magnitude // unit
    # The remainder alone is multiplied, so that the numbers do not grow.
    fen = 100 * whole + (200 * (magnitude % unit) + unit) // (2 * unit)
    return np.asarray(np.where(yuan < 0, -fen, fen))
