"""What tests of polls share: meters that answer the truth, a poll that keeps what it took, and
frames of all kinds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, timedelta
from math import inf
from typing import Any

from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.polling.packed_slots import entry, plan
from daemon.acquisition.polling.poll import Poll
from protocols.channels.streams import StreamChannel
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.prepared import steps
from protocols.dlt645.prepared.many import wire_addresses

Answer = Callable[[Frame], Iterable[bytes | asyncio.Event]]
FarEnd = Callable[[Answer], AbstractAsyncContextManager[Any]]
Open = Callable[[Answer], AbstractAsyncContextManager[StreamChannel]]

TODAY = date(2026, 3, 16)
CLOCK, STAMP, ENERGIES = "04000102", "050600", "050601"
QUICK_S, PATIENT_S = 0.1, 10.0
"""How long to wait for a meter that is silent on purpose; for one that answers."""
FAST_BAUD = 115_200


def address_of(number: int) -> str:
    """Spread, so that 68H, 16H and FEH come by."""
    return f"{(number + 1) * 166_816_681_667 % 10**12:012d}"


def day_of(index: int) -> date:
    return TODAY - timedelta(days=index - 1)


def truth(address: str, day: date, count: int = 5) -> tuple[int, ...]:
    """In 0.01 kWh; of every meter and day another."""
    return tuple(
        (int(address[-5:]) * 997 + day.toordinal() * 7 + tariff) % 10**8 for tariff in range(count)
    )


def bcd(value: int, width: int) -> bytes:
    return bytes.fromhex(f"{value:0{2 * width}d}")[::-1]


def asked(frame: Frame) -> str:
    return frame.data[3::-1].hex().upper()


def reply(
    frame: Frame, data: bytes, *, address: str | None = None, identifier: str | None = None
) -> bytes:
    """A good frame of a meter, by default of the one asked and for what was asked."""
    wire = frame.data[:4] if identifier is None else bytes.fromhex(identifier)[::-1]
    return encode(Frame(address or frame.address, 0x91, wire + data))


def value(identifier: str, address: str) -> bytes:
    if identifier == CLOCK:
        return bytes.fromhex("563412")
    day = day_of(int(identifier[6:], 16))
    if identifier.startswith(STAMP):
        return bytes.fromhex(f"0000{day:%d%m%y}")
    return b"".join(bcd(register, 4) for register in truth(address, day))


def good(frame: Frame, *, address: str | None = None, identifier: str | None = None) -> bytes:
    """What a meter truly tells: by default the one asked, what was asked for."""
    return reply(
        frame,
        value(identifier or asked(frame), address or frame.address),
        address=address,
        identifier=identifier,
    )


def damaged(frame: bytes) -> bytes:
    return frame[:-2] + bytes((frame[-2] ^ 1,)) + frame[-1:]


ALWAYS, NEVER = 1, 1_000_000
"""How many lines must have something to do before they are served together."""


class Reader:
    """A poll with what it took, who was silent, and what the far end was asked."""

    least = ALWAYS

    def __init__(
        self,
        answer: Answer,
        *,
        meters: int = 8,
        wait_s: float = PATIENT_S,
        batch_poller: BatchPoller | None = None,
    ) -> None:
        self.requests: list[Frame] = []
        self.silent: list[int] = []
        self.told_of_silence = asyncio.Event()
        self.odd: list[tuple[int, int]] = []
        self.reply_timeouts = ReplyTimeouts(meters, longest_wait_s=wait_s, longest_pause_s=60.0)
        self._answer = answer
        self.poll = Poll(
            batch_poller or BatchPoller(Deadlines(), self.least),
            self.reply_timeouts,
            wire_addresses(map(address_of, range(meters))),
            clock=lambda number, seconds: seconds == 12 * 3600 + 34 * 60 + 56,
            heard_from=lambda number, is_told: None,
            silence=self._was_silent,
        )

    def _was_silent(self, number: int) -> None:
        self.silent.append(number)
        self.told_of_silence.set()

    def hear(self, frame: Frame) -> Iterable[bytes | asyncio.Event]:
        self.requests.append(frame)
        return self._answer(frame)

    @property
    def taken(self) -> list[tuple[str, date, tuple[int | None, ...]]]:
        return [
            (address_of(number), date.fromordinal(day), registers)
            for number, day, registers in self.poll.polled
        ]

    async def read(
        self, channel: StreamChannel, jobs: Sequence[tuple[int, int]], depth: int = 1
    ) -> None:
        """Run the jobs (meter, index) until none is left: an odd one is put aside and the rest goes
        on."""
        left = plan(job(number, index) for number, index in jobs)
        while True:
            async with asyncio.timeout(60):
                odd = await self.poll.run(channel, left, TODAY.toordinal(), depth=depth)
            if odd is None:
                return
            self.odd.append(odd)

    async def run(
        self, channel: StreamChannel, *jobs: int, lasts_s: float = inf
    ) -> tuple[int, int] | None:
        """One run of the poll."""
        return await self.poll.run(channel, plan(jobs), TODAY.toordinal(), lasts_s=lasts_s)

    @property
    def asked(self) -> list[str]:
        return [asked(frame) for frame in self.requests]

    @property
    def counts(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.poll.counts.items() if count}

    def took_the_truth(self) -> bool:
        return all(
            registers == truth(address, day, len(registers))
            for address, day, registers in self.taken
        )


def job(number: int, index: int = 1, *, with_clock: bool = True) -> int:
    return entry(number, index - 1, index, steps.CLOCK if with_clock else steps.STAMP)


class Still(StreamChannel):
    """Keeps what is written; the test answers by hand."""

    def __init__(self, byte_s: float) -> None:
        super().__init__("still")
        self._down, self.byte_s, self.sent = None, byte_s, b""
        self.was_asked = asyncio.Event()

    async def _connect(self) -> None:
        """It is open."""

    def write(self, data: bytes) -> None:
        self.sent = data
        self.was_asked.set()

    def writer(self) -> Callable[[bytes], None]:
        return self.write

    def answer(self) -> bytes:
        (frame,) = Decoder().feed(self.sent)
        assert isinstance(frame, Frame)
        return good(frame)
