"""Values as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any


def as_toml(value: Any) -> str:
    """A value as it stands behind a key, on one line; tables are inline."""
    match value:
        case dict():
            return (
                "{ "
                + ", ".join(f"{_text(key)} = {as_toml(it)}" for key, it in value.items())
                + " }"
            )
        case list() | tuple():
            return "[" + ", ".join(map(as_toml, value)) + "]"
        case Decimal():
            return f"{value:f}"
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return _text(value)


def toml_document(content: Mapping[str, Any]) -> str:
    """A whole file, a key a line."""
    return "".join(f"{_text(key)} = {as_toml(value)}\n" for key, value in content.items())


def _text(value: Any) -> str:
    # Escapes of JSON are TOML's too, but for pairs of surrogates: so letters stay as they are.
    return json.dumps(value, ensure_ascii=False)
