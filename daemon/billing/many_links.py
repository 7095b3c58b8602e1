"""What links cost that come and leave of many accounts at once.

What `settlement` reckons account by account, in arrays for accounts that are alike. Pure. Integers
of 64 bits where they are wide enough, else Python's by the same lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from itertools import compress
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from config.tariff_version import TOTAL, TariffVersion, Versions
from daemon.billing.earlier_days import may_reprice
from daemon.billing.links import midnight
from daemon.billing.many import (
    LINKED,
    ROOM,
    USE,
    YEAR_BEFORE,
    Flags,
    Integers,
    Month,
    UseKey,
    amounts_fen,
    is_for_many,
    month_of_columns,
    slabs_reached,
)
from daemon.billing.month_use import PointRegisters, rates_needed
from daemon.billing.pricing import MINIMUM, Terms
from daemon.billing.settlement import has_fees
from daemon.billing.stored_tariff import StoredTariff
from daemon.billing.use import NoPrice, Part, parts_of, scale_of, used_in

DAY: Final = timedelta(days=1)
HEAD: Final = 4
"""Numbers before the registers of a version in what is kept of a month (month_use.encoded)."""
Columns = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Moving:
    """Links over the same days that come (`sign` 1) or leave (-1), at most one an account.

    `which` [links]: the places of their accounts. `begins`, `ends` [links, registers]: total and
    rates in the smallest step."""

    from_day: date
    to_day: date
    sign: int
    which: Columns
    begins: Columns
    ends: Columns


class KeptUse(NamedTuple):
    """Use of a month under a version: of so many links, some of them estimated parts.

    `registers`: the total and the rates that the version prices, in 10^-8 kWh."""

    links: Columns
    estimated: Columns
    registers: Mapping[str, Integers]

    def plus(self, which: Columns, more: KeptUse) -> KeptUse:
        """With more at these places."""
        return KeptUse(
            _sum(self.links, which, more.links),
            _sum(self.estimated, which, more.estimated),
            {name: _sum(it, which, more.registers[name]) for name, it in self.registers.items()},
        )


@dataclass(slots=True)
class KeptMonth:
    """What is kept of a month of accounts: use by number of the version, and what was posted.

    `is_there`: of whom anything is."""

    is_there: Flags
    use: dict[int, KeptUse] = field(default_factory=dict)
    posted_fen: dict[str, Columns] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManyLinks:
    """Links of accounts alike, and what is kept of their months.

    `since` [accounts]: which month is the first that may cost something else, as `month_number`
    tells it. `months`: those, and what is told of others in the same year; `used_before`: use of
    the year before these. `terms`, `which`: those that differ, and the place of each account's."""

    tariff: StoredTariff
    registers: PointRegisters
    modulus: int
    decimals: int
    ratio: Decimal
    moving: Sequence[Moving]
    since: Columns
    months: Mapping[date, KeptMonth]
    used_before: Columns
    terms: Sequence[Terms]
    which: Columns


@dataclass(frozen=True, slots=True)
class ChargedMonth:
    """What is kept of a month from now on, and what is to be charged (negative: given back)."""

    kept: KeptMonth
    moved_fen: Mapping[str, Columns]


@dataclass(frozen=True, slots=True)
class Charged:
    """By month what its accounts are charged. `versions`: the numbers of those that charge.

    `are_dearer` [accounts]: whether that may make days before dearer, which of each is told by
    itself (SPAN_GRACE). Nothing is told of it where links leave."""

    months: Mapping[date, ChargedMonth]
    versions: Collection[int]
    are_dearer: Flags


def month_number(month: date) -> int:
    """Months in order."""
    return 12 * month.year + month.month


def are_plain(versions: Versions) -> bool:
    """Whether links of such a tariff may be charged for here, and make no day before dearer."""
    return is_for_many(versions) and not any(map(may_reprice, versions.all))


def charged(given: ManyLinks, closed: Collection[date], zone: ZoneInfo) -> Charged | None:
    """What these links cost; None where it is not for these lines, but account by account.

    `closed`: the days of the site whose end has come, since the first month. OverflowError where 64
    bits do not hold what is to be kept."""
    try:
        return _charged(given, closed, zone)
    except NoPrice:
        return None  # whose use has none, and why, is said of each


def _charged(given: ManyLinks, closed: Collection[date], zone: ZoneInfo) -> Charged | None:
    versions = given.tariff.versions
    if not is_for_many(versions) or not all(_is_priced(it, given) for it in given.moving):
        return None
    months = _with_links(given, zone)
    if not all(_is_whole(it) for month in months.values() for it in month.use.values()):
        return None
    if has_fees(versions):
        for month in {day.replace(day=1) for day in closed}:
            months.setdefault(month, _nothing_of(given))
    used = {version for it in months.values() for version, use in it.use.items() if use.links.any()}
    is_by_year = _by_year(versions, min(months, default=date.max), used)
    if len(is_by_year) > 1:
        return None  # what lies before in the year is told as one sum, of all its versions
    charging = used | _charging_by_day(versions, closed)
    found, are_dearer = _charged_months(given, months, closed, is_by_year=True in is_by_year)
    return Charged(found, [given.tariff.numbers[it] for it in sorted(charging)], are_dearer)


