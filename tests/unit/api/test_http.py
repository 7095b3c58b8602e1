"""Whoever opens connections and asks nothing keeps nobody else from being answered."""

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from daemon.api import http, http_connection
from daemon.api.receipts import Receipts
from daemon.runtime import logs
from storage.database import Pool

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def served(request_s: float = http_connection.REQUEST_S) -> AsyncIterator[int]:
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


async def silent(port: int, address: str) -> Connection:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


def test_more_silent_callers_than_there_may_be_keep_nobody_out() -> None:
    async def test() -> None:
        async with served() as port:
            callers = [
                await asyncio.open_connection("127.0.0.1", port)
                for _ in range(http_connection.MOST_CONNECTIONS + 5)
            ]
            answer = await asked(port, health_request())
            assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"status": "ok"}
            assert [await is_gone(it) for it in callers[:5]] == [True] * 5
            for _, writer in callers:
                writer.close()

    asyncio.run(test())


def test_a_caller_with_many_connections_ends_none_of_another_address() -> None:
    async def test() -> None:
        async with served() as port:
            first = await asyncio.open_connection("127.0.0.1", port)
            many = [
                await silent(port, "127.0.0.2") for _ in range(2 * http_connection.MOST_CONNECTIONS)
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
            writer.write(posting(b"Content-Length: 262144"))
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


def posting(*lines: bytes) -> bytes:
    return b"\r\n".join((b"POST /nowhere HTTP/1.1", b"Host: x", *lines, b"", b""))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        pytest.param(posting(b"X: " + b"x" * http_connection.LONGEST_HEAD), 431, id="long"),
        pytest.param(posting(*[b"X: y"] * http_connection.MOST_HEAD_LINES), 431, id="many lines"),
        pytest.param(b"x" * 2 * http_connection.LONGEST_HEAD, 431, id="without end"),
        pytest.param(bytes(range(256)) + b"\n\n", 400, id="no words"),
        pytest.param(b"GET /healthz\r\n\r\n", 400, id="no request"),
        pytest.param(posting(b"Content-Length: 262145"), 413, id="long body"),
        pytest.param(posting(b"content-length :" + b"9" * 9000), 413, id="body without end"),
        pytest.param(posting(b"Transfer-Encoding: chunked"), 411, id="chunks"),
        pytest.param(posting(b"TRANSFER-ENCODING: gzip, chunked"), 411, id="other chunks"),
    ],
)
def test_what_would_cost_much_is_refused_before_it_is_read(head: bytes, status: int) -> None:
    async def test() -> None:
        async with served() as port:
            answer = await asked(port, head + b"1\r\nx\r\n" * 1000)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())

    asyncio.run(test())


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(posting(b"Transfer-Encoding: chunked") + b"1\r\nx\r\n" * 150_000, id="chunks"),
        pytest.param(b"GET / HTTP/1.1\nHost:x\n\n" * 40_000, id="requests at once"),
    ],
)
def test_many_small_things_keep_nobody_waiting(said: bytes) -> None:
    """To look at each would take seconds of the event loop."""

    async def test() -> None:
        async with served() as port:
            crowd = [await silent(port, "127.0.0.2") for _ in range(16)]
            for _, writer in crowd:
                writer.write(said)
            began = time.process_time()
            assert b'"ok"' in await asked(port, health_request())
            assert time.process_time() - began < 0.25
            for _, writer in crowd:
                writer.transport.abort()

    asyncio.run(test())


def test_an_address_that_asks_again_and_again_waits_and_no_other_does() -> None:
    now = 7.0
    turns = http_connection.Turns(lambda: now)
    burst, each_s = http_connection.BURST, 1 / http_connection.REQUESTS_PER_S
    assert [turns.wait_s("a") for _ in range(burst)] == [0.0] * burst
    assert [turns.wait_s("a") for _ in range(3)] == pytest.approx([each_s, 2 * each_s, 3 * each_s])
    assert turns.wait_s("b") == 0
    now += 4.001 * each_s
    assert turns.wait_s("a") == 0
    assert turns.wait_s("a") == pytest.approx(each_s, rel=0.01)
    now += 3600
    assert [turns.wait_s("a") for _ in range(burst - 1)] == [0.0] * (burst - 1)


