"""What the values of `meterd.toml` may be: each is parsed into its type or refused in words."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import date, time, timedelta
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, ValidationInfo

from config.calendars import country_days
from config.cells import without_unit
from config.database_url import mistake_in
from config.endpoints import endpoint
from config.secret import Secret, read_secret
from protocols.dial_in.callers import Network
from protocols.dial_in.registration import (
    Heartbeat,
    Kind,
    Registration,
    fixed_bytes,
    heartbeat,
    registration,
)

_NAME: Final = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST: Final = timedelta(days=3650)
"""Maximum of any duration in the settings."""


def _text(pattern: str, what: str) -> AfterValidator:
    """A text of this pattern; `what` says in a mistake what it must be."""
    known = re.compile(pattern)

    def parse(value: str) -> str:
        if not known.fullmatch(value):
            raise ValueError(f'"{value}" is not {what}')
        return value

    return AfterValidator(parse)


def line_name(value: str) -> str:
    """A label of metrics, a file name of traces and a part of topics. ValueError otherwise."""
    if not _NAME.fullmatch(value):
        raise ValueError(f'"{value}" is no name of a line: letters, digits, ".", "_" and "-"')
    return value


_NO_PLACE: Final = re.compile("localtime|Factory|posixrules|(posix|right)/.*")
_YUAN: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,2}0*)?")
"""ASCII digits and one point: what Python takes besides is an amount that nobody meant."""


def zone(name: object) -> ZoneInfo:
    """A zone with days and years of its own. ValueError otherwise."""
    if _NO_PLACE.fullmatch(str(name)):
        raise ValueError(
            f"{name!r} is the time of this machine, or counts leap seconds: name a place, as "
            "Asia/Shanghai"
        )
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is no IANA time zone (for example Asia/Shanghai)") from None


def _path(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a path")
    return (_base(info) / value).absolute()


def _secret(value: object, info: ValidationInfo) -> Secret:
    return read_secret(value, _base(info))


def _database_url(value: object, info: ValidationInfo) -> Secret:
    url = _secret(value, info)
    if mistake := mistake_in(url.reveal()):
        raise ValueError(mistake)
    return url


def _base(info: ValidationInfo) -> Path:
    base = info.context["base"] if info.context else Path()
    assert isinstance(base, Path)
    return base


def _endpoint(value: object) -> tuple[str, int]:
    if not isinstance(value, str):
        raise ValueError(f'{value!r} is not HOST:PORT, as "192.168.1.9:7001" is')
    return endpoint(value)


def network(value: object) -> Network:
    """An address with the length of its prefix, or an address alone. ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError('must be a network as text: "10.20.0.0/16"')
    try:
        found = ip_network(value.strip())
    except ValueError:
        hint = ""
        with suppress(ValueError):
            hint = f'; write "{ip_network(value.strip(), strict=False)}"'
        raise ValueError(f'"{value}" is no network, as "10.20.0.0/16" is{hint}') from None
    if not found.prefixlen:
        raise ValueError(f'"{value}" is every address there is: that permits nobody in particular')
    return found


def _networks(value: object) -> tuple[Network, ...]:
    if not isinstance(value, list):
        raise ValueError('must be a list of networks: ["10.20.0.0/16"]')
    return tuple(network(item) for item in value)


def _clock(value: object) -> time:
    # As people write the end of a day; `time` knows no such hour.
    if value == "24:00":
        return time.max
    try:
        if isinstance(value, str):
            clock = time.fromisoformat(value)
            if clock.tzinfo is None:
                return clock
    except ValueError:
        pass
    raise ValueError(f'{value!r} is no time of day, write "09:00"')


def _yuan(value: object) -> int:
    """Money in a file is a string in yuan; inside it is integer fen."""
    if not isinstance(value, str) or not _YUAN.fullmatch(value):
        raise ValueError(
            f"{value!r} is no amount in yuan with at most two decimals; "
            f'write it as a string: "{_without_unit(value, "yuan") or "5.00"}"'
        )
    return int(Decimal(value).scaleb(2))


def _without_unit(value: object, unit: str) -> str | None:
    return without_unit(value, unit) if isinstance(value, str) else None


