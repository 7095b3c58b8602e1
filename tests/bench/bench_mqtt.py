"""CPU of one saturated QoS 1 message, decoded and validated, against bare paho-mqtt that only
receives.

Run it: `python tests/bench/bench_mqtt.py`. A mosquitto of its own keeps a backlog for a persistent
session; the reader connects and takes all of it, so it is never waited for. Only the reader's
process time counts. Judge the ratio."""

from __future__ import annotations

import asyncio
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from protocols.mqtt.events import FreezeReport

sys.path.insert(0, str(Path(__file__).parents[2]))

from protocols.channels.mqtt.broker_socket import Broker
from protocols.channels.mqtt.connection import MqttConnection
from protocols.mqtt.own import OwnForm
from tests.servers.mosquitto import LISTENER, Mosquitto, program

ROUNDS = 5
MESSAGES = 20_000
SETTINGS = LISTENER.replace("listener", "log_type none\nlistener") + (
    "max_queued_messages 0\nmax_inflight_messages 1000\n"
)
FORM = OwnForm("bench", "gw")
TOPIC = "bench/gw/up/daily_freeze"
PAYLOAD = (
    b'{"v":1,"type":"daily_freeze","meter":"000000001600","frozen_at":"2026-05-02T00:00:00",'
    b'"read_at":"2026-05-02T00:06:11+08:00","registers":["1234.56"]}'
)


def fill(port: int) -> None:
    """A backlog for everybody whose session the broker keeps, put there by mosquitto_pub."""
    command = [
        program("mosquitto_pub"),
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "-q",
        "1",
        "-t",
        TOPIC,
        "-l",
    ]
    subprocess.run(command, input=(PAYLOAD + b"\n") * MESSAGES, check=True)


def bare_paho(port: int, count: int) -> float:
    """paho as it comes: its own loop, its own acknowledgements, nothing done with a message. CPU us
    for each."""
    client = Client(
        CallbackAPIVersion.VERSION2,
        "bare",
        clean_session=False,
        protocol=MQTTProtocolVersion.MQTTv311,
    )
    left = count

    def on_message(client: Client, data: Any, message: MQTTMessage) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            client.disconnect()

    client.on_message = on_message
    client.on_connect = lambda client, *rest: client.subscribe(TOPIC, 1)
    client.on_subscribe = lambda client, *rest: None if count else client.disconnect()
    client.connect("127.0.0.1", port)
    began = time.process_time_ns()
    client.loop_forever()
    return (time.process_time_ns() - began) / max(count, 1) / 1000


async def drain(port: int, count: int, *, decode: bool) -> float:
    """Our connection: each message decoded, validated and acknowledged by hand."""
    async with MqttConnection(Broker("127.0.0.1", port, "ours", version="3.1.1")) as connection:
        await connection.subscribe(TOPIC)
        began = time.process_time_ns()
        for _ in range(count):
            message = await connection.receive()
            if decode:
                (event,) = FORM.events(message.topic, message.payload)
                assert isinstance(event, FreezeReport)
                assert event.registers
            connection.acknowledge(message)
        return (time.process_time_ns() - began) / max(count, 1) / 1000


READERS: dict[str, Callable[[int, int], float]] = {
    "bare paho-mqtt, payload not looked at": bare_paho,
    "meterd on asyncio, decoded and validated": lambda port, count: asyncio.run(
        drain(port, count, decode=True)
    ),
    "meterd on uvloop, decoded and validated": lambda port, count: uvloop.run(
        drain(port, count, decode=True)
    ),
    "meterd on uvloop, not decoded": lambda port, count: uvloop.run(
        drain(port, count, decode=False)
    ),
}


def measure() -> dict[str, float]:
    """CPU us of a message, medians over interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in READERS}
    with (
        tempfile.TemporaryDirectory(prefix="meterd-bench-") as folder,
        Mosquitto(Path(folder), SETTINGS) as broker,
    ):
        for _ in range(ROUNDS):
            for name, read in READERS.items():
                read(broker.port, 0)  # the broker learns for whom it has to keep what comes
                fill(broker.port)
                times[name].append(read(broker.port, MESSAGES))
                broker.client(
                    "mosquitto_sub", "-i", "ours", "-t", TOPIC, "-E"
                )  # a clean session ends the kept one
                broker.client("mosquitto_sub", "-i", "bare", "-t", TOPIC, "-E")
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> None:
    """Print the table as it stands in docs/mqtt.md."""
    print(
        f"{datetime.now(UTC).date()}, CPython {platform.python_version()}, {ROUNDS} rounds of {MESSAGES} messages\n"
    )
    print("| reader | CPU us a message | times bare paho |")
    print("|---|---:|---:|")
    found = measure()
    bare = next(iter(found.values()))
    for name, microseconds in found.items():
        print(f"| {name} | {microseconds:.1f} | {microseconds / bare:.2f} |")


if __name__ == "__main__":
    main()
