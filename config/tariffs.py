"""Tariffs of a site: a TOML file with versions, prices as strings because money is never a float."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from config.problems import Problem, did_you_mean, shown
from config.toml_lines import line_of, locate


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
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        return {}, [Problem(name, 1, "file", f"cannot be read: {error.strerror}")]
    except ValueError as error:
        return {}, [Problem(name, 1, "file", f"is no TOML: {error}")]
    lines = locate(text)
    problems: list[Problem] = []

    def problem(path: tuple[str | int, ...], message: str) -> None:
        problems.append(Problem(name, line_of(lines, path), ".".join(map(str, path)) or "file", message))

    tariffs: dict[str, list[TariffVersion]] = {}
    for key in content:
        if key != "tariff":
            problem((key,), f"unknown key{did_you_mean(key, ['tariff'])}")
    for tariff, body in content.get("tariff", {}).items():
        versions = body.get("version") if isinstance(body, dict) else None
        if not isinstance(versions, list) or not versions:
            problem(("tariff", tariff), f"has no versions; add [[tariff.{tariff}.version]]")
            continue
        good = [_version(tariff, i, version, problem) for i, version in enumerate(versions)]
        starts = [version.effective_from for version in good if version]
        if len(set(starts)) < len(starts):
            problem(("tariff", tariff), "two versions start on the same day")
        tariffs[tariff] = sorted((version for version in good if version), key=lambda version: version.effective_from)
    return tariffs, problems


def _version(tariff: str, index: int, version: Any, problem: Any) -> TariffVersion | None:
    path = ("tariff", tariff, "version", index)
    good = True
    for key in version:
        if key not in ("effective_from", "price"):
            problem((*path, key), f"unknown key{did_you_mean(key, ['effective_from', 'price'])}")
            good = False
    start = version.get("effective_from")
    if type(start) is not date:
        problem((*path, "effective_from"), "must be a date: effective_from = 2026-01-01")
        good = False
    try:
        price = Decimal(version.get("price")) if isinstance(version.get("price"), str) else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    exponent = price.as_tuple().exponent
    if not price.is_finite() or price < 0 or not isinstance(exponent, int) or exponent < -8:
        problem((*path, "price"), 'must be yuan per kWh as a string with at most 8 decimals: price = "0.5283"')
        good = False
    return TariffVersion(tariff, start, price) if good else None
