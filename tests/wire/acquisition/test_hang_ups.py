"""Far ends that hang up: after each answer, or before the first."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import structlog

from daemon.acquisition.line import PROVED
from daemon.acquisition.parts import Pace
from daemon.acquisition.planning.flapping import TOLD_EACH
from daemon.runtime.supervision import Supervisor
from protocols.channels.tcp import TcpChannel
from protocols.dlt645.frame import Decoder, Frame
from tests.wire.acquisition.test_wire_line import Site, asked


class HangingUp:
    """A converter that hangs up after so many answers."""

    def __init__(self, site: Site, after: int) -> None:
        self.after = after
        self.connections = 0
        self.served: set[asyncio.Task[None]] = set()
        self._site = site

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        serving = asyncio.current_task()
        assert serving is not None
        self.served.add(serving)
        decoder, left = Decoder(), self.after
        while left > 0 and (data := await reader.read(1000)):
            for frame in decoder.feed(data):
                if left and isinstance(frame, Frame):
                    left -= 1
                    writer.write(b"".join(self._site.hear(frame)))
        writer.close()
        await writer.wait_closed()


def run(site: Site, converter: HangingUp, until: Any) -> list[dict[str, Any]]:
    """The line over this converter, until something is so; what was logged of it."""

    async def scene() -> None:
        server = await asyncio.start_server(converter.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Supervisor() as supervisor:
            line = site.line_over(lambda: TcpChannel("127.0.0.1", port))
            supervisor.start("gate-3", line.run, kind="line")
            await site.until(until)
        # Whoever was accepted at the end is hung up on, too.
        await asyncio.gather(*converter.served, return_exceptions=True)

    with structlog.testing.capture_logs() as logged:
        asyncio.run(scene())
    return [dict(it) for it in logged if it.get("logger", "line") == "line"]


@pytest.mark.parametrize("after", [1, 2, 3])
def test_each_slot_is_read_from_a_far_end_that_hangs_up_after_each_answer(after: int) -> None:
    site = Site(meters=3, days=5)
    logged = run(site, HangingUp(site, after), lambda: len(set(site.days)) == 15)
    assert site.took_the_truth()
    events = Counter(it["event"] for it in logged)
    assert events["line up"] == events["line down"] + 1 == TOLD_EACH + 1
    (told,) = [it for it in logged if it["event"] == "line flaps"]
    assert "hangs up after each answer" in told["hint"]


def test_near_midnight_the_stamp_is_asked_again_and_not_remembered() -> None:
    """It proves that the meter has not frozen anew since it told its stamp."""
    site = Site(meters=1, days=1, at=(Site().at.replace(hour=0, minute=5)))
    run(site, HangingUp(site, 1), lambda: bool(site.days))
    told = [asked(frame)[:6] for frame in site.requests]
    # The line may have gone on to another question.
    told = [it for it in told if it.startswith("0506")]
    assert told[-3:] == ["050600", "050601", "050600"]


def test_whoever_hangs_up_without_an_answer_is_called_ever_more_rarely() -> None:
    """And told once, not twice a second."""
    site = Site(meters=1, days=1)
    converter = HangingUp(site, 0)
    logged = run(site, converter, lambda: converter.connections == 5)
    (told,) = [it for it in logged if it["event"] == "line flaps"]
    assert "is another client connected" in told["hint"]
    assert {it["event"] for it in logged} == {"line up", "line down", "line flaps"}
    assert len(logged) == 2 * TOLD_EACH + 2


def test_pauses_grow_until_an_answer_comes() -> None:
    failures: list[int] = []

    def pause_s(count: int, longest_s: float) -> float:
        failures.append(count)
        if len(failures) == 4:
            converter.after = 1
        return 0.0

    site = Site(meters=1, days=1, pace=Pace(retry_s=1.0, reconnect_s=0.1, pause_s=pause_s))
    converter = HangingUp(site, 0)
    run(site, converter, lambda: bool(site.days))
    assert failures[:4] == [0, 1, 2, 3]
    assert set(failures[4:-1]) <= {PROVED, 4}
    assert PROVED in failures
