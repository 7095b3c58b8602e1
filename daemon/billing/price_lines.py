"""What each kWh of an account cost: by version, step of its ladder and register. Pure.

It tells what `pricing.amounts` reckons of use, line by line; the lines of a component add up to
what is charged of it. Fees, surcharges, minimum and tax have no steps: their amounts say all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from config.tariff_version import TOTAL, Ladder
from daemon.billing.pricing import (
    ENERGY,
    NOTHING,
    ONE_KWH,
    TIER,
    Terms,
    cycle_of,
    overlaps,
    slab_reached,
    used_of_cycles,
)
from daemon.billing.use import Use


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
