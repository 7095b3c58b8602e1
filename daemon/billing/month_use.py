"""What is kept of an account's use: exact integers by month, tariff version and register. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from config.tariff_version import TOTAL, Versions
from daemon.billing.links import Link, Piece, advance, is_told, midnight
from daemon.billing.use import NoPrice, Span, Use, priced_registers, scale_of, uses_of


class PointRegisters(NamedTuple):
    """The names of a point's rate registers in their order, and the one that is the residual."""

    rates: tuple[str, ...] = ()
    residual_rate: str | None = None


class VersionUse(NamedTuple):
    """Use of a month under a version: of so many links, some of them estimated parts.

    `registers`: the total and the rates that the version prices, in 10^-8 kWh."""

    links: int
    estimated: int
    registers: tuple[int, ...]


RETURNED: Final = 1 << 32
"""Above every number of a version."""
MonthUse = dict[int, VersionUse]
"""By number of the version."""


def uses_of_link(
    link: Link, versions: Versions, zone: ZoneInfo, point: PointRegisters
) -> list[Use]:
    """The use of a link, cut where a month or a version starts. NoPrice: it cannot be priced."""
    if link.hold is not None:
        return []
    if link.days == 1 and not link.pieces:
        return [_use_of_day(link, versions, zone, point)]
    return [
        use
        for piece in link.in_pieces(zone)
        for use in uses_of(_span(piece, link, point), versions, zone)
    ]


def rates_needed(versions: Versions, point: PointRegisters, first: date, last: date) -> int:
    """How many of the point's rates have to be known for the price of these days."""
    start = versions.number_on(first) or 0
    needed = {
        rate
        for version in versions.all[start:]
        if version.effective_from < last
        for rate in version.rates
        if rate != point.residual_rate
    }
    return max((n for n, rate in enumerate(point.rates, 1) if rate in needed), default=0)


def add(month: MonthUse, use: Use, sign: int, versions: Versions) -> None:
    """Put a use into what is kept of its month, or (sign -1) take it out.

    What is left without a link and is not nothing shows that other use was put in: `is_whole`."""
    told = tuple(use.registers[name] for name in (TOTAL, *versions.all[use.version].rates))
    known = month.get(use.version) or VersionUse(0, 0, (0,) * len(told))
    kept = VersionUse(
        known.links + sign,
        known.estimated + sign * use.is_estimated,
        tuple(was + sign * it for was, it in zip(known.registers, told, strict=True)),
    )
    if kept.links or any(kept.registers):
        month[use.version] = kept
    else:
        del month[use.version]


def is_whole(month: MonthUse) -> bool:
    """Whether all that is kept has links; else it is to be gathered anew."""
    return all(it.links > 0 for it in month.values())


def uses_of_month(month: date, kept: MonthUse, versions: Versions, zone: ZoneInfo) -> Iterator[Use]:
    """What is kept of a month as rules take it."""
    for number, it in kept.items():
        names = (TOTAL, *versions.all[number].rates)
        registers = dict(zip(names, it.registers, strict=True))
        yield Use(month, number, registers, midnight(month, zone), it.estimated > 0)


def encoded(month: MonthUse, numbers: Sequence[int]) -> list[int]:
    """As it is stored. `numbers`: by number of a version that which the database knows it by."""
    keys = _keys(numbers)
    return [
        value
        for number, kept in sorted(month.items())
        for value in (
            keys[number],
            kept.links,
            kept.estimated,
            len(kept.registers),
            *kept.registers,
        )
    ]


def decoded(stored: Sequence[int], numbers: Sequence[int]) -> MonthUse | None:
    """What `encoded` made; None where it tells of versions that the account has no more."""
    versions = {key: version for version, key in enumerate(_keys(numbers))}
    month: MonthUse = {}
    at = 0
    while at < len(stored):
        key, links, estimated, count = stored[at : at + 4]
        if key not in versions:
            return None
        registers = tuple(stored[at + 4 : at + 4 + count])
        month[versions[key]] = VersionUse(links, estimated, registers)
        at += 4 + count
    return month


def _keys(numbers: Sequence[int]) -> list[int]:
    """By which the use of each version is stored: its number, and how often that stood before."""
    # An account that left a tariff and came back has a version twice, with other use between.
    times: Counter[int] = Counter()
    keys = []
    for number in numbers:
        keys.append(number + RETURNED * times[number])
        times[number] += 1
    return keys


def _use_of_day(link: Link, versions: Versions, zone: ZoneInfo, point: PointRegisters) -> Use:
    number = versions.number_on(link.from_day)
    if number is None:
        raise NoPrice(f"no version of the tariff is in force on {link.from_day}")
    steps = advance(link.begins, link.ends, link.modulus)
    registers = priced_registers(
        _named(steps, link, point),
        versions.all[number],
        point.residual_rate,
        scale_of(link.ratio, link.decimals),
    )
    month = link.from_day.replace(day=1)
    return Use(month, number, registers, midnight(link.from_day, zone))


def _span(piece: Piece, link: Link, point: PointRegisters) -> Span:
    advanced = _named(piece.advanced, link, point)
    facts = (advanced, piece.decimals, piece.ratio, point.residual_rate)
    return Span(piece.start, piece.end, *facts)


def _named(steps: Iterable[int], link: Link, point: PointRegisters) -> dict[str, int]:
    """By name. What somebody told without rates is of the residual one."""
    named = dict(zip((TOTAL, *point.rates), steps, strict=False))
    if is_told(link) and point.residual_rate is not None:
        named |= dict.fromkeys(point.rates, 0)
    return named
