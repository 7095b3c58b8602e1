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
from typing import Any

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from config.secret import Secret
from daemon import metrics
from daemon.acquisition.conversation import Conversation, Timing
from daemon.acquisition.wanted import MEMORY_DAYS, Wanted, due_day
from daemon.control import supply as control
from daemon.control.commands import CLOCK_LIMIT, TRIP_EXPIRY
from daemon.control.supply import Authority, Order
from daemon.pipeline import Arrival
from daemon.quality.validation import freeze_day
from protocols.channels import Channel
from protocols.dlt645 import exchanges
from protocols.dlt645.exchanges import CODEC_2007, FreezeMoved, FrozenRegisters, RelayAction
from protocols.dlt645.frame import Frame
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply
from protocols.reading import DailyFreeze, Quantity
from storage import supply
from storage.archive import SiteMeter

log = structlog.get_logger("line")
wire = structlog.get_logger("wire")

MIDNIGHT_MARGIN = timedelta(minutes=15)
"""So close to midnight a freeze may move between two reads: its stamp is read again."""
UNTRUSTED_DATES = timedelta(hours=12)
"""A clock that is further off stamps its freezes with wrong days: none of them is believed."""
MOST_PROBES = 4
"""A meter that skipped freezes has shifted their indexes: so many reads to find a day."""
FIRST_SILENCE_S = 10.0
IDLE_S = 5.0
"""An idle line shows that it is alive so often."""
DATABASE_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a control frame carries to be obeyed."""

    level: str
    operator: str
    password: Secret


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a line is. `retry_s` bounds the growing pause of silent meters and missing freezes."""

    retry_s: float
    reconnect_s: float


