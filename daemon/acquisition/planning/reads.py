"""On-demand reads: what is read of one meter now, and what became of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

What = Literal["freeze", "registers", "clock", "relay"]
"""The freeze of one day is stored like any other, the registers of this moment as a raw reading
that fills no day; the clock and the relay are only shown."""
Outcome = Literal[
    "ok", "silent", "refused", "unreadable", "no_data", "unsupported", "line_down", "expired"
]


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What became of a request.

    `value` for ok: registers in kWh, the meter's wall clock, or a RelayState; otherwise `reason`
    is why not. `at`: the instant that registers are of, `arrived_at`: when they came, aware."""

    outcome: Outcome
    value: Any = None
    reason: str = ""
    at: datetime | None = None
    arrived_at: datetime | None = None


@dataclass(eq=False, slots=True)
class ReadRequest:
    """One read of one meter that is waited for.

    `expires_at`: second of the monotonic clock after which the answer is of no use. `day`: of a
    freeze."""

    meter_id: int
    what: What
    expires_at: float
    day: date | None = None
    result: asyncio.Future[ReadResult] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, result: ReadResult) -> None:
        """Answer it, unless it was answered or cancelled before."""
        if not self.result.done():
            self.result.set_result(result)


class ReadRequests:
    """What is still to be read on one line, first come first served.

    A request whose `result` is cancelled is not served."""

    __slots__ = ("_begun", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[ReadRequest] = []
        self._begun: list[ReadRequest] = []
        """Kept until they are answered: a line that goes down rejects them too."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, request: ReadRequest) -> None:
        """To be served after those that wait."""
        self._waiting.append(request)

    def add_first(self, request: ReadRequest) -> None:
        """It was begun and had to give way."""
        self._waiting.insert(0, request)

    def next(self, now_s: float) -> ReadRequest | None:
        """The next to be served; those whose time is over are answered so."""
        self._begun = [request for request in self._begun if not request.result.done()]
        while self._waiting:
            request = self._waiting.pop(0)
            if request.result.done():
                continue
            if request.expires_at > now_s:
                self._begun.append(request)
                return request
            reason = "its time was over before the line got to it"
            request.settle(ReadResult("expired", reason=reason))
        return None

    def reject(self, reason: str) -> None:
        """The line is down: neither what waits nor what was begun can be answered."""
        for request in (*self._begun, *self._waiting):
            request.settle(ReadResult("line_down", reason=reason))
        self._begun.clear()
        self._waiting.clear()
