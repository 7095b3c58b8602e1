"""A channel that lets reads through and nothing else: what only looks can do no harm."""

from __future__ import annotations

from types import TracebackType
from typing import Final, Self, TypeVar

from protocols.channels.streams import StreamChannel
from protocols.dlt645 import functions, functions_1997
from protocols.dlt645.frame import Decoder
from protocols.errors import ControlForbidden
from protocols.exchange import Skipped, StreamDecoder
from protocols.modbus import frame as modbus
from protocols.modbus import functions as modbus_functions

F = TypeVar("F")

DLT645_READS: Final = frozenset(
    (
        functions.READ,
        functions.READ_FOLLOW,
        functions.READ_ADDRESS,
        functions_1997.READ,
        functions_1997.READ_FOLLOW,
    )
)
MODBUS_READS: Final = modbus_functions.REGISTER_READS | modbus_functions.BIT_READS


class ReadOnly:
    """An open channel without its writes. `sent`: the frames that left."""

    def __init__(self, channel: StreamChannel) -> None:
        self.sent = 0
        self._channel = channel

    @property
    def byte_s(self) -> float:
        """Seconds that a byte takes on the wire."""
        return self._channel.byte_s

    async def send(self, data: bytes) -> None:
        """ControlForbidden, before anything leaves, for what is no read; LineDown."""
        if not is_read(data):
            raise ControlForbidden(f"only reads may be sent here, this is none: {data.hex(' ')}")
        self.sent += 1
        await self._channel.send(data)

    async def receive(self) -> bytes:
        """Some bytes, as soon as they come. LineDown."""
        return await self._channel.receive()

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.__aexit__(kind, error, traceback)


def is_read(data: bytes) -> bool:
    """True for exactly one question that no meter takes for an order, in whichever protocol."""
    frame = _only(Decoder(), data)
    if frame is not None:
        return not frame.is_response and frame.function in DLT645_READS
    for decoder in (modbus.rtu_requests(), modbus.tcp_requests()):
        request = _only(decoder, data)
        if request is not None:
            return request.function in MODBUS_READS
    return False


def _only(decoder: StreamDecoder[F], data: bytes) -> F | None:
    """The one frame that all of the bytes are."""
    found = decoder.feed(data) + decoder.flush()
    if len(found) != 1 or isinstance(found[0], Skipped):
        return None
    return found[0]
