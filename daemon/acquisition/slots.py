"""One slot is read in the general way, and why it could not be."""

from __future__ import annotations

import time
from datetime import date
from typing import Final

from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import UNUSABLE, GatewayAnswered, MeterPort, NoFreeze, NotSent
from daemon.acquisition.planning.attempts import Cause
from protocols.errors import MeterRefused, NoReply

FIRST_MISSING_S = 10.0
"""First pause of a freeze that is not there yet; it grows."""
TOLD: Final[frozenset[Cause]] = frozenset(("refused", "bad_answer"))
"""Causes that are logged when a slot is missing: the others are usual, and counted."""


async def read_slot(
    jobs: Jobs,
    number: int,
    day: date,
    meter: MeterPort,
) -> None:
    """Fill one slot; each other freeze that comes by and is wanted is submitted too."""
    try:
        await meter.read_freeze(day)
    except (NoReply, NotSent) as error:
        jobs.note_attempt(number, day, cause_of(error))
        jobs.record_timeout(number, str(error))
        return
    except (NoFreeze, *UNUSABLE) as error:
        cause = cause_of(error)
        jobs.note_attempt(number, day, cause)
        if cause in TOLD:
            jobs.warn(
                "freeze not read",
                number,
                error,
                day=day,
            )
        _look_later(jobs, number, day)
    # A meter that answers is not silent, whatever the answer is.
    jobs.record_reply(number)


def _look_later(jobs: Jobs, number: int, day: date) -> None:
    longest_s = jobs.parts.pace.retry_s
    jobs.wanted.not_there(
        number,
        day,
        time.monotonic(),
        first_s=min(FIRST_MISSING_S, longest_s),
        longest_s=longest_s,
    )


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
