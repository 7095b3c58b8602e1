"""Tariffs of a site: a TOML file with versions, prices as strings because money is never a
float."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from config.problems import ConfigError, Problem, did_you_mean, shown
from config.toml_lines import line_of, read_toml

MOST_YUAN = 1000
"""A higher price for a kWh is a slip of the finger."""


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """`price` in yuan per kWh, in force from `effective_from` 00:00 local."""

    tariff: str
    effective_from: date
    price: Decimal


def load_tariffs(path: Path, base: Path) -> tuple[dict[str, list[TariffVersion]], list[Problem]]:
    """The versions of each tariff in order of their start, and the mistakes of the file."""
    name = shown(path, base)
    try:
        content, lines = read_toml(path, name)
    except ConfigError as error:
        return {}, error.problems
    problems: list[Problem] = []

    def problem(path: tuple[str | int, ...], message: str) -> None:
        problems.append(
            Problem(name, line_of(lines, path), ".".join(map(str, path)) or "file", message)
        )

    tariffs: dict[str, list[TariffVersion]] = {}
    for key in content:
        if key != "tariff":
            problem((key,), f"unknown key{did_you_mean(key, ['tariff'])}")
    bodies = content.get("tariff", {})
    if not isinstance(bodies, dict):
        problem(("tariff",), "must be written as [[tariff.NAME.version]]")
        return {}, problems
    if not bodies:
        problem((), "holds no tariff; add [[tariff.NAME.version]]")
    for tariff, body in bodies.items():
        versions = body.get("version") if isinstance(body, dict) else None
        if not isinstance(versions, list) or not versions:
            problem(("tariff", tariff), f"has no versions; add [[tariff.{tariff}.version]]")
            continue
        good = [_version(tariff, i, version, problem) for i, version in enumerate(versions)]
        starts = [version.effective_from for version in good if version]
        if len(set(starts)) < len(starts):
            problem(("tariff", tariff), "two versions start on the same day")
        tariffs[tariff] = sorted(
            (version for version in good if version), key=lambda version: version.effective_from
        )
    return tariffs, problems


def _version(
    tariff: str, index: int, version: Any, problem: Callable[[tuple[str | int, ...], str], None]
) -> TariffVersion | None:
    path = ("tariff", tariff, "version", index)
    if not isinstance(version, dict):
        problem(path, "must be a table with effective_from and price")
        return None
    good = True
    for key in version:
        if key not in ("effective_from", "price"):
            problem((*path, key), f"unknown key{did_you_mean(key, ['effective_from', 'price'])}")
            good = False
    start: Any = version.get("effective_from")
    if type(start) is not date:
        problem((*path, "effective_from"), "must be a date: effective_from = 2026-01-01")
        good = False
    try:
        price = (
            Decimal(version["price"]) if isinstance(version.get("price"), str) else Decimal("NaN")
        )
    except InvalidOperation:
        price = Decimal("NaN")
    exponent = price.as_tuple().exponent
    if (
        not price.is_finite()
        or not 0 <= price <= MOST_YUAN
        or not isinstance(exponent, int)
        or exponent < -8
    ):
        problem(
            (*path, "price"),
            'must be yuan per kWh as a string with at most 8 decimals: price = "0.5283"',
        )
        good = False
    return TariffVersion(tariff, start, price) if good else None
