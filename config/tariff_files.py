"""Tariffs in TOML: every version of a file, and all its mistakes with their lines.

A file holds one tariff, its versions as [[version]], named by the file; or several as
[[tariff.NAME.version]], as the tariffs file of a site does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from config.problems import ConfigError, Problem, did_you_mean
from config.tariff_form import Mistake, Place, read_version
from config.tariff_version import TariffVersion, Versions
from config.toml_lines import line_of, read_toml

SUFFIX = ".tariffs"
"""Of a file's name before `.toml`, no part of the tariff's."""


def load_tariff_file(path: Path) -> dict[str, Versions]:
    """The tariffs of a file by name. ConfigError with every mistake."""
    tariffs, problems = load_tariffs(path, str(path))
    if problems:
        raise ConfigError(problems)
    return tariffs


def load_tariffs(path: Path, shown_as: str) -> tuple[dict[str, Versions], list[Problem]]:
    """The tariffs of a file by name, and its mistakes; with any, the tariffs are not all there."""
    try:
        content, lines = read_toml(path, shown_as)
    except ConfigError as error:
        return {}, error.problems
    mistakes: list[Mistake] = []
    tariffs = {}
    for name, place, tables in _tariffs(path, content, mistakes):
        tariffs[name] = _versions(name, place, tables, mistakes)
    problems = [
        Problem(
            shown_as,
            line_of(lines, it.place),
            ".".join(map(str, it.place)) or "file",
            it.message,
        )
        for it in mistakes
    ]
    return tariffs, problems


def owner_of(path: Path) -> str | None:
    """The user of this machine who owns a file, mostly who wrote it last; None: it is not there."""
    try:
        return path.owner()
    except KeyError:
        return f"uid {path.stat().st_uid}"
    except OSError:
        return None


def _tariffs(
    path: Path, content: Mapping[str, Any], mistakes: list[Mistake]
) -> Iterator[tuple[str, Place, list[Any]]]:
    """(name, place of the versions, their tables) of each tariff."""
    for key in content:
        if key not in ("tariff", "version"):
            hint = did_you_mean(key, ("tariff", "version"))
            mistakes.append(Mistake((key,), f"unknown key{hint}; a file holds [[version]]"))
    if not content:
        mistakes.append(Mistake((), "holds no tariff; add [[tariff.NAME.version]]"))
    if "version" in content:
        name = path.stem.removesuffix(SUFFIX)
        yield from _with_tables(name, (), content, mistakes)
    tariffs = content.get("tariff", {})
    if not isinstance(tariffs, dict):
        mistakes.append(Mistake(("tariff",), "must be written as [[tariff.NAME.version]]"))
        return
    for name, body in tariffs.items():
        if not name.strip():
            mistakes.append(Mistake(("tariff", name), "has no name"))
        yield from _with_tables(name, ("tariff", name), body, mistakes)


def _with_tables(
    name: str, place: Place, body: object, mistakes: list[Mistake]
) -> Iterator[tuple[str, Place, list[Any]]]:
    tables = body.get("version") if isinstance(body, dict) else None
    if isinstance(tables, list) and tables:
        yield name, (*place, "version"), tables
    else:
        header = ".".join((*map(str, place), "version"))
        mistakes.append(Mistake(place, f"has no versions; add [[{header}]]"))


def _versions(name: str, place: Place, tables: list[Any], mistakes: list[Mistake]) -> Versions:
    found: list[TariffVersion] = []
    for number, table in enumerate(tables):
        version, wrong = read_version(table, name, (*place, number))
        mistakes += wrong
        if version is not None:
            found.append(version)
    if len({it.effective_from for it in found}) < len(found):
        mistakes.append(Mistake(place, "two versions start on the same day"))
    elif len({it.version_id for it in found}) < len(found):
        mistakes.append(Mistake(place, "two versions have the same id"))
    return Versions(tuple(sorted(found, key=lambda version: version.effective_from)))
