"""A conversation, the poll of a single line and the batch poller understand what comes alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from protocols.channels.conversation import Conversation, Timing
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.exchanges import CODEC_2007, read
from protocols.dlt645.frame import Frame, encode
from tests.wire.acquisition.polls import (
    ALWAYS,
    CLOCK,
    ENERGIES,
    NEVER,
    STAMP,
    Answer,
    Reader,
    address_of,
    good,
    job,
)
from tests.wire.conftest import tcp_server

ASKED = (CLOCK, f"{STAMP}01", f"{ENERGIES}01")
Way = Callable[[Answer], dict[str, int]]


def conversation(answer: Answer) -> dict[str, int]:
    """The three questions of a slot, asked one after the other in the general way."""

    async def story() -> dict[str, int]:
        outcomes: Counter[str] = Counter()
        timing = Timing(reply_timeout_s=10.0, retries=0)
        async with tcp_server(answer) as port, TcpChannel("127.0.0.1", port) as channel:
            talk = Conversation(
                channel,
                CODEC_2007,
                line="gate-3",
                timing=timing,
                on_outcome=lambda outcome: outcomes.update((outcome,)),
            )
            for identifier in ASKED:
                await talk.run(read(address_of(0), identifier))
        return dict(outcomes)

    return asyncio.run(story())


def poll(least: int) -> Way:
    """The poll of one slot; `least` says whether by itself or in the batch poller."""

    def way(answer: Answer) -> dict[str, int]:
        async def story() -> dict[str, int]:
            async with tcp_server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
                assert await reader.run(channel, job(0)) is None
            return reader.counts

        class OfOneWay(Reader):
            pass

        OfOneWay.least = least
        reader = OfOneWay(answer)
        counts = asyncio.run(story())
        assert reader.took_the_truth()
        assert len(reader.taken) == 1
        return counts

    return way


WAYS: dict[str, Way] = {
    "conversation": conversation,
    "single poll": poll(NEVER),
    "batch poller": poll(ALWAYS),
}


def of_another_master(frame: Frame) -> bytes:
    """Somebody else on the line asks the next meter for its address."""
    return encode(Frame(address_of(1), 0x11, frame.data))


CASES: dict[str, tuple[Callable[[Frame], bytes], dict[str, int]]] = {
    "the answer alone": (lambda frame: good(frame), {"ok": 3}),
    "another master's request": (
        lambda frame: of_another_master(frame) + good(frame),
        {"ok": 3, "foreign": 3},
    ),
    "another master's request to the same meter": (
        lambda frame: encode(Frame(frame.address, 0x11, bytes.fromhex("00000100"))) + good(frame),
        {"ok": 3, "foreign": 3},
    ),
    "the echo of our request": (lambda frame: encode(frame) + good(frame), {"ok": 3}),
    "another meter's answer": (
        lambda frame: good(frame, address=address_of(7)) + good(frame),
        {"ok": 3, "foreign": 3},
    ),
    "noise": (lambda frame: b"\x00\x55" + good(frame), {"ok": 3}),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_comes_before_the_good_answer_is_counted_alike(
    case: tuple[Callable[[Frame], bytes], dict[str, int]], way: Way
) -> None:
    answer, counted = case
    assert way(lambda frame: [answer(frame)]) == counted
