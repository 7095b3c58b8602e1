"""What late payment costs, day by day, and what a payment of it takes. Pure.

Money, penalties: simple, no compounding; from the day behind the due date, the paying day counts.
One stream for each item of arrears, so its total is R of the exact sum on every day (R61, R62)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Literal

from daemon.billing.rounding import nearest_fen

Allocation = Literal["penalty_first", "principal_first"]
DeferralMode = Literal["defer_collection", "freeze_accrual", "waive"]


@dataclass(frozen=True, slots=True)
class Rates:
    """Shares of the principal a day."""

    residential: Fraction = Fraction(1, 1000)
    other_same_year: Fraction = Fraction(2, 1000)
    other_cross_year: Fraction = Fraction(3, 1000)


@dataclass(frozen=True, slots=True)
class PenaltyTerms:
    """What the contract says of penalties.

    `min_fen` is charged as soon as anything accrued; `cap_ratio` of the principal is the most."""

    rates: Rates = Rates()
    allocation: Allocation = "penalty_first"
    min_fen: int = 0
    cap_ratio: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Arrears:
    """An item that was to be paid by `due_on`, the last day without a penalty."""

    principal_fen: int
    due_on: date
    is_residential: bool
    year: int
    """The year that the item belongs to: others than residents pay more from the next one on."""


@dataclass(frozen=True, slots=True)
class Payment:
    """Money for this item of arrears."""

    on: date
    amount_fen: int


@dataclass(frozen=True, slots=True)
class Deferral:
    """R62: what an approver granted for these days, both included.

    `defer_collection`: accrues, and is neither demanded nor taken; `freeze_accrual`: these days
    cost nothing; `waive`: what these days cost is given back. `amount_fen` is the most that a
    collection deferred or a waiver covers, None: all of it."""

    from_day: date
    to_day: date
    mode: DeferralMode
    amount_fen: int | None = None

    def covers(self, day: date) -> bool:
        """Whether the deferral is open on that day."""
        return self.from_day <= day <= self.to_day


@dataclass(frozen=True, slots=True)
class Taken:
    """The state behind one payment; `to_balance_fen` is what it left over."""

    on: date
    principal_left_fen: int
    penalty_paid_fen: int
    to_balance_fen: int


@dataclass(frozen=True, slots=True)
class Penalty:
    """The penalty of an item as of one day.

    `deferred_fen` is owed but not demanded: it counts for no trip. `starts_on`: the first day that
    cost something (R61)."""

    total_fen: int
    paid_fen: int
    deferred_fen: int
    principal_left_fen: int
    starts_on: date | None
    taken: tuple[Taken, ...]

    @property
    def collectible_fen(self) -> int:
        """What may be demanded now."""
        return self.total_fen - self.paid_fen - self.deferred_fen


def penalty(
    arrears: Arrears,
    terms: PenaltyTerms,
    as_of: date,
    payments: Sequence[Payment] = (),
    deferrals: Sequence[Deferral] = (),
) -> Penalty:
    """The penalty of an item at the end of a day, with the payments up to it taken in order."""
    course = _Course(arrears, terms, deferrals)
    taken = []
    # Of one day in the order given: a sort keeps it.
    for payment in sorted(payments, key=lambda made: made.on):
        if payment.on <= as_of:
            course.accrue_through(payment.on)
            taken.append(course.take(payment))
    course.accrue_through(as_of)
    return Penalty(
        total_fen=course.total_fen(),
        paid_fen=course.paid_fen,
        deferred_fen=course.deferred_fen(as_of),
        principal_left_fen=course.principal_left_fen,
        starts_on=course.starts_on,
        taken=tuple(taken),
    )


@dataclass(slots=True)
class _Course:
    arrears: Arrears
    terms: PenaltyTerms
    deferrals: Sequence[Deferral]
    principal_left_fen: int = field(init=False)
    through: date = field(init=False)
    accrued: Fraction = Fraction(0)
    """Exact fen."""
    paid_fen: int = 0
    starts_on: date | None = None
    waived: list[Fraction] = field(init=False)
    """By deferral: two that are alike were granted twice."""

    def __post_init__(self) -> None:
        self.principal_left_fen = self.arrears.principal_fen
        self.through = self.arrears.due_on
        self.waived = [Fraction(0)] * len(self.deferrals)

    def accrue_through(self, last: date) -> None:
        while self.through < last:
            self.through += timedelta(days=1)
            cost = self._cost_of(self.through)
            if cost > 0:
                self.accrued += cost
                self.starts_on = self.starts_on or self.through

    def total_fen(self) -> int:
        if self.accrued == 0:
            return 0
        most_fen = nearest_fen(self.terms.cap_ratio * self.arrears.principal_fen)
        return min(max(nearest_fen(self.accrued), self.terms.min_fen), most_fen)

    def deferred_fen(self, day: date) -> int:
        owed_fen = self.total_fen() - self.paid_fen
        amounts = [
            owed_fen if deferral.amount_fen is None else deferral.amount_fen
            for deferral in self.deferrals
            if deferral.mode == "defer_collection" and deferral.covers(day)
        ]
        return min(owed_fen, sum(amounts))

    def take(self, payment: Payment) -> Taken:
        left_fen = payment.amount_fen
        if self.terms.allocation == "penalty_first":
            left_fen = self._take_principal(self._take_penalty(left_fen, payment.on))
        else:
            left_fen = self._take_penalty(self._take_principal(left_fen), payment.on)
        return Taken(payment.on, self.principal_left_fen, self.paid_fen, left_fen)

    def _take_penalty(self, fen: int, day: date) -> int:
        collectible_fen = self.total_fen() - self.paid_fen - self.deferred_fen(day)
        part_fen = min(fen, collectible_fen)
        self.paid_fen += part_fen
        return fen - part_fen

    def _take_principal(self, fen: int) -> int:
        part_fen = min(fen, self.principal_left_fen)
        self.principal_left_fen -= part_fen
        return fen - part_fen

    def _cost_of(self, day: date) -> Fraction:
        granted = [(n, it) for n, it in enumerate(self.deferrals) if it.covers(day)]
        if any(deferral.mode == "freeze_accrual" for _, deferral in granted):
            return Fraction(0)
        cost = self.principal_left_fen * self._rate_on(day)
        for number, deferral in granted:
            if deferral.mode == "waive":
                most_fen = deferral.amount_fen
                part = cost if most_fen is None else min(cost, most_fen - self.waived[number])
                self.waived[number] += part
                cost -= part
        return cost

    def _rate_on(self, day: date) -> Fraction:
        rates = self.terms.rates
        if self.arrears.is_residential:
            return rates.residential
        return rates.other_cross_year if day.year > self.arrears.year else rates.other_same_year
