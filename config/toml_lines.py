"""A TOML file with the lines at which its keys stand, so that a mistake can be shown where it was
made."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path as File
from typing import Any

from config.problems import ConfigError, Problem

_NAME = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"({_NAME}(?:[ \t]*\.[ \t]*{_NAME})*)"
_TABLE = re.compile(rf"\s*(\[\[?)[ \t]*{_DOTTED}[ \t]*\]")
_KEY = re.compile(rf"\s*{_DOTTED}[ \t]*=")
_PART = re.compile(_NAME)
_VALUE = re.compile(r"""\"""|'''|"(?:\\.|[^"\\])*"|'[^']*'|#.*|[\[\]{}]""")
_END = {'"""': re.compile(r'(?:\\.|[^\\])*?"""'), "'''": re.compile(r".*?'''")}

Path = tuple[str | int, ...]


def read_toml(path: File, name: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The content of a file and the lines of its keys. ConfigError with the line when it cannot be
    read as TOML."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
        return tomllib.loads(text), locate(text)
    except OSError as error:
        raise ConfigError([Problem(name, 1, "file", f"cannot be read: {error.strerror}")]) from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(name, line, "file", "is not written in UTF-8")]) from None
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).rpartition(" (at ")
        numbered = re.match(r"line (\d+)", place)
        line = int(numbered[1]) if numbered else text.rstrip("\n").count("\n") + 1
        raise ConfigError(
            [Problem(name, line, "file", f"is no TOML: {message or error}")]
        ) from None


def locate(text: str) -> dict[Path, int]:
    """The line number of each table and key of a TOML text by its path; [[tables]] count from 0.

    For messages only: keys inside inline tables are not found; look up their parent.
    """
    lines: dict[Path, int] = {(): 1}
    counted: Counter[Path] = Counter()
    here: Path = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if depth == 0 and not quote:
            if table := _TABLE.match(line):
                here = ()
                parts = _parts(table[2])
                for place, part in enumerate(parts, 1):
                    here = (*here, part)
                    if place == len(parts) and table[1] == "[[":
                        counted[here] += 1
                    if counted[here]:
                        here = (*here, counted[here] - 1)
                lines.setdefault(here, number)
                continue
            if not (key := _KEY.match(line)):
                continue
            path = here
            for part in _parts(key[1]):
                path = (*path, part)
                lines.setdefault(path, number)
            line = line[key.end() :]
        depth, quote = _still_open(line, depth, quote)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest parent that has one."""
    while path not in lines:
        path = path[:-1]
    return lines[path]


def _parts(dotted: str) -> list[str]:
    return [part[1:-1] if part[0] in "\"'" else part for part in _PART.findall(dotted)]


def _still_open(line: str, depth: int, quote: str) -> tuple[int, str]:
    """How many brackets of a value, and which long string, are open at the end of its line."""
    at = 0
    while True:
        if quote:
            end = _END[quote].match(line, at)
            if end is None:
                return depth, quote
            at, quote = end.end(), ""
        token = _VALUE.search(line, at)
        if token is None:
            return depth, quote
        at = token.end()
        if token[0] in _END:
            quote = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth = max(0, depth - 1)
