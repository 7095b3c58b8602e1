"""Whoever opens connections and asks nothing keeps nobody else from being answered."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

from daemon.api import http
from daemon.api.receipts import Receipts
from daemon.runtime import logs
from storage.database import Pool

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(request_s: float = http.REQUEST_S) -> AsyncIterator[int]:
    """The port of a server that is well."""
    with http.listen("127.0.0.1", 0) as port:
        health = {"status": "ok"}
        receipts = Receipts(Pool("", most=1), {})
        serving = asyncio.create_task(
            http.serve(port, lambda: (True, health), lambda: None, receipts, request_s=request_s)
        )
        try:
            yield port.getsockname()[1]
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


async def asked(port: int, head: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    with suppress(ConnectionResetError):
        answer = await reader.read()
    writer.close()
    return answer


def health_request(connection: str = "close") -> bytes:
    return f"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n".encode()


def test_more_silent_callers_than_there_may_be_keep_nobody_out() -> None:
    async def test() -> None:
        async with served() as port:
            silent = [
                await asyncio.open_connection("127.0.0.1", port)
                for _ in range(http.MOST_CONNECTIONS + 5)
            ]
            answer = await asked(port, health_request())
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"status": "ok"}
            gone = [await is_gone(it) for it in silent[:5]]
            assert gone == [True] * 5
            for _, writer in silent:
                writer.close()

    asyncio.run(test())


def test_a_caller_with_many_connections_ends_none_of_another_address() -> None:
    async def test() -> None:
        async with served() as port:
            first = await asyncio.open_connection("127.0.0.1", port)
            many = [
                await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
                for _ in range(2 * http.MOST_CONNECTIONS)
            ]
            assert await is_gone(many[0])
            first[1].write(health_request())
            assert b'"ok"' in await first[0].read()
            for _, writer in (first, *many):
                writer.close()

    asyncio.run(test())


def test_who_never_stops_is_hung_up_on_however_he_was_answered() -> None:
    async def test() -> None:
        async with served(request_s=60) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404")
            with suppress(ConnectionError):
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()
            writer.close()

    asyncio.run(test())


def test_requests_that_are_none_leave_no_line_each(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info")

    async def test() -> None:
        async with served() as port:
            for _ in range(3):
                assert (await asked(port, b"x\r\n\r\n")).startswith(b"HTTP/1.1 400")

    asyncio.run(test())
    assert capfd.readouterr().err == ""


async def is_gone(connection: Connection) -> bool:
    try:
        return await connection[0].read(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_a_request_that_does_not_end_is_hung_up_on(begun: bytes) -> None:
    async def test() -> None:
        async with served(request_s=0.1) as port:
            assert await asked(port, begun) == b""

    asyncio.run(test())


def test_a_connection_may_ask_again_and_again() -> None:
    async def test() -> None:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(health_request("keep-alive"))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert json.loads(await reader.readexactly(len('{"status":"ok"}')))
            writer.close()

    asyncio.run(test())


class Slow(Collector):
    """Metrics that take until somebody says `enough`."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.enough = threading.Event()

    def describe(self) -> Iterable[Metric]:
        """Else it would be collected when it is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        self.began.set()
        assert self.enough.wait(10), "the event loop stood still meanwhile"
        yield Metric("slow", "A metric.", "gauge")


def test_others_are_answered_while_many_metrics_are_told() -> None:
    slow = Slow()

    async def test() -> None:
        async with served() as port:
            metrics = health_request().replace(b"healthz", b"metrics")
            telling = asyncio.create_task(asked(port, metrics))
            assert await asyncio.to_thread(slow.began.wait, 10)
            assert b'"ok"' in await asked(port, health_request())
            slow.enough.set()
            assert b"# HELP slow A metric." in await telling

    REGISTRY.register(slow)
    try:
        asyncio.run(test())
    finally:
        REGISTRY.unregister(slow)


def test_a_head_that_is_too_long_is_refused() -> None:
    async def test() -> None:
        async with served() as port:
            head = b"GET /healthz HTTP/1.1\r\nX: " + b"x" * http.LONGEST_HEAD
            assert (await asked(port, head)).startswith(b"HTTP/1.1 400")

    asyncio.run(test())


POSTING = (
    b"POST /receipts HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"
)


@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_request_that_never_becomes_whole_is_no_fault_of_the_daemon(
    hangs_up: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(POSTING)
            assert b"100" in await reader.readuntil(b"\r\n\r\n")  # its body is waited for
            if hangs_up:
                writer.transport.abort()
                assert b"ok" in await asked(port, health_request())
        writer.transport.abort()

    asyncio.run(test())
    assert [it for it in caplog.messages if it.startswith("Exception")] == []
