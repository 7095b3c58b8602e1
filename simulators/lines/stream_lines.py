"""Where the bytes of simulated meters travel: a TCP port or a pseudo-terminal.

Both can be cut and mended."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import socket
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, cast

from protocols.exchange import Skipped
from simulators.lines.bus import AnyMeter, SimulatedBus
from simulators.lines.uart import heard_at

BITS_PER_CHARACTER: Final = 11
"""1 start, 8 data, parity, 1 stop."""
BYTE_GAP_S: Final = 0.5
"""A request that pauses longer inside a frame is over: the meter looks for the next 68."""
CHARACTERS_AT_ONCE: Final = 8
"""A paced answer arrives in pieces of this size, as from the FIFO of a serial port."""
READ_SIZE: Final = 4096

_PTYS: Final = "/dev/pts/"
_ISPEED: Final = 4
_OSPEED: Final = 5
"""Where termios has the speeds."""
_SPEEDS: Final = {
    int(name[1:]): value
    for name, value in vars(termios).items()
    if re.fullmatch(r"B[1-9][0-9]*", name)
}
_BAUDS: Final = {value: baud for baud, value in _SPEEDS.items()}

Cut = Literal["hang_up", "silence"]
"""hang_up: the carrier goes away, as a pulled plug of the converter; silence: no answer comes, as
with a cut bus cable."""


class LinkTaken(OSError):
    """The place for the link of a pseudo-terminal is taken by something that is no link."""


class Talker:
    """Turns the bytes of one reader into the bytes of the meters, at the right times.

    With `baud` each byte takes 11 bits on the wire, both ways; without, only the meters' delay
    counts."""

    def __init__(
        self,
        bus: SimulatedBus,
        baud: int | None,
        write: Callable[[bytes], None],
    ) -> None:
        self.is_deaf = False
        """Set while the line is cut: nothing is received and nothing sent."""
        self._bus = bus
        self._byte_s = BITS_PER_CHARACTER / baud if baud else 0.0
        self._write = write
        self._decoders = bus.new_decoders()
        self._loop = asyncio.get_running_loop()
        self._request_begins = 0.0
        self._request_ends = 0.0
        self._received_at = 0.0
        self._giving_up: asyncio.TimerHandle | None = None
        self._is_closed = False

    def received(self, data: bytes) -> None:
        """Bytes from the reader."""
        if self.is_deaf:
            return
        self._cancel_giving_up()
        now = self._loop.time()
        # DL/T 645-2007: bytes of one frame come within 500 ms of each other.
        if now - self._received_at > BYTE_GAP_S:
            self._reset_decoders()
        self._received_at = now
        if not any(decoder.pending for decoder in self._decoders):
            self._request_begins = now
        self._request_ends = max(now, self._request_ends) + len(data) * self._byte_s
        if not self._answer([decoder.feed(data) for decoder in self._decoders]):
            self._giving_up = self._loop.call_later(BYTE_GAP_S, self._give_up)

    def close(self) -> None:
        """The reader is gone: what it left is no frame any more, and what is still to be sent is
        not."""
        self._is_closed = True
        if self._giving_up:
            self._cancel_giving_up()
            self._tell_skipped([decoder.flush() for decoder in self._decoders])
        self._bus.watch.gone(self)

    def _cancel_giving_up(self) -> None:
        if self._giving_up:
            self._giving_up.cancel()
            self._giving_up = None

    def _give_up(self) -> None:
        self._giving_up = None
        self._answer([decoder.flush() for decoder in self._decoders])

    def _answer(self, found_by_decoder: list[list[Any]]) -> bool:
        """Answer what each protocol's decoder made of the bytes; False when there was no frame."""
        watch = self._bus.watch
        self._tell_skipped(found_by_decoder)
        frames = [it for found in found_by_decoder for it in found if not isinstance(it, Skipped)]
        for frame in frames:
            watch.request(self, frame, self._request_begins)
            answer_ends = self._request_ends
            for after_ms, data in self._bus.answer(frame):
                begins = self._request_ends + after_ms / 1000
                self._send(data, begins)
                answer_ends = max(answer_ends, begins + len(data) * self._byte_s)
            if answer_ends > self._request_ends:
                watch.answer_under_way(self._request_ends, answer_ends)
        # It might keep a decoder of another protocol waiting for its end.
        if frames and len(self._decoders) > 1:
            self._reset_decoders()
        return bool(frames)

    def _tell_skipped(self, found_by_decoder: list[list[Any]]) -> None:
        if len(self._decoders) > 1:  # a frame of one protocol is noise to the others
            return
        for item in found_by_decoder[0]:
            if isinstance(item, Skipped):
                self._bus.watch.skipped(item)

    def _reset_decoders(self) -> None:
        for decoder in self._decoders:
            decoder.reset()

    def _send(self, data: bytes, at: float) -> None:
        if not self._byte_s:
            self._send_at_once(data, at)
            return
        for start in range(0, len(data), CHARACTERS_AT_ONCE):
            part = data[start : start + CHARACTERS_AT_ONCE]
            at += len(part) * self._byte_s
            self._loop.call_at(at, self._write_unless_closed, part)

    def _send_at_once(self, data: bytes, at: float) -> None:
        if at <= self._loop.time():
            self._write_unless_closed(data)
        else:
            self._loop.call_at(at, self._write_unless_closed, data)

    def _write_unless_closed(self, data: bytes) -> None:
        if not self._is_closed and not self.is_deaf:
            self._write(data)


