"""The prepared polls of one line by itself: request after request, with no task woken in between.

It sends nothing twice and explains nothing: a meter that answers anything but the expected is left
to the general way (Conversation), one that is silent to `ReplyTimeouts`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from daemon.acquisition.planning.reply_times import ON_A_WIRE, OVER_A_NETWORK, usual_range
from daemon.acquisition.polling.client import SingleLine
from daemon.acquisition.polling.deadlines import Deadline, Deadlines
from daemon.acquisition.polling.in_flight import InFlight, InFlightRequest
from daemon.acquisition.polling.packed_slots import (
    MOST_AGE,
    MOST_NTH,
    NTH_AT,
    NUMBER_AT,
    STEP_AT,
    STEP_MASK,
)
from daemon.acquisition.polling.run import Outbox, Run
from protocols.dlt645.exchanges import CODEC_2007
from protocols.dlt645.frame import OVERHEAD, WAKE_UP, Frame
from protocols.dlt645.prepared.many import meter_at
from protocols.dlt645.prepared.one import (
    HEAD,
    REQUEST_LENGTH,
    PreparedEnergies,
    energies_of,
    midnight_stamp,
    sent,
    time_of_day,
)
from protocols.dlt645.prepared.steps import CLOCK, reads_of
from protocols.errors import FrameError, LineDown
from protocols.exchange import AnswerMatcher, Meaning, Received

LOOK_EARLIER_S: Final = 0.02
UNREAD_S: Final = 0.005
"""The loop looks at its timers before its carriers: an answer may lie unread for so long."""
BYTE_GAP_S: Final = 0.5
"""Inside an answer a carrier may pause for so long."""


class SinglePoller(Deadline):
    """Asks the meters of one line, and is what listens to its channel meanwhile.

    The usual thing that comes is exactly the answer to the only request in flight; everything else
    is looked at more closely."""

    __slots__ = (
        "_byte_s",
        "_has_part",
        "_in_flight",
        "_is_watched",
        "_line",
        "_matcher",
        "_missed",
        "_ok",
        "_outbox",
        "_run",
        "_timeouts",
        "_tolerance",
        "_write",
    )

    def __init__(self, line: SingleLine, deadlines: Deadlines) -> None:
        super().__init__(deadlines)
        self._line = line
        self._timeouts = line.reply_timeouts
        self._tolerance = OVER_A_NETWORK
        self._ok = 0
        """Good answers of this run."""
        self._matcher = AnswerMatcher(CODEC_2007)
        self._missed: tuple[int, float] | None = None
        """The meter that was silent last, and when it was asked."""
        self._in_flight = InFlight()
        self._has_part = False
        """The matcher keeps bytes that may become a frame."""

    def begin(self, run: Run) -> None:
        """Listen for this run; nothing is asked yet."""
        self._run = run
        self._byte_s = run.channel.byte_s
        self._tolerance = ON_A_WIRE if self._byte_s else OVER_A_NETWORK
        is_gathering = self._line.trace is not None or run.depth > 1
        self._outbox = Outbox(run.channel, self._line) if is_gathering else None
        self._is_watched = is_gathering
        """More may come than the answer to one request, or somebody looks."""
        self._in_flight.depth = run.depth

    def go(
        self,
        idle: int,
        requests: Sequence[InFlightRequest] = (),
        data: bytes = b"",
    ) -> None:
        """Go on with these requests, of which these bytes came, and take so many slots more."""
        channel = self._run.channel
        channel.listen(self)
        outbox = self._outbox
        self._write: Callable[[bytes], None] = channel.writer() if outbox is None else outbox.add
        for request in requests:
            request.complete(self._line.addresses, self._tolerance)
            self._in_flight.add(request)
        if requests:
            self.set(self._in_flight.first_deadline())
        if data:
            self.heard(data)
        for _ in range(idle):
            self._next(InFlightRequest(), monotonic())
        if outbox is not None:
            outbox.send()

    def end(self) -> bool:
        """The run is over. Whether something may still be under way on the line."""
        is_left = bool(self._in_flight) or self._has_part
        self._in_flight.clear()
        self._has_part = False
        self._matcher.reset()
        self.clear()
        self._line.counts["ok"] += self._ok
        self._ok = 0
        return is_left

    # --- asking

    def _next(self, request: InFlightRequest, now: float) -> None:
        """The next slot in the place of one that is done."""
        run = self._run
        if not run.is_stopped and now <= run.ends_at:
            slot = self._line.next_slot(now)
            if slot is not None:
                self._fill(request, slot)
                self._ask(request, now)
                return
        if not self._in_flight:
            self.clear()
            run.finish()

    def _fill(self, request: InFlightRequest, slot: int) -> None:
        number = slot >> NUMBER_AT
        is_other = number != request.number
        if is_other or self._timeouts.is_troubled:
            request.wait_s, request.delay_s = self._timeouts.expect(number)
            request.usual_s = usual_range(request.delay_s, self._tolerance)
        if is_other:
            request.number = number
            request.meter = meter_at(self._line.addresses, number)
        request.age = slot & MOST_AGE
        request.nth = slot >> NTH_AT & MOST_NTH
        request.reads = reads_of(request.nth)
        request.step = slot >> STEP_AT & STEP_MASK

    def _ask(self, request: InFlightRequest, now: float) -> None:
        meter = request.meter
        read = request.reads[request.step]
        head = meter.reply_head + read.reply_tail
        request.read = read
        request.head = head
        self._write(read.request(meter))
        begins_by = now + request.wait_s
        if self._byte_s:
            request.has_begun = False
            begins_by += self._rest(request)
        request.asked_at = now
        request.begins_by = begins_by
        request.is_forgiven = False
        if self._run.depth > 1:
            self._in_flight.several[head] = request
            begins_by = min(begins_by, self.at)
        else:
            self._in_flight.only = request
        self.at = begins_by
        if begins_by < self.filed_at:
            self.set(begins_by)

    def _rest(self, request: InFlightRequest) -> float:
        """Leave the channel alone until the answer must be there.

        Returns what the wire adds to the wait for its beginning."""
        delay_s = request.delay_s
        is_known = delay_s == delay_s  # not NaN
        on_the_wire_s = self._byte_s * (REQUEST_LENGTH + request.read.reply_length)
        self._run.channel.rest(on_the_wire_s + (delay_s if is_known else 0.0))
        return self._byte_s * (REQUEST_LENGTH + 1)

    # --- listening

    def heard(self, data: bytes) -> None:
        """See Listener."""
        try:
            request = self._in_flight.only
            if request is None or self._is_watched:
                self._receive_watched(data)
            else:
                if request.part:
                    data = request.part + data
                if not self._is_taken(request, data):
                    self._receive_part(request, data)
            if self._outbox is not None:
                self._outbox.send()
        except Exception as error:
            self._run.fail(error)

    def lost(self, error: LineDown) -> None:
        """See Listener."""
        self._run.fail(error)

    def _receive_part(self, request: InFlightRequest, data: bytes) -> None:
        """The beginning of the answer to the only request; or something else."""
        missing = request.missing(data)
        if missing:
            request.part = data
            self._wait_for_the_rest(missing)
        else:
            request.part = b""
            self._receive_in_general(data)

    def _receive_watched(self, data: bytes) -> None:
        """Answers to several, parts of answers, or somebody looks."""
        if self._line.trace is not None:
            self._line.trace("rx", data)
        start = 0
        end = len(data)
        while start < end and not self._has_part:
            at = data.find(b"\x68", start)
            request = self._in_flight.several.get(data[at : at + HEAD]) if at >= 0 else None
            if request is None:
                break
            stop = at + data[at + 9] + OVERHEAD
            if stop > end or not self._is_taken(request, data[start:stop]):
                break
            start = stop
        if start < end:
            self._receive_in_general(data[start:])

    def _is_taken(self, request: InFlightRequest, answer: bytes) -> bool:
        """Whether these bytes are exactly one good answer, which is then done with."""
        read = request.read
        now = monotonic()
        if isinstance(read, PreparedEnergies):
            registers = read.energies(request.head, answer)
            if registers is None:
                return False
            self._answered(request, len(answer), now)
            self._take_energies(request, registers, now)
        else:
            data = read.data(request.head, answer)
            if data is None:
                return False
            self._answered(request, len(answer), now)
            self._take_data(request, data, now)
        return True

    def _receive_in_general(self, data: bytes) -> None:
        """What came is not, or not only, what was expected. No data: nothing more comes."""
        questions = self._in_flight.questions()
        matcher = self._matcher
        received = matcher.feed(data, questions) if data else matcher.flush(questions)
        self._has_part = bool(received) and received[-1].meaning is Meaning.PART
        self._is_watched = self._has_part or self._outbox is not None
        for item in received:
            self._judge(item, questions)

    def _judge(self, item: Received[Frame], questions: dict[Frame, InFlightRequest]) -> None:
        counts = self._line.counts
        match item:
            case Received(Meaning.ANSWER, Frame() as frame, Frame() as question):
                request = questions[question]
                if request in self._in_flight:
                    self._judge_answer(request, frame)
                else:  # something damaged came before it, and it was given up
                    counts["foreign"] += 1
            case Received(Meaning.LATE):
                counts["late"] += 1
                if self._missed is not None:
                    number, asked_at = self._missed
                    self._line.reply_timeouts.record_delay(number, monotonic() - asked_at)
            case Received(Meaning.FOREIGN):
                counts["foreign"] += 1
            case Received(Meaning.DAMAGED):
                counts["bad_frame"] += 1
                self._ask_in_the_general_way()
            case Received(Meaning.PART):
                self._wait_for_the_rest(0)

    def _judge_answer(self, request: InFlightRequest, frame: Frame) -> None:
        """The answer, decoded in general: not as expected, or only among other things."""
        now = monotonic()
        read = request.read
        self._answered(request, read.reply_length, now)
        if frame.is_abnormal or frame.has_more:
            self._is_odd(request)
        elif isinstance(read, PreparedEnergies):
            try:
                registers = energies_of(frame)
            except FrameError:
                self._is_odd(request)
            else:
                self._take_energies(request, registers, now)
        elif read.reply_length != len(WAKE_UP) + OVERHEAD + len(frame.data):
            self._is_odd(request)
        else:
            self._take_data(request, sent(frame.data[4:]), now)

    def _wait_for_the_rest(self, missing: int) -> None:
        """An answer has begun. `missing`: bytes that it lacks at least."""
        if not self._in_flight:
            return
        gap_s = BYTE_GAP_S
        only = self._in_flight.only
        if self._byte_s and only is not None:
            only.has_begun = True
            missing_s = missing * self._byte_s
            self._run.channel.rest(missing_s)
            gap_s += missing_s
        begins_by = monotonic() + gap_s
        for request in self._in_flight.all():
            request.wait_until(begins_by, self._byte_s)
        self.set(self._in_flight.first_deadline())

    # --- what came

    def _answered(self, request: InFlightRequest, length: int, now: float) -> None:
        """The request is not in flight any more, and its delay is learnt from."""
        in_flight = self._in_flight
        in_flight.only = None
        if in_flight.several:
            in_flight.several.pop(request.head, None)
        request.part = b""
        self._ok += 1
        delay_s = now - request.asked_at
        if self._byte_s:
            delay_s -= self._byte_s * (REQUEST_LENGTH + length)
            if not request.has_begun:
                # It was complete when it was looked at: nobody knows since when. Look earlier the
                # next time.
                delay_s = min(delay_s, request.delay_s - LOOK_EARLIER_S)
        timeouts = self._timeouts
        lower_s, upper_s = request.usual_s
        if not lower_s < delay_s < upper_s:
            number = request.number
            timeouts.record_delay(number, delay_s)
            request.wait_s, request.delay_s = timeouts.expect(number)
            request.usual_s = usual_range(request.delay_s, self._tolerance)
        if timeouts.is_troubled:
            self._line.heard_from(request.number, False)

    def _take_data(
        self,
        request: InFlightRequest,
        data: bytes,
        now: float,
    ) -> None:
        """The time of day or the stamp, as it is sent: the next step, if it is as expected."""
        if request.step == CLOCK:
            seconds = time_of_day(data)
            is_good = seconds is not None and self._line.clock(request.number, seconds)
        else:
            is_good = data == midnight_stamp(self._run.today - request.age)
        if not is_good:
            self._is_odd(request)
        elif self._run.is_stopped:
            self._next(request, now)
        else:
            request.step += 1
            self._ask(request, now)

    def _take_energies(
        self,
        request: InFlightRequest,
        registers: tuple[int | None, ...],
        now: float,
    ) -> None:
        if registers[0] is None:
            self._is_odd(request)
            return
        day = self._run.today - request.age
        self._line.polled.append((request.number, day, registers))
        if self._timeouts.is_troubled:
            self._line.heard_from(request.number, True)
        self._next(request, now)

    def _is_odd(self, request: InFlightRequest) -> None:
        self._run.leave_to_the_general_way(request)
        self._next(request, 0.0)

    def _ask_in_the_general_way(self) -> None:
        """Something came that is no frame: the meter that was asked has to be asked in the general
        way."""
        self._line.dirty = True
        self._run.is_stopped = True
        requests = self._in_flight.all()
        if requests:
            self._run.leave_to_the_general_way(requests[0])
        if len(requests) <= 1:
            self._in_flight.clear()
            self.clear()
            self._run.finish()

    # --- silence

    def expired(self) -> None:
        """See Deadline."""
        try:
            self._give_up()
            if self._outbox is not None:
                self._outbox.send()
        except Exception as error:
            self._run.fail(error)

    def _give_up(self) -> None:
        part = self._in_flight.take_part()
        if part:
            self._receive_in_general(part)
        if self._has_part:
            self._receive_in_general(b"")
        now = monotonic()
        for request in self._in_flight.all():
            if request.begins_by > now:
                continue
            if self._byte_s and self._run.channel.unread():
                # It has begun and is left to come in.
                request.begins_by = now + self._byte_s * request.read.reply_length + BYTE_GAP_S
            elif not request.is_forgiven and not self._byte_s:
                # Its answer may have come and lie unread.
                request.is_forgiven = True
                request.begins_by = now + UNREAD_S
            else:
                self._timed_out(request)
                self._next(request, now)
        if self._in_flight:
            self.set(self._in_flight.first_deadline())

    def _timed_out(self, request: InFlightRequest) -> None:
        self._in_flight.remove(request)
        self._missed = (request.number, request.asked_at)
        self._matcher.unanswered = request.as_frame()
        line = self._line
        line.dirty = True
        line.pass_over(request.number)
        line.counts["no_reply"] += 1
        line.silence(request.number)
