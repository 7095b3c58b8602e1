"""What was meant where a file is no TOML: the usual slips, told from the line that ends it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

_PAIR: Final = re.compile(r"\s*(?P<key>[\w.\"'-]+)\s*=\s*(?P<value>.*?)\s*(#.*)?")
_HEADER: Final = re.compile(r"\s*\[\[?\s*(?P<name>[^\[\]]+?)\s*\]")
_CURLY: Final = re.compile("[\u201c\u201d\u2018\u2019\uff02]")
_COLON: Final = re.compile(r"\s*[\w.-]+\s*[:\uff1a]")
_UNSEEN: Final = re.compile("[\u00a0\u2000-\u200f\u2028-\u202f\u3000\ufeff]")
"""Blanks of word processors, and marks without any width."""
SECRETS: Final = frozenset({"password", "url", "migration_url"})
"""What stands there is not repeated in a message."""


def hint(message: str, line: str) -> str:
    """` (...)` with what to write instead, or an empty string where that is not clear."""
    return _repeated(line) if "overwrite" in message or "twice" in message else _slip(line)


def _repeated(line: str) -> str:
    found = _HEADER.match(line)
    if found is None:
        if line.lstrip().startswith("["):
            return ""
        key = line.partition("=")[0].strip()
        return f" ({key} stands twice)" if key else ""
    name = found["name"]
    if line.lstrip().startswith("[["):
        return f" (another [{name}] has one bracket: write [[{name}]] each time)"
    return (
        f" ([{name}] stands twice: put its keys together, or write [[{name}]] for each of several)"
    )


def _slip(line: str) -> str:
    if _CURLY.search(line):
        return ' (quotation marks are written " here)'
    if line.lstrip().startswith(("//", ";", "--")):
        return " (a remark begins with #)"
    if "\uff1d" in line or _COLON.match(line):
        return " (write = between key and value)"
    unseen = _UNSEEN.search(line)
    if unseen is not None:
        return f" (U+{ord(unseen[0]):04X} is no plain blank: write it again)"
    found = _PAIR.fullmatch(line)
    if found is None:
        return ""
    if found["key"] in SECRETS:
        return f' ({found["key"]} is a secret and stands elsewhere: {{ file = "PATH" }})'
    value = found["value"]
    fitting = (say(value) for slip, say in _SLIPS if slip.fullmatch(value))
    return next((f" ({words})" for words in fitting), "")


_SLIPS: Final[Sequence[tuple[re.Pattern[str], Callable[[str], str]]]] = (
    (re.compile("\"[^\"\\\\]*|'[^']*"), lambda _: "the quotation mark at its end is missing"),
    (re.compile(r"\d{4}-\d{2}-\d{2}"), lambda value: f"{value} is no day"),
    (re.compile(r"\d{1,2}:\d{2}"), lambda value: f'write "{value:0>5}"'),
    (re.compile("true|yes", re.IGNORECASE), lambda _: "write true"),
    (re.compile("false|no", re.IGNORECASE), lambda _: "write false"),
    (re.compile(r'".*\\.*'), lambda _: "a path with \\ stands between ': 'C:\\meterd'"),
    (
        re.compile(r"0\d+"),
        lambda value: f'a number has no zeros in front; a text: "{value}"',
    ),
    (
        re.compile(r"\[?\s*\d{4}/\d{1,2}/\d{1,2}.*"),
        lambda _: "a day is written 2026-03-01, with hyphens",
    ),
    (re.compile(r".*[^\s,],"), lambda value: f"without a comma at its end: {value[:-1]}"),
    (re.compile(r"\d+,\d+"), lambda value: f"write {value.replace(',', '.')}"),
    (
        re.compile(r"[^\W\d][^\s\"'\[\]{},]*"),
        lambda value: f'a text has quotation marks: "{value}"',
    ),
)
