"""Callers that flood a listener, the HTTP port or the broker of the installed daemon, and what
others feel of it meanwhile.

Run it: `python -m tests.faults.callers`. A terminal that is listed calls again and again while each
flood lasts, and `/healthz` is asked all the time."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from tests.acceptance.stage import Stage, stage
from tests.faults.scene import Watch, own_database
from tests.faults.trial import HEALTHZ_P99_S
from tests.servers import mosquitto
from tests.servers.mosquitto import Mosquitto
from tests.servers.ports import free_port
from tests.servers.postgres import Server, embedded_server

MOST_PER_ADDRESS: Final = 64
BEATS: Final = b"PING" * 16_384
MUCH: Final = 8 * 2**20
LISTENER: Final = """
[[listener]]
name = "gprs"
listen = "127.0.0.1:{port}"
terminals = "terminals.csv"
registration = {{ text = "REG:{{id:5}}\\r\\n" }}
registration_answer = {{ text = "OK\\r\\n" }}
heartbeat = {{ text = "PING" }}
heartbeat_answer = {{ text = "PONG" }}
"""

GATEWAY: Final = """
[[gateway]]
name = "gw-1"
broker = {{ host = "127.0.0.1", port = {port} }}
"""
BROKER: Final = f"log_type none\n{mosquitto.LISTENER}"
UP: Final = "meterd/gw-1/up"
FREEZE: Final = (
    b'{"v":1,"type":"daily_freeze","meter":"%012d","frozen_at":"2026-05-02T00:00:00",'
    b'"read_at":"2026-05-02T00:06:11+08:00","registers":["1234.56"]}'
)

HERE: Final = "127.0.3.1"
"""Who floods HTTP; health is asked from another address."""
REQUEST: Final = b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n"

Flood = Callable[[int, asyncio.Event], Awaitable[None]]
"""Calls this port until the event is set."""


class Ports(NamedTuple):
    """Where is flooded."""

    listener: int
    http: int
    broker: int


@dataclass(frozen=True)
class Felt:
    """What others felt of a flood: seconds."""

    flood: str
    healthz_p99_s: float
    longest_greeting_s: float
    """Until a terminal that is listed was greeted."""
    greetings: int
    log_lines: int


async def heartbeats(port: int, over: asyncio.Event) -> None:
    """One terminal sends 8 MB of heartbeats, calls again, and so on."""
    while not over.is_set():
        await _pour(port, b"REG:flood\r\n" + BEATS, MUCH)


async def anonymous(port: int, over: asyncio.Event) -> None:
    """66 callers send without end and never say who they are."""

    async def one() -> None:
        while not over.is_set():
            await _pour(port, BEATS, MUCH)

    await asyncio.gather(*(one() for _ in range(66)))


async def _pause(over: asyncio.Event) -> None:
    """Who was refused calls again a little later, unless the flood is over."""
    with suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), 0.1)


async def silent(port: int, over: asyncio.Event) -> None:
    """1,024 callers connect, say nothing and call again as soon as they are hung up on."""

    async def one(number: int) -> None:
        here = f"127.0.1.{1 + number // MOST_PER_ADDRESS}"
        while not over.is_set():
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(here, 0)
                )
            except OSError:
                await _pause(over)
                continue
            reading = asyncio.ensure_future(reader.read())
            waiting = asyncio.ensure_future(over.wait())
            await asyncio.wait([reading, waiting], return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            waiting.cancel()
            writer.transport.abort()

    await asyncio.gather(*(one(number) for number in range(1024)))


def asking(callers: int, head: bytes, more: bytes = b"") -> Flood:
    """So many say this over HTTP, and more without end, until they are hung up on; and again."""

    async def one(port: int, over: asyncio.Event, opened: set[asyncio.WriteTransport]) -> None:
        while not over.is_set():
            try:
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=(HERE, 0)
                )
            except OSError:
                await _pause(over)
                continue
            opened.add(writer.transport)
            with suppress(OSError):
                writer.write(head)
                while more and not over.is_set():
                    writer.write(more)
                    await writer.drain()
                if not over.is_set():
                    await reader.read()
            opened.discard(writer.transport)
            writer.transport.abort()

    async def all_of_them(port: int, over: asyncio.Event) -> None:
        opened: set[asyncio.WriteTransport] = set()
        flooding = [asyncio.ensure_future(one(port, over, opened)) for _ in range(callers)]
        await over.wait()
        for it in opened:
            it.abort()
        await asyncio.gather(*flooding)
        await asyncio.sleep(0)  # what was aborted is closed then

    return all_of_them


FLOODS: Final[dict[str, Flood]] = {
    "8 MB of heartbeats": heartbeats,
    "66 anonymous callers": anonymous,
    "1,024 silent callers": silent,
}
HTTP_FLOODS: Final[dict[str, Flood]] = {
    "500 say nothing": asking(500, b""),
    "60 say bytes at random": asking(60, random.Random(12).randbytes(2000) + b"\n\n"),
    "60 begin heads without end": asking(60, b"GET /healthz HTTP/1.1\r\n", b"X: y\r\n" * 100),
    "30 send bodies without end": asking(
        30, REQUEST % (b"POST /healthz", b"Content-Length: 99999999\r\n"), bytes(65_536)
    ),
    "30 send bodies in chunks": asking(
        30, REQUEST % (b"POST /healthz", b"Transfer-Encoding: chunked\r\n"), b"1\r\nx\r\n" * 9999
    ),
    "60 ask for health": asking(60, REQUEST % (b"GET /healthz", b"")),
    "60 ask for metrics": asking(60, REQUEST % (b"GET /metrics", b"")),
}


def publishing(clients: int, message: Callable[[int], tuple[str, bytes]], qos: int) -> Flood:
    """So many clients of the broker publish the messages of all numbers without end.

    Each waits for the broker, so what it keeps for the daemon bounds nobody."""

    def publish(port: int, first: int, over: threading.Event) -> None:
        client = Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        for number in range(first, sys.maxsize, clients):
            if over.is_set():
                break
            topic, payload = message(number)
            sent = client.publish(topic, payload, qos)
            if number // clients % 20 == 0:
                sent.wait_for_publish(1.0)
        client.disconnect()
        client.loop_stop()

    async def all_of_them(port: int, over: asyncio.Event) -> None:
        ended = threading.Event()
        flooding = [asyncio.to_thread(publish, port, it, ended) for it in range(clients)]
        together = asyncio.ensure_future(asyncio.gather(*flooding))
        await over.wait()
        ended.set()
        await together

    return all_of_them


MQTT_FLOODS: Final[dict[str, Flood]] = {
    "freezes of meters that nobody knows": publishing(
        4, lambda n: (f"{UP}/daily_freeze", FREEZE % (n % 10**12)), qos=1
    ),
    "messages of 512 KiB": publishing(4, lambda n: (f"{UP}/daily_freeze", bytes(2**19)), qos=1),
    "JSON of 512 KiB": publishing(
        4, lambda n: (f"{UP}/daily_freeze", b"[" + b"[0]," * 2**17 + b"0]"), qos=1
    ),
    # The broker keeps no count of these: what it has of them comes long after.
    "small messages to many topics": publishing(
        4, lambda n: (f"{UP}/{n % 50_000}", b"x" * 20), qos=0
    ),
}


async def _pour(port: int, data: bytes, total: int) -> None:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return
    try:
        for _ in range(0, total, len(data)):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.transport.abort()
        await asyncio.sleep(0.01)


async def _calls(port: int, over: asyncio.Event) -> list[float]:
    """How long a listed terminal took each time until it was greeted, however often it called."""
    took: list[float] = []
    while not over.is_set():
        began = time.monotonic()
        while not await _is_greeted(port):  # noqa: ASYNC110  nothing tells when to call again
            await asyncio.sleep(0.1)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.2)
    return took


async def _is_greeted(port: int) -> bool:
    """False where it is hung up on: its former connection may not be over for the daemon yet."""
    # Not from the address of the flood: that has its connections, and no more.
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.2.1", 0))
    try:
        writer.write(b"REG:dtu-1\r\n")
        await reader.readuntil(b"OK\r\n")
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.transport.abort()
    return True


@contextmanager
def listening(server: Server, folder: Path) -> Iterator[tuple[Stage, Ports]]:
    """A site with a listener and a gateway; the daemon runs."""
    with (
        own_database(server, f"callers_{time.monotonic_ns()}") as url,
        stage(folder, url, days=2) as staged,
        Mosquitto(folder, BROKER) as broker,
    ):
        ports = Ports(free_port(), staged.http_port, broker.port)
        with staged.site.open("a") as site:
            site.write(LISTENER.format(port=ports.listener) + GATEWAY.format(port=ports.broker))
        (folder / "terminals.csv").write_text("line,terminal\ndtu-1,dtu-1\ndtu-2,flood\n")
        staged.start_daemon()
        staged.until("it is read", lambda: staged.slots_missing() == 0)
        yield staged, ports


def _flood(flood: str, ports: Ports, lasts_s: float) -> None:
    async def scene() -> None:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(lasts_s, over.set)
        for floods, port in zip((FLOODS, HTTP_FLOODS, MQTT_FLOODS), ports, strict=True):
            if flood in floods:
                await floods[flood](port, over)

    asyncio.run(scene())


@contextmanager
def another_process() -> Iterator[Executor]:
    """That has begun: what health takes is not what it costs to flood."""
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        elsewhere.submit(_flood, "60 ask for health", Ports(0, 0, 0), 0.0).result()
        yield elsewhere


def felt(staged: Stage, ports: Ports, flood: str, lasts_s: float, elsewhere: Executor) -> Felt:
    """Let it last so long, from there."""

    async def scene() -> list[float]:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(lasts_s, over.set)
        return await _calls(ports.listener, over)

    lines = staged.log().count("\n")
    watch = Watch(staged)
    flooding = elsewhere.submit(_flood, flood, ports, lasts_s)
    with watch.looking():
        took = asyncio.run(scene())
    flooding.result()
    return Felt(flood, watch.took_s(0.99), max(took), len(took), staged.log().count("\n") - lines)


def main() -> list[str]:
    """Print what was felt of each flood; what took longer than it may, in words."""
    late = []
    print("| flood | `/healthz`, 99 of 100 | a listed terminal is greeted within | lines of log |")
    print("|---|---|---|---|")
    with (
        embedded_server() as server,
        tempfile.TemporaryDirectory(prefix="meterd-", dir="/tmp") as folder,
        listening(server, Path(folder)) as (staged, ports),
        another_process() as elsewhere,
    ):
        for flood in (*FLOODS, *HTTP_FLOODS, *MQTT_FLOODS):
            found = felt(staged, ports, flood, 20.0, elsewhere)
            print(
                f"| {flood} | {found.healthz_p99_s * 1000:.0f} ms | {found.longest_greeting_s:.2f} s "
                f"| {found.log_lines} |",
                flush=True,
            )
            if found.healthz_p99_s > HEALTHZ_P99_S:
                late.append(f"{flood}: /healthz p99 after {found.healthz_p99_s:.2f} s")
    return late


if __name__ == "__main__":
    print("\n".join(main()))
