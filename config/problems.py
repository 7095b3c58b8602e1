"""Mistakes in configuration files: all of them at once, each with file, line and a hint."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from reprlib import Repr
from typing import Final

from config.translation import ENGLISH, Words, words_of
from protocols.errors import MeterdError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake.

    `where` is its place inside the file (`line.gate-3.baud`, `meters.csv column address`)."""

    file: str
    line: int
    where: str
    message: str
    kind: str = field(default="", compare=False)
    """The message without the value it is about: rows with the same mistake have one kind."""

    def __str__(self) -> str:
        return self.told(self.message)

    def told(self, message: str) -> str:
        """The message, in whatever language it is given, behind its place."""
        return f"{self.file}:{self.line}: {self.where}: {message}"


_VARYING: Final = re.compile(r"[0-9]+| \(did you mean [^)]*\)")
"""What a message tells of one value besides the value itself."""


@dataclass
class Mistakes:
    """The mistakes of one table. `line`: of the row that is looked at."""

    file: str
    line: int = 1
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What is taken as it stands, and may be meant otherwise."""

    def tell(self, column: str, message: str, cell: str = "") -> None:
        """Add a mistake in a column of the row that is looked at. `cell`: what stands there."""
        kind = message
        if cell:
            # A whole word: one letter stands in other words, too.
            kind = re.sub(rf"(?<!\w){re.escape(cell)}(?!\w)", "", kind)
            kind = _VARYING.sub("", kind)
        self.problems.append(Problem(self.file, self.line, column, message, kind))

    def warn(self, column: str, message: str) -> None:
        """Add a warning at the row that is looked at."""
        self.warnings.append(Problem(self.file, self.line, column, message))


class ConfigError(MeterdError):
    """The configuration cannot be used. Whoever edits the file acts; exit code 78."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__(self.told(words_of(ENGLISH)))

    def told(self, words: Words) -> str:
        """The mistakes and how many they are."""
        told = list(told_once(self.problems, words))
        count = len(told)
        return "\n".join([*told, words(f"{count} mistake{'s' if count != 1 else ''}")])


def told_once(problems: Iterable[Problem], words: Words) -> Iterator[str]:
    """Each problem in words; the same mistake of several rows once, with their lines."""
    alike: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        key = (problem.file, problem.where, problem.kind or str(problem))
        alike.setdefault(key, []).append(problem)
    for first, *others in alike.values():
        told = first.told(words(first.message))
        lines = sorted({problem.line for problem in others} - {first.line})
        if lines:
            rows = "row" if len(lines) == 1 else "rows"
            again = words(f"the same in {len(lines)} more {rows}: {_spans(lines)}")
            told = f"{told} ({again})"
        yield told


def _spans(lines: Sequence[int]) -> str:
    """3, 5-7: numbers in their order, neighbours together."""
    spans = []
    for _, group in groupby(enumerate(lines), lambda numbered: numbered[1] - numbered[0]):
        together = [line for _, line in group]
        last = f"-{together[-1]}" if len(together) > 1 else ""
        spans.append(f"{together[0]}{last}")
    return ", ".join(spans)


LONGEST_WORD: Final = 200
"""What is longer is compared with nothing: it costs its length times that of all that is known."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """` (did you mean baud?)`, or an empty string when nothing known is so close."""
    if len(word) > LONGEST_WORD:
        return ""
    close = get_close_matches(word, list(known), 1, cutoff)
    return f" (did you mean {close[0]}?)" if close else ""


_QUOTING: Final = Repr()
_QUOTING.maxstring = _QUOTING.maxlong = _QUOTING.maxother = 60
_QUOTING.maxlist = _QUOTING.maxdict = 3
_QUOTING.maxlevel = 1


def quoted(told: object) -> str:
    """What somebody wrote, for a message: of what is long the middle is left out."""
    return _QUOTING.repr(told)


def shown(path: Path, base: Path) -> str:
    """A file as the reader of a message knows it.

    Relative to the site's folder where it lies below it."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)
