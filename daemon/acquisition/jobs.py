"""What a line does with its meters, whatever carries it.

Command steps, host freezes at midnight, on-demand reads, and slots: a line of any kind gives the
ports of its meters; what is due, and what becomes of it, is decided here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable, Sequence
from datetime import date, datetime, timedelta
from functools import partial
from math import inf
from typing import Any, Final, TypeVar

import structlog

from daemon import metrics
from daemon.acquisition.commands import CommandStep, execute
from daemon.acquisition.conversations import Preempted
from daemon.acquisition.meter_port import (
    UNUSABLE,
    GatewayAnswered,
    MeterPort,
    MeterPorts,
    NoFreeze,
    NotSent,
    Registers,
    Urgency,
)
from daemon.acquisition.parts import LineParts
from daemon.acquisition.planning.attempts import Attempts, Cause
from daemon.acquisition.planning.identities import Identities
from daemon.acquisition.planning.midnight import Midnights, nearest_midnight
from daemon.acquisition.planning.reads import ReadRequest, ReadRequests, ReadResult
from daemon.acquisition.planning.reply_times import ReplyTimeouts
from daemon.acquisition.planning.rereads import Rereads
from daemon.acquisition.planning.wanted import Wanted
from daemon.acquisition.read_results import read_for, result_of
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import HOST_FREEZE_LIMIT, freeze_day, is_in_service
from protocols.errors import LineDown, MeterRefused, NoReply
from protocols.reading import DailyFreeze, Quantity

T = TypeVar("T")
log = structlog.get_logger("line")

FIRST_MISSING_S = 10.0
"""First pause of a freeze that is not there yet; it grows."""
HELD_BACK_S = 1.0
"""A slot that could be read and is not, at midnight or while back-fill must wait, is looked at
again after this time."""
BEFORE_MIDNIGHT_S = 2.0
"""Nothing that gives way is begun this close to a host freeze."""
IDLE_S = 15.0
"""Maximum time between two signs of life of an idle line."""
NO_ROOM_S = 0.1
"""Pause of a reading that finds no room in the queue."""
LEAVING_DAYS = 2
"""So long before they can be had no more, missing freezes are told."""
CLOCKS_AGREE = timedelta(seconds=60)
"""A device's time that is further from the host's proves nothing: its message was kept on the way,
or its clock is wrong."""

TOLD: Final[frozenset[Cause]] = frozenset(("refused", "bad_answer"))
"""Causes that are logged when a slot is missing: the others are usual, and counted."""


class Jobs:
    """The jobs of one line, most urgent first. Meters are numbered from 0 in the order given."""

    __slots__ = (
        "_at_once",
        "_gives_way",
        "_told_leaving_on",
        "attempts",
        "identities",
        "midnights",
        "numbers",
        "parts",
        "progress",
        "reply_timeouts",
        "requests",
        "rereads",
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
        """`has_memory`: False for a meter that keeps no freezes.

        `at_once`: maximum number of meters that are read at a time. `gives_way`: True where a
        request that was begun gives way to what is more urgent.
        """
        self.parts = parts
        self._at_once = at_once
        self._gives_way = gives_way
        self.numbers = {meter.meter_id: number for number, meter in enumerate(parts.meters)}
        """By meter id."""
        self.wanted = Wanted(
            [meter.installed_on for meter in parts.meters],
            days=parts.backfill_days,
            today=parts.clock.due_day(),
            has_memory=has_memory,
        )
        self.reply_timeouts = ReplyTimeouts(
            len(parts.meters),
            longest_wait_s=longest_wait_s,
            longest_pause_s=parts.pace.retry_s,
        )
        self.midnights = Midnights(
            {
                number: meter.installed_on
                for number, meter in enumerate(parts.meters)
                if not has_memory[number]
            }
        )
        self.requests = ReadRequests()
        self.rereads = Rereads()
        self.identities = Identities([meter.identity_read_on for meter in parts.meters])
        self.attempts = Attempts()
        self._told_leaving_on: date | None = None
        self.progress = time.monotonic()
        """When the line gave its last sign of life."""

    # --- the round of a line

    def begin_round(self) -> None:
        """What comes before each look for the next job."""
        self.beat()
        lost = self.wanted.roll(self.parts.clock.due_day())
        if lost is not None:
            self._tell_lost(lost)
            self.tell_leaving()
        self._count_missed_midnights()

    async def do_urgent(self, ports: MeterPorts) -> bool:
        """Do the most urgent job that comes before any slot; False when there is none."""
        # Supply first, then what passes within a minute, then what is waited for.
        return (
            await self.parts.commands.serve(partial(self._execute, ports))
            or await self._freeze_at_midnight(ports)
            or await self._answer_requests(ports)
        )

    def is_urgent(self) -> bool:
        """True if a command or a request waits that may be begun."""
        is_request_due = bool(self.requests) and not self._are_requests_held()
        return is_request_due or self.parts.commands.is_due()

    def must_give_way(self, urgency: Urgency) -> bool:
        """True if something waits that goes before a request or slot of this urgency."""
        is_request_waiting = urgency > Urgency.REQUEST and bool(self.requests)
        return is_request_waiting or self.parts.commands.is_due() or self.is_midnight_near()

    def idle_for_s(self) -> float:
        """Until a slot, a command or a midnight comes, or a sign of life is due."""
        wanted_at = self.wanted.next_at(self.reply_timeouts.ready_at())
        until_slot = IDLE_S if wanted_at is None else wanted_at - time.monotonic()
        # It could be read and is not: at midnight, or while back-fill must wait.
        if until_slot <= 0:
            until_slot = HELD_BACK_S
        until_command = self.parts.commands.due_in_s()
        return min(
            IDLE_S,
            until_slot,
            until_command,
            self.midnight_in_s(),
            self._reread_in_s(),
        )

    def _reread_in_s(self) -> float:
        at_s = self.rereads.next_at()
        # One that is due and waits for its meter waits for whatever else happens.
        return inf if at_s is None or at_s <= time.monotonic() else at_s - time.monotonic()

    def midnight_in_s(self) -> float:
        """Seconds until the next host freeze; infinite where each meter freezes by itself."""
        return self.midnights.due_in_s(self.parts.clock.night_time())

    def is_midnight_near(self) -> bool:
        """True while a host freeze is due, or so soon that nothing else may be begun."""
        return self.midnight_in_s() < BEFORE_MIDNIGHT_S

    def beat(self) -> None:
        """Give a sign of life."""
        self.progress = time.monotonic()
        metrics.PROGRESS.labels(self.parts.shown_as).set_to_current_time()

    async def _execute(self, ports: MeterPorts, step: CommandStep) -> None:
        number = self.numbers.get(step.command.meter_id)
        # The archive was changed while the command was open.
        if number is None:
            await step.orphan()
        else:
            meter = ports(number, Urgency.COMMAND)
            await execute(step, meter, self.parts.clock)

    # --- midnight

    async def _freeze_at_midnight(self, ports: MeterPorts) -> bool:
        """Read meters that keep no freezes at the moment of their freeze; False if none is due."""
        night_time = self.parts.clock.night_time()
        meters: list[tuple[int, MeterPort]] = []
        while len(meters) < self._at_once:
            due = self.midnights.next(night_time)
            if due is None:
                break
            number, _ = due
            meter = ports(number, Urgency.MIDNIGHT)
            if not meter.is_away and not meter.unsupported("registers"):
                meters.append((number, meter))
        await together(self._freeze_now(number, meter) for number, meter in meters)
        return bool(meters)

    async def _freeze_now(self, number: int, meter: MeterPort) -> None:
        """Read one meter; without a freeze it is read again while the window is open."""
        try:
            registers, device_time = await meter.read_registers()
        except (NoReply, NotSent, *UNUSABLE) as error:
            self.warn("not read at midnight", number, error)
            midnight = nearest_midnight(self.parts.clock.night_time())
            self.note_attempt(number, midnight.date(), cause_of(error))
            return
        now = self.parts.clock.night_time()
        await self.submit_host_freeze(
            number,
            registers,
            device_time or now,
            now,
        )

    async def submit_host_freeze(
        self,
        number: int,
        registers: Registers,
        device_time: datetime,
        now: datetime,
    ) -> bool:
        """The registers as the freeze of the midnight next to the device's time.

        False if they are none, True if that midnight has one now. Both times are the site's wall
        clock; the worse of their distances from midnight is kept.
        """
        meter = self.parts.meters[number]
        midnight = nearest_midnight(device_time)
        offset = max(device_time - midnight, now - midnight, key=abs)
        if registers[0] is None or not is_in_service(midnight.date(), meter.installed_on):
            return False
        # V04: a host freeze is as good as its distance from midnight, by either clock.
        if abs(offset) > HOST_FREEZE_LIMIT or abs(now - device_time) > CLOCKS_AGREE:
            return False
        # A device may push while it is being read.
        if self.midnights.is_done(number, midnight):
            return True
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=midnight,
            registers=registers,
            arrived_at=self.parts.clock.now(),
            host_offset=offset,
        )
        # Before it is handed on, because that may wait for room, and a push come meanwhile.
        self.midnights.done(number, midnight)
        try:
            await self.submit(Arrival(meter, freeze))
        except BaseException:
            self.midnights.undo(number)
            raise
        return True

    def _count_missed_midnights(self) -> None:
        """Host freezes cannot be made up for."""
        night_time = self.parts.clock.night_time()
        missed = self.midnights.missed(night_time)
        if not missed:
            return
        counter = metrics.HOST_FREEZES_MISSED.labels(self.parts.shown_as)
        counter.inc(len(missed))
        first = self.parts.meters[missed[0]]
        log.error(
            "not read at midnight, lost",
            line=self.parts.name,
            meters=len(missed),
            first=first.address,
        )

    # --- what can be had no more

    def _tell_lost(self, lost: Sequence[int]) -> None:
        """The meters' memory is over, or the days that are collected are."""
        if not lost:
            return
        metrics.SLOTS_LOST.labels(self.parts.shown_as).inc(len(lost))
        log.error(
            "freezes lost",
            line=self.parts.name,
            slots=len(lost),
            first=self.parts.meters[lost[0]].address,
        )

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

    # --- on-demand reads

    async def _answer_requests(self, ports: MeterPorts) -> bool:
        """Answer the requests that came first; False when none is answered now."""
        if self.requests and self._are_requests_held():
            return False
        requests: list[ReadRequest] = []
        while len(requests) < self._at_once:
            request = self.requests.next(time.monotonic())
            if request is None:
                break
            requests.append(request)
        await together(self._answer(request, ports) for request in requests)
        return bool(requests)

    def _are_requests_held(self) -> bool:
        # It would give way before its first frame, and be begun again in the same moment: the line
        # would spin, and with it every other line.
        return self._gives_way and self.is_midnight_near()

    async def _answer(self, request: ReadRequest, ports: MeterPorts) -> None:
        """Serve one request.

        One that ends without an answer, cancelled or by a mistake, is settled when the line goes
        down."""
        number = self.numbers[request.meter_id]
        meter = ports(number, Urgency.REQUEST)
        if reason := meter.unsupported(request.what):
            request.settle(ReadResult("unsupported", reason=reason))
            return
        try:
            result = await read_for(request, meter)
        except Preempted:
            # What is more urgent goes first; this one is the next of its kind.
            self.requests.add_first(request)
            return
        except NotSent as error:
            # The carrier refused it, which means nothing for the meter.
            request.settle(ReadResult("refused", reason=str(error)))
            return
        except NoReply as error:
            self.record_timeout(number, str(error))
            request.settle(ReadResult("silent", reason=str(error)))
            return
        except UNUSABLE as error:
            result = result_of(error)
        except LineDown as error:
            request.settle(ReadResult("line_down", reason=str(error)))
            raise
        self.record_reply(number)
        request.settle(result)

    # --- slots

    async def read_slot(
        self,
        number: int,
        day: date,
        meter: MeterPort,
    ) -> None:
        """Fill one slot; each other freeze that comes by and is wanted is submitted too."""
        try:
            await meter.read_freeze(day)
        except (NoReply, NotSent) as error:
            self.note_attempt(number, day, cause_of(error))
            self.record_timeout(number, str(error))
            return
        except (NoFreeze, *UNUSABLE) as error:
            cause = cause_of(error)
            self.note_attempt(number, day, cause)
            if cause in TOLD:
                self.warn(
                    "freeze not read",
                    number,
                    error,
                    day=day,
                )
            self._look_later(number, day)
        # A meter that answers is not silent, whatever the answer is.
        self.record_reply(number)

    def _look_later(self, number: int, day: date) -> None:
        longest_s = self.parts.pace.retry_s
        self.wanted.not_there(
            number,
            day,
            time.monotonic(),
            first_s=min(FIRST_MISSING_S, longest_s),
            longest_s=longest_s,
        )

    def note_attempt(self, number: int, day: date, cause: Cause) -> None:
        """A slot was asked for in vain."""
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
        await self.submit(Arrival(meter, freeze))
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

    def record_timeout(self, number: int, error: str) -> None:
        """The meter did not answer."""
        news = self.reply_timeouts.record_timeout(number, time.monotonic())
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
        """The meter answered, whatever the answer is."""
        if self.reply_timeouts.record_reply(number, time.monotonic()):
            log.info("line answers again", line=self.parts.name)

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


async def together(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them return; the first that fails ends the others.

    One that waited on for a connection that is lost would count the silence of a meter that may be
    well."""
    waiting = list(jobs)
    # The usual case of a wire needs no task.
    if len(waiting) == 1:
        return [await waiting[0]]
    tasks = [asyncio.ensure_future(job) for job in waiting]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def cause_of(error: Exception) -> Cause:
    """Why a slot was not read."""
    match error:
        case NoFreeze(cause=cause):
            return cause
        case NoReply() | GatewayAnswered(outcome="expired"):
            return "no_answer"
        case NotSent():
            return "no_route"
        case GatewayAnswered(outcome="no_data"):
            return "no_freeze"
        case MeterRefused() | GatewayAnswered():
            return "refused"
    return "bad_answer"
