"""A serial port: an RS-485 converter in this machine, or a pseudo-terminal of a simulator."""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from typing import Final

import serial
import serial_asyncio

from protocols.channels.streams import StreamChannel, reason
from protocols.errors import LineDown

PSEUDO_TERMINALS: Final = "/dev/pts/"


class SerialChannel(StreamChannel):
    """Opens `device` for us alone. Most meters speak 8E1 at 2400 Bd; a converter on 8N1 shows only garbage.

    A pseudo-terminal has no parity and refuses to be told one: there, and only there, it is opened without.
    """

    def __init__(
        self, device: str, baud: int = 2400, parity: str = "E", data_bits: int = 8, stop_bits: float = 1
    ) -> None:
        super().__init__(f"serial {device} {baud} Bd {data_bits}{parity}{stop_bits:g}")
        self._device = device
        is_pseudo = os.path.realpath(device).startswith(PSEUDO_TERMINALS)
        self._settings = {
            "baudrate": baud,
            "parity": serial.PARITY_NONE if is_pseudo else parity,
            "bytesize": data_bits,
            "stopbits": stop_bits,
            "exclusive": True,
        }

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader: asyncio.StreamReader
        writer: asyncio.StreamWriter
        try:
            reader, writer = await serial_asyncio.open_serial_connection(url=self._device, **self._settings)
        except OSError as error:
            hint = " (is this user in the group dialout?)" if error.errno == errno.EACCES else ""
            words = os.strerror(error.errno) if error.errno else reason(error)
            raise LineDown(f"{self.name}: cannot open: {words}{hint}") from error
        except (ValueError, termios.error) as error:
            raise LineDown(f"{self.name}: refuses these settings: {error}") from error
        return reader, writer
