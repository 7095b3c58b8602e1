"""Callers that send without end, and callers that say nothing: others are served meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest

from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.streams import MOST_A_SECOND, MOST_AT_ONCE
from protocols.channels.tcp import TcpChannel
from protocols.dial_in.registration import (
    LONGEST_GREETING,
    MOST_HEARTBEATS,
    HeartbeatFilter,
    RegistrationSettings,
    heartbeat,
    registration,
)
from protocols.errors import LineDown
from tests.wire.channels.dialling import (
    ALL_FROM_HERE,
    BEAT,
    GREETINGS,
    Caller,
    Run,
    calling,
    listening,
    reg,
    until,
)

MUCH = 8 * 2**20


async def pour(caller: Caller, data: bytes, total: int = MUCH) -> None:
    """As fast as it is taken, until it is hung up on."""
    try:
        for _ in range(0, total, len(data)):
            caller.say(data)
            await caller.writer.drain()
    except ConnectionError:
        pass


def test_a_terminal_that_sends_heartbeats_without_end_is_hung_up_on(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(known=["T1", "T2"]) as terminals,
            calling(terminals, reg("T1")) as caller,
        ):
            await caller.hears(b"OK\r\n")
            await pour(caller, BEAT * 10_000)
            await until(lambda: terminals.counts[DialInEvent.FLOODED] == 1)
            assert "T1" not in terminals.sessions
            assert terminals.counts[DialInEvent.HEARTBEAT] <= 2 * MOST_HEARTBEATS
            async with calling(terminals, reg("T2")) as other:
                await other.hears(b"OK\r\n")

    run(scene())


def test_heartbeats_of_an_outage_that_come_at_once_are_answered_each(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, calling(terminals, reg()) as caller:
            await caller.hears(b"OK\r\n")
            caller.say(BEAT * MOST_HEARTBEATS)
            await caller.hears(b"PONG" * MOST_HEARTBEATS)
            assert "T1" in terminals.sessions

    run(scene())


def test_callers_without_a_name_that_send_without_end_keep_nobody_out(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, AsyncExitStack() as callers:
            pouring = []
            for _ in range(66):
                caller = await callers.enter_async_context(calling(terminals))
                pouring.append(asyncio.create_task(pour(caller, b"\x00" * 65_536)))
            async with calling(terminals, reg()) as terminal:
                await terminal.hears(b"OK\r\n")
            await asyncio.gather(*pouring)
            await until(lambda: terminals.counts[DialInEvent.REGISTRATION_INVALID] == 66)

    bare = RegistrationSettings(GREETINGS.registration, heartbeat("hex", "00"))
    assert bare.read(b"\x00" * MUCH) is None
    run(scene())


def test_callers_that_say_nothing_do_not_keep_a_terminal_out(run: Run) -> None:
    async def scene() -> None:
        limits = replace(ALL_FROM_HERE, most_unregistered=2, left_s=0.0)
        async with (
            listening(limits=limits) as terminals,
            calling(terminals) as first,
            calling(terminals),
            calling(terminals, reg()) as third,
        ):
            await third.hears(b"OK\r\n")
            assert await first.hears_the_end() == b""
            assert terminals.counts[DialInEvent.REGISTRATION_INVALID] == 1

    run(scene())


@pytest.mark.parametrize("beat", ["00", "FE FE", "50 49 4E 47"])
def test_of_heartbeats_without_end_no_more_is_looked_at_than_may_be_sent(beat: str) -> None:
    settings = RegistrationSettings(registration("text", "REG:{id}\r\n"), heartbeat("hex", beat))
    _, beats = HeartbeatFilter(settings, "T1").feed(bytes.fromhex(beat) * 1_000_000, 0.0)
    assert len(beats) == MOST_HEARTBEATS + 1


def test_a_registration_behind_many_heartbeats_is_read_and_behind_too_many_not() -> None:
    many = BEAT * (LONGEST_GREETING // len(BEAT))
    assert GREETINGS.read(many + reg("T9")) == ("T9", len(many + reg("T9")))
    assert GREETINGS.read(many + BEAT + reg("T9")) is None


class Heard:
    """What a line is told of its carrier."""

    def __init__(self) -> None:
        self.size = 0
        self.is_over: asyncio.Future[LineDown] = asyncio.get_running_loop().create_future()

    def heard(self, data: bytes) -> None:
        self.size += len(data)

    def lost(self, error: LineDown) -> None:
        self.is_over.set_result(error)


@pytest.mark.parametrize(
    ("each", "most"),
    [
        pytest.param(2**20, 0, id="at once"),
        pytest.param(MOST_AT_ONCE // 2, MOST_A_SECOND, id="bit by bit"),
    ],
)
def test_a_carrier_that_pours_without_end_is_hung_up_on(each: int, most: int) -> None:
    async def pour_at(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"\x68" * each)
                await writer.drain()
                await asyncio.sleep(0)  # the other end reads
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(pour_at, "127.0.0.1", 0)
        async with server, TcpChannel(*server.sockets[0].getsockname()) as channel:
            heard = Heard()
            channel.listen(heard)
            async with asyncio.timeout(10):
                error = await heard.is_over
            assert "sends more than any meters tell" in str(error)
            assert heard.size <= most

    asyncio.run(test())
