"""Asks a line what the plan wants to know, and writes down what is heard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Final

from daemon.field.connection import Speed
from daemon.field.doctor.evidence import Heard, Patience, Piece, Step, Subject
from daemon.field.doctor.examination import examination
from daemon.field.doctor.hearing import is_complete
from daemon.field.read_only import ReadOnly
from protocols.channels.conversation import Wire
from protocols.channels.streams import StreamChannel

QUIET_S: Final = 0.7
"""Silence after which nothing more belongs to what came: more than bytes may be apart."""
LONGEST_S: Final = 3.0
"""A line that babbles on is left."""


def is_over_at(step: Step, data: bytes, last_s: float, patience: Patience) -> float:
    """Until when a step listens, in seconds after its question.

    `data` is what came so far, the last of it at `last_s`."""
    if not data or step.request is None:
        return step.listen_s
    if is_complete(step, data):
        return last_s + patience.after_answer_s
    return min(max(step.listen_s, last_s + QUIET_S), step.listen_s + LONGEST_S)


async def examine(
    channel_at: Callable[[Speed], StreamChannel],
    subject: Subject,
    *,
    now: Callable[[], datetime],
    wire: Wire | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> list[Heard]:
    """Everything that was heard. LineDown when the way is gone or another program holds it.

    `channel_at`: the line's channel at a speed, not open yet; `now`: aware."""
    plan = examination(subject)
    evidence: list[Heard] = []
    async with AsyncExitStack() as opened:
        talker: _Talker | None = None
        step = next(plan)
        while True:
            on_step(step)
            if talker is None or talker.speed != step.speed:
                await opened.aclose()
                channel = channel_at(step.speed)
                read_only = await opened.enter_async_context(ReadOnly(channel))
                talker = _Talker(read_only, channel.name, step.speed, subject.patience, now, wire)
            heard = await talker.take(step)
            evidence.append(heard)
            try:
                step = plan.send(heard)
            except StopIteration:
                return evidence


class _Talker:
    """Sends, and notes what comes with its time."""

    def __init__(
        self,
        channel: ReadOnly,
        name: str,
        speed: Speed,
        patience: Patience,
        now: Callable[[], datetime],
        wire: Wire | None,
    ) -> None:
        self.speed = speed
        self._channel = channel
        self._name = name
        self._patience = patience
        self._now = now
        self._wire = wire

    async def take(self, step: Step) -> Heard:
        clock = asyncio.get_running_loop().time
        sent = step.sent
        if sent:
            self._trace("tx", sent)
            await self._channel.send(sent)
        # The question has left the machine and is still on the wire.
        started_s = clock() + len(sent) * self._channel.byte_s
        pieces: list[Piece] = []
        data = b""
        last_s = 0.0
        heard_at: datetime | None = None
        while True:
            try:
                async with asyncio.timeout_at(
                    started_s + is_over_at(step, data, last_s, self._patience)
                ):
                    piece = await self._channel.receive()
            except TimeoutError:
                return Heard(step, tuple(pieces), heard_at or self._now(), started_s)
            self._trace("rx", piece)
            heard_at = heard_at or self._now()
            last_s = clock() - started_s
            pieces.append(Piece(last_s, piece))
            data += piece

    def _trace(self, direction: str, data: bytes) -> None:
        if self._wire is not None:
            self._wire.info(
                "wire",
                line=self._name,
                direction=direction,
                bytes=data.hex(" ").upper(),
            )
