"""Terminals that dial in, over real sockets and on both event loops."""

import asyncio
import contextlib
import os
import resource
import socket
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.site.listeners import terminal_rows
from protocols.channels.conversation import Conversation, Timing
from protocols.channels.dial_in.endpoint import Limits
from protocols.channels.dial_in.events import DialInEvent
from protocols.channels.dial_in.session import MOST_UNSENT, Session, TerminalChannel
from protocols.channels.dial_in.terminals import Terminals
from protocols.channels.tls import server_tls
from protocols.dial_in.callers import ANYONE
from protocols.dial_in.registration import (
    ANSWER_GAP_S,
    HeartbeatFilter,
    Kind,
    RegistrationSettings,
    heartbeat,
    registration,
)
from protocols.dlt645.exchanges import CODEC_2007, read_energy
from protocols.errors import LineDown
from simulators.lines.bus import SimulatedBus
from simulators.lines.dialled_terminals import (
    Segments,
    SimulatedTerminal,
    TerminalSpec,
    dialling_in,
)
from tests.simulated_meters import simulated_meter
from tests.wire.channels.dialling import (
    ADDRESS,
    ALL_FROM_HERE,
    ANSWER,
    BEAT,
    GREETINGS,
    PATIENCE_S,
    Run,
    calling,
    client_tls,
    listening,
    received,
    reg,
    until,
    until_the_end,
)


def open_sockets() -> int:
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the folder itself
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
    return found


# --- registration

FORMS = [
    ("text", "REG:{id}\r\n", "T1", reg()),
    ("text", "{id:15}", "860123456789012", b"860123456789012"),
    ("hex", "EB 90 {id:3} {2} 16", "16EB90", bytes.fromhex("EB90 16EB90 0016 16")),
    ("regex", r"\*(?P<id>[0-9]{11}),.*#", "13800000000", b"*13800000000,a,b#"),
]


@pytest.mark.parametrize(("kind", "words", "terminal", "frame"), FORMS)
def test_a_registration_split_at_any_byte_is_read_and_what_follows_goes_on(
    run: Run, kind: Kind, words: str, terminal: str, frame: bytes
) -> None:
    async def scene() -> None:
        async with listening(
            RegistrationSettings(registration(kind, words)), [terminal]
        ) as terminals:
            for cut in range(1, len(frame)):
                async with calling(terminals, frame[:cut]) as caller:
                    await until(
                        lambda cut=cut: any(
                            len(it.unclaimed) == cut for it in terminals.unregistered
                        )
                    )
                    assert terminal not in terminals.sessions
                    caller.say(frame[cut:] + ANSWER)
                    async with terminals.channel(terminal) as channel:
                        assert await received(channel, len(ANSWER)) == ANSWER
                await until(lambda: not terminals.sessions)

    run(scene())


def test_a_registration_is_answered_and_again_when_it_is_repeated(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as caller,
            terminals.channel("T1") as channel,
        ):
            await caller.hears(b"OK\r\n")
            caller.say(reg())
            await caller.hears(b"OK\r\n")
            caller.say(ANSWER)
            assert await received(channel, len(ANSWER)) == ANSWER
            assert terminals.counts[DialInEvent.REGISTERED] == 1

    run(scene())


def test_heartbeats_before_the_registration_and_behind_it_are_none_of_the_lines(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, BEAT + BEAT + reg() + BEAT + ANSWER) as caller,
        ):
            await caller.hears(b"OK\r\nPONG")
            async with terminals.channel("T1") as channel:
                assert await received(channel, len(ANSWER)) == ANSWER

    run(scene())


def test_who_says_no_registration_in_time_is_hung_up_on_and_noted(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(limits=Limits(registration_timeout_s=0.2)) as terminals,
            calling(terminals) as mute,
            calling(terminals, b"GET / HTTP/1.1") as lost,
        ):
            assert await mute.hears_the_end() == await lost.hears_the_end() == b""
            assert terminals.counts[DialInEvent.REGISTRATION_INVALID] == 2
            (noted,) = terminals.quarantine.values()
            assert (noted.terminal, noted.address, noted.times) == ("", "127.0.0.1", 2)
            assert sorted(terminals.told) == [
                (
                    DialInEvent.REGISTRATION_INVALID,
                    "",
                    "127.0.0.1: no registration, but 47 45 54 20 2F 20 48 54 54 50 2F 31 2E 31",
                ),
                (DialInEvent.REGISTRATION_INVALID, "", "127.0.0.1: said nothing"),
            ]

    run(scene())


