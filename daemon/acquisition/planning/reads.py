"""On-demand reads: what somebody asks of one meter now, and what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

What = Literal["freeze", "registers", "clock", "relay"]
"""The freeze of one day, stored like any other; the registers, the clock, the relay of this moment,
told only."""
Outcome = Literal[
    "ok", "silent", "refused", "unreadable", "no_data", "unsupported", "line_down", "expired"
]


@dataclass(frozen=True, slots=True)
class ReadResult:
    """`value` for ok: registers in kWh, the meter's wall clock, or a RelayState; otherwise `reason`
    says why not."""

    outcome: Outcome
    value: Any = None
    reason: str = ""


@dataclass(eq=False, slots=True)
class ReadRequest:
    """`expires_at`: second of the monotonic clock after which nobody waits for the answer. `day`:
    of a freeze."""

    meter_id: int
    what: What
    expires_at: float
    day: date | None = None
    told: asyncio.Future[ReadResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, told: ReadResult) -> None:
        """Answer whoever still waits."""
        if not self.told.done():
            self.told.set_result(told)


class ReadRequests:
    """What one route is still to be asked, first come first served. Whoever cancels `told` is not
    served."""

    def __init__(self) -> None:
        self._waiting: list[ReadRequest] = []
        self._begun: ReadRequest | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, question: ReadRequest) -> None:
        """To be asked after those that wait."""
        self._waiting.append(question)

    def add_first(self, question: ReadRequest) -> None:
        """It was begun and had to give way."""
        self._waiting.insert(0, question)

    def next(self, now_s: float) -> ReadRequest | None:
        """The next that somebody waits for; those whose time is over are told so."""
        while self._waiting:
            question = self._waiting.pop(0)
            if question.told.done():
                continue
            if question.expires_at > now_s:
                self._begun = question
                return question
            question.settle(
                ReadResult("expired", reason="its time was over before the line got to it")
            )
        return None

    def reject(self, reason: str) -> None:
        """Nobody can be asked now: the line is down. What was begun is not answered either."""
        if self._begun is not None:
            self._begun.settle(ReadResult("line_down", reason=reason))
            self._begun = None
        while self._waiting:
            self._waiting.pop(0).settle(ReadResult("line_down", reason=reason))
