"""What every way to meters has in common, a line with its own wire or a gateway behind a broker:
which slots it wants, what it learnt about its meters, its orders and questions, and how those who
watch it see that it is alive."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import structlog
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.acquisition.planning.midnight import Midnights, near_midnight
from daemon.acquisition.planning.reads import ReadRequest, ReadRequests
from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.planning.wanted import Wanted, due_day
from daemon.acquisition.wakeup import Signal
from daemon.control.authority import Authority
from daemon.transactions.line_commands import LineCommands
from protocols.channels.backoff import reconnect_pause_s
from protocols.errors import LineDown
from storage.archive import SiteMeter

log = structlog.get_logger("line")

FIRST_MISSING_S = 10.0
"""A freeze that is not there yet is asked for again so soon at first."""
HELD_BACK_S = 1.0
"""A slot that could be read and is not, at midnight or while back-fill must wait, is looked at
again so soon."""
IDLE_S = 15.0
"""An idle route shows that it is alive so often."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a route is. `retry_s` bounds the growing pause of silent meters and missing
    freezes."""

    retry_s: float
    reconnect_s: float


class Line(ABC):
    """One way to meters, owned by one task (`run`). `up` and `progress` are for those who watch it.

    `shown_as` is its name in metrics: many terminals of one listener share one.
    """

    __slots__ = (
        *(
            "__dict__",
            "__weakref__",
            "_authority",
            "_midnights",
            "_now",
            "_number",
            "_orders",
            "_pace",
            "_patience",
            "_questions",
        ),
        *("_wanted", "_woken", "down_reason", "meters", "name", "progress", "shown_as", "up"),
    )

    longest_step_s: float
    """Longer between two signs of life, and it is stuck."""

    def __init__(
        self,
        name: str,
        meters: Sequence[SiteMeter],
        *,
        has_memory: Sequence[bool],
        longest_wait_s: float,
        pace: Pace,
        backfill_days: int,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        shown_as: str | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name, self.shown_as = name, shown_as or name
        self.meters = list(meters)
        self.up = False
        self.down_reason = (
            "the terminal has not called yet" if self.is_one_of_many else "not opened yet"
        )
        self.progress = time.monotonic()
        self._now, self._pace, self._authority = now, pace, authority
        self._number = {meter.meter_id: number for number, meter in enumerate(self.meters)}
        self._wanted = Wanted(
            [meter.installed_on for meter in self.meters],
            days=backfill_days,
            today=self._today(),
            has_memory=has_memory,
        )
        self._patience = ReplyTimeouts(
            len(self.meters), longest_wait_s=longest_wait_s, longest_pause_s=pace.retry_s
        )
        self._midnights = Midnights([number for number, has in enumerate(has_memory) if not has])
        self._orders = LineCommands(name, pool, authority, now)
        self._questions = ReadRequests()
        self._woken = Signal()
        metrics.LINES.labels(self.shown_as).inc(0)

    @abstractmethod
    async def _session(self) -> None:
        """Open the way and work on it, telling `_is_up`, until LineDown or until it should be
        opened anew."""

    # --- what others tell it
    # ----------------------------------------------------------------------------------------

    def stored(self, meter_id: int, day: date) -> None:
        """A slot has a value in the database; meters of other routes do not matter here."""
        if meter_id in self._number:
            self._wanted.fill(self._number[meter_id], day)

    def rebuild(self, present: Mapping[int, int], newest: date) -> None:
        """Start from what the database has: by meter id, of any route, bit n for the day n before
        `newest`."""
        self._wanted.rebuild([present.get(meter.meter_id, 0) for meter in self.meters], newest)

    def wake(self) -> None:
        """A command may be waiting."""
        self._orders.wake()
        self._interrupt()

    def ask(self, question: ReadRequest) -> None:
        """Read a meter for somebody, after commands and before everything else."""
        self._questions.add(question)
        if not self.up:
            self._questions.reject(self.down_reason)
        self._interrupt()

    def give_up(self, reason: str) -> None:
        """It was stopped: whoever waits for an answer is told so."""
        self.down_reason = reason
        self._questions.reject(reason)

    def counts(self) -> tuple[int, int]:
        """(wanted, present) slots."""
        return self._wanted.counts()

    def late_meters(self) -> list[SiteMeter]:
        """The meters that lack a freeze which is due: the failure list."""
        return [self.meters[number] for number in self._wanted.late_meters()]

    def newest_late(self, meter: SiteMeter) -> date | None:
        """The newest day of which a late meter lacks its freeze."""
        return self._wanted.newest_late(self._number[meter.meter_id])

    @property
    def is_one_of_many(self) -> bool:
        """True for the line of a terminal, which waits for its call as long as that takes: its
        listener tells of it."""
        return self.shown_as != self.name

    @property
    def backed_off(self) -> int:
        """How many meters are backed off because they do not answer."""
        return self._patience.backed_off

    @property
    def is_silent(self) -> bool:
        """True while none of its meters answers although the way is open, and something is wanted
        of them."""
        return self._patience.line_is_silent and self._wanted.counts()[0] > 0

    # --- its life
    # ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the way open and work on it, until cancelled."""
        failures = 0
        while True:
            self._beat()
            try:
                await self._session()
            except LineDown as error:
                if self.up or failures == 0:
                    tell = log.debug if self.is_one_of_many else log.warning
                    tell("line down", line=self.name, error=str(error))
                failures = 0 if self.up else failures
                self.down_reason = str(error)
                self._is_up(False)
                self._questions.reject(self.down_reason)
                pause_s = reconnect_pause_s(failures, self._pace.reconnect_s)
                failures += 1
                await self._sleep_alive(pause_s)
            except Exception as error:
                self._questions.reject(f"the line's task died: {type(error).__name__}")
                raise
            finally:
                self._is_up(False)

    def _interrupt(self) -> None:
        """Something more urgent came."""
        self._woken.set()

    def _is_urgent(self) -> bool:
        """A command or a question waits."""
        return bool(self._questions) or self._orders.is_due()

    def _idle_for_s(self) -> float:
        """Nothing to do: so long until a slot, an order or a midnight comes, or a sign of life is
        due."""
        wanted_at = self._wanted.next_at(self._patience.ready_at())
        until_slot = IDLE_S if wanted_at is None else wanted_at - time.monotonic()
        if until_slot <= 0:
            until_slot = HELD_BACK_S
        until_midnight = self._midnights.opens_in_s(self._night_time())
        return min(IDLE_S, until_slot, self._orders.due_in_s(), until_midnight)

    def _was_silent(self, number: int, error: str) -> None:
        news = self._patience.record_timeout(number, time.monotonic())
        if news == "backed off":
            log.warning(
                "meter silent",
                meter=self.meters[number].address,
                line=self.name,
                error=error,
            )
        elif news == "line silent":
            log.error(
                "line silent: nobody answers",
                line=self.name,
                meters=len(self.meters),
                error=error,
            )

    def _was_heard(self, number: int) -> None:
        if self._patience.record_reply(number, time.monotonic()):
            log.info("line answers again", line=self.name)

    def _count_missed_midnights(self) -> None:
        """Tell of host freezes that nobody can make up for."""
        missed = self._midnights.missed(self._night_time())
        if missed:
            metrics.HOST_FREEZES_MISSED.labels(self.shown_as).inc(len(missed))
            first = self.meters[missed[0]].address
            log.error(
                "not read at midnight, lost",
                line=self.name,
                meters=len(missed),
                first=first,
            )

    def _local_now(self) -> datetime:
        return self._now().astimezone(self._authority.zone).replace(tzinfo=None)

    def _night_time(self) -> datetime:
        return near_midnight(self._now(), self._authority.zone)

    def _today(self) -> date:
        return due_day(self._local_now())

    def _beat(self) -> None:
        self.progress = time.monotonic()
        metrics.PROGRESS.labels(self.shown_as).set_to_current_time()

    def _is_up(self, up: bool) -> None:
        if up == self.up:
            return
        if up:
            (log.debug if self.is_one_of_many else log.info)("line up", line=self.name)
        self.up = up
        metrics.LINES.labels(self.shown_as).inc(1 if up else -1)

    async def _sleep_alive(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._beat()
            await asyncio.sleep(min(left, IDLE_S))
