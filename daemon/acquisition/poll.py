"""The prepared polls of one line: freeze after freeze, with no task woken in between.

This is the fast way for what goes as it should, nearly always. It sends nothing twice and explains nothing: a meter
that answers anything but the expected is left to the general way (Conversation), one that is silent to `Patience`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from typing import Final

from daemon.acquisition.deadlines import Deadline, Deadlines
from daemon.acquisition.patience import Patience
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import functions
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import Decoder, Frame
from protocols.dlt645.prepared import (
    HEAD,
    PreparedEnergies,
    PreparedMeter,
    PreparedRead,
    energies_of,
    midnight_stamp,
    sent,
    time_of_day,
)
from protocols.errors import FrameError, LineDown

BYTE_GAP_S: Final = 0.5
"""Inside an answer a carrier may pause for so long."""
TIME_OF_DAY: Final = PreparedRead("04000102", 3)


@cache
def stamp_of(index: int) -> PreparedRead:
    """The read of the time stamp of the daily freeze `index`, 1 = newest."""
    return PreparedRead(f"050600{index:02X}", 5)


@cache
def energies_at(index: int) -> PreparedEnergies:
    """The read of forward active energy of the daily freeze `index`."""
    return PreparedEnergies(f"050601{index:02X}")


class Job:
    """One slot to be read: the clock if it is not known yet today, the stamp of the freeze, its energies."""

    __slots__ = ("asked_at", "begins_by", "day", "head", "index", "meter", "number", "read", "sent_bytes", "skew")

    def __init__(
        self, number: int, day: date, meter: PreparedMeter, index: int, *, with_clock: bool, skew: timedelta | None
    ) -> None:
        self.number, self.day, self.meter, self.index, self.skew = number, day, meter, index, skew
        self.read: PreparedRead = TIME_OF_DAY if with_clock else stamp_of(index)
        self.head = b""
        self.asked_at = self.begins_by = 0.0
        self.sent_bytes = 0


class Poll:
    """Runs jobs over a channel that it listens to meanwhile. `counts` grows by outcome, as a Conversation tells them.

    `take` (job, five registers or another number of them, in 0.01 kWh) and `clock` (job, the meter's seconds since
    00:00) return False when something is not as it should be: the job then takes the general way. `silence` (job) is
    told after `patience` was. `dirty`: something was left on the line, which must be listened to before it is used.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        patience: Patience,
        *,
        take: Callable[[Job, tuple[int | None, ...]], bool],
        clock: Callable[[Job, int], bool],
        heard_from: Callable[[Job], None],
        silence: Callable[[Job], None],
        trace: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self.counts = dict.fromkeys(("ok", "no_reply", "bad_frame", "late", "foreign"), 0)
        self.trace = trace
        self.dirty = False
        self._deadline = Deadline(deadlines, self._expired)
        self._patience, self._take, self._clock = patience, take, clock
        self._heard_from, self._silence = heard_from, silence
        self._decoder = Decoder()
        self._asked: dict[bytes, Job] = {}
        self._missed: Job | None = None
        self._odd: Job | None = None
        self._jobs: Iterator[Job] = iter(())
        self._is_stopped = True
        self._channel: StreamChannel | None = None
        self._done: asyncio.Future[None] | None = None

    async def run(self, channel: StreamChannel, jobs: Iterator[Job], depth: int = 1) -> Job | None:
        """Until the jobs are done or `interrupt`; `depth` of them are under way at once, each of another meter.

        The job that has to take the general way ends it and is returned. LineDown when the carrier is gone.
        """
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self._channel, self._jobs, self._odd, self._is_stopped = channel, jobs, None, False
        self._decoder.reset()
        done = self._done = loop.create_future()
        try:
            channel.listen(self)
            for _ in range(depth):
                self._next()
            await done
        finally:
            self._is_stopped = True
            self.dirty = self.dirty or bool(self._asked) or self._decoder.pending
            self._asked.clear()
            self._deadline.clear()
            channel.listen(None)
            self._channel = self._done = None
        return self._odd

    def interrupt(self) -> None:
        """Ask nothing more: something is more urgent. What is under way is waited for."""
        self._is_stopped = True

    # --- asking -----------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        job = None if self._is_stopped else next(self._jobs, None)
        if job is not None:
            self._ask(job)
        elif not self._asked:
            self._finish()

    def _ask(self, job: Job) -> None:
        channel, read, meter = self._channel, job.read, job.meter
        assert channel is not None
        request = read.request(meter)
        job.head = head = meter.reply_head + read.reply_tail
        if self.trace is not None:
            self.trace("tx", request)
        channel.write(request)
        job.asked_at = now = self._time()
        number = job.number
        wait_s = self._patience.wait_s(number)
        if channel.byte_s:
            job.sent_bytes = len(request)
            wait_s += channel.byte_s * (len(request) + 1)
            complete_s = channel.byte_s * (len(request) + read.reply_length) + self._patience.delay_s(number)
            channel.rest(min(complete_s, wait_s))
        job.begins_by = begins_by = now + wait_s
        self._asked[head] = job
        if begins_by < self._deadline.at or len(self._asked) == 1:
            self._deadline.set(begins_by)

    # --- listening --------------------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """See Listener."""
        try:
            if self.trace is not None:
                self.trace("rx", data)
            if self._decoder.pending:
                self._hear_in_general(data)
            else:
                self._hear(data)
        except Exception as error:
            self._fail(error)

    def lost(self, error: LineDown) -> None:
        """See Listener."""
        self._fail(error)

    def _hear(self, data: bytes) -> None:
        """Whole answers, one or several: the usual case, without a copy or a search."""
        start, end = 0, len(data)
        while start < end:
            at = data.find(b"\x68", start)
            job = self._asked.get(data[at : at + HEAD]) if at >= 0 else None
            stop = at + data[at + 9] + 12 if job is not None else end + 1
            if job is None or stop > end:
                self._hear_in_general(data[start:])
                return
            answer = data if stop == end and start == 0 else data[start:stop]
            start = stop
            read = job.read
            if isinstance(read, PreparedEnergies):
                registers = read.energies(job.head, answer)
                if registers is not None:
                    self._arrived(job, len(answer))
                    self._have_energies(job, registers)
                    continue
            else:
                found = read.data(job.head, answer)
                if found is not None:
                    self._arrived(job, len(answer))
                    self._have_data(job, found)
                    continue
            self._hear_in_general(answer)

    def _hear_in_general(self, data: bytes) -> None:
        for item in self._decoder.feed(data):
            if isinstance(item, Frame):
                self._hear_frame(item)
            elif item.reason != "noise":
                self._damaged()
        if self._decoder.pending and self._asked:
            self._wait_for_the_rest(len(data))

    def _wait_for_the_rest(self, have: int) -> None:
        channel = self._channel
        assert channel is not None
        gap_s = BYTE_GAP_S
        if channel.byte_s and len(self._asked) == 1:
            (job,) = self._asked.values()
            missing = max(0, job.read.reply_length - have) * channel.byte_s
            channel.rest(missing)
            gap_s += missing
        begins_by = self._time() + gap_s
        for job in self._asked.values():
            job.begins_by = max(job.begins_by, begins_by)
        self._deadline.set(begins_by)

    def _hear_frame(self, frame: Frame) -> None:
        for job in self._asked.values():
            if CODEC_2007.is_answer(_question(job), frame):
                break
        else:
            self._hear_stranger(frame)
            return
        self._arrived(job, job.read.reply_length)
        if frame.is_abnormal or frame.has_more:
            self._is_odd(job)
        elif isinstance(job.read, PreparedEnergies):
            try:
                registers = energies_of(frame)
            except FrameError:
                self._is_odd(job)
            else:
                self._have_energies(job, registers)
        elif job.read.reply_length != len(frame.data) + 16:
            self._is_odd(job)
        else:
            self._have_data(job, sent(frame.data[4:]))

    def _hear_stranger(self, frame: Frame) -> None:
        """An answer to nobody's question. The echo of a question, which some adapters send back, is none."""
        missed = self._missed
        if not frame.is_response:
            return
        if missed is not None and CODEC_2007.is_answer(_question(missed), frame):
            self._missed = None
            self._patience.took(missed.number, self._time() - missed.asked_at)
            self.counts["late"] += 1
        else:
            self.counts["foreign"] += 1

    # --- what came --------------------------------------------------------------------------------------------------

    def _arrived(self, job: Job, length: int) -> None:
        del self._asked[job.head]
        self.counts["ok"] += 1
        delay_s = self._time() - job.asked_at
        channel = self._channel
        if channel is not None and channel.byte_s:
            delay_s -= channel.byte_s * (job.sent_bytes + length)
        self._patience.took(job.number, delay_s)
        self._heard_from(job)

    def _have_data(self, job: Job, data: bytes) -> None:
        if job.read is TIME_OF_DAY:
            seconds = time_of_day(data)
            if seconds is None or not self._clock(job, seconds):
                self._is_odd(job)
                return
            job.read = stamp_of(job.index)
        elif data == midnight_stamp(job.day):
            job.read = energies_at(job.index)
        else:
            self._is_odd(job)
            return
        if self._is_stopped:
            self._next()
        else:
            self._ask(job)

    def _have_energies(self, job: Job, registers: tuple[int | None, ...]) -> None:
        if self._take(job, registers):
            self._next()
        else:
            self._is_odd(job)

    def _is_odd(self, job: Job) -> None:
        self._odd = self._odd or job
        self._is_stopped = True
        self._next()

    def _damaged(self) -> None:
        """Something came that is no frame: whoever was asked has to be asked in the general way."""
        self.counts["bad_frame"] += 1
        self.dirty = True
        for job in self._asked.values():
            self._odd = self._odd or job
        self._is_stopped = True
        if len(self._asked) <= 1:
            self._asked.clear()
            self._finish()

    # --- silence ------------------------------------------------------------------------------------------------------

    def _expired(self) -> None:
        try:
            self._give_up()
        except Exception as error:
            self._fail(error)

    def _give_up(self) -> None:
        if self._decoder.pending:
            for item in self._decoder.flush():
                if isinstance(item, Frame):
                    self._hear_frame(item)
                else:
                    self._damaged()
        now = self._time()
        for head, job in list(self._asked.items()):
            if job.begins_by > now:
                continue
            del self._asked[head]
            self._missed = job
            self.counts["no_reply"] += 1
            self._silence(job)
            self._next()
        if self._asked:
            self._deadline.set(min(job.begins_by for job in self._asked.values()))

    def _finish(self) -> None:
        self._deadline.clear()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _question(job: Job) -> Frame:
    return Frame(job.meter.address, functions.READ, bytes.fromhex(job.read.identifier)[::-1])
