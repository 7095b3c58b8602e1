"""Many lines at once over real sockets: what they do together must be what each would do alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.acquisition.polling import batch as batch_module
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.polling.packed_slots import entry, plan
from daemon.acquisition.polling.rows import NO_ROW
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.dlt645.prepared import steps
from protocols.errors import LineDown
from tests.examples import examples
from tests.wire.acquisition.polls import (
    ALWAYS,
    CLOCK,
    ENERGIES,
    NEVER,
    PATIENT_S,
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
from tests.wire.conftest import tcp_server

LINES = 100
"""More than there are rows at first."""


class Watched(BatchPoller):
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
        """No client is left, and every row is free once."""
        nothing = not (
            self._clients or self._writes or self._groups.several or self._joining or self._arrived
        )
        is_anyone_asked = bool((self._table.values["begins_by"] < inf).any())
        return (
            nothing
            and not is_anyone_asked
            and sorted(self._table.free) == list(range(len(self._table.values)))
        )


def on_lines(
    readers: Sequence[Reader], run: Callable[[Reader, StreamChannel], Awaitable[object]]
) -> list[object]:
    """What `run` returned or raised for each reader, each over a connection of its own."""

    async def story() -> list[object]:
        async with AsyncExitStack() as stack, asyncio.timeout(60):
            channels = []
            for reader in readers:
                port = await stack.enter_async_context(tcp_server(reader.hear))
                channels.append(await stack.enter_async_context(TcpChannel("127.0.0.1", port)))
            runs = [run(reader, channel) for reader, channel in zip(readers, channels, strict=True)]
            return list(await asyncio.gather(*runs, return_exceptions=True))

    return asyncio.run(story())


def true(frame: Frame) -> list[bytes]:
    return [b"\xfe" * 4 + good(frame)]


# --- as it should be


@pytest.mark.parametrize("depth", [1, 3])
def test_every_line_reads_all_its_slots_and_asks_nothing_twice(depth: int) -> None:
    batch_poller = Watched()
    readers = [Reader(true, batch_poller=batch_poller) for _ in range(LINES)]
    jobs = [(number, index) for index in (1, 62) for number in range(4)]
    on_lines(readers, lambda reader, channel: reader.read(channel, jobs, depth))
    for reader in readers:
        assert {(address, day) for address, day, _ in reader.taken} == {
            (address_of(n), day_of(i)) for n, i in jobs
        }
        assert len(reader.taken) == len(jobs)
        assert reader.took_the_truth()
        assert len(reader.requests) == 3 * len(jobs)
        assert len(set(map(encode, reader.requests))) == 4 + 2 * len(jobs)
        assert reader.counts == {"ok": 3 * len(jobs)}
        assert not reader.poll.dirty
        assert not reader.silent
    assert batch_poller.is_empty
    assert max(batch_poller.served) > 1


def test_few_go_on_by_themselves() -> None:
    batch_poller = Watched(least=3)
    readers = [Reader(true, batch_poller=batch_poller) for _ in range(2)]
    on_lines(readers, lambda reader, channel: reader.read(channel, [(0, 1), (1, 2)]))
    assert all(len(reader.taken) == 2 and reader.took_the_truth() for reader in readers)
    assert batch_poller.served == []
    assert batch_poller.is_empty


def test_lines_that_have_something_to_do_within_a_moment_are_served_together() -> None:
    async def story() -> list[int]:
        batch_poller = Watched(least=2)
        hand = ByHand(batch_poller)
        lines = []
        for number in range(2):
            lines.append(hand.line(STAMP_FIRST[number]))
            await hand.turns()
        async with asyncio.timeout(20):
            while not all(task.done() for task in hand.tasks):
                for _, wire in lines:
                    if wire.writes:
                        await hand.answer(wire)  # each in a turn of its own
                await hand.turns()
        assert all(reader.took_the_truth() for reader, _ in lines)
        assert batch_poller.is_empty
        return batch_poller.served

    assert asyncio.run(story()) == [2, 2, 2]


def test_nobody_else_is_waited_for_when_all_have_something_to_do() -> None:
    async def story() -> list[int]:
        batch_poller = Watched(least=2)
        hand = ByHand(batch_poller)
        lines = [hand.line(slot) for slot in STAMP_FIRST[:2]]
        async with asyncio.timeout(20):
            while not all(wire.writes for _, wire in lines):
                await hand.turns()
            batch_poller.gathered_s = 3600.0
            for _ in range(2):
                for _, wire in lines:
                    await hand.answer(wire)
            await asyncio.gather(*hand.tasks)
        assert all(reader.took_the_truth() for reader, _ in lines)
        return batch_poller.served

    assert asyncio.run(story()) == [2, 2, 2]


def test_what_a_meter_usually_takes_is_learnt() -> None:
    def answer(frame: Frame) -> list[bytes | asyncio.Event]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, event.set)
        return [event, *true(frame)]

    batch_poller = Watched()
    readers = [Reader(answer, batch_poller=batch_poller) for _ in range(3)]
    on_lines(readers, lambda reader, channel: reader.read(channel, [(5, 1), (5, 2)]))
    for reader in readers:
        wait_s, delay_s = reader.reply_timeouts.expect(5)
        assert 0.045 < delay_s < wait_s < PATIENT_S


def test_a_meter_is_waited_for_as_long_as_it_is_known_to_take() -> None:
    """The wait of a slow meter is not that of the quick one before it."""
    batch_poller = Watched()
    reader = Reader(
        lambda frame: [] if frame.address == address_of(1) else true(frame),
        batch_poller=batch_poller,
        wait_s=600.0,
    )
    for _ in range(8):
        reader.reply_timeouts.record_delay(0, 0.001)
        reader.reply_timeouts.record_delay(1, 0.6)
    quick_s, slow_s = (reader.reply_timeouts.expect(meter)[0] for meter in (0, 1))
    assert quick_s < 0.6 < slow_s < 4.0
    began = 0.0

    async def run(reader: Reader, channel: StreamChannel) -> None:
        nonlocal began
        began = asyncio.get_running_loop().time()
        await reader.read(channel, [(0, 1), (1, 1)])
        began = asyncio.get_running_loop().time() - began

    on_lines([reader], run)
    assert reader.silent == [1]
    assert began > 0.6


# --- trouble of one is not that of the others


def unharmed(readers: Iterable[Reader], jobs: Sequence[tuple[int, int]]) -> bool:
    return all(
        len(reader.taken) == len(jobs)
        and reader.took_the_truth()
        and reader.counts == {"ok": 3 * len(jobs)}
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

    batch_poller = Watched()
    readers = [
        Reader(spoil if number == 4 else true, batch_poller=batch_poller, wait_s=0.3)
        for number in range(9)
    ]
    on_lines(readers, lambda reader, channel: reader.read(channel, JOBS))
    troubled = readers.pop(4)
    assert unharmed(readers, JOBS)
    assert troubled.took_the_truth()
    assert {address for address, *_ in troubled.taken} >= {address_of(0), address_of(2)}
    assert (address_of(1) in {address for address, *_ in troubled.taken}) == (
        what in ("split", "long")
    )
    assert batch_poller.is_empty


def test_a_carrier_that_is_lost_ends_one_line() -> None:
    batch_poller = Watched()
    channels: list[StreamChannel] = []

    def hang_up(frame: Frame) -> list[bytes]:
        channels[1].lose("pulled out")
        return true(frame)

    readers = [
        Reader(hang_up if number == 1 else true, batch_poller=batch_poller) for number in range(4)
    ]

    async def run(reader: Reader, channel: StreamChannel) -> None:
        channels.append(channel)
        await reader.read(channel, JOBS)

    ends = on_lines(readers, run)
    assert [type(end) for end in ends] == [type(None), LineDown, type(None), type(None)]
    assert unharmed([readers[0], *readers[2:]], JOBS)
    assert batch_poller.is_empty


def test_a_mistake_in_what_one_line_makes_of_a_clock_ends_that_line() -> None:
    batch_poller = Watched()
    readers = [Reader(true, batch_poller=batch_poller) for _ in range(4)]

    def mistaken(number: int, seconds: int) -> bool:
        raise RuntimeError("mistaken")

    readers[2].poll.clock = mistaken
    ends = on_lines(readers, lambda reader, channel: reader.read(channel, JOBS))
    assert [type(end) for end in ends] == [type(None), type(None), RuntimeError, type(None)]
    assert unharmed([*readers[:2], readers[3]], JOBS)
    assert batch_poller.is_empty


def test_a_mistake_of_the_batch_poller_is_told_to_those_it_served_and_the_next_run_is_good() -> (
    None
):
    class Mistaken(Watched):
        __slots__ = ()

        def _serve(self, joining: Iterable[int], arrived: dict[int, bytes]) -> None:
            super()._serve(joining, arrived)
            if len(self.served) == 2:
                raise ZeroDivisionError

    batch_poller = Mistaken()
    reader = Reader(true, batch_poller=batch_poller)

    async def run(reader: Reader, channel: StreamChannel) -> None:
        with pytest.raises(ZeroDivisionError):
            await reader.read(channel, JOBS)
        assert batch_poller.is_empty
        assert reader.poll.dirty
        await asyncio.sleep(0.05)  # what is still under way comes in
        await reader.read(channel, JOBS)

    assert on_lines([reader], run) == [None]
    assert len(reader.taken) == len(JOBS)
    assert reader.took_the_truth()
    assert batch_poller.is_empty


def test_a_cancelled_line_leaves_its_row_and_nothing_behind() -> None:
    batch_poller = Watched()
    readers = [
        Reader((lambda frame: []) if number == 0 else true, batch_poller=batch_poller)
        for number in range(3)
    ]

    async def run(reader: Reader, channel: StreamChannel) -> None:
        if reader is readers[0]:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(channel, JOBS), 0.1)
            assert reader.poll.dirty
        else:
            await reader.read(channel, JOBS)

    on_lines(readers, run)
    assert unharmed(readers[1:], JOBS)
    assert batch_poller.is_empty


# --- another day


def test_a_poll_of_another_day_goes_alone_until_the_others_have_left() -> None:
    batch_poller = Watched()
    today, yesterday = (
        Reader(true, batch_poller=batch_poller),
        Reader(true, batch_poller=batch_poller),
    )
    was_asked, gate, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def slow(frame: Frame) -> list[bytes | asyncio.Event]:
        was_asked.set()
        return [gate, *true(frame)]

    today._answer = slow

    async def run(reader: Reader, channel: StreamChannel) -> None:
        if reader is today:
            await reader.read(channel, [(0, 1)])
            assert batch_poller._today == TODAY.toordinal()
            left.set()
            return
        await was_asked.wait()
        tomorrow = TODAY.toordinal() + 1
        slots = plan([entry(0, 1, 1, steps.CLOCK)])
        assert await reader.poll.run(channel, slots, tomorrow) is None
        assert batch_poller._today == TODAY.toordinal()
        gate.set()
        await left.wait()
        assert await reader.poll.run(channel, plan([entry(1, 1, 1, steps.CLOCK)]), tomorrow) is None
        assert batch_poller._today == tomorrow

    assert on_lines([today, yesterday], run) == [None, None]
    assert len(today.taken) == 1
    assert [day for _, day, _ in yesterday.taken] == [TODAY, TODAY]
    assert yesterday.took_the_truth()


# --- a meter whose freezes have other indexes


@pytest.mark.parametrize("spoilt", [None, CLOCK, STAMP, ENERGIES], ids=str)
@pytest.mark.parametrize("depth", [1, 2])
def test_the_day_of_a_freeze_is_not_taken_from_its_index(spoilt: str | None, depth: int) -> None:
    """The meter skipped two freezes: its fifth is of three days ago. Noise hands it to the poll of
    the line midway."""
    day = day_of(4)

    def answer(frame: Frame) -> list[bytes]:
        noise = b"\x55" if spoilt is not None and asked(frame).startswith(spoilt) else b""
        if asked(frame) == CLOCK:
            return [noise + good(frame)]
        is_stamp = asked(frame).startswith(STAMP)
        registers = b"".join(bcd(it, 4) for it in truth(frame.address, day))
        return [noise + reply(frame, bytes.fromhex(f"0000{day:%d%m%y}") if is_stamp else registers)]

    batch_poller = Watched()
    reader = Reader(answer, batch_poller=batch_poller)
    slots = plan(entry(number, 3, 5, steps.CLOCK) for number in range(2))
    on_lines(
        [reader],
        lambda reader, channel: reader.poll.run(channel, slots, TODAY.toordinal(), depth=depth),
    )
    assert spoilt is not None or len(batch_poller.served) >= 4, "it went on by itself"
    assert set(reader.asked) == {CLOCK, "05060005", "05060105"}
    assert sorted(reader.taken) == sorted(
        (address_of(n), day, truth(address_of(n), day)) for n in range(2)
    )


# --- by hand


class Wire(Still):
    """Keeps each write; the test answers by hand."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.writes: list[bytes] = []
        self.error: Exception | None = None

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(data)

    def frames(self) -> list[Frame]:
        """What was asked since the last look."""
        data, self.writes = b"".join(self.writes), []
        return [frame for frame in Decoder().feed(data) if isinstance(frame, Frame)]


