"""Mistakes in configuration files: all of them at once, each with file, line and a hint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from protocols.errors import MeterdError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake.

    `where` is its place inside the file (`line.gate-3.baud`, `meters.csv column address`)."""

    file: str
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.where}: {self.message}"


class ConfigError(MeterdError):
    """The configuration cannot be used. Whoever edits the file acts; exit code 78."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        count = len(self.problems)
        super().__init__(
            "\n".join([*map(str, self.problems), f"{count} mistake{'s' if count != 1 else ''}"])
        )


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean baud?)`, or an empty string when nothing known is close."""
    close = get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]}?)" if close else ""


def shown(path: Path, base: Path) -> str:
    """A file as the reader of a message knows it.

    Relative to the site's folder where it lies below it."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
