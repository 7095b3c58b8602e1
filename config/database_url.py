"""The URL of a database, looked at before anything is opened.

What a server or its library says of a wrong one may quote the password."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote

_SCHEME: Final = re.compile("postgres(ql)?://")
_WRONG_PERCENT: Final = re.compile("%(?![0-9A-Fa-f]{2})")
_BLANK: Final = re.compile(r"[\s\x00-\x1f\x7f]")
_PORTS: Final = re.compile("[0-9]{0,5}(,[0-9]{0,5})*")
_PAIR: Final = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|[^'\s]\S*)(?:\s+|$)")
_WHOLE: Final = re.compile("-?[0-9]{1,9}")
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
ESCAPED: Final = "in a password % is written %25, @ is %40, / is %2F, : is %3A"
HIGHEST_PORT: Final = 65_535
NUMBERS: Final = frozenset(
    {
        "connect_timeout",
        "tcp_user_timeout",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
    }
)
TLS_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "sslcompression": ("0", "1"),
    "sslsni": ("0", "1"),
    "ssl": ("true",),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "gssdelegation": ("0", "1"),
    "gsslib": ("gssapi",),
    "load_balance_hosts": ("disable", "random"),
    "target_session_attrs": (
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "min_protocol_version": ("3.0", "3.2", "latest"),
    "max_protocol_version": ("3.0", "3.2", "latest"),
}
TEXTS: Final = frozenset(
    {
        "service",
        "user",
        "password",
        "passfile",
        "dbname",
        "host",
        "hostaddr",
        "port",
        "client_encoding",
        "options",
        "application_name",
        "fallback_application_name",
        "sslcert",
        "sslkey",
        "sslkeylogfile",
        "sslpassword",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "requirepeer",
        "require_auth",
        "krbsrvname",
        "scram_client_key",
        "scram_server_key",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_scope",
    }
)
"""What else libpq 18 knows."""


def mistake_in(url: str) -> str:
    """What is wrong with it, without a part of it; empty where a server can be looked for."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        pairs = _pairs(url)
        if not pairs:
            return "is neither postgresql://USER@HOST/NAME nor name=value ..."
        return _mistake_in_options(pairs)
    if _BLANK.search(url):
        return "has a blank, or what cannot be printed: a blank is written %20"
    place, _, options = url[scheme.end() :].partition("?")
    if _WRONG_PERCENT.search(place) or _WRONG_PERCENT.search(options):
        return f"has a % that no two hexadecimal digits follow: {ESCAPED}"
    server, _, name = place.partition("/")
    if server.count("@") > 1 or "@" in name:
        return f"has more than one @: {ESCAPED}"
    hosts = server.rpartition("@")[2]
    if mistake := _mistake_in_ports(",".join(_port(host) for host in hosts.split(","))):
        return mistake
    parts = [part.partition("=") for part in options.split("&") if options]
    return _mistake_in_options((unquote(name), unquote(value)) for name, _, value in parts)


def _port(host: str) -> str:
    """Of an address in brackets, what follows them."""
    return host.rpartition("]")[2].partition(":")[2]


def _mistake_in_ports(ports: str) -> str:
    if not _PORTS.fullmatch(ports):
        return f"has a port that is no number: {ESCAPED}"
    if any(not 0 < int(port) <= HIGHEST_PORT for port in ports.split(",") if port):
        return f"has a port that is not 1 to {HIGHEST_PORT}"
    return ""


def _mistake_in_options(options: Iterable[tuple[str, str]]) -> str:
    for name, value in options:
        if name in NUMBERS and not _WHOLE.fullmatch(value):
            return f"has a {name} that is no whole number"
        if name in CHOICES and value not in CHOICES[name]:
            return f"has a {name} that is none of {', '.join(CHOICES[name])}"
        if name == "hostaddr" and not all(map(_is_address, value.split(","))):
            return "has a hostaddr that is no IP address"
        if name == "port" and (mistake := _mistake_in_ports(value)):
            return mistake
        if name not in NUMBERS | CHOICES.keys() | TEXTS:
            return f"has an option that PostgreSQL does not know: {ESCAPED}, ? is %3F, & is %26"
    return ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return not text  # the host's own
    return True


def _pairs(text: str) -> list[tuple[str, str]]:
    """Of the form name=value; none where a part of it has another form."""
    pairs = []
    at = 0
    while at < len(text):
        found = _PAIR.match(text, at)
        if found is None:
            return []
        name, value = found.groups()
        quoted = value[1:-1] if value.startswith("'") else value
        pairs.append((name, _ESCAPE.sub(r"\1", quoted)))
        at = found.end()
    return pairs
