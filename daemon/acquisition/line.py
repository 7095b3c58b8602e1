"""One line: the task that owns its channel. Nobody else writes to it.

It does, in this order: supply commands, then the slot that is wanted most. Between two jobs it looks whether something
more urgent came.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.acquisition.conversation import Conversation, Timing
from daemon.acquisition.drivers import Credentials, Driver
from daemon.acquisition.midnight import Midnights
from daemon.acquisition.orders import Orders
from daemon.acquisition.wanted import MEMORY_DAYS, Wanted, due_day
from daemon.control.commands import CLOCK_LIMIT, TRIP_EXPIRY
from daemon.control.supply import Authority, Order
from daemon.pipeline import Arrival
from daemon.quality.validation import HOST_FREEZE_LIMIT, freeze_day
from protocols.channels import Channel
from protocols.dlt645.exchanges import FreezeMoved, FrozenRegisters, RelayAction
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.exchange import Codec, Exchange
from protocols.reading import DailyFreeze, Quantity
from storage.archive import SiteMeter
from storage.supply import Command

T = TypeVar("T")
log = structlog.get_logger("line")
wire = structlog.get_logger("wire")

MIDNIGHT_MARGIN = timedelta(minutes=15)
"""So close to midnight a freeze may move between two reads: its stamp is read again."""
UNTRUSTED_DATES = timedelta(hours=12)
"""A clock that is further off stamps its freezes with wrong days: none is read until it was set right."""
MOST_PROBES = 4
"""A meter that skipped freezes has shifted their indexes: so many reads to find a day."""
FIRST_SILENCE_S = 10.0
IDLE_S = 5.0
"""An idle line shows that it is alive so often."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a line is. `retry_s` bounds the growing pause of silent meters and missing freezes."""

    retry_s: float
    reconnect_s: float


