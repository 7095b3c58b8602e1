"""An on-demand read of one meter, and the result of one that brought nothing usable."""

from __future__ import annotations

from daemon.acquisition.meter_port import GatewayAnswered, MeterPort, NoFreeze
from daemon.acquisition.planning.reads import ReadRequest, ReadResult
from protocols.errors import MeterRefused


async def read_for(request: ReadRequest, meter: MeterPort) -> ReadResult:
    """Read what a request is for; raises what the port raises."""
    match request.what:
        case "freeze":
            assert request.day is not None, "a freeze is of a day"
            # R03: the freeze of a day is stored like any other; a value of now is only shown.
            try:
                return ReadResult("ok", await meter.read_freeze(request.day))
            except NoFreeze as missing:
                return ReadResult("no_data", reason=str(missing))
        case "registers":
            return ReadResult("ok", (await meter.read_registers()).registers)
        case "clock":
            return ReadResult("ok", await meter.read_clock())
        case "relay":
            return ReadResult("ok", await meter.read_relay())


def result_of(error: Exception) -> ReadResult:
    """The result of a read that ended with one of UNUSABLE."""
    match error:
        case MeterRefused() | GatewayAnswered(outcome="refused"):
            return ReadResult("refused", reason=str(error))
        case GatewayAnswered(outcome="no_data"):
            return ReadResult("no_data", reason=str(error))
        case GatewayAnswered(outcome="expired"):
            return ReadResult("expired", reason=str(error))
    return ReadResult("unreadable", reason=str(error))