class Line:
    """The task of one line and what it knows. `up` and `progress` are for those who watch it."""

    def __init__(
        self,
        name: str,
        meters: Sequence[SiteMeter],
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
    ) -> None:
        self.name, self.meters = name, list(meters)
        self._open_channel, self._timing, self._pace, self._trace = open_channel, timing, pace, trace
        self._pool, self._authority, self._credentials, self._hand_on = pool, authority, credentials, hand_on
        self._number = {meter.meter_id: number for number, meter in enumerate(self.meters)}
        self._wanted = Wanted([m.installed_on for m in self.meters], days=backfill_days, today=self._today())
        self._shift = [0] * len(self.meters)
        self._skew: dict[int, tuple[date, timedelta | None]] = {}
        self._woken = asyncio.Event()
        self._commands_at: datetime | None = datetime.now(UTC)
        self.up = False
        self.progress = time.monotonic()

    def stored(self, meter_id: int, day: date) -> None:
        """A slot has a value in the database; meters of other lines do not matter here."""
        if meter_id in self._number:
            self._wanted.fill(self._number[meter_id], day)

    def rebuild(self, present: Iterable[tuple[int, date]]) -> None:
        """Start from what the database has: (meter id, day), of any line."""
        self._wanted.rebuild((self._number[meter], day) for meter, day in present if meter in self._number)

    def wake(self) -> None:
        """A command may be waiting."""
        self._commands_at = datetime.now(UTC)
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
                    await self._work(self._conversation(channel))
            except LineDown as error:
                if self.up or failures == 0:
                    log.warning("line down", line=self.name, error=str(error))
                self._is_up(False)
                failures += 1
                pause = random.uniform(0.5, 1) * min(self._pace.reconnect_s, 2 ** min(failures - 1, 10))
                await self._sleep_alive(pause)

    def _conversation(self, channel: Channel) -> Conversation[Frame]:
        return Conversation(
            channel,
            CODEC_2007,
            line=self.name,
            timing=self._timing,
            may_control=not self._authority.shadow_mode,
            wire=wire if self._trace else None,
            on_outcome=lambda outcome: metrics.REPLIES.labels(self.name, outcome).inc(),
        )

    async def _work(self, conversation: Conversation[Frame]) -> None:
        while True:
            self._beat()
            self._wanted.roll(self._today())
            if await self._serve_commands(conversation):
                continue
            job = self._wanted.next(time.monotonic())
            if job is None:
                await self._idle()
            else:
                await self._collect(conversation, *job)

    async def _idle(self) -> None:
        """Nothing to do: until a command comes, a slot becomes ready, or to show that the line is alive."""
        wanted_at = self._wanted.next_at()
        until_slot = IDLE_S if wanted_at is None else max(0.01, wanted_at - time.monotonic())
        until_command = IDLE_S
        if self._commands_at is not None:
            until_command = max(0.01, (self._commands_at - datetime.now(UTC)).total_seconds())
        self._woken.clear()
        try:
            await asyncio.wait_for(self._woken.wait(), min(IDLE_S, until_slot, until_command))
        except TimeoutError:
            return

    # --- collecting -----------------------------------------------------------------------------------------------

    async def _collect(self, conversation: Conversation[Frame], number: int, day: date) -> None:
        """Fill one slot; every other wanted freeze that comes by is handed on too."""
        meter = self.meters[number]
        try:
            found = await self._find(conversation, number, day)
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

    async def _find(self, conversation: Conversation[Frame], number: int, day: date) -> bool:
        """Read the freeze stamped with this day. Its index is a guess: a meter without power at midnight shifts it."""
        meter = self.meters[number]
        skew = await self._clock_skew(conversation, number)
        index = (self._local_now().date() - day).days + 1 + self._shift[number]
        asked: set[int] = set()
        while index not in asked and 1 <= index <= MEMORY_DAYS and len(asked) < MOST_PROBES:
            asked.add(index)
            confirm = skew is None or abs(skew) > CLOCK_LIMIT or self._is_near_midnight()
            frozen = await conversation.run(exchanges.read_daily_freeze(meter.address, index, confirm=confirm))
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
            arrived_at=datetime.now(UTC),
            clock_skew=skew if skew is not None and (is_fresh or abs(skew) > UNTRUSTED_DATES) else None,
        )
        await self._hand_on(Arrival(meter, freeze))
        if day is not None:
            self._wanted.take(number, day)

    async def _clock_skew(self, conversation: Conversation[Frame], number: int) -> timedelta | None:
        """Meter clock minus ours, read once a day; None when the meter does not tell its clock."""
        today = self._today()
        known = self._skew.get(number)
        if known is not None and known[0] == today:
            return known[1]
        address = self.meters[number].address
        skew: timedelta | None = None
        try:
            skew = await conversation.run(exchanges.read_clock(address)) - self._local_now()
        except (MeterRefused, FrameError) as error:
            log.warning("clock not read", meter=address, line=self.name, error=str(error))
        if skew is not None and abs(skew) > CLOCK_LIMIT:
            log.warning("meter clock is wrong", meter=address, line=self.name, skew_s=round(skew.total_seconds()))
        self._skew[number] = (today, skew)
        return skew

    # --- supply ---------------------------------------------------------------------------------------------------

    async def _serve_commands(self, conversation: Conversation[Frame]) -> bool:
        """Do the next command if one is due; True if there was one. Without the database control stops."""
        now = datetime.now(UTC)
        if self._authority.shadow_mode or self._commands_at is None or self._commands_at > now:
            return False
        try:
            async with self._pool.connection() as connection:
                order = await control.take_order(connection, self._authority, self.name, now)
                if order is None:
                    self._commands_at = await supply.next_due(connection, self.name)
                    return False
            await (self._send if order.kind == "send" else self._verify)(conversation, order)
        except psycopg.OperationalError as error:
            log.error("control stopped, database away", line=self.name, error=str(error).strip())
            self._commands_at = now + timedelta(seconds=DATABASE_RETRY_S)
            return False
        return True

    async def _send(self, conversation: Conversation[Frame], order: Order) -> None:
        """Send one control frame, once. What the meter makes of it is found out by reading its relay."""
        command, credentials = order.command, self._credentials
        assert credentials is not None, "control authority without credentials"
        record = partial(self._record, command)
        try:
            clock = await conversation.run(exchanges.read_clock(command.address))
        except (NoReply, MeterRefused, FrameError) as error:
            if command.action == "trip":
                async with self._pool.connection() as connection:
                    await control.abandon_trip(connection, command, f"clock not read: {error}", datetime.now(UTC))
                return
            clock = self._local_now()
        if command.action == "trip" and abs(clock - self._local_now()) > CLOCK_LIMIT:
            async with self._pool.connection() as connection:
                await control.abandon_trip(connection, command, f"meter clock shows {clock}", datetime.now(UTC))
            return
        if command.action == "trip" and datetime.now(UTC) >= command.expires_at:
            async with self._pool.connection() as connection:
                await control.abandon_trip(connection, command, "expired before it could be sent", datetime.now(UTC))
            return
        valid_for = min(TRIP_EXPIRY, max(command.expires_at - datetime.now(UTC), timedelta(minutes=1)))
        exchange = exchanges.control(
            command.address,
            RelayAction[command.action.upper()],
            level=credentials.level,
            password=credentials.password.reveal(),
            operator=credentials.operator,
            expires=clock + valid_for,
        )
        try:
            await conversation.run(exchange)
        except MeterRefused as refusal:
            await record("refused", str(refusal))
        except (NoReply, FrameError) as error:
            await record("unknown", str(error))
        except LineDown as error:
            await record("unknown", str(error))
            raise
        else:
            await record("acked", "accepted by the meter")

    async def _record(self, command: supply.Command, state: str, detail: str) -> None:
        async with self._pool.connection() as connection:
            await control.take_answer(connection, command, state, detail, datetime.now(UTC))

    async def _verify(self, conversation: Conversation[Frame], order: Order) -> None:
        try:
            word = await conversation.run(exchanges.read_status_word_3(order.command.address))
        except (NoReply, MeterRefused, FrameError) as error:
            log.warning("relay not read", meter=order.command.address, line=self.name, error=str(error))
            word = None
        async with self._pool.connection() as connection:
            await control.take_observation(connection, order.command, word, datetime.now(UTC))

    # --- time and life --------------------------------------------------------------------------------------------

    def _local_now(self) -> datetime:
        return datetime.now(self._authority.zone).replace(tzinfo=None)

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
