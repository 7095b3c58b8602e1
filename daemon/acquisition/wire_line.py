"""One line: the task that owns its channel. Nobody else writes to it.

It does, in this order: supply commands, host freezes while it is midnight, what somebody asks for,
the slot that is wanted most, clocks to be set. Between two exchanges it looks whether something
more urgent came."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from math import inf
from typing import Any, TypeVar

import structlog
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.acquisition.drivers import Credentials, Driver
from daemon.acquisition.line import FIRST_MISSING_S, Line, Pace
from daemon.acquisition.planning.reads import ReadRequest, ReadResult
from daemon.acquisition.planning.wanted import MEMORY_DAYS
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.packed_slots import MOST_AGE, entry, plan
from daemon.acquisition.polling.poll import Poll
from daemon.acquisition.wakeup import Signal
from daemon.acquisition.wire_trace import WireTrace
from daemon.control.authority import Authority
from daemon.control.commands import CLOCK_LIMIT, TRIP_EXPIRY, CommandStep
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.quality.freeze import HOST_FREEZE_LIMIT, freeze_day
from protocols.channels import Channel
from protocols.channels.conversation import Conversation, Timing, Wire
from protocols.channels.streams import StreamChannel
from protocols.dlt645.exchanges import FreezeMoved, FrozenRegisters, RelayAction
from protocols.dlt645.prepared.many import CLOCK, STAMP, wire_addresses
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.exchange import Codec, Exchange
from protocols.reading import DailyFreeze, Quantity
from storage.archive import SiteMeter
from storage.supply import Command

T = TypeVar("T")
log = structlog.get_logger("line")
wire = structlog.get_logger("wire")

MIDNIGHT_MARGIN = timedelta(minutes=15)
"""So close to midnight a freeze may move between two reads: its stamp is read again. Nor are clocks
set then."""
QUIET_AROUND_MIDNIGHT = timedelta(minutes=1)
"""The freezes get new indexes: none is asked for, so that no late answer can mean another day."""
UNTRUSTED_DATES = timedelta(hours=12)
"""A clock that is further off stamps its freezes with wrong days: none is read until it was set
right."""
GOOD_CLOCK = timedelta(seconds=30)
"""A clock that is not further off is left alone."""
MOST_PROBES = 4
"""A meter that skipped freezes has shifted their indexes: so many reads to find a day."""
FIRST_WAIT_ON_A_WIRE_S = 0.2
"""Most meters on a bus of their own answer sooner; the standard allows 0.5 s."""
GUARD_OVER_A_NETWORK_S = 0.5
"""A network delays an answer by more than meters do, and to wait for it keeps no wire idle."""
BEFORE_MIDNIGHT_S = 2.0
"""So long before a host freeze nothing else is begun."""
MOST_JOBS = 32
"""So many slots are planned at once, or for an eighth of the meters, because a plan looks at all of
them."""
REOPEN_S = 300.0
"""A line on which nobody answers is opened anew so often: the far end may have forgotten the
connection."""
LONGEST_POLL_S = 3.0
"""After so long at the latest the line looks again what is wanted most."""
UNKNOWN_SKEW = -(2**31)
CLOCK_LIMIT_S = int(CLOCK_LIMIT.total_seconds())
GOOD_CLOCK_S = int(GOOD_CLOCK.total_seconds())
QUIET_S = int(QUIET_AROUND_MIDNIGHT.total_seconds())
DAY_S = 86_400
NO_ADDRESS = "000000000000"
"""In place of one that no prepared read has."""


class Preempted(Exception):
    """Something more urgent came between two exchanges; what was begun is begun again later."""


class Talk:
    """The conversations over one open channel, one for each protocol that is spoken there.

    What one leaves behind on the line, the next has to listen to before it asks.
    """

    def __init__(self, channel: Channel, **how: Any) -> None:
        self.channel = channel
        self.dirty = False
        """Left on the line by somebody who is no conversation."""
        self._how = how
        self._conversations: dict[int, Conversation[Any]] = {}
        self._last: Conversation[Any] | None = None

    async def run(
        self, codec: Codec[Any], exchange: Exchange[Any, T], *, retries: int | None = None
    ) -> T:
        """What the exchange returns; see Conversation.run."""
        conversation = self._conversations.get(id(codec))
        if conversation is None:
            conversation = self._conversations[id(codec)] = Conversation(
                self.channel, codec, **self._how
            )
        left = self._last is not None and self._last is not conversation and self._last.dirty
        conversation.dirty = conversation.dirty or self.dirty or left
        self.dirty, self._last = False, conversation
        return await conversation.run(exchange, retries=retries)

    @property
    def is_clean(self) -> bool:
        """True if nothing may still be under way on the line."""
        return not self.dirty and (self._last is None or not self._last.dirty)

    def forget_dirt(self) -> None:
        """Somebody listened until the line was quiet."""
        self.dirty = False
        if self._last is not None:
            self._last.dirty = False

    async def listen(self, woken: Signal, timeout_s: float) -> None:
        """Wait until woken, listening: a carrier that goes away is noticed (LineDown), what nobody
        asked for is dropped before the next question."""
        if isinstance(self.channel, StreamChannel):
            await self._listen_in_place(self.channel, woken, timeout_s)
            return
        hearing, waking = (
            asyncio.create_task(self.channel.receive()),
            asyncio.create_task(woken.wait()),
        )
        try:
            await asyncio.wait(
                {hearing, waking}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in (hearing, waking):
                task.cancel()
            await asyncio.gather(hearing, waking, return_exceptions=True)
        if not hearing.cancelled() and hearing.result():
            self.dirty = True

    async def _listen_in_place(
        self, channel: StreamChannel, woken: Signal, timeout_s: float
    ) -> None:
        stray = _Stray(woken)
        try:
            channel.listen(stray)
            async with asyncio.timeout(timeout_s):
                await woken.wait()
        except TimeoutError:
            pass
        finally:
            channel.listen(None)
        self.dirty = self.dirty or stray.was_heard
        if stray.error is not None:
            raise stray.error


class _Stray:
    """Listens to an idle line."""

    __slots__ = ("_woken", "error", "was_heard")

    def __init__(self, woken: Signal) -> None:
        self._woken, self.was_heard = woken, False
        self.error: LineDown | None = None

    def heard(self, data: bytes) -> None:
        self.was_heard = True

    def lost(self, error: LineDown) -> None:
        self.error = error
        self._woken.set()


class WireLine(Line):
    """The task of one line and what it knows."""

    __slots__ = (
        *(
            "_answering",
            "_clock_set_on",
            "_clocks_to_set",
            "_credentials",
            "_driver_of",
            "_drivers",
            "_may_backfill",
        ),
        *(
            "_midnight_at",
            "_odd",
            "_offer",
            "_open_channel",
            "_pipelined",
            "_poll",
            "_polled_on",
            "_replies",
        ),
        *(
            "_set_clocks",
            "_shift",
            "_skew_on",
            "_skew_s",
            "_timing",
            "_wrong_clocks",
            "longest_step_s",
            "tap",
        ),
    )

    def __init__(
        self,
        name: str,
        meters: Sequence[SiteMeter],
        *,
        driver_of: Callable[[SiteMeter], Driver],
        open_channel: Callable[[], AbstractAsyncContextManager[Channel]],
        timing: Timing,
        pace: Pace,
        backfill_days: int,
        trace: bool,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        credentials: Credentials | None,
        hand_on: Callable[[Arrival | PolledFreeze], bool],
        batch_poller: BatchPoller,
        pipelined: int = 1,
        set_clocks: bool = False,
        may_backfill: Callable[[], bool] = lambda: True,
        shown_as: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`hand_on` takes a reading, or returns False when there is no room for it now.
        `pipelined`: so many questions to different meters may be under way at once. `may_backfill`:
        False while older days must wait."""
        self._drivers: dict[int, Driver] = {}
        self._driver_of = driver_of
        has_memory = [meter.protocol == "dlt645-2007" for meter in meters]
        super().__init__(
            name,
            meters,
            has_memory=has_memory,
            longest_wait_s=timing.reply_timeout_s,
            pace=pace,
            backfill_days=backfill_days,
            pool=pool,
            authority=authority,
            shown_as=shown_as,
            now=now,
        )
        self._open_channel, self._timing, self._credentials = open_channel, timing, credentials
        self._offer, self._pipelined, self._may_backfill = hand_on, pipelined, may_backfill
        self._set_clocks = set_clocks
        self.tap = WireTrace(wire if trace else None)
        self._shift: dict[int, int] = {}
        self._polled_on = 0
        """The day number of the poll that runs or ran last."""
        self._midnight_at = 0.0
        """When that day began by the wall clock, as a second of the monotonic one. Should the wall
        clock be set during a poll, the offsets that it reads are wrong by as much, until they are
        read anew."""
        self._replies: dict[str, Any] = {}
        self._odd: dict[int, date] = {}
        """Meters that answered something unexpected today: the general way is taken at once."""
        self._skew_on = array("i", [0]) * len(self.meters)
        self._skew_s = array("i", [UNKNOWN_SKEW]) * len(self.meters)
        """Meter clock minus ours as of the day number in `_skew_on`."""
        self._clocks_to_set: dict[int, None] = {}
        self._clock_set_on: dict[int, date] = {}
        self._wrong_clocks: dict[int, tuple[float, int]] = {}
        """(second from which the clock is looked at again, day number on which that was told)."""
        self._poll = Poll(
            batch_poller,
            self._patience,
            wire_addresses(
                it.address if has else NO_ADDRESS
                for it, has in zip(meters, has_memory, strict=True)
            ),
            clock=self._check_clock,
            heard_from=self._was_heard,
            silence=self._had_no_answer,
        )
        self._answering = False
        self.longest_step_s = 8 * timing.reply_timeout_s * (1 + timing.retries)
        """A line that takes longer between two signs of life is stuck: one slot is a handful of
        questions."""

    async def _session(self) -> None:
        async with self._open_channel() as channel:
            self._is_up(True)
            if isinstance(channel, StreamChannel) and channel.byte_s:
                self._patience.first_wait_s = FIRST_WAIT_ON_A_WIRE_S
            else:
                self._patience.guard_s = GUARD_OVER_A_NETWORK_S
            self._patience.unblock()
            # A terminal proves by its heartbeats that it is there; whatever else is silent may have
            # lost us.
            reopen_s = inf if self.is_one_of_many else min(REOPEN_S, self._pace.retry_s)
            await self._work(self._talk_over(channel), time.monotonic() + reopen_s)
            log.info("line opened anew, nobody answers", line=self.name)

    def _talk_over(self, channel: Channel) -> Talk:
        wire_of_line: Wire = self.tap
        return Talk(
            channel,
            line=self.name,
            timing=self._timing,
            may_control=not self._authority.shadow_mode,
            wire=wire_of_line,
            on_outcome=self._count,
        )

    async def _work(self, talk: Talk, fresh_until: float) -> None:
        """Until LineDown, or until nobody answers on a channel that is not fresh any more."""
        while not self._patience.is_nobody_there or time.monotonic() < fresh_until:
            self._beat()
            self._wanted.roll(self._today())
            self._count_missed_midnights()
            done = (
                await self._orders.serve(partial(self._obey, talk))
                or await self._freeze_at_midnight(talk)
                or await self._answer_one(talk)
                or await self._collect(talk)
                or await self._set_one_clock(talk)
            )
            if not done:
                self._woken.clear()
                if not self._is_urgent():
                    await talk.listen(self._woken, self._idle_for_s())

    def _interrupt(self) -> None:
        super()._interrupt()
        self._poll.interrupt()

    def _give_way(self) -> None:
        """Between two exchanges. Preempted when something more urgent came."""
        if (
            self._orders.is_due()
            or (self._questions and not self._answering)
            or self._midnights.opens_in_s(self._night_time()) < BEFORE_MIDNIGHT_S
        ):
            raise Preempted

    def _giving_way(self, exchange: Exchange[Any, T]) -> Exchange[Any, T]:
        """The same exchange, which gives way before each of its questions."""
        answer = None
        while True:
            try:
                request = exchange.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            self._give_way()
            answer = yield request

    def _driver(self, number: int) -> Driver:
        driver = self._drivers.get(number)
        if driver is None:
            driver = self._driver_of(self.meters[number])
            if not driver.is_stateless:
                self._drivers[number] = driver
        return driver

    # --- collecting
    # -----------------------------------------------------------------------------------------------

    async def _collect(self, talk: Talk) -> bool:
        """Fill the slots that are wanted most; False when none is wanted now, or what was read
        finds no room."""
        if self._poll.polled:
            self._hand_over_polled()
            if self._poll.polled:
                return False
        local_now = self._local_now()
        if (
            _is_midnight(local_now, QUIET_AROUND_MIDNIGHT)
            or self._midnights.opens_in_s(self._night_time()) < BEFORE_MIDNIGHT_S
        ):
            return False
        now = time.monotonic()
        most = max(MOST_JOBS, len(self.meters) // 8)
        if self._patience.line_is_silent or not isinstance(talk.channel, StreamChannel):
            most = 1
        ready = self._patience.ready(now)
        slots = self._wanted.jobs(
            *(now, ready, most),
            only_today=not self._may_backfill(),
            doubtful=self._patience.doubtful(),
            in_turn=self._patience.line_is_silent,
        )
        if not slots:
            return False
        today = local_now.date()
        slot = slots[0]
        if isinstance(talk.channel, StreamChannel) and self._goes_prepared(slot, local_now):
            odd = await self._run_poll(talk, talk.channel, slots, local_now)
            if odd is None:
                return True
            slot = odd[0], date.fromordinal(odd[1])
            self._odd[odd[0]] = today
            self._skew_on[odd[0]] = 0
        with suppress(Preempted):
            await self._read_slot(talk, *slot)
        return True

    def _goes_prepared(self, slot: tuple[int, date], local_now: datetime) -> bool:
        """Not while the meter's own midnight is near, or nobody knows when that is: it would freeze
        between the stamp and the energies."""
        number, day = slot
        today = local_now.date()
        if self._odd.get(number) == today:
            return False
        if self._skew_on[number] == today.toordinal():
            skew = timedelta(seconds=self._skew_s[number])  # years, if it is not known
            if abs(skew) > CLOCK_LIMIT or _is_midnight(local_now + skew, QUIET_AROUND_MIDNIGHT):
                return False
        return (
            day <= today and 1 <= (today - day).days + 1 + self._shift.get(number, 0) <= MEMORY_DAYS
        )

    async def _run_poll(
        self,
        talk: Talk,
        channel: StreamChannel,
        slots: Sequence[tuple[int, date]],
        local_now: datetime,
    ) -> tuple[int, int] | None:
        """The slot that ended it because it needs the general way, if one did."""
        poll = self._poll
        if not talk.is_clean:
            await self._drain(talk)
        poll.trace = self._show_bytes if self.tap.is_open else None
        if self._is_urgent():
            return None  # it came before there was a poll to interrupt
        try:
            until_midnight_s = self._midnights.opens_in_s(self._night_time()) - BEFORE_MIDNIGHT_S
            lasts_s = min(LONGEST_POLL_S, self._orders.due_in_s(), max(0.0, until_midnight_s))
            self._polled_on = local_now.toordinal()
            self._midnight_at = time.monotonic() - _second_of_day(self._local_now())
            planned = self._planned(slots, local_now)
            return await poll.run(
                channel,
                planned,
                self._polled_on,
                depth=self._pipelined,
                lasts_s=lasts_s,
            )
        finally:
            ended = self._local_now()
            if ended - local_now > QUIET_AROUND_MIDNIGHT and _is_midnight(
                ended, QUIET_AROUND_MIDNIGHT + CLOCK_LIMIT
            ):
                poll.polled.clear()  # a meter that takes so long may have frozen between its stamp and its energies
            self._hand_over_polled()
            talk.dirty = talk.dirty or poll.dirty
            poll.dirty = False
            for outcome, count in poll.counts.items():
                if count:
                    self._count(outcome, count)
                    poll.counts[outcome] = 0

    def _planned(self, slots: Sequence[tuple[int, date]], local_now: datetime) -> array[int]:
        """The plan of one poll, which is over before anything that depends on the time of day
        changes: what may go the prepared way. The first slot of a meter whose clock is not known
        yet today begins with its clock."""
        near_midnight = _is_midnight(local_now, QUIET_AROUND_MIDNIGHT + CLOCK_LIMIT)
        today, numbers, found = local_now.toordinal(), set(), []
        for number, day in slots:
            age = today - day.toordinal()
            index = age + self._shift.get(number, 0)
            is_astray = abs(self._skew_s[number]) > CLOCK_LIMIT_S
            is_strange = not 0 <= age <= MOST_AGE or not 0 <= index < MEMORY_DAYS
            needs_care = near_midnight or is_strange or number in self._odd or is_astray
            if needs_care and not self._goes_prepared((number, day), local_now):
                break
            if self._pipelined > 1 and number in numbers:
                break  # its former question may still be under way
            is_clock_known = self._skew_on[number] == today or number in numbers
            found.append(entry(number, age, index + 1, STAMP if is_clock_known else CLOCK))
            numbers.add(number)
        return plan(found)

    def _had_no_answer(self, number: int) -> None:
        self._was_silent(number, "no reply")
        if self._patience.line_is_silent:
            self._poll.interrupt()

    async def _drain(self, talk: Talk) -> None:
        """Listen until the line is quiet."""
        ends_at = time.monotonic() + self._timing.reply_timeout_s
        while time.monotonic() < ends_at:
            try:
                async with asyncio.timeout(self._timing.quiet_s):
                    await talk.channel.receive()
            except TimeoutError:
                break
        talk.forget_dirt()

    def _check_clock(self, number: int, seconds: int) -> bool:
        """The time of day of a meter; False if the general way must look closer. Its date is proven
        by its stamps."""
        now_s = int(time.monotonic() - self._midnight_at)
        ahead_s = (seconds - now_s + DAY_S // 2) % DAY_S - DAY_S // 2
        if abs(ahead_s) > CLOCK_LIMIT_S or not QUIET_S <= seconds < DAY_S - QUIET_S:
            return False
        self._skew_on[number], self._skew_s[number] = self._polled_on, ahead_s
        if abs(ahead_s) > GOOD_CLOCK_S or number in self._wrong_clocks:
            self._judge_clock(number, timedelta(seconds=ahead_s))
        return True

    def _count(self, outcome: str, times: int = 1) -> None:
        counter = self._replies.get(outcome)
        if counter is None:
            counter = self._replies[outcome] = metrics.REPLIES.labels(self.shown_as, outcome)
        counter.inc(times)

    def _hand_over_polled(self) -> None:
        """What a poll brought, all at once, as of its end. For what finds no room the next poll
        waits: nothing is read twice because the database is away."""
        polled, now, today, handed = self._poll.polled, self._now(), self._polled_on, 0
        day, skew = date.min, None
        try:
            for number, day_number, registers in polled:
                if day_number != day.toordinal():
                    day = date.fromordinal(day_number)
                skew = timedelta(seconds=self._skew_s[number]) if day_number >= today else None
                if not self._offer(
                    PolledFreeze(
                        self.meters[number],
                        day,
                        registers,
                        now,
                        skew,
                    )
                ):
                    break
                self._wanted.take(number, day)
                handed += 1
        finally:
            del polled[:handed]

    def _hand_over(
        self,
        number: int,
        frozen_at: datetime,
        registers: tuple[Any, ...],
        skew: timedelta | None,
    ) -> bool:
        meter, now = self.meters[number], self._now()
        is_fresh = frozen_at.date() >= now.astimezone(self._authority.zone).date()
        freeze = DailyFreeze(
            meter.address,
            Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at,
            registers,
            now,
            skew if is_fresh else None,
        )
        return self._offer(Arrival(meter, freeze))

    async def _hand_on(self, arrival: Arrival) -> None:
        """Until there is room."""
        while not self._offer(arrival):
            self._beat()
            await asyncio.sleep(0.1)

    async def _read_slot(self, talk: Talk, number: int, day: date) -> None:
        """Fill one slot in the general way; every other wanted freeze that comes by is handed on
        too."""
        meter = self.meters[number]
        found = None
        try:
            found = await self._find(talk, number, day)
        except NoReply as error:
            self._was_silent(number, str(error))
            return
        except (MeterRefused, FrameError, FreezeMoved) as error:
            log.warning(
                "freeze not read",
                meter=meter.address,
                line=self.name,
                day=day,
                error=str(error),
            )
        self._was_heard(number)
        if found is None:
            longest_s = self._pace.retry_s
            first_s = min(FIRST_MISSING_S, longest_s)
            self._wanted.not_there(
                number,
                day,
                time.monotonic(),
                first_s=first_s,
                longest_s=longest_s,
            )

    async def _find(self, talk: Talk, number: int, day: date) -> FrozenRegisters | None:
        """The freeze stamped with this day. Its index is a guess: a meter without power at midnight
        shifts it."""
        driver = self._driver(number)
        assert driver.read_daily_freeze is not None, "a meter without memory was asked for its past"
        is_date_read = self._skew_on[number] != self._local_now().toordinal()
        skew = await self._clock_skew(talk, number)
        if skew is not None and abs(skew) > UNTRUSTED_DATES:
            return None
        index = (self._local_now().date() - day).days + 1 + self._shift.get(number, 0)
        asked: set[int] = set()
        while index not in asked and 1 <= index <= MEMORY_DAYS and len(asked) < MOST_PROBES:
            asked.add(index)
            confirm = (
                skew is None
                or abs(skew) > CLOCK_LIMIT
                or _is_midnight(self._local_now(), MIDNIGHT_MARGIN)
            )
            frozen = await talk.run(
                driver.codec, self._giving_way(driver.read_daily_freeze(index, confirm=confirm))
            )
            if frozen is None:
                return None
            stamped = freeze_day(frozen.frozen_at)
            if stamped != day and not is_date_read:
                # A poll reads the time of day alone: a clock may still be off by whole days, and
                # its stamps with it.
                self._skew_on[number], is_date_read = 0, True
                skew = await self._clock_skew(talk, number)
                if skew is not None and abs(skew) > UNTRUSTED_DATES:
                    return None
            await self._take(number, frozen, skew)
            if stamped == day:
                shift = index - (self._local_now().date() - day).days - 1
                if shift != self._shift.get(number, 0):
                    self._shift[number] = shift
                    self._odd.pop(number, None)
                return frozen if frozen.registers[0] is not None else None
            index += (frozen.frozen_at.date() - day).days
        return None

    async def _take(self, number: int, frozen: FrozenRegisters, skew: timedelta | None) -> None:
        meter = self.meters[number]
        day = freeze_day(frozen.frozen_at)
        if frozen.registers[0] is None or (
            day is not None and not self._wanted.is_wanted(number, day)
        ):
            return
        while not self._hand_over(number, frozen.frozen_at, frozen.registers, skew):
            self._beat()
            await asyncio.sleep(0.1)
        if day is not None and day >= meter.installed_on:
            self._wanted.take(number, day)

    # --- clocks
    # -----------------------------------------------------------------------------------------------------

    async def _clock_skew(self, talk: Talk, number: int) -> timedelta | None:
        """Meter clock minus ours, read once a day while it is good, and a wrong one each `retry_s`;
        None when the meter does not tell its clock."""
        today = self._local_now().toordinal()
        if self._skew_on[number] == today:
            known_s = self._skew_s[number]
            if known_s == UNKNOWN_SKEW:
                return None
            look_again_at = self._wrong_clocks[number][0] if number in self._wrong_clocks else 0.0
            if abs(known_s) <= CLOCK_LIMIT_S or time.monotonic() < look_again_at:
                return timedelta(seconds=known_s)
        address, driver = self.meters[number].address, self._driver(number)
        skew: timedelta | None = None
        try:
            if driver.read_clock is not None:
                skew = (
                    await talk.run(driver.codec, self._giving_way(driver.read_clock()))
                    - self._local_now()
                )
        except (MeterRefused, FrameError) as error:
            log.warning(
                "clock not read",
                meter=address,
                line=self.name,
                error=str(error),
            )
        self._skew_on[number] = today
        self._skew_s[number] = UNKNOWN_SKEW if skew is None else _as_seconds(skew)
        if skew is not None:
            self._judge_clock(number, skew)
        return skew

    def _judge_clock(self, number: int, skew: timedelta) -> None:
        """Once a day it is told that a clock is wrong, and once that it is not any more."""
        address, today = self.meters[number].address, self._local_now().toordinal()
        _, told_on = self._wrong_clocks.pop(number, (0.0, 0))
        if abs(skew) > CLOCK_LIMIT:
            self._wrong_clocks[number] = time.monotonic() + self._pace.retry_s, today
            if told_on != today:
                log.warning(
                    "meter clock is wrong",
                    meter=address,
                    line=self.name,
                    skew_s=_as_seconds(skew),
                )
            return
        if told_on:
            log.info(
                "meter clock is right again",
                meter=address,
                line=self.name,
                skew_s=_as_seconds(skew),
            )
        if abs(skew) > GOOD_CLOCK and self._set_clocks:
            self._clocks_to_set[number] = None

    async def _set_one_clock(self, talk: Talk) -> bool:
        """Tell a meter the time, within what the standard allows, and read back what it made of
        it."""
        if not self._clocks_to_set or _is_midnight(self._local_now(), MIDNIGHT_MARGIN):
            return False
        number = next(iter(self._clocks_to_set))
        del self._clocks_to_set[number]
        driver, meter, today = self._driver(number), self.meters[number], self._local_now().date()
        if self._clock_set_on.get(number) == today or driver.read_clock is None:
            return True
        self._clock_set_on[number] = today
        skew = None
        try:
            for exchange in driver.tell_time:
                self._give_way()
                await talk.run(driver.codec, exchange(self._local_now()))
                skew = await talk.run(driver.codec, driver.read_clock()) - self._local_now()
                if abs(skew) <= GOOD_CLOCK:
                    break
        except Preempted:
            del self._clock_set_on[number]
            self._clocks_to_set[number] = None
            return True
        except (NoReply, MeterRefused, FrameError) as error:
            log.warning(
                "clock not read back",
                meter=meter.address,
                line=self.name,
                error=str(error),
            )
        is_set = skew is not None and abs(skew) <= GOOD_CLOCK
        metrics.CLOCKS_SET.labels("ok" if is_set else "not_taken").inc()
        seconds = None if skew is None else round(skew.total_seconds())
        tell = log.info if is_set else log.warning
        tell(
            "clock set" if is_set else "clock not set",
            meter=meter.address,
            line=self.name,
            skew_s=seconds,
        )
        if skew is not None:
            self._skew_s[number] = _as_seconds(skew)
        return True

    # --- midnight
    # -----------------------------------------------------------------------------------------------------

    async def _freeze_at_midnight(self, talk: Talk) -> bool:
        """Read a meter that keeps no freezes at the moment of its freeze; True if there was one to
        read."""
        due = self._midnights.next(self._night_time())
        if due is None:
            return False
        number, midnight = due
        driver, meter = self._driver(number), self.meters[number]
        try:
            registers = await talk.run(driver.codec, driver.read_registers(), retries=0)
        except (NoReply, MeterRefused, FrameError) as error:
            log.warning(
                "not read at midnight",
                meter=meter.address,
                line=self.name,
                error=str(error),
            )
            return True
        offset = self._night_time() - midnight
        if (
            registers[0] is None
            or abs(offset) > HOST_FREEZE_LIMIT
            or midnight.date() < meter.installed_on
        ):
            return True
        self._midnights.done(number, midnight)
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=midnight,
            registers=registers,
            arrived_at=self._now(),
            host_offset=offset,
        )
        await self._hand_on(Arrival(meter, freeze))
        return True

    # --- what somebody asks
    # -------------------------------------------------------------------------------------------

    async def _answer_one(self, talk: Talk) -> bool:
        """Read what is asked for first; False when nothing is."""
        question = self._questions.next(time.monotonic())
        if question is None:
            return False
        number = self._number[question.meter_id]
        self._answering = True
        try:
            question.settle(await self._read_for(talk, number, question))
        except Preempted:
            self._questions.add_first(question)
            return True
        except NoReply as error:
            self._was_silent(number, str(error))
            question.settle(ReadResult("silent", reason=str(error)))
            return True
        except MeterRefused as error:
            question.settle(ReadResult("refused", reason=str(error)))
        except (FrameError, FreezeMoved) as error:
            question.settle(ReadResult("unreadable", reason=str(error)))
        except LineDown as error:
            question.settle(ReadResult("line_down", reason=str(error)))
            raise
        finally:
            self._answering = False
        self._was_heard(number)
        return True

    async def _read_for(self, talk: Talk, number: int, question: ReadRequest) -> ReadResult:
        driver = self._driver(number)
        read: Callable[[], Exchange[Any, Any]] | None
        match question.what:
            case "freeze":
                if driver.read_daily_freeze is None:
                    return ReadResult("unsupported", reason="the meter keeps no freezes")
                assert question.day is not None, "a freeze is of a day"
                found = await self._find(talk, number, question.day)
                reason = f"the meter has no freeze of {question.day}, or its clock is wrong by half a day"
                return (
                    ReadResult("no_data", reason=reason)
                    if found is None
                    else ReadResult("ok", found.registers)
                )
            case "registers":
                read = driver.read_registers
            case "clock":
                read = driver.read_clock
            case "relay":
                read = driver.read_relay
        if read is None:
            return ReadResult(
                "unsupported", reason=f"the meter has no {question.what} that can be read"
            )
        return ReadResult("ok", await talk.run(driver.codec, self._giving_way(read())))

    # --- supply
    # ---------------------------------------------------------------------------------------------------

    async def _obey(self, talk: Talk, order: CommandStep) -> None:
        number = self._number.get(order.command.meter_id)
        if number is None:
            await self._orders.disown(order)
        elif order.kind == "send":
            await self._send(talk, self._driver(number), order.command)
        else:
            await self._verify(talk, self._driver(number), order.command)

    async def _send(self, talk: Talk, driver: Driver, command: Command) -> None:
        """Send one control frame, once. What the meter makes of it is found out by reading its
        relay."""
        orders, credentials = self._orders, self._credentials
        assert credentials is not None, "control authority without credentials"
        if driver.control is None or driver.read_relay is None:
            await orders.answered(
                command, "refused", "the meter has no relay that can be controlled and read back"
            )
            return
        clock = self._local_now()
        reason = ""
        try:
            if driver.read_clock is not None:
                clock = await talk.run(driver.codec, driver.read_clock())
        except (NoReply, MeterRefused, FrameError) as error:
            reason = f"clock not read: {error}"
        if abs(clock - self._local_now()) > CLOCK_LIMIT:
            reason = f"meter clock shows {clock}"
        if self._now() >= command.expires_at:
            reason = "expired before it could be sent"
        if command.action == "trip" and reason:
            await orders.abandon(command, reason)
            return
        if not await orders.is_still_released(command):
            return
        valid_for = min(TRIP_EXPIRY, max(command.expires_at - self._now(), timedelta(minutes=1)))
        exchange = driver.control(
            RelayAction[command.action.upper()], credentials, clock + valid_for
        )
        try:
            await talk.run(driver.codec, exchange)
        except MeterRefused as refusal:
            await orders.answered(command, "refused", str(refusal))
        except (NoReply, FrameError) as error:
            await orders.answered(command, "unknown", str(error))
        except LineDown as error:
            await orders.answered(command, "unknown", str(error))
            raise
        else:
            await orders.answered(command, "acked", "accepted by the meter")

    async def _verify(self, talk: Talk, driver: Driver, command: Command) -> None:
        relay = None
        try:
            if driver.read_relay is not None:
                relay = await talk.run(driver.codec, driver.read_relay())
        except (NoReply, MeterRefused, FrameError) as error:
            log.warning(
                "relay not read",
                meter=command.address,
                line=self.name,
                error=str(error),
            )
        await self._orders.observed(command, relay)

    def _show_bytes(self, direction: str, data: bytes) -> None:
        self.tap.info(
            "wire",
            line=self.name,
            direction=direction,
            bytes=data.hex(" ").upper(),
        )


def _is_midnight(local_now: datetime, margin: timedelta) -> bool:
    return (local_now + margin).date() != (local_now - margin).date()


def _second_of_day(local_now: datetime) -> float:
    return (
        local_now.hour * 3600
        + local_now.minute * 60
        + local_now.second
        + local_now.microsecond / 1e6
    )


def _as_seconds(skew: timedelta) -> int:
    """Not more than fits: a meter may think that it is 2099."""
    return max(UNKNOWN_SKEW + 1, min(2**31 - 1, round(skew.total_seconds())))
