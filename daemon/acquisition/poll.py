"""The prepared polls of one line: freeze after freeze, with no task woken in between.

This is the fast way for what goes as it should, nearly always. It sends nothing twice and explains nothing: a meter
that answers anything but the expected is left to the general way (Conversation), one that is silent to `Patience`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from math import inf, nan
from time import monotonic
from typing import Final

from daemon.acquisition.deadlines import Deadline, Deadlines
from daemon.acquisition.patience import COARSE_S, FINE_S, Patience
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import functions
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame
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

LOOK_EARLIER_S: Final = 0.02
UNREAD_S: Final = 0.005
BYTE_GAP_S: Final = 0.5
"""Inside an answer a carrier may pause for so long."""
LONGEST_ANSWER_S: Final = 3.0
"""Nobody who babbles on is listened to for longer."""
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

    __slots__ = (
        *(
            "asked_at",
            "begins_by",
            "day",
            "delay_s",
            "has_begun",
            "head",
            "index",
            "is_forgiven",
            "meter",
            "number",
            "read",
        ),
        *("sent_bytes", "wait_s"),
    )

    def __init__(self, number: int, day: date, meter: PreparedMeter, index: int, *, with_clock: bool) -> None:
        self.number, self.day, self.meter, self.index = number, day, meter, index
        self.read: PreparedRead = TIME_OF_DAY if with_clock else stamp_of(index)
        self.head = b""
        self.asked_at = self.begins_by = self.wait_s = 0.0
        self.delay_s = nan
        self.sent_bytes = 0
        self.has_begun = self.is_forgiven = False


class Poll(Deadline):
    """Runs jobs over a channel that it listens to meanwhile. `counts` grows by outcome, as a Conversation tells them.

    `take` (job, five registers or another number of them, in 0.01 kWh) and `clock` (job, the meter's seconds since
    00:00) return False when something is not as it should be: the job then takes the general way. `heard_from` (job)
    is called while `patience` is troubled, `silence` (job) for a job without answer. `dirty`: something was left on the
    line, which must be listened to before it is used.

    What one answer needs lies close together, in slots: with thousands of lines it is cold memory that costs time.
    """

    __slots__ = (
        *(
            "_asked",
            "_byte_s",
            "_channel",
            "_clock",
            "_decoder",
            "_done",
            "_ends_at",
            "_fine_s",
            "_heard_from",
            "_is_pipelined",
        ),
        *(
            "_is_stopped",
            "_is_watched",
            "_jobs",
            "_least",
            "_missed",
            "_odd",
            "_only",
            "_part",
            "_patience",
            "_silence",
            "_take",
        ),
        *("_write", "counts", "dirty", "ok", "trace"),
    )

    def __init__(
        self,
        deadlines: Deadlines,
        patience: Patience,
        *,
        take: Callable[[Job, tuple[int | None, ...]], bool],
        clock: Callable[[Job, int], bool],
        heard_from: Callable[[Job], None],
        silence: Callable[[Job], None],
    ) -> None:
        super().__init__(deadlines)
        self.counts = dict.fromkeys(("ok", "no_reply", "bad_frame", "late", "foreign"), 0)
        self.trace: Callable[[str, bytes], None] | None = None
        self.dirty = False
        self.ok = 0
        self._patience, self._take, self._clock = patience, take, clock
        self._heard_from, self._silence = heard_from, silence
        self._decoder: Decoder | None = None
        """Only while something other than one whole answer came."""
        self._only: Job | None = None
        """The job that is asked, one at a time."""
        self._part = b""
        """The beginning of its answer."""
        self._asked: dict[bytes, Job] = {}
        """By the head of its answer, when several are asked at a time."""
        self._missed: Job | None = None
        self._odd: Job | None = None
        self._jobs: Iterator[Job] = iter(())
        self._is_stopped, self._is_pipelined, self._is_watched = True, False, False
        self._byte_s = self._fine_s = self._ends_at = self._least = 0.0
        self._channel: StreamChannel | None = None
        self._done: asyncio.Future[None] | None = None

    async def run(
        self, channel: StreamChannel, jobs: Iterator[Job], depth: int = 1, lasts_s: float = inf
    ) -> Job | None:
        """Until the jobs are done, `interrupt` is called or the time is over; `depth` of them are under way at once,
        each of another meter.

        The job that has to take the general way ends it and is returned. LineDown when the carrier is gone.
        """
        loop = asyncio.get_running_loop()
        self._channel, self._write, self._byte_s = channel, channel.write, channel.byte_s
        self._jobs, self._odd, self._is_stopped = jobs, None, False
        self._ends_at = monotonic() + lasts_s
        self._fine_s, self._least = (FINE_S, 0.98) if channel.byte_s else (COARSE_S, 0.5)
        self._is_pipelined, self._is_watched = depth > 1, self.trace is not None
        done = self._done = loop.create_future()
        try:
            channel.listen(self)
            for _ in range(depth):
                self._next(monotonic())
            await done
        finally:
            self._is_stopped = True
            self.dirty = self.dirty or bool(self._under_way() or self._part) or self._decoder is not None
            self._asked.clear()
            self._only = self._decoder = None
            self._part = b""
            self.clear()
            channel.listen(None)
            self._channel = self._done = None
            self._jobs = iter(())
            self.counts["ok"] += self.ok
            self.ok = 0
        return self._odd

    def interrupt(self) -> None:
        """Ask nothing more: something is more urgent. What is under way is waited for."""
        self._is_stopped = True

    # --- asking -----------------------------------------------------------------------------------------------------

    def _next(self, now: float) -> None:
        job = None if self._is_stopped or now > self._ends_at else next(self._jobs, None)
        if job is not None:
            job.wait_s, job.delay_s = self._patience.expect(job.number)
            self._ask(job, now)
        elif not self._only and not self._asked:
            self._finish()

    def _ask(self, job: Job, now: float) -> None:
        read, meter = job.read, job.meter
        request = read.request(meter)
        job.head = meter.reply_head + read.reply_tail
        if self.trace is not None:
            self.trace("tx", request)
        self._write(request)
        job.asked_at, job.is_forgiven = now, False
        begins_by = now + job.wait_s
        if self._byte_s:
            job.sent_bytes, job.has_begun = len(request), False
            begins_by += self._rest(job)
        job.begins_by = begins_by
        if self._is_pipelined:
            self._asked[job.head] = job
            begins_by = min(begins_by, self.at)
        else:
            self._only = job
        self.at = begins_by
        if begins_by < self.filed_at:
            self.set(begins_by)

    def _rest(self, job: Job) -> float:
        """On a slow wire: leave the channel alone until the answer must be there. Returns what the wire adds to the
        wait for its beginning."""
        assert self._channel is not None
        byte_s = self._byte_s
        delay_s = job.delay_s if job.delay_s == job.delay_s else 0.0
        self._channel.rest(byte_s * (job.sent_bytes + job.read.reply_length) + delay_s)
        return byte_s * (job.sent_bytes + 1)

    # --- listening --------------------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """See Listener. One whole answer of the only one that is asked: the usual case."""
        try:
            job = self._only
            if job is None or self._is_watched:
                self._hear(data)
                return
            if self._part:
                data, self._part = self._part + data, b""
            read = job.read
            now = monotonic()
            if isinstance(read, PreparedEnergies):
                registers = read.energies(job.head, data)
                if registers is not None:
                    self._only = None
                    self._arrived(job, len(data), now)
                    if self._take(job, registers):
                        self._next(now)
                    else:
                        self._is_odd(job)
                    return
            else:
                found = read.data(job.head, data)
                if found is not None:
                    self._only = None
                    self._arrived(job, len(data), now)
                    self._have_data(job, found, now)
                    return
            if not self._is_part(job, data):
                self._hear_in_general(data)
        except Exception as error:
            self._fail(error)

    def lost(self, error: LineDown) -> None:
        """See Listener."""
        self._fail(error)

    def _hear(self, data: bytes) -> None:
        """Answers to several, parts of answers, or somebody looks."""
        if self.trace is not None:
            self.trace("rx", data)
        start, end = 0, len(data)
        while start < end and self._decoder is None:
            at = data.find(b"\x68", start)
            job = self._asked.get(data[at : at + HEAD]) if at >= 0 else None
            stop = at + data[at + 9] + 12 if job is not None else end + 1
            if job is None or stop > end:
                break
            answer, read, now = data[start:stop], job.read, monotonic()
            if isinstance(read, PreparedEnergies):
                registers = read.energies(job.head, answer)
                if registers is None:
                    break
                self._remove(job)
                self._arrived(job, len(answer), now)
                self._have_energies(job, registers, now)
            else:
                found = read.data(job.head, answer)
                if found is None:
                    break
                self._remove(job)
                self._arrived(job, len(answer), now)
                self._have_data(job, found, now)
            start = stop
        if start < end:
            self._hear_in_general(data[start:])

    def _hear_in_general(self, data: bytes) -> None:
        decoder, self._is_watched = self._decoder or Decoder(), True
        for item in decoder.feed(data):
            if isinstance(item, Frame):
                self._hear_frame(item)
            elif item.reason != "noise":
                self._damaged()
        self._decoder = decoder if decoder.pending else None
        self._is_watched = decoder.pending or self.trace is not None
        if decoder.pending:
            self._wait_for_the_rest(0)

    def _is_part(self, job: Job, data: bytes) -> bool:
        """The beginning of the answer, and nothing else? Then it is kept, and the rest waited for."""
        at = data.find(b"\x68")
        have = len(data) - at
        length = job.read.reply_length - len(WAKE_UP)
        if at < 0 or have >= length or data[at : at + HEAD] != job.head[:have]:
            return False
        self._part = data
        self._wait_for_the_rest(length - have)
        return True

    def _wait_for_the_rest(self, missing: int) -> None:
        under_way = self._under_way()
        if not under_way:
            return
        gap_s = BYTE_GAP_S
        if self._byte_s and self._only is not None:
            assert self._channel is not None
            self._only.has_begun = True
            missing_s = missing * self._byte_s
            self._channel.rest(missing_s)
            gap_s += missing_s
        begins_by = monotonic() + gap_s
        for job in under_way:
            wire_s = self._byte_s * (job.sent_bytes + job.read.reply_length)
            ends_by = job.asked_at + job.wait_s + wire_s + LONGEST_ANSWER_S
            job.begins_by = max(job.begins_by, min(begins_by, ends_by))
        self.set(min(job.begins_by for job in under_way))

    def _hear_frame(self, frame: Frame) -> None:
        for job in self._under_way():
            if CODEC_2007.is_answer(_question(job), frame):
                break
        else:
            self._hear_stranger(frame)
            return
        now = monotonic()
        self._remove(job)
        self._arrived(job, job.read.reply_length, now)
        if frame.is_abnormal or frame.has_more:
            self._is_odd(job)
        elif isinstance(job.read, PreparedEnergies):
            try:
                registers = energies_of(frame)
            except FrameError:
                self._is_odd(job)
            else:
                self._have_energies(job, registers, now)
        elif job.read.reply_length != len(frame.data) + 16:
            self._is_odd(job)
        else:
            self._have_data(job, sent(frame.data[4:]), now)

    def _hear_stranger(self, frame: Frame) -> None:
        """An answer to nobody's question. The echo of a question, which some adapters send back, is none."""
        missed = self._missed
        if not frame.is_response:
            return
        if missed is not None and CODEC_2007.is_answer(_question(missed), frame):
            self._missed = None
            self._patience.took(missed.number, monotonic() - missed.asked_at)
            self.counts["late"] += 1
        else:
            self.counts["foreign"] += 1

    # --- what came --------------------------------------------------------------------------------------------------

    def _arrived(self, job: Job, length: int, now: float) -> None:
        self.ok += 1
        delay_s = now - job.asked_at
        if self._byte_s:
            delay_s -= self._byte_s * (job.sent_bytes + length)
            if not job.has_begun:
                # It was complete when it was looked at: nobody knows since when. Look earlier the next time.
                delay_s = min(delay_s, job.delay_s - LOOK_EARLIER_S)
        if not job.delay_s * self._least < delay_s < job.delay_s + self._fine_s:
            self._patience.took(job.number, delay_s)
            job.wait_s, job.delay_s = self._patience.expect(job.number)
        if self._patience.is_troubled:
            self._heard_from(job)

    def _have_data(self, job: Job, data: bytes, now: float) -> None:
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
            self._next(now)
        else:
            self._ask(job, now)

    def _have_energies(self, job: Job, registers: tuple[int | None, ...], now: float) -> None:
        if self._take(job, registers):
            self._next(now)
        else:
            self._is_odd(job)

    def _is_odd(self, job: Job) -> None:
        self._odd = self._odd or job
        self._is_stopped = True
        self._next(0.0)

    def _damaged(self) -> None:
        """Something came that is no frame: whoever was asked has to be asked in the general way."""
        self.counts["bad_frame"] += 1
        self.dirty = True
        self._is_stopped = True
        under_way = self._under_way()
        self._odd = self._odd or (under_way[0] if under_way else None)
        if len(under_way) <= 1:
            self._asked.clear()
            self._only = None
            self._finish()

    # --- silence ------------------------------------------------------------------------------------------------------

    def expired(self) -> None:
        """See Deadline."""
        try:
            self._give_up()
        except Exception as error:
            self._fail(error)

    def _give_up(self) -> None:
        if self._part:
            data, self._part = self._part, b""
            self._hear_in_general(data)
        decoder, self._decoder = self._decoder, None
        self._is_watched = self.trace is not None
        for item in decoder.flush() if decoder is not None else ():
            if isinstance(item, Frame):
                self._hear_frame(item)
            elif item.reason != "noise":
                self._damaged()
        now = monotonic()
        for job in self._under_way():
            if job.begins_by > now:
                continue
            if self._byte_s and self._channel is not None and self._channel.unread():
                # It has begun and is left to come in.
                job.begins_by = now + self._byte_s * job.read.reply_length + BYTE_GAP_S
                continue
            if not job.is_forgiven and not self._byte_s:
                # Its answer may have come and lie unread: the loop has looked at its timers before its carriers.
                job.is_forgiven, job.begins_by = True, now + UNREAD_S
            else:
                self._remove(job)
                self._missed, self.dirty = job, True
                self.counts["no_reply"] += 1
                self._silence(job)
                self._next(now)
        under_way = self._under_way()
        if under_way:
            self.set(min(job.begins_by for job in under_way))

    # --- who is asked -------------------------------------------------------------------------------------------------

    def _under_way(self) -> list[Job]:
        return list(self._asked.values()) if self._only is None else [self._only]

    def _remove(self, job: Job) -> None:
        self._only = None
        self._asked.pop(job.head, None)

    def _finish(self) -> None:
        self.clear()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _question(job: Job) -> Frame:
    return Frame(job.meter.address, functions.READ, bytes.fromhex(job.read.identifier)[::-1])
