"""What a line has to do, and what it knows of its meters, whatever carries it.

The jobs themselves are in modules of their own, each a function of this and of the ports of the
meters: rounds.py says which comes next; commands.py, host_freezes.py, answering.py, slots.py,
rereading.py, relay_looks.py, first_looks.py and identification.py do them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from math import inf
from typing import Any, TypeVar

import structlog

from daemon import metrics
from daemon.acquisition.meter_port import (
    Registers,
)
from daemon.acquisition.parts import LineParts
from daemon.acquisition.planning.attempts import Attempts, Cause
from daemon.acquisition.planning.first_contacts import FirstContacts
from daemon.acquisition.planning.midnight import Midnights
from daemon.acquisition.planning.reads import ReadRequests
from daemon.acquisition.planning.relay_looks import RelayLooks
from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.planning.rereads import Rereads
from daemon.acquisition.planning.turns import Turns
from daemon.acquisition.planning.wanted import Wanted
from daemon.control.sources import FarEnd
from daemon.quality.arrival import Arrival, Teller
from daemon.quality.freeze import freeze_day
from protocols.reading import DailyFreeze, Quantity

T = TypeVar("T")
log = structlog.get_logger("line")

BEFORE_MIDNIGHT_S = 2.0
"""Nothing that gives way is begun this close to a host freeze."""
IDLE_S = 15.0
"""Maximum time between two signs of life of an idle line."""
NO_ROOM_S = 0.1
"""Pause of a reading that finds no room in the queue."""
LEAVING_DAYS = 2
"""So long before they can be had no more, missing freezes are told."""


class Jobs:
    """What waits on one line. Its meters are numbered from 0 in the order given."""

    __slots__ = (
        "_told_leaving_on",
        "_told_refused_on",
        "at_once",
        "attempts",
        "first_looks",
        "gives_way",
        "identities",
        "midnights",
        "numbers",
        "parts",
        "progress",
        "question",
        "relay_looks",
        "reply_timeouts",
        "requests",
        "rereads",
        "told_by",
        "turns",
        "wanted",
    )

    def __init__(
        self,
        parts: LineParts,
        *,
        has_memory: Sequence[bool],
        longest_wait_s: float,
        at_once: int = 1,
        gives_way: bool = False,
    ) -> None:
        """`has_memory`: False for a meter that keeps no freezes."""
        self.parts = parts
        self.at_once = at_once
        """Maximum number of meters that are read at a time."""
        self.gives_way = gives_way
        """True where a request that was begun gives way to what is more urgent."""
        self.numbers = {meter.meter_id: number for number, meter in enumerate(parts.meters)}
        """By meter id."""
        self.wanted = Wanted(
            [meter.installed_on for meter in parts.meters],
            days=parts.backfill_days,
            today=parts.clock.due_day(),
            has_memory=has_memory,
            taken_in_on=[meter.taken_in_on or meter.installed_on for meter in parts.meters],
        )
        self.reply_timeouts = ReplyTimeouts(
            len(parts.meters),
            longest_wait_s=longest_wait_s,
            longest_pause_s=parts.pace.retry_s,
        )
        self.turns = Turns(len(parts.meters))
        self.midnights = Midnights(
            {
                number: meter.installed_on
                for number, meter in enumerate(parts.meters)
                if not has_memory[number]
            }
        )
        self.requests = ReadRequests()
        self.rereads = Rereads()
        self.relay_looks = RelayLooks([meter.relay_seen_on for meter in parts.meters])
        self.identities = FirstContacts([meter.identity_read_on for meter in parts.meters])
        self.first_looks = None if all(has_memory) else FirstContacts([None] * len(parts.meters))
        """At meters without memory; None where there are none."""
        for number, remembers in enumerate(has_memory):
            if remembers and self.first_looks is not None:
                self.first_looks.give_up(number)
        self.attempts = Attempts()
        self.told_by: Teller | None = None
        """Who is at the far end of the way that is open."""
        self.question: Callable[[], str] = lambda: ""
        """Why it is open who that is; empty when it is not."""
        self._told_leaving_on: date | None = None
        self._told_refused_on: dict[int, date] = {}
        """By meter, the day on which it was told last that it refuses."""
        self.progress = time.monotonic()
        """When the line gave its last sign of life."""

    # --- midnight, and signs of life

    def midnight_in_s(self) -> float:
        """Seconds until the next host freeze; infinite where each meter freezes by itself, and
        while the host's clock is doubted."""
        if self.parts.clock.doubt():
            return inf
        return self.midnights.due_in_s(self.parts.clock.night_time())

    def is_midnight_near(self) -> bool:
        """True while a host freeze is due, or so soon that nothing else may be begun."""
        return self.midnight_in_s() < BEFORE_MIDNIGHT_S

    def beat(self) -> None:
        """Give a sign of life."""
        self.progress = time.monotonic()
        metrics.PROGRESS.labels(self.parts.shown_as).set_to_current_time()

    def far_end(self) -> FarEnd | None:
        """Who would get a command now; None while no way is open."""
        if self.told_by is None:
            return None
        return FarEnd(self.told_by.peer, self.question())

    def most_likely_to_answer(self) -> int:
        """The id of the meter that is the least suspected of being silent."""
        number = int(self.reply_timeouts.ready_at().argmin())
        return self.parts.meters[number].meter_id

    # --- what can be had no more

    def tell_leaving(self) -> None:
        """Once a day: freezes that were never read are about to be lost."""
        today = self.parts.clock.due_day()
        leaving = self.leaving()
        if self._told_leaving_on == today or not leaving:
            return
        self._told_leaving_on = today
        log.error(
            "about to be lost",
            line=self.parts.name,
            slots=len(leaving),
            first=self.parts.meters[leaving[0]].address,
            within_days=LEAVING_DAYS,
        )

    def leaving(self) -> list[int]:
        """The meters of the freezes that are about to be lost, one for each freeze."""
        return self.wanted.leaving(LEAVING_DAYS)

    # --- slots that were asked for

    def note_attempt(self, number: int, day: date, cause: Cause) -> None:
        """A slot was asked for in vain."""
        self.wanted.tried_in_vain(number, day)
        self.attempts.note(
            number,
            day,
            cause,
            self.parts.clock.now(),
        )

    def note_silence(self, number: int) -> None:
        """A poll, which keeps no days in mind, had no answer of a meter."""
        day = self.wanted.newest_late(number)
        if day is not None:
            self.note_attempt(number, day, "no_answer")

    def next_attempt_at(self, number: int, day: date) -> datetime:
        """When a slot that is missing is asked for again, as far as that is known now."""
        now_s = time.monotonic()
        ready_at_s = float(self.reply_timeouts.ready_at()[number])
        at_s = max(ready_at_s, self.wanted.paused_until(number, day), now_s)
        return self.parts.clock.now() + timedelta(seconds=at_s - now_s)

    async def submit_freeze(
        self,
        number: int,
        frozen_at: datetime,
        registers: Registers,
        clock_skew: timedelta | None,
        serial: str | None = None,
    ) -> None:
        """Hand on a freeze that the meter stamped itself.

        `serial`: who froze it, where the answer tells that."""
        meter = self.parts.meters[number]
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=frozen_at,
            registers=registers,
            arrived_at=self.parts.clock.now(),
            clock_skew=clock_skew,
            serial=serial,
        )
        await self.submit(Arrival(meter, freeze, self.told_by))
        day = freeze_day(frozen_at)
        if day is not None:
            # It is not read again while it is on its way; the database alone makes it present.
            self.wanted.take(number, day)

    async def submit(self, arrival: Arrival) -> None:
        """Hand on what a meter told, as soon as there is room."""
        # A line that waits for room is alive: it is the database that is behind.
        while not self.parts.sink.submit(arrival):
            self.beat()
            await asyncio.sleep(NO_ROOM_S)

    # --- who answers

    def record_timeout(self, number: int, error: str, took_s: float = 0.0) -> None:
        """The meter did not answer. `took_s`: see ReplyTimeouts."""
        self.turns.had(number, took_s or self.reply_timeouts.expect(number)[0])
        news = self.reply_timeouts.record_timeout(number, time.monotonic(), took_s)
        if news == "backed off":
            log.warning(
                "meter silent",
                meter=self.parts.meters[number].address,
                line=self.parts.name,
                error=error,
            )
        elif news == "line silent":
            log.error(
                "line silent: nobody answers",
                line=self.parts.name,
                meters=len(self.parts.meters),
                error=error,
            )

    def record_reply(self, number: int) -> None:
        """The meter told what it was asked for."""
        if self.reply_timeouts.record_reply(number, time.monotonic()):
            log.info("line answers again", line=self.parts.name)

    def record_life(self) -> None:
        """Somebody answered, whatever the answer is."""
        if self.reply_timeouts.record_life():
            log.info("line answers again", line=self.parts.name)

    def heard_from(self, number: int, is_told: bool) -> None:
        """The meter answered a poll. `is_told`: with what was asked for."""
        if is_told:
            self.record_reply(number)
        else:
            self.record_life()

    def record_lack(self, number: int, took_s: float) -> None:
        """The meter is well and has not what was asked for."""
        self.record_life()
        self.turns.had(number, took_s)
        self.reply_timeouts.record_lack(number, time.monotonic(), took_s)

    def record_refusal(self, number: int, day: date, error: Exception, took_s: float) -> None:
        """The meter answered with nothing that can be used; told once a day and meter."""
        self.record_life()
        self.turns.had(number, took_s)
        self.reply_timeouts.record_refusal(number, time.monotonic(), took_s)
        today = self.parts.clock.due_day()
        if self._told_refused_on.get(number) != today:
            self._told_refused_on[number] = today
            self.warn("freeze not read", number, error, day=day)

    def warn(self, event: str, number: int, error: Exception, **fields: Any) -> None:
        """Log what went wrong with a meter."""
        address = self.parts.meters[number].address
        log.warning(
            event,
            meter=address,
            line=self.parts.name,
            error=str(error),
            **fields,
        )
