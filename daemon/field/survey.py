"""Finds the meters of a line at each speed in turn, and keeps what it knows when it is stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from daemon.field.connection import Speed
from daemon.field.language import DLT645_1997
from daemon.field.scan import Outcome, ScanTimeouts, Step, scan
from protocols.channels.conversation import Wire
from protocols.channels.streams import StreamChannel

BITS_PER_CHARACTER: Final = 11
QUESTION_CHARACTERS: Final = 16
"""Of a question, wake-up included."""
BAUDS: Final = (2400, 9600, 1200, 4800, 19200)
PARITIES: Final = ("E", "N")
LEAST_QUIET_S: Final = 0.05
PATTERNS_BELOW: Final = 100
"""How many questions a collision brings."""


@dataclass(frozen=True, slots=True)
class Found:
    """One meter, or a collision that no address could part, or noise."""

    step: Step
    speed: Speed

    def in_words(self) -> str:
        """What is no meter, for a person."""
        pattern = self.step.pattern
        if self.step.outcome is Outcome.NOISE:
            what = f"{pattern}: noise, no meters: another master, a wrong speed or parity?"
        elif self.step.protocol == DLT645_1997:
            what = "more than one meter of 1997, or noise: such meters are found one by one"
        else:
            what = f"{pattern}: more than one answer: two meters with one address, or noise"
        return f"{self.speed}: {what}" if self.speed.baud else what


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan is: `asked` of `to_ask` questions, which grow with every collision."""

    where: str
    asked: int
    to_ask: int


@dataclass(slots=True)
class Survey:
    """What is known of a line so far."""

    meters: list[Found] = field(default_factory=list)
    unclear: list[Found] = field(default_factory=list)
    questions: int = 0

    async def scan(
        self,
        channel: StreamChannel,
        speed: Speed,
        timeouts: ScanTimeouts,
        wire: Wire | None = None,
    ) -> AsyncIterator[Progress]:
        """One speed. LineDown."""
        asked = 0
        to_ask = 1
        async with channel:
            async for step in scan(channel, timeouts, line=channel.name, wire=wire):
                self._take(Found(step, speed))
                if step.outcome is Outcome.NOISE:
                    continue
                asked += 1
                if step.is_parted:
                    to_ask += PATTERNS_BELOW
                yield Progress(f"{speed} {step.pattern}".strip(), asked, max(to_ask, asked))

    def _take(self, found: Found) -> None:
        step = found.step
        if step.outcome is not Outcome.NOISE:
            self.questions += 1
        is_unclear = step.outcome in (Outcome.NOISE, Outcome.COLLISION) and not step.is_parted
        if is_unclear:
            self.unclear.append(found)
        # A meter that answers at two speeds, as on a pseudo-terminal, is one meter.
        elif step.address is not None and not self._knows(step.address):
            self.meters.append(found)

    def _knows(self, address: str) -> bool:
        return any(found.step.address == address for found in self.meters)


def speeds(bauds: tuple[int, ...], parities: tuple[str, ...]) -> list[Speed]:
    """The speeds to try in turn; the usual ones in place of an empty tuple."""
    return [Speed(baud, parity) for baud in bauds or BAUDS for parity in parities or PARITIES]


def timeouts_at(speed: Speed, answer_s: float, tries: int) -> ScanTimeouts:
    """`answer_s` and the time that a question takes on the wire at this speed."""
    # Behind TCP the converter's speed is not known: its user gives the time in --timeout.
    on_the_wire_s = 0.0
    if speed.baud:
        on_the_wire_s = QUESTION_CHARACTERS * BITS_PER_CHARACTER / speed.baud
    return ScanTimeouts(answer_s + on_the_wire_s, max(LEAST_QUIET_S, answer_s / 4), tries)
