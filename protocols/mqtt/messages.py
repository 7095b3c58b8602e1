"""Our own JSON form, version 1: the messages between meterd and a gateway, and their JSON Schema.

Energies are strings, because a JSON number is a float to most of its readers. Unknown fields are
refused: a mistyped one would be lost without a word. What is added later comes with a new version.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from protocols.errors import FrameError
from protocols.mqtt.events import Action, Outcome
from protocols.reading import PrepaymentMode

VERSION: Final = 1

Address = Annotated[
    str, Meta(pattern="^[0-9]{12}$", description="12 digits as printed on the meter")
]
Energy = Annotated[
    str, Meta(pattern=r"^[0-9]{1,10}(\.[0-9]{1,4})?$", description="kWh, as a string")
]
Registers = Annotated[
    tuple[Energy | None, ...],
    Meta(
        min_length=1,
        max_length=64,
        description="total, tariff 1, tariff 2, ...; null where the meter has no data",
    ),
]
Token = Annotated[
    str,
    Meta(min_length=1, max_length=64, description="of the asker's choice; the answer repeats it"),
]
Serial = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=32,
        pattern="^[!-~]([ -~]*[!-~])?$",
        description="the meter's own number, which stays when its address is changed",
    ),
]
WallClock = Annotated[
    datetime,
    Meta(
        tz=False,
        description="the meter's wall clock, without zone",
        extra_json_schema={"pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}$"},
    ),
]
Instant = Annotated[
    datetime,
    Meta(
        tz=True,
        description="an instant, with zone",
        extra_json_schema={"pattern": r"(Z|[+-][0-9:]{4,6})$"},
    ),
]
Seconds = Annotated[int, Meta(ge=-(10**9), le=10**9)]


class Message(
    Struct,
    frozen=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    kw_only=True,
    tag_field="type",
    gc=False,
):
    """What every message has: its `type` and the version of the form."""

    v: Literal[1]


class DailyFreeze(Message, frozen=True, tag="daily_freeze"):
    """Pushed by the gateway after midnight, topic `up/daily_freeze`: what one meter froze."""

    meter: Address
    frozen_at: WallClock
    registers: Registers
    read_at: Instant
    clock_skew_s: Annotated[
        Seconds | None, Meta(description="meter clock minus gateway clock at `read_at`")
    ] = None
    serial: Serial | None = None


class Frozen(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """A daily freeze inside an answer."""

    frozen_at: WallClock
    registers: Registers
    clock_skew_s: Seconds | None = None
    serial: Serial | None = None


class Relay(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """Where the relay is, its last command, and whether the meter keeps power whatever that is."""

    open: bool
    command_open: bool | None = None
    keep_power: bool = False


class Identity(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """Which meter it is, and whether it deducts from a balance of its own."""

    serial: Serial | None = None
    prepayment: PrepaymentMode | None = None


class Answer(Message, frozen=True, tag="answer"):
    """Topic `up/answer`: to a read or a command, with its token.

    It carries the value that was asked for if `outcome` is ok, and no other.
    """

    token: Token
    meter: Address
    outcome: Outcome
    reason: str = ""
    daily_freeze: Frozen | None = None
    registers: Registers | None = None
    relay: Relay | None = None
    identity: Identity | None = None


class Status(Message, frozen=True, tag="status"):
    """Topics `up/status` and `down/status`, retained: sent after connecting, and as last will."""

    online: bool


class Echo(Message, frozen=True, tag="echo"):
    """Topic `up/echo`: meterd to itself, to prove that its subscription works."""

    token: Token


class Read(Message, frozen=True, tag="read"):
    """Topic `down/read`: ask one meter.

    `day` with daily_freeze only: the freeze at that day's 00:00.
    """

    token: Token
    meter: Address
    what: Literal["daily_freeze", "registers", "relay", "identity"]
    expires: Instant
    day: date | None = None


class Command(Message, frozen=True, tag="command"):
    """Topic `down/command`, never retained: move the relay.

    Done at most once for each `id`, never after `expires`.
    """

    token: Token
    id: UUID
    meter: Address
    action: Action
    expires: Instant


Up = DailyFreeze | Answer | Status | Echo
Down = Read | Command | Status
M = TypeVar("M")


class _Head(Struct):
    """The little that must be readable to say that the rest is of another version."""

    v: Any = None
    type: Any = None


_UP: msgspec.json.Decoder[Up] = msgspec.json.Decoder(Up)
_DOWN: msgspec.json.Decoder[Down] = msgspec.json.Decoder(Down)
_ENCODER = msgspec.json.Encoder()
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_up(payload: bytes) -> Up:
    """A message from a gateway. FrameError, with the place of the mistake, for anything else."""
    return _decode(_UP, payload)


def decode_down(payload: bytes) -> Down:
    """A message to a gateway. FrameError likewise."""
    return _decode(_DOWN, payload)


def encode(message: Message) -> bytes:
    """The payload of a message: compact JSON, UTF-8."""
    return _ENCODER.encode(message)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every message, as it stands in docs/mqtt.schema.json."""
    (schema,), components = msgspec.json.schema_components([Up | Read | Command])
    for definition in components.values():
        if "description" in definition:
            # It is the docstring: how that is broken into lines is no part of the form.
            definition["description"] = " ".join(definition["description"].split())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "meterd over MQTT, version 1",
        **schema,
        "$defs": components,
    }


def _decode(decoder: msgspec.json.Decoder[M], payload: bytes) -> M:
    try:
        return decoder.decode(payload)
    except _UNREADABLE as error:
        raise FrameError(_reason(payload, error)) from None


def _reason(payload: bytes, error: Exception) -> str:
    try:
        head = msgspec.json.decode(payload, type=_Head)
    except _UNREADABLE:
        return f"no JSON object: {error}"
    if head.v != VERSION or type(head.v) is not int:
        return f"version {head.v!r} of the form is not known, only {VERSION} is (field v)"
    return f"{head.type!r} message: {error}"
