"""One gateway: the task that owns its broker connection. Readings come by themselves; gaps and
relays are asked for.

A message is acknowledged when its reading is in the database: until then the broker keeps it, so
neither a crash nor a lost broker loses one, and a message that comes twice changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4, uuid5

import structlog
from psycopg_pool import AsyncConnectionPool

from daemon import metrics
from daemon.acquisition.line import FIRST_MISSING_S, Line, Pace
from daemon.acquisition.planning.midnight import near_midnight, nearest_midnight
from daemon.acquisition.planning.reads import Outcome, ReadRequest, ReadResult
from daemon.acquisition.planning.wanted import first_day
from daemon.acquisition.wire_line import UNTRUSTED_DATES
from daemon.control.authority import Authority
from daemon.control.commands import TRIP_EXPIRY, CommandStep
from daemon.quality.arrival import Arrival
from daemon.quality.freeze import HOST_FREEZE_LIMIT, freeze_day
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import (
    Message,
    MqttConnection,
    PublishRefused,
    SubscriptionRefused,
)
from protocols.errors import FrameError, LineDown, NoReply
from protocols.mqtt.events import (
    Answered,
    Echoed,
    Event,
    Family,
    FreezeReport,
    Outgoing,
    PresenceReport,
    RegisterReport,
    RelayReport,
)
from protocols.reading import DailyFreeze, Quantity, RelayState
from storage.archive import SiteMeter
from storage.supply import Command

T = TypeVar("T")
log = structlog.get_logger("gateway")
wire = structlog.get_logger("wire")

MOST_ASKED = 8
"""So many questions are under way at once: a gateway asks its meters one after the other."""
HEARING_CHECK_S = 60.0
"""So often a refused subscription is asked for again, and our own message is sent through those
that work."""
CLOCKS_AGREE = timedelta(seconds=60)
"""A device's time that is further from ours proves nothing: its message was kept on the way, or its
clock is wrong."""
FAREWELL_S = 1.0
"""So long a broker that hangs can keep us from ending."""
MOST_COMPLAINTS = 1000
"""Topics whose messages were not understood are told once each, and so many of them at most."""


class BrokerLine(Line):
    """The task of one gateway and what it knows.

    `devices`: what the family calls each meter, by address; a meter that is left out is called by
    its address. `relays`: addresses of the meters whose relay may be moved and asked for; None: all
    of them."""

    def __init__(
        self,
        name: str,
        meters: Sequence[SiteMeter],
        *,
        broker: Broker,
        family: Family,
        devices: Mapping[str, str],
        reply_timeout_s: float,
        pace: Pace,
        backfill_days: int,
        trace: bool,
        pool: AsyncConnectionPool[Any],
        authority: Authority,
        hand_on: Callable[[Arrival], Awaitable[None]],
        relays: Collection[str] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        super().__init__(
            name,
            meters,
            has_memory=[family.read_freeze is not None] * len(meters),
            longest_wait_s=reply_timeout_s,
            pace=pace,
            backfill_days=backfill_days,
            pool=pool,
            authority=authority,
            now=now,
        )
        self._relays = None if relays is None else frozenset(relays)
        will = family.presence(is_online=False)
        self._broker = replace(broker, will=(will.topic, will.payload)) if will else broker
        self._family, self._reply_timeout_s, self._trace = family, reply_timeout_s, trace
        self._hand_on, self._backfill_days = hand_on, backfill_days
        self._device = [devices.get(meter.address, meter.address) for meter in self.meters]
        self._number_of_device = {device: number for number, device in enumerate(self._device)}
        self._frozen_by_us: dict[int, datetime] = {}
        self._unstored: dict[tuple[int, date], list[tuple[MqttConnection, Message]]] = {}
        """By (meter id, day), from the moment a value is handed on until it is stored: who waits
        for it."""
        self._expected: dict[
            str | None, tuple[str | None, tuple[type, ...], asyncio.Future[Event]]
        ] = {}
        """By token: the device that was asked (None: ourselves), what it may answer, who waits for
        it."""
        self._refused_topics: list[str] = []
        self._check_hearing_at = 0.0
        self._heard = 0
        self._is_online = True
        self._away: set[str] = set()
        self._complained: set[str] = set()
        self.longest_step_s = 8 * reply_timeout_s
        """Longer between two signs of life, and it is stuck."""

    def stored(self, meter_id: int, day: date) -> None:
        """A slot has a value in the database: the broker may forget the messages that brought
        it."""
        super().stored(meter_id, day)
        for connection, message in self._unstored.pop((meter_id, day), ()):
            connection.acknowledge(message)

    def rebuild(self, present: Mapping[int, int], newest: date) -> None:
        """See Line. What waits for its acknowledgement and is stored, is acknowledged."""
        super().rebuild(present, newest)
        for meter, day in list(self._unstored):
            age = (newest - day).days
            if age >= 0 and present.get(meter, 0) >> age & 1:
                self.stored(meter, day)

    async def _session(self) -> None:
        async with self._new_connection() as connection:
            for waiting in self._unstored.values():
                waiting.clear()  # the broker sends them again
            self._check_hearing_at = 0.0
            self._refused_topics = await self._subscribe(connection, self._family.subscriptions)
            self._patience.unblock()
            await self._talk(connection)

    def _new_connection(self) -> MqttConnection:
        may_control = not self._authority.shadow_mode
        return MqttConnection(
            self._broker, is_control=self._family.is_control, may_control=may_control
        )

    async def _talk(self, connection: MqttConnection) -> None:
        """Listen and ask until the connection is lost; what we tell of ourselves goes out at both
        ends.

        No task group: it lets an error go before a cancellation that comes in the same moment."""
        await self._tell_presence(connection, is_online=True)
        tasks = [
            asyncio.create_task(it) for it in (self._listen(connection), self._work(connection))
        ]
        try:
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            with suppress(LineDown, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._tell_presence(connection, is_online=False)
            raise
        errors = [it for it in ended if isinstance(it, Exception)]
        raise next((it for it in errors if not isinstance(it, LineDown)), errors[0])

    async def _tell_presence(self, connection: MqttConnection, *, is_online: bool) -> None:
        if (told := self._family.presence(is_online=is_online)) is not None:
            try:
                await connection.publish(told.topic, told.payload, retain=True)
            except PublishRefused as error:
                log.warning("presence not told", line=self.name, error=str(error))

    async def _work(self, connection: MqttConnection) -> None:
        while True:
            self._beat()
            self._wanted.roll(self._today())
            self._count_missed_midnights()
            await self._check_hearing(connection)
            done = (
                await self._orders.serve(partial(self._obey, connection))
                or await self._freeze_at_midnight(connection)
                or await self._answer_some(connection)
                or await self._collect(connection)
            )
            if not done:
                await self._idle()

    async def _idle(self) -> None:
        """Nothing to do: until a command comes, a slot becomes ready, or to show that the gateway's
        task is alive."""
        self._woken.clear()
        if not self._is_urgent():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._idle_for_s()):
                    await self._woken.wait()

    # --- hearing
    # --------------------------------------------------------------------------------------------------

    async def _subscribe(self, connection: MqttConnection, topics: Iterable[str]) -> list[str]:
        """One by one, each with the broker's word; returns those that were refused."""
        refused = []
        for topic in topics:
            self._beat()
            try:
                granted = await connection.subscribe(topic)
            except SubscriptionRefused as error:
                refused.append(topic)
                metrics.REPLIES.labels(self.name, "subscription_refused").inc()
                log.error(
                    "subscription refused",
                    line=self.name,
                    topic=topic,
                    error=str(error),
                )
                continue
            if granted == 0:
                log.warning("subscription without delivery promise", line=self.name, topic=topic)
        return refused

    async def _check_hearing(self, connection: MqttConnection) -> None:
        """Ask again for what was refused, and send ourselves a message: a subscription may be lost
        without a word."""
        if time.monotonic() < self._check_hearing_at:
            return
        self._check_hearing_at = time.monotonic() + HEARING_CHECK_S
        self._refused_topics = await self._subscribe(connection, self._refused_topics)
        if self._family.echo is not None and not self._refused_topics:
            heard = self._heard
            try:
                await self._ask(
                    connection,
                    None,
                    self._family.echo(_new_token()),
                    "its own message",
                    Echoed,
                )
            except PublishRefused as error:
                log.warning("self-test refused", line=self.name, error=str(error))
            except NoReply:
                if self._heard == heard:
                    raise LineDown(
                        f"{self._broker.name}: our own message did not come back"
                    ) from None
        self._is_up(not self._refused_topics)

    async def _listen(self, connection: MqttConnection) -> None:
        while True:
            message = await connection.receive()
            self._heard += 1
            if self._trace:
                wire.info(
                    "wire",
                    line=self.name,
                    direction="rx",
                    topic=message.topic,
                    payload=message.payload,
                )
            await self._take(connection, message)

    async def _take(self, connection: MqttConnection, message: Message) -> None:
        """Hand on what a message tells. It is acknowledged at once unless a reading of it must be
        stored first."""
        try:
            events = self._family.events(message.topic, message.payload)
        except FrameError as error:
            metrics.REPLIES.labels(self.name, "bad_frame").inc()
            self._complain(message.topic, "message not understood", str(error))
            events = []
        waits_for_database = False
        for event in events:
            match event:
                case FreezeReport():
                    waits_for_database |= await self._take_freeze(event, connection, message)
                case RegisterReport() if event.token is None and not message.retained:
                    waits_for_database |= await self._take_registers(event, connection, message)
                case PresenceReport():
                    self._take_presence(event)
                case _:
                    pass
            self._fulfil(event)
        if not waits_for_database:
            connection.acknowledge(message)

    def _fulfil(self, event: Event) -> None:
        """One message may tell more than was asked for, all of it with the token of the
        question."""
        if isinstance(event, PresenceReport) or event.token not in self._expected:
            return
        device, kinds, expected = self._expected[event.token]
        if not isinstance(event, Echoed) and event.device != device:
            metrics.REPLIES.labels(self.name, "foreign").inc()
            self._complain(
                f"answer {event.device}",
                "another device answered",
                f"{event.device} instead of {device}",
            )
        elif isinstance(event, (*kinds, Answered)) and not expected.done():
            expected.set_result(event)

    async def _take_freeze(
        self, told: FreezeReport, connection: MqttConnection, message: Message
    ) -> bool:
        """Hand a freeze on; True if the message must wait until it is stored."""
        number = self._known(told.device, message.topic)
        if number is None or told.registers[0] is None:
            return False
        meter, day, today = (
            self.meters[number],
            freeze_day(told.frozen_at),
            self._local_now().date(),
        )
        stamped, first = told.frozen_at.date(), first_day(self._today(), self._backfill_days)
        if not first <= stamped <= today:
            metrics.REPLIES.labels(self.name, "wrong_date").inc()
            what = f"stamped {told.frozen_at}, days from {first} to {today} are taken"
            self._complain(
                f"date {meter.address}", "freeze of a wrong date", f"{meter.address}: {what}"
            )
            return False
        if day is not None and (
            day < meter.installed_on
            or (message.retained and not self._wanted.is_wanted(number, day))
        ):
            return False
        if day is not None:
            self._unstored.setdefault((meter.meter_id, day), [])
        is_fresh = stamped >= today and not message.retained
        skew = told.clock_skew
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=told.frozen_at,
            registers=_cut_off(told.registers, meter.decimals),
            arrived_at=self._now(),
            clock_skew=skew
            if skew is not None and (is_fresh or abs(skew) > UNTRUSTED_DATES)
            else None,
        )
        metrics.REPLIES.labels(self.name, "ok").inc()
        await self._hand_on(Arrival(meter, freeze))
        if day is None:
            return False
        self._wanted.take(number, day)
        return self._keep_until_stored(meter, day, connection, message)

    async def _take_registers(
        self, told: RegisterReport, connection: MqttConnection, message: Message
    ) -> bool:
        """What a device without memory pushes just after midnight is as good as what it would be
        asked for.

        A message may have been kept on its way, so the device must tell the time itself and agree
        with our clock. True if the message must wait until its value is stored."""
        number = self._number_of_device.get(told.device)
        if number is None or self._family.read_freeze is not None or told.device_time is None:
            return False
        now, told_at = self._night_time(), self._site_time(told.device_time)
        midnight = nearest_midnight(told_at)
        if told_at < midnight or not await self._freeze_here(number, told.registers, told_at, now):
            return False
        return self._keep_until_stored(self.meters[number], midnight.date(), connection, message)

    def _keep_until_stored(
        self,
        meter: SiteMeter,
        day: date,
        connection: MqttConnection,
        message: Message,
    ) -> bool:
        """False if the value of the slot is in the database already."""
        waiting = self._unstored.get((meter.meter_id, day))
        if waiting is not None:
            waiting.append((connection, message))
        return waiting is not None

    def _take_presence(self, told: PresenceReport) -> None:
        if told.device is None:
            if told.is_online != self._is_online:
                (log.info if told.is_online else log.warning)(
                    "gateway presence", line=self.name, online=told.is_online
                )
            self._is_online = told.is_online
        elif told.is_online:
            self._away.discard(told.device)
        elif told.device in self._number_of_device:
            self._away.add(told.device)
        if told.is_online:
            self._patience.unblock()
            self._woken.set()

    def _known(self, device: str, topic: str) -> int | None:
        number = self._number_of_device.get(device)
        if number is None:
            metrics.REPLIES.labels(self.name, "foreign").inc()
            self._complain(topic + device, "meter is not in the archive", device)
        return number

    def _complain(self, about: str, what: str, error: str) -> None:
        if about not in self._complained and len(self._complained) < MOST_COMPLAINTS:
            self._complained.add(about)
            log.warning(what, line=self.name, error=error)

    # --- asking
    # ---------------------------------------------------------------------------------------------------

    async def _ask(
        self,
        connection: MqttConnection,
        device: str | None,
        outgoing: Outgoing,
        what: str,
        *kinds: type,
    ) -> Event:
        """Send a question or command and wait for an event of these kinds, or an Answered, with its
        token and device.

        NoReply when there is none in time."""
        expected: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._expected[outgoing.token] = device, kinds, expected
        try:
            if self._trace:
                wire.info(
                    "wire",
                    line=self.name,
                    direction="tx",
                    topic=outgoing.topic,
                    payload=outgoing.payload,
                )
            lifetime_s = max(1, round(self._reply_timeout_s))
            await connection.publish(
                outgoing.topic,
                outgoing.payload,
                qos=outgoing.qos,
                expires_s=lifetime_s,
            )
            async with asyncio.timeout(self._reply_timeout_s):
                return await expected
        except TimeoutError:
            metrics.REPLIES.labels(self.name, "no_reply").inc()
            raise NoReply(
                f"{self.name} did not answer {what} within {self._reply_timeout_s:.1f} s"
            ) from None
        finally:
            del self._expected[outgoing.token]

    async def _collect(self, connection: MqttConnection) -> bool:
        """Ask for some slots at once; False when none is wanted now, or nobody is there to be
        asked."""
        now = time.monotonic()
        patience, jobs = self._patience, list[tuple[int, date]]()
        if self._is_online:
            most = 1 if patience.line_is_silent else MOST_ASKED
            jobs = self._wanted.jobs(
                *(now, patience.ready(now), most),
                doubtful=patience.doubtful(),
                in_turn=patience.line_is_silent,
            )
        await _together(self._read_slot(connection, *job) for job in jobs)
        return bool(jobs)

    async def _read_slot(self, connection: MqttConnection, number: int, day: date) -> None:
        """The answer is handed on where every freeze is; here is decided when to ask again."""
        assert self._family.read_freeze is not None, "a meter without memory was asked for its past"
        meter, device = self.meters[number], self._device[number]
        now, longest_s = time.monotonic(), self._pace.retry_s
        first_s = min(FIRST_MISSING_S, longest_s)
        question = self._family.read_freeze(device, day, _new_token(), self._expiry())
        what = f"for the freeze of {meter.address} of {day}"
        try:
            told = await self._ask(
                connection,
                device,
                question,
                what,
                FreezeReport,
            )
        except (NoReply, PublishRefused) as error:
            told = Answered(device, question.token, "no_reply", str(error))
        if isinstance(told, Answered) and told.outcome == "no_reply":
            self._was_silent(number, told.reason)
            return
        self._was_heard(number)
        if (
            isinstance(told, FreezeReport)
            and freeze_day(told.frozen_at) == day
            and told.registers[0] is not None
        ):
            return
        self._wanted.not_there(
            number,
            day,
            now,
            first_s=first_s,
            longest_s=longest_s,
        )
        if isinstance(told, Answered) and told.outcome != "no_data":
            log.warning(
                "freeze not read",
                meter=meter.address,
                line=self.name,
                day=day,
                error=told.reason,
            )

    async def _freeze_at_midnight(self, connection: MqttConnection) -> bool:
        """Read some meters that keep no freezes at the moment of their freeze; True if others may
        be left to read."""
        if self._family.read_registers is None:
            return False
        seen: set[int] = set()
        jobs: list[int] = []
        now = self._night_time()
        while len(jobs) < MOST_ASKED and (due := self._midnights.next(now)) and due[0] not in seen:
            seen.add(due[0])
            if self._device[due[0]] not in self._away:
                jobs.append(due[0])
        return any(await _together(self._read_registers(connection, number) for number in jobs))

    async def _read_registers(self, connection: MqttConnection, number: int) -> bool:
        """False if the device has nothing to tell: it is not asked again at once."""
        assert self._family.read_registers is not None, "asked for registers that cannot be read"
        meter, device = self.meters[number], self._device[number]
        question = self._family.read_registers(device, _new_token(), self._expiry())
        what = f"for the registers of {meter.address}"
        try:
            told = await self._ask(
                connection,
                device,
                question,
                what,
                RegisterReport,
            )
        except (NoReply, PublishRefused) as error:
            log.warning(
                "not read at midnight",
                meter=meter.address,
                line=self.name,
                error=str(error),
            )
            return isinstance(error, NoReply)
        if not isinstance(told, RegisterReport):
            return False
        # A wall clock may be of another zone and matters little in an answer; an instant says how
        # old the value is.
        told_at = now = self._night_time()
        if told.device_time is not None and told.device_time.tzinfo is not None:
            told_at = self._site_time(told.device_time)
        return await self._freeze_here(number, told.registers, told_at, now)

    async def _freeze_here(
        self,
        number: int,
        registers: Sequence[Decimal | None],
        told_at: datetime,
        now: datetime,
    ) -> bool:
        """The registers as the freeze of the midnight next to the device's time; the worse of both
        distances is kept.

        False if they are none, True if that midnight has one now. Both times are the site's wall
        clock."""
        meter, midnight = self.meters[number], nearest_midnight(told_at)
        offset = max(told_at - midnight, now - midnight, key=abs)
        if (
            registers[0] is None
            or abs(now - told_at) > CLOCKS_AGREE
            or abs(offset) > HOST_FREEZE_LIMIT
        ):
            return False
        if midnight.date() < meter.installed_on:
            return False
        if self._frozen_by_us.get(number) == midnight:
            return True
        self._frozen_by_us[number] = midnight
        self._unstored.setdefault((meter.meter_id, midnight.date()), [])
        freeze = DailyFreeze(
            address=meter.address,
            quantity=Quantity.FORWARD_ACTIVE_ENERGY,
            frozen_at=midnight,
            registers=_cut_off(registers, meter.decimals),
            arrived_at=self._now(),
            host_offset=offset,
        )
        try:
            await self._hand_on(Arrival(meter, freeze))
        except BaseException:
            del self._frozen_by_us[number], self._unstored[meter.meter_id, midnight.date()]
            raise
        self._midnights.done(number, midnight)
        return True

    # --- what somebody asks
    # -------------------------------------------------------------------------------------------

    async def _answer_some(self, connection: MqttConnection) -> bool:
        """Read what is asked for first, some at once; False when nothing is."""
        questions: list[ReadRequest] = []
        while (
            len(questions) < MOST_ASKED
            and (question := self._questions.next(time.monotonic())) is not None
        ):
            questions.append(question)
        await _together(self._answer_one(connection, question) for question in questions)
        return bool(questions)

    async def _answer_one(self, connection: MqttConnection, question: ReadRequest) -> None:
        number = self._number[question.meter_id]
        told = ReadResult("line_down", reason="the gateway was left while it was asked")
        try:
            told = await self._read_for(connection, number, question)
        except NoReply as error:
            self._was_silent(number, str(error))
            told = ReadResult("silent", reason=str(error))
        except PublishRefused as error:
            told = ReadResult("refused", reason=str(error))
        except LineDown as error:
            told = ReadResult("line_down", reason=str(error))
            raise
        finally:
            question.settle(told)

    async def _read_for(
        self, connection: MqttConnection, number: int, question: ReadRequest
    ) -> ReadResult:
        family, device, meter = self._family, self._device[number], self.meters[number]
        what = f"for the {question.what} of {meter.address}"
        outgoing: Outgoing | None = None
        kind: type[Event] = RegisterReport
        match question.what:
            case "freeze" if family.read_freeze is not None:
                assert question.day is not None, "a freeze is of a day"
                outgoing, kind = (
                    family.read_freeze(device, question.day, _new_token(), self._expiry()),
                    FreezeReport,
                )
            case "registers" if family.read_registers is not None:
                outgoing = family.read_registers(device, _new_token(), self._expiry())
            case "relay" if family.read_relay is not None and self._has_relay(meter.address):
                outgoing, kind = (
                    family.read_relay(device, _new_token(), self._expiry()),
                    RelayReport,
                )
        if outgoing is None:
            return ReadResult("unsupported", reason=f"no {question.what} can be asked for here")
        told = await self._ask(
            connection,
            device,
            outgoing,
            what,
            kind,
        )
        if isinstance(told, Answered):
            outcomes: dict[str, Outcome] = {
                "no_reply": "silent",
                "no_data": "no_data",
                "refused": "refused",
                "expired": "expired",
            }
            return ReadResult(outcomes.get(told.outcome, "unreadable"), reason=told.reason)
        self._was_heard(number)
        if isinstance(told, RelayReport):
            return ReadResult("ok", _relay_state(told))
        assert isinstance(told, FreezeReport | RegisterReport)
        if told.registers[0] is None or (
            isinstance(told, FreezeReport) and freeze_day(told.frozen_at) != question.day
        ):
            return ReadResult("no_data", reason="the gateway has no value of that day")
        return ReadResult("ok", _cut_off(told.registers, meter.decimals))

    # --- supply
    # ---------------------------------------------------------------------------------------------------

    async def _obey(self, connection: MqttConnection, order: CommandStep) -> None:
        number = self._number.get(order.command.meter_id)
        if number is None:
            await self._orders.disown(order)
        elif order.kind == "send":
            await self._send(connection, self._device[number], order.command)
        else:
            await self._verify(connection, self._device[number], order.command)

    def _has_relay(self, address: str) -> bool:
        return self._relays is None or address in self._relays

    async def _send(self, connection: MqttConnection, device: str, command: Command) -> None:
        """Send one command, once. What the meter makes of it is found out by reading its relay."""
        orders, now = self._orders, self._now()
        if not self._has_relay(command.address):
            await orders.answered(
                command, "refused", "the archive says that the meter has no relay"
            )
            return
        if self._family.control is None or self._family.read_relay is None:
            await orders.answered(
                command, "refused", "there is no relay that can be controlled and read back"
            )
            return
        reason = self._why_not(device, command, now)
        if command.action == "trip" and reason:
            await orders.abandon(command, reason)
            return
        if not await orders.is_still_released(command):
            return
        expires = now + min(TRIP_EXPIRY, max(command.expires_at - now, timedelta(minutes=1)))
        # The gateway does an id once. A command that is sent again after its relay was seen is a
        # new one to it.
        send_id = uuid5(command.id, str(command.sends))
        outgoing = self._family.control(
            device,
            command.action,  # type: ignore[arg-type]
            send_id,
            _new_token(),
            expires,
        )
        try:
            told = await self._ask(
                connection,
                device,
                outgoing,
                f"{command.action} of {command.address}",
                RelayReport,
            )
        except NoReply as error:
            await orders.answered(command, "unknown", str(error))
        except PublishRefused as error:
            if command.action == "trip":
                await orders.abandon(command, str(error))
            else:
                await orders.answered(command, "unknown", str(error))
        except LineDown as error:
            await orders.answered(command, "unknown", str(error))
            raise
        else:
            await orders.answered(command, *_answer_to_command(told))

    def _why_not(self, device: str, command: Command, now: datetime) -> str:
        """Why a trip may not be sent now: it could be done by somebody, some day, without our
        knowledge."""
        if not self._is_online or device in self._away:
            return "the gateway or the device is offline"
        return "expired before it could be sent" if now >= command.expires_at else ""

    async def _verify(self, connection: MqttConnection, device: str, command: Command) -> None:
        relay = None
        if self._family.read_relay is not None and self._has_relay(command.address):
            question = self._family.read_relay(device, _new_token(), self._expiry())
            what = f"for the relay of {command.address}"
            try:
                told = await self._ask(
                    connection,
                    device,
                    question,
                    what,
                    RelayReport,
                )
            except (NoReply, PublishRefused) as error:
                log.warning(
                    "relay not read",
                    meter=command.address,
                    line=self.name,
                    error=str(error),
                )
            else:
                relay = _relay_state(told) if isinstance(told, RelayReport) else None
        await self._orders.observed(command, relay)

    # --- time and life
    # --------------------------------------------------------------------------------------------

    def _expiry(self) -> datetime:
        return self._now() + timedelta(seconds=self._reply_timeout_s)

    def _site_time(self, at: datetime) -> datetime:
        """As the site's wall clock, counted from the nearest midnight; a time without zone is of
        the site."""
        return at if at.tzinfo is None else near_midnight(at, self._authority.zone)


