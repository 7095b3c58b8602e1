"""A value that is in doubt is asked for once more: at once, and after an hour.

What the answer means is decided where it is stored: another value, the same one, or a refusal,
which is a fact of its day like the others."""

from __future__ import annotations

import time
from datetime import date, datetime
from datetime import time as wall_clock
from functools import partial
from typing import Final

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import (
    UNUSABLE,
    MeterPort,
    MeterPorts,
    NoFreeze,
    NotSent,
    Urgency,
)
from daemon.acquisition.planning.attempts import Cause
from daemon.acquisition.slots import cause_of
from daemon.quality.arrival import Arrival
from protocols.errors import NoReply
from protocols.reading import DailyFreeze, Quantity

REFUSALS: Final[frozenset[Cause]] = frozenset(("refused", "no_freeze", "wrong_stamp"))
"""Causes for which a meter will not tell a value again."""


async def reread_one(jobs: Jobs, ports: MeterPorts) -> bool:
    """Ask once more for the value in doubt that waits longest; False while none is due.

    After today's freezes, and with a share of the line before everything that is older."""
    # It would give way before its first frame, and be begun again in the same moment.
    if not jobs.rereads or jobs.is_midnight_near():
        return False
    began_s = time.monotonic()
    timeouts = jobs.reply_timeouts
    slot = jobs.rereads.next(began_s, partial(timeouts.is_ready, now_s=began_s))
    if slot is None or jobs.wanted.has_today(began_s, timeouts.ready(began_s)):
        return False
    number, day = slot
    try:
        await _reread(
            jobs,
            number,
            day,
            ports(number, Urgency.SLOT),
        )
    except Preempted:
        # What is more urgent goes first; this one is the next of its kind.
        return True
    jobs.rereads.tried(slot, began_s, time.monotonic())
    return True


async def _reread(
    jobs: Jobs,
    number: int,
    day: date,
    meter: MeterPort,
) -> None:
    if refusal := meter.unsupported("freeze"):
        await _submit_refusal(jobs, number, day)
        return
    try:
        await meter.read_freeze(day)
    except NoReply as error:
        jobs.record_timeout(number, str(error))
        return
    except NotSent:
        return
    except (NoFreeze, *UNUSABLE) as error:
        if cause_of(error) in REFUSALS:
            refusal = str(error)
        else:
            jobs.warn("freeze not read again", number, error, day=day)
    jobs.record_reply(number)
    if refusal:
        await _submit_refusal(jobs, number, day)


async def _submit_refusal(jobs: Jobs, number: int, day: date) -> None:
    meter = jobs.parts.meters[number]
    refused = DailyFreeze(
        address=meter.address,
        quantity=Quantity.FORWARD_ACTIVE_ENERGY,
        frozen_at=datetime.combine(day, wall_clock()),
        registers=(None,),
        arrived_at=jobs.parts.clock.now(),
    )
    await jobs.submit(Arrival(meter, refused, jobs.told_by))