class Talk:
    """The conversations over one open channel, one for each protocol that is spoken there.

    What one leaves behind on the line, the next has to listen to before it asks.
    """

    def __init__(self, channel: Channel, **how: Any) -> None:
        self._channel, self._how = channel, how
        self._conversations: dict[int, Conversation[Any]] = {}
        self._last: Conversation[Any] | None = None

    async def run(self, codec: Codec[Any], exchange: Exchange[Any, T], *, retries: int | None = None) -> T:
        """What the exchange returns; see Conversation.run."""
        conversation = self._conversations.get(id(codec))
        if conversation is None:
            conversation = self._conversations[id(codec)] = Conversation(self._channel, codec, **self._how)
        if self._last is not None and self._last is not conversation:
            conversation.dirty = conversation.dirty or self._last.dirty
        self._last = conversation
        return await conversation.run(exchange, retries=retries)

    async def listen(self, woken: asyncio.Event, timeout_s: float) -> None:
        """Wait until woken, listening: a carrier that goes away is noticed (LineDown), what nobody asked for is dropped
        before the next question."""
        hearing, waking = asyncio.create_task(self._channel.receive()), asyncio.create_task(woken.wait())
        try:
            await asyncio.wait({hearing, waking}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (hearing, waking):
                task.cancel()
            await asyncio.gather(hearing, waking, return_exceptions=True)
        if not hearing.cancelled() and hearing.result() and self._last is not None:
            self._last.dirty = True


class Line:
    """The task of one line and what it knows. `up` and `progress` are for those who watch it."""

    def __init__(
        self,
        name: str,
        meters: Sequence[SiteMeter],
        drivers: Sequence[Driver],
        *,
        open_channel: Callable[[], AbstractAsyncContextManager[Channel]],
        timing: Timing,
        pace: Pace,
        backfill_days: int,
        trace: bool,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        credentials: Credentials | None,
        hand_on: Callable[[Arrival], Awaitable[None]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self.meters, self._now = name, list(meters), now
        self._open_channel, self._timing, self._pace, self._trace = open_channel, timing, pace, trace
        self._authority, self._credentials, self._hand_on = authority, credentials, hand_on
        self._number = {meter.meter_id: number for number, meter in enumerate(self.meters)}
        self._drivers = list(drivers)
        self._wanted = Wanted(
            [meter.installed_on for meter in self.meters],
            days=backfill_days,
            today=self._today(),
            has_memory=[driver.has_memory for driver in self._drivers],
        )
        self._midnights = Midnights([number for number, driver in enumerate(self._drivers) if not driver.has_memory])
        self._shift = [0] * len(self.meters)
        self._skew: dict[int, tuple[date, timedelta | None]] = {}
        self._woken = asyncio.Event()
        self._orders = Orders(name, pool, authority, now)
        self.up = False
        self.progress = time.monotonic()
        self.longest_step_s = 8 * timing.reply_timeout_s * (1 + timing.retries)
        """A line that takes longer between two signs of life is stuck: one slot is a handful of questions."""

    def stored(self, meter_id: int, day: date) -> None:
        """A slot has a value in the database; meters of other lines do not matter here."""
        if meter_id in self._number:
            self._wanted.fill(self._number[meter_id], day)

    def rebuild(self, present: Iterable[tuple[int, date]]) -> None:
        """Start from what the database has: (meter id, day), of any line."""
        self._wanted.rebuild((self._number[meter], day) for meter, day in present if meter in self._number)

    def wake(self) -> None:
        """A command may be waiting."""
        self._orders.wake()
        self._woken.set()

    def counts(self) -> tuple[int, int]:
        """(wanted, present) slots."""
        return self._wanted.counts()

    async def run(self) -> None:
        """Keep the channel open and work on it, until cancelled."""
        failures = 0
        while True:
            self._beat()
            try:
                async with self._open_channel() as channel:
                    self._is_up(True)
                    failures = 0
                    self._wanted.unblock()
                    await self._work(self._talk_over(channel))
            except LineDown as error:
                if self.up or failures == 0:
                    log.warning("line down", line=self.name, error=str(error))
                self._is_up(False)
                failures += 1
                pause = random.uniform(0.5, 1) * min(self._pace.reconnect_s, 2 ** min(failures - 1, 10))
                await self._sleep_alive(pause)

    def _talk_over(self, channel: Channel) -> Talk:
        return Talk(
            channel,
            line=self.name,
            timing=self._timing,
            may_control=not self._authority.shadow_mode,
            wire=wire if self._trace else None,
            on_outcome=lambda outcome: metrics.REPLIES.labels(self.name, outcome).inc(),
        )

    async def _work(self, talk: Talk) -> None:
        while True:
            self._beat()
            self._wanted.roll(self._today())
            if await self._orders.serve(partial(self._obey, talk)) or await self._freeze_at_midnight(talk):
                continue
            job = self._wanted.next(time.monotonic())
            if job is None:
                await self._idle(talk)
            else:
                await self._collect(talk, *job)

    async def _idle(self, talk: Talk) -> None:
        """Nothing to do: until a command comes, a slot becomes ready, or to show that the line is alive."""
        wanted_at = self._wanted.next_at()
        until_slot = IDLE_S if wanted_at is None else max(0.01, wanted_at - time.monotonic())
        self._woken.clear()
        until_midnight = self._midnights.opens_in_s(self._local_now())
        await talk.listen(self._woken, min(IDLE_S, until_slot, self._orders.due_in_s(), until_midnight))

    # --- collecting -----------------------------------------------------------------------------------------------

    async def _collect(self, talk: Talk, number: int, day: date) -> None:
        """Fill one slot; every other wanted freeze that comes by is handed on too."""
        meter = self.meters[number]
        try:
            found = await self._find(talk, number, day)
            self._wanted.answered(number)
        except NoReply as error:
            misses = self._wanted.silent(
                number,
                time.monotonic(),
                first_s=min(FIRST_SILENCE_S, self._pace.retry_s),
                longest_s=self._pace.retry_s,
            )
            if misses == 1:
                log.warning("meter silent", meter=meter.address, line=self.name, error=str(error))
            return
        except (MeterRefused, FrameError, FreezeMoved) as error:
            log.warning("freeze not read", meter=meter.address, line=self.name, day=day, error=str(error))
            found = False
        if not found:
            first_s = min(FIRST_SILENCE_S, self._pace.retry_s)
            self._wanted.not_there(number, day, time.monotonic(), first_s=first_s, longest_s=self._pace.retry_s)

    async def _find(self, talk: Talk, number: int, day: date) -> bool:
        """Read the freeze stamped with this day. Its index is a guess: a meter without power at midnight shifts it."""
        driver = self._drivers[number]
        assert driver.read_daily_freeze is not None, "a meter without memory was asked for its past"
        skew = await self._clock_skew(talk, number)
        if skew is not None and abs(skew) > UNTRUSTED_DATES:
            return False
        index = (self._local_now().date() - day).days + 1 + self._shift[number]
        asked: set[int] = set()
        while index not in asked and 1 <= index <= MEMORY_DAYS and len(asked) < MOST_PROBES:
            asked.add(index)
            confirm = skew is None or abs(skew) > CLOCK_LIMIT or self._is_near_midnight()
            frozen = await talk.run(driver.codec, driver.read_daily_freeze(index, confirm=confirm))
            if frozen is None:
                return False
            await self._take(number, frozen, skew)
            stamped = freeze_day(frozen.frozen_at)
            if stamped == day:
                self._shift[number] = index - (self._local_now().date() - day).days - 1
                return frozen.registers[0] is not None
            index += (frozen.frozen_at.date() - day).days
        return False

    async def _take(self, number: int, frozen: FrozenRegisters, skew: timedelta | None) -> None:
        meter = self.meters[number]
        day = freeze_day(frozen.frozen_at)
        if frozen.registers[0] is None or (day is not None and not self._wanted.is_wanted(number, day)):
            return
        is_fresh = frozen.frozen_at.date() >= self._local_now().date()
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=frozen.frozen_at,
            registers=frozen.registers,
            arrived_at=self._now(),
            clock_skew=skew if is_fresh else None,
        )
        await self._hand_on(Arrival(meter, freeze))
        if day is not None:
            self._wanted.take(number, day)

    async def _clock_skew(self, talk: Talk, number: int) -> timedelta | None:
        """Meter clock minus ours, read once a day while it is good; None when the meter does not tell its clock."""
        today = self._today()
        known_on, known = self._skew.get(number, (None, None))
        if known_on == today and (known is None or abs(known) <= CLOCK_LIMIT):
            return known
        address, driver = self.meters[number].address, self._drivers[number]
        skew: timedelta | None = None
        try:
            if driver.read_clock is not None:
                skew = await talk.run(driver.codec, driver.read_clock()) - self._local_now()
        except (MeterRefused, FrameError) as error:
            log.warning("clock not read", meter=address, line=self.name, error=str(error))
        if skew is not None and abs(skew) > CLOCK_LIMIT:
            log.warning("meter clock is wrong", meter=address, line=self.name, skew_s=round(skew.total_seconds()))
        self._skew[number] = (today, skew)
        return skew

    async def _freeze_at_midnight(self, talk: Talk) -> bool:
        """Read a meter that keeps no freezes at the moment of its freeze; True if there was one to read."""
        due = self._midnights.next(self._local_now())
        if due is None:
            return False
        number, midnight = due
        driver, meter = self._drivers[number], self.meters[number]
        try:
            registers = await talk.run(driver.codec, driver.read_registers(), retries=0)
        except (NoReply, MeterRefused, FrameError) as error:
            log.warning("not read at midnight", meter=meter.address, line=self.name, error=str(error))
            return True
        offset = self._local_now() - midnight
        if registers[0] is None or abs(offset) > HOST_FREEZE_LIMIT or midnight.date() < meter.installed_on:
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

    # --- supply ---------------------------------------------------------------------------------------------------

    async def _obey(self, talk: Talk, order: Order) -> None:
        number = self._number.get(order.command.meter_id)
        if number is None:
            await self._orders.disown(order)
        elif order.kind == "send":
            await self._send(talk, self._drivers[number], order.command)
        else:
            await self._verify(talk, self._drivers[number], order.command)

    async def _send(self, talk: Talk, driver: Driver, command: Command) -> None:
        """Send one control frame, once. What the meter makes of it is found out by reading its relay."""
        orders, credentials = self._orders, self._credentials
        assert credentials is not None, "control authority without credentials"
        if driver.control is None or driver.read_relay is None:
            await orders.answered(command, "refused", "the meter has no relay that can be controlled and read back")
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
        exchange = driver.control(RelayAction[command.action.upper()], credentials, clock + valid_for)
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
            log.warning("relay not read", meter=command.address, line=self.name, error=str(error))
        await self._orders.observed(command, relay)

    # --- time and life --------------------------------------------------------------------------------------------

    def _local_now(self) -> datetime:
        return self._now().astimezone(self._authority.zone).replace(tzinfo=None)

    def _today(self) -> date:
        return due_day(self._local_now())

    def _is_near_midnight(self) -> bool:
        now = self._local_now()
        return (now + MIDNIGHT_MARGIN).date() != (now - MIDNIGHT_MARGIN).date()

    def _beat(self) -> None:
        self.progress = time.monotonic()
        metrics.PROGRESS.labels(self.name).set_to_current_time()

    def _is_up(self, up: bool) -> None:
        if up and not self.up:
            log.info("line up", line=self.name)
        self.up = up
        metrics.LINES.labels(self.name).set(up)

    async def _sleep_alive(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._beat()
            await asyncio.sleep(min(left, IDLE_S))