def kept_use(use: Columns, tariff: StoredTariff) -> dict[int, KeptUse] | None:
    """What `month_use.encoded` made of accounts, all of one layout, by version.

    None where it is not of these versions."""
    kept: dict[int, KeptUse] = {}
    at = 0
    while at < use.shape[1]:
        key, links, estimated, count = use[:, at : at + HEAD].T
        version = tariff.numbers.index(key[0]) if key[0] in tariff.numbers else None
        if version is None or (key != key[0]).any() or (count != count[0]).any():
            return None
        names = _names(tariff.versions.all[version])
        if count[0] != len(names):
            return None
        at += HEAD
        registers = dict(zip(names, use[:, at : at + len(names)].T, strict=True))
        kept[version] = KeptUse(links, estimated, registers)
        at += len(names)
    return kept


def encoded(
    kept: KeptMonth, asked: Flags, numbers: Sequence[int]
) -> Iterator[tuple[Columns, Columns]]:
    """The use of those of whom anything is kept, and who are asked for, as `month_use.encoded`
    makes it of each.

    By accounts that have use of the same versions: their places, and what is kept of each.
    OverflowError where 64 bits do not hold it."""
    versions = sorted(kept.use)
    asked_places = np.flatnonzero(kept.is_there & asked)
    has_use = np.zeros((len(asked_places), len(versions)), dtype=bool)
    for number, version in enumerate(versions):
        has_use[:, number] = kept.use[version].links[asked_places] > 0
    for pattern, places in by_pattern(has_use):
        which = asked_places[places]
        columns: list[Any] = []
        for version in compress(versions, pattern):
            it = kept.use[version]
            like = it.links
            head = (np.full_like(like, numbers[version]), like, it.estimated)
            columns += [*head, np.full_like(like, len(it.registers)), *it.registers.values()]
        told = [column[which].astype(np.int64) for column in columns]
        yield which, np.stack(told, axis=1) if told else np.empty((len(which), 0), dtype=np.int64)


def by_pattern(flags: Flags) -> Iterator[tuple[Flags, Columns]]:
    """The rows of flags [rows, flags] by those that are alike: their flags, and their places."""
    if not flags.size:
        if len(flags):
            yield flags[0], np.arange(len(flags))
        return
    # As bytes they are compared at a twentieth of the cost of rows.
    packed = np.packbits(flags, axis=1)
    codes = packed.view(f"S{packed.shape[1]}").ravel()
    _, firsts, of_pattern = np.unique(codes, return_index=True, return_inverse=True)
    for number, first in enumerate(firsts):
        yield flags[first], np.flatnonzero(of_pattern == number)


def nothing_used(version: TariffVersion, count: int) -> KeptUse:
    """Of so many accounts."""
    nothing = np.zeros(count, dtype=np.int64)
    return KeptUse(nothing, nothing, dict.fromkeys(_names(version), nothing))


def _names(version: TariffVersion) -> tuple[str, ...]:
    return (TOTAL, *version.rates)


def _nothing_of(given: ManyLinks) -> KeptMonth:
    return KeptMonth(np.zeros(len(given.which), dtype=bool))


def _is_priced(moving: Moving, given: ManyLinks) -> bool:
    """Whether a version is in force, and every rate that has a price is told."""
    versions = given.tariff.versions
    shown = min(moving.begins.shape[1], moving.ends.shape[1])
    needed = rates_needed(versions, given.registers, moving.from_day, moving.to_day)
    return versions.number_on(moving.from_day) is not None and shown > needed


def _with_links(given: ManyLinks, zone: ZoneInfo) -> dict[date, KeptMonth]:
    """What is kept of the months, with the links in it that come and without those that leave."""
    months = {
        month: KeptMonth(it.is_there.copy(), dict(it.use), it.posted_fen)
        for month, it in given.months.items()
    }
    for moving in given.moving:
        steps = _advanced(moving, given)
        start, end = midnight(moving.from_day, zone), midnight(moving.to_day, zone)
        parts = parts_of(start, end, given.tariff.versions, zone)
        for part in parts:
            month = months.setdefault(part.month, _nothing_of(given))
            month.is_there[moving.which] = True
            _add(month.use, part, steps, moving, given, is_estimated=len(parts) > 1)
    return months