class ByHand:
    """Lines whose polls run while the test plays their meters."""

    def __init__(self, batch_poller: BatchPoller) -> None:
        self.batch_poller = batch_poller
        self.tasks: list[asyncio.Task[tuple[int, int] | None]] = []

    def line(self, *slots: int, depth: int = 1, wait_s: float = 10.0) -> tuple[Reader, Wire]:
        """One more line."""
        reader, wire = Reader(true, batch_poller=self.batch_poller, wait_s=wait_s), Wire()
        self.run(reader, wire, *slots, depth=depth)
        return reader, wire

    def run(self, reader: Reader, wire: Wire, *slots: int, depth: int = 1) -> None:
        self.tasks.append(
            asyncio.create_task(reader.poll.run(wire, plan(slots), TODAY.toordinal(), depth=depth))
        )

    async def turns(self, count: int = 4) -> None:
        """Let the loop go on for so many turns."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def answer(self, *wires: Wire) -> None:
        """Every question that waits is answered well, all in one turn."""
        for wire in wires:
            wire.data_received(b"".join(good(frame) for frame in wire.frames()))
        await self.turns()


def by_hand(story: Callable[[ByHand], Coroutine[Any, Any, None]]) -> None:
    """Run the story, then cancel what still runs: no row may be left taken, and nothing fail in
    the event loop."""

    async def run() -> None:
        batch_poller, mistakes = Watched(), list[object]()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: mistakes.append(context)
        )
        hand = ByHand(batch_poller)
        await asyncio.wait_for(story(hand), 20)
        for task in hand.tasks:
            task.cancel()
        await asyncio.gather(*hand.tasks, return_exceptions=True)
        await hand.turns()
        assert batch_poller.is_empty
        assert mistakes == []

    asyncio.run(run())


STAMP_FIRST = [entry(number, 0, 1, steps.STAMP) for number in range(8)]


def test_an_answer_in_two_pieces_of_one_turn_is_one() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0])
        await hand.turns()
        for _ in range(2):
            (frame,) = wire.frames()
            wire.data_received(good(frame)[:7])
            wire.data_received(good(frame)[7:])
            assert reader.poll._row != NO_ROW, "it goes on by itself"
            await hand.turns()
        assert len(reader.taken) == 1
        assert reader.took_the_truth()

    by_hand(story)


def test_questions_of_one_line_go_out_together_and_answers_in_their_order_keep_it_together() -> (
    None
):
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(*STAMP_FIRST, depth=3)
        other, beside = hand.line(*STAMP_FIRST[:2], depth=2)
        await hand.turns()
        while not all(task.done() for task in hand.tasks):
            assert len(wire.writes) <= 1
            assert reader.poll._row != NO_ROW or not wire.writes
            await hand.answer(wire, beside)
        assert len(reader.taken) == 8
        assert len(other.taken) == 2
        assert reader.took_the_truth()
        assert other.took_the_truth()

    by_hand(story)


def test_answers_that_come_one_by_one_keep_a_line_together() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(*STAMP_FIRST, depth=3)
        await hand.turns()
        waiting: list[Frame] = []
        while not hand.tasks[0].done():
            waiting += wire.frames()
            assert reader.poll._row != NO_ROW
            wire.data_received(good(waiting.pop(0)))
            await hand.turns()
        assert len(reader.taken) == 8
        assert reader.took_the_truth()

    by_hand(story)


@pytest.mark.parametrize(
    "noise", [b"\x68\x01\x02", b"\x68", b"\x00\x55", b"\x68" + bytes(8) + b"\x01"], ids=bytes.hex
)
def test_noise_before_several_answers_costs_nobody_its_slot(noise: bytes) -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(*STAMP_FIRST[:3], depth=3)
        await hand.turns()
        wire.data_received(noise + b"".join(good(frame) for frame in wire.frames()))
        for _ in range(3):
            await hand.answer(wire)
        assert len(reader.taken) == 3
        assert reader.silent == []
        assert reader.took_the_truth()

    by_hand(story)


def test_a_line_that_failed_asks_nothing_more() -> None:
    """One of its meters answered well in the turn in which the answer of the other led to a
    mistake."""

    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0], job(1), STAMP_FIRST[2], depth=2)

        def mistaken(number: int, seconds: int) -> bool:
            raise RuntimeError("mistaken")

        reader.poll.clock = mistaken
        await hand.turns()
        await hand.answer(wire)
        assert isinstance(hand.tasks[0].exception(), RuntimeError)
        assert not wire.writes

    by_hand(story)


@pytest.mark.parametrize("depth", [1, 3])
def test_an_interruption_stops_every_question_of_a_line(depth: int) -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(*STAMP_FIRST, depth=depth)
        await hand.turns()
        reader.poll.interrupt()
        await hand.answer(wire)
        assert not wire.writes
        assert hand.tasks[0].done()
        assert not reader.poll.dirty

    by_hand(story)


@pytest.mark.parametrize("depth", [1, 3])
def test_whoever_is_cancelled_with_a_question_under_way_leaves_a_dirty_line(depth: int) -> None:
    async def story(hand: ByHand) -> None:
        reader, _ = hand.line(*STAMP_FIRST, depth=depth)
        await hand.turns()
        assert reader.poll._row != NO_ROW
        hand.tasks[0].cancel()
        await hand.turns()
        assert reader.poll.dirty

    by_hand(story)


def test_whoever_is_lost_before_its_first_question_is_not_asked_for_in_the_next_turn() -> None:
    async def story(hand: ByHand) -> None:
        _, wire = hand.line(STAMP_FIRST[0])
        await hand.turns(1)
        wire.lose("pulled out")
        await hand.turns()
        assert not wire.writes

    by_hand(story)


def test_whoever_is_lost_before_its_first_question_asks_nothing_and_leaves_a_clean_line() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0])
        await hand.turns(1)
        assert reader.poll._row != NO_ROW
        wire.lose("pulled out")
        other, beside = hand.line(STAMP_FIRST[1])
        await hand.turns()
        assert not wire.writes
        assert not reader.poll.dirty
        await hand.answer(beside)
        await hand.answer(beside)
        assert len(other.taken) == 1

    by_hand(story)


def test_a_question_that_cannot_be_written_ends_its_line_alone() -> None:
    async def story(hand: ByHand) -> None:
        lines = [hand.line(*STAMP_FIRST) for _ in range(4)]
        await hand.turns()
        lines[1][1].error = OSError("no room")
        await hand.answer(*(wire for _, wire in lines))
        assert [task.done() for task in hand.tasks] == [False, True, False, False]
        assert isinstance(hand.tasks[1].exception(), OSError)
        lines[2][1].lose("pulled out")  # while its question is written
        lines[2][1].error = LineDown("pulled out")
        await hand.answer(lines[0][1], lines[3][1])
        assert [task.done() for task in hand.tasks] == [False, True, True, False]

    by_hand(story)


def test_a_carrier_that_is_lost_within_its_write_ends_its_line_alone() -> None:
    async def story(hand: ByHand) -> None:
        lines = [hand.line(*STAMP_FIRST) for _ in range(3)]
        await hand.turns()

        def lose(data: bytes) -> None:
            lines[1][1].lose("takes no answers")
            raise LineDown("takes no answers")

        hand.batch_poller._writes[lines[1][0].poll._row] = lose
        await hand.answer(*(wire for _, wire in lines))
        assert [task.done() for task in hand.tasks] == [False, True, False]

    by_hand(story)


def test_a_mistake_when_somebody_is_heard_from_ends_that_line_alone() -> None:
    async def story(hand: ByHand) -> None:
        lines = [hand.line(*STAMP_FIRST) for _ in range(3)]

        def mistaken(number: int, is_told: bool) -> None:
            raise RuntimeError("mistaken")

        for reader, _ in lines:
            reader.reply_timeouts.is_troubled = True
        lines[0][0].poll.heard_from = mistaken
        await hand.turns()
        await hand.answer(*(wire for _, wire in lines))
        assert [task.done() for task in hand.tasks] == [True, False, False]

    by_hand(story)


def test_what_came_before_the_first_question_is_no_answer() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0])
        await hand.turns()
        (stamp,) = wire.frames()
        wire.data_received(good(stamp))
        await hand.turns()
        (energies,) = wire.frames()
        wire.data_received(good(energies))
        await hand.turns()
        assert hand.tasks[0].done()
        hand.run(reader, wire, entry(0, 0, 1, steps.ENERGIES))
        await hand.turns(1)
        wire.data_received(
            good(energies)
        )  # once more, with the same head that is about to be asked for
        await hand.turns()
        assert len(reader.taken) == 1
        await hand.answer(wire)
        assert len(reader.taken) == 2
        assert reader.counts["foreign"] == 1

    by_hand(story)


def test_bytes_for_a_line_that_was_lost_do_not_reach_who_takes_its_row() -> None:
    async def story(hand: ByHand) -> None:
        _, wire = hand.line(STAMP_FIRST[0])
        await hand.turns()
        (frame,) = wire.frames()
        wire.data_received(good(frame))
        wire.lose("pulled out")
        other, beside = hand.line(STAMP_FIRST[0])
        await hand.turns()
        assert len(beside.frames()) == 1
        assert other.poll._row != NO_ROW

    by_hand(story)


def test_an_answer_that_came_in_the_moment_of_its_deadline_counts() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0], wait_s=0.2)
        await hand.turns()
        (frame,) = wire.frames()
        hand.batch_poller._table.values["begins_by"][reader.poll._row] = (
            time.monotonic()
        )  # while the loop was busy
        wire.data_received(good(frame))
        hand.batch_poller.expired()
        assert reader.poll._row != NO_ROW
        await hand.turns()
        await hand.answer(wire)
        assert len(reader.taken) == 1
        assert reader.silent == []

    by_hand(story)


def test_waits_are_exact_however_long_the_machine_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def later() -> float:
        return time.monotonic() + 400 * 86_400

    monkeypatch.setattr(batch_module, "monotonic", later)

    async def story(hand: ByHand) -> None:
        hand.line(STAMP_FIRST[0], wait_s=0.7)
        await hand.turns()
        row = hand.batch_poller._table.values[hand.batch_poller._table.values["begins_by"] < inf][0]
        assert row["begins_by"] - row["asked_at"] == pytest.approx(0.7, abs=1e-6)

    by_hand(story)


def test_a_slow_question_does_not_put_off_the_deadline_of_a_quick_one() -> None:
    async def story(hand: ByHand) -> None:
        quick, _ = hand.line(STAMP_FIRST[0], wait_s=0.2)
        await hand.turns()
        slow, _ = hand.line(STAMP_FIRST[0], wait_s=5.0)
        async with asyncio.timeout(2):
            await quick.told_of_silence.wait()
        assert quick.silent == [0]
        assert slow.silent == []

    by_hand(story)


def test_of_several_questions_that_are_given_back_the_first_deadline_is_kept() -> None:
    async def story(hand: ByHand) -> None:
        reader, _ = hand.line(*STAMP_FIRST[:2], depth=2, wait_s=5.0)
        for _ in range(20):
            reader.reply_timeouts.record_delay(0, 0.01)
            reader.reply_timeouts.record_delay(1, 3.0)
        await hand.turns()
        async with asyncio.timeout(2):
            await reader.told_of_silence.wait()
        assert reader.silent == [0]

    by_hand(story)


def test_a_meter_that_is_passed_over_stays_so_until_the_run_ends() -> None:
    """The first of its slots is the one that reads its clock."""

    async def story(hand: ByHand) -> None:
        reader, wire = Reader(true, batch_poller=hand.batch_poller), Wire()
        reader.reply_timeouts.record_timeout(0, time.monotonic())
        hand.run(
            reader, wire, entry(0, 0, 1, steps.CLOCK), STAMP_FIRST[1], entry(0, 1, 2, steps.STAMP)
        )
        await hand.turns()
        reader.reply_timeouts.unblock()
        for _ in range(4):
            await hand.answer(wire)
        assert hand.tasks[0].done()
        assert [address for address, *_ in reader.taken] == [address_of(1)]

    by_hand(story)


def test_what_was_learnt_of_a_meter_is_its_wait_from_the_next_question_on() -> None:
    async def story(hand: ByHand) -> None:
        reader, wire = hand.line(STAMP_FIRST[0], wait_s=10.0)
        await hand.turns()
        await hand.answer(wire)
        row = hand.batch_poller._table.values[reader.poll._row]
        assert row["begins_by"] - row["asked_at"] == pytest.approx(
            reader.reply_timeouts.expect(0)[0], rel=1e-3
        )
        assert row["begins_by"] - row["asked_at"] < 1.0

    by_hand(story)


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


@examples(60)
@given(st.lists(st.sampled_from(sorted(WITHOUT_WAITING)), min_size=1, max_size=8))
def test_together_a_line_does_what_it_does_alone(kinds: list[str]) -> None:
    def outcome(least: int) -> tuple[object, ...]:
        turn = iter(range(10**6))

        def answer(frame: Frame) -> list[bytes]:
            return [WITHOUT_WAITING[kinds[next(turn) % len(kinds)]](frame)]

        async def story() -> tuple[object, ...]:
            reader = Reader(answer, batch_poller=BatchPoller(Deadlines(), least))
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
