"""What a line sets in its meters beside their relays, while no supply command waits.

A reconnect that comes meanwhile waits for the exchange under way, as for any other."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final
from uuid import uuid4

from daemon.acquisition.commands import answer_of, read_clock, read_relay
from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import MeterAction, NotSent, Urgency
from daemon.acquisition.order_source import OrderStep
from daemon.acquisition.wire_meter import WireMeter
from daemon.control.commands import trip_obstacle
from daemon.control.meter_orders import VALID_FOR, What
from protocols.errors import FrameError, LineDown, MeterRefused, NoReply

ACTIONS: Final[dict[tuple[What, bool], MeterAction]] = {
    ("keep_power", True): "keep_power",
    ("keep_power", False): "end_keep_power",
    ("alarm", True): "alarm",
    ("alarm", False): "end_alarm",
}


WirePorts = Callable[[int, Urgency], WireMeter]


async def obey_one(jobs: Jobs, ports: WirePorts) -> bool:
    """Do the next step of an order; False when none is due, or it is not sure who would get it."""
    orders = jobs.parts.orders
    if orders is None or jobs.is_midnight_near() or jobs.question():
        return False
    return await orders.serve(partial(_execute, jobs, ports))


async def _execute(jobs: Jobs, ports: WirePorts, step: OrderStep) -> None:
    number = jobs.numbers.get(step.order.meter_id)
    if number is None:
        await step.put_off("the meter is not on its line")
        return
    # A command asks anew: what was read before the line was lost is not taken for what is now.
    meter = ports(number, Urgency.COMMAND)
    if reason := meter.unsupported("control"):
        await step.refuse(reason)
    elif step.kind == "verify":
        await step.observed(await read_relay(meter, meter.meter.address, jobs.parts.name))
    else:
        try:
            meter_clock, carrier = await read_clock(ports(number, Urgency.REQUEST))
        except Preempted:
            return
        reason = _obstacle(jobs, meter, meter_clock, carrier)
        if reason or meter_clock is None:
            await step.put_off(reason or "the meter's clock is not known")
        else:
            await _send(jobs, meter, step, meter_clock)


def _obstacle(jobs: Jobs, meter: WireMeter, meter_clock: datetime | None, carrier: str) -> str:
    """Why its frame may not leave now, as of a trip: one that comes late must do no harm."""
    clock = jobs.parts.clock
    return trip_obstacle(
        now=clock.now(),
        expires_at=clock.now() + VALID_FOR,
        local_now=clock.local_now() - meter.behind,
        meter_clock=meter_clock,
        carrier=carrier,
        doubt=clock.doubt(),
    )


async def _send(jobs: Jobs, meter: WireMeter, step: OrderStep, meter_clock: datetime) -> None:
    action = ACTIONS[step.order.what, step.order.is_on]
    # Whoever is dark does not wait for this.
    is_preempted = jobs.parts.commands.is_due
    try:
        signed = await meter.sign(action, meter_clock, VALID_FOR)
    except NotSent as error:
        await step.put_off(str(error))
        return
    if is_preempted():
        return
    relay = await read_relay(meter, meter.meter.address, jobs.parts.name)
    if is_preempted() or not await step.release(relay):
        return
    try:
        detail = await meter.control(action, uuid4(), meter_clock, VALID_FOR, signed)
    except (NoReply, NotSent, MeterRefused, FrameError) as error:
        await step.answered(*answer_of(error))
    except LineDown as error:
        await step.answered("unknown", str(error))
        raise
    else:
        await step.answered("acked", detail)
