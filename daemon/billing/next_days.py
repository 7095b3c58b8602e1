"""A day that came to many accounts as it mostly does: one link behind the last one, no more.

What `settlement` reckons account by account, in arrays for accounts that are alike. Pure. Integers
of 64 bits where they are wide enough, else Python's by the same lines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from config.tariff_version import TOTAL, Versions
from daemon.billing.earlier_days import may_reprice
from daemon.billing.many import (
    LINKED,
    ROOM,
    USE,
    YEAR_BEFORE,
    Integers,
    UseKey,
    amounts_fen,
    is_for_many,
    month_of_columns,
)
from daemon.billing.month_use import PointRegisters, rates_needed
from daemon.billing.pricing import Terms
from daemon.billing.settlement import has_fees
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.use import priced_registers, scale_of

DAY: Final = timedelta(days=1)
HEAD: Final = 4
"""Numbers before the registers of a version in what is kept of a month (month_use.encoded)."""


@dataclass(frozen=True, slots=True)
class NextDay:
    """Registers of accounts alike at 00:00 of two days, and what is kept of the first one's month.

    `begins`, `ends` [accounts, registers]: total and rates in the smallest step. `use` [accounts,
    numbers]: what is kept, as `month_use.encoded` makes it, of one layout. `posted_fen` [accounts,
    components]. `used_before`: use of the year's months before. `is_linked`: the link is there
    already. `terms`, `which`: those that differ, and the place of each account's."""

    day: date
    tariff: StoredTariff
    registers: PointRegisters
    modulus: int
    decimals: int
    ratio: Decimal
    is_linked: bool
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    use: NDArray[np.int64]
    components: Sequence[str]
    posted_fen: NDArray[np.int64]
    used_before: NDArray[np.int64]
    terms: Sequence[Terms]
    which: NDArray[np.int64]

    @property
    def month(self) -> date:
        """The rating month."""
        return (self.day - DAY).replace(day=1)


@dataclass(frozen=True, slots=True)
class Charged:
    """What is kept from now on, and what is to be charged (negative: given back) by component.

    `versions`: the numbers of those that charge."""

    use: NDArray[np.int64]
    moved_fen: Mapping[str, NDArray[np.int64]]
    posted_fen: Mapping[str, NDArray[np.int64]]
    versions: Collection[int]


@dataclass(slots=True)
class _Kept:
    """Use under a version, by register in 10^-8 kWh."""

    links: NDArray[np.int64]
    estimated: NDArray[np.int64]
    registers: dict[str, Integers]


def charged(given: NextDay, closed: Collection[date]) -> Charged | None:
    """What the day costs; None where it is not for these lines, but account by account.

    `closed`: the days of the site whose end has come, since the month began. NoPrice: of one."""
    versions = given.tariff.versions
    number = versions.number_on(given.day - DAY)
    kept = _kept(given)
    if number is None or kept is None or not _is_usual(given, closed):
        return None
    if not given.is_linked:
        _add_day(kept, given, number)
    if not all((it.links > 0).all() for it in kept.values()):
        return None
    due = amounts_fen(
        month_of_columns(given.terms, given.which, _uses(kept, given), closed, given.month)
    )
    told = dict(zip(given.components, given.posted_fen.T, strict=True))
    nothing = np.zeros(len(given.which), dtype=np.int64)
    posted = {it: due.get(it, nothing).astype(np.int64) for it in sorted({*due, *told})}
    moved = {it: fen - told.get(it, nothing) for it, fen in posted.items()}
    charging = {*kept, *_charging_by_day(versions, closed)}
    return Charged(
        _encoded(kept, given.tariff.numbers),
        moved,
        posted,
        [given.tariff.numbers[it] for it in sorted(charging)],
    )


