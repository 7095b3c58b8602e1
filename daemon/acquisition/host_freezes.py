"""Meters that keep no freezes are read at the moment of their freeze: at local midnight."""

from __future__ import annotations

from datetime import datetime

import structlog

from daemon import metrics
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import (
    UNUSABLE,
    MeterPort,
    MeterPorts,
    NotSent,
    Registers,
    Urgency,
)
from daemon.acquisition.planning.midnight import frozen_midnight, nearest_midnight
from daemon.acquisition.slots import cause_of
from daemon.quality.arrival import Arrival
from daemon.runtime.supervision import together
from protocols.errors import NoReply
from protocols.reading import DailyFreeze, Quantity

log = structlog.get_logger("line")


async def freeze_at_midnight(jobs: Jobs, ports: MeterPorts) -> bool:
    """Read meters that keep no freezes at the moment of their freeze; False if none is due."""
    if jobs.parts.clock.doubt():
        return False
    night_time = jobs.parts.clock.night_time()
    meters: list[tuple[int, MeterPort]] = []
    while len(meters) < jobs.at_once:
        due = jobs.midnights.next(night_time)
        if due is None:
            break
        number, _ = due
        meter = ports(number, Urgency.MIDNIGHT)
        if not meter.is_away and not meter.unsupported("registers"):
            meters.append((number, meter))
    await together(_freeze_now(jobs, number, meter) for number, meter in meters)
    return bool(meters)


async def _freeze_now(jobs: Jobs, number: int, meter: MeterPort) -> None:
    """Read one meter; without a freeze it is read again while the window is open."""
    try:
        registers, device_time, _ = await meter.read_registers()
    except (NoReply, NotSent, *UNUSABLE) as error:
        midnight = nearest_midnight(jobs.parts.clock.night_time())
        if jobs.midnights.failed(number, midnight):
            jobs.warn("not read at midnight, tried again", number, error)
        jobs.note_attempt(number, midnight.date(), cause_of(error))
        return
    now = jobs.parts.clock.night_time()
    await submit_host_freeze(
        jobs,
        number,
        registers,
        device_time or now,
        now,
    )


async def submit_host_freeze(
    jobs: Jobs,
    number: int,
    registers: Registers,
    device_time: datetime,
    now: datetime,
) -> bool:
    """The registers as the freeze of the midnight next to the device's time.

    False if they are none, or the host's clock is doubted, True if that midnight has one now. Both
    times are the site's wall clock; the worse of their distances from midnight is kept.
    """
    meter = jobs.parts.meters[number]
    frozen = frozen_midnight(device_time, now, meter.installed_on)
    if registers[0] is None or frozen is None or jobs.parts.clock.doubt():
        return False
    midnight, offset = frozen
    # A device may push while it is being read.
    if jobs.midnights.is_done(number, midnight):
        return True
    freeze = DailyFreeze(
        address=meter.address,
        quantity=Quantity.FORWARD_ACTIVE_ENERGY,
        frozen_at=midnight,
        registers=registers,
        arrived_at=jobs.parts.clock.now(),
        host_offset=offset,
    )
    # Before it is handed on, because that may wait for room, and a push come meanwhile.
    jobs.midnights.done(number, midnight)
    try:
        await jobs.submit(Arrival(meter, freeze, jobs.told_by))
    except BaseException:
        jobs.midnights.undo(number)
        raise
    return True


def tell_missed(jobs: Jobs) -> None:
    """Host freezes cannot be made up for: those of a midnight that is over are counted, once."""
    night_time = jobs.parts.clock.night_time()
    missed = jobs.midnights.missed(night_time)
    if not missed:
        return
    counter = metrics.HOST_FREEZES_MISSED.labels(jobs.parts.shown_as)
    counter.inc(len(missed))
    first = jobs.parts.meters[missed[0]]
    log.error(
        "not read at midnight, lost",
        line=jobs.parts.name,
        meters=len(missed),
        first=first.address,
    )