def _advanced(moving: Moving, given: ManyLinks) -> Mapping[str, Integers]:
    """How far each register went on, as far as both ends show it."""
    shown = min(moving.begins.shape[1], moving.ends.shape[1])
    advanced = moving.ends[:, :shown] - moving.begins[:, :shown]
    steps: Integers = np.where(advanced < 0, advanced + given.modulus, advanced)
    scale = scale_of(given.ratio, given.decimals)
    # A share of time has seconds for its denominator at most.
    most = float(np.abs(steps).max(initial=0)) * 2 * (moving.to_day - moving.from_day).days * 86_400
    if max(most, float(np.abs(steps).max(initial=0)) * scale) >= ROOM / (shown + 1):
        steps = steps.astype(object)
    return dict(zip((TOTAL, *given.registers.rates), steps.T, strict=False))


def _add(
    kept: dict[int, KeptUse],
    part: Part,
    steps: Mapping[str, Integers],
    moving: Moving,
    given: ManyLinks,
    *,
    is_estimated: bool,
) -> None:
    version = given.tariff.versions.all[part.version]
    scale = scale_of(given.ratio, given.decimals)
    used = used_in(part, steps, version, given.registers.residual_rate, scale)
    one = np.full(len(moving.which), moving.sign)
    more = KeptUse(
        one, one * is_estimated, {name: moving.sign * used[name] for name in _names(version)}
    )
    known = kept.get(part.version) or nothing_used(version, len(given.which))
    kept[part.version] = known.plus(moving.which, more)


def _sum(known: Integers, which: Columns, more: Integers) -> Integers:
    """With more at these places; as wide as it needs to be."""
    most = np.abs(known.astype(float)).max(initial=0) + np.abs(more.astype(float)).max(initial=0)
    total = known.copy() if most < ROOM else known.astype(object)
    total[which] = total[which] + more
    return total


def _is_whole(kept: KeptUse) -> bool:
    """Whether all that is kept has links; else it is to be gathered anew."""
    is_nothing = np.logical_and.reduce([it == 0 for it in kept.registers.values()])
    return bool(((kept.links > 0) | (kept.links == 0) & is_nothing).all())


def _by_year(versions: Versions, month: date, used: Collection[int]) -> set[bool]:
    """Whether versions in force since the year of this month began have a ladder by year."""
    first = versions.number_on(month.replace(month=1)) or 0
    ladders = [it.ladder for it in versions.all[first : max(used, default=first) + 1]]
    return {it is not None and it.cycle == "year" for it in ladders}


def _charged_months(
    given: ManyLinks,
    months: Mapping[date, KeptMonth],
    closed: Collection[date],
    *,
    is_by_year: bool,
) -> tuple[dict[date, ChargedMonth], Flags]:
    found = {}
    are_dearer: Flags = np.zeros(len(given.which), dtype=bool)
    has_slabs = any(map(may_reprice, given.tariff.versions.all))
    used_before: Integers = given.used_before
    year = None
    for month, kept in sorted(months.items()):
        if year not in (None, month.year):
            used_before = np.zeros_like(given.used_before)
        year = month.year
        uses: dict[UseKey, Integers] = {YEAR_BEFORE: used_before} if is_by_year else {}
        for version, it in kept.use.items():
            uses[LINKED, version] = it.links
            uses |= {(USE, version, name): register for name, register in it.registers.items()}
            every = np.arange(len(used_before))
            used_before = _sum(used_before, every, it.registers[TOTAL])
        is_asked = given.since <= month_number(month)
        if is_asked.any():
            priced = month_of_columns(given.terms, given.which, uses, closed, month)
            found[month] = _charged_month(kept, amounts_fen(priced), is_asked)
            if has_slabs:
                known = given.months.get(month) or _nothing_of(given)
                are_dearer = are_dearer | _are_dearer(given, known, priced)
                minimum = found[month].moved_fen.get(MINIMUM)
                if minimum is not None:
                    are_dearer = are_dearer | (minimum > 0)
    return found, are_dearer


def _are_dearer(given: ManyLinks, known: KeptMonth, priced: Month) -> Flags:
    """Who stands at a higher slab than with what was known of the month."""
    uses: dict[UseKey, Integers] = {
        (USE, version, TOTAL): it.registers[TOTAL] for version, it in known.use.items()
    }
    before = month_of_columns(given.terms, given.which, uses, (), priced.month)
    higher: Flags = np.logical_or.reduce(slabs_reached(priced) > slabs_reached(before), axis=0)
    return higher


def _charged_month(kept: KeptMonth, due: Mapping[str, Integers], is_asked: Flags) -> ChargedMonth:
    nothing = np.zeros(len(is_asked), dtype=np.int64)
    posted = {}
    moved = {}
    for code in sorted({*due, *kept.posted_fen}):
        told = kept.posted_fen.get(code, nothing)
        posted[code] = np.where(is_asked, due.get(code, nothing), told).astype(np.int64)
        moved[code] = posted[code] - told
        kept.is_there |= moved[code] != 0
    return ChargedMonth(KeptMonth(kept.is_there & is_asked, kept.use, posted), moved)


def _charging_by_day(versions: Versions, closed: Collection[date]) -> set[int]:
    if not closed or not has_fees(versions):
        return set()
    numbers = {versions.number_on(day) for day in closed}
    return {it for it in numbers if it is not None}
