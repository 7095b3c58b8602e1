"""Conversations over real sockets and pseudo-terminals with meters and lines that behave badly."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import structlog

from protocols.channels.conversation import Conversation, Timing
from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.exchanges import (
    CODEC_2007,
    RelayAction,
    control,
    freeze,
    read_address,
    read_energy,
    set_clock,
)
from protocols.dlt645.frame import Frame, encode
from protocols.errors import ControlForbidden, LineDown, MeterRefused, NoReply
from protocols.exchange import Exchange

METER = "000000001600"
OTHER = "000000001601"
QUICK = Timing(reply_timeout_s=0.1, byte_gap_s=0.1, longest_answer_s=0.2, quiet_s=0.02, retries=1)
LATEST = datetime(2026, 1, 2, 3, 4, 5)
Answer = Callable[[Frame], Iterable[bytes | asyncio.Event]]
Line = Callable[[Answer], AbstractAsyncContextManager[StreamChannel]]


def energy(request: Frame, data: str = "56341200", address: str = METER) -> bytes:
    """The good answer to a read."""
    return encode(Frame(address, 0x91, request.data[:4] + bytes.fromhex(data)))


def damaged(frame: bytes) -> bytes:
    return frame[:-2] + bytes((frame[-2] ^ 1,)) + frame[-1:]


class Talk:
    """A conversation with what the far end got and what was counted."""

    def __init__(self, answer: Answer, **how: Any) -> None:
        self.requests: list[Frame] = []
        self.outcomes: list[str] = []
        self._answer, self._how = answer, {"timing": QUICK, "line": "gate-3", **how}

    def _hear(self, request: Frame) -> Iterable[bytes | asyncio.Event]:
        self.requests.append(request)
        return self._answer(request)

    @asynccontextmanager
    async def over(self, line: Line) -> AsyncIterator[Conversation[Frame]]:
        async with line(self._hear) as channel:
            yield Conversation(channel, CODEC_2007, on_outcome=self.outcomes.append, **self._how)


def held(line: Line, talk: Talk, story: Callable[[Conversation[Frame]], Awaitable[Any]]) -> Any:
    """Open the line, run the story on it, close it."""

    async def run() -> Any:
        async with talk.over(line) as conversation:
            return await story(conversation)

    return asyncio.run(run())


def reads(
    address: str = METER, identifier: str = "00010000"
) -> Callable[[Conversation[Frame]], Awaitable[Any]]:
    return lambda conversation: conversation.run(read_energy(address, identifier))


def test_an_answer_that_comes_byte_by_byte_is_understood(line: Line) -> None:
    talk = Talk(lambda request: (bytes((byte,)) for byte in energy(request)))
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert talk.outcomes == ["ok"]


@pytest.mark.parametrize("count", range(8))
def test_any_number_of_wake_up_bytes_may_come_before_an_answer(line: Line, count: int) -> None:
    talk = Talk(lambda request: [b"\xfe" * count + energy(request)])
    assert held(line, talk, reads()) == Decimal("1234.56")


def test_merged_answers_of_two_meters_give_the_one_asked_for(line: Line) -> None:
    talk = Talk(
        lambda request: [
            energy(request, "00000000", OTHER)
            + energy(request)
            + energy(request, "00000000", OTHER)
        ]
    )

    async def twice(conversation: Conversation[Frame]) -> list[Decimal | None]:
        return [
            await conversation.run(read_energy(METER)),
            await conversation.run(read_energy(METER, "00020000")),
        ]

    assert held(line, talk, twice) == [Decimal("1234.56")] * 2
    assert talk.outcomes == ["foreign", "foreign", "ok"] * 2


def test_a_line_that_needs_it_is_silent_between_two_frames(line: Line) -> None:
    pause_s = 0.05
    asked_at: list[float] = []

    def answer(request: Frame) -> Iterable[bytes]:
        asked_at.append(time.monotonic())
        return [energy(request)]

    talk = Talk(answer, timing=replace(QUICK, pause_s=pause_s))

    async def thrice(conversation: Conversation[Frame]) -> None:
        for _ in range(3):
            await conversation.run(read_energy(METER))

    held(line, talk, thrice)
    gaps = [later - sooner for sooner, later in pairwise(asked_at)]
    assert len(gaps) == 2
    # The loop's clock may be a little behind.
    assert min(gaps) > 0.9 * pause_s


def test_our_own_echo_is_no_answer(line: Line) -> None:
    talk = Talk(lambda request: [encode(request), energy(request)])
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert talk.outcomes == ["ok"]


BEHIND: dict[str, tuple[bytes, bool]] = {
    "nothing": (b"", False),
    "an echo": (encode(Frame(METER, 0x11, bytes.fromhex("00010000")[::-1])), False),
    "another meter's answer": (encode(Frame(OTHER, 0x91, bytes(8))), True),
    "noise": (b"\x00", True),
    "half a frame": (b"\x68\x00", True),
}


@pytest.mark.parametrize("case", BEHIND.values(), ids=BEHIND)
def test_a_line_is_clean_if_nothing_but_an_echo_comes_behind_the_answer(
    line: Line, case: tuple[bytes, bool]
) -> None:
    behind, is_dirty = case
    talk = Talk(lambda request: [energy(request) + behind])

    async def story(conversation: Conversation[Frame]) -> bool:
        await conversation.run(read_energy(METER))
        return conversation.dirty

    assert held(line, talk, story) == is_dirty


def test_an_echo_alone_is_silence(line: Line) -> None:
    talk = Talk(lambda request: [encode(request)])
    with pytest.raises(NoReply):
        held(line, talk, reads())


def test_another_meters_answer_is_ignored(line: Line) -> None:
    talk = Talk(lambda request: [energy(request, "99999999", OTHER), energy(request)])
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert talk.outcomes == ["foreign", "ok"]


def test_the_answer_to_another_identifier_is_ignored(line: Line) -> None:
    other = encode(Frame(METER, 0x91, bytes.fromhex("00000200") + bytes(4)))
    talk = Talk(lambda request: [other, energy(request)])
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert talk.outcomes == ["foreign", "ok"]


def test_a_wrong_checksum_is_asked_again(line: Line) -> None:
    talk = Talk(
        lambda request: [damaged(energy(request)) if len(talk.requests) == 1 else energy(request)]
    )
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert len(talk.requests) == 2
    assert talk.outcomes == ["bad_frame", "ok"]


def test_a_damaged_answer_is_asked_again_without_waiting_for_the_reply_time(line: Line) -> None:
    talk = Talk(
        lambda request: [damaged(energy(request)) if len(talk.requests) == 1 else energy(request)],
        timing=replace(QUICK, reply_timeout_s=20),
    )

    async def story(conversation: Conversation[Frame]) -> Any:
        async with asyncio.timeout(10):
            return await conversation.run(read_energy(METER))

    assert held(line, talk, story) == Decimal("1234.56")


def test_noise_with_a_false_start_does_not_hide_the_answer(line: Line) -> None:
    talk = Talk(lambda request: [bytes.fromhex("00FF68010203040506689140"), energy(request)])
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert len(talk.requests) == 1


def test_a_cut_answer_is_asked_again(line: Line) -> None:
    talk = Talk(
        lambda request: [energy(request)[:-3] if len(talk.requests) == 1 else energy(request)]
    )
    assert held(line, talk, reads()) == Decimal("1234.56")
    assert talk.outcomes == ["bad_frame", "ok"]


def test_silence_is_told_with_meter_line_and_time(line: Line) -> None:
    talk = Talk(lambda request: [])
    with pytest.raises(NoReply, match=r"^no reply from 000000001600 on gate-3 after 2 x 0\.1 s$"):
        held(line, talk, reads())
    assert len(talk.requests) == 2
    assert talk.outcomes == ["no_reply"]


def test_what_was_heard_instead_is_told(line: Line) -> None:
    talk = Talk(lambda request: [energy(request, address=OTHER), damaged(energy(request))])
    with pytest.raises(
        NoReply, match=r"heard 1 damaged .* and 1 frames that answer something else"
    ):
        held(line, talk, lambda conversation: conversation.run(read_energy(METER), retries=0))
    assert talk.outcomes == ["foreign", "bad_frame", "no_reply"]


def test_a_late_answer_is_not_taken_for_the_next_question(line: Line) -> None:
    """The first question is answered only when the second one is heard."""

    def answer(request: Frame) -> Iterator[bytes]:
        if len(talk.requests) == 2:
            yield energy(talk.requests[0], "11111111")
            yield energy(request, "22222222")

    talk = Talk(answer)

    async def story(conversation: Conversation[Frame]) -> Any:
        with pytest.raises(NoReply):
            await conversation.run(read_energy(METER), retries=0)
        return await conversation.run(read_energy(METER, "00020000"))

    assert held(line, talk, story) == Decimal("222222.22")
    assert talk.outcomes == ["no_reply", "late", "ok"]


@pytest.mark.parametrize("cancelled", [False, True], ids=["timed out", "cancelled"])
def test_a_late_answer_is_drained_before_the_same_question_is_asked_again(
    tcp: Line, cancelled: bool
) -> None:
    async def story() -> Any:
        heard, given_up = asyncio.Event(), asyncio.Event()

        def answer(request: Frame) -> Iterator[bytes | asyncio.Event]:
            heard.set()
            if len(talk.requests) == 1:
                yield given_up
            yield energy(request, "11111111" if len(talk.requests) == 1 else "22222222")

        talk = Talk(answer, timing=replace(QUICK, quiet_s=0.1, retries=0))
        async with talk.over(tcp) as conversation:
            asking = asyncio.create_task(conversation.run(read_energy(METER)))
            await heard.wait()
            if cancelled:
                asking.cancel()
            with pytest.raises(asyncio.CancelledError if cancelled else NoReply):
                await asking
            given_up.set()
            return await conversation.run(read_energy(METER))

    assert asyncio.run(story()) == Decimal("222222.22")


def test_a_second_answer_to_a_repeated_question_is_not_taken_for_the_next_one(tcp: Line) -> None:
    """The answer to the first try comes after the second try; the second answer comes after the
    line was quiet."""

    async def story() -> Any:
        later = asyncio.Event()

        def answer(request: Frame) -> Iterator[bytes | asyncio.Event]:
            if len(talk.requests) == 2:
                yield energy(request, "11111111")
                asyncio.get_running_loop().call_later(0.1, later.set)
                yield later
                yield energy(request, "11111111")
            elif len(talk.requests) == 3:
                yield energy(request, "22222222")

        talk = Talk(answer, timing=replace(QUICK, reply_timeout_s=0.3))
        async with talk.over(tcp) as conversation:
            assert await conversation.run(read_energy(METER)) == Decimal("111111.11")
            return await conversation.run(read_energy(METER)), talk.outcomes

    assert asyncio.run(story()) == (Decimal("222222.22"), ["ok", "late", "ok"])


def test_a_line_on_which_somebody_still_talks_is_not_talked_into(tcp: Line) -> None:
    """Half a frame comes behind the answer; its other half is waited for before the next question
    leaves."""
    captured = structlog.testing.CapturingLogger()
    wire = structlog.wrap_logger(
        captured, processors=[], wrapper_class=structlog.make_filtering_bound_logger(0)
    )

    async def story() -> Any:
        goes_on = asyncio.Event()

        def answer(request: Frame) -> Iterator[bytes | asyncio.Event]:
            if len(talk.requests) == 1:
                stale = energy(request, "11111111")
                yield energy(request) + stale[:15]
                yield goes_on
                yield stale[15:]
            else:
                yield energy(request, "22222222")

        talk = Talk(answer, timing=replace(QUICK, quiet_s=0.1), wire=wire)
        async with talk.over(tcp) as conversation:
            assert await conversation.run(read_energy(METER)) == Decimal("1234.56")
            goes_on.set()
            return await conversation.run(read_energy(METER))

    assert asyncio.run(story()) == Decimal("222222.22")
    assert [call.kwargs["direction"] for call in captured.calls] == ["tx", "rx", "rx", "tx", "rx"]


def test_a_line_that_babbles_without_end_is_left(tcp: Line) -> None:
    async def story() -> None:
        def answer(request: Frame) -> Iterator[bytes]:
            while not done:
                yield b"\x68" * 97

        done: list[bool] = []
        async with Talk(answer, timing=replace(QUICK, retries=0)).over(tcp) as conversation:
            with pytest.raises(NoReply):
                async with asyncio.timeout(2):
                    await conversation.run(read_energy(METER))
            done.append(True)

    asyncio.run(story())


def test_a_control_frame_does_not_leave_a_conversation_that_may_not_control(line: Line) -> None:
    talk = Talk(lambda request: [])

    async def story(conversation: Conversation[Frame]) -> None:
        with pytest.raises(ControlForbidden, match="000000001600 on gate-3"):
            await conversation.run(trip())
        with pytest.raises(NoReply):
            await conversation.run(read_energy(METER), retries=0)

    held(line, talk, story)
    assert [request.control for request in talk.requests] == [0x11]


def test_a_control_frame_is_never_sent_twice(line: Line) -> None:
    talk = Talk(lambda request: [], may_control=True)
    with pytest.raises(NoReply, match=r"after 1 x 0\.1 s"):
        held(line, talk, lambda conversation: conversation.run(trip(), retries=3))
    assert [request.control for request in talk.requests] == [0x1C]


def test_a_damaged_answer_to_a_control_frame_is_unknown_not_repeated(line: Line) -> None:
    talk = Talk(lambda request: [damaged(encode(Frame(METER, 0x9C)))], may_control=True)
    with pytest.raises(NoReply, match="heard 1 damaged"):
        held(line, talk, lambda conversation: conversation.run(trip()))
    assert len(talk.requests) == 1


def test_an_accepted_control_frame_is_done(line: Line) -> None:
    talk = Talk(lambda request: [encode(Frame(METER, 0x9C))], may_control=True)
    held(line, talk, lambda conversation: conversation.run(trip()))
    assert talk.outcomes == ["ok"]


def test_a_refusal_names_the_reason(line: Line) -> None:
    talk = Talk(lambda request: [encode(Frame(METER, 0xD1, b"\x02"))])
    with pytest.raises(
        MeterRefused, match=r"meter 000000001600 refused 00010000: no such data \(ERR 02\)"
    ):
        held(line, talk, reads())
    assert talk.outcomes == ["refused"]
    assert len(talk.requests) == 1


def test_a_broadcast_is_not_waited_for_and_the_next_question_is_answered(line: Line) -> None:
    talk = Talk(lambda request: [energy(request)] if request.control == 0x11 else [])

    async def story(conversation: Conversation[Frame]) -> Any:
        await conversation.run(set_clock(LATEST))
        await conversation.run(freeze())
        return await conversation.run(read_energy(METER))

    assert held(line, talk, story) == Decimal("1234.56")
    assert [request.control for request in talk.requests] == [0x08, 0x16, 0x11]


def test_whoever_is_there_tells_its_address(line: Line) -> None:
    talk = Talk(lambda request: [encode(Frame(METER, 0x93, bytes.fromhex("001600000000")))])
    assert held(line, talk, lambda conversation: conversation.run(read_address())) == METER


def test_the_far_end_closing_is_a_line_that_is_down() -> None:
    async def story() -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with TcpChannel("127.0.0.1", port) as channel:
                await Conversation(channel, CODEC_2007, line="gate-3", timing=QUICK).run(
                    read_energy(METER)
                )

    with pytest.raises(LineDown, match=r"tcp 127\.0\.0\.1:\d+: "):
        asyncio.run(story())


def test_a_line_that_is_not_there_cannot_be_opened() -> None:
    async def story(channel: StreamChannel) -> None:
        async with channel:
            raise AssertionError("opened")

    with pytest.raises(
        LineDown,
        match=r"serial /dev/no-such-port 2400 Bd 8E1: cannot open: No such file or directory$",
    ):
        asyncio.run(story(SerialChannel("/dev/no-such-port")))
    with pytest.raises(LineDown, match=r"cannot open: it is no serial port$"):
        asyncio.run(story(SerialChannel("/dev/null")))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(LineDown, match=f"tcp 127.0.0.1:{port}: cannot connect: "):
        asyncio.run(story(TcpChannel("127.0.0.1", port)))


def test_a_channel_that_is_not_open_carries_nothing() -> None:
    for use in (TcpChannel("127.0.0.1", 1).send(b"\x68"), TcpChannel("127.0.0.1", 1).receive()):
        with pytest.raises(LineDown, match="not open"):
            asyncio.run(use)


def test_the_wire_trace_shows_every_byte_both_ways(line: Line) -> None:
    captured = structlog.testing.CapturingLogger()
    wire = structlog.wrap_logger(
        captured, processors=[], wrapper_class=structlog.make_filtering_bound_logger(0)
    )
    talk = Talk(lambda request: [energy(request)], wire=wire)
    held(line, talk, reads())
    chunks = [call.kwargs for call in captured.calls]
    assert {chunk["line"] for chunk in chunks} == {"gate-3"}
    traced = {
        way: " ".join(c["bytes"] for c in chunks if c["direction"] == way) for way in ("tx", "rx")
    }
    assert traced["tx"] == "FE FE FE FE 68 00 16 00 00 00 00 68 11 04 33 33 34 33 C8 16"
    assert traced["rx"] == energy(talk.requests[0]).hex(" ").upper()


def trip() -> Exchange[Frame, None]:
    return control(
        METER, RelayAction.TRIP, level="02", password="000000", operator="00000000", expires=LATEST
    )
