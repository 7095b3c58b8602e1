"""Simulated lines over real sockets and real pseudo-terminals."""

import asyncio
import os
import socket
import termios
import tty
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import pytest

from protocols.dlt645.frame import WAKE_UP, Frame, encode
from simulators.lines import stream_lines
from simulators.lines.bus import SimulatedBus
from simulators.lines.faults import Fault
from simulators.lines.stream_lines import (
    BITS_PER_CHARACTER,
    BYTE_GAP_S,
    LinkTaken,
    TcpLine,
    serve_pty,
    serve_tcp,
)
from tests.simulated_meters import simulated_meter

ADDRESSES = ["000000000006", "000000000007"]
REQUEST = WAKE_UP + bytes.fromhex("68 060000000000 68 13 00 E9 16")
ANSWER = bytes.fromhex("FEFEFEFE 68 060000000000 68 93 06 39 33 33 33 33 33 A7 16")
ANSWER_LENGTH = len(ANSWER)
QUIET_S = 0.15
PATIENCE_S = 10


def bus(**what: Any) -> SimulatedBus:
    return SimulatedBus(
        [simulated_meter(address, now=lambda: datetime(2026, 5, 2, 12)) for address in ADDRESSES],
        **what,
    )


class ByteWriter(Protocol):
    """What a reader writes its requests to."""

    def write(self, data: bytes, /) -> object: ...


class Reader:
    """The other end of a line."""

    def __init__(self, reader: asyncio.StreamReader, writer: ByteWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, request: bytes = REQUEST, length: int = ANSWER_LENGTH) -> bytes:
        self.writer.write(request)
        return await asyncio.wait_for(self.reader.readexactly(length), PATIENCE_S)

    async def hears_nothing(self, request: bytes = REQUEST) -> bool:
        self.writer.write(request)
        try:
            return await asyncio.wait_for(self.reader.read(1), QUIET_S) == b""
        except TimeoutError:
            return True
        except OSError:
            return True


@asynccontextmanager
async def tcp_reader(line: TcpLine) -> AsyncIterator[Reader]:
    reader, writer = await asyncio.open_connection(line.host, line.port)
    yield Reader(reader, writer)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def serial_reader(device: str | Path) -> AsyncIterator[Reader]:
    """A raw terminal without pyserial, so that only the line is tested."""
    loop = asyncio.get_running_loop()
    file = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(file)
    stream = asyncio.StreamReader()

    def read() -> None:
        try:
            data = os.read(file, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            stream.feed_data(data)
        else:
            loop.remove_reader(file)
            stream.feed_eof()

    class Writer:
        @staticmethod
        def write(data: bytes) -> None:
            os.write(file, data)

    loop.add_reader(file, read)
    yield Reader(stream, Writer)
    loop.remove_reader(file)
    os.close(file)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


def test_a_meter_answers_over_tcp() -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            assert await reader.ask() == ANSWER

    run(scene())


def test_plain_meters_may_be_served_without_a_bus() -> None:
    async def scene() -> None:
        meter = simulated_meter(ADDRESSES[0], now=lambda: datetime(2026, 5, 2, 12))
        async with serve_tcp([meter]) as line, tcp_reader(line) as reader:
            assert await reader.ask() == ANSWER

    run(scene())


def test_many_readers_share_a_concentrator() -> None:
    async def scene() -> None:
        async with serve_tcp(bus(reply_delay_ms=(0, 20))) as line:
            readers = [await asyncio.open_connection(line.host, line.port) for _ in range(20)]
            asked = [Reader(*streams).ask() for streams in readers for _ in range(1)]
            assert await asyncio.gather(*asked) == [ANSWER] * 20
            for _, writer in readers:
                writer.close()

    run(scene())


def test_a_request_may_come_byte_by_byte_or_with_another() -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            for byte in REQUEST[:-1]:
                reader.writer.write(bytes((byte,)))
                await asyncio.sleep(0)
            assert await reader.ask(REQUEST[-1:]) == ANSWER
            assert await reader.ask(REQUEST + REQUEST, 2 * len(ANSWER)) == ANSWER + ANSWER

    run(scene())


def test_a_bad_checksum_is_met_with_silence() -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            assert await reader.hears_nothing(REQUEST[:-2] + b"\xe8\x16")
            assert await reader.ask() == ANSWER

    run(scene())


def test_a_truncated_request_does_not_make_the_line_deaf() -> None:
    """A header that promises 50 more bytes swallows what follows, but only until the line was
    quiet."""

    async def scene() -> None:
        truncated = bytes.fromhex("68 060000000000 68 11 32")
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            begin = monotonic()
            assert await reader.ask(truncated + REQUEST) == ANSWER
            assert monotonic() - begin > BYTE_GAP_S * 0.9

    run(scene())


def test_what_is_left_of_a_request_is_forgotten_when_the_line_was_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            assert await reader.ask(REQUEST + bytes.fromhex("68 060000000000 68 11 32")) == ANSWER
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.reader.read(1), BYTE_GAP_S * 1.2)
            # Or it would be forgotten later, when the next request has come to nothing.
            monkeypatch.setattr(stream_lines.Talker, "_give_up", lambda wire: None)
            assert await reader.ask() == ANSWER

    run(scene())


