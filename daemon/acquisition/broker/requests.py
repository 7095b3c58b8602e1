"""Requests and commands under way through one gateway, and what waits for their answers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import structlog

from daemon import metrics
from daemon.acquisition.broker.complaints import Complaints
from protocols.channels.mqtt.connection import MqttConnection
from protocols.errors import NoReply
from protocols.mqtt.events import Answered, Echoed, Event, Outgoing, PresenceReport

wire = structlog.get_logger("wire")


@dataclass(frozen=True, slots=True)
class _Expected:
    """An answer that is waited for.

    `device`: the addressee, None for ourselves; `kinds`: of the events that are an answer."""

    device: str | None
    kinds: tuple[type, ...]
    answer: asyncio.Future[Event]


class BrokerRequests:
    """Matches answers with requests by their tokens, and by the device addressed."""

    __slots__ = ("_complaints", "_expected", "_is_traced", "_line", "reply_timeout_s")

    def __init__(
        self,
        line: str,
        *,
        reply_timeout_s: float,
        is_traced: bool,
        complaints: Complaints,
    ) -> None:
        self._line = line
        self._is_traced = is_traced
        self._complaints = complaints
        self._expected: dict[str | None, _Expected] = {}
        """By token."""
        self.reply_timeout_s = reply_timeout_s

    def __len__(self) -> int:
        return len(self._expected)

    async def ask(
        self,
        connection: MqttConnection,
        device: str | None,
        outgoing: Outgoing,
        what: str,
        *kinds: type,
    ) -> Event:
        """Send a request or command and wait for its answer.

        That is an event of these kinds, or an Answered, with its token and device. NoReply when
        none comes in time; `what` is for its text. PublishRefused when the broker refuses it.
        """
        answer: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._expected[outgoing.token] = _Expected(device, kinds, answer)
        try:
            self.show("tx", outgoing.topic, outgoing.payload)
            await connection.publish(
                outgoing.topic,
                outgoing.payload,
                qos=outgoing.qos,
                # A request that is delivered later would be answered in vain.
                expires_s=max(1, round(self.reply_timeout_s)),
            )
            async with asyncio.timeout(self.reply_timeout_s):
                return await answer
        except TimeoutError:
            metrics.REPLIES.labels(self._line, "no_reply").inc()
            raise NoReply(
                f"{self._line} did not answer {what} within {self.reply_timeout_s:.1f} s"
            ) from None
        finally:
            del self._expected[outgoing.token]

    def fulfil(self, event: Event) -> None:
        """Hand an event to the request that waits for it, if one does.

        One message may hold more than was requested, all of it with the token of the request.
        """
        if isinstance(event, PresenceReport):
            return
        expected = self._expected.get(event.token)
        if expected is None:
            return
        # R05: the answer must be of the device addressed, whatever token it has.
        if not isinstance(event, Echoed) and event.device != expected.device:
            metrics.REPLIES.labels(self._line, "foreign").inc()
            self._complaints.complain(
                f"answer {event.device}",
                "another device answered",
                f"{event.device} instead of {expected.device}",
            )
            return
        is_answer = isinstance(event, (*expected.kinds, Answered))
        if is_answer and not expected.answer.done():
            expected.answer.set_result(event)

    def show(
        self,
        direction: str,
        topic: str,
        payload: bytes,
    ) -> None:
        """Trace one message, where that is wanted."""
        if self._is_traced:
            wire.info(
                "wire",
                line=self._line,
                direction=direction,
                topic=topic,
                payload=payload,
            )


def new_token() -> str:
    """What the answer to a request will carry."""
    return uuid4().hex