def test_who_would_wait_longer_than_a_request_lasts_makes_nobody_wait_longer() -> None:
    now = 7.0
    turns = http_connection.Turns(lambda: now)
    waits = [turns.wait_s("a") for _ in range(5000)]
    longest_s = http_connection.REQUEST_S
    assert max(waits) <= longest_s + 1.001 / http_connection.REQUESTS_PER_S
    now += longest_s + 1
    assert turns.wait_s("a") == 0


def test_addresses_that_have_nothing_to_wait_for_are_forgotten() -> None:
    now = 7.0
    turns = http_connection.Turns(lambda: now)
    for address in range(5 * http_connection.MOST_ADDRESSES):
        assert turns.wait_s(str(address)) == 0
        now += 1.0
    assert len(turns) <= http_connection.MOST_ADDRESSES


def test_more_than_a_burst_is_answered_later() -> None:
    more = http_connection.BURST + 10

    async def test() -> None:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            began = time.monotonic()
            writer.write(health_request("keep-alive") * more)
            writer.write_eof()
            assert (await reader.read()).count(b'"ok"') == more
            assert time.monotonic() - began > 9 / http_connection.REQUESTS_PER_S
            writer.close()

    asyncio.run(test())


def test_who_is_refused_and_goes_on_is_not_read_and_hung_up_on() -> None:
    async def test() -> None:
        async with served(request_s=60) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(posting(b"Transfer-Encoding: chunked"))
            assert (await reader.read()).startswith(b"HTTP/1.1 411")
            with suppress(ConnectionError):
                while True:
                    writer.write(bytes(65_536))
                    await writer.drain()
            writer.close()

    asyncio.run(test())


def test_requests_are_read_however_they_are_cut() -> None:
    body = b'{"no": "receipts"}'
    said = b"POST /receipts HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    said = 2 * said + health_request("keep-alive").replace(b"\r\n", b"\n") + health_request()

    async def answers(size: int) -> list[bytes]:
        async with served() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for start in range(0, len(said), size):
                writer.write(said[start : start + size])
                await asyncio.sleep(0)
            answer = await reader.read()
            writer.close()
            return re.findall(rb"HTTP/1.1 (\d+)", answer)

    for size in (1, 7, 64, len(said)):
        assert asyncio.run(answers(size)) == [b"400", b"400", b"200", b"200"]


def test_an_answer_is_given_again_for_as_long_as_it_is_dear_to_make() -> None:
    now = 5.0
    kept = http.Kept(10.0, lambda: now)
    assert not kept.is_for("health")
    answer = kept.keep(Response(b"well"), "health", began=4.95)
    assert kept.is_for("health")
    assert kept.answer is answer
    assert not kept.is_for("other")
    now = 5.49
    assert kept.is_for("health")
    now = 5.51
    assert not kept.is_for("health")


@pytest.mark.parametrize("path", [b"healthz", b"metrics"])
def test_who_asks_again_and_again_lets_nothing_be_found_out_each_time(path: bytes) -> None:
    """Each look takes a moment of the event loop, in which nobody is read."""
    looks = 0

    def look() -> tuple[bool, dict[str, Any]]:
        nonlocal looks
        looks += 1
        time.sleep(0.02)
        return True, {}

    def show() -> None:
        look()

    async def test() -> None:
        with http.listen("127.0.0.1", 0) as port:
            serving = asyncio.create_task(http.serve(port, look, show))
            request = health_request().replace(b"healthz", path)
            await asyncio.gather(*(asked(port.getsockname()[1], request) for _ in range(16)))
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving

    asyncio.run(test())
    assert looks < 8


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