def test_the_reply_delay_is_kept() -> None:
    async def scene() -> None:
        async with serve_tcp(bus(reply_delay_ms=(120, 120))) as line, tcp_reader(line) as reader:
            begin = monotonic()
            await reader.ask()
            assert monotonic() - begin > 0.115

    run(scene())


def test_a_split_answer_arrives_in_pieces_and_a_late_one_after_the_next_request() -> None:
    async def scene() -> None:
        async with (
            serve_tcp(bus(faults=[Fault("split", delay_ms=30)])) as line,
            tcp_reader(line) as reader,
        ):
            begin = monotonic()
            assert await reader.ask() == ANSWER
            assert monotonic() - begin > 0.055
        late = {ADDRESSES[0]: [Fault("late", delay_ms=80)]}
        async with serve_tcp(bus(meter_faults=late)) as line, tcp_reader(line) as reader:
            reader.writer.write(REQUEST)
            second = encode(Frame(ADDRESSES[1], 0x13))
            assert (await reader.ask(second, 22))[5:6] == b"\x07"
            assert await reader.ask(b"") == ANSWER

    run(scene())


def test_a_tcp_line_is_cut_and_mended_at_the_same_port() -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line:
            async with tcp_reader(line) as reader:
                assert await reader.ask() == ANSWER
                port = line.port
                await line.cut()
                with suppress(ConnectionResetError):
                    assert await asyncio.wait_for(reader.reader.read(), PATIENCE_S) == b""
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(line.host, port)
            await line.mend()
            await line.mend()
            assert line.port == port
            async with tcp_reader(line) as reader:
                assert await reader.ask() == ANSWER

    run(scene())


def test_a_line_that_is_cut_refuses_connections_and_keeps_its_port() -> None:
    async def run() -> None:
        async with serve_tcp(bus()) as line:
            await line.cut()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(line.host, line.port)
            with socket.socket() as another, pytest.raises(OSError, match="in use"):
                another.bind((line.host, line.port))
            await line.mend()
            async with tcp_reader(line) as reader:
                assert await reader.ask() == ANSWER
        with socket.socket() as another:
            another.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            another.bind((line.host, line.port))

    asyncio.run(run())


def test_a_silent_cut_leaves_the_connection_open_and_deaf() -> None:
    async def scene() -> None:
        async with serve_tcp(bus()) as line, tcp_reader(line) as reader:
            await line.cut("silence")
            assert await reader.hears_nothing()
            async with tcp_reader(line) as newcomer:
                assert await newcomer.hears_nothing()
            await line.mend()
            assert await reader.ask() == ANSWER

    run(scene())


def test_a_meter_answers_on_a_pseudo_terminal_to_one_reader_after_another(tmp_path: Path) -> None:
    async def scene() -> None:
        link = tmp_path / "deep" / "bus-1"
        async with serve_pty(bus(), link) as line:
            assert line.place == str(link)
            for _ in range(3):
                async with serial_reader(link) as reader:
                    assert await reader.ask() == ANSWER
        assert not link.is_symlink()

    run(scene())


