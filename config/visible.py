"""Text from outside as it may stand on a terminal or in a log: shown, never obeyed."""

from __future__ import annotations

import re
from typing import Final

# Controls (ESC and BEL, C1 among them), what turns the direction of writing, halves of characters.
_CONTROL: Final = r"\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_INVISIBLE: Final = re.compile(rf"[\x00-\x1f{_CONTROL}]")
_BUT_LINES: Final = re.compile(rf"[\x00-\x08\x0b-\x1f{_CONTROL}]")


def visible(text: str) -> str:
    """On one line, each control character as its escape."""
    return _INVISIBLE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """The same, with its line ends and tabs as they are."""
    return _BUT_LINES.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
