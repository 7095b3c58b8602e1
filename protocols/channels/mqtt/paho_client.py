"""A client of paho for one broker, on a socket that is connected already."""

from __future__ import annotations

from typing import Any, Final

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from protocols.channels.mqtt.broker_socket import Broker, BufferedSocket

RECEIVE_MAXIMUM: Final = 1000
"""MQTT 5: unacknowledged messages under way to us. For 3.1.1 the broker decides (mosquitto: 20)."""

MOST_OF_A_PACKET: Final = 2**20
"""Bytes, MQTT 5: the broker keeps what is larger to itself."""


class PahoClient(Client):
    """paho's own way of connecting would block everything else."""

    ready: BufferedSocket

    def _create_socket(self) -> Any:
        return self.ready


def paho_client(broker: Broker, ready: BufferedSocket) -> PahoClient:
    """A client that has not yet sent its CONNECT: set the callbacks, then `send_connect`."""
    is_5 = broker.version == "5"
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        broker.client_id,
        # With MQTT 5 paho wants it said in CONNECT.
        clean_session=None if is_5 else not broker.keep_session,
        protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        # A message is acknowledged when it is stored, not when it is read.
        manual_ack=True,
    )
    client.ready = ready
    # 0 is no bound: each caller waits for its acknowledgement, so few are under way.
    client.max_queued_messages_set(0)
    if broker.user is not None:
        client.username_pw_set(broker.user, broker.password)
    if broker.will is not None:
        topic, payload = broker.will
        client.will_set(topic, payload, qos=1, retain=True)
    return client


def send_connect(client: PahoClient, broker: Broker) -> None:
    """Greet the broker; its answer comes to `on_connect`."""
    if broker.version != "5":
        client.connect(broker.host, broker.port, broker.keepalive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = broker.session_expiry_s if broker.keep_session else 0
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.MaximumPacketSize = MOST_OF_A_PACKET
    client.connect(
        broker.host,
        broker.port,
        broker.keepalive_s,
        clean_start=not broker.keep_session,
        properties=properties,
    )


def publish_properties(broker: Broker, expires_s: int | None) -> Properties | None:
    """What makes the broker drop a message later; None with 3.1.1, which knows no expiry."""
    if expires_s is None or broker.version != "5":
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = max(1, expires_s)
    return properties
