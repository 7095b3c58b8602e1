"""Prices over time.

A tariff is a list of versions, each a flat price in force from a local midnight."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """A price, exact, in force from `effective_from` 00:00 local until the next version (R34).

    `number`: of its row; None where there is none."""

    tariff_id: str
    effective_from: date
    price_yuan_per_kwh: Decimal
    number: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Tariff:
    """All versions of one tariff in order of their start."""

    versions: tuple[TariffVersion, ...]

    def __post_init__(self) -> None:
        starts = [version.effective_from for version in self.versions]
        # Prices do not change within a day: money, tariff versions.
        assert starts == sorted(set(starts)), "versions in order of their start, one a day"

    def version_on(self, day: date) -> TariffVersion | None:
        """The version in force during the local day; None before the first one."""
        # R34: the reading frozen at 00:00 of its start closes the last day of the version before.
        index = bisect_right(self.versions, day, key=lambda version: version.effective_from)
        return self.versions[index - 1] if index else None

    def cuts_between(self, first: date, last: date) -> list[date]:
        """The days strictly between the two on which a version starts."""
        starts = [version.effective_from for version in self.versions]
        return [start for start in starts if first < start < last]
