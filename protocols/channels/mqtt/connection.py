"""A connection to an MQTT broker that loses nothing with QoS 1.

paho-mqtt speaks the protocol; asyncio waits for its socket. No thread: the connection is made and
TLS is greeted without blocking, and what paho reads and writes goes through a buffer, so that many
messages cost one system call."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from protocols.channels.mqtt.broker_socket import Broker, BufferedSocket, open_socket
from protocols.channels.mqtt.paho_client import (
    PahoClient,
    paho_client,
    publish_properties,
    send_connect,
)
from protocols.channels.streams import reason
from protocols.errors import ControlForbidden, LineDown

MOST_UNREAD: Final = 2000
"""Maximum of messages that wait for us; then the socket is not read, and the broker keeps the
rest."""
MOST_UNREAD_BYTES: Final = 8 * 2**20
MOST_IN_A_ROW: Final = 16
"""Messages that are read, and that are given out, before others have a turn: who publishes without
end holds nobody."""
SILENCE_CHECK_S: Final = 2.0
ANSWER_TIMEOUT_S: Final = 10.0
"""For the broker's CONNACK, SUBACK and PUBACK."""
GRANTED_AT_MOST: Final = 2
"""A SUBACK above this is a refusal: those begin at 80 hex."""


class SubscriptionRefused(LineDown):
    """The broker does not let us listen to a topic: its access list. The broker's operator acts."""


class PublishRefused(LineDown):
    """The broker took a message and said no (MQTT 5 only; with 3.1.1 it says nothing).

    Its operator acts.
    """


class Message:
    """A message from the broker.

    `retained`: it is old, kept by the broker. `duplicate`: it may have come before. With QoS 1 the
    broker keeps it until it is acknowledged.
    """

    __slots__ = ("duplicate", "is_acknowledged", "packet_id", "payload", "qos", "retained", "topic")

    def __init__(self, received: MQTTMessage) -> None:
        try:
            self.topic = received.topic
        except UnicodeDecodeError:
            # Acknowledged like any other, or the broker would send it again and again.
            self.topic = ""
        self.payload = bytes(received.payload)
        self.qos = received.qos
        self.packet_id = received.mid
        self.retained = received.retain
        self.duplicate = received.dup
        self.is_acknowledged = False


