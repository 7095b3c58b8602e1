"""A serial port: an RS-485 converter in this machine, or a pseudo-terminal of a simulator."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final

import serial
import serial_asyncio

from protocols.channels.streams import StreamChannel, reason
from protocols.errors import LineDown

PSEUDO_TERMINALS: Final = "/dev/pts/"
EARLY_S: Final = 0.003
"""The port is looked at again this long before an answer must be complete: an event loop counts in
milliseconds."""


class SerialChannel(StreamChannel):
    """Opens `device` for us alone.

    Most meters speak 8E1 at 2400 Bd; a converter on 8N1 shows only garbage. A
    pseudo-terminal has no parity and refuses to be told one: there, and only there, it is opened
    without.
    """

    def __init__(
        self,
        device: str,
        baud: int = 2400,
        parity: str = "E",
        data_bits: int = 8,
        stop_bits: float = 1,
    ) -> None:
        super().__init__(f"serial {device} {baud} Bd {data_bits}{parity}{stop_bits:g}")
        self.byte_s = (1 + data_bits + (parity != "N") + stop_bits) / baud
        self._device = device
        self._looking: asyncio.TimerHandle | None = None
        """Set while the channel rests."""
        is_pseudo = os.path.realpath(device).startswith(PSEUDO_TERMINALS)
        self._settings = {
            "baudrate": baud,
            "parity": serial.PARITY_NONE if is_pseudo else parity,
            "bytesize": data_bits,
            "stopbits": stop_bits,
            "exclusive": True,
        }

    def rest(self, for_s: float) -> None:
        """See StreamChannel: the process wakes once for an answer, not for each of its bytes."""
        if for_s > 2 * EARLY_S and self._transport is not None:
            # Bytes pile up in the kernel meanwhile: 4096 of them, more than an answer has.
            if self._looking is not None:
                self._looking.cancel()
            else:
                self._transport.pause_reading()
            self._looking = asyncio.get_running_loop().call_later(for_s - EARLY_S, self._look_again)

    def unread(self) -> int:
        """See StreamChannel."""
        if self._transport is None or self._looking is None:
            return 0
        with suppress(OSError):  # it was pulled out: the next read tells
            return int(self._transport.get_extra_info("serial").in_waiting)
        return 0

    def writer(self) -> Callable[[bytes], None]:
        """See StreamChannel."""
        return self.write

    def write(self, data: bytes) -> None:
        """See StreamChannel. A port nearly always takes a frame at once: that saves a wake-up."""
        transport = self._transport
        if self._down is None and transport is not None and not transport.get_write_buffer_size():
            with suppress(OSError):  # not now, or never again: its transport finds out which
                written = os.write(transport.get_extra_info("serial").fileno(), data)
                data = data[written:]
        if data:
            super().write(data)

    def _look_again(self) -> None:
        """Read what came.

        The listener may rest again at once; only if not, the loop watches the port.
        """
        looking = self._looking
        self._looking = None
        if looking is None or self._transport is None:
            return
        port = self._transport.get_extra_info("serial")
        try:
            data = os.read(port.fileno(), 4096) if port.in_waiting else b""
        except OSError:
            data = b""  # gone: its transport says so when it reads
        if data:
            self._looking = looking
            self.data_received(data)
            if self._looking is not looking:
                return
            self._looking = None
        self._transport.resume_reading()

    async def _connect(self) -> None:
        try:
            await serial_asyncio.create_serial_connection(
                asyncio.get_running_loop(), lambda: self, self._device, **self._settings
            )
        except OSError as error:
            hint = " (is this user in the group dialout?)" if error.errno == errno.EACCES else ""
            words = os.strerror(error.errno) if error.errno else reason(error)
            if isinstance(error.__context__, termios.error):
                words = "it is no serial port"
            raise LineDown(f"{self.name}: cannot open: {words}{hint}") from error
        except (ValueError, termios.error) as error:
            raise LineDown(f"{self.name}: refuses these settings: {error}") from error
        # Its transport calls `connection_made` in the next round of the loop.
        await asyncio.sleep(0)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
        await super().__aexit__(kind, error, traceback)
