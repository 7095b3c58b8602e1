"""What was meant where a file is no TOML: the usual slips, told from the line that ends it."""

from __future__ import annotations

import re
from typing import Final

_PAIR: Final = re.compile(r"\s*[\w.\"'-]+\s*=\s*(?P<value>.*?)\s*(#.*)?")
_TIME: Final = re.compile(r"(\d{1,2}):(\d{2})")
_CURLY: Final = re.compile("[\u201c\u201d\u2018\u2019\uff02]")
_WORD: Final = re.compile(r"[^\W\d][^\s\"'\[\]{},]*")
_TRUTH: Final = {"true": "true", "yes": "true", "false": "false", "no": "false"}


def hint(line: str) -> str:
    """` (...)` with what to write instead, or an empty string where that is not clear."""
    if _CURLY.search(line):
        return ' (quotation marks are written " here)'
    if "\uff1d" in line:
        return " (write = between key and value)"
    found = _PAIR.fullmatch(line)
    if found is None:
        return ""
    value = found["value"]
    time = _TIME.fullmatch(value)
    if time is not None:
        return f' (write "{int(time[1]):02}:{time[2]}")'
    if value.lower() in _TRUTH:
        return f" (write {_TRUTH[value.lower()]})"
    if value.startswith('"') and "\\" in value:
        return " (a path with \\ stands between ': 'C:\\meterd')"
    if re.fullmatch(r"0\d+", value):
        return f' (a number has no zeros in front; a text: "{value}")'
    if re.fullmatch(r"\d+,\d+", value):
        return f" (write {value.replace(',', '.')})"
    if _WORD.fullmatch(value):
        return f' (a text has quotation marks: "{value}")'
    return ""
