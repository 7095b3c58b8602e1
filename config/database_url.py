"""The URL of a database, looked at before anything is opened.

What a server or its library says of a wrong one may quote the password."""

from __future__ import annotations

import re
from typing import Final

_SCHEME: Final = re.compile("postgres(ql)?://")
_WRONG_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_PORTS: Final = re.compile("[0-9]{0,5}(,[0-9]{0,5})*")
_PAIR: Final = re.compile(r"\s*\w+\s*=\s*(?:'(?:[^'\\]|\\.)*'|[^'\s]\S*)(?:\s+|$)")
ESCAPED: Final = "in a password % is written %25, @ is %40, / is %2F, : is %3A"


def mistake_in(url: str) -> str:
    """What is wrong with it, without a part of it; empty where a server can be looked for."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return "" if _is_pairs(url) else "is neither postgresql://USER@HOST/NAME nor name=value ..."
    place, _, options = url[scheme.end() :].partition("?")
    if _WRONG_PERCENT.search(place) or _WRONG_PERCENT.search(options):
        return f"has a % that no two hexadecimal digits follow: {ESCAPED}"
    server, _, name = place.partition("/")
    if server.count("@") > 1 or "@" in name:
        return f"has more than one @: {ESCAPED}"
    hosts = server.rpartition("@")[2]
    ports = [_port(host) for host in hosts.split(",")]
    if not all(_PORTS.fullmatch(port) for port in ports):
        return f"has a port that is no number: {ESCAPED}"
    return ""


def _port(host: str) -> str:
    """Of an address in brackets, what follows them."""
    return host.rpartition("]")[2].partition(":")[2]


def _is_pairs(text: str) -> bool:
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            return False
        at = found.end()
    return bool(text)