def test_who_says_too_much_before_a_registration_is_hung_up_on_at_once(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, calling(terminals, b"x" * 256) as talker:
            assert await talker.hears_the_end() == b""
            assert (
                terminals.quarantine["127.0.0.1"].why == "no registration, but " + "78 " * 31 + "78"
            )

    run(scene())


# --- heartbeats

DISTINCT = RegistrationSettings(registration("text", "REG:{id}\r\n"), heartbeat("text", "PING"))
BY_REGEX = RegistrationSettings(
    registration("text", "REG:{id}\r\n"), heartbeat("regex", "P.N[0-9]")
)
SHORT = RegistrationSettings(registration("text", "REG:{id}\r\n"), heartbeat("hex", "00"))
ZEROS = RegistrationSettings(registration("text", "REG:{id}\r\n"), heartbeat("hex", "00 00 00 00"))
FRAME_WITH_A_BEAT_INSIDE = b"\x68\x01PING\x02PI\x16"


def sifted(
    greetings: RegistrationSettings, *segments: bytes, pause_s: float = 0.01
) -> tuple[bytes, int]:
    """(what the line got, heartbeats) of segments that come `pause_s` apart, then nothing."""
    heartbeat_filter, line, beats = HeartbeatFilter(greetings, "T1"), b"", 0
    for number, segment in enumerate(segments):
        rest, found = heartbeat_filter.feed(segment, 100 + number * pause_s)
        line, beats = line + rest, beats + len(found)
    rest, found = heartbeat_filter.settle()
    return line + rest, beats + len(found)


@pytest.mark.parametrize(
    ("greetings", "segments", "line", "beats"),
    [
        (DISTINCT, [BEAT], b"", 1),
        (DISTINCT, [BEAT + BEAT + b"PI", b"NG"], b"", 3),
        (DISTINCT, [BEAT + ANSWER], ANSWER, 1),
        (DISTINCT, [ANSWER + BEAT], ANSWER, 1),
        (DISTINCT, [ANSWER + BEAT + b"PI"], ANSWER + b"PI", 1),
        (DISTINCT, [ANSWER[:9], BEAT, ANSWER[9:]], ANSWER, 1),
        (DISTINCT, [ANSWER[:9], ANSWER[9:] + b"PI", b"NG"], ANSWER, 1),
        (DISTINCT, [reg()], b"", 1),
        (DISTINCT, [reg("T2")], reg("T2"), 0),
        (DISTINCT, [reg(), ANSWER], ANSWER, 1),
        (BY_REGEX, [b"PING1PIN2"[:4]], b"PING", 0),
        (BY_REGEX, [b"PIN1PUN2"], b"", 2),
        (BY_REGEX, [b"PIN1" + ANSWER + b"PUN2"], ANSWER, 2),
        (SHORT, [b"\0", b"\0\0"], b"", 3),
        (SHORT, [b"\0" + ANSWER], b"\0" + ANSWER, 0),
        (SHORT, [b"\1\3\2\0\0\xb8\0"], b"\1\3\2\0\0\xb8\0", 0),
        (SHORT, [b"\1", b"\3", b"\2", b"\0", b"\0", b"\xb8", b"\0"], b"\1\3\2\0\0\xb8\0", 0),
        (ZEROS, [b"\1\3\4", b"\0\0\0\0", b"\xfa\x33"], b"\1\3\4\0\0\0\0\xfa\x33", 0),
        (ZEROS, [b"\1\3\4\0\0\0\0", b"\xfa\x33"], b"\1\3\4\0\0\0\0\xfa\x33", 0),
        (ZEROS, [b"\0\0", b"\0\0"], b"", 1),
    ],
)
def test_heartbeats_are_taken_out_where_they_stand_apart(
    greetings: RegistrationSettings, segments: list[bytes], line: bytes, beats: int
) -> None:
    assert sifted(greetings, *segments) == (line, beats)


@pytest.mark.parametrize("cut", range(1, len(BEAT + ANSWER + BEAT)))
def test_heartbeats_around_a_frame_are_taken_out_however_the_segments_fall(cut: int) -> None:
    stream = BEAT + ANSWER + BEAT
    assert sifted(DISTINCT, stream[:cut], stream[cut:]) == (ANSWER, 2)


@pytest.mark.parametrize("cut", range(1, len(FRAME_WITH_A_BEAT_INSIDE)))
@pytest.mark.parametrize("greetings", [DISTINCT, SHORT, ZEROS, BY_REGEX])
def test_a_frame_with_a_heartbeat_inside_is_whole_however_its_two_segments_fall(
    greetings: RegistrationSettings, cut: int
) -> None:
    for frame in (FRAME_WITH_A_BEAT_INSIDE, b"\1\3\4\0\0\0\0\0\0PIN1\xfa"):
        assert sifted(greetings, frame[:cut], frame[cut:]) == (frame, 0)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from([b"P", b"I", b"N", b"G", b"1", b"\0", b"\x68", BEAT, reg()])),
            st.booleans(),
        )
    ),
    st.sampled_from([DISTINCT, BY_REGEX, SHORT, ZEROS]),
)
def test_every_byte_goes_to_the_line_or_is_of_a_heartbeat(
    script: list[tuple[list[bytes], bool]], greetings: RegistrationSettings
) -> None:
    heartbeat_filter, line, taken = HeartbeatFilter(greetings, "T1"), b"", b""
    said = [(b"".join(words), is_request_sent) for words, is_request_sent in script]
    for number, (segment, is_request_sent) in enumerate(said):
        if is_request_sent:
            heartbeat_filter.request_sent()
        if segment:
            rest, beats = heartbeat_filter.feed(segment, 100 + number * 0.1)
            line, taken = line + rest, taken + b"".join(beats)
    rest, beats = heartbeat_filter.settle()
    line, taken = line + rest, taken + b"".join(beats)
    assert sorted(line + taken) == sorted(b"".join(segment for segment, _ in said))


