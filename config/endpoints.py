"""HOST:PORT, in one way for files and options."""

from __future__ import annotations

import re
from typing import Final

_ENDPOINT: Final = re.compile(
    r"(?:(?P<host>[^\s:/\[\]]+)|\[(?P<ip6>[0-9a-fA-F:.]+)\]):(?P<port>[0-9]{1,5})", re.ASCII
)
_SCHEME: Final = re.compile(r"[a-z]+://")
_LAST_PORT: Final = 65535


def endpoint(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; an IPv6 address stands in brackets. ValueError otherwise."""
    found = _parted(text)
    if found is None:
        raise ValueError(f"'{text}' is not HOST:PORT{_how_to_write(text)}")
    return found


def _parted(text: str) -> tuple[str, int] | None:
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found["port"]) > _LAST_PORT:
        return None
    return found["host"] or found["ip6"], int(found["port"])


def _how_to_write(text: str) -> str:
    bare = _SCHEME.sub("", text.strip()).rstrip("/")
    host, _, port = bare.rpartition(":")
    for meant in (bare, f"[{host}]:{port}"):
        if _parted(meant):
            return f': write "{meant}"'
    return ', as "192.168.1.9:7001" is'
