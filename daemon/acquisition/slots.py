"""Which slots are read next, one of them in the general way, and why it could not be."""

from __future__ import annotations

import time
from datetime import date

from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import UNUSABLE, GatewayAnswered, MeterPort, NoFreeze, NotSent
from daemon.acquisition.planning.attempts import Cause
from daemon.acquisition.planning.turns import QUESTIONS_OF_A_POLL
from protocols.errors import MeterRefused, NoReply

FIRST_MISSING_S = 10.0
"""First pause of a freeze that is not there yet; it grows."""


def wanted_slots(jobs: Jobs, most: int, *, only_today: bool = False) -> list[tuple[int, date]]:
    """The slots to read now, `most` of them at the most.

    Meters that failed last have their share of the line, one at a time, while others are to be
    read: whatever is wrong with them, it costs those little. Of the others each has as much of its
    time, however slow it is."""
    timeouts = jobs.reply_timeouts
    now = time.monotonic()
    ready = timeouts.ready(now)
    failing = timeouts.failing()
    first: list[tuple[int, date]] = []
    if jobs.turns.look() and not timeouts.line_is_silent:
        honest = ready if failing is None else ready & ~failing
        waiting = jobs.wanted.waiting(now, honest, only_today=only_today)
        ready &= ~waiting | jobs.turns.left(waiting, QUESTIONS_OF_A_POLL * timeouts.usual_s())
    if failing is not None:
        others = jobs.wanted.jobs(now, ready & ~failing, most, only_today=only_today)
        if others and timeouts.may_try_failing(now):
            first = jobs.wanted.jobs(now, ready & failing, 1, only_today=only_today)
        if others:
            return _in_turn(jobs, [*first, *others][:most])
    slots = jobs.wanted.jobs(
        now,
        ready,
        most,
        only_today=only_today,
        doubtful=timeouts.doubtful(),
        in_turn=timeouts.line_is_silent,
    )
    return _in_turn(jobs, slots)


def _in_turn(jobs: Jobs, slots: list[tuple[int, date]]) -> list[tuple[int, date]]:
    """Where turns were uneven the first of each meter: then it is looked who has had how much."""
    if not jobs.turns.are_uneven:
        return slots
    first: dict[int, date] = {}
    for number, day in slots:
        first.setdefault(number, day)
    return list(first.items())


async def read_slot(
    jobs: Jobs,
    number: int,
    day: date,
    meter: MeterPort,
) -> None:
    """Fill one slot; each other freeze that comes by and is wanted is submitted too."""
    began_s = time.monotonic()
    try:
        await meter.read_freeze(day)
    except (NoReply, NotSent) as error:
        jobs.note_attempt(number, day, cause_of(error))
        jobs.record_timeout(number, str(error), time.monotonic() - began_s)
    except (NoFreeze, *UNUSABLE) as error:
        cause = cause_of(error)
        jobs.note_attempt(number, day, cause)
        _look_later(jobs, number, day)
        took_s = time.monotonic() - began_s
        if cause in ("refused", "bad_answer"):
            jobs.record_refusal(number, day, error, took_s)
        else:
            jobs.record_lack(number, took_s)
    else:
        jobs.record_reply(number)
        jobs.turns.had(number, time.monotonic() - began_s)


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
