"""Tariffs of a site: a TOML file with versions of prices.

Prices are strings there, because money is never a float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from config.problems import ConfigError, Problem, did_you_mean, shown
from config.tariff_form import DOES_IT
from config.tariff_form import VERSION_KEYS as VERSION_FORM
from config.toml_lines import Path as Place
from config.toml_lines import line_of, read_toml

MOST_YUAN: Final = 1000
"""A higher price for a kWh is a slip of the finger."""
MOST_DECIMALS: Final = 8
"""Of a price: the database refuses more."""
VERSION_KEYS: Final = ("effective_from", "price")


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """One approved price, in force from `effective_from` 00:00 local.

    A version is immutable once use is billed with it (R34)."""

    tariff: str
    effective_from: date
    price_yuan_per_kwh: Decimal


def load_tariffs(path: Path, base: Path) -> tuple[dict[str, list[TariffVersion]], list[Problem]]:
    """The versions of each tariff in order of their start, and the mistakes of the file."""
    name = shown(path, base)
    try:
        content, lines = read_toml(path, name)
    except ConfigError as error:
        return {}, error.problems
    reader = _Reader(name, lines)
    return reader.tariffs(content), reader.problems


@dataclass
class _Reader:
    file: str
    lines: Mapping[Place, int]
    problems: list[Problem] = field(default_factory=list)

    def tell(self, place: Place, message: str) -> None:
        where = ".".join(map(str, place)) or "file"
        self.problems.append(Problem(self.file, line_of(self.lines, place), where, message))

    def tariffs(self, content: Mapping[str, Any]) -> dict[str, list[TariffVersion]]:
        self._refuse_unknown((), content, ("tariff",))
        bodies = content.get("tariff", {})
        if not isinstance(bodies, dict):
            self.tell(("tariff",), "must be written as [[tariff.NAME.version]]")
            return {}
        if not bodies:
            self.tell((), "holds no tariff; add [[tariff.NAME.version]]")
        return {tariff: self._versions(tariff, tables) for tariff, tables in self._bodies(bodies)}

    def _bodies(self, bodies: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
        """(name, tables of its versions) of each tariff that has any."""
        for tariff, body in bodies.items():
            tables = body.get("version") if isinstance(body, dict) else None
            if isinstance(tables, list) and tables:
                yield tariff, tables
            else:
                message = f"has no versions; add [[tariff.{tariff}.version]]"
                self.tell(("tariff", tariff), message)

    def _versions(self, tariff: str, tables: list[Any]) -> list[TariffVersion]:
        read = [self._version(tariff, index, table) for index, table in enumerate(tables)]
        good = [version for version in read if version is not None]
        if len({version.effective_from for version in good}) < len(good):
            self.tell(("tariff", tariff), "two versions start on the same day")
        return sorted(good, key=lambda version: version.effective_from)

    def _version(self, tariff: str, index: int, table: Any) -> TariffVersion | None:
        place = ("tariff", tariff, "version", index)
        if not isinstance(table, dict):
            self.tell(place, "must be a table with effective_from and price")
            return None
        before = len(self.problems)
        self._refuse_unknown(place, table, VERSION_KEYS)
        start = table.get("effective_from")
        # For isinstance a datetime is a date too; its hour would be dropped without a word.
        if type(start) is not date:
            self.tell((*place, "effective_from"), "must be a date: effective_from = 2026-01-01")
        price = _price(table.get("price"))
        if price is None:
            message = (
                "must be yuan per kWh as a string with at most "
                f'{MOST_DECIMALS} decimals: price = "0.5283"'
            )
            self.tell((*place, "price"), message)
        if len(self.problems) > before or price is None:
            return None
        return TariffVersion(tariff, table["effective_from"], price)

    def _refuse_unknown(
        self, place: Place, table: Mapping[str, Any], known: tuple[str, ...]
    ) -> None:
        for key in table:
            if key not in known:
                self.tell((*place, key), f"unknown key{_hint(key, known)}")


def _hint(key: str, known: tuple[str, ...]) -> str:
    # The daemon bills a flat price; what else a tariff may say is tried without it.
    if key in VERSION_FORM or key in DOES_IT:
        return f"; the daemon bills a flat price yet, `meterd tariff check` knows {key}"
    return did_you_mean(key, known)


def _price(value: object) -> Decimal | None:
    """A price as it may be written, else None: a string, so that no float has been near it."""
    if not isinstance(value, str):
        return None
    try:
        price = Decimal(value)
    except InvalidOperation:
        return None
    if not price.is_finite() or not 0 <= price <= MOST_YUAN:
        return None
    exponent = price.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -MOST_DECIMALS:
        return None
    return price
