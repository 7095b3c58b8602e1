"""The prepared polls over real sockets and pseudo-terminals, with meters and lines that behave
badly."""

from __future__ import annotations

import asyncio
import os
import random
import tty
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.acquisition.polling.in_flight import LONGEST_ANSWER_S
from protocols.channels.serial import SerialChannel
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame, encode
from protocols.errors import LineDown
from tests.wire.acquisition.polls import (
    ALWAYS,
    CLOCK,
    ENERGIES,
    FAST_BAUD,
    NEVER,
    QUICK_S,
    STAMP,
    TODAY,
    Answer,
    FarEnd,
    Open,
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
    value,
)
from tests.wire.conftest import tcp_server


@pytest.fixture(params=["alone", "together"])
def least(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines go on by themselves, or are served together."""
    monkeypatch.setattr(Reader, "least", ALWAYS if request.param == "together" else NEVER)


@pytest.fixture(params=["tcp", "tcp together", "serial"])
def opened(
    request: pytest.FixtureRequest,
    server: FarEnd,
    terminal: FarEnd,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    """`async with opened(answer) as channel`; the serial port is fast, for the tests' sake."""
    monkeypatch.setattr(Reader, "least", ALWAYS if request.param == "tcp together" else NEVER)

    @asynccontextmanager
    async def over_tcp(answer: Answer) -> AsyncIterator[StreamChannel]:
        async with server(answer) as port, TcpChannel("127.0.0.1", port) as channel:
            yield channel

    @asynccontextmanager
    async def over_serial(answer: Answer) -> AsyncIterator[StreamChannel]:
        async with terminal(answer) as device, SerialChannel(device, FAST_BAUD) as channel:
            yield channel

    chosen: Open = over_serial if request.param == "serial" else over_tcp
    return chosen


def read(
    opened: Open, reader: Reader, jobs: Sequence[tuple[int, int]] = ((0, 1),), depth: int = 1
) -> Reader:
    """Run the jobs over such a line."""

    async def story() -> None:
        async with opened(reader.hear) as channel:
            await reader.read(channel, jobs, depth)

    asyncio.run(story())
    return reader


# --- as it should be


def test_the_clock_is_read_then_the_stamp_then_the_energies(opened: Open) -> None:
    reader = read(opened, Reader(lambda frame: [good(frame)]), [(0, 1), (1, 30)])
    assert reader.asked == [CLOCK, "05060001", "05060101", CLOCK, "0506001E", "0506011E"]
    assert reader.taken == [
        (address_of(n), day_of(i), truth(address_of(n), day_of(i))) for n, i in ((0, 1), (1, 30))
    ]
    assert reader.counts == {"ok": 6}
    assert not reader.poll.dirty


def test_a_clock_that_is_known_is_not_read(opened: Open) -> None:
    reader = Reader(lambda frame: [good(frame)])

    async def story() -> None:
        async with opened(reader.hear) as channel:
            assert await reader.run(channel, job(0, with_clock=False)) is None

    asyncio.run(story())
    assert reader.asked == ["05060001", "05060101"]


def test_answers_that_are_split_anywhere_are_understood(opened: Open) -> None:
    def split(frame: Frame) -> list[bytes]:
        answer = b"\xfe\xfe" + good(frame)
        at = len(reader.requests) % len(answer)
        return [answer[:at], answer[at:]]

    reader = Reader(split)
    jobs = [(0, index) for index in range(1, 41)]
    read(opened, reader, jobs)
    assert len(reader.taken) == len(jobs)
    assert reader.took_the_truth()


def test_answers_that_come_byte_by_byte_are_understood(opened: Open) -> None:
    reader = read(
        opened,
        Reader(lambda frame: (bytes((byte,)) for byte in b"\xfe" + good(frame))),
        [(0, 1), (1, 2)],
    )
    assert len(reader.taken) == 2
    assert reader.counts == {"ok": 6}


@pytest.mark.parametrize("count", range(9))
def test_any_number_of_wake_up_bytes_may_come_before_an_answer(opened: Open, count: int) -> None:
    reader = read(opened, Reader(lambda frame: [b"\xfe" * count + good(frame)]))
    assert len(reader.taken) == 1
    assert reader.took_the_truth()


@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_an_echo_of_the_question_is_not_an_answer(opened: Open, merged: bool) -> None:
    def answer(frame: Frame) -> list[bytes]:
        pieces = [b"\xfe" * 4 + encode(frame), good(frame)]
        return [b"".join(pieces)] if merged else pieces

    reader = read(opened, Reader(answer), [(0, 1), (1, 2)])
    assert len(reader.taken) == 2
    assert reader.counts == {"ok": 6}


# --- answers that are none


STRANGERS: dict[str, Callable[[Frame], bytes]] = {
    "another meter": lambda frame: good(frame, address=address_of(7)),
    "another index": lambda frame: good(frame, identifier=f"{ENERGIES}05"),
    "another identifier": lambda frame: reply(frame, bytes(20), identifier="0001FF00"),
    "another function": lambda frame: encode(
        Frame(frame.address, 0x92, frame.data[:4] + bytes(20))
    ),
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("merged", [False, True], ids=["before", "merged"])
def test_an_answer_to_something_else_is_counted_and_not_taken(
    opened: Open, stranger: Callable[[Frame], bytes], merged: bool
) -> None:
    def answer(frame: Frame) -> list[bytes]:
        pieces = [stranger(frame), good(frame)]
        return [b"".join(pieces)] if merged else pieces

    reader = read(opened, Reader(answer), [(0, 1), (1, 2)])
    assert len(reader.taken) == 2
    assert reader.took_the_truth()
    assert reader.counts == {"ok": 6, "foreign": 6}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_an_answer_to_something_else_alone_is_silence(
    opened: Open, stranger: Callable[[Frame], bytes]
) -> None:
    reader = read(opened, Reader(lambda frame: [stranger(frame)], wait_s=QUICK_S), [(0, 1), (1, 2)])
    assert reader.silent == [0, 1]
    assert not reader.taken


def test_a_second_answer_is_not_taken_for_the_next_question(opened: Open) -> None:
    reader = read(
        opened, Reader(lambda frame: [good(frame), good(frame)]), [(0, 1), (0, 2), (1, 1)]
    )
    assert len(reader.taken) == 3
    assert reader.took_the_truth()


def test_a_late_answer_is_not_booked_but_learnt_from(opened: Open) -> None:
    """The first question is answered only after the second has left."""
    reader = Reader(
        lambda frame: (
            []
            if len(reader.requests) == 1
            else [good(it) for it in dict.fromkeys([reader.requests[0], frame])]
        ),
        wait_s=QUICK_S,
    )

    async def story() -> None:
        async with opened(reader.hear) as channel:
            await reader.read(channel, [(0, 1), (1, 2)])

    asyncio.run(story())
    assert reader.silent == [0]
    assert [address for address, *_ in reader.taken] == [address_of(1)]
    assert reader.counts["late"] == 1
    assert reader.reply_timeouts.expect(0)[1] >= QUICK_S * 0.9


def test_after_silence_the_line_is_dirty_and_the_others_are_asked(opened: Open) -> None:
    reader = Reader(
        lambda frame: [] if frame.address == address_of(0) else [good(frame)], wait_s=QUICK_S
    )
    read(opened, reader, [(0, 1), (1, 1), (2, 1)])
    assert reader.silent == [0]
    assert len(reader.taken) == 2
    assert reader.poll.dirty
    assert reader.counts == {"ok": 6, "no_reply": 1}


# --- what the general way must look at


def refusal(frame: Frame) -> bytes:
    return encode(Frame(frame.address, 0xD1, b"\x02"))


def has_more(frame: Frame) -> bytes:
    return encode(Frame(frame.address, 0xB1, frame.data[:4] + bytes(20)))


ODD: dict[str, tuple[str, Callable[[Frame], bytes]]] = {
    "refuses the clock": (CLOCK, refusal),
    "refuses the stamp": (STAMP, refusal),
    "refuses the energies": (ENERGIES, refusal),
    "has follow-up frames": (ENERGIES, has_more),
    "tells no time of day": (CLOCK, lambda frame: reply(frame, bytes.fromhex("000025"))),
    "tells a time of four bytes": (CLOCK, lambda frame: reply(frame, bytes.fromhex("56341200"))),
    "tells another time": (CLOCK, lambda frame: reply(frame, bytes.fromhex("563413"))),
    "stamps another day": (STAMP, lambda frame: reply(frame, bytes.fromhex("0000150326"))),
    "stamps no midnight": (STAMP, lambda frame: reply(frame, bytes.fromhex("0100160326"))),
    "stamps nothing": (STAMP, lambda frame: reply(frame, bytes.fromhex("FFFFFFFFFF"))),
    "has no registers": (ENERGIES, lambda frame: reply(frame, b"")),
    "has three bytes": (ENERGIES, lambda frame: reply(frame, bytes(3))),
    "misses its total": (ENERGIES, lambda frame: reply(frame, b"\xff" * 4 + bytes(16))),
    "misses all": (ENERGIES, lambda frame: reply(frame, b"\xee" * 20)),
    "tells no digits": (
        ENERGIES,
        lambda frame: reply(frame, bytes.fromhex("5634120A") + bytes(16)),
    ),
    "is damaged in the clock": (CLOCK, lambda frame: damaged(good(frame))),
    "is damaged in the stamp": (STAMP, lambda frame: damaged(good(frame))),
    "is damaged in the energies": (ENERGIES, lambda frame: damaged(good(frame))),
}


@pytest.mark.parametrize("case", ODD.values(), ids=ODD)
def test_what_is_not_expected_is_left_to_the_general_way(
    opened: Open, case: tuple[str, Callable[[Frame], bytes]]
) -> None:
    what, spoilt = case
    reader = Reader(
        lambda frame: [
            spoilt(frame)
            if frame.address == address_of(0) and asked(frame).startswith(what)
            else good(frame)
        ],
        wait_s=2.0,
    )
    read(opened, reader, [(0, 1), (1, 1)])
    assert [number for number, _ in reader.odd] == [0]
    assert [address for address, *_ in reader.taken] == [address_of(1)]
    assert reader.took_the_truth()
    assert reader.silent == []


@pytest.mark.parametrize("count", [1, 2, 4, 6, 15])
def test_another_number_of_registers_is_taken(opened: Open, count: int) -> None:
    def answer(frame: Frame) -> list[bytes]:
        if not asked(frame).startswith(ENERGIES):
            return [good(frame)]
        registers = truth(frame.address, day_of(frame.data[0]), count)
        return [reply(frame, b"".join(bcd(register, 4) for register in registers))]

    reader = read(opened, Reader(answer))
    assert reader.taken == [(address_of(0), TODAY, truth(address_of(0), TODAY, count))]


def test_a_tariff_without_data_is_none(opened: Open) -> None:
    def answer(frame: Frame) -> list[bytes]:
        answer = value(asked(frame), frame.address)
        return [
            reply(frame, answer[:-4] + b"\xff" * 4 if asked(frame).startswith(ENERGIES) else answer)
        ]

    reader = read(opened, Reader(answer))
    assert reader.taken[0][2] == (*truth(address_of(0), TODAY)[:4], None)


# --- noise


@pytest.mark.parametrize(
    "noise", [b"\x00\xff", b"\x16\x16\x55", b"\x68\x16", b"\xfe\x68\xfe"], ids=lambda it: it.hex()
)
@pytest.mark.parametrize("place", ["before", "behind", "around"])
def test_short_noise_around_an_answer_does_no_harm(opened: Open, noise: bytes, place: str) -> None:
    before, behind = noise if place != "behind" else b"", noise if place != "before" else b""
    reader = Reader(lambda frame: [before + good(frame) + behind], wait_s=0.5)
    read(opened, reader, [(0, 1), (1, 2), (2, 3)])
    assert reader.took_the_truth()
    assert reader.silent == []
    assert len(reader.taken) + len(reader.odd) == 3


def test_noise_without_an_answer_is_silence_not_damage(opened: Open) -> None:
    reader = Reader(
        lambda frame: [b"\x00\xff\x00"] if frame.address == address_of(0) else [good(frame)],
        wait_s=QUICK_S,
    )
    read(opened, reader, [(0, 1), (1, 1)])
    assert reader.silent == [0]
    assert not reader.odd
    assert len(reader.taken) == 1


def test_a_cut_answer_is_damage_and_does_not_eat_the_next(opened: Open) -> None:
    reader = Reader(
        lambda frame: [good(frame)[:20] if frame.address == address_of(0) else good(frame)],
        wait_s=QUICK_S,
    )
    read(opened, reader, [(0, 1), (1, 1)])
    assert [number for number, _ in reader.odd] == [0]
    assert [address for address, *_ in reader.taken] == [address_of(1)]


@pytest.mark.parametrize("noise", [b"\x00", b"\x68" * 30], ids=["drops", "false starts"])
def test_a_line_that_babbles_on_does_not_hold_the_poll_for_ever(
    server: FarEnd, noise: bytes
) -> None:
    async def story() -> None:
        done, gone = asyncio.Event(), asyncio.Event()
        reader = Reader(lambda frame: [], wait_s=QUICK_S)

        async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while not done.is_set():
                    writer.write(noise)
                    await asyncio.sleep(0.05)
            writer.close()
            gone.set()

        async with await asyncio.start_server(babble, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with TcpChannel("127.0.0.1", port) as channel:
                try:
                    async with asyncio.timeout(10 * LONGEST_ANSWER_S):
                        await reader.run(channel, job(0))
                finally:
                    done.set()
                    await gone.wait()
        assert not reader.taken

    asyncio.run(story())


# --- being stopped


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_after_an_interruption_nothing_more_is_asked(opened: Open, at: int) -> None:
    def answer(frame: Frame) -> list[bytes]:
        if len(reader.requests) == at:
            reader.poll.interrupt()
        return [good(frame)]

    reader = Reader(answer)
    read(opened, reader, [(0, 1), (1, 1)])
    assert len(reader.requests) == at
    assert len(reader.taken) == at // 3
    assert not reader.poll.dirty


def test_an_interruption_while_a_meter_is_silent_ends_with_its_time(opened: Open) -> None:
    def answer(frame: Frame) -> list[bytes]:
        reader.poll.interrupt()
        return []

    reader = Reader(answer, wait_s=QUICK_S)
    read(opened, reader, [(0, 1), (1, 1)])
    assert len(reader.requests) == 1
    assert reader.silent == [0]


@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 4])
def test_a_carrier_that_goes_away_is_told_in_every_state(least: None, at: int, depth: int) -> None:
    async def story() -> None:
        reader = Reader(lambda frame: [good(frame)])
        writers: list[asyncio.StreamWriter] = []

        async def serve(stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            decoder = Decoder()
            while data := await stream.read(1000):
                for frame in decoder.feed(data):
                    assert isinstance(frame, Frame)
                    for piece in reader.hear(frame):
                        assert isinstance(piece, bytes)
                        writer.write(piece)
                    if len(reader.requests) >= at:
                        writer.close()
                        return

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            for _ in range(2):
                reader.requests.clear()
                async with TcpChannel("127.0.0.1", port) as channel:
                    with pytest.raises(LineDown):
                        await reader.read(channel, [(number, 1) for number in range(8)], depth)
        assert reader.took_the_truth()

    asyncio.run(story())


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_serial_port_that_is_pulled_out_is_told_in_every_state(at: int) -> None:
    async def story() -> None:
        master, slave = os.openpty()
        tty.setraw(slave)
        loop = asyncio.get_running_loop()
        reader = Reader(lambda frame: [good(frame)], wait_s=1.0)

        def hear() -> None:
            for frame in Decoder().feed(os.read(master, 1000)):
                assert isinstance(frame, Frame)
                for piece in reader.hear(frame):
                    assert isinstance(piece, bytes)
                    os.write(master, piece)
                if len(reader.requests) == at:
                    loop.remove_reader(master)
                    os.close(slave)
                    os.close(master)

        loop.add_reader(master, hear)
        async with SerialChannel(os.ttyname(slave), 2400) as channel:
            with pytest.raises(LineDown):
                await reader.read(channel, [(number, 1) for number in range(4)])

    asyncio.run(story())


def test_it_runs_again_after_every_ending(opened: Open) -> None:
    async def story() -> None:
        mood = "good"

        def answer(frame: Frame) -> list[bytes]:
            if mood == "interrupted":
                reader.poll.interrupt()
            spoilt = {
                "silent": [],
                "odd": [refusal(frame)],
                "damaged": [damaged(good(frame))],
                "cut": [good(frame)[:9]],
            }
            return spoilt.get(mood, [good(frame)])

        reader = Reader(answer, wait_s=1.0)
        async with opened(reader.hear) as channel:
            for mood in ("silent", "odd", "damaged", "cut", "interrupted", "good"):
                before = len(reader.taken)
                async with asyncio.timeout(20):
                    await reader.run(channel, job(0))
                mood = "good"
                async with asyncio.timeout(20):
                    assert await reader.run(channel, job(1)) is None
                assert len(reader.taken) > before
            mood = "silent"
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(reader.run(channel, job(0)), 0.05)
            assert reader.poll.dirty
            mood = "good"
            assert await reader.run(channel, job(1)) is None
        assert reader.took_the_truth()

    asyncio.run(story())


def test_what_came_before_it_began_is_no_answer(opened: Open) -> None:
    async def story() -> None:
        reader = Reader(lambda frame: [good(frame)])
        async with opened(
            lambda frame: [good(frame), good(frame)] if not reader.taken else reader.hear(frame)
        ) as channel:
            question = b"\xfe" * 4 + encode(Frame(address_of(0), 0x11, bytes.fromhex(CLOCK)[::-1]))
            channel.write(question)
            await asyncio.sleep(0.05)
            channel.write(question)
            await asyncio.sleep(0.05)
            reader.poll.polled.append((0, TODAY.toordinal(), truth(address_of(0), TODAY)))
            await reader.read(channel, [(1, 1), (2, 1)])
        assert len(reader.taken) == 3
        assert reader.counts == {"ok": 6, "foreign": 4}

    asyncio.run(story())


def test_what_comes_right_behind_the_last_answer_is_kept_from_the_next_run(opened: Open) -> None:
    def answer(frame: Frame) -> list[bytes]:
        return [good(frame) + (good(frame)[:15] if asked(frame).startswith(ENERGIES) else b"")]

    reader = Reader(answer)

    async def story() -> None:
        async with opened(reader.hear) as channel:
            assert await reader.run(channel, job(0)) is None
            assert reader.poll.dirty

    asyncio.run(story())
    assert reader.took_the_truth()
    assert len(reader.taken) == 1


def test_what_comes_after_the_run_is_left_to_others(opened: Open) -> None:
    async def story() -> None:
        reader = Reader(lambda frame: [good(frame)])
        async with opened(reader.hear) as channel:
            await reader.read(channel, [(0, 1)])
            channel.write(b"\xfe" * 4 + encode(reader.requests[0]))
            async with asyncio.timeout(10):
                assert (await channel.receive()).startswith(b"\x68")
        assert reader.counts == {"ok": 3}

    asyncio.run(story())


def test_the_trace_may_be_switched_on_and_off_in_the_middle(opened: Open) -> None:
    shown: list[tuple[str, bytes]] = []

    def answer(frame: Frame) -> list[bytes]:
        reader.poll.trace = (
            None if reader.poll.trace else lambda direction, data: shown.append((direction, data))
        )
        return [good(frame)]

    reader = Reader(answer)
    reader.poll.trace = lambda direction, data: shown.append((direction, data))
    read(opened, reader, [(number, 1) for number in range(8)])
    assert len(reader.taken) == 8
    assert reader.took_the_truth()
    assert shown


def test_the_trace_shows_every_byte_of_several_at_once(server: FarEnd) -> None:
    shown: dict[str, bytes] = {"tx": b"", "rx": b""}

    def show(direction: str, data: bytes) -> None:
        shown[direction] += data

    async def story(reader: Reader, depth: int) -> None:
        async with server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
            reader.poll.trace = show
            await reader.read(channel, [(0, 1), (1, 1)], depth)

    for depth in (1, 2):
        shown.update(tx=b"", rx=b"")
        reader = Reader(lambda frame: [good(frame)])
        asyncio.run(story(reader, depth))
        assert shown["tx"] == b"".join(b"\xfe" * 4 + encode(frame) for frame in reader.requests)
        assert shown["rx"] == b"".join(good(frame) for frame in reader.requests)


# --- several at once


@pytest.mark.parametrize("depth", range(2, 9))
@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_several_meters_may_answer_in_any_order(
    server: FarEnd, least: None, depth: int, merged: bool
) -> None:
    """The far end keeps its answers until as many are asked as may be, or nothing more can come."""
    chance = random.Random(depth)
    jobs = [(number, index) for index in (1, 2, 3) for number in range(8)]
    waiting: list[bytes] = []
    most = 0

    def answer(frame: Frame) -> list[bytes]:
        nonlocal most
        waiting.append(good(frame))
        most = max(most, len(waiting))
        left = 3 * len(jobs) - len(reader.requests)
        if len(waiting) < depth and left:
            return []
        chance.shuffle(waiting)
        pieces, waiting[:] = waiting[:], []
        return [b"".join(pieces)] if merged else pieces

    reader = Reader(answer, wait_s=5.0)

    async def story() -> None:
        async with server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
            await reader.read(channel, jobs, depth)

    asyncio.run(story())
    assert reader.took_the_truth()
    assert len(reader.taken) >= len(jobs) - depth  # at the end fewer are asked than are waited for
    assert most == depth


def test_one_of_several_that_is_silent_does_not_hold_up_the_others(
    server: FarEnd, least: None
) -> None:
    reader = Reader(
        lambda frame: [] if frame.address == address_of(2) else [good(frame)], wait_s=QUICK_S
    )

    async def story() -> None:
        async with server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
            await reader.read(channel, [(number, 1) for number in range(8)], 4)

    asyncio.run(story())
    assert reader.silent == [2]
    assert len(reader.taken) == 7


# --- whatever happens


class Trouble:
    """A far end that does one bad thing or another with each answer, by a plan; what is held back
    comes later."""

    def __init__(self, plan: Sequence[str], cuts: Sequence[int]) -> None:
        self._plan, self._cuts = plan, cuts
        self._number = 0
        self._held: list[bytes] = []

    def __call__(self, frame: Frame) -> Iterator[bytes]:
        what = self._plan[self._number % len(self._plan)]
        cut = self._cuts[self._number % len(self._cuts)]
        self._number += 1
        answer = good(frame)
        if what in ("late", "silent"):
            self._held += [answer] * (what == "late")
            return
        held, self._held = b"".join(self._held), []
        data = {
            "good": answer,
            "twice": answer * 2,
            "stranger": good(frame, address=address_of(cut % 8)) + answer,
            "stranger alone": STRANGERS["another meter"](frame),
            "index": good(frame, identifier=f"{ENERGIES}{1 + cut % 20:02X}") + answer,
            "stamp": good(frame, identifier=f"{STAMP}{1 + cut % 20:02X}") + answer,
            "noise": bytes((cut * 37 + n * 101) % 256 for n in range(cut % 12))
            + answer
            + b"\x68" * (cut % 3),
            "inside": answer[: cut % 30] + b"\x00" + answer[cut % 30 :],
            "cut": answer[: cut % len(answer)],
            "damaged": damaged(answer),
            "refusal": refusal(frame),
        }[what]
        data = held + data
        at = cut % (len(data) + 1)
        yield data[:at]
        yield data[at:]


KINDS = (
    *(
        "good",
        "good",
        "late",
        "silent",
        "twice",
        "stranger",
        "stranger alone",
        "index",
        "stamp",
        "noise",
        "inside",
    ),
    *("cut", "damaged", "refusal"),
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=12),
    st.lists(st.integers(0, 80), min_size=1, max_size=5),
    st.integers(1, 4),
)
def test_whatever_happens_only_true_values_are_taken(
    least: None, kinds: list[str], cuts: list[int], depth: int
) -> None:
    reader = Reader(Trouble(kinds, cuts), wait_s=0.02)

    async def story() -> None:
        async with tcp_server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
            await reader.read(
                channel, [(number, index) for index in (1, 2) for number in range(4)], depth
            )

    asyncio.run(story())
    assert reader.took_the_truth()
    assert set(reader.counts) <= {"ok", "no_reply", "bad_frame", "late", "foreign"}


def by_hand(
    story: Callable[[Reader, Still], None],
    *,
    byte_s: float = 0.0,
    odd: tuple[int, int] | None = None,
) -> Reader:
    """Two slots without the clock: four questions, which the story answers."""
    reader, channel = Reader(lambda frame: []), Still(byte_s)
    reader.poll._batch_poller.least = NEVER

    async def run() -> None:
        task = asyncio.create_task(
            reader.run(channel, job(0, with_clock=False), job(1, with_clock=False))
        )
        await channel.was_asked.wait()
        story(reader, channel)
        assert await asyncio.wait_for(task, 5) == odd

    asyncio.run(run())
    return reader


def test_each_question_is_forgiven_its_silence_once() -> None:
    def story(reader: Reader, channel: Still) -> None:
        for _ in range(4):
            poller = reader.poll._single
            assert poller is not None
            assert poller._in_flight.only is not None
            poller._in_flight.only.begins_by = 0.0
            poller.expired()
            assert reader.silent == []
            reader.poll.heard(channel.answer())

    reader = by_hand(story)
    assert len(reader.taken) == 2
    assert reader.took_the_truth()


def test_a_part_that_became_an_answer_is_not_kept_for_what_comes_next() -> None:
    def story(reader: Reader, channel: Still) -> None:
        answer = channel.answer()
        reader.poll.heard(answer[:15])
        reader.poll.heard(answer[15:])
        stranger = good(Frame(address_of(7), 0x11, bytes.fromhex(f"{STAMP}01")[::-1]))
        for _ in range(2):
            reader.poll.heard(stranger + channel.answer())
        answer = channel.answer()
        reader.poll.heard(answer[:15])
        reader.poll.heard(answer[15:])

    reader = by_hand(story)
    assert len(reader.taken) == 2
    assert reader.counts == {"ok": 4, "foreign": 2}
    assert not reader.poll.dirty


def test_an_answer_behind_a_damaged_one_is_not_taken_of_a_slot_that_goes_the_general_way() -> None:
    def story(reader: Reader, channel: Still) -> None:
        reader.poll.heard(channel.answer())
        answer = channel.answer()
        reader.poll.heard(damaged(answer) + answer)

    reader = by_hand(story, odd=(0, TODAY.toordinal()))
    assert reader.taken == []
    assert reader.counts == {"ok": 1, "bad_frame": 1, "foreign": 1}


def test_that_an_answer_has_begun_is_not_said_of_the_next() -> None:
    def story(reader: Reader, channel: Still) -> None:
        answer = channel.answer()
        assert reader.poll._single is not None
        asked = reader.poll._single._in_flight.only
        assert asked is not None
        begun = []
        for part in (answer[:10], answer[10:]):
            reader.poll.heard(part)
            begun.append(asked.has_begun)
        assert begun == [True, False]
        for _ in range(3):
            reader.poll.heard(channel.answer())

    by_hand(story, byte_s=0.001)


def test_a_run_ends_with_its_time(server: FarEnd, least: None) -> None:
    async def story() -> None:
        reader = Reader(lambda frame: [good(frame)], meters=1)
        async with server(reader.hear) as port, TcpChannel("127.0.0.1", port) as channel:
            slots = [job(0, with_clock=False)] * 100_000
            assert await asyncio.wait_for(reader.run(channel, *slots, lasts_s=0.1), 5) is None
        assert 1 <= len(reader.taken) < 100_000
        assert len(reader.requests) == 2 * len(reader.taken)

    asyncio.run(story())


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("last", [b"\xfe", b"\x68", b"busy\r\n"])
def test_a_carrier_that_is_gone_is_told_though_its_last_bytes_lie_unread(
    loop: Callable[[], asyncio.AbstractEventLoop], last: bytes
) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(last)
        writer.close()

    async def story() -> None:
        reader = Reader(lambda frame: [], wait_s=0.2)
        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        async with server, TcpChannel("127.0.0.1", server.sockets[0].getsockname()[1]) as channel:
            assert channel._closed is not None
            await channel._closed
            with pytest.raises(LineDown):
                await reader.run(channel, job(0), job(1))
        assert reader.silent == []

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(story())
