"""A line: one way to meters with one talker.

A wire, a dialled-in terminal or a gateway behind a broker. Here is its life, and what the rest of
the daemon notifies it of and asks it for; what it does with its meters is in rounds.py, how it
reaches them in wire_line.py and broker_line.py.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

import structlog

from daemon import metrics
from daemon.acquisition.clocks import MeterClocks
from daemon.acquisition.jobs import IDLE_S, Jobs
from daemon.acquisition.outage import LineOutage
from daemon.acquisition.planning.attempts import Attempt
from daemon.acquisition.planning.flapping import STEADY_S, Flapping
from daemon.acquisition.planning.reads import ReadRequest
from daemon.acquisition.planning.rereads import Doubt
from daemon.acquisition.wakeup import Signal
from daemon.quality.arrival import Teller
from protocols.errors import LineDown
from storage.archive import SiteMeter
from storage.gaps import Failures, SlotAttempt

log = structlog.get_logger("line")

PROVED = -4
"""In place of the failures before it: a way that was of use is opened again within 0.07 s."""


class Line(ABC):
    """One way to meters, owned by one task (`run`)."""

    __slots__ = (
        "__weakref__",
        "_flapping",
        "_jobs",
        "_steadying",
        "_woken",
        "clocks",
        "down_reason",
        "longest_step_s",
        "meters",
        "name",
        "outage",
        "shown_as",
        "stored_at",
        "up",
    )

    def __init__(self, jobs: Jobs, *, longest_step_s: float) -> None:
        self._jobs = jobs
        parts = jobs.parts
        self.name = parts.name
        self.shown_as = parts.shown_as
        """Its name in metrics."""
        self.meters = parts.meters
        self.longest_step_s = longest_step_s
        """A line that takes longer between two signs of life is stuck."""
        self.clocks: MeterClocks | None = None
        """Of its meters, where it can read them."""
        self.up = False
        """True while the way is open."""
        is_terminal = self.is_one_of_many
        self.down_reason = "the terminal has not called yet" if is_terminal else "not opened yet"
        self._woken = Signal()
        self._flapping = Flapping()
        self._steadying: asyncio.TimerHandle | None = None
        """Set while it is open and flapped before."""
        self.stored_at = 0.0
        """Unix time at which a reading of its meters was last stored; 0: not since the start."""
        metrics.show_line(self.shown_as)
        self.outage = LineOutage(self.name, since=parts.clock.now())

    @abstractmethod
    async def _session(self) -> None:
        """Open the way and work on it until LineDown, or until it should be opened anew.

        It says `_is_up` while the way is open."""

    def _was_of_use(self) -> bool:
        """Whether the way that was open is worth being opened again at once."""
        return self._flapping.times == 0

    @abstractmethod
    def _why_it_flaps(self) -> str:
        """A guess, for whoever reads that it does."""

    # --- notifications

    def stored(self, meter_id: int, day: date) -> None:
        """A slot has a value in the database; meters of other lines do not matter here."""
        number = self._jobs.numbers.get(meter_id)
        if number is not None:
            self._jobs.wanted.fill(number, day)

    def kept(self, meter_id: int, day: date) -> None:  # noqa: B027 - most lines need not know
        """The value of a slot is safe on disk; it is not in the database yet."""

    def expect(self, meter_id: int, day: date) -> None:
        """The value of a slot waits on disk: it need not be read."""
        number = self._jobs.numbers.get(meter_id)
        if number is not None:
            self._jobs.wanted.take(number, day)

    def rebuild(self, present: Mapping[int, int], newest: date) -> None:
        """Start from what the database has.

        `present`: by meter id, of any line, bit n for the day n before `newest`."""
        bitmaps = [present.get(meter.meter_id, 0) for meter in self.meters]
        self._jobs.wanted.rebuild(bitmaps, newest)
        self._jobs.tell_leaving()

    def doubt(self, doubts: Iterable[tuple[int, date, int, float]]) -> None:
        """These values of its meters, and no others, are to be read again.

        (meter id, day, how often it was read, seconds since the last time)."""
        numbers = self._jobs.numbers
        here = [
            Doubt(numbers[meter_id], day, reads, age_s) for meter_id, day, reads, age_s in doubts
        ]
        if self._jobs.rereads.refresh(here, time.monotonic()):
            self._interrupt()

    def look_at_relay(self, meter_id: int) -> None:
        """Somebody wants to know where this meter's relay is."""
        self._jobs.relay_looks.ask(self._jobs.numbers[meter_id], time.monotonic())
        self._interrupt()

    def wake(self) -> None:
        """A command, or an order, may be waiting."""
        parts = self._jobs.parts
        parts.commands.wake()
        if parts.orders is not None:
            parts.orders.wake()
        self._interrupt()

    def look_again(self) -> None:
        """What it does next was planned by a clock that was wrong."""
        self._interrupt()

    def ask(self, request: ReadRequest) -> None:
        """Read a meter on demand, after commands and before everything else."""
        self._jobs.requests.add(request)
        if not self.up:
            self._jobs.requests.reject(self.down_reason)
        self._interrupt()

    def challenge(self) -> None:
        """Ask one meter anything, to hear whether whoever is at the far end still answers."""
        self.ask(
            ReadRequest(
                self._jobs.most_likely_to_answer(),
                "registers",
                time.monotonic() + self.longest_step_s,
            )
        )

    def give_up(self, reason: str) -> None:
        """The line was stopped: requests that wait are rejected."""
        self.down_reason = reason
        self._jobs.requests.reject(reason)

    # --- its state

    @property
    def progress(self) -> float:
        """The monotonic second of its last sign of life."""
        return self._jobs.progress

    @property
    def told_by(self) -> Teller | None:
        """Who tells what its meters tell now; None before it was opened."""
        return self._jobs.told_by

    def counts(self) -> tuple[int, int]:
        """(wanted, present) slots."""
        return self._jobs.wanted.counts()

    def day_counts(self, age: int) -> tuple[int, int, int]:
        """(owed, stored, stored without a try in vain) slots of a day; 0: the newest."""
        return self._jobs.wanted.day_counts(age)

    def missing_since(self, ages: Sequence[int]) -> list[int]:
        """Owed slots without a value, by age: of the days from each of these to the next."""
        return self._jobs.wanted.missing_since(ages)

    @property
    def leaving(self) -> int:
        """Number of freezes that were never read and are about to be lost."""
        return len(self._jobs.leaving())

    def meter(self, meter_id: int) -> SiteMeter:
        """The meter with this id, which is one of the line's."""
        return self.meters[self._jobs.numbers[meter_id]]

    def late_meters(self) -> list[SiteMeter]:
        """The meters that lack a freeze which is due: the failure list."""
        late = self._jobs.wanted.late_meters()
        return [self.meters[number] for number in late]

    def newest_late(self, meter: SiteMeter) -> date | None:
        """The newest day of which a late meter lacks its freeze."""
        number = self._jobs.numbers[meter.meter_id]
        return self._jobs.wanted.newest_late(number)

    @property
    def is_one_of_many(self) -> bool:
        """True for the line of a terminal, which waits for its call as long as that takes.

        Whether it is missing is its listener's to log."""
        return self.shown_as != self.name

    @property
    def backed_off(self) -> int:
        """Number of meters that are backed off because they do not answer."""
        return self._jobs.reply_timeouts.backed_off

    @property
    def is_silent(self) -> bool:
        """True while none of its meters answers over an open way, and something is wanted."""
        wanted, _ = self.counts()
        return self._jobs.reply_timeouts.line_is_silent and wanted > 0

    # --- what failed

    def drain_failures(self, failures: Failures) -> None:
        """Add what failed since the last time, for somebody who writes it down."""
        jobs = self._jobs
        for attempt in jobs.attempts.drain():
            failures.attempts.append(
                SlotAttempt(
                    meter_id=self.meters[attempt.number].meter_id,
                    day=attempt.day,
                    tries=attempt.tries,
                    cause=attempt.cause,
                    last_at=attempt.last_at,
                    next_at=jobs.next_attempt_at(attempt.number, attempt.day),
                )
            )
        self.outage.drain(failures, self.down_reason)

    def put_back(self, attempt: SlotAttempt) -> None:
        """It could not be written down: it counts with the next."""
        number = self._jobs.numbers[attempt.meter_id]
        self._jobs.attempts.put_back(
            Attempt(
                number,
                attempt.day,
                attempt.cause,
                attempt.tries,
                attempt.last_at,
            )
        )

    # --- its life

    async def run(self) -> None:
        """Keep the way open and work on it, until cancelled."""
        failures = 0
        while True:
            self._jobs.beat()
            try:
                await self._session()
            except LineDown as error:
                if self.up or failures == 0:
                    self._tell_down(error)
                # To open it proves nothing: a far end may hang up on whoever comes.
                if self.up and self._was_of_use():
                    failures = PROVED
                self.down_reason = str(error)
                self._is_up(False)
                # A person who waits learns at once that nothing can be asked.
                self._jobs.requests.reject(self.down_reason)
                pace = self._jobs.parts.pace
                pause_s = pace.pause_s(failures, pace.reconnect_s)
                now = self._jobs.parts.clock.now()
                self.outage.note_try(next_at=now + timedelta(seconds=pause_s))
                await self._sleep_alive(pause_s)
                failures += 1
            # The supervisor starts the task anew; what waits must not hang until then.
            except Exception as error:
                self._jobs.requests.reject(f"the line's task died: {type(error).__name__}")
                raise
            finally:
                self._is_up(False)

    def _interrupt(self) -> None:
        """Something more urgent came."""
        self._woken.set()

    def _is_up(self, up: bool) -> None:
        if up == self.up:
            return
        if up and self._flapping.opened(time.monotonic()):
            write = log.debug if self.is_one_of_many else log.info
            write("line up", line=self.name)
        elif up:
            loop = asyncio.get_running_loop()
            self._steadying = loop.call_later(STEADY_S, self._tell_steady)
        elif self._steadying is not None:
            self._steadying.cancel()
            self._steadying = None
        self.up = up
        self.outage.turn(down_since=None if up else self._jobs.parts.clock.now())
        lines_up = metrics.LINES.labels(self.shown_as)
        lines_up.inc(1 if up else -1)

    def _tell_down(self, error: LineDown) -> None:
        event = self._flapping.lost(time.monotonic())
        # A terminal that hangs up is no news; its listener logs which is missing.
        write = log.debug if self.is_one_of_many else log.warning
        if event == "line flaps":
            write(
                event,
                line=self.name,
                times=self._flapping.times,
                error=str(error),
                hint=self._why_it_flaps(),
            )
        elif event:
            write(event, line=self.name, error=str(error))

    def _tell_steady(self) -> None:
        self._steadying = None
        times = self._flapping.times
        if self._flapping.steady():
            write = log.debug if self.is_one_of_many else log.info
            write("line up", line=self.name, flapped=times)

    async def _sleep_alive(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self._jobs.beat()
            await asyncio.sleep(min(left_s, IDLE_S))
