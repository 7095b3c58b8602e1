"""Whether a gateway's messages still reach us: its subscriptions, and a message of our own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import structlog

from daemon import metrics
from daemon.acquisition.broker.requests import BrokerRequests, new_token
from protocols.channels.mqtt.connection import MqttConnection, PublishRefused, SubscriptionRefused
from protocols.errors import LineDown, NoReply
from protocols.mqtt.events import Echoed, Family

log = structlog.get_logger("gateway")

CHECK_S = 60.0
"""Interval at which a refused subscription is requested again, and our own message is sent."""


class Subscriptions:
    """The subscriptions of one gateway."""

    __slots__ = (
        "_beat",
        "_broker_name",
        "_check_at",
        "_family",
        "_line",
        "_refused",
        "_requests",
        "received",
    )

    def __init__(
        self,
        line: str,
        broker_name: str,
        family: Family,
        requests: BrokerRequests,
        beat: Callable[[], None],
    ) -> None:
        self._line = line
        self._broker_name = broker_name
        self._family = family
        self._requests = requests
        self._beat = beat
        self._refused: list[str] = []
        self._check_at = 0.0
        self.received = 0
        """Number of messages that came, of any kind."""

    async def open(self, connection: MqttConnection) -> None:
        """Subscribe anew, and look at once whether that works."""
        self._check_at = 0.0
        self._refused = await self._subscribe(connection, self._family.subscriptions)

    async def check(self, connection: MqttConnection) -> bool:
        """True while all are granted.

        From time to time those that were refused are requested again, and our own message is sent:
        a subscription may be lost without notice. LineDown when nothing is received any more.
        """
        if time.monotonic() < self._check_at:
            return not self._refused
        self._check_at = time.monotonic() + CHECK_S
        self._refused = await self._subscribe(connection, self._refused)
        if self._family.echo is not None and not self._refused:
            received_before = self.received
            echo = self._family.echo(new_token())
            try:
                await self._requests.ask(
                    connection,
                    None,
                    echo,
                    "its own message",
                    Echoed,
                )
            except PublishRefused as error:
                log.warning(
                    "self-test refused",
                    line=self._line,
                    error=str(error),
                )
            except NoReply:
                if self.received == received_before:
                    reason = f"{self._broker_name}: our own message did not come back"
                    raise LineDown(reason) from None
        return not self._refused

    async def _subscribe(self, connection: MqttConnection, topics: Iterable[str]) -> list[str]:
        """One by one, each acknowledged by the broker; returns those that were refused."""
        refused = []
        for topic in topics:
            self._beat()
            try:
                granted = await connection.subscribe(topic)
            except SubscriptionRefused as error:
                refused.append(topic)
                metrics.REPLIES.labels(self._line, "subscription_refused").inc()
                log.error(
                    "subscription refused",
                    line=self._line,
                    topic=topic,
                    error=str(error),
                )
                continue
            if granted == 0:
                log.warning(
                    "subscription without delivery promise",
                    line=self._line,
                    topic=topic,
                )
        return refused
