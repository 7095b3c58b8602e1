"""A tariff with the numbers by which use refers to its versions, and what an account has of them
that changed its tariff."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from config.tariff_version import TariffVersion, Versions


@dataclass(frozen=True, slots=True)
class StoredTariff:
    """The versions that count, in order of their start, and the number of each. `unused`: the
    numbers of those by which nothing was billed yet."""

    versions: Versions
    numbers: tuple[int, ...]
    unused: frozenset[int] = frozenset()


def composed(pieces: Sequence[tuple[date, StoredTariff]]) -> StoredTariff:
    """One tariff of several, each from 00:00 of its day until the next one's.

    `pieces` in order of their days; that of the first does not matter. The version in force on the
    day of a later piece begins on that day here. ValueError where none is in force then."""
    found: list[tuple[TariffVersion, int]] = []
    ends = [day for day, _ in pieces[1:]] + [date.max]
    for number, ((day, stored), end) in enumerate(zip(pieces, ends, strict=True)):
        numbered = list(zip(stored.versions.all, stored.numbers, strict=True))
        if number:
            first = stored.versions.number_on(day)
            if first is None:
                raise ValueError(f"a tariff that is to count from {day} on has no price then")
            version, its_number = numbered[first]
            found.append((replace(version, effective_from=day), its_number))
            numbered = numbered[first + 1 :]
        found += [it for it in numbered if it[0].effective_from < end]
    return StoredTariff(
        Versions(tuple(version for version, _ in found)),
        tuple(number for _, number in found),
        frozenset().union(*(stored.unused for _, stored in pieces)),
    )