def test_a_short_heartbeat_is_one_again_when_an_answer_is_over() -> None:
    heartbeat_filter = HeartbeatFilter(SHORT, "T1")
    assert heartbeat_filter.feed(b"\1\3", 100) == (b"\1\3", [])
    assert heartbeat_filter.feed(b"\0", 100.1) == (b"\0", [])
    assert heartbeat_filter.feed(b"\0", 100.1 + ANSWER_GAP_S) == (b"", [b"\0"])
    assert heartbeat_filter.feed(b"\1\3", 101) == (b"\1\3", [])
    heartbeat_filter.request_sent()
    assert heartbeat_filter.feed(b"\0", 101.1) == (b"", [b"\0"])


def test_the_beginning_of_a_heartbeat_that_is_like_anything_does_not_delay_an_answer() -> None:
    heartbeat_filter = HeartbeatFilter(ZEROS, "T1")
    assert heartbeat_filter.feed(b"\1\3\4", 100) == (b"\1\3\4", [])
    assert heartbeat_filter.feed(b"\0\0", 100.1) == (b"\0\0", [])
    assert heartbeat_filter.feed(b"\0\0", 100.2 + ANSWER_GAP_S) == (b"", [])
    assert heartbeat_filter.held == b"\0\0"


def test_a_question_shows_that_a_heartbeat_behind_an_answer_was_one(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as caller,
            terminals.channel("T1") as channel,
        ):
            await caller.hears(b"OK\r\n")
            caller.say(ANSWER + BEAT)
            assert await received(channel, len(ANSWER)) == ANSWER
            channel.write(b"next")
            await caller.hears(b"PONGnext")

    run(scene())


def test_a_heartbeat_in_two_pieces_is_answered_and_a_piece_alone_goes_to_the_line(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as caller,
            terminals.channel("T1") as channel,
        ):
            await caller.hears(b"OK\r\n")
            session = terminals.sessions["T1"]
            caller.say(BEAT[:3])
            heartbeat_filter = session._heartbeat_filter
            assert heartbeat_filter is not None
            await until(lambda: heartbeat_filter.held == BEAT[:3])
            caller.say(BEAT[3:])
            await caller.hears(b"PONG")
            caller.say(BEAT[:3])
            assert await received(channel, 3) == BEAT[:3]

    run(scene())