class _Connection(asyncio.Protocol):
    """One reader on a TCP line."""

    def __init__(self, line: TcpLine) -> None:
        self._line = line
        self.transport: asyncio.Transport
        self.talker: Talker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.talker = Talker(
            self._line.bus,
            self._line.baud,
            self.transport.write,
        )
        self.talker.is_deaf = self._line.is_cut
        self._line.connections.add(self)
        if not self._line.is_open:
            # It was accepted while the line was closed, and nobody else would close it.
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.talker.received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.talker.close()
        self._line.connections.discard(self)


class TcpLine:
    """Meters behind one TCP port, for any number of connections at once.

    Port 0 takes a free one and keeps it."""

    def __init__(
        self,
        bus: SimulatedBus,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        baud: int | None = None,
    ) -> None:
        self.bus = bus
        self.host = host
        self.port = port
        self.baud = baud
        self.is_cut = False
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        """Bound and not listening: a line that is cut refuses connections and keeps its port."""

    @property
    def place(self) -> str:
        """Where a reader finds the line."""
        return f"{self.host}:{self.port}"

    @property
    def is_open(self) -> bool:
        """False for a line that was closed or hung up."""
        return self._server is not None

    def whereabouts(self) -> dict[str, str | int]:
        """The same for a program."""
        return {
            "kind": "tcp",
            "host": self.host,
            "port": self.port,
        }

    async def open(self) -> None:
        """OSError when the port is taken."""
        if self._held is None:
            self._held = _bound(self.host, self.port)
            self.port = self._held.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self),
            self.host,
            self.port,
        )

    async def close(self) -> None:
        """No listener, no connection; the port is free for others."""
        await self._hang_up()
        if self._held is not None:
            self._held.close()
            self._held = None

    async def _hang_up(self) -> None:
        # A connection that was accepted in this turn of the loop gets its transport in the next;
        # a server that is closed by then would leave its socket open (CPython 3.11).
        await asyncio.sleep(0)
        if self._server:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.talker.close()
            connection.transport.abort()

    async def cut(self, how: Cut = "hang_up") -> None:
        """Take the line away from its readers until `mend`."""
        self.is_cut = True
        if how == "hang_up":
            await self._hang_up()
        for connection in self.connections:
            connection.talker.is_deaf = True

    async def mend(self) -> None:
        """The line works again, at the same port."""
        self.is_cut = False
        for connection in self.connections:
            connection.talker.is_deaf = False
        if self._server is None:
            await self.open()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that holds a port without listening. OSError when another has it."""
    family, kind, number, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    held = socket.socket(family, kind, number)
    try:
        # With it the server may bind the same port beside this socket, which does not listen.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
    except BaseException:
        held.close()
        raise
    return held


class PtyLine:
    """Meters behind a pseudo-terminal.

    Readers may come and go; `link` is a path that always leads to it. With `baud` the line has
    that speed: a reader that opens it at another one hears garbage and is garbage. (Of the parity
    Linux keeps nothing at a pseudo-terminal.)"""

    def __init__(
        self,
        bus: SimulatedBus,
        *,
        link: Path | None = None,
        baud: int | None = None,
    ) -> None:
        self.bus = bus
        self.link = link
        self.baud = baud
        self.is_cut = False
        self._meter_end = -1
        self._reader_end = -1
        self._talker: Talker | None = None
        self._lock: int | None = None

    @property
    def place(self) -> str:
        """Where a reader finds the line."""
        return str(self.link or os.ttyname(self._reader_end))

    def whereabouts(self) -> dict[str, str | int]:
        """The same for a program."""
        return {"kind": "pty", "device": self.place}

    async def open(self) -> None:
        """LinkTaken when `link` is another bench's, or is none of a pseudo-terminal."""
        if self.link:
            self._lock = _lock_of(self.link)
        try:
            self._open()
        except BaseException:
            self._unlock()
            raise

    def _open(self) -> None:
        self._meter_end, self._reader_end = os.openpty()
        tty.setraw(self._reader_end)
        if self.baud in _SPEEDS:
            # Who leaves it as it is finds a port that somebody has set up.
            modes = termios.tcgetattr(self._reader_end)
            modes[_ISPEED] = modes[_OSPEED] = _SPEEDS[self.baud]
            termios.tcsetattr(self._reader_end, termios.TCSANOW, modes)
        os.set_blocking(self._meter_end, False)
        self._talker = Talker(
            self.bus,
            self.baud,
            self._write,
        )
        asyncio.get_running_loop().add_reader(self._meter_end, self._read)
        if self.link:
            _point(self.link, os.ttyname(self._reader_end))

    async def close(self) -> None:
        """Hang up and remove the link."""
        if self._talker is None:
            return
        self._talker.close()
        self._talker = None
        asyncio.get_running_loop().remove_reader(self._meter_end)
        device = os.ttyname(self._reader_end)
        if self.link and self.link.is_symlink() and os.readlink(self.link) == device:
            self.link.unlink()
        os.close(self._meter_end)
        os.close(self._reader_end)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def cut(self, how: Cut = "silence") -> None:
        """Take the line away from its reader until `mend`."""
        self.is_cut = True
        if how == "hang_up":
            await self.close()
        elif self._talker:
            self._talker.is_deaf = True

    async def mend(self) -> None:
        """The line works again.

        After a hang-up it is behind a new pseudo-terminal, under the same link."""
        self.is_cut = False
        if self._talker is None:
            await self.open()
        else:
            self._talker.is_deaf = False

    def _read(self) -> None:
        with suppress(BlockingIOError):
            data = os.read(self._meter_end, READ_SIZE)
            if self._talker is None:
                return
            baud = self._readers_baud()
            if self.baud is not None and baud != self.baud:
                self.bus.watch.wrong_speed(baud, self.baud)
                data = heard_at(data, baud, self.baud)
            self._talker.received(data)

    def _write(self, data: bytes) -> None:
        """What does not fit into the buffer, because it is not read, is lost as on a wire."""
        if self.baud is not None:
            data = heard_at(data, self.baud, self._readers_baud())
        with suppress(BlockingIOError):
            os.write(self._meter_end, data)

    def _readers_baud(self) -> int:
        """The speed at which the reader opened it; the line's where it is one without a number."""
        speed = termios.tcgetattr(self._reader_end)[_OSPEED]
        return _BAUDS.get(speed, self.baud or 0)


