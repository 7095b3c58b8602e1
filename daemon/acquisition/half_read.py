"""A far end that hangs up after each answer: what was begun goes on over the next connection."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from daemon.acquisition.meter_port import Urgency
from protocols.exchange import Exchange

F = TypeVar("F")
T = TypeVar("T")

KEPT_S = 10.0
"""What was answered longer ago may be different by now."""
FEW = 8
"""A far end that hung up after so few answers may do so each time: a prepared poll would lose what
it read of a slot."""


@dataclass(slots=True)
class HalfRead:
    """The questions and answers of one job at one meter.

    `before`: those of the same job, which are not asked again."""

    number: int
    urgency: Urgency
    before: list[tuple[Any, Any]] = field(default_factory=list)
    answers: list[tuple[Any, Any]] = field(default_factory=list)
    since_s: float = field(default_factory=time.monotonic)

    def is_of(self, number: int, urgency: Urgency) -> bool:
        """Whether it may be the same job, and is not too old to go on."""
        is_same = (self.number, self.urgency) == (number, urgency)
        return is_same and time.monotonic() - self.since_s < KEPT_S

    def resumed(self, exchange: Exchange[F, T]) -> Exchange[F, T]:
        """The same exchange; what was answered before is not asked again."""
        answer: Any = None
        while True:
            try:
                request = exchange.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = self._known(request)
            if answer is None:
                answer = yield request
            self.answers.append((request, answer))

    def _known(self, request: Any) -> Any:
        """The answer to this request, in the order of the former job; None when it gave none."""
        while self.before:
            asked, answer = self.before.pop(0)
            if asked == request:
                return answer
        return None


class Connections:
    """What the connections of a line, one after the other, brought of its jobs."""

    __slots__ = ("_former", "_job", "_lost", "answers", "slot")

    def __init__(self) -> None:
        self.answers = 0
        """Since the connection was made."""
        self.slot: tuple[int, date] | None = None
        """The one that is being read in the general way, or was when the connection was lost."""
        self._former = 0
        """Answers of the connection before this one."""
        self._job: HalfRead | None = None
        self._lost: HalfRead | None = None
        """The job during which the connection before this one was lost."""

    def begin(self) -> None:
        """A connection was made."""
        self._former = self.answers
        self.answers = 0
        self._lost = self._job

    def begin_round(self) -> None:
        """The job before, if there was one, has come to its end."""
        self._job = None

    def job(self, number: int, urgency: Urgency) -> HalfRead | None:
        """What is known of the job that begins now; None for a command, which asks anew."""
        if urgency is Urgency.COMMAND:
            return None
        self._job = HalfRead(number, urgency)
        lost = self._lost
        self._lost = None
        if lost is not None and lost.is_of(number, urgency):
            self._job.before = lost.answers
            self._job.since_s = lost.since_s
        return self._job

    def take_slot(self) -> tuple[int, date] | None:
        """The slot during which the connection before this one was lost, once."""
        slot = self.slot
        self.slot = None
        return slot

    @property
    def are_short(self) -> bool:
        """True while the far end may hang up after the next answer."""
        return 0 < self._former < FEW and self.answers < FEW
