"""What a charge takes for the days of a month before those that it is made for. Pure.

A slab that is reached makes the kWh and the fee of the days before it dearer, and what is missing
to a minimum is of the whole month, though it comes with the last day. That is money for old days:
SPAN_GRACE counts it (money.md 15a)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import Final, Literal, NamedTuple

from config.tariff_version import TariffVersion
from daemon.billing.posting import Stream
from daemon.billing.pricing import (
    FIXED,
    MINIMUM,
    NOTHING,
    PricedUse,
    Terms,
    amounts,
    cycle_of,
    days_of,
    priced_uses,
    rounded_fen,
    slab_reached,
    used_of_cycles,
)
from daemon.billing.use import Use

Reason = Literal["slab reached", "minimum", "bonus ended"]


class EarlierDays(NamedTuple):
    """Fen that are charged for earlier days, and why."""

    fen: int
    reasons: tuple[Reason, ...]


NO_EARLIER_DAYS: Final = EarlierDays(0, ())


def may_reprice(version: TariffVersion) -> bool:
    """Whether a day can change what days of its month before it cost."""
    fixed, ladder = version.fixed, version.ladder
    has_slabs = ladder is not None and ladder.method == "slab"
    has_fees_by_slab = fixed is not None and fixed.by_slab is not None
    return has_slabs or has_fees_by_slab or version.minimum_yuan is not None


def of_earlier_days(
    terms: Terms,
    month: date,
    before: Sequence[Use],
    came: Sequence[Use],
    moved_fen: Mapping[Stream, int],
    closed: Collection[date],
) -> EarlierDays:
    """Of the days of a month before those whose use `came`, that use being charged now.

    `before`: the month's use without it. `moved_fen`: what is charged. `closed`: the earlier days
    of the month that are closed."""
    reasons: list[Reason] = []
    risen = NOTHING
    if _is_slab_reached(terms, before, came):
        risen += _risen_use(terms, before, came) + _risen_fee(terms, month, before, came, closed)
    if risen > 0:
        reasons.append("slab reached")
    missing_fen = moved_fen.get(Stream(month, MINIMUM), 0)
    if missing_fen > 0:
        reasons.append("minimum")
        risen += Fraction(missing_fen, 100)
    if risen <= 0:
        return NO_EARLIER_DAYS
    return EarlierDays(rounded_fen(risen * (1 + _tax_rate(terms, month))), tuple(reasons))


def _is_slab_reached(terms: Terms, before: Sequence[Use], came: Sequence[Use]) -> bool:
    """Whether the month stands at a higher slab with the use that came."""
    was, becomes = used_of_cycles(terms, before), used_of_cycles(terms, [*before, *came])
    for use in came:
        ladder = terms.versions.all[use.version].ladder
        if ladder is None or ladder.cycle != "month":
            continue
        cycle = cycle_of(ladder, use.month)
        bounds = terms.bounds(ladder, use.month)
        if slab_reached(bounds, becomes[cycle]) > slab_reached(bounds, was.get(cycle, NOTHING)):
            return True
    return False


def _risen_use(terms: Terms, before: Sequence[Use], came: Sequence[Use]) -> Fraction:
    """What the use before costs more since the month stands at another slab."""
    earlier = {id(use) for use in before}
    now = (it for it in priced_uses(terms, [*before, *came]) if id(it.use) in earlier)
    return _at_slabs(terms, now) - _at_slabs(terms, priced_uses(terms, before))


def _at_slabs(terms: Terms, priced: Iterable[PricedUse]) -> Fraction:
    """Yuan of the use that a slab prices."""
    yuan = NOTHING
    for it in priced:
        ladder = terms.versions.all[it.use.version].ladder
        if ladder is not None and ladder.method == "slab":
            yuan += sum((line.yuan for line in it.lines), NOTHING)
    return yuan


def _risen_fee(
    terms: Terms, month: date, before: Sequence[Use], came: Sequence[Use], closed: Collection[date]
) -> Fraction:
    """What the earlier days cost more by themselves."""
    fee = Stream(month, FIXED)
    now = amounts(terms, [*before, *came], closed).charged
    return now.get(fee, NOTHING) - amounts(terms, before, closed).charged.get(fee, NOTHING)


def _tax_rate(terms: Terms, month: date) -> Fraction:
    """That of the last version of the month, which a minimum has too."""
    version = terms.versions.on(days_of(month)[-1])
    return NOTHING if version is None or version.tax_rate is None else Fraction(version.tax_rate)
