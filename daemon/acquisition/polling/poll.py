"""The prepared polls of one line: freeze after freeze, with no task woken in between.

This is the fast way for what goes as it should, nearly always. It sends nothing twice and explains
nothing: a meter that answers anything but the expected is left to the general way (Conversation),
one that is silent to `ReplyTimeouts`."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable, Sequence
from functools import cache
from math import inf
from time import monotonic
from typing import Final

from daemon.acquisition.planning.reply_times import COARSE_S, FINE_S, ReplyTimeouts
from daemon.acquisition.polling.batch import NOWHERE, Aboard, BatchPoller
from daemon.acquisition.polling.deadlines import Deadline
from daemon.acquisition.polling.packed_slots import (
    MOST_AGE,
    MOST_NTH,
    NTH_AT,
    NUMBER_AT,
    READ_AT,
    READ_MASK,
    plan,
)
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import functions
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import WAKE_UP, Decoder, Frame
from protocols.dlt645.prepared.many import ADDRESS, CLOCK, STAMP
from protocols.dlt645.prepared.one import (
    HEAD,
    REQUEST_LENGTH,
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
def stamp_of(nth: int) -> PreparedRead:
    """The read of the time stamp of the nth daily freeze, 1 = newest."""
    return PreparedRead(f"050600{nth:02X}", 5)


@cache
def energies_at(nth: int) -> PreparedEnergies:
    """The read of forward active energy of the nth daily freeze."""
    return PreparedEnergies(f"050601{nth:02X}")


class Asked:
    """A question under way, and in its turn the next: one slot, and the `read` of it whose answer
    begins with `head`.

    `number`: of the meter on its line; `day`: day number; `nth`: its daily freeze of that day, 1 =
    newest. `delay_s`: what the meter usually takes, or NaN; `begins_by`: when its answer must have
    begun. `is_forgiven`: its silence was excused once; `has_begun`: on a slow wire, the beginning
    of its answer was seen."""

    __slots__ = (
        *(
            "asked_at",
            "begins_by",
            "day",
            "delay_s",
            "has_begun",
            "head",
            "is_forgiven",
            "meter",
            "nth",
            "number",
        ),
        *("read", "wait_s"),
    )
    day: int
    nth: int
    meter: PreparedMeter
    read: PreparedRead
    head: bytes
    asked_at: float
    begins_by: float
    wait_s: float
    delay_s: float
    is_forgiven: bool
    has_begun: bool

    def __init__(self) -> None:
        self.number = -1


def read_of(read: int, nth: int) -> PreparedRead:
    """The read that CLOCK, STAMP or ENERGIES means, of the nth daily freeze."""
    if read == CLOCK:
        return TIME_OF_DAY
    return stamp_of(nth) if read == STAMP else energies_at(nth)


class Poll(Deadline):
    """Runs a plan over a channel that it listens to meanwhile. `counts` grows by outcome, as a
    Conversation tells them.

    `addresses`: of the meters of the line, as they are sent, one after the other. `polled`: (number
    of the meter, day number, five registers or another number of them, in 0.01 kWh) as they came,
    for whoever runs the poll to take out. `clock` (number, the meter's seconds since 00:00) returns
    False when something is not as it should be: the slot then takes the general way. `heard_from`
    (number) is called while `patience` is troubled, `silence` (number) for a slot without answer;
    further slots of that meter are passed over. `dirty`: something was left on the line, which must
    be listened to before it is used.

    While nothing is wrong and the line is one of many, its questions are asked and answered in
    `batch_poller`, for all lines together. As soon as something is not as expected they come back
    (`carry_on`), and the rest of the plan is gone through here."""

    __slots__ = (
        *(
            "_asked",
            "_byte_s",
            "_channel",
            "_batch_poller",
            "_decoder",
            "_done",
            "_ends_at",
            "_gathered",
            "_gathers",
        ),
        *(
            "_is_pipelined",
            "_is_plain",
            "_is_stopped",
            "_is_watched",
            "_missed",
            "_odd",
            "_only",
            "_part",
        ),
        *("_passed_over", "_seat", "_silence", "_today", "_write"),
        *(
            "addresses",
            "clock",
            "counts",
            "dirty",
            "heard_from",
            "ok",
            "patience",
            "plan",
            "polled",
            "trace",
        ),
    )

    def __init__(
        self,
        batch_poller: BatchPoller,
        patience: ReplyTimeouts,
        addresses: bytes,
        *,
        clock: Callable[[int, int], bool],
        heard_from: Callable[[int], None],
        silence: Callable[[int], None],
    ) -> None:
        super().__init__(batch_poller.deadlines)
        self.counts = dict.fromkeys(("ok", "no_reply", "bad_frame", "late", "foreign"), 0)
        self.trace: Callable[[str, bytes], None] | None = None
        self.dirty = False
        self.ok = 0
        self.polled: list[tuple[int, int, tuple[int | None, ...]]] = []
        self.plan = plan()
        self.patience, self.addresses = patience, addresses
        self.clock, self.heard_from, self._silence = clock, heard_from, silence
        self._batch_poller = batch_poller
        self._seat = NOWHERE
        self._today = 0
        self._decoder: Decoder | None = None
        """Only while something other than one whole answer came."""
        self._only: Asked | None = None
        """What is asked, one at a time."""
        self._part = b""
        """The beginning of its answer."""
        self._gathered = b""
        """Questions that go out together."""
        self._asked: dict[bytes, Asked] = {}
        """By the head of its answer, when several are asked at a time."""
        self._missed: tuple[int, Frame, float] | None = None
        """The meter that was silent last, what it was asked and when."""
        self._odd: tuple[int, int] | None = None
        self._passed_over: frozenset[int] = frozenset()
        self._is_stopped, self._is_plain, self._is_pipelined = True, True, False
        self._is_watched = self._gathers = False
        self._byte_s = self._ends_at = 0.0
        self._channel: StreamChannel | None = None
        self._done: asyncio.Future[None] | None = None

    async def run(
        self,
        channel: StreamChannel,
        slots: array[int],
        today: int,
        *,
        depth: int = 1,
        lasts_s: float = inf,
    ) -> tuple[int, int] | None:
        """Until no slot of the plan is left, `interrupt` is called or the time is over; `depth` of
        them are under way at once, each of another meter. `today`: the day number from which the
        plan counts its ages.

        The slot (number of the meter, day number) that has to take the general way ends it and is
        returned. LineDown when the carrier is gone."""
        loop = asyncio.get_running_loop()
        self._channel, self._byte_s = channel, channel.byte_s
        self.plan, self._today = slots, today
        self._odd, self._is_stopped, self._passed_over = None, False, frozenset()
        self._ends_at = monotonic() + lasts_s
        self._is_pipelined = depth > 1
        self._is_watched = self._gathers = self.trace is not None or depth > 1
        self._is_plain = depth == 1 and not channel.byte_s
        done = self._done = loop.create_future()
        try:
            channel.listen(self)
            self._write = self._gather if self._gathers else channel.writer()
            if self.trace is None and not self._byte_s and slots:
                self._seat = self._batch_poller.join(
                    self,
                    channel.writer(),
                    today,
                    depth=depth,
                    ends_at=self._ends_at,
                )
            if self._seat == NOWHERE:
                for _ in range(depth):
                    self._next(Asked(), monotonic())
                self._send_gathered()
            await done
        finally:
            self._is_stopped = True
            self.dirty = (
                self.dirty or bool(self._under_way() or self._part) or self._decoder is not None
            )
            self._leave()
            self._asked.clear()
            self._only = self._decoder = None
            self._part = self._gathered = b""
            self.clear()
            channel.listen(None)
            self._channel = self._done = None
            self.counts["ok"] += self.ok
            self.ok = 0
        return self._odd

    def interrupt(self) -> None:
        """Ask nothing more: something is more urgent. What is under way is waited for."""
        self._is_stopped = True
        if self._seat != NOWHERE:
            self._batch_poller.stop(self._seat)

    # --- in the batch poller: see Rider
    # -------------------------------------------------------------------------------------

    def carry_on(self, under_way: Sequence[Aboard], idle: int, data: bytes) -> None:
        """See Rider."""
        self._seat = NOWHERE
        try:
            for aboard in under_way:
                self._take_over(aboard)
            if under_way:
                self.set(min(aboard.begins_by for aboard in under_way))
            if data:
                self.heard(data)
            for _ in range(idle):
                self._next(Asked(), monotonic())
            self._send_gathered()
        except Exception as error:
            self._fail(error)

    def _take_over(self, aboard: Aboard) -> None:
        asked = Asked()
        asked.number, asked.meter = aboard.number, self._meter(aboard.number)
        asked.day, asked.nth = self._today - aboard.age, aboard.nth
        asked.read = read_of(aboard.read, aboard.nth)
        asked.head = asked.read.reply_head(asked.meter)
        asked.wait_s, asked.delay_s = aboard.wait_s, aboard.delay_s
        asked.asked_at, asked.begins_by, asked.is_forgiven = (
            aboard.asked_at,
            aboard.begins_by,
            False,
        )
        if self._is_pipelined:
            self._asked[asked.head] = asked
        else:
            self._only = asked

    def is_through(self) -> None:
        """See Rider."""
        self._seat = NOWHERE
        self._finish()

    def fail(self, error: Exception) -> None:
        """See Rider."""
        self._seat, self.dirty = NOWHERE, True
        self._fail(error)

    def _leave(self) -> None:
        if self._seat != NOWHERE:
            self.dirty = self._batch_poller.leave(self._seat) or self.dirty
            self._seat = NOWHERE

    # --- asking
    # -----------------------------------------------------------------------------------------------------

    def _next(self, asked: Asked, now: float) -> None:
        """The next slot in the place of one that is done."""
        if not self._is_stopped and now <= self._ends_at:
            slot = self.next_slot(now)
            if slot is not None:
                self._fill(asked, slot)
                self._ask(asked, now)
                return
        if not self._only and not self._asked:
            self._finish()

    def next_slot(self, now: float) -> int | None:
        """See Rider."""
        plan, patience = self.plan, self.patience
        if not patience.is_troubled and not self._passed_over:
            return plan.pop() if plan else None
        while plan:
            slot = plan.pop()
            number = slot >> NUMBER_AT
            if number in self._passed_over:
                continue
            if patience.is_ready(number, now):
                return slot
            self._passed_over |= {
                number
            }  # the first of its slots may be the one that reads its clock
        return None

    def _fill(self, asked: Asked, slot: int) -> None:
        number = slot >> NUMBER_AT
        if number != asked.number or self.patience.is_troubled:
            asked.wait_s, asked.delay_s = self.patience.expect(number)
        if number != asked.number:
            asked.number, asked.meter = number, self._meter(number)
        asked.day, asked.nth = self._today - (slot & MOST_AGE), slot >> NTH_AT & MOST_NTH
        asked.read = read_of(slot >> READ_AT & READ_MASK, asked.nth)

    def _meter(self, number: int) -> PreparedMeter:
        at = ADDRESS * number
        return PreparedMeter(self.addresses[at : at + ADDRESS][::-1].hex())

    def _ask(self, asked: Asked, now: float) -> None:
        read, meter = asked.read, asked.meter
        head = asked.head = meter.reply_head + read.reply_tail
        self._write(read.request(meter))
        asked.asked_at, asked.is_forgiven = now, False
        begins_by = asked.begins_by = now + asked.wait_s
        if self._is_plain:
            self._only = asked
        else:
            if self._byte_s:
                asked.has_begun = False
                begins_by = asked.begins_by = begins_by + self._rest(asked)
            if self._is_pipelined:
                self._asked[head] = asked
                begins_by = min(begins_by, self.at)
            else:
                self._only = asked
        self.at = begins_by
        if begins_by < self.filed_at:
            self.set(begins_by)

    def _gather(self, request: bytes) -> None:
        """Questions that follow from one segment go out in one: what costs is to call the
        kernel."""
        if self.trace is not None:
            self.trace("tx", request)
        self._gathered += request

    def _send_gathered(self) -> None:
        if self._gathered and self._channel is not None:
            requests, self._gathered = self._gathered, b""
            self._channel.write(requests)

    def _rest(self, asked: Asked) -> float:
        """On a slow wire: leave the channel alone until the answer must be there. Returns what the
        wire adds to the wait for its beginning."""
        assert self._channel is not None
        byte_s = self._byte_s
        delay_s = asked.delay_s if asked.delay_s == asked.delay_s else 0.0
        self._channel.rest(byte_s * (REQUEST_LENGTH + asked.read.reply_length) + delay_s)
        return byte_s * (REQUEST_LENGTH + 1)

    # --- listening
    # --------------------------------------------------------------------------------------------------

    def heard(self, data: bytes) -> None:
        """See Listener. One whole answer of the only one that is asked: the usual case."""
        if self._seat != NOWHERE:
            self._batch_poller.heard(self._seat, data)
            return
        try:
            asked = self._only
            if asked is None or self._is_watched:
                self._hear(data)
                self._send_gathered()
                return
            if self._part:
                data, self._part = self._part + data, b""
            read, now = asked.read, monotonic()
            if isinstance(read, PreparedEnergies):
                registers = read.energies(asked.head, data)
                if registers is not None:
                    self._only = None
                    self._arrived(asked, len(data), now)
                    self.polled.append((asked.number, asked.day, registers))
                    self._next(asked, now)
                    return
            else:
                found = read.data(asked.head, data)
                if found is not None:
                    self._only = None
                    self._arrived(asked, len(data), now)
                    self._have_data(asked, found, now)
                    return
            if not self._is_part(asked, data):
                self._hear_in_general(data)
            self._send_gathered()
        except Exception as error:
            self._fail(error)

    def lost(self, error: LineDown) -> None:
        """See Listener."""
        self._leave()
        self._fail(error)

    def _hear(self, data: bytes) -> None:
        """Answers to several, parts of answers, or somebody looks."""
        if self.trace is not None:
            self.trace("rx", data)
        start, end = 0, len(data)
        while start < end and self._decoder is None:
            at = data.find(b"\x68", start)
            asked = self._asked.get(data[at : at + HEAD]) if at >= 0 else None
            stop = at + data[at + 9] + 12 if asked is not None else end + 1
            if asked is None or stop > end:
                break
            answer, read, now = data[start:stop], asked.read, monotonic()
            if isinstance(read, PreparedEnergies):
                registers = read.energies(asked.head, answer)
                if registers is None:
                    break
                self._remove(asked)
                self._arrived(asked, len(answer), now)
                self._have_energies(asked, registers, now)
            else:
                found = read.data(asked.head, answer)
                if found is None:
                    break
                self._remove(asked)
                self._arrived(asked, len(answer), now)
                self._have_data(asked, found, now)
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
        self._is_watched = decoder.pending or self._gathers
        if decoder.pending:
            self._wait_for_the_rest(0)

    def _is_part(self, asked: Asked, data: bytes) -> bool:
        """The beginning of the answer, and nothing else? Then it is kept, and the rest waited
        for."""
        at = data.find(b"\x68")
        have = len(data) - at
        length = asked.read.reply_length - len(WAKE_UP)
        if at < 0 or have >= length or data[at : at + HEAD] != asked.head[:have]:
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
        for asked in under_way:
            wire_s = self._byte_s * (REQUEST_LENGTH + asked.read.reply_length)
            ends_by = asked.asked_at + asked.wait_s + wire_s + LONGEST_ANSWER_S
            asked.begins_by = max(asked.begins_by, min(begins_by, ends_by))
        self.set(min(asked.begins_by for asked in under_way))

    def _hear_frame(self, frame: Frame) -> None:
        for asked in self._under_way():
            if CODEC_2007.is_answer(_question(asked), frame):
                break
        else:
            self._hear_stranger(frame)
            return
        now = monotonic()
        self._remove(asked)
        self._arrived(asked, asked.read.reply_length, now)
        if frame.is_abnormal or frame.has_more:
            self._is_odd(asked)
        elif isinstance(asked.read, PreparedEnergies):
            try:
                registers = energies_of(frame)
            except FrameError:
                self._is_odd(asked)
            else:
                self._have_energies(asked, registers, now)
        elif asked.read.reply_length != len(frame.data) + 16:
            self._is_odd(asked)
        else:
            self._have_data(asked, sent(frame.data[4:]), now)

    def _hear_stranger(self, frame: Frame) -> None:
        """An answer to nobody's question. The echo of a question, which some adapters send back, is
        none."""
        if not frame.is_response:
            return
        if self._missed is not None and CODEC_2007.is_answer(self._missed[1], frame):
            number, _, asked_at = self._missed
            self._missed = None
            self.patience.record_delay(number, monotonic() - asked_at)
            self.counts["late"] += 1
        else:
            self.counts["foreign"] += 1

    # --- what came
    # --------------------------------------------------------------------------------------------------

    def _arrived(self, asked: Asked, length: int, now: float) -> None:
        self.ok += 1
        delay_s, patience = now - asked.asked_at, self.patience
        if self._byte_s:
            delay_s -= self._byte_s * (REQUEST_LENGTH + length)
            if not asked.has_begun:
                # It was complete when it was looked at: nobody knows since when. Look earlier the
                # next time.
                delay_s = min(delay_s, asked.delay_s - LOOK_EARLIER_S)
            is_usual = 0.98 * asked.delay_s < delay_s < asked.delay_s + FINE_S
        else:
            is_usual = 0.5 * asked.delay_s < delay_s < asked.delay_s + COARSE_S
        if not is_usual:
            patience.record_delay(asked.number, delay_s)
            asked.wait_s, asked.delay_s = patience.expect(asked.number)
        if patience.is_troubled:
            self.heard_from(asked.number)

    def _have_data(self, asked: Asked, data: bytes, now: float) -> None:
        if asked.read is TIME_OF_DAY:
            seconds = time_of_day(data)
            if seconds is None or not self.clock(asked.number, seconds):
                self._is_odd(asked)
                return
            asked.read = stamp_of(asked.nth)
        elif data == midnight_stamp(asked.day):
            asked.read = energies_at(asked.nth)
        else:
            self._is_odd(asked)
            return
        if self._is_stopped:
            self._next(asked, now)
        else:
            self._ask(asked, now)

    def _have_energies(self, asked: Asked, registers: tuple[int | None, ...], now: float) -> None:
        if registers[0] is None:
            self._is_odd(asked)
            return
        self.polled.append((asked.number, asked.day, registers))
        self._next(asked, now)

    def _is_odd(self, asked: Asked) -> None:
        self._odd = self._odd or (asked.number, asked.day)
        self._is_stopped = True
        self._next(asked, 0.0)

    def _damaged(self) -> None:
        """Something came that is no frame: whoever was asked has to be asked in the general way."""
        self.counts["bad_frame"] += 1
        self.dirty = True
        self._is_stopped = True
        under_way = self._under_way()
        if under_way:
            self._odd = self._odd or (under_way[0].number, under_way[0].day)
        if len(under_way) <= 1:
            self._asked.clear()
            self._only = None
            self._finish()

    # --- silence
    # ------------------------------------------------------------------------------------------------------

    def expired(self) -> None:
        """See Deadline."""
        try:
            self._give_up()
            self._send_gathered()
        except Exception as error:
            self._fail(error)

    def _give_up(self) -> None:
        if self._part:
            data, self._part = self._part, b""
            self._hear_in_general(data)
        decoder, self._decoder = self._decoder, None
        self._is_watched = self._gathers
        for item in decoder.flush() if decoder is not None else ():
            if isinstance(item, Frame):
                self._hear_frame(item)
            elif item.reason != "noise":
                self._damaged()
        now = monotonic()
        for asked in self._under_way():
            if asked.begins_by > now:
                continue
            if self._byte_s and self._channel is not None and self._channel.unread():
                # It has begun and is left to come in.
                asked.begins_by = now + self._byte_s * asked.read.reply_length + BYTE_GAP_S
                continue
            if not asked.is_forgiven and not self._byte_s:
                # Its answer may have come and lie unread: the loop has looked at its timers before
                # its carriers.
                asked.is_forgiven, asked.begins_by = True, now + UNREAD_S
            else:
                self._was_silent(asked)
                self._next(asked, now)
        under_way = self._under_way()
        if under_way:
            self.set(min(asked.begins_by for asked in under_way))

    def _was_silent(self, asked: Asked) -> None:
        self._remove(asked)
        self._missed, self.dirty = (asked.number, _question(asked), asked.asked_at), True
        self._passed_over |= {asked.number}
        self.counts["no_reply"] += 1
        self._silence(asked.number)

    # --- who is asked
    # -------------------------------------------------------------------------------------------------

    def _under_way(self) -> list[Asked]:
        return list(self._asked.values()) if self._only is None else [self._only]

    def _remove(self, asked: Asked) -> None:
        self._only = None
        self._asked.pop(asked.head, None)

    def _finish(self) -> None:
        self.clear()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._is_stopped = True
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


def _question(asked: Asked) -> Frame:
    return Frame(asked.meter.address, functions.READ, bytes.fromhex(asked.read.identifier)[::-1])