def test_a_pseudo_terminal_needs_no_link() -> None:
    async def scene() -> None:
        async with serve_pty(bus()) as line, serial_reader(line.place) as reader:
            assert await reader.ask() == ANSWER

    run(scene())


def test_every_byte_value_passes_a_pseudo_terminal() -> None:
    """A terminal that is not raw would eat 03, 0A, 0D, 11 and 13, or send them back."""

    async def scene() -> None:
        request = encode(Frame(ADDRESSES[0], 0x14, bytes(range(200))))
        echoing = bus(faults=[Fault("echo"), Fault("lost_request")])
        async with serve_pty(echoing) as line, serial_reader(line.place) as reader:
            assert await reader.ask(request, len(request)) == request

    run(scene())


def test_a_pseudo_terminal_falls_silent_or_hangs_up_and_comes_back(tmp_path: Path) -> None:
    async def scene() -> None:
        link = tmp_path / "bus-1"
        async with serve_pty(bus(), link) as line:
            async with serial_reader(link) as reader:
                await line.cut()
                assert await reader.hears_nothing()
                await line.mend()
                assert await reader.ask() == ANSWER
                await line.cut("hang_up")
                assert await asyncio.wait_for(reader.reader.read(), PATIENCE_S) == b""
                assert not link.exists()
            await line.mend()
            async with serial_reader(link) as reader:
                assert await reader.ask() == ANSWER

    run(scene())


def test_a_file_in_the_place_of_the_link_is_not_overwritten(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "precious").write_text("data")
        with pytest.raises(LinkTaken, match="precious exists and is no link"):
            async with serve_pty(bus(), tmp_path / "precious"):
                pass
        assert (tmp_path / "precious").read_text() == "data"

    run(scene())


def test_a_stale_link_is_replaced(tmp_path: Path) -> None:
    async def scene() -> None:
        (tmp_path / "bus-1").symlink_to("/nowhere")
        async with (
            serve_pty(bus(), tmp_path / "bus-1") as line,
            serial_reader(line.place) as reader,
        ):
            assert await reader.ask() == ANSWER

    run(scene())


def test_bytes_that_nobody_reads_do_not_stop_the_line() -> None:
    async def scene() -> None:
        heard = asyncio.Event()
        meter = simulated_meter(
            ADDRESSES[0], now=lambda: datetime(2026, 5, 2, 12), journal=lambda event: heard.set()
        )
        freeze = encode(Frame(ADDRESSES[0], 0x16, b"\x99" * 4))
        async with serve_pty([meter]) as line:
            file = os.open(line.place, os.O_RDWR | os.O_NOCTTY)
            for _ in range(6000):
                heard.clear()
                os.write(file, freeze)
                await heard.wait()
            termios.tcflush(file, termios.TCIFLUSH)
            os.close(file)
            async with serial_reader(line.place) as reader:
                assert await reader.ask() == ANSWER

    run(scene())


@pytest.mark.parametrize("baud", [2400, 9600])
def test_bytes_take_their_time_on_a_paced_line(baud: int) -> None:
    async def scene() -> None:
        async with (
            serve_pty(bus(reply_delay_ms=(50, 50)), baud=baud) as line,
            serial_reader(line.place) as reader,
        ):
            begin = monotonic()
            assert await reader.ask(length=1) == ANSWER[:1]
            first = monotonic() - begin
            assert await reader.ask(b"", len(ANSWER) - 1) == ANSWER[1:]
            whole = monotonic() - begin
            byte_s = BITS_PER_CHARACTER / baud
            assert first > len(REQUEST) * byte_s + 0.05
            assert whole > (len(REQUEST) + len(ANSWER)) * byte_s + 0.049

    run(scene())


def test_a_pseudo_terminal_is_raw_for_whoever_opens_it() -> None:
    async def scene() -> None:
        async with serve_pty(bus()) as line:
            file = os.open(line.place, os.O_RDWR | os.O_NOCTTY)
            local_modes = termios.tcgetattr(file)[3]
            os.close(file)
            assert not local_modes & (termios.ECHO | termios.ICANON | termios.ISIG)

    run(scene())