# --- one session per terminal


def test_a_newer_session_replaces_the_older_whose_late_bytes_never_arrive(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as old,
            terminals.channel("T1") as first,
        ):
            await old.hears(b"OK\r\n")
            async with calling(terminals, reg()) as new:
                with pytest.raises(
                    LineDown, match="terminal T1: replaced by a newer session of the same terminal"
                ):
                    await until_the_end(first, lambda: old.say(b"late"))
                with pytest.raises(LineDown, match="replaced"):
                    first.write(b"question")
                async with terminals.channel("T1") as second:
                    old.say(b"later")
                    new.say(b"new")
                    assert await received(second, 3) == b"new"
                    second.write(b"question")
                    await new.hears(b"OK\r\nquestion")
                    assert await old.hears_the_end() == b""
            assert (
                terminals.counts[DialInEvent.REGISTERED],
                terminals.counts[DialInEvent.REPLACED],
            ) == (2, 1)

    run(scene())


def test_bytes_that_are_handed_out_after_the_end_of_a_session_are_dropped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop may hand out what came for the old session after the new one took over, in the same
    round."""

    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as old,
            terminals.channel("T1") as first,
        ):
            await old.hears(b"OK\r\n")
            session = terminals.sessions["T1"]
            heard: list[bytes] = []
            monkeypatch.setattr(first, "data_received", heard.append)
            async with calling(terminals, reg()):
                await until(lambda: terminals.sessions["T1"] is not session)
                session.data_received(b"late")
                assert heard == []

    run(scene())


def test_a_session_that_was_accepted_earlier_does_not_replace_a_newer_one(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, calling(terminals, reg()[:5]) as stale:
            await until(lambda: any(it.unclaimed for it in terminals.unregistered))
            async with calling(terminals, reg()) as fresh, terminals.channel("T1") as channel:
                stale.say(reg()[5:])
                assert await stale.hears_the_end() == b""
                fresh.say(b"fresh")
                assert await received(channel, 5) == b"fresh"
                assert (
                    terminals.counts[DialInEvent.OUTDATED],
                    terminals.counts[DialInEvent.REPLACED],
                ) == (1, 0)

    run(scene())


def test_opening_waits_for_the_terminal_and_closing_hangs_up(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals:
            opening = asyncio.create_task(terminals.channel("T1").__aenter__())
            await asyncio.sleep(0)
            async with calling(terminals, reg()) as caller:
                channel = await asyncio.wait_for(opening, PATIENCE_S)
                caller.say(b"hello")
                assert await received(channel, 5) == b"hello"
                await channel.__aexit__(None, None, None)
                assert await caller.hears_the_end() == b"OK\r\n"
                assert terminals.sessions == {}

    run(scene())


def test_a_session_that_a_line_had_is_not_given_to_the_next(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, calling(terminals, reg()), terminals.channel("T1"):
            opening = asyncio.create_task(terminals.channel("T1").__aenter__())
            await asyncio.sleep(0)
            assert not opening.done()
            async with calling(terminals, reg(), b"new"):
                channel = await asyncio.wait_for(opening, PATIENCE_S)
                assert await received(channel, 3) == b"new"

    run(scene())


def test_a_session_that_ended_before_the_line_woke_is_not_given_to_it(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals:
            opening = asyncio.create_task(terminals.channel("T1").__aenter__())
            await asyncio.sleep(0)

            def end_the_first(event: DialInEvent, terminal: str, detail: str) -> None:
                if (
                    event == DialInEvent.REGISTERED
                    and terminals.counts[DialInEvent.REGISTERED] == 1
                ):
                    terminals.sessions[terminal].end("gone already")

            terminals.events.on_event = end_the_first
            async with calling(terminals, reg()) as first:
                await first.hears_the_end()
                assert not opening.done()
                async with calling(terminals, reg(), b"second"):
                    channel = await asyncio.wait_for(opening, PATIENCE_S)
                    assert await received(channel, 6) == b"second"

    run(scene())


def test_who_waits_for_a_terminal_hears_that_the_listener_closes(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals:
            opening = asyncio.create_task(terminals.channel("T1").__aenter__())
            await asyncio.sleep(0)
        with pytest.raises(LineDown, match="listener gprs is closed"):
            await opening

    run(scene())


def test_a_closed_listener_leaves_nothing_open(run: Run) -> None:
    async def scene() -> None:
        before = open_sockets()
        async with listening(known=["T1", "T2"]) as terminals:
            callers = [
                await asyncio.open_connection("127.0.0.1", terminals.endpoint.port)
                for _ in range(3)
            ]  # one is a line, one has no line, one says nothing
            for (_, writer), terminal in zip(callers, ("T1", "T2"), strict=False):
                writer.write(reg(terminal))
            channel = terminals.channel("T1")
            await channel.__aenter__()
            await until(lambda: len(terminals.sessions) == 2)
        with pytest.raises(LineDown, match="terminal T1: listener gprs is closed"):
            await channel.receive()
        for _, writer in callers:
            writer.transport.abort()
        await until(lambda: open_sockets() == before)

    run(scene())


def test_a_taken_port_is_told(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals:
            with pytest.raises(
                LineDown,
                match=f"listener b: cannot listen on 127.0.0.1:{terminals.endpoint.port}: Address already",
            ):
                await Terminals(
                    "b", ("127.0.0.1", terminals.endpoint.port), GREETINGS, known={}
                ).__aenter__()

    run(scene())


# --- half-open


def test_a_silent_session_is_closed_and_one_with_heartbeats_is_not(run: Run) -> None:
    async def scene() -> None:
        limits = Limits(silent_s=0.4)
        async with (
            listening(limits=limits, known=["T1", "T2"]) as terminals,
            calling(terminals, reg("T1")) as silent,
            calling(terminals, reg("T2")) as alive,
            terminals.channel("T1") as channel,
        ):
            opened = asyncio.create_task(silent.hears_the_end())
            while not opened.done():
                alive.say(BEAT)
                await asyncio.wait([opened], timeout=0.05)
            with pytest.raises(LineDown, match="terminal T1: silent for"):
                await channel.receive()
            assert list(terminals.sessions) == ["T2"]
            assert terminals.counts[DialInEvent.SILENT] == 1

    run(scene())


def test_a_terminal_that_never_reads_the_answers_to_its_heartbeats_is_hung_up_on(run: Run) -> None:
    """Or they would pile up here for as long as it goes on."""

    class Deaf(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.unsent = 0
            self.is_ended = False

        def write(self, data: bytes | bytearray | memoryview) -> None:
            self.unsent += len(data)

        def get_write_buffer_size(self) -> int:
            return self.unsent

        def is_closing(self) -> bool:
            return self.is_ended

        def abort(self) -> None:
            self.is_ended = True

    async def scene() -> None:
        async with listening() as terminals:
            session, deaf = (
                Session(terminals, "127.0.0.1", 1, 0.0, datetime(2026, 5, 2, tzinfo=UTC)),
                Deaf(),
            )
            session.connection_made(deaf)
            session.data_received(reg("T1"))
            for _ in range(2 * MOST_UNSENT):
                session.data_received(BEAT)
            assert session.is_over
            assert deaf.is_ended
            assert deaf.unsent < MOST_UNSENT + 100

    run(scene())


# --- quarantine


def test_an_unknown_terminal_is_no_line_and_is_kept_until_it_is_allowed(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(known=[]) as terminals,
            calling(terminals, reg("T9") + b"stale") as caller,
        ):
            await until(lambda: "T9" in terminals.quarantine)
            noted = terminals.quarantine["T9"]
            assert (noted.terminal, noted.address, noted.why) == (
                "T9",
                "127.0.0.1",
                "not in the list of terminals",
            )
            assert terminals.sessions == {}
            caller.say(b"nobody hears this")
            await asyncio.sleep(0.05)
            terminals.allow({"T9": ANYONE})
            await caller.hears(b"OK\r\n")
            async with terminals.channel("T9") as channel:
                caller.say(b"hello")
                assert await received(channel, 5) == b"hello"
            assert terminals.quarantine == {}

    run(scene())


def test_the_rows_tell_who_is_connected_who_is_away_and_who_is_unknown(run: Run) -> None:
    async def scene() -> None:
        noon = datetime(2026, 5, 2, 12, tzinfo=UTC)
        async with (
            listening(known=["T1", "T2"], now=lambda: noon) as terminals,
            calling(terminals, reg("T2") + BEAT),
            calling(terminals, reg("T9")),
        ):
            await until(lambda: terminals.counts[DialInEvent.HEARTBEAT] and terminals.quarantine)
            now = terminals.sessions["T2"].accepted_at + 7
            first, second, third = terminal_rows(
                terminals, {"T1": "dtu-1", "T2": "dtu-2"}, now, UTC
            )
            assert first == {"line": "dtu-1", "terminal": "T1", "state": "away"}
            assert (
                second["state"],
                second["address"],
                second["connected_s"],
                second["heartbeats"],
            ) == (
                "connected",
                "127.0.0.1",
                7,
                1,
            )
            assert third == {
                "line": None,
                "terminal": "T9",
                "state": "unknown",
                "address": "127.0.0.1",
                "first_seen": "2026-05-02T12:00:00+00:00",
                "last_seen": "2026-05-02T12:00:00+00:00",
                "times": 1,
                "why": "not in the list of terminals",
            }

    run(scene())


def test_an_unknown_terminal_keeps_one_connection(run: Run) -> None:
    async def scene() -> None:
        async with listening(known=[]) as terminals, calling(terminals, reg("T9")) as first:
            await until(lambda: terminals.counts[DialInEvent.UNKNOWN] == 1)
            async with calling(terminals, reg("T9")) as second:
                assert await first.hears_the_end() == b""
                terminals.allow({"T9": ANYONE})
                await second.hears(b"OK\r\n")

    run(scene())


def test_a_terminal_that_is_taken_out_of_the_list_loses_its_session(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            calling(terminals, reg()) as caller,
            terminals.channel("T1") as channel,
        ):
            terminals.allow({"T2": ANYONE})
            with pytest.raises(LineDown, match="taken out of the list of terminals"):
                await channel.receive()
            await caller.hears_the_end()

    run(scene())


def test_unknown_terminals_are_counted_and_only_so_many_are_kept(run: Run) -> None:
    async def scene() -> None:
        limits = replace(ALL_FROM_HERE, most_unknown_open=2, most_quarantined=3)
        async with (
            listening(known=[], limits=limits) as terminals,
            contextlib.AsyncExitStack() as callers,
        ):
            for number in (1, 2, 3, 4, 1):
                caller = await callers.enter_async_context(calling(terminals, reg(f"U{number}")))
                if number > 2:
                    assert await caller.hears_the_end() == b""
                await until(
                    lambda number=number: next(reversed(terminals.quarantine), "") == f"U{number}"
                )
            assert [(it.terminal, it.times) for it in terminals.quarantine.values()] == [
                ("U3", 1),
                ("U4", 1),
                ("U1", 1),
            ]
            assert terminals.counts[DialInEvent.UNKNOWN] == 5
            await until(lambda: len(terminals._open) == 2)

    run(scene())


# --- limits


def test_connections_over_the_rate_wait_and_are_not_refused(run: Run) -> None:
    async def scene() -> None:
        known = [f"T{number}" for number in range(60)]
        limits = Limits(accept_per_s=40, most_per_address=100)
        async with (
            listening(known=known, limits=limits) as terminals,
            contextlib.AsyncExitStack() as callers,
        ):
            begun = asyncio.get_running_loop().time()
            for terminal in known:
                await callers.enter_async_context(calling(terminals, reg(terminal)))
            await until(lambda: terminals.counts[DialInEvent.ACCEPTED] >= 40)
            await until(lambda: len(terminals.sessions) == 60)
            assert asyncio.get_running_loop().time() - begun > 0.4
            assert terminals.counts[DialInEvent.ACCEPT_PAUSED] > 0

    run(scene())


def test_connections_wait_while_too_many_have_not_registered(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(limits=replace(ALL_FROM_HERE, most_unregistered=2)) as terminals,
            calling(terminals) as first,
            calling(terminals),
            calling(terminals, reg()) as third,
        ):
            await until(lambda: terminals.counts[DialInEvent.ACCEPT_PAUSED] > 0)
            assert terminals.counts[DialInEvent.ACCEPTED] == 2
            first.hang_up()
            await third.hears(b"OK\r\n")

    run(scene())


def test_one_address_has_only_so_many_connections(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening(limits=Limits(most_per_address=2), known=["T1", "T2", "T3"]) as terminals,
            calling(terminals, reg("T1")) as first,
            calling(terminals, reg("T2")) as second,
        ):
            await first.hears(b"OK\r\n")
            await second.hears(b"OK\r\n")
            async with calling(terminals) as third:
                assert await third.hears_the_end() == b""
            assert terminals.counts[DialInEvent.REFUSED_ADDRESS] == 1
            first.hang_up()
            await until(lambda: "T1" not in terminals.sessions)
            async with calling(terminals, reg("T3")) as third:
                await third.hears(b"OK\r\n")

    run(scene())


def test_without_file_descriptors_accepting_pauses_and_goes_on(run: Run) -> None:
    async def scene() -> None:
        known = [f"T{number}" for number in range(8)]
        async with listening(known=known) as terminals:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            callers = [
                socket.create_connection(("127.0.0.1", terminals.endpoint.port)) for _ in known
            ]
            for caller, terminal in zip(callers, known, strict=True):
                caller.sendall(reg(terminal))
            os.close(lowest_free := os.dup(callers[0].fileno()))
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
            try:
                await until(lambda: terminals.counts[DialInEvent.NO_DESCRIPTORS])
                await asyncio.sleep(0.3)
                assert terminals.counts[DialInEvent.NO_DESCRIPTORS] == 1
                assert (DialInEvent.NO_DESCRIPTORS, "") in [event[:2] for event in terminals.told]
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await until(lambda: len(terminals.sessions) == len(known))
            for caller in callers:
                caller.close()

    run(scene())


def test_2000_terminals_at_once_are_all_registered_and_none_is_refused(run: Run) -> None:
    async def scene() -> None:
        known = [f"T{number}" for number in range(2000)]
        async with listening(
            known=known, limits=Limits(accept_per_s=1500, most_per_address=5000)
        ) as terminals:
            begun = await asyncio.gather(
                *(asyncio.open_connection("127.0.0.1", terminals.endpoint.port) for _ in known)
            )
            for (_, writer), terminal in zip(begun, known, strict=True):
                writer.write(reg(terminal))
            heard = await asyncio.gather(*(reader.readexactly(4) for reader, _ in begun))
            assert set(heard) == {b"OK\r\n"}
            assert len(terminals.sessions) == terminals.counts[DialInEvent.ACCEPTED] == len(known)
            for _, writer in begun:
                writer.transport.abort()

    run(scene())


# --- TLS


def test_tls_carries_a_line_and_what_is_no_tls_is_counted(run: Run, certificates: Path) -> None:
    async def scene() -> None:
        tls = server_tls(certificates / "server.pem", certificates / "server.key", None)
        async with listening(tls=tls) as terminals:
            async with calling(terminals, reg()) as plain:
                await plain.hears_the_end()
            await until(lambda: terminals.counts[DialInEvent.TLS_FAILED] == 1)
            assert DialInEvent.TLS_FAILED in [event for event, *_ in terminals.told]
            async with (
                calling(terminals, reg(), ssl=client_tls(certificates)) as caller,
                terminals.channel("T1") as channel,
            ):
                await channel.send(b"question")
                await caller.hears(b"OK\r\nquestion")
                caller.say(ANSWER)
                assert await received(channel, len(ANSWER)) == ANSWER

    run(scene())


def test_with_a_client_authority_only_its_terminals_come_in(run: Run, certificates: Path) -> None:
    async def scene() -> None:
        tls = server_tls(
            certificates / "server.pem", certificates / "server.key", certificates / "ca.pem"
        )
        async with listening(tls=tls) as terminals:
            for number, who in enumerate((None, "stranger"), 1):
                with contextlib.suppress(OSError):
                    async with calling(
                        terminals, reg(), ssl=client_tls(certificates, who)
                    ) as caller:
                        await caller.hears_the_end()
                await until(
                    lambda number=number: terminals.counts[DialInEvent.TLS_FAILED] == number
                )
            assert (terminals.counts[DialInEvent.REGISTERED], terminals._open) == (0, set())
            async with calling(terminals, reg(), ssl=client_tls(certificates, "T1")) as caller:
                await caller.hears(b"OK\r\n")

    run(scene())


def test_a_handshake_that_does_not_come_is_given_up(run: Run, certificates: Path) -> None:
    async def scene() -> None:
        tls = server_tls(certificates / "server.pem", certificates / "server.key", None)
        async with (
            listening(tls=tls, limits=Limits(registration_timeout_s=0.2)) as terminals,
            calling(terminals) as mute,
        ):
            await mute.hears_the_end()
            await until(lambda: not terminals._open)
            assert terminals.endpoint._connections_of == {}

    run(scene())


# --- simulated terminals


def simulated(terminals: Terminals, who: str = "T1", **how: Any) -> SimulatedTerminal:
    bus = SimulatedBus(
        [
            simulated_meter(
                ADDRESS, now=lambda: datetime(2026, 5, 2, 12), initial_kwh=Decimal("6.06")
            )
        ]
    )
    how = {"reconnect_s": 0.1, "heartbeat": BEAT, "heartbeat_s": 0.05, **how}
    spec = TerminalSpec(reg(who), **how)
    return SimulatedTerminal(bus, "127.0.0.1", terminals.endpoint.port, spec, random=Random(1))


async def energy_over(channel: TerminalChannel) -> Decimal | None:
    conversation = Conversation(
        channel, CODEC_2007, line="T1", timing=Timing(reply_timeout_s=1, retries=3)
    )
    return await conversation.run(read_energy(ADDRESS))


@pytest.mark.parametrize("segments", ["as_said", "single_bytes", "merged"])
def test_a_meter_behind_a_simulated_terminal_is_read_again_and_again(
    run: Run, segments: Segments
) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            dialling_in([simulated(terminals, segments=segments)]),
            terminals.channel("T1") as channel,
        ):
            for _ in range(5):
                assert await energy_over(channel)
            await until(lambda: terminals.counts[DialInEvent.HEARTBEAT] > 3)
            assert await energy_over(channel)

    run(scene())


def test_a_flapping_terminal_is_read_after_each_of_its_calls(run: Run) -> None:
    async def scene() -> None:
        async with (
            listening() as terminals,
            dialling_in([simulated(terminals, hangs_up_after_s=0.3)]),
        ):
            for _ in range(3):
                async with terminals.channel("T1") as channel:
                    assert await energy_over(channel)
                    with pytest.raises(LineDown, match="terminal T1: "):
                        await until_the_end(channel)

    run(scene())


def test_a_half_open_terminal_is_noticed_and_its_next_call_taken(run: Run) -> None:
    async def scene() -> None:
        async with listening(limits=Limits(silent_s=0.3)) as terminals:
            terminal = simulated(terminals)
            async with dialling_in([terminal]):
                async with terminals.channel("T1") as channel:
                    terminal.is_half_open = True
                    with pytest.raises(LineDown, match="silent for"):
                        await until_the_end(channel)
                terminal.is_half_open = False
                async with terminals.channel("T1") as channel:
                    assert await energy_over(channel)

    run(scene())


def test_a_simulated_terminal_with_a_wrong_id_is_quarantined(run: Run) -> None:
    async def scene() -> None:
        async with listening() as terminals, dialling_in([simulated(terminals, "T7")]):
            await until(lambda: "T7" in terminals.quarantine)

    run(scene())


def test_a_caller_that_was_taken_a_moment_before_the_end_does_not_delay_it(run: Run) -> None:
    """Who waits for it waits longer than this test may take."""
    limits = replace(ALL_FROM_HERE, closing_s=10 * PATIENCE_S)

    async def scene() -> None:
        async with listening(limits=limits) as terminals:
            caller = socket.create_connection(
                ("127.0.0.1", terminals.endpoint.port), timeout=PATIENCE_S
            )
            terminals.endpoint._accept(terminals.endpoint._listening_sockets[0])
        with caller:
            assert caller.recv(1) == b""

    run(scene())
