"""Each relay is looked at, without a command: at first contact, and every day after its freeze.

Somebody else may have moved it (A10), and what is not looked at is not known (I14). What it means
is decided where it is stored."""

from __future__ import annotations

import time

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import UNUSABLE, MeterPort, MeterPorts, NotSent, Urgency
from daemon.quality.arrival import RelayRead
from protocols.errors import NoReply


async def look_at_asked_relay(jobs: Jobs, ports: MeterPorts) -> bool:
    """Look at a relay that somebody waits for; False when there is none."""
    number = jobs.relay_looks.next_asked()
    if number is None or jobs.is_midnight_near():
        return False
    await _look(jobs, number, ports(number, Urgency.SLOT))
    return True


async def look_at_due_relay(jobs: Jobs, ports: MeterPorts) -> bool:
    """Look at the relay that was not seen for longest; False while none is due.

    After today's freezes, and with a share of the line before everything that is older."""
    # It would give way before its first frame, and be begun again in the same moment.
    if jobs.is_midnight_near() or jobs.reply_timeouts.line_is_silent:
        return False
    began_s = time.monotonic()
    timeouts = jobs.reply_timeouts
    today = jobs.parts.clock.local_now().date()
    wanted_at = jobs.wanted.next_at(timeouts.ready_at())
    others_wait = wanted_at is not None and wanted_at <= began_s
    answering = timeouts.answering(began_s)
    number = jobs.relay_looks.next_due(today, began_s, answering, others_wait=others_wait)
    if number is None or jobs.wanted.has_today(began_s, timeouts.ready(began_s)):
        return False
    if await _look(jobs, number, ports(number, Urgency.SLOT)):
        jobs.relay_looks.rest(began_s, time.monotonic())
    return True


async def _look(jobs: Jobs, number: int, meter: MeterPort) -> bool:
    """True if the meter was asked."""
    if meter.unsupported("relay"):
        jobs.relay_looks.give_up(number)
        return False
    # It is not sure who would tell it, or nobody would: later.
    if meter.is_away or jobs.question():
        jobs.relay_looks.put_off(number, time.monotonic())
        return False
    try:
        relay = await meter.read_relay()
    except Preempted:
        return True
    except (NoReply, NotSent, *UNUSABLE) as error:
        # Silence at this question alone is no silence: the meter may tell its freezes all the same.
        if jobs.relay_looks.put_off(number, time.monotonic()):
            jobs.warn("relay not seen", number, error)
        return True
    jobs.record_reply(number)
    read = RelayRead(jobs.parts.meters[number], relay, jobs.parts.clock.now())
    if jobs.parts.sink.relay_seen(read):
        jobs.relay_looks.seen(number, jobs.parts.clock.local_now().date())
    else:
        jobs.relay_looks.no_room(number, time.monotonic())
    return True
