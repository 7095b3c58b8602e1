"""Texts that PostgreSQL cannot hold: what devices, persons and errors tell may be any bytes.

NUL and lone surrogates (bytes that are no UTF-8) become U+FFFD. What must not change unseen, such
as keys of payments and numbers of accounts, is refused where it comes in."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.errors import DataError
from psycopg.types.json import set_json_dumps
from psycopg.types.string import StrDumperUnknown

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text without what no row can hold."""
    return UNSTORABLE.sub("\ufffd", text)


def keep_any_text(connection: AsyncConnection[Any]) -> None:
    """No text that is to be stored fails a statement of this connection."""
    connection.adapters.register_dumper(str, _AnyText)
    set_json_dumps(_any_json, connection)


class _AnyText(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        try:
            return super().dump(obj)
        except (DataError, UnicodeEncodeError):
            return super().dump(storable(obj))


def _any_json(value: Any) -> str:
    text = json.dumps(value)
    # As JSON writes NUL, and surrogates; a pair of these is one character, which stays.
    is_doubtful = "\\u0000" in text or "\\ud" in text
    return json.dumps(_storable(value)) if is_doubtful else text


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case dict():
            return {_storable(key): _storable(it) for key, it in value.items()}
        case list() | tuple():
            return [_storable(it) for it in value]
    return value
