"""The round of a line: what comes next, whatever carries it, and how long nothing does.

Commands, host freezes at midnight and on-demand reads come before any slot; in which order the rest
comes is the line's own.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from math import inf

import structlog

from daemon import metrics
from daemon.acquisition.answering import answer_requests, are_requests_held
from daemon.acquisition.commands import CommandStep, execute
from daemon.acquisition.host_freezes import freeze_at_midnight, tell_missed
from daemon.acquisition.jobs import IDLE_S, Jobs
from daemon.acquisition.meter_port import MeterPorts, Urgency
from daemon.acquisition.relay_looks import look_at_asked_relay

log = structlog.get_logger("line")

HELD_BACK_S = 1.0
"""A slot that could be read and is not, at midnight or while back-fill must wait, or an order that
is held back, is looked at again after this time."""


def begin_round(jobs: Jobs) -> None:
    """What comes before each look for the next job."""
    jobs.beat()
    lost = jobs.wanted.roll(jobs.parts.clock.due_day())
    if lost is not None:
        _tell_lost(jobs, lost)
        jobs.tell_leaving()
    tell_missed(jobs)


async def do_urgent(jobs: Jobs, ports: MeterPorts) -> bool:
    """Do the most urgent job that comes before any slot; False when there is none."""
    # Supply first, then what passes within a minute, then what is waited for.
    return (
        await jobs.parts.commands.serve(partial(_execute, jobs, ports), jobs.far_end())
        or await freeze_at_midnight(jobs, ports)
        or await answer_requests(jobs, ports)
        or await look_at_asked_relay(jobs, ports)
    )


def is_urgent(jobs: Jobs) -> bool:
    """True if a command, a request or a look waits that may be begun."""
    is_request_due = bool(jobs.requests) and not are_requests_held(jobs)
    is_look_due = jobs.relay_looks.is_asked and not jobs.is_midnight_near()
    return is_request_due or is_look_due or jobs.parts.commands.is_due()


def must_give_way(jobs: Jobs, urgency: Urgency) -> bool:
    """True if something waits that goes before a request or slot of this urgency."""
    is_request_waiting = urgency > Urgency.REQUEST and bool(jobs.requests)
    return is_request_waiting or jobs.parts.commands.is_due() or jobs.is_midnight_near()


def idle_for_s(jobs: Jobs) -> float:
    """Until a slot, a command or a midnight comes, or a sign of life is due."""
    wanted_at = jobs.wanted.next_at(jobs.reply_timeouts.ready_at())
    until_slot = IDLE_S if wanted_at is None else wanted_at - time.monotonic()
    # It could be read and is not: at midnight, or while back-fill must wait.
    if until_slot <= 0:
        until_slot = HELD_BACK_S
    until_command = jobs.parts.commands.due_in_s()
    return min(
        IDLE_S,
        until_slot,
        until_command,
        jobs.midnight_in_s(),
        _reread_in_s(jobs),
        _order_in_s(jobs),
    )


def _order_in_s(jobs: Jobs) -> float:
    orders = jobs.parts.orders
    if orders is None:
        return inf
    # One that is due and was not asked for: at midnight, or while it is open who would get it.
    return HELD_BACK_S if orders.is_due() else orders.due_in_s()


def _reread_in_s(jobs: Jobs) -> float:
    at_s = jobs.rereads.next_at()
    # One that is due and waits for its meter waits for whatever else happens.
    return inf if at_s is None or at_s <= time.monotonic() else at_s - time.monotonic()


async def _execute(jobs: Jobs, ports: MeterPorts, step: CommandStep) -> None:
    number = jobs.numbers.get(step.command.meter_id)
    # The archive was changed while the command was open.
    if number is None:
        await step.orphan()
    else:
        meter = ports(number, Urgency.COMMAND)
        await execute(step, meter, jobs.parts.clock)


def _tell_lost(jobs: Jobs, lost: Sequence[int]) -> None:
    """The meters' memory is over, or the days that are collected are."""
    if not lost:
        return
    metrics.SLOTS_LOST.labels(jobs.parts.shown_as).inc(len(lost))
    log.error(
        "freezes lost",
        line=jobs.parts.name,
        slots=len(lost),
        first=jobs.parts.meters[lost[0]].address,
    )
