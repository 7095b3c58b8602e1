"""A line behind a broker: the task that owns the connection to one gateway.

Readings are pushed; gaps are requested, and so are relays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

import structlog

from daemon import metrics
from daemon.acquisition.broker.complaints import Complaints
from daemon.acquisition.broker.delivery import Delivery
from daemon.acquisition.broker.meter import BrokerMeter, cut_off
from daemon.acquisition.broker.presence import Presence
from daemon.acquisition.broker.requests import BrokerRequests
from daemon.acquisition.broker.subscriptions import Subscriptions
from daemon.acquisition.first_looks import look_at_one
from daemon.acquisition.host_freezes import submit_host_freeze
from daemon.acquisition.identification import identify_one
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.line import Line
from daemon.acquisition.meter_port import MeterPorts, Urgency
from daemon.acquisition.parts import LineParts
from daemon.acquisition.planning.midnight import nearest_midnight
from daemon.acquisition.planning.wanted import first_day
from daemon.acquisition.relay_looks import look_at_due_relay
from daemon.acquisition.rereading import reread_one
from daemon.acquisition.rounds import begin_round, do_urgent, idle_for_s, is_urgent
from daemon.acquisition.slots import read_slot, wanted_slots
from daemon.quality.arrival import Teller
from daemon.quality.freeze import freeze_day, is_in_service, skew_at_freeze
from daemon.runtime.supervision import together
from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import Message, MqttConnection, PublishRefused
from protocols.errors import FrameError, LineDown
from protocols.mqtt.events import Event, Family, FreezeReport, PresenceReport, RegisterReport
from protocols.peer import Peer
from storage.archive import SiteMeter

log = structlog.get_logger("gateway")

MAX_ASKED = 8
"""Maximum number of requests under way at once: a gateway reads its meters one after the other."""
REQUESTS_OF_A_STEP = 8
"""Between two signs of life no more requests than these are waited for one after the other."""
FAREWELL_S = 1.0
"""Maximum time that a broker that hangs keeps us from ending."""


@dataclass(frozen=True, slots=True)
class BrokerParts:
    """What a line behind a broker is built of besides `LineParts`."""

    broker: Broker
    family: Family
    devices: Mapping[str, str]
    """What the family calls each meter, by address; one that is left out is called by its
    address."""
    reply_timeout_s: float
    relays: Collection[str] | None = None
    """Addresses of the meters whose relay may be moved and read; None: all of them."""


class BrokerLine(Line):
    """The task of one gateway and what it knows."""

    def __init__(self, common: LineParts, parts: BrokerParts) -> None:
        family = parts.family
        self._delivery = Delivery(common.sink)
        jobs = Jobs(
            replace(common, sink=self._delivery),
            has_memory=[family.read_freeze is not None] * len(common.meters),
            longest_wait_s=parts.reply_timeout_s,
            at_once=MAX_ASKED,
        )
        super().__init__(jobs, longest_step_s=REQUESTS_OF_A_STEP * parts.reply_timeout_s)
        metrics.born(metrics.REPLIES, [self.name], metrics.GATEWAY_OUTCOMES)
        self._family = family
        self._relays = None if parts.relays is None else frozenset(parts.relays)
        will = family.presence(is_online=False)
        self._broker = parts.broker
        if will is not None:
            self._broker = replace(parts.broker, will=(will.topic, will.payload))
        self._device = [parts.devices.get(meter.address, meter.address) for meter in common.meters]
        """By number."""
        self._number_of_device = {device: number for number, device in enumerate(self._device)}
        self._complaints = Complaints(self.name)
        self._presence = Presence(self.name)
        self._requests = BrokerRequests(
            self.name,
            reply_timeout_s=parts.reply_timeout_s,
            is_traced=common.is_traced,
            complaints=self._complaints,
        )
        self._subscriptions = Subscriptions(
            self.name,
            self._broker.name,
            family,
            self._requests,
            jobs.beat,
        )

    def stored(self, meter_id: int, day: date) -> None:
        """See Line. The broker may forget the messages that brought the value."""
        super().stored(meter_id, day)
        self._delivery.safe((meter_id, day))

    def kept(self, meter_id: int, day: date) -> None:
        """See Line. The broker may forget the messages that brought the value."""
        self._delivery.safe((meter_id, day))

    def rebuild(self, present: Mapping[int, int], newest: date) -> None:
        """See Line. What waits for its acknowledgement and is stored, is acknowledged."""
        super().rebuild(present, newest)
        self._delivery.rebuild(present, newest)

    async def _session(self) -> None:
        async with self._new_connection() as connection:
            # The broker sends again what the last connection did not acknowledge.
            self._delivery.forget_messages()
            self._jobs.told_by = Teller(self.name, Peer(self._broker.name))
            await self._subscriptions.open(connection)
            self._jobs.reply_timeouts.unblock()
            await self._listen_and_work(connection)

    def _why_it_flaps(self) -> str:
        """See Line."""
        name = self._broker.client_id
        return f'the broker throws us out again: is the client id "{name}" used twice?'

    def _new_connection(self) -> MqttConnection:
        return MqttConnection(
            self._broker,
            is_control=self._family.is_control,
            may_control=self._jobs.parts.may_control,
        )

    async def _listen_and_work(self, connection: MqttConnection) -> None:
        """Until the connection is lost; our own presence is published at both ends.

        No task group: it lets an error go before a cancellation that comes in the same moment.
        """
        await self._publish_presence(connection, is_online=True)
        tasks = [
            asyncio.create_task(self._listen(connection)),
            asyncio.create_task(self._work(connection)),
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
                    await self._publish_presence(connection, is_online=False)
            raise
        errors = [error for error in ended if isinstance(error, Exception)]
        # A mistake of ours must not hide behind the loss of the connection that it caused.
        mistakes = [error for error in errors if not isinstance(error, LineDown)]
        raise (mistakes or errors)[0]

    async def _publish_presence(self, connection: MqttConnection, *, is_online: bool) -> None:
        presence = self._family.presence(is_online=is_online)
        if presence is None:
            return
        try:
            await connection.publish(presence.topic, presence.payload, retain=True)
        except PublishRefused as error:
            log.warning(
                "presence not told",
                line=self.name,
                error=str(error),
            )

    async def _work(self, connection: MqttConnection) -> None:
        ports = partial(self._meter, connection)
        while True:
            begin_round(self._jobs)
            self._is_up(await self._subscriptions.check(connection))
            is_done = (
                await do_urgent(self._jobs, ports)
                or await self._if_online(look_at_one, ports)
                or await self._if_online(reread_one, ports)
                or await self._if_online(look_at_due_relay, ports)
                or await self._collect(connection)
                or await self._if_online(identify_one, ports)
            )
            if not is_done:
                await self._idle()

    async def _idle(self) -> None:
        """Wait until a command comes, a slot becomes ready, or a sign of life is due."""
        self._woken.clear()
        if is_urgent(self._jobs):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(idle_for_s(self._jobs)):
                await self._woken.wait()

    async def _collect(self, connection: MqttConnection) -> bool:
        """Read some slots at once; False when none is wanted now, or the gateway is away."""
        if not self._presence.is_online:
            return False
        is_silent = self._jobs.reply_timeouts.line_is_silent
        slots = wanted_slots(self._jobs, 1 if is_silent else MAX_ASKED)
        reads = []
        for number, day in slots:
            meter = self._meter(connection, number, Urgency.SLOT)
            reads.append(read_slot(self._jobs, number, day, meter))
        await together(reads)
        return bool(slots)

    async def _if_online(
        self, do_one: Callable[[Jobs, MeterPorts], Awaitable[bool]], ports: MeterPorts
    ) -> bool:
        return self._presence.is_online and await do_one(self._jobs, ports)

    def _meter(
        self,
        connection: MqttConnection,
        number: int,
        _: Urgency,
    ) -> BrokerMeter:
        """The port of a meter. None gives way: a gateway takes several requests at a time."""
        meter = self.meters[number]
        return BrokerMeter(
            meter=meter,
            device=self._device[number],
            connection=connection,
            family=self._family,
            requests=self._requests,
            presence=self._presence,
            clock=self._jobs.parts.clock,
            has_relay=self._relays is None or meter.address in self._relays,
        )

    # --- what comes

    async def _listen(self, connection: MqttConnection) -> None:
        # One after the other: the order of a gateway's messages is kept.
        while True:
            message = await connection.receive()
            self._subscriptions.received += 1
            self._requests.show("rx", message.topic, message.payload)
            await self._handle(message, partial(connection.acknowledge, message))

    async def _handle(self, message: Message, acknowledge: Callable[[], None]) -> None:
        """Handle one message.

        It is acknowledged at once unless a reading of it must be stored first."""
        try:
            events = self._family.events(message.topic, message.payload)
        except FrameError as error:
            metrics.REPLIES.labels(self.name, "bad_frame").inc()
            self._complaints.complain(message.topic, "message not understood", str(error))
            events = []
        waits_for_database = False
        for event in events:
            waits_for_database |= await self._handle_event(event, message, acknowledge)
            self._requests.fulfil(event)
        if not waits_for_database:
            acknowledge()

    async def _handle_event(
        self,
        event: Event,
        message: Message,
        acknowledge: Callable[[], None],
    ) -> bool:
        """True if the message must wait until a value is stored."""
        match event:
            case FreezeReport():
                return await self._handle_freeze(event, message, acknowledge)
            case RegisterReport() if event.token is None and not message.retained:
                return await self._handle_registers(event, acknowledge)
            case PresenceReport():
                self._handle_presence(event)
        return False

    async def _handle_freeze(
        self,
        report: FreezeReport,
        message: Message,
        acknowledge: Callable[[], None],
    ) -> bool:
        """Submit a freeze; True if the message must wait until it is stored."""
        number = self._known(report.device, message.topic)
        if number is None or report.registers[0] is None:
            return False
        meter = self.meters[number]
        day = freeze_day(report.frozen_at)
        if not self._is_date_possible(meter, report.frozen_at):
            return False
        if day is not None and not self._is_news(number, day, is_old=message.retained):
            return False
        metrics.REPLIES.labels(self.name, "ok").inc()
        await self._jobs.submit_freeze(
            number,
            report.frozen_at,
            cut_off(report.registers, meter.decimals),
            self._skew_of(report, is_old=message.retained),
            report.serial,
        )
        if day is None:
            return False
        slot = (meter.meter_id, day)
        return self._delivery.keep(slot, acknowledge)

    def _is_news(
        self,
        number: int,
        day: date,
        *,
        is_old: bool,
    ) -> bool:
        """False for a freeze before installation, and for a retained one that fills no gap."""
        if not is_in_service(day, self.meters[number].installed_on):
            return False
        return not is_old or self._jobs.wanted.is_wanted(number, day)

    def _skew_of(self, report: FreezeReport, *, is_old: bool) -> timedelta | None:
        """The skew of the clock that stamped this freeze, where that is known."""
        # A retained message may have been sent, and the clock read, on any day.
        measured_on = None if is_old else self._jobs.parts.clock.local_now().date()
        return skew_at_freeze(report.clock_skew, report.frozen_at.date(), measured_on)

    def _is_date_possible(self, meter: SiteMeter, frozen_at: datetime) -> bool:
        """True for a stamp within the days that are owed; another one is a wrong clock."""
        parts = self._jobs.parts
        first = first_day(parts.clock.due_day(), parts.backfill_days)
        today = parts.clock.local_now().date()
        if first <= frozen_at.date() <= today:
            return True
        metrics.REPLIES.labels(self.name, "wrong_date").inc()
        self._complaints.complain(
            f"date {meter.address}",
            "freeze of a wrong date",
            f"{meter.address}: stamped {frozen_at}, days from {first} to {today} are taken",
        )
        return False

    async def _handle_registers(
        self, report: RegisterReport, acknowledge: Callable[[], None]
    ) -> bool:
        """What a device without memory pushes just after midnight is as good as a read of it.

        A message may have been kept on its way, so it must hold the device's own time, and that
        agree with our clock. True if the message must wait until its value is stored.
        """
        number = self._number_of_device.get(report.device)
        device_time = report.device_time
        if number is None or self._family.read_freeze is not None or device_time is None:
            return False
        meter = self.meters[number]
        clock = self._jobs.parts.clock
        now = clock.night_time()
        local_time = clock.as_local(device_time)
        midnight = nearest_midnight(local_time)
        registers = cut_off(report.registers, meter.decimals)
        # What was pushed before midnight is of the day before: it goes on growing until then.
        if local_time < midnight:
            return False
        is_frozen = await submit_host_freeze(
            self._jobs,
            number,
            registers,
            local_time,
            now,
        )
        if not is_frozen:
            return False
        slot = (meter.meter_id, midnight.date())
        return self._delivery.keep(slot, acknowledge)

    def _handle_presence(self, report: PresenceReport) -> None:
        if report.device is None:
            self._presence.note_gateway(is_online=report.is_online)
        elif report.device in self._number_of_device:
            self._presence.note_device(report.device, is_online=report.is_online)
        # What paused because of silence is read at once.
        if report.is_online:
            self._jobs.reply_timeouts.unblock()
            self._woken.set()

    def _known(self, device: str, topic: str) -> int | None:
        number = self._number_of_device.get(device)
        if number is None:
            metrics.REPLIES.labels(self.name, "foreign").inc()
            self._complaints.complain(topic + device, "meter is not in the archive", device)
        return number
