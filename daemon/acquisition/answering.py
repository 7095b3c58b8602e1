"""Somebody asked for a read of a meter: it is answered, whatever comes of it."""

from __future__ import annotations

import time

from daemon.acquisition.conversations import Preempted
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.meter_port import (
    UNUSABLE,
    GatewayAnswered,
    MeterPort,
    MeterPorts,
    NoFreeze,
    NotSent,
    Urgency,
)
from daemon.acquisition.planning.reads import ReadRequest, ReadResult
from daemon.runtime.supervision import together
from protocols.errors import LineDown, MeterRefused, NoReply


async def answer_requests(jobs: Jobs, ports: MeterPorts) -> bool:
    """Answer the requests that came first; False when none is answered now."""
    if jobs.requests and are_requests_held(jobs):
        return False
    requests: list[ReadRequest] = []
    while len(requests) < jobs.at_once:
        request = jobs.requests.next(time.monotonic())
        if request is None:
            break
        requests.append(request)
    await together(_answer(jobs, request, ports) for request in requests)
    return bool(requests)


def are_requests_held(jobs: Jobs) -> bool:
    """True while none may be begun, because midnight is near and it would give way."""
    # It would give way before its first frame, and be begun again in the same moment: the line
    # would spin, and with it every other line.
    return jobs.gives_way and jobs.is_midnight_near()


async def _answer(jobs: Jobs, request: ReadRequest, ports: MeterPorts) -> None:
    """Serve one request.

    One that ends without an answer, cancelled or by a mistake, is settled when the line goes
    down."""
    number = jobs.numbers[request.meter_id]
    meter = ports(number, Urgency.REQUEST)
    if reason := meter.unsupported(request.what):
        request.settle(ReadResult("unsupported", reason=reason))
        return
    try:
        result = await _read_for(jobs, request, meter)
    except Preempted:
        # What is more urgent goes first; this one is the next of its kind.
        jobs.requests.add_first(request)
        return
    except NotSent as error:
        # The carrier refused it, which means nothing for the meter.
        request.settle(ReadResult("refused", reason=str(error)))
        return
    except NoReply as error:
        jobs.record_timeout(number, str(error))
        request.settle(ReadResult("silent", reason=str(error)))
        return
    except UNUSABLE as error:
        result = _result_of(error)
    except LineDown as error:
        request.settle(ReadResult("line_down", reason=str(error)))
        raise
    jobs.record_reply(number)
    request.settle(result)


async def _read_for(jobs: Jobs, request: ReadRequest, meter: MeterPort) -> ReadResult:
    """Read what a request is for; raises what the port raises."""
    match request.what:
        case "freeze":
            assert request.day is not None, "a freeze is of a day"
            # R03: the freeze of a day is stored like any other; a value of now fills no day.
            try:
                return ReadResult("ok", await meter.read_freeze(request.day))
            except NoFreeze as missing:
                return ReadResult("no_data", reason=str(missing))
        case "registers":
            read = await meter.read_registers()
            now = jobs.parts.clock.now()
            return ReadResult("ok", read.registers, at=read.at or now, arrived_at=now)
        case "clock":
            return ReadResult("ok", await meter.read_clock())
        case "relay":
            return ReadResult("ok", await meter.read_relay())


def _result_of(error: Exception) -> ReadResult:
    """The result of a read that ended with one of UNUSABLE."""
    match error:
        case MeterRefused() | GatewayAnswered(outcome="refused"):
            return ReadResult("refused", reason=str(error))
        case GatewayAnswered(outcome="no_data"):
            return ReadResult("no_data", reason=str(error))
        case GatewayAnswered(outcome="expired"):
            return ReadResult("expired", reason=str(error))
    return ReadResult("unreadable", reason=str(error))