def _duration(unit: timedelta, name: str, least: float = 0) -> BeforeValidator:
    def parse(value: object) -> timedelta:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not 0 <= value <= LONGEST / unit
        ):
            meant = _without_unit(value, name)
            hint = f": write {meant} without a unit" if meant else ""
            raise ValueError(f"{value!r} is no number of {name}{hint}")
        if value < least:
            raise ValueError(f"{value!r} is too small: at least {least}")
        return value * unit

    return BeforeValidator(parse)


def _days(value: object) -> frozenset[date]:
    if not isinstance(value, list) or not all(type(day) is date for day in value):
        raise ValueError("write days without quotation marks: [2026-10-01, 2026-10-02]")
    return frozenset(value)


def registration_form(value: object) -> Registration:
    """`{ hex = ... }`, `{ text = ... }` or `{ regex = ... }` as a site writes it.

    ValueError says what is wrong."""
    return registration(*_words(value))


def _heartbeat_form(value: object) -> Heartbeat:
    return heartbeat(*_words(value))


def _answer(value: object) -> bytes:
    return fixed_bytes(*_words(value))


def _heartbeat_answer(value: object) -> bytes | Literal["echo"]:
    return "echo" if value == "echo" else _answer(value)


def _words(value: object) -> tuple[Kind, str]:
    match value:
        case {"hex": str(words), **others} if not others:
            return "hex", words
        case {"text": str(words), **others} if not others:
            return "text", words
        case {"regex": str(words), **others} if not others:
            return "regex", words
    raise ValueError('is given as { hex = "..." }, { text = "..." } or { regex = "..." }')


def _country(value: str) -> str:
    country_days(value, ())
    return value


Zone = Annotated[ZoneInfo, BeforeValidator(zone)]
SitePath = Annotated[Path, BeforeValidator(_path)]
SecretValue = Annotated[Secret, BeforeValidator(_secret)]
DatabaseUrl = Annotated[Secret, BeforeValidator(_database_url)]
Endpoint = Annotated[tuple[str, int], BeforeValidator(_endpoint)]
Clock = Annotated[time, BeforeValidator(_clock)]
YuanAsFen = Annotated[int, BeforeValidator(_yuan)]
Seconds = Annotated[timedelta, _duration(timedelta(seconds=1), "seconds")]
RetrySeconds = Annotated[timedelta, _duration(timedelta(seconds=1), "seconds", 1)]
ReconnectSeconds = Annotated[timedelta, _duration(timedelta(seconds=1), "seconds", 0.1)]
"""Who is asked again without a pause is flooded."""
Hours = Annotated[timedelta, _duration(timedelta(hours=1), "hours")]
Minutes = Annotated[timedelta, _duration(timedelta(minutes=1), "minutes")]
EscalationMinutes = Annotated[timedelta, _duration(timedelta(minutes=1), "minutes", 0.1)]
"""Whoever is told without a pause hears nothing any more."""
RegistrationForm = Annotated[Registration, BeforeValidator(registration_form)]
HeartbeatForm = Annotated[Heartbeat, BeforeValidator(_heartbeat_form)]
Answer = Annotated[bytes, BeforeValidator(_answer)]
HeartbeatAnswer = Annotated[bytes | Literal["echo"], BeforeValidator(_heartbeat_answer)]
Days = Annotated[frozenset[date], BeforeValidator(_days)]
Country = Annotated[str, AfterValidator(_country)]
Networks = Annotated[tuple[Network, ...], BeforeValidator(_networks)]
Name = Annotated[str, AfterValidator(line_name)]
PasswordLevel = Annotated[str, _text("[0-9]{2}", 'two digits: "02"')]
OperatorCode = Annotated[str, _text("[0-9]{8}", 'eight digits: "00000001"')]
TopicPart = Annotated[str, _text("[^+#]+", "part of a topic: neither empty nor with + or #")]
TopicLevel = Annotated[str, _text("[^+#/]+", "one level of a topic: not empty, without + # /")]
ShellyComponent = Annotated[
    str, _text("(emdata|em1data|pm1|switch):[0-9]", 'a component: "emdata:0", em1data, pm1, switch')
]
TasmotaTotal = Annotated[
    str, _text(r"[^.+#/]+(\.[^.+#/]+)?", 'TABLE.NAME in its messages: "ENERGY.Total"')
]
SerialDevice = Annotated[
    str, _text(r"/[^\s\x00]*", 'a device: "/dev/serial/by-id/..." or "/dev/ttyS0"')
]