async def _together(asking: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them return. The first that fails ends the others: whoever waits on for a
    connection that is lost would count the silence of a meter that may be well."""
    tasks = [asyncio.ensure_future(it) for it in asking]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _answer_to_command(told: Event) -> tuple[str, str]:
    """State and detail of a command after the gateway spoke. Accepted does not mean that the relay
    moved."""
    match told:
        case Answered(outcome="accepted" | "ok") | RelayReport():
            return "acked", "accepted by the gateway"
        case Answered(outcome="refused" | "expired" | "no_data"):
            return "refused", f"{told.outcome}: {told.reason}"
    return "unknown", told.reason if isinstance(told, Answered) else "answered something else"


def _relay_state(told: RelayReport) -> RelayState:
    """A device that does not know what it was told, was told what it shows."""
    return RelayState(
        told.is_open,
        told.is_open if told.command_open is None else told.command_open,
        told.keep_power,
    )


def _cut_off(registers: Iterable[Decimal | None], decimals: int) -> tuple[Decimal | None, ...]:
    """As a display shows them: digits beyond those of the register are cut off, never rounded
    up."""
    step = Decimal(1).scaleb(-decimals)
    return tuple(None if it is None else it.quantize(step, ROUND_DOWN) for it in registers)


def _new_token() -> str:
    return uuid4().hex
