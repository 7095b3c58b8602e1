"""A meter without memory is read once when its line begins, then every month.

A wrong profile, protocol or speed would be found out at midnight only, when the day is lost."""

from __future__ import annotations

import time

import structlog

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import UNUSABLE, MeterPorts, NotSent, Urgency
from protocols.errors import NoReply

log = structlog.get_logger("line")


async def look_at_one(jobs: Jobs, ports: MeterPorts) -> bool:
    """Read a meter that was not looked at yet; False when there is none."""
    looks = jobs.first_looks
    if looks is None:
        return False
    now_s = time.monotonic()
    # It would give way before its first frame, and be begun again in the same moment.
    if jobs.is_midnight_near() or jobs.reply_timeouts.line_is_silent:
        return False
    today = jobs.parts.clock.local_now().date()
    number = looks.next(today, now_s, jobs.reply_timeouts.ready(now_s))
    if number is None:
        return False
    meter = ports(number, Urgency.SLOT)
    if meter.unsupported("registers"):
        looks.give_up(number)
        return True
    if meter.is_away:
        looks.put_off(number, now_s)
        return True
    try:
        doubts = await meter.read_doubts()
    except Preempted:
        return True
    except (NoReply, NotSent, *UNUSABLE) as error:
        # Told once; it is asked again until it can be read.
        if looks.put_off(number, now_s):
            jobs.warn("cannot be read, would be lost at midnight", number, error)
        return True
    jobs.record_reply(number)
    looks.told(number, today)
    if doubts:
        log.error(
            "values cannot be meant, wrong profile?",
            meter=jobs.parts.meters[number].address,
            line=jobs.parts.name,
            values="; ".join(doubts),
        )
    return True
