"""The supply commands that a line executes: send a control frame once, or look what became of it.

Where commands come from and what their answers mean is decided elsewhere; a line sees both through
the two protocols here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID, uuid5

import structlog

from daemon.acquisition.meter_port import UNUSABLE, Action, GatewayAnswered, MeterPort, NotSent
from daemon.acquisition.site_clock import SiteClock
from daemon.control.commands import trip_obstacle, valid_for
from daemon.control.observation import Answer
from daemon.control.sources import FarEnd
from protocols.dlt645.functions import UNAUTHORISED
from protocols.errors import FrameError, LineDown, MeterdError, MeterRefused, NoReply
from protocols.reading import RelayState

log = structlog.get_logger("line")


class IssuedCommand(Protocol):
    """What a line must know of a command to execute it."""

    @property
    def id(self) -> UUID:
        """The command's own id, whatever how often it is sent."""

    @property
    def meter_id(self) -> int:
        """The meter, as the archive numbers it."""

    @property
    def address(self) -> str:
        """Its address."""

    @property
    def line(self) -> str:
        """The line that it is for."""

    @property
    def action(self) -> Action:
        """Which way the relay is to go."""

    @property
    def sends(self) -> int:
        """How often its frame was sent before."""

    @property
    def expires_at(self) -> datetime:
        """After this time a trip must not be sent."""


class CommandStep(Protocol):
    """One step of a command: send its control frame, or verify the relay.

    What comes of it is written down before each call here returns."""

    @property
    def kind(self) -> Literal["send", "verify"]:
        """What is to be done."""

    @property
    def command(self) -> IssuedCommand:
        """The command it belongs to."""

    async def is_still_released(self) -> bool:
        """True if nothing superseded the command; to be read right before the frame leaves."""

    async def answered(self, answer: Answer, detail: str) -> None:
        """What came back for the control frame."""

    async def abandon(self, reason: str) -> None:
        """The trip was released and not sent."""

    async def observed(self, relay: RelayState | None) -> None:
        """The relay as it was read; None when it could not be."""

    async def orphan(self) -> None:
        """The command's meter is not on the line any more."""


class CommandSource(Protocol):
    """Where a line gets its command steps from, one at a time."""

    def wake(self) -> None:
        """A command may be waiting: look at once."""

    def due_in_s(self) -> float:
        """Seconds until there is something to look at; infinite when nothing is known of."""

    def is_due(self) -> bool:
        """True if `serve` would look now."""

    async def serve(
        self,
        execute: Callable[[CommandStep], Awaitable[None]],
        far_end: FarEnd | None = None,
    ) -> bool:
        """Execute the next step if one is due; True if there was one.

        `far_end`: who is at the other end of the line."""


async def execute(
    step: CommandStep,
    meter: MeterPort,
    clock: SiteClock,
) -> None:
    """Do one step."""
    # I14: where a relay is, is read and never inferred from a command.
    if step.kind == "verify":
        command = step.command
        await step.observed(await read_relay(meter, command.address, command.line))
        return
    if reason := meter.unsupported("control"):
        await step.answered("refused", reason)
        return
    await _send(step, meter, clock)


async def _send(
    step: CommandStep,
    meter: MeterPort,
    clock: SiteClock,
) -> None:
    """What the meter makes of its frame is found out by reading its relay."""
    command = step.command
    meter_clock, carrier = await _look(command, meter)
    reason = trip_obstacle(
        now=clock.now(),
        expires_at=command.expires_at,
        local_now=clock.local_now() - meter.behind,
        meter_clock=meter_clock,
        carrier=carrier,
        doubt=clock.doubt(),
    )
    if command.action == "trip" and reason:
        await step.abandon(reason)
        return
    await _transmit(
        step,
        meter,
        meter_clock or clock.local_now(),
        clock,
    )


async def _transmit(
    step: CommandStep,
    meter: MeterPort,
    meter_clock: datetime,
    clock: SiteClock,
) -> None:
    """Send the frame, once, unless the command was taken back; the step gets what came back."""
    command = step.command
    validity = valid_for(command.action, clock.now(), command.expires_at)
    # A gateway does an id once: a command that is sent again after its relay was seen is a new one.
    send_id = uuid5(command.id, str(command.sends))
    try:
        signed = await meter.sign(command.action, meter_clock, validity)
        if not await _may_still_leave(step, meter, clock):
            return
        detail = await meter.control(
            command.action,
            send_id,
            meter_clock,
            validity,
            signed,
        )
    except NotSent as error:
        if command.action == "trip":
            # Not a byte of it left: a trip ends here, a reconnect is sent again.
            await step.abandon(str(error))
        else:
            await step.answered("unknown", str(error))
    except (NoReply, MeterRefused, GatewayAnswered, FrameError) as error:
        await step.answered(*answer_of(error))
    except LineDown as error:
        await step.answered("unknown", str(error))
        raise
    else:
        await step.answered("acked", detail)


def answer_of(error: MeterdError) -> tuple[Answer, str]:
    """What an answer to a control frame is that is not a yes, and its words."""
    if isinstance(error, MeterRefused):
        return ("unauthorised" if UNAUTHORISED in error.bits else "refused"), str(error)
    if isinstance(error, GatewayAnswered) and error.outcome in ("refused", "expired", "no_data"):
        return "refused", f"{error.outcome}: {error}"
    # Silence after a control frame means unknown: it may have been executed.
    return "unknown", str(error)


async def _may_still_leave(step: CommandStep, meter: MeterPort, clock: SiteClock) -> bool:
    """While somebody signed time went on, and the far end of the line may be another."""
    command = step.command
    if command.action == "trip":
        reason = trip_obstacle(
            now=clock.now(),
            expires_at=command.expires_at,
            local_now=clock.local_now(),
            meter_clock=None,
            carrier=meter.obstacle,
            doubt=clock.doubt(),
        )
        if reason:
            await step.abandon(reason)
            return False
    # I4: a payment may have taken the trip back while the clock was read, or somebody signed.
    return await step.is_still_released()


async def _look(command: IssuedCommand, meter: MeterPort) -> tuple[datetime | None, str]:
    """The meter's clock, None where it cannot be read, and why a trip would not get there."""
    # Whoever paid does not wait for a clock that was read today. Should somebody have set it since,
    # the frame is refused, and the next one goes by a clock that is read for it.
    if command.action != "trip" and not command.sends and meter.clock_as_known is not None:
        return meter.clock_as_known, meter.obstacle
    return await read_clock(meter)


async def read_clock(meter: MeterPort) -> tuple[datetime | None, str]:
    """The meter's clock, None where it cannot be read, and why a frame would not get there now."""
    if meter.unsupported("clock"):
        return None, meter.obstacle
    try:
        return await meter.read_clock(), meter.obstacle
    except (NoReply, NotSent, *UNUSABLE) as error:
        return None, f"clock not read: {error}"


async def read_relay(meter: MeterPort, address: str, line: str) -> RelayState | None:
    """Where the relay is; None, and told, when it cannot be read."""
    if meter.unsupported("relay"):
        return None
    try:
        return await meter.read_relay()
    except (NoReply, NotSent, *UNUSABLE) as error:
        log.warning(
            "relay not read",
            meter=address,
            line=line,
            error=str(error),
        )
        return None
