"""Where in a TOML file a key stands, so that a mistake can be shown with its line."""

from __future__ import annotations

import re
from collections import Counter

_TABLE = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")

Path = tuple[str | int, ...]


def locate(text: str) -> dict[Path, int]:
    """The line number of each table and key of a TOML text by its path; [[tables]] count from 0.

    For messages only: keys inside inline tables and multi-line strings are not found; look up their parent.
    """
    lines: dict[Path, int] = {(): 1}
    counted: Counter[Path] = Counter()
    here: Path = ()
    for number, line in enumerate(text.splitlines(), 1):
        if table := _TABLE.match(line):
            here = ()
            parts = [part.strip("\"'") for part in _PART.findall(table[2])]
            for depth, part in enumerate(parts):
                here = (*here, part)
                if depth == len(parts) - 1 and table[1] == "[[":
                    counted[here] += 1
                if counted[here]:
                    here = (*here, counted[here] - 1)
            lines.setdefault(here, number)
        elif key := _KEY.match(line):
            path = here
            for part in _PART.findall(key[1]):
                path = (*path, part.strip("\"'"))
                lines.setdefault(path, number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest parent that has one."""
    while path not in lines:
        path = path[:-1]
    return lines[path]
