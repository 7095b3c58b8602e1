"""What is wrong with a setting, in words: what stands there, what may stand there, what to write.

The library that validates knows the rule that was broken; the reader of the file wants to know
what to type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from config.cells import without_unit
from config.problems import did_you_mean

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_TRUTH: Final = {"true": "true", "yes": "true", "false": "false", "no": "false"}


def in_words(mistake: Mapping[str, Any]) -> str:
    """The sentence for one error of pydantic: its `type`, `msg`, `input` and `ctx`."""
    sentence = _SENTENCES.get(mistake["type"])
    if sentence is None:
        return str(mistake["msg"]).removeprefix("Value error, ")
    unit = str(mistake["loc"][-1]).rpartition("_")[2] if mistake["loc"] else ""
    return sentence(mistake["input"], {**mistake.get("ctx", {}), "unit": unit})


def _shown(value: object) -> str:
    """A value as it stands in the file."""
    match value:
        case str():
            return f'"{value}"'
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case dict():
            return "a table"
    return str(value)


def _plain(limit: float) -> str:
    return str(limit).removesuffix(".0")


def _as_text(value: object) -> str:
    if isinstance(value, list | dict):
        return ""
    return f': write "{_shown(value)}"'


def _unquoted(value: object, unit: str = "") -> str:
    """`unit`: with which the key ends."""
    if not isinstance(value, str):
        return ""
    if _NUMBER.fullmatch(value):
        return f": write {value} without quotation marks"
    meant = without_unit(value, unit)
    return f": write {meant} without quotation marks and unit" if meant else ""


def _truth(value: object) -> str:
    word = _TRUTH.get(str(value).lower()) if isinstance(value, str) else None
    return f": write {word} without quotation marks" if word else ""


def _none_of(value: object, expected: str) -> str:
    """`expected`: as pydantic lists what a literal may be, `'E', 'O' or 'N'`."""
    choices = f"none of {expected}".replace("'", '"')
    if "," not in choices:
        choices = choices.replace("none of", "neither").replace(" or ", " nor ")
    known = [choice.strip("'") for choice in re.split(", | or ", expected)]
    if isinstance(value, str) and value in known:  # a number that stands there as a text
        return f"{_shown(value)} is {choices}{_unquoted(value)}"
    if isinstance(value, int) and f"'{value}'" in expected:  # or a text as a number
        return f"{_shown(value)} is {choices}{_as_text(value)}"
    return f"{_shown(value)} is {choices}{did_you_mean(str(value).lower(), known)}"


_SENTENCES: Final[Mapping[str, Callable[[Any, Mapping[str, Any]], str]]] = {
    "missing": lambda _, __: "is missing",
    "string_type": lambda value, _: f"{_shown(value)} is no text{_as_text(value)}",
    "string_too_short": lambda _, __: "is empty",
    "string_too_long": lambda _, rule: f"has more than {rule['max_length']} characters",
    "too_short": lambda _, rule: f"lists too little: at least {rule['min_length']}",
    "int_type": lambda value, rule: (
        f"{_shown(value)} is no whole number{_unquoted(value, rule['unit'])}"
    ),
    "float_type": lambda value, rule: (
        f"{_shown(value)} is no number{_unquoted(value, rule['unit'])}"
    ),
    "greater_than_equal": lambda value, rule: (
        f"{value} is too small: at least {_plain(rule['ge'])}"
    ),
    "less_than_equal": lambda value, rule: f"{value} is too large: at most {_plain(rule['le'])}",
    "bool_type": lambda value, _: f"{_shown(value)} is neither true nor false{_truth(value)}",
    "literal_error": lambda value, rule: _none_of(value, rule["expected"]),
    "tuple_type": lambda _, __: (
        'must be a list: ["...", "..."], or tables with two brackets each: [[...]]'
    ),
    "model_type": lambda _, __: "must be one table: { KEY = VALUE, ... }, or [...] above its keys",
}
