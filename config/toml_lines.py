"""A TOML file with the lines at which its keys stand.

So that a mistake can be shown where it was made."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path as File
from typing import Any, Final

from config.bounded_file import read_file
from config.problems import ConfigError, Problem
from config.toml_hints import hint

Path = tuple[str | int, ...]
"""The keys that lead to a value; tables of an array and elements of a list count from 0."""

MOST_DOTS: Final = 1000
"""In one line: a key with many parts costs their square."""
_BLANK: Final = re.compile(r"(?:\s+|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BARE_VALUE: Final = re.compile(r"[^,\]}#\n]+")
_STRING: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'",
    re.DOTALL,
)


def read_toml(path: File, name: str) -> tuple[dict[str, Any], dict[Path, int]]:
    """The content of a file and the lines of its keys.

    ConfigError with the line when it cannot be read as TOML."""
    text = toml_text(path, name)
    return parse_toml(text, name), locate(text)


def toml_text(path: File, name: str) -> str:
    """The text of a file. ConfigError when it cannot be read."""
    try:
        data = read_file(path)
        return data.decode("utf-8-sig")
    except OSError as error:
        raise _no_toml(name, 1, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _no_toml(name, line, "is not written in UTF-8") from None


def parse_toml(text: str, name: str, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """The content of a TOML text. ConfigError with the line where it is none."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.count(".") > MOST_DOTS:
            raise _no_toml(name, number, f"has more than {MOST_DOTS} points: part the line")
    try:
        return tomllib.loads(text, parse_float=parse_float)
    except RecursionError:
        raise _no_toml(name, 1, "has too many brackets inside one another") from None
    except ArithmeticError:
        raise _no_toml(name, 1, "has a number whose exponent is out of reason") from None
    except ValueError as error:  # of its numbers and days, too
        message, _, place = str(error).rpartition(" (at ")
        numbered = re.match(r"line (\d+)", place)
        line_number = int(numbered[1]) if numbered else text.rstrip("\n").count("\n") + 1
        told = f"is no TOML: {message or error}{hint(message, _line(text, line_number))}"
        raise _no_toml(name, line_number, told) from None


def _no_toml(name: str, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(name, line, "file", message)])


def _line(text: str, number: int) -> str:
    return text.split("\n")[number - 1].rstrip("\r")


def locate(text: str) -> dict[Path, int]:
    """The line number of each table, key and list element of a TOML text, by its path.

    A text that is no TOML is searched up to where it cannot be followed any more."""
    reader = _Reader(text)
    with suppress(IndexError, ValueError):  # it ends inside a header, a pair or a value
        reader.read()
    return reader.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest parent that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Reader:
    """One walk through the text, from key to key; `lines` grows on the way."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {(): 1}
        self._text = text
        self._at = 0
        self._line_starts = [0] + [match.end() for match in re.finditer("\n", text)]
        self._newest_element: dict[Path, int] = {}

    def read(self) -> None:
        table: Path = ()
        while self._skip_blank() < len(self._text):
            if self._text.startswith("[[", self._at):
                table = self._header(brackets=2)
            elif self._text[self._at] == "[":
                table = self._header(brackets=1)
            else:
                self._pair(table)

    def _header(self, *, brackets: int) -> Path:
        """[a.b] or [[a.b]]; a name on the way that is an array of tables means its last element."""
        start = self._at
        self._at += brackets
        names = self._key()
        self._at = self._text.index("]" * brackets, self._at) + brackets
        path: Path = ()
        for depth, name in enumerate(names, 1):
            path = (*path, name)
            if brackets == 2 and depth == len(names):
                self._newest_element[path] = self._newest_element.get(path, -1) + 1
            if path in self._newest_element:
                self._note(path, start)
                path = (*path, self._newest_element[path])
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
        match self._text[self._skip_blank()]:
            case "[":
                self._list(path)
            case "{":
                self._inline_table(path)
            case _:
                self._scalar()

    def _list(self, path: Path) -> None:
        self._at += 1
        count = 0
        while self._text[self._skip_blank()] != "]":
            element = (*path, count)
            self._note(element, self._at)
            self._value(element)
            self._skip_comma()
            count += 1
        self._at += 1

    def _inline_table(self, path: Path) -> None:
        self._at += 1
        while self._text[self._skip_blank()] != "}":
            self._pair(path)
            self._skip_comma()
        self._at += 1

    def _scalar(self) -> None:
        found = _STRING.match(self._text, self._at) or _BARE_VALUE.match(self._text, self._at)
        self._at = found.end() if found else self._at + 1

    def _skip_comma(self) -> None:
        if self._text[self._skip_blank()] == ",":
            self._at += 1

    def _skip_blank(self) -> int:
        """The place of the next character that is neither blank nor comment."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _note(self, path: Path, at: int) -> None:
        self.lines.setdefault(path, bisect_right(self._line_starts, at))
