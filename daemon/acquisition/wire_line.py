"""A line with a channel of its own: the task that owns it. Nothing else writes to it.

In this order: supply commands, host freezes while it is midnight, on-demand reads, orders to
meters, today's freezes, values in doubt, relays, the slot that is wanted most, clocks to be set,
who the meters are. Between two exchanges it looks whether something more urgent came.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from math import inf

import structlog
from prometheus_client import Counter

from daemon import metrics
from daemon.acquisition.clocks import (
    MIDNIGHT_MARGIN,
    QUIET_AROUND_MIDNIGHT,
    MeterClocks,
    is_near_midnight,
)
from daemon.acquisition.conversations import Conversations, Preempted
from daemon.acquisition.driver import Driver
from daemon.acquisition.first_looks import look_at_one
from daemon.acquisition.freezes import FreezeIndexes
from daemon.acquisition.half_read import Connections
from daemon.acquisition.identification import identify_one
from daemon.acquisition.jobs import BEFORE_MIDNIGHT_S, Jobs
from daemon.acquisition.line import Line
from daemon.acquisition.meter_orders import obey_one
from daemon.acquisition.meter_port import MeterPorts, Urgency
from daemon.acquisition.overheard import Overheard
from daemon.acquisition.parts import LineParts
from daemon.acquisition.planning.turns import QUESTIONS_OF_A_POLL
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.poll import Poll
from daemon.acquisition.relay_looks import look_at_due_relay
from daemon.acquisition.rereading import reread_one
from daemon.acquisition.rounds import (
    begin_round,
    do_urgent,
    idle_for_s,
    is_urgent,
    must_give_way,
)
from daemon.acquisition.slots import read_slot, wanted_slots
from daemon.acquisition.wire_meter import WireMeter
from daemon.acquisition.wire_trace import WireTrace
from daemon.quality.arrival import PolledFreeze, Teller
from daemon.quality.freeze import CLOCK_LIMIT, freeze_day, skew_at_freeze
from protocols.channels import Channel
from protocols.channels.conversation import Timing
from protocols.channels.streams import StreamChannel
from protocols.dlt645.exchanges import FrozenRegisters
from protocols.dlt645.prepared.many import wire_addresses
from storage.archive import SiteMeter

log = structlog.get_logger("line")
wire = structlog.get_logger("wire")

FIRST_WAIT_ON_A_WIRE_S = 0.2
"""Most meters on a bus of their own answer sooner; DL/T 645-2007 allows 0.5 s."""
GUARD_OVER_A_NETWORK_S = 0.5
"""A network delays an answer by more than meters do, and to wait for it keeps no wire idle."""
MAX_SLOTS = 128
"""Slots that are planned at once, or an eighth of the meters if that is more, because a plan looks
at all of them; how long they take is bounded by LONGEST_POLL_S."""
REOPEN_S = 300.0
"""A line on which no meter answers is opened anew at this interval: the far end may have forgotten
the connection."""
LONGEST_POLL_S = 3.0
"""After this time at the latest the line looks again what is wanted most."""
REQUESTS_OF_A_SLOT = 8
"""A slot that is read in the general way is a handful of requests."""
NO_ADDRESS = "000000000000"
"""In place of one that no prepared read has."""


@dataclass(frozen=True, slots=True)
class WireParts:
    """What a line with a channel of its own is built of besides `LineParts`."""

    driver_of: Callable[[SiteMeter], Driver]
    open_channel: Callable[[], AbstractAsyncContextManager[Channel]]
    timing: Timing
    batch_poller: BatchPoller
    pipelined: int = 1
    """Maximum number of requests under way at once, each to another meter."""
    sets_clocks: bool = False
    may_backfill: Callable[[], bool] = lambda: True
    """False while older days must wait."""


class WireLine(Line):
    """The task of one channel and what it knows."""

    __slots__ = (
        "_clocks",
        "_connections",
        "_counters",
        "_drivers",
        "_freezes",
        "_overheard",
        "_parts",
        "_poll",
        "trace",
    )

    def __init__(self, common: LineParts, parts: WireParts) -> None:
        has_memory = [meter.protocol == "dlt645-2007" for meter in common.meters]
        timing = parts.timing
        jobs = Jobs(
            common,
            has_memory=has_memory,
            longest_wait_s=timing.reply_timeout_s,
            gives_way=True,
        )
        longest_request_s = timing.reply_timeout_s * (1 + timing.retries)
        super().__init__(jobs, longest_step_s=REQUESTS_OF_A_SLOT * longest_request_s)
        self._parts = parts
        self.trace = WireTrace(wire if common.is_traced else None)
        """The live frames."""
        self._drivers: dict[int, Driver] = {}
        """Of the meters whose driver learns something."""
        self.clocks = self._clocks = MeterClocks(
            common.name,
            common.meters,
            retry_s=common.pace.retry_s,
            sets_clocks=parts.sets_clocks,
            summer_time=common.clock.summer_time,
        )
        self._freezes = FreezeIndexes(self._clocks, is_pipelined=parts.pipelined > 1)
        addresses = [
            meter.address if has else NO_ADDRESS
            for meter, has in zip(common.meters, has_memory, strict=True)
        ]
        self._poll = Poll(
            parts.batch_poller,
            jobs.reply_timeouts,
            wire_addresses(addresses),
            clock=self._clocks.check_time_of_day,
            heard_from=jobs.heard_from,
            silence=self._record_silence,
        )
        self._connections = Connections()
        self._overheard = Overheard(jobs)
        self._counters: dict[str, Counter] = {}
        """By outcome: to find one by its labels costs more than to count."""

    async def _session(self) -> None:
        async with self._parts.open_channel() as channel:
            self._jobs.told_by = Teller(self.name, channel.peer)
            self._jobs.question = lambda: channel.question
            self._connections.begin()
            self._is_up(True)
            timeouts = self._jobs.reply_timeouts
            # On a wire the delays are the meters' own; over a network they are the network's.
            if isinstance(channel, StreamChannel) and channel.byte_s:
                timeouts.first_wait_s = FIRST_WAIT_ON_A_WIRE_S
            else:
                timeouts.guard_s = GUARD_OVER_A_NETWORK_S
            timeouts.unblock()
            # A terminal proves by its heartbeats that it is there; another far end that is silent
            # may have lost us.
            reopen_s = inf
            if not self.is_one_of_many:
                reopen_s = min(REOPEN_S, self._jobs.parts.pace.retry_s)
            await self._work(self._converse_over(channel), time.monotonic() + reopen_s)
            log.info("line opened anew, nobody answers", line=self.name)

    def _was_of_use(self) -> bool:
        """See Line. Whoever answers is there, whatever hung up."""
        return self._connections.answers > 0 or super()._was_of_use()

    def _why_it_flaps(self) -> str:
        """See Line."""
        if self._connections.answers:
            return "the far end hangs up after each answer, so that all goes slowly"
        return "the far end hangs up without an answer: is another client connected to it?"

    def _converse_over(self, channel: Channel) -> Conversations:
        return Conversations(
            channel,
            line=self.name,
            timing=self._parts.timing,
            may_control=self._jobs.parts.may_control,
            wire=self.trace,
            on_outcome=self._count,
            on_foreign_write=self._overheard.note,
        )

    async def _work(self, conversations: Conversations, fresh_until: float) -> None:
        """Until LineDown, or until no meter answers on a channel that is not fresh any more."""
        jobs = self._jobs
        ports = partial(self._meter, conversations)
        while not jobs.reply_timeouts.is_nobody_there or time.monotonic() < fresh_until:
            begin_round(jobs)
            self._connections.begin_round()
            is_done = (
                await do_urgent(jobs, ports)
                or await obey_one(jobs, ports)
                or await look_at_one(jobs, ports)
                or await reread_one(jobs, ports)
                or await self._if_there_is_time(look_at_due_relay, ports)
                or await self._collect(conversations)
                or await self._set_one_clock(conversations)
                or await self._if_there_is_time(identify_one, ports)
            )
            if not is_done:
                self._woken.clear()
                if not is_urgent(jobs):
                    await conversations.listen(self._woken, idle_for_s(jobs))

    def _interrupt(self) -> None:
        super()._interrupt()
        self._poll.interrupt()

    def _meter(self, conversations: Conversations, number: int, urgency: Urgency) -> WireMeter:
        """The port of a meter, which gives way to what is more urgent than its own job."""
        gives_way = urgency >= Urgency.REQUEST
        return WireMeter(
            number=number,
            meter=self.meters[number],
            driver=self._driver(number),
            conversations=conversations,
            clocks=self._clocks,
            freezes=self._freezes,
            local_now=self._jobs.parts.clock.local_now,
            submit=self._submit,
            give_way=partial(self._give_way, urgency) if gives_way else None,
            half_read=self._connections.job(number, urgency),
            # A repetition would only be further from midnight, and there are others to read.
            retries=0 if urgency is Urgency.MIDNIGHT else None,
        )

    def _driver(self, number: int) -> Driver:
        driver = self._drivers.get(number)
        if driver is None:
            driver = self._parts.driver_of(self.meters[number])
            if not driver.is_stateless:
                self._drivers[number] = driver
        return driver

    def _give_way(self, urgency: Urgency) -> None:
        """Between two exchanges. Preempted when something more urgent came."""
        if must_give_way(self._jobs, urgency):
            raise Preempted

    # --- slots

    async def _collect(self, conversations: Conversations) -> bool:
        """Fill the slots that are wanted most.

        False when none is wanted now, or what was read finds no room."""
        # What found no room before comes first.
        if self._poll.polled:
            self._submit_polled()
            if self._poll.polled:
                return False
        local_now = self._jobs.parts.clock.local_now()
        # Meters number their freezes anew: a late answer could mean another day.
        is_quiet_time = is_near_midnight(local_now, QUIET_AROUND_MIDNIGHT)
        if is_quiet_time or self._jobs.is_midnight_near():
            return False
        channel = conversations.channel
        # Prepared polls leave no silence between frames.
        has_time = not (self._parts.timing.pause_s or self._connections.are_short)
        is_polled = isinstance(channel, StreamChannel) and has_time
        slots = self._wanted_slots(is_stream=is_polled)
        if not slots:
            return False
        number, day = slots[0]
        is_prepared = is_polled and self._freezes.is_prepared(number, day, local_now)
        if is_prepared and isinstance(channel, StreamChannel):
            odd = await self._run_poll(conversations, channel, slots, local_now)
            if odd is None:
                return True
            number = odd[0]
            day = date.fromordinal(odd[1])
            self._freezes.note_odd(number, local_now.date())
        self._connections.slot = (number, day)
        with suppress(Preempted):
            meter = self._meter(conversations, number, Urgency.SLOT)
            await read_slot(self._jobs, number, day, meter)
        self._connections.slot = None
        return True

    def _wanted_slots(self, *, is_stream: bool) -> list[tuple[int, date]]:
        jobs = self._jobs
        begun = self._connections.take_slot()
        if begun is not None and jobs.wanted.is_wanted(*begun):
            return [begun]
        # One probe at a time shows whether a silent line is back, and a channel of messages has
        # no prepared polls.
        is_one_enough = not is_stream or jobs.reply_timeouts.line_is_silent
        most = 1 if is_one_enough else max(MAX_SLOTS, len(self.meters) // 8)
        return wanted_slots(jobs, most, only_today=not self._parts.may_backfill())

    async def _run_poll(
        self,
        conversations: Conversations,
        channel: StreamChannel,
        slots: Sequence[tuple[int, date]],
        local_now: datetime,
    ) -> tuple[int, int] | None:
        """The slot (number, day ordinal) that ended it because it needs the general way, if any."""
        poll = self._poll
        # An answer to an earlier request must not be taken for that of the first prepared one.
        if not conversations.is_clean:
            await conversations.drain(self._parts.timing)
        poll.trace = self._show_bytes if self.trace.is_open else None
        if is_urgent(self._jobs):
            return None  # it came before there was a poll to interrupt
        clock = self._jobs.parts.clock
        try:
            # Nothing that waits for its time is kept waiting by a poll.
            until_midnight_s = max(0.0, self._jobs.midnight_in_s() - BEFORE_MIDNIGHT_S)
            until_command_s = self._jobs.parts.commands.due_in_s()
            self._clocks.begin_poll(local_now.toordinal(), clock.local_now())
            return await poll.run(
                channel,
                self._freezes.planned(slots, local_now),
                self._clocks.polled_on,
                depth=self._parts.pipelined,
                lasts_s=min(LONGEST_POLL_S, until_command_s, until_midnight_s),
            )
        finally:
            ended = clock.local_now()
            is_long = ended - local_now > QUIET_AROUND_MIDNIGHT
            if is_long and is_near_midnight(ended, QUIET_AROUND_MIDNIGHT + CLOCK_LIMIT):
                # A meter that takes so long may have frozen between its stamp and its energies.
                poll.polled.clear()
            # What was read is kept however the poll ended: a lost carrier takes back no value.
            self._submit_polled()
            conversations.dirty = conversations.dirty or poll.dirty
            poll.dirty = False
            # Counted by the poll and shown at its end: a metric costs more than an answer.
            for outcome, count in poll.counts.items():
                if count:
                    self._count(outcome, count)
                    poll.counts[outcome] = 0

    def _submit_polled(self) -> None:
        """What a poll brought, all at once, as of its end.

        For what finds no room the next poll waits: nothing is read twice because the database is
        away."""
        polled = self._poll.polled
        jobs = self._jobs
        today = self._clocks.polled_on
        now = jobs.parts.clock.now()
        submit = jobs.parts.sink.submit
        day = date.min
        skew = None
        taken = 0
        try:
            for number, day_number, registers in polled:
                if day_number != day.toordinal():
                    day = date.fromordinal(day_number)
                # As skew_at_freeze has it, which costs too much for each of a million: a clock
                # that is astray is not polled.
                is_of_today = day_number >= today
                skew = timedelta(seconds=self._clocks.skew_s[number]) if is_of_today else None
                meter = self.meters[number]
                if not submit(PolledFreeze(meter, day, registers, now, skew, jobs.told_by)):
                    break
                jobs.wanted.take(number, day)
                jobs.turns.had(number, QUESTIONS_OF_A_POLL * jobs.reply_timeouts.expect(number)[1])
                taken += 1
        finally:
            del polled[:taken]

    async def _submit(
        self,
        number: int,
        frozen: FrozenRegisters,
        skew: timedelta | None,
        is_asked_for: bool,
    ) -> None:
        """Hand on a freeze that was asked for, or that came by and is wanted."""
        day = freeze_day(frozen.frozen_at)
        # A stamp that is no midnight goes on too: V04 withholds it, and it is known why.
        is_wanted = is_asked_for or day is None or self._jobs.wanted.is_wanted(number, day)
        if frozen.registers[0] is None or not is_wanted:
            return
        today = self._jobs.parts.clock.local_now().date()
        await self._jobs.submit_freeze(
            number,
            frozen.frozen_at,
            frozen.registers,
            skew_at_freeze(skew, frozen.frozen_at.date(), measured_on=today),
        )

    # --- clocks

    async def _set_one_clock(self, conversations: Conversations) -> bool:
        """Set the clock that waits longest for it; False when none is to be set now."""
        local_now = self._jobs.parts.clock.local_now()
        # R07: no clock is set near midnight.
        if is_near_midnight(local_now, MIDNIGHT_MARGIN) or self._jobs.parts.clock.doubt():
            return False
        number = self._clocks.next_to_set(local_now.date())
        if number is None:
            return False
        try:
            skew = await self._meter(conversations, number, Urgency.SLOT).set_clock()
        except Preempted:
            self._clocks.put_back(number)
        else:
            self._clocks.was_set(number, skew)
        return True

    async def _if_there_is_time(
        self, do_one: Callable[[Jobs, MeterPorts], Awaitable[bool]], ports: MeterPorts
    ) -> bool:
        return self._parts.may_backfill() and await do_one(self._jobs, ports)

    # --- what came

    def _record_silence(self, number: int) -> None:
        self._jobs.note_silence(number)
        self._jobs.record_timeout(number, "no reply")
        # The rest of its plan would only wait for one timeout after the other.
        if self._jobs.reply_timeouts.line_is_silent:
            self._poll.interrupt()

    def _count(self, outcome: str, times: int = 1) -> None:
        if outcome in ("ok", "refused"):
            self._connections.answers += times
        counter = self._counters.get(outcome)
        if counter is None:
            counter = metrics.REPLIES.labels(self.shown_as, outcome)
            self._counters[outcome] = counter
        counter.inc(times)

    def _show_bytes(self, direction: str, data: bytes) -> None:
        shown = data.hex(" ").upper()
        self.trace.info(
            "wire",
            line=self.name,
            direction=direction,
            bytes=shown,
        )
