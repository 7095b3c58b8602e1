"""A tariff with the numbers by which use refers to its versions."""

from __future__ import annotations

from dataclasses import dataclass

from config.tariff_version import Versions


@dataclass(frozen=True, slots=True)
class StoredTariff:
    """The versions that count, in order of their start, and the number of each."""

    versions: Versions
    numbers: tuple[int, ...]
