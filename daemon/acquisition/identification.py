"""Each meter of a line is asked who it is: at first contact, then every month (R17).

And with it for what is set in it and can be compared (V26, V28)."""

from __future__ import annotations

import time

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import UNUSABLE, MeterPort, MeterPorts, NotSent, Urgency
from daemon.quality.arrival import IdentityRead, SettingsRead
from protocols.errors import NoReply


async def identify_one(jobs: Jobs, ports: MeterPorts) -> bool:
    """Ask one meter who it is, if that is due; the last thing that a line does.

    False when none is due now."""
    now_s = time.monotonic()
    # It would give way before its first frame, and be begun again in the same moment.
    if jobs.is_midnight_near() or jobs.reply_timeouts.line_is_silent:
        return False
    today = jobs.parts.clock.local_now().date()
    number = jobs.identities.next(today, now_s, jobs.reply_timeouts.answering(now_s))
    if number is None:
        return False
    meter = ports(number, Urgency.SLOT)
    if meter.unsupported("identity"):
        jobs.identities.give_up(number)
        return True
    try:
        if await _identify(jobs, number, meter):
            jobs.identities.told(number, today)
        else:
            jobs.identities.put_off(number, now_s)
    except Preempted:
        pass
    except (NoReply, NotSent, *UNUSABLE) as error:
        # Silence at this question alone is no silence: the meter may tell its freezes all the same.
        if jobs.identities.put_off(number, now_s):
            jobs.warn("not told which meter it is", number, error)
    return True


async def _identify(jobs: Jobs, number: int, meter: MeterPort) -> bool:
    """False when the meter is away, or what it told finds no room."""
    if meter.is_away:
        return False
    identity = await meter.read_identity()
    jobs.record_reply(number)
    read = IdentityRead(
        jobs.parts.meters[number],
        identity,
        jobs.parts.clock.now(),
        await _settings(jobs, number, meter),
        jobs.told_by,
    )
    return jobs.parts.sink.identified(read)


async def _settings(jobs: Jobs, number: int, meter: MeterPort) -> SettingsRead:
    """Who the meter is counts without them."""
    try:
        return await meter.read_settings()
    except (NoReply, NotSent, *UNUSABLE) as error:
        jobs.warn("not told what is set in the meter", number, error)
        return SettingsRead()
