"""Requests under way: the record that both pollers have, and those of one line."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, nan
from typing import Final

from daemon.acquisition.planning.reply_times import Tolerance, usual_range
from protocols.dlt645 import functions
from protocols.dlt645.frame import START, WAKE_UP, Frame
from protocols.dlt645.prepared.many import meter_at
from protocols.dlt645.prepared.one import HEAD, REQUEST_LENGTH, PreparedMeter, PreparedRead
from protocols.dlt645.prepared.steps import reads_of

LONGEST_ANSWER_S: Final = 3.0
"""A line that babbles on is listened to for so long."""


@dataclass(slots=True, eq=False)
class InFlightRequest:
    """A step of a slot, and in its place the next one when that is answered.

    Seconds are of the monotonic clock. `meter`, `reads`, `read` and `head` are set by the poller of
    a line by itself; the batch poller has them in its rows."""

    number: int = -1
    """Of the meter on its line."""
    age: int = 0
    """Of the day, 0 = the day of the poll."""
    nth: int = 0
    """The daily freeze of that day, 1 = newest."""
    step: int = 0
    """CLOCK, STAMP or ENERGIES."""
    asked_at: float = 0.0
    begins_by: float = inf
    """When its answer must have begun."""
    wait_s: float = 0.0
    delay_s: float = nan
    """What the meter usually takes; NaN while that is not known."""
    is_forgiven: bool = False
    """Its silence was excused once."""
    has_begun: bool = False
    """On a slow wire: the beginning of its answer was seen."""
    part: bytes = b""
    """The beginning of its answer, if nothing else came."""
    usual_s: tuple[float, float] = field(default=(nan, nan), init=False)
    """A delay between them is what the meter usually takes; kept, because a call for each answer
    is felt."""
    meter: PreparedMeter = field(init=False)
    reads: tuple[PreparedRead, ...] = field(init=False)
    """Of all steps."""
    read: PreparedRead = field(init=False)
    head: bytes = field(init=False)
    """What its answer begins with behind the wake-up."""

    def complete(self, addresses: bytes, tolerance: Tolerance) -> None:
        """Set what the rows of the batch poller do not have. `addresses`: of the line's meters."""
        self.meter = meter_at(addresses, self.number)
        self.usual_s = usual_range(self.delay_s, tolerance)
        self.reads = reads_of(self.nth)
        self.read = self.reads[self.step]
        self.head = self.meter.reply_head + self.read.reply_tail

    def wait_until(self, second: float, byte_s: float) -> None:
        """Its answer has begun: wait longer for the rest, but not for ever.

        `byte_s`: what a byte takes on the wire."""
        wire_s = byte_s * (REQUEST_LENGTH + self.read.reply_length)
        ends_by = self.asked_at + self.wait_s + wire_s + LONGEST_ANSWER_S
        self.begins_by = max(self.begins_by, min(second, ends_by))

    def missing(self, data: bytes) -> int:
        """Bytes of the answer that are still to come behind these; 0 if they are not its
        beginning."""
        at = data.find(START)
        have = len(data) - at
        length = self.read.reply_length - len(WAKE_UP)
        if at < 0 or have >= length or data[at : at + HEAD] != self.head[:have]:
            return 0
        return length - have

    def as_frame(self) -> Frame:
        """What was sent, for the general way of looking at what comes."""
        identifier = bytes.fromhex(self.read.identifier)
        return Frame(self.meter.address, functions.READ, identifier[::-1])


class InFlight:
    """The requests of one line that are in flight: `only` one, or `several` by the head of their
    answers."""

    __slots__ = ("depth", "only", "several")

    def __init__(self) -> None:
        self.depth = 1
        """How many there may be."""
        self.only: InFlightRequest | None = None
        self.several: dict[bytes, InFlightRequest] = {}

    def __bool__(self) -> bool:
        return self.only is not None or bool(self.several)

    def __contains__(self, request: InFlightRequest) -> bool:
        return request in self.all()

    def add(self, request: InFlightRequest) -> None:
        """It was asked."""
        if self.depth > 1:
            self.several[request.head] = request
        else:
            self.only = request

    def remove(self, request: InFlightRequest) -> None:
        """It was answered or given up."""
        self.only = None
        self.several.pop(request.head, None)

    def clear(self) -> None:
        """All of them were given up."""
        self.only = None
        self.several.clear()

    def all(self) -> list[InFlightRequest]:
        """In the order in which they were asked."""
        return list(self.several.values()) if self.only is None else [self.only]

    def take_part(self) -> bytes:
        """The beginning of the only answer; it is not kept any more."""
        if self.only is None:
            return b""
        part = self.only.part
        self.only.part = b""
        return part

    def questions(self) -> dict[Frame, InFlightRequest]:
        """By what was sent."""
        return {request.as_frame(): request for request in self.all()}

    def first_deadline(self) -> float:
        """When the first answer must have begun. ValueError when nothing is in flight."""
        return min(request.begins_by for request in self.all())