class MqttConnection:
    """One connection, used as an async context manager: LineDown when it cannot be made or is lost.

    After a loss a new one is made with the same `client_id` and subscribes anew; the broker then
    sends again what was not acknowledged. `is_control(topic, payload)` knows the messages that can
    move a relay: without `may_control` none of them leaves, and none leaves retained."""

    def __init__(
        self,
        broker: Broker,
        *,
        is_control: Callable[[str, bytes], bool] = lambda topic, payload: False,
        may_control: bool = False,
    ) -> None:
        self.broker = broker
        self.session_present = False
        """The broker still knew us: what came meanwhile is on its way."""
        self._is_control = is_control
        self._may_control = may_control
        self._client: PahoClient | None = None
        self._socket: BufferedSocket
        self._unread: deque[Message] = deque()
        self._unread_bytes = 0
        self._in_a_row = 0
        self._unacknowledged: deque[Message] = deque()
        self._reader: asyncio.Future[None] | None = None
        """Who waits in `receive`."""
        self._is_reading_paused = False
        self._down: LineDown | None = None
        """Why the connection is gone."""
        self._connected: asyncio.Future[None]
        self._waiting: dict[tuple[str, int], asyncio.Future[Any]] = {}
        """Who waits for the broker's answer, by its kind and the packet identifier."""
        self._ticking: asyncio.TimerHandle | None = None
        self._reading_soon: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.broker.connect_timeout_s):
                ready = await open_socket(self.broker)
        except TimeoutError:
            raise self._lost(f"no connection within {self.broker.connect_timeout_s:g} s") from None
        except ssl.SSLCertVerificationError as error:
            raise self._lost(f"cannot connect: {error.verify_message}") from error
        except OSError as error:
            raise self._lost(f"cannot connect: {reason(error)}") from error
        self._socket = BufferedSocket(ready)
        self._connected = self._loop.create_future()
        try:
            self._client = self._new_client(self._socket)
            self._tick()
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._connected
        except TimeoutError:
            await self._close()
            raise self._lost(f"not greeted within {ANSWER_TIMEOUT_S:g} s") from None
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Say good-bye: the last will is not published then.

        What was not acknowledged stays with the broker.
        """
        await self._close()

    def abort(self) -> None:
        """Break off without a good-bye, as a lost machine does: the last will is published."""
        self._go_down("broken off")
        self._forget_socket()
        self._socket.close()

    async def subscribe(self, topic_filter: str, qos: int = 1) -> int:
        """Wait for the broker's answer; returns the QoS it granted.

        SubscriptionRefused when it refuses.
        """
        client = self._open_client()
        code, mid = client.subscribe(topic_filter, qos)
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise self._lost(f"cannot subscribe: {code.name}")
        granted = await self._answer("suback", mid, f"no answer to subscribing {topic_filter}")
        value: int = granted.value
        if value > GRANTED_AT_MOST:
            raise SubscriptionRefused(
                f"{self.broker.name}: subscription to {topic_filter} refused: {granted}"
            )
        return value

    async def receive(self) -> Message:
        """The next message.

        LineDown when the connection is lost. May be cancelled without losing one.
        """
        while not self._unread:
            if self._down is not None:
                raise self._down
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        self._in_a_row = (self._in_a_row + 1) % MOST_IN_A_ROW
        if self._in_a_row == 0:
            await asyncio.sleep(0)
        message = self._unread.popleft()
        self._unread_bytes -= len(message.payload)
        # Only when all of them are taken: else every message would switch reading on and off.
        if not self._unread:
            self._read_on()
        return message

    def acknowledge(self, message: Message) -> None:
        """The broker may forget it.

        Acknowledgements leave in the order of arrival, as the standard demands (MQTT 5,
        section 4.6).

        Nothing happens for QoS 0, for one already acknowledged, and when the connection is
        gone.
        """
        message.is_acknowledged = True
        while self._unacknowledged and self._unacknowledged[0].is_acknowledged:
            first = self._unacknowledged.popleft()
            if self._client is not None and self._down is None:
                self._client.ack(first.packet_id, 1)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        expires_s: int | None = None,
    ) -> None:
        """Send a message; with QoS 1 wait until the broker has it.

        LineDown when that stays unknown.

        `expires_s`: with MQTT 5 the broker drops it after so long. ControlForbidden, before
        anything is sent, for a message that can move a relay when we may not control or
        when it is to be retained.
        """
        self._check_control(topic, payload, retain=retain)
        client = self._open_client()
        properties = publish_properties(self.broker, expires_s)
        info = client.publish(topic, payload, qos, retain, properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise self._lost(f"cannot publish to {topic}: {MQTTErrorCode(info.rc).name}")
        # Nothing acknowledges QoS 0.
        if qos == 0:
            return
        code = await self._answer("puback", info.mid, f"no acknowledgement of a message to {topic}")
        if code.is_failure:
            raise PublishRefused(f"{self.broker.name}: message to {topic} refused: {code}")

    def _check_control(self, topic: str, payload: bytes, *, retain: bool) -> None:
        if not self._is_control(topic, payload):
            return
        if not self._may_control:
            raise ControlForbidden(f"command to {topic} held back: this gateway may not control")
        if retain:
            raise ControlForbidden(
                f"command to {topic} held back: a retained command would act again and again"
            )

    async def _answer(self, kind: str, mid: int, otherwise: str) -> Any:
        """The broker's answer. It comes behind the messages that wait for us, so those are read."""
        future = self._waiting[kind, mid] = self._loop.create_future()
        self._read_on()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise self._lost(f"{otherwise} within {ANSWER_TIMEOUT_S:g} s") from None
        finally:
            del self._waiting[kind, mid]

    def _open_client(self) -> PahoClient:
        if self._down is not None:
            raise self._down
        if self._client is None:
            raise self._lost("not open")
        return self._client

    def _new_client(self, ready: BufferedSocket) -> PahoClient:
        """A client that has just sent its CONNECT over the socket."""
        client = paho_client(self.broker, ready)
        client.on_connect = self._on_connect
        client.on_disconnect = lambda client, data, flags, code, properties: self._go_down(
            f"connection lost: {code}"
        )
        client.on_message = self._on_message
        client.on_subscribe = lambda client, data, mid, codes, properties: self._resolve(
            "suback", mid, codes[0]
        )
        client.on_publish = lambda client, data, mid, code, properties: self._resolve(
            "puback", mid, code
        )
        client.on_socket_open = lambda client, data, opened: self._loop.add_reader(
            ready.fileno(), self._read
        )
        client.on_socket_close = lambda client, data, closed: self._forget_socket()
        client.on_socket_register_write = self._on_something_to_write
        send_connect(client, self.broker)
        return client

    # --- what the event loop calls

    def _read(self) -> None:
        if self._client is None or self._reading_soon is not None:
            return
        if not self._socket.has_unread:
            self._socket.fill()
        for _ in range(MOST_IN_A_ROW):
            if not self._socket.has_unread:
                break
            self._client.loop_read()
        is_full = len(self._unread) >= MOST_UNREAD or self._unread_bytes >= MOST_UNREAD_BYTES
        if is_full and self._down is None and not self._waiting:
            self._is_reading_paused = True
            self._loop.remove_reader(self._socket.fileno())
        elif self._socket.has_unread:
            self._read_soon()

    def _read_on(self) -> None:
        if self._is_reading_paused and self._down is None:
            self._is_reading_paused = False
            self._loop.add_reader(self._socket.fileno(), self._read)
            self._read_soon()

    def _read_soon(self) -> None:
        """What is in the buffer already: nothing new need come for it."""
        if self._reading_soon is None:
            self._reading_soon = self._loop.call_soon(self._read_rest)

    def _read_rest(self) -> None:
        self._reading_soon = None
        self._read()

    def _write(self) -> None:
        if self._client is None:
            return
        self._client.loop_write()
        if self._socket.is_closed:
            return
        try:
            is_flushed = self._socket.flush()
        except OSError as error:
            self._go_down(f"sending failed: {reason(error)}")
            return
        if is_flushed:
            # What paho held back while the buffer was full goes in the next round.
            self._loop.remove_writer(self._socket.fileno())
            if self._client.want_write():
                self._loop.call_soon(self._write)
        else:
            self._loop.add_writer(self._socket.fileno(), self._write)

    def _tick(self) -> None:
        """Pings. Not while reading is paused: the broker's answer could not be heard."""
        if self._client is not None and not self._is_reading_paused:
            self._client.loop_misc()
        self._ticking = self._loop.call_later(SILENCE_CHECK_S, self._tick)

    def _forget_socket(self) -> None:
        if self._socket.is_closed:
            return
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())

    # --- what paho calls

    def _on_something_to_write(self, client: Client, data: Any, ready: Any) -> None:
        # Not at once: paho calls this in the middle of what it does.
        self._loop.call_soon(self._write)

    def _on_connect(
        self,
        client: Client,
        data: Any,
        flags: ConnectFlags,
        code: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if self._connected.done():
            return
        if code.is_failure:
            self._connected.set_exception(self._lost(f"the broker refused us: {code}"))
        else:
            self.session_present = flags.session_present
            self._connected.set_result(None)

    def _on_message(self, client: Client, data: Any, received: MQTTMessage) -> None:
        message = Message(received)
        self._unread.append(message)
        self._unread_bytes += len(message.payload)
        if received.qos:
            self._unacknowledged.append(message)
        self._wake_reader()

    def _resolve(self, kind: str, mid: int, result: Any) -> None:
        future = self._waiting.get((kind, mid))
        if future is not None and not future.done():
            future.set_result(result)

    # --- the end

    def _go_down(self, why: str) -> None:
        """Those who wait get a LineDown.

        What was received is still given out; it can no longer be acknowledged.
        """
        if self._down is not None:
            return
        self._down = self._lost(why)
        for future in (self._connected, *self._waiting.values()):
            if not future.done():
                future.set_exception(self._down)
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _lost(self, why: str) -> LineDown:
        return LineDown(f"{self.broker.name}: {why}")

    async def _close(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        client = self._client
        if client is None:
            return
        self._client = None
        if self._down is None:
            # DISCONNECT, or the broker would publish the last will.
            self._down = self._lost("closed")
            client.disconnect()
            client.loop_write()
        self._forget_socket()
        self._socket.close()
        if self._connected.done() and not self._connected.cancelled():
            self._connected.exception()  # looked at, or asyncio would log it: it was raised already
