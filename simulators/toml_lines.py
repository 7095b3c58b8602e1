"""Where in a TOML text each table, key and array element stands, so that a mistake can be shown
with its line."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from typing import Final

Path = tuple[str | int, ...]

_BLANK: Final = re.compile(r"(?:\s+|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\n]*")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)


def locate(text: str) -> Mapping[Path, int]:
    """The line number of each table, key and element of a VALID TOML text, by its path; [[tables]]
    count from 0."""
    return _Reader(text).read()


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest parent that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Reader:
    """One walk through the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self._lines: dict[Path, int] = {(): 1}
        self._elements: dict[Path, int] = {}

    def read(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank() < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(2, new_element=True)
            elif self._text[self._at] == "[":
                table = self._header(1, new_element=False)
            else:
                self._pair(table)
        return self._lines

    def _header(self, brackets: int, *, new_element: bool) -> Path:
        """[a.b] or [[a.b]]; a name on the way that is an array of tables means its last element."""
        start = self._at
        self._at += brackets
        names = self._key()
        self._at = self._text.index("]" * brackets, self._at) + brackets
        path: Path = ()
        for depth, name in enumerate(names, 1):
            path = (*path, name)
            if new_element and depth == len(names):
                self._elements[path] = self._elements.get(path, -1) + 1
            if path in self._elements:
                self._note(path, start)
                path = (*path, self._elements[path])
        self._note(path, start)
        return path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for name in self._key():
            path = (*path, name)
            self._note(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _key(self) -> list[str]:
        names = []
        while True:
            self._skip_blank()
            if string := _STRING.match(self._text, self._at):
                names.append(string[0][1:-1])
                self._at = string.end()
            elif bare := _BARE_KEY.match(self._text, self._at):
                names.append(bare[0])
                self._at = bare.end()
            if self._text[self._skip_blank()] != ".":
                return names
            self._at += 1

    def _value(self, path: Path) -> None:
        opening = self._text[self._skip_blank()]
        if opening in "[{":
            self._at += 1
            closing = "]" if opening == "[" else "}"
            count = 0
            while self._text[self._skip_blank()] != closing:
                if opening == "[":
                    self._note((*path, count), self._at)
                    self._value((*path, count))
                    count += 1
                else:
                    self._pair(path)
                if self._text[self._skip_blank()] == ",":
                    self._at += 1
            self._at += 1
        else:
            match = _STRING.match(self._text, self._at) or _BARE_VALUE.match(self._text, self._at)
            self._at = match.end() if match else self._at + 1

    def _skip_blank(self) -> int:
        match = _BLANK.match(self._text, self._at)
        self._at = match.end() if match else self._at
        return self._at

    def _note(self, path: Path, at: int) -> None:
        self._lines.setdefault(path, bisect_right(self._line_starts, at))
