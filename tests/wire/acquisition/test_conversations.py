"""Two protocols on one line: what one conversation leaves behind is listened to before the other
asks."""

from __future__ import annotations

import asyncio

import pytest

from daemon.acquisition.conversations import Conversations
from daemon.acquisition.wakeup import Signal
from protocols.channels.conversation import Timing
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.exchanges import CODEC_2007, read_energy
from protocols.errors import NoReply
from protocols.modbus.blocks import Block
from protocols.modbus.exchanges import codec_rtu, read_block

STALE, TRUE = 0x0001, 0x0002


def rtu_answer(register: int) -> bytes:
    """Unit 5 answers function 03 with one register."""
    body = bytes((5, 3, 2)) + register.to_bytes(2, "big")
    crc = 0xFFFF
    for byte in body:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return body + crc.to_bytes(2, "little")


def test_what_came_for_nobody_is_no_answer_to_a_question_of_the_other_protocol() -> None:
    async def story() -> tuple[int, ...]:
        given_up, sent = Signal(), asyncio.Event()

        async def line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)  # a DL/T 645 question, which stays without an answer
            await given_up.wait()
            writer.write(rtu_answer(STALE))
            await writer.drain()
            sent.set()
            await reader.read(100)
            writer.write(rtu_answer(TRUE))
            await reader.read(100)
            writer.close()

        server = await asyncio.start_server(line, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, TcpChannel("127.0.0.1", port) as channel:
            conversations = Conversations(
                channel, line="gate", timing=Timing(reply_timeout_s=0.3, quiet_s=0.1, retries=0)
            )
            with pytest.raises(NoReply):
                await conversations.run(CODEC_2007, read_energy("000000000001"))
            given_up.set()
            await sent.wait()
            return await conversations.run(codec_rtu, read_block(5, Block(3, 0, 1)))

    assert asyncio.run(story()) == (TRUE,)
