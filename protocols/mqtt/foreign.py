"""What the mapped families have in common: exact numbers, and JSON of which only a part matters."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from protocols.errors import FrameError

WH_PER_KWH = 3
"""Decimals between Wh and kWh, W and kW."""
MOST_CHARACTERS = 32
"""Of a serial number."""
MOST_DIGITS = 20
"""Of a number, zeros of its exponent counted: 1E+999999 is a few bytes and fills the memory."""

_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
"""As JSON writes it: Python's own takes also 1_000 and the digits of every script."""
_JSON: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=Decimal)


def json_object(topic: str, payload: bytes) -> dict[str, Any]:
    """A JSON object with its numbers as int and Decimal. FrameError for anything else."""
    try:
        content = _JSON.decode(payload)
    except (msgspec.DecodeError, ValueError, ArithmeticError, RecursionError) as error:
        raise FrameError(f"{topic}: no JSON: {error}") from None
    if not isinstance(content, dict):
        raise FrameError(f"{topic}: a JSON object is expected, not {type(content).__name__}")
    return content


def table(topic: str, content: dict[str, Any], name: str) -> dict[str, Any]:
    """The object at `name`, {} when it is missing or null. FrameError when it is something else."""
    found = content.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise FrameError(f"{topic}: {name} must be an object, not {found!r}")
    return found


def text(topic: str, name: str, value: object) -> str | None:
    """A text of what can be printed; None when it is missing, null or empty."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable() or len(value) > MOST_CHARACTERS:
        raise FrameError(f"{topic}: {name} is no text of {MOST_CHARACTERS} characters: {value!r}")
    return value


def number(topic: str, name: str, value: object) -> Decimal | None:
    """A number, or the text of one, exactly; None for null and for an empty text.

    FrameError for anything else.
    """
    if value is None or value == "":
        return None
    exact = _decimal(value)
    if exact is None:
        raise FrameError(f"{topic}: {name} is no number: {value!r}")
    return exact


def scaled(value: Decimal | None, exponent: int) -> Decimal | None:
    """Times ten to the exponent, exactly: Wh to kWh is -3."""
    return None if value is None else value.scaleb(exponent)


def energy(topic: str, name: str, value: object, exponent: int = 0) -> Decimal | None:
    """A register in kWh: a number that is not negative."""
    kwh = scaled(number(topic, name, value), exponent)
    if kwh is not None and kwh < 0:
        raise FrameError(f"{topic}: {name} is negative: {value!r}")
    return kwh


def wall_time(topic: str, name: str, value: object) -> datetime | None:
    """ISO 8601 with or without a zone; None when it is missing or null."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise FrameError(f"{topic}: {name} is no time: {value!r}") from None


def _decimal(value: object) -> Decimal | None:
    # bool is an int to Python, and no number to anybody else.
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        exact = Decimal(value)
    except ArithmeticError:
        return None
    return exact if exact.is_finite() and _digits(exact) <= MOST_DIGITS else None


def _digits(value: Decimal) -> int:
    parts = value.as_tuple()
    assert isinstance(parts.exponent, int)
    return len(parts.digits) + abs(parts.exponent)
