"""A connection of the HTTP port: what one caller may say, and how many of an address there may be.

What a caller says costs the event loop only so much, however it is cut into pieces: a head is read
when it is whole, and what would be read piece by piece, a body in chunks, is refused."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S: Final = 10.0
MOST_CONNECTIONS: Final = 512
REQUESTS_PER_S: Final = 100.0
"""Of one address, after BURST of them; the next ones wait."""
BURST: Final = 25
LINGER_S: Final = 1.0
"""So long has who is refused to take that in: hanging up at once would take it from him."""
LONGEST_HEAD: Final = 16_384
"""Bytes of a request before its body."""
MOST_HEAD_LINES: Final = 100
MOST_ADDRESSES: Final = 1000
TOLD_WITHIN: Final = 4
"""Whoever says so many times more than a request may have is hung up on, answered or not."""

_REQUEST_LINE: Final = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.[01]\r?\n")
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_IN_CHUNKS: Final = re.compile(rb"^transfer-encoding[ \t]*:", re.IGNORECASE | re.MULTILINE)
_LENGTH: Final = re.compile(rb"^content-length[ \t]*:[ \t]*([0-9]+)", re.IGNORECASE | re.MULTILINE)
_MOST_DIGITS: Final = 15


class Turns:
    """When an address may be answered next. `clock`: seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._spent_at: dict[str, float] = {}
        """When what each address has asked for will be paid for."""

    def __len__(self) -> int:
        return len(self._spent_at)

    def wait_s(self, address: str) -> float:
        """In how long its next request may be answered, which is counted at once: who waits is not
        looked at again. What would wait longer than a request lasts counts for nothing."""
        now = self._clock()
        spent_at = max(now, self._spent_at.get(address, now))
        wait_s = max(0.0, spent_at - now - (BURST - 1) / REQUESTS_PER_S)
        if wait_s > REQUEST_S:
            return wait_s
        if len(self._spent_at) >= MOST_ADDRESSES:
            self._spent_at = {it: at for it, at in self._spent_at.items() if at > now}
        self._spent_at[address] = spent_at + 1 / REQUESTS_PER_S
        return wait_s


class Crowds:
    """Who is connected, by address, whoever has waited longest first."""

    def __init__(self) -> None:
        self._of: dict[str, dict[BoundedHttp, None]] = {}
        self._count = 0

    def add(self, address: str, one: BoundedHttp) -> None:
        """Of more than MOST_CONNECTIONS the first of the largest crowd ends."""
        self._of.setdefault(address, {})[one] = None
        self._count += 1
        if self._count > MOST_CONNECTIONS:
            where = max(self._of, key=lambda it: len(self._of[it]))
            first = next(iter(self._of[where]))
            self.remove(where, first)
            first.transport.abort()

    def remove(self, address: str, one: BoundedHttp) -> None:
        """It may be gone already."""
        crowd = self._of.get(address, {})
        if one in crowd:
            del crowd[one]
            self._count -= 1
            if not crowd:
                del self._of[address]


class BoundedHttp(H11Protocol):
    """A connection that ends when it asks nothing whole, or takes no answer, for `patience_s`, or
    when what it says is more than any request.

    Of more than MOST_CONNECTIONS one ends that has waited longest, of the address that has most:
    whoever opens many, however quickly, keeps nobody else from being answered. Who is refused, or
    asks too often, is kept waiting: hung up on, he would call again at once."""

    patience_s = REQUEST_S
    most_body = 0
    turns: Turns
    crowds: Crowds
    said = 0
    """Bytes since the last answer."""
    body_left = 0
    """Bytes of a body that are still to come."""
    waiting: asyncio.TimerHandle | None = None
    """Set while a request waits until its address may be answered."""
    has_said_all = False

    def connection_made(self, transport: Any) -> None:
        """One more: another one may be one too many."""
        super().connection_made(transport)
        self.unread = bytearray()
        self.ends = self._end_later()
        self.crowds.add(self.caller, self)

    @property
    def caller(self) -> str:
        """The address that calls; empty where there is none."""
        return self.client[0] if self.client else ""

    def data_received(self, data: bytes) -> None:
        """However much of it there is, what is refused is not read."""
        self.said += len(data)
        if self.said > TOLD_WITHIN * max(LONGEST_HEAD, self.most_body):
            # It may have been answered before it had said all, and would be read to its end.
            self.transport.abort()
        else:
            self.unread += data
            self._read(new=len(data))

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio listens to it
        """Who says no more may still wait for an answer."""
        self.has_said_all = True
        return self._is_busy()

    def on_response_complete(self) -> None:
        """It may ask again, for as long."""
        self.crowds.remove(self.caller, self)
        self.crowds.add(self.caller, self)
        self.said = len(self.unread)
        self.ends.cancel()
        self.ends = self._end_later()
        super().on_response_complete()
        self._read(new=len(self.unread))
        if self.has_said_all and not self._is_busy():
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left to be ended, or to be answered."""
        self.crowds.remove(self.caller, self)
        self.ends.cancel()
        if self.waiting is not None:
            self.waiting.cancel()
        super().connection_lost(exc)

    def _read(self, *, new: int) -> None:
        """Hand on bodies as they come, heads when they are whole, of several requests one after
        the other was answered. `new`: bytes at the end that were not looked at."""
        while self.unread and not self.transport.is_closing():
            if self.body_left:
                part = min(self.body_left, len(self.unread))
                self.body_left -= part
                self._hand_on(part)
                new = len(self.unread)
                continue
            if self._is_busy():
                return
            # The end may have begun before what is new.
            end = _END_OF_HEAD.search(self.unread, max(0, len(self.unread) - new - 2))
            if end is None and len(self.unread) <= LONGEST_HEAD:
                return
            head = bytes(self.unread[: LONGEST_HEAD + 1 if end is None else end.end()])
            if (why := self._why_not(head)) is not None:
                self._refuse(why)
                return
            if wait_s := self.turns.wait_s(self.caller):
                self.waiting = self.loop.call_later(wait_s, self._begin_later, head)
                return
            self._begin(head)
            new = len(self.unread)

    def _is_busy(self) -> bool:
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return self.waiting is not None or is_answering

    def _why_not(self, head: bytes) -> str | None:
        """A status that says why this is not even looked at."""
        if len(head) > LONGEST_HEAD or head.count(b"\n") > MOST_HEAD_LINES:
            return "431 Request Header Fields Too Large"
        if _REQUEST_LINE.match(head) is None:
            return "400 Bad Request"
        if _IN_CHUNKS.search(head):
            return "411 Length Required"
        return "413 Content Too Large" if _length(head) > self.most_body else None

    def _refuse(self, status: str) -> None:
        """What it says further is not read."""
        self.transport.pause_reading()
        self.unread.clear()
        told = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        self.transport.write(told.encode())
        self.transport.write_eof()
        self.ends.cancel()
        self.ends = self.loop.call_later(LINGER_S, self.transport.abort)

    def _begin(self, head: bytes) -> None:
        self.body_left = _length(head)
        self._hand_on(len(head))

    def _begin_later(self, head: bytes) -> None:
        self.waiting = None
        if not self.transport.is_closing():
            self._begin(head)
            self._read(new=len(self.unread))

    def _hand_on(self, size: int) -> None:
        part = bytes(self.unread[:size])
        del self.unread[:size]
        super().data_received(part)

    def _end_later(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.patience_s, self.transport.abort)


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    return 0 if found is None else int(found[1][:_MOST_DIGITS])