@asynccontextmanager
async def serve_tcp(
    meters: Iterable[AnyMeter] | SimulatedBus,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    baud: int | None = None,
) -> AsyncIterator[TcpLine]:
    """A TCP line with these meters while the block runs."""
    line = TcpLine(
        _bus(meters),
        host=host,
        port=port,
        baud=baud,
    )
    await line.open()
    try:
        yield line
    finally:
        await line.close()


@asynccontextmanager
async def serve_pty(
    meters: Iterable[AnyMeter] | SimulatedBus,
    link: Path | None = None,
    *,
    baud: int | None = None,
) -> AsyncIterator[PtyLine]:
    """A pseudo-terminal with these meters while the block runs.

    `line.place` is the device to open."""
    line = PtyLine(_bus(meters), link=link, baud=baud)
    await line.open()
    try:
        yield line
    finally:
        await line.close()


def _bus(meters: Iterable[AnyMeter] | SimulatedBus) -> SimulatedBus:
    return meters if isinstance(meters, SimulatedBus) else SimulatedBus(meters)


def _lock_of(link: Path) -> int:
    """A lock that goes away with this process, whatever ends it. LinkTaken.

    Not on the link itself, which leads to a device."""
    if link.is_symlink():
        target = os.readlink(link)
        # One that leads nowhere is what a bench left that was killed.
        if link.exists() and not target.startswith(_PTYS):
            raise LinkTaken(f"{link} leads to {target}, which is no pseudo-terminal of a bench")
    elif link.exists():
        raise LinkTaken(f"{link} exists and is no link; the line would overwrite it")
    link.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(link.with_name(f".{link.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise LinkTaken(f"{link} is a line of a bench that runs; stop that first") from None
    return lock


def _point(link: Path, target: str) -> None:
    """Let the link lead to the target, without a moment in which it is missing."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
