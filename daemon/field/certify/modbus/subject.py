"""A Modbus meter on the bench, and what every check asks of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon.field.certify.bench import Bench, CheckFailed, Reply, hexed, need
from protocols.exchange import Skipped
from protocols.modbus import frame as modbus
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import read_block
from protocols.modbus.frame import Frame
from protocols.modbus.profile import Profile


@dataclass
class Subject:
    """The slave on the bench. `is_tcp`: Modbus TCP with its own header; else RTU, over TCP too.

    `profile`: None where nobody said what stands in its registers; then register 0 is read."""

    bench: Bench
    unit: int
    is_tcp: bool
    profile: Profile | None = None

    def encoded(self, frame: Frame) -> bytes:
        """The bytes of a request."""
        return modbus.encode_tcp(frame) if self.is_tcp else modbus.encode_rtu(frame)

    def block(self) -> Block:
        """A read that a good meter answers."""
        if self.profile is None:
            return Block(3, 0, 2)
        item = self.profile.items[0]
        return Block(item.function, item.first, item.span)

    async def answer(self, frame: Frame) -> Frame:
        """The one good answer to a request; an exception is one. CheckFailed."""
        return self.only(await self.bench.ask(self.encoded(frame)), frame)

    async def read(self, block: Block) -> Frame:
        """The answer to a read; an exception is one."""
        return await self.answer(request_of(self.unit, block))

    def only(self, reply: Reply, request: Frame) -> Frame:
        """The only frame that came, from the unit that was asked, of its function."""
        need(bool(reply.data), "silence")
        found = frames_in(reply.data, is_tcp=self.is_tcp)
        need(len(found) == 1, f"not one answer but {hexed(reply.data)}")
        frame = found[0]
        if isinstance(frame, Skipped):
            raise CheckFailed(f"no good frame ({frame.reason}): {hexed(reply.data)}")
        need(frame.unit == request.unit, f"unit {frame.unit} answers for {request.unit}")
        need(
            frame.function == request.function,
            f"function {frame.function:02X} answers {request.function:02X}",
        )
        return frame


def request_of(unit: int, block: Block) -> Frame:
    """The request that reads a block."""
    return next(read_block(unit, block))


def frames_in(data: bytes, *, is_tcp: bool) -> list[Frame | Skipped]:
    """Answers, and what is none."""
    decoder = modbus.tcp_answers() if is_tcp else modbus.rtu_answers()
    return decoder.feed(data) + decoder.flush()


def is_whole(is_tcp: bool) -> Callable[[bytes], bool]:
    """Whether bytes are one whole answer."""

    def holds(data: bytes) -> bool:
        decoder = modbus.tcp_answers() if is_tcp else modbus.rtu_answers()
        return any(not isinstance(item, Skipped) for item in decoder.feed(data))

    return holds