def _is_usual(given: NextDay, closed: Collection[date]) -> bool:
    """Whether every rate that has a price is told, and the price is one for many accounts."""
    versions = given.tariff.versions
    shown = min(given.begins.shape[1], given.ends.shape[1])
    needed = rates_needed(versions, given.registers, given.day - DAY, given.day)
    return (
        is_for_many(versions)
        and shown > needed
        # What lies before in the year is told as one sum, of all its versions.
        and len(_by_year(given)) == 1
        # What days before cost more than they did is told by itself (SPAN_GRACE).
        and not any(map(may_reprice, versions.all))
        # Fees of a later month may hang on the use of this one.
        and not (has_fees(versions) and any(it.replace(day=1) > given.month for it in closed))
    )


def _by_year(given: NextDay) -> set[bool]:
    """Whether versions in force in this year, until the day, have a ladder by year."""
    versions = given.tariff.versions
    first = versions.number_on(given.month.replace(month=1)) or 0
    last = versions.number_on(given.day - DAY) or 0
    ladders = [it.ladder for it in versions.all[first : last + 1]]
    return {it is not None and it.cycle == "year" for it in ladders}


def _kept(given: NextDay) -> dict[int, _Kept] | None:
    """By version; None where what is kept is not of these versions."""
    numbers = given.tariff.numbers
    kept: dict[int, _Kept] = {}
    at = 0
    while at < given.use.shape[1]:
        key, links, estimated, count = given.use[:, at : at + HEAD].T
        version = numbers.index(key[0]) if key[0] in numbers else None
        if version is None or (key != key[0]).any() or (count != count[0]).any():
            return None
        names = (TOTAL, *given.tariff.versions.all[version].rates)
        if count[0] != len(names):
            return None
        at += HEAD
        registers = dict(zip(names, given.use[:, at : at + len(names)].T, strict=True))
        kept[version] = _Kept(links, estimated, registers)
        at += len(names)
    return kept


def _add_day(kept: dict[int, _Kept], given: NextDay, number: int) -> None:
    version = given.tariff.versions.all[number]
    shown = min(given.begins.shape[1], given.ends.shape[1])
    advanced = given.ends[:, :shown] - given.begins[:, :shown]
    steps = np.where(advanced < 0, advanced + given.modulus, advanced)
    scale = scale_of(given.ratio, given.decimals)
    if float(np.abs(steps).max(initial=0)) * scale >= ROOM / (shown + 1):
        steps = steps.astype(object)
    named = dict(zip((TOTAL, *given.registers.rates), steps.T, strict=False))
    used = priced_registers(named, version, given.registers.residual_rate, scale)
    nothing = np.zeros(len(given.which), dtype=np.int64)
    known = kept.get(number) or _Kept(nothing, nothing, dict.fromkeys(used, nothing))
    names = (TOTAL, *version.rates)
    registers = {name: _sum(known.registers[name], used[name]) for name in names}
    kept[number] = _Kept(known.links + 1, known.estimated, registers)


def _sum(known: Integers, more: Integers) -> Integers:
    """As wide as it needs to be."""
    most = np.abs(known.astype(float)).max(initial=0) + np.abs(more.astype(float)).max(initial=0)
    return known + more if most < ROOM else known.astype(object) + more.astype(object)


def _uses(kept: Mapping[int, _Kept], given: NextDay) -> dict[UseKey, Integers]:
    uses: dict[UseKey, Integers] = (
        {YEAR_BEFORE: given.used_before} if True in _by_year(given) else {}
    )
    for version, it in kept.items():
        uses[LINKED, version] = it.links
        uses |= {(USE, version, name): register for name, register in it.registers.items()}
    return uses


def _encoded(kept: Mapping[int, _Kept], numbers: Sequence[int]) -> NDArray[np.int64]:
    """As `month_use.encoded` makes it of each. OverflowError where 64 bits do not hold it."""
    columns: list[Any] = []
    for version, it in sorted(kept.items()):
        like = it.links
        head = (np.full_like(like, numbers[version]), like, it.estimated)
        columns += [*head, np.full_like(like, len(it.registers)), *it.registers.values()]
    return np.stack([column.astype(np.int64) for column in columns], axis=1)


def _charging_by_day(versions: Versions, closed: Collection[date]) -> set[int]:
    if not closed or not has_fees(versions):
        return set()
    numbers = {versions.number_on(day) for day in closed}
    return {it for it in numbers if it is not None}
