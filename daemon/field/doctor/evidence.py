"""What a line was asked and what was heard: plain data, all that a diagnosis knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from enum import Enum
from typing import Any, Final, NamedTuple

from daemon.field.connection import Speed
from daemon.field.language import DLT645_1997, DLT645_2007
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.exchanges_1997 import CODEC_1997
from protocols.exchange import Codec
from protocols.modbus.exchanges import codec_rtu, codec_tcp

MODBUS_RTU: Final = "modbus-rtu"
MODBUS_TCP: Final = "modbus-tcp"
CODECS: Final[Mapping[str, Codec[Any]]] = {
    DLT645_2007: CODEC_2007,
    DLT645_1997: CODEC_1997,
    MODBUS_RTU: codec_rtu,
    MODBUS_TCP: codec_tcp,
}


class Aim(Enum):
    """What a step is for."""

    LISTEN = "listen"
    """Nothing is sent: whoever talks now talks unasked."""
    WAIT = "wait"
    """Nothing is sent: the answer to the question before may still come."""
    METER = "meter"
    """A known meter is asked for its energy, or for its first register."""
    DATE = "date"
    TIME = "time"
    ANYBODY = "anybody"
    """Whoever is there is asked, in a protocol that knows how."""


class KnownMeter(NamedTuple):
    """A meter that should be on the line. `name`: its 12 digits, or its Modbus unit."""

    protocol: str
    name: str


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is listened, in seconds.

    `listen_s`: before anybody is asked, to hear another master, who may poll seldom; `wait_s`: for
    an answer that is late, the slowest concentrators need some seconds; `other_way_s`: for an
    answer in another protocol or at another speed: a meter begins within 0.5 s; `after_answer_s`:
    for a second answer to the same question."""

    listen_s: float = 3.0
    wait_s: float = 5.0
    other_way_s: float = 0.8
    after_answer_s: float = 0.2


@dataclass(frozen=True, slots=True)
class Subject:
    """The line as its user believes it to be.

    `meters` may be empty; then `protocol` says what is spoken first. `timeout_s`: how long the
    daemon would wait for the beginning of an answer. `zone`: of the meters' clocks, None where it
    is not known. `has_speed`: a serial port, whose other speeds can be tried."""

    speed: Speed
    meters: tuple[KnownMeter, ...] = ()
    protocol: str = DLT645_2007
    timeout_s: float = 1.0
    zone: tzinfo | None = None
    has_speed: bool = False
    place: str = "--tcp HOST:PORT"
    """The options that name it to other commands."""
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class Step:
    """Something that is sent, or nothing, and how long is listened then for a first byte."""

    aim: Aim
    speed: Speed
    listen_s: float
    protocol: str = DLT645_2007
    meter: str = ""
    request: Any = None
    """The protocol's frame; None while nothing is sent."""

    @property
    def sent(self) -> bytes:
        """The bytes on the line."""
        return b"" if self.request is None else CODECS[self.protocol].encode(self.request)


class Piece(NamedTuple):
    """Bytes that came together, `at_s` after the question had left."""

    at_s: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What came to a step.

    `at`: aware, when the first byte came, or when the step was over; `started_s`: when the question
    had left, on a clock that never jumps."""

    step: Step
    pieces: tuple[Piece, ...]
    at: datetime
    started_s: float

    @property
    def data(self) -> bytes:
        """All that came."""
        return b"".join(piece.data for piece in self.pieces)
