"""The serial line of a transparent DTU behind a broker."""

from __future__ import annotations

from dataclasses import replace
from types import TracebackType
from typing import Self

from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import MqttConnection
from protocols.errors import FrameError, LineDown
from protocols.mqtt.transparent import Wrapping, unwrap, wrap
from protocols.peer import Peer


class MqttChannel:
    """A Channel: bytes out to the topic `down`, bytes in from the topic `up`.

    The session is new each time: bytes from before are of no use on a line, and a request kept by
    the broker would be sent into the next conversation. Retained bytes are dropped for the same
    reason."""

    def __init__(
        self,
        broker: Broker,
        *,
        down: str,
        up: str,
        wrapping: Wrapping = "raw",
        field: str = "data",
    ) -> None:
        self.name = f"{broker.name} {up}"
        self._broker = replace(broker, keep_session=False)
        self._down = down
        self._up = up
        self._wrapping = wrapping
        self._field = field
        self._connection: MqttConnection | None = None

    @property
    def peer(self) -> Peer:
        """See Channel: who may speak on the topic, the broker decides."""
        return Peer(self.name)

    @property
    def question(self) -> str:
        """See Channel."""
        return ""

    async def send(self, data: bytes) -> None:
        """LineDown when the broker does not take it.

        QoS 0: a request is repeated, never delivered late.
        """
        await self._opened().publish(self._down, wrap(data, self._wrapping, self._field), qos=0)

    async def receive(self) -> bytes:
        """What the DTU sent, at least one byte.

        A payload that is not as agreed is noise and comes as it is.
        """
        connection = self._opened()
        while True:
            message = await connection.receive()
            connection.acknowledge(message)
            if message.retained:
                # An old answer, kept by the broker: it would be taken for that of the next request.
                continue
            try:
                data = unwrap(message.topic, message.payload, self._wrapping, self._field)
            except FrameError:
                data = message.payload
            if data:
                return data

    async def __aenter__(self) -> Self:
        connection = MqttConnection(self._broker)
        await connection.__aenter__()
        try:
            await connection.subscribe(self._up, 0)
        except BaseException:
            await connection.__aexit__(None, None, None)
            raise
        self._connection = connection
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection = self._connection
        self._connection = None
        if connection is not None:
            await connection.__aexit__(kind, error, traceback)

    def _opened(self) -> MqttConnection:
        if self._connection is None:
            raise LineDown(f"{self.name}: not open")
        return self._connection
