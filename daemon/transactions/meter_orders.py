"""What is set in meters beside their relays: which orders there are to be, and those of one line.

They never keep a supply command waiting: while one of a meter is open, its orders wait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import structlog
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from daemon.control.authority import Authority
from daemon.control.meter_orders import (
    GIVE_UP_AFTER,
    Next,
    after_answer,
    after_look,
    before_send,
    put_off,
)
from daemon.control.observation import Answer
from daemon.control.restoration import is_locked_off
from daemon.control.sources import FarEnd
from daemon.transactions.breaker import stop_trips
from daemon.transactions.line_steps import LineSteps
from daemon.transactions.release import may_send
from protocols.reading import RelayState
from storage import breakers, meter_orders, supply
from storage.meter_orders import MeterOrder, OrderMove
from storage.supply import DatabaseClock

log = structlog.get_logger("control")
LOOKED_AT_TOGETHER: Final = 2000
"""Accounts, and meters that warn: the next ones are looked at with the next tick."""


@dataclass(slots=True)
class Ordering:
    """Writes down what is to be set in which meters; what it costs does not grow with the site."""

    authority: Authority
    low_after: int = 0
    warning_after: int = 0

    async def look(self, connection: AsyncConnection[Any]) -> None:
        """In shadow mode nothing is."""
        if self.authority.shadow_mode:
            return
        alarms = self.authority.meter_alarm
        async with connection.transaction():
            await meter_orders.look_up_by_index(connection)
            now = await supply.database_clock(connection)
            # A line that is tried ends it sooner; one that is down or gone says nothing of it.
            given_up = await meter_orders.give_up(connection, now - 2 * GIVE_UP_AFTER, now)
            await meter_orders.order_keep_power(connection, now)
            if alarms:
                self.low_after = await meter_orders.order_alarms(
                    connection, now, self.low_after, LOOKED_AT_TOGETHER
                )
            self.warning_after = await meter_orders.end_alarms(
                connection, now, self.warning_after, LOOKED_AT_TOGETHER, alarms=alarms
            )
        for address, line, what in given_up:
            log.error(f"{what} given up", meter=address, line=line, detail="no line has done it")


@dataclass(frozen=True, slots=True)
class LineOrderStep:
    """An order that is due: its frame is to be sent, or to be looked whether it did what it says.

    Each answer is a transaction of its own, committed before the call returns."""

    order: MeterOrder
    authority: Authority
    pool: AsyncConnectionPool[Any]
    clock: DatabaseClock

    @property
    def kind(self) -> Literal["send", "verify"]:
        """What left, or may have before a restart, is looked for before it is sent again."""
        return "send" if self.order.state == "persisted" else "verify"

    async def release(self, relay: RelayState | None) -> bool:
        """True if the frame may leave now, which is committed; `relay`: read just now.

        All is looked at again with the account locked, so that no trip of it is asked for beside
        this."""
        async with self.pool.connection() as connection, connection.transaction():
            now = await self._see(connection, relay)
            order = await meter_orders.order(connection, self.order.meter_id, self.order.what)
            if order is None or not await may_send(connection, self.authority):
                return False
            if await breakers.is_open(connection, "wrong_password"):
                # Each meter counts wrong passwords, and locks itself.
                later = put_off(order, "a meter refused our password", now)
                await self._move(connection, later, now)
                return False
            becomes = await self._obstacle(connection, order, relay, now)
            if becomes is not None:
                await self._move(connection, becomes, now)
                return False
            hold = self.authority.hold
            move = OrderMove(
                "sent",
                after_answer("unknown", "", now).next_at,
                "",
                may_be_on=True,  # what is ended was set by us
                is_sent=True,
                fence=None if hold is None else hold.token,
            )
            return await meter_orders.move_order(connection, self.order, move, now)

    async def _obstacle(
        self,
        connection: AsyncConnection[Any],
        order: MeterOrder,
        relay: RelayState | None,
        now: datetime,
    ) -> Next | None:
        marks: list[str] = []
        if order.point_id is not None:
            held = await supply.marks_that_hold(connection, [order.point_id], now)
            marks = held.get(order.point_id, [])
        is_alarm = order.what == "alarm"
        wanted = order.is_low and self.authority.meter_alarm if is_alarm else "keep_power" in marks
        return before_send(
            order,
            relay,
            now,
            is_wanted=wanted,
            is_held_on=order.is_energised and not is_locked_off(marks),
            has_command=order.has_command,
        )

    async def answered(self, answer: Answer, detail: str) -> None:
        """What came back for the frame."""
        order = self.order
        async with self.pool.connection() as connection, connection.transaction():
            now = await self.clock(connection)
            becomes = after_answer(answer, detail, now)
            # Of a first frame that was refused nothing is in the meter.
            is_nothing_set = becomes.state == "refused" and not order.sends
            may_be_on = order.may_be_on or (order.is_on and not is_nothing_set)
            move = OrderMove(becomes.state, becomes.next_at, detail, may_be_on)
            sent = replace(order, state="sent", sends=order.sends + 1)
            await meter_orders.move_order(connection, sent, move, now)
            if answer == "unauthorised":
                # The next meter would say the same, and count it.
                await stop_trips(connection, "wrong_password", now)
        tell = log.error if becomes.state == "refused" else log.info
        tell(f"{_words(order)} {answer}", point=order.point, meter=order.address, detail=detail)

    async def observed(self, relay: RelayState | None) -> None:
        """The meter as it was read after a frame; None when it could not be."""
        order = self.order
        async with self.pool.connection() as connection, connection.transaction():
            now = await self._see(connection, relay)
            becomes = after_look(order, relay, now)
            await self._move(connection, becomes, now)

    async def put_off(self, reason: str) -> None:
        """Nothing was done now."""
        order = self.order
        async with self.pool.connection() as connection:
            now = await self.clock(connection)
            later = put_off(order, reason, now, order.state)
            await self._move(connection, later, now)

    async def refuse(self, reason: str) -> None:
        """The meter can never do that."""
        async with self.pool.connection() as connection:
            now = await self.clock(connection)
            await self._move(connection, Next("refused", None, reason), now)

    async def _see(self, connection: AsyncConnection[Any], relay: RelayState | None) -> datetime:
        """Lock the account, and keep what the meter showed."""
        point = self.order.point_id
        if point is not None:
            await supply.lock_account_of(connection, point)
        now = await self.clock(connection)
        if point is not None and relay is not None:
            await supply.observe_relay(
                connection,
                point,
                is_open=relay.relay_open,
                is_ordered_open=relay.command_open,
                keep_power=relay.keep_power,
                now=now,
            )
        return now

    async def _move(self, connection: AsyncConnection[Any], becomes: Next, now: datetime) -> None:
        order = self.order
        may_be_on = order.may_be_on and not (becomes.is_proved and not order.is_on)
        move = OrderMove(becomes.state, becomes.next_at, becomes.detail, may_be_on)
        is_moved = await meter_orders.move_order(connection, order, move, now)
        if is_moved and becomes.state != order.state:
            is_bad = becomes.state in ("refused", "failed")
            (log.error if is_bad else log.info)(
                f"{_words(order)} {becomes.state}",
                point=order.point,
                meter=order.address,
                detail=becomes.detail,
            )


def _words(order: MeterOrder) -> str:
    thing = order.what.replace("_", " ")
    return f"{thing} {'on' if order.is_on else 'off'}"


class LineOrders(LineSteps[LineOrderStep]):
    """A line gets its orders from here, one at a time."""

    __slots__ = ()

    async def _step(
        self, connection: AsyncConnection[Any], now: datetime, far_end: FarEnd | None
    ) -> LineOrderStep | None:
        sending = await may_send(connection, self._authority)
        order = await meter_orders.due_order(connection, self._line, now, sending=sending)
        if order is None:
            return None
        return LineOrderStep(order, self._authority, self._pool, self._clock)

    async def _next_due(self, connection: AsyncConnection[Any]) -> datetime | None:
        sending = not self._authority.shadow_mode
        return await meter_orders.next_due(connection, self._line, sending=sending)
