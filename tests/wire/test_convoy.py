"""Many lines at once over real sockets: what they do together must be what each would do alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.acquisition.convoy import NOWHERE, Convoy
from daemon.acquisition.deadlines import Deadlines
from daemon.acquisition.plan import entry, plan
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645 import many
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.errors import LineDown
from tests.wire.conftest import tcp_server
from tests.wire.polls import (
    ALWAYS,
    CLOCK,
    ENERGIES,
    NEVER,
    STAMP,
    TODAY,
    Reader,
    Still,
    address_of,
    asked,
    bcd,
    damaged,
    day_of,
    good,
    job,
    reply,
    truth,
)

LINES = 100
"""More than there are seats at first."""


class Watched(Convoy):
    """Tells how many lines were served in each turn."""

    __slots__ = ("served",)

    def __init__(self, least: int = ALWAYS) -> None:
        super().__init__(Deadlines(), least)
        self.served: list[int] = []

    def _serve(self, joining: Iterable[int], arrived: dict[int, bytes]) -> None:
        self.served.append(len(list(joining)) + len(arrived))
        super()._serve(joining, arrived)

    @property
    def is_empty(self) -> bool:
        """Nobody is left aboard, and every seat is free once."""
        nothing = not (self._riders or self._writes or self._teams or self._joining or self._arrived)
        return nothing and sorted(self._free) == list(range(len(self._seats)))


def on_lines(
    readers: Sequence[Reader], run: Callable[[Reader, StreamChannel], asyncio.Future[None] | object]
) -> list[object]:
    """What `run` returned or raised for each reader, each over a connection of its own."""

    async def story() -> list[object]:
        async with AsyncExitStack() as stack, asyncio.timeout(60):
            channels = []
            for reader in readers:
                port = await stack.enter_async_context(tcp_server(reader.hear))
                channels.append(await stack.enter_async_context(TcpChannel("127.0.0.1", port)))
            runs = [run(reader, channel) for reader, channel in zip(readers, channels, strict=True)]
            return list(await asyncio.gather(*runs, return_exceptions=True))  # type: ignore[arg-type]

    return asyncio.run(story())


def true(frame: Frame) -> list[bytes]:
    return [b"\xfe" * 4 + good(frame)]


# --- as it should be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 3])
def test_every_line_reads_all_its_slots_and_asks_nothing_twice(depth: int) -> None:
    convoy = Watched()
    readers = [Reader(true, convoy=convoy) for _ in range(LINES)]
    jobs = [(number, index) for index in (1, 62) for number in range(4)]
    on_lines(readers, lambda reader, channel: reader.read(channel, jobs, depth))
    for reader in readers:
        assert {(address, day) for address, day, _ in reader.taken} == {(address_of(n), day_of(i)) for n, i in jobs}
        assert len(reader.taken) == len(jobs)
        assert reader.took_the_truth()
        assert len(reader.requests) == 3 * len(jobs)
        assert len(set(map(encode, reader.requests))) == 4 + 2 * len(jobs)
        assert reader.counts == {"ok": 3 * len(jobs)}
        assert not reader.poll.dirty
        assert not reader.silent
    assert convoy.is_empty
    assert max(convoy.served) > 1


def test_few_go_on_by_themselves() -> None:
    convoy = Watched(least=3)
    readers = [Reader(true, convoy=convoy) for _ in range(2)]
    on_lines(readers, lambda reader, channel: reader.read(channel, [(0, 1), (1, 2)]))
    assert all(len(reader.taken) == 2 and reader.took_the_truth() for reader in readers)
    assert convoy.served == []
    assert convoy.is_empty


def test_what_a_meter_usually_takes_is_learnt() -> None:
    def answer(frame: Frame) -> list[bytes | asyncio.Event]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, event.set)
        return [event, *true(frame)]

    convoy = Watched()
    readers = [Reader(answer, convoy=convoy) for _ in range(3)]
    on_lines(readers, lambda reader, channel: reader.read(channel, [(5, 1), (5, 2)]))
    for reader in readers:
        wait_s, delay_s = reader.patience.expect(5)
        assert 0.045 < delay_s < 0.5
        assert delay_s < wait_s < 2.0


def test_a_meter_is_waited_for_as_long_as_it_is_known_to_take() -> None:
    """The wait of a slow meter is not that of the quick one before it."""
    convoy = Watched()
    reader = Reader(lambda frame: [] if frame.address == address_of(1) else true(frame), convoy=convoy, wait_s=5.0)
    for _ in range(8):
        reader.patience.took(0, 0.001)
        reader.patience.took(1, 0.6)
    began = 0.0

    async def run(reader: Reader, channel: StreamChannel) -> None:
        nonlocal began
        began = asyncio.get_running_loop().time()
        await reader.read(channel, [(0, 1), (1, 1)])
        began = asyncio.get_running_loop().time() - began

    on_lines([reader], run)
    assert reader.silent == [1]
    assert 0.6 < began < 4.0


# --- trouble of one is not that of the others -------------------------------------------------------------------------


def unharmed(readers: Iterable[Reader], jobs: Sequence[tuple[int, int]]) -> bool:
    return all(
        len(reader.taken) == len(jobs) and reader.took_the_truth() and reader.counts == {"ok": 3 * len(jobs)}
        for reader in readers
    )


JOBS = [(0, 1), (1, 1), (2, 1)]
SPOILT: dict[str, Callable[[Frame], list[bytes]]] = {
    "silent": lambda frame: [],
    "damaged": lambda frame: [damaged(good(frame))],
    "cut": lambda frame: [good(frame)[:-3]],
    "split": lambda frame: [good(frame)[:-3], good(frame)[-3:]],
    "other address": lambda frame: [good(frame, address=address_of(7))],
    "refusal": lambda frame: [encode(Frame(frame.address, 0xD1, b"\x02"))],
    "long": lambda frame: [good(frame) * 3],
    "noise": lambda frame: [bytes(30)],
}


@pytest.mark.parametrize("what", SPOILT)
@pytest.mark.parametrize("read", [CLOCK, STAMP, ENERGIES])
def test_a_bad_answer_on_one_line_leaves_the_others_alone(what: str, read: str) -> None:
    def spoil(frame: Frame) -> list[bytes]:
        is_spoilt = frame.address == address_of(1) and asked(frame).startswith(read)
        return SPOILT[what](frame) if is_spoilt else true(frame)

    convoy = Watched()
    readers = [Reader(spoil if number == 4 else true, convoy=convoy, wait_s=0.3) for number in range(9)]
    on_lines(readers, lambda reader, channel: reader.read(channel, JOBS))
    troubled = readers.pop(4)
    assert unharmed(readers, JOBS)
    assert troubled.took_the_truth()
    assert {address for address, *_ in troubled.taken} >= {address_of(0), address_of(2)}
    assert (address_of(1) in {address for address, *_ in troubled.taken}) == (what in ("split", "long"))
    assert convoy.is_empty


def test_a_carrier_that_is_lost_ends_one_line() -> None:
    convoy = Watched()
    channels: list[StreamChannel] = []

    def hang_up(frame: Frame) -> list[bytes]:
        channels[1].lose("pulled out")
        return true(frame)

    readers = [Reader(hang_up if number == 1 else true, convoy=convoy) for number in range(4)]

    async def run(reader: Reader, channel: StreamChannel) -> None:
        channels.append(channel)
        await reader.read(channel, JOBS)

    ends = on_lines(readers, run)
    assert [type(end) for end in ends] == [type(None), LineDown, type(None), type(None)]
    assert unharmed([readers[0], *readers[2:]], JOBS)
    assert convoy.is_empty


def test_a_mistake_in_what_one_line_makes_of_a_clock_ends_that_line() -> None:
    convoy = Watched()
    readers = [Reader(true, convoy=convoy) for _ in range(4)]

    def mistaken(number: int, seconds: int) -> bool:
        raise RuntimeError("mistaken")

    readers[2].poll.clock = mistaken
    ends = on_lines(readers, lambda reader, channel: reader.read(channel, JOBS))
    assert [type(end) for end in ends] == [type(None), type(None), RuntimeError, type(None)]
    assert unharmed([*readers[:2], readers[3]], JOBS)
    assert convoy.is_empty


def test_a_mistake_in_the_convoy_is_told_to_those_it_served_and_the_next_run_is_as_usual() -> None:
    class Mistaken(Watched):
        __slots__ = ()

        def _serve(self, joining: Iterable[int], arrived: dict[int, bytes]) -> None:
            super()._serve(joining, arrived)
            if len(self.served) == 2:
                raise ZeroDivisionError

    convoy = Mistaken()
    reader = Reader(true, convoy=convoy)

    async def run(reader: Reader, channel: StreamChannel) -> None:
        with pytest.raises(ZeroDivisionError):
            await reader.read(channel, JOBS)
        assert convoy.is_empty
        assert reader.poll.dirty
        await asyncio.sleep(0.05)  # what is still under way comes in
        await reader.read(channel, JOBS)

    assert on_lines([reader], run) == [None]
    assert len(reader.taken) == len(JOBS)
    assert reader.took_the_truth()
    assert convoy.is_empty


def test_a_cancelled_line_leaves_its_seat_and_nothing_behind() -> None:
    convoy = Watched()
    readers = [Reader((lambda frame: []) if number == 0 else true, convoy=convoy) for number in range(3)]

    async def run(reader: Reader, channel: StreamChannel) -> None:
        if reader is readers[0]:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(channel, JOBS), 0.1)
            assert reader.poll.dirty
        else:
            await reader.read(channel, JOBS)

    on_lines(readers, run)
    assert unharmed(readers[1:], JOBS)
    assert convoy.is_empty


# --- another day ------------------------------------------------------------------------------------------------------


def test_a_poll_of_another_day_goes_alone_until_the_others_have_left() -> None:
    convoy = Watched()
    today, yesterday = Reader(true, convoy=convoy), Reader(true, convoy=convoy)
    gate = asyncio.Event()

    def slow(frame: Frame) -> list[bytes | asyncio.Event]:
        return [gate, *true(frame)]

    today._answer = slow

    async def run(reader: Reader, channel: StreamChannel) -> None:
        if reader is today:
            await reader.read(channel, [(0, 1)])
            assert convoy._today == TODAY.toordinal()
            return
        await asyncio.sleep(0.05)
        tomorrow = TODAY.toordinal() + 1
        slots = plan([entry(0, 1, 1, many.CLOCK)])
        assert await reader.poll.run(channel, slots, tomorrow) is None
        assert convoy._today == TODAY.toordinal()
        gate.set()
        while not convoy.is_empty:  # noqa: ASYNC110  the other line reads its last answers
            await asyncio.sleep(0.01)
        assert await reader.poll.run(channel, plan([entry(1, 1, 1, many.CLOCK)]), tomorrow) is None
        assert convoy._today == tomorrow

    assert on_lines([today, yesterday], run) == [None, None]
    assert len(today.taken) == 1
    assert [day for _, day, _ in yesterday.taken] == [TODAY, TODAY]
    assert yesterday.took_the_truth()


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_an_answer_in_two_pieces_of_one_turn_is_one() -> None:
    async def story() -> None:
        reader, channel = Reader(true, convoy=Watched()), Still(0.0)
        task = asyncio.create_task(reader.run(channel, job(0, with_clock=False)))
        for _ in range(2):
            while not channel.sent:  # noqa: ASYNC110  two turns of the loop at the most
                await asyncio.sleep(0)
            assert reader.poll._seat != NOWHERE, "it goes on by itself"
            answer, channel.sent = channel.answer(), b""
            reader.poll.heard(answer[:7])
            reader.poll.heard(answer[7:])
        assert await asyncio.wait_for(task, 5) is None
        assert reader.took_the_truth()
        assert len(reader.taken) == 1

    asyncio.run(story())


WITHOUT_WAITING: dict[str, Callable[[Frame], bytes]] = {
    "good": lambda frame: b"\xfe" * 4 + good(frame),
    "bare": good,
    "twice": lambda frame: 2 * good(frame),
    "stranger": lambda frame: good(frame, address=address_of(7)) + good(frame),
    "index": lambda frame: good(frame, identifier=f"{ENERGIES}3E") + good(frame),
    "echo": lambda frame: encode(frame) + good(frame),
    "refusal": lambda frame: encode(Frame(frame.address, 0xD1, b"\x02")),
    "six registers": lambda frame: (
        reply(frame, b"".join(bcd(it, 4) for it in truth(frame.address, day_of(frame.data[0]), 6)))
        if asked(frame).startswith(ENERGIES)
        else good(frame)
    ),
    "noise": lambda frame: b"\x00\x55" + good(frame),
}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(sorted(WITHOUT_WAITING)), min_size=1, max_size=8))
def test_together_a_line_does_what_it_does_alone(kinds: list[str]) -> None:
    def outcome(least: int) -> tuple[object, ...]:
        turn = iter(range(10**6))

        def answer(frame: Frame) -> list[bytes]:
            return [WITHOUT_WAITING[kinds[next(turn) % len(kinds)]](frame)]

        async def story() -> tuple[object, ...]:
            reader = Reader(answer, convoy=Convoy(Deadlines(), least))
            channel, ends = Answering(reader), []
            slots = plan(job(number, index) for index in (1, 2) for number in range(4))
            for _ in range(4):
                async with asyncio.timeout(5):
                    ends.append(await reader.poll.run(channel, slots, TODAY.toordinal()))
            return reader.taken, reader.counts, reader.asked, ends, reader.poll.dirty

        return asyncio.run(story())

    assert outcome(ALWAYS) == outcome(NEVER)


class Answering(Still):
    """Its meters answer in the next turn of the loop."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(0.0)
        self._reader = reader

    def write(self, data: bytes) -> None:
        (frame,) = Decoder().feed(data)
        assert isinstance(frame, Frame)
        pieces = [piece for piece in self._reader.hear(frame) if isinstance(piece, bytes)]
        asyncio.get_running_loop().call_soon(self.data_received, b"".join(pieces))
