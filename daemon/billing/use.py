"""Use: what registers advanced, as exact integers by month, tariff version and register. Pure.

It is all that is kept of readings to price them. Steps of a ladder are derived from it and never
stored, because late data and bonuses move them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from numpy.typing import NDArray

from config.tariff_version import TOTAL, TariffVersion, Versions
from protocols.errors import MeterdError

USE_DECIMALS: Final = 8
"""Of a kWh: four of a register and four of a ratio; 63 bits then hold 92 TWh."""
WHOLE: Final = Fraction(1)
MICROSECOND: Final = timedelta(microseconds=1)
Steps = TypeVar("Steps", int, NDArray[Any])


class NoPrice(MeterdError):
    """Use that no version of the tariff prices. Whoever keeps the tariffs acts."""


@dataclass(frozen=True, slots=True)
class Span:
    """What the registers of one meter advanced between two instants, under one ratio.

    `steps`: the total and the rates, in the smallest step of the register, which has `decimals`.
    `residual_rate`: what is billed as the total without the other rates that a version prices."""

    start: datetime
    end: datetime
    steps: Mapping[str, int]
    decimals: int = 2
    ratio: Decimal = Decimal(1)
    residual_rate: str | None = None


class Use(NamedTuple):
    """Use of an account in a month under a version, in 10^-8 kWh by register.

    `version`: its number in the tariff. `registers`: the total and the rates that it prices."""

    month: date
    version: int
    registers: Mapping[str, int]
    start: datetime
    is_estimated: bool = False

    @property
    def total(self) -> int:
        """Of all rates; what ladders and surcharges count."""
        return self.registers[TOTAL]


class Part(NamedTuple):
    """A part of a span within a month and under a version.

    `begins`, `ends`: how much of the span's time has gone by there."""

    month: date
    version: int
    start: datetime
    begins: Fraction
    ends: Fraction


def parts_of(start: datetime, end: datetime, versions: Versions, zone: ZoneInfo) -> list[Part]:
    """A span cut where a month or a version starts (section 8.3), in order of time.

    NoPrice: no version on its first day."""
    first = start.astimezone(zone).date()
    # Between times of one zone Python reckons as if its clocks never changed.
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    cuts = _cuts(start, end, versions, zone)
    edges = [start, *(_midnight(cut, zone) for cut in cuts), end]
    whole = (end - start) // MICROSECOND
    # A span without time has no cuts either: all of it is used at once.
    inside = [Fraction((edge - start) // MICROSECOND, whole) for edge in edges[1:-1]]
    shares = [Fraction(0), *inside, WHOLE]
    parts = []
    for number, day in enumerate([first, *cuts]):
        version = versions.number_on(day)
        if version is None:
            raise NoPrice(f"no version of the tariff is in force on {day}")
        month = day.replace(day=1)
        parts.append(Part(month, version, edges[number], shares[number], shares[number + 1]))
    return parts


def uses_of(span: Span, versions: Versions, zone: ZoneInfo) -> list[Use]:
    """The use of each part of the span.

    NoPrice: no version on its first day, or a rate that no register tells."""
    parts = parts_of(span.start, span.end, versions, zone)
    scale = scale_of(span.ratio, span.decimals)
    return [
        Use(
            part.month,
            part.version,
            used_in(part, span.steps, versions.all[part.version], span.residual_rate, scale),
            part.start,
            len(parts) > 1,
        )
        for part in parts
    ]


def used_in(
    part: Part,
    steps: Mapping[str, Steps],
    version: TariffVersion,
    residual_rate: str | None,
    scale: int,
) -> dict[str, Steps]:
    """What was used in a part of a span, in 10^-8 kWh, as `priced_registers` tells it.

    Every register is split by itself on its own grid and multiplied by the ratio afterwards, the
    residual last. `steps`: of the span, of one link or of many in arrays."""
    advanced = {name: _share(it, part.ends) - _share(it, part.begins) for name, it in steps.items()}
    return priced_registers(advanced, version, residual_rate, scale)


def gathered(uses: Iterable[Use], versions: Versions) -> list[Use]:
    """What is kept, in order of time: one use of each month and version.

    Under a matrix ladder each part stays by itself: its split over steps is of the link (section
    5)."""
    kept: dict[tuple[date, int], list[Use]] = defaultdict(list)
    for use in sorted(uses, key=_in_order):
        kept[use.month, use.version].append(use)
    result = []
    for (_, number), parts in kept.items():
        ladder = versions.all[number].ladder
        is_by_link = ladder is not None and ladder.method == "matrix"
        result += parts if is_by_link else [_sum(parts)]
    return result


def _in_order(use: Use) -> tuple[date, int, datetime]:
    return use.month, use.version, use.start


def _sum(parts: Sequence[Use]) -> Use:
    names = parts[0].registers
    registers = {name: sum(part.registers[name] for part in parts) for name in names}
    return parts[0]._replace(
        registers=registers, is_estimated=any(part.is_estimated for part in parts)
    )


def _cuts(start: datetime, end: datetime, versions: Versions, zone: ZoneInfo) -> list[date]:
    """The days inside the span on which a month or a version starts."""
    first = start.astimezone(zone).date()
    last = end.astimezone(zone).date()
    # At 00:00 of its last day the span has no time left for a part of that day.
    if end > _midnight(last, zone):
        last += timedelta(days=1)
    days = set(versions.starts_between(first, last))
    month = first.replace(day=1)
    while True:
        # 31 days after the first of a month lies in the next one, whatever its length.
        month = (month + timedelta(days=31)).replace(day=1)
        if month >= last:
            return sorted(days)
        days.add(month)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    # Instants, not wall times: a day has 23 or 25 hours where the clocks change.
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _share(steps: Steps, share: Fraction) -> Steps:
    """steps x share, half up, in integers."""
    if share == WHOLE:
        return steps
    return (2 * steps * share.numerator + share.denominator) // (2 * share.denominator)


def priced_registers(
    advanced: Mapping[str, Steps], version: TariffVersion, residual_rate: str | None, scale: int
) -> dict[str, Steps]:
    """The total and the rates of the version, in 10^-8 kWh. NoPrice: a rate is not told.

    `advanced`: of one link, or of many in arrays. `scale`: how many 10^-8 kWh a step of the
    registers is."""
    rates: tuple[str, ...] = version.rates
    registers = {TOTAL: advanced[TOTAL]}
    for rate in rates:
        if rate == residual_rate:
            continue
        if rate not in advanced:
            raise NoPrice(f"no register tells the rate {rate} of {version.version_id}")
        registers[rate] = advanced[rate]
    if rates and residual_rate is not None:
        if residual_rate not in rates:
            raise NoPrice(f"{version.version_id} has no price of the residual {residual_rate}")
        # Section 4: a register without a price is part of the residual, so nothing is lost.
        others = sum(steps for name, steps in registers.items() if name != TOTAL)
        registers[residual_rate] = advanced[TOTAL] - others
    elif rates and (left := sorted(advanced.keys() - {TOTAL, *rates})):
        raise NoPrice(f"{version.version_id} leaves without a price: {', '.join(left)}")
    return {name: steps * scale for name, steps in registers.items()}


@lru_cache(maxsize=1024)
def scale_of(ratio: Decimal, decimals: int) -> int:
    """10^-8 kWh of one step."""
    scale = ratio.scaleb(USE_DECIMALS - decimals)
    if scale != scale.to_integral_value(ROUND_FLOOR):
        raise NoPrice(f"ratio {ratio} has too many decimals for a register with {decimals}")
    return int(scale)
