"""Lines look at relays without a command, over real connections; and hear who else moves them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from daemon.acquisition.drivers import driver_of
from daemon.acquisition.planning.reads import ReadRequest
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from protocols.channels.streams import StreamChannel
from protocols.dlt645 import functions
from protocols.dlt645.frame import Frame, encode
from protocols.reading import RelayState
from tests.wire.acquisition.test_wire_line import (
    ENOUGH_S,
    NOON,
    QUICK,
    OpenLine,
    Site,
    address_of,
    asked,
    silence,
    value,
)

STATUS = "04000503"
CLOSED, OPEN = b"\x00\x00", b"\x50\x00"
TRIP = bytes.fromhex("02000000000000001A00010101010130")


class RelaySite(Site):
    """Meters whose relays can be looked at; they are closed where the script says nothing else."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"days": 3, **how})
        self.script[STATUS] = value(lambda frame: CLOSED)
        # Who they are was asked before: the same word tells what a meter deducts.
        for number, meter in enumerate(self.meters):
            self.meters[number] = replace(meter, identity_read_on=NOON.date())
        self.foreign: list[bytes] = []
        """What another master sends after the next answer of ours."""

    def line_over(self, open_channel: Callable[[], StreamChannel]) -> WireLine:
        parts = WireParts(
            driver_of=lambda meter: driver_of(meter, {}, has_relay=meter.meter_id != 2),
            open_channel=open_channel,
            timing=QUICK,
            batch_poller=BatchPoller(Deadlines(), 1),
        )
        return OpenLine(self.common, parts)

    def hear(self, frame: Frame) -> Iterable[bytes]:
        answers = list(super().hear(frame))
        if self.foreign:
            answers += self.foreign
            self.foreign = []
        return answers

    @property
    def looked_at(self) -> list[str]:
        return [it.address for it in self.requests if asked(it) == STATUS]


def told(site: RelaySite, story: Callable[[WireLine], Awaitable[None]]) -> list[dict[str, Any]]:
    async def run() -> None:
        async with site.line() as line:
            await story(line)

    with structlog.testing.capture_logs() as logged:
        asyncio.run(run())
    return [dict(it) for it in logged]


def test_each_relay_is_seen_after_todays_freezes_and_once() -> None:
    site = RelaySite()
    site.script[STATUS] = value(lambda frame: OPEN if frame.address == address_of(1) else CLOSED)

    async def story(line: WireLine) -> None:
        await site.until(lambda: len(site.sink.relays) == 2)
        # That all older days were read afterwards shows that the line has gone on.
        await site.until(lambda: len(site.arrived) == 9)
        line.look_at_relay(0)
        await site.until(lambda: len(site.sink.relays) == 3)

    told(site, story)
    seen = {it.meter.meter_id: it.relay for it in site.sink.relays}
    assert seen == {0: RelayState(False, False), 1: RelayState(True, True)}
    assert site.looked_at == [address_of(0), address_of(1), address_of(0)]
    identifiers = [asked(it) for it in site.requests if it.control == 0x11]
    todays = {asked(it) for it in site.requests if it.data[:1] == b"\x01"}
    assert max(map(identifiers.index, todays)) < identifiers.index(STATUS)


def test_a_relay_that_was_seen_today_is_not_looked_at_and_one_of_yesterday_is() -> None:
    site = RelaySite()
    for number, ago in enumerate((0, 1, 1)):
        day = NOON.date() - timedelta(days=ago)
        site.meters[number] = replace(site.meters[number], relay_seen_on=day)

    async def story(line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 9 and bool(site.sink.relays))
        line.look_at_relay(1)
        await site.until(lambda: len(site.sink.relays) == 2)

    told(site, story)
    assert site.looked_at == [address_of(1)] * 2


def test_a_meter_that_is_silent_at_this_question_is_not_asked_in_a_loop_nor_backed_off() -> None:
    site = RelaySite(meters=2)
    site.script[STATUS] = silence

    async def story(line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 6)
        # The second is asked when the first was asked in vain.
        await site.until(lambda: len(set(site.looked_at)) == 2)
        line.look_at_relay(0)
        assert not line._jobs.relay_looks.is_asked
        # The line goes on meanwhile: a question is asked after both looks.
        line.ask(ReadRequest(1, "registers", time.monotonic() + ENOUGH_S))
        await site.until(lambda: "0001FF00" in map(asked, site.requests))
        assert line.backed_off == 0

    told(site, story)
    assert site.looked_at == [address_of(0), address_of(1)]
    assert site.sink.relays == []


def test_who_speaks_is_in_question_and_nothing_is_taken() -> None:
    site = RelaySite(meters=1)

    async def story(line: WireLine) -> None:
        await site.until(lambda: bool(site.sink.relays))
        line._jobs.question = lambda: "two say to be it"
        line.look_at_relay(0)
        await site.until(lambda: not line._jobs.relay_looks.is_asked)

    told(site, story)
    assert len(site.looked_at) == 1


def test_a_trip_of_somebody_else_is_told_and_its_relay_looked_at_at_once() -> None:
    site = RelaySite()

    async def story(line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 9 and len(site.sink.relays) == 2)
        for frame in (
            Frame(address_of(1), functions.CONTROL, TRIP),
            Frame(address_of(1), functions.CONTROL | 0x80, b""),
        ):
            site.foreign.append(encode(frame))
        line.look_at_relay(0)
        await site.until(lambda: len(site.sink.relays) == 4)

    logged = told(site, story)
    assert site.looked_at[2:] == [address_of(0), address_of(1)]
    told_of = [it["meter"] for it in logged if it["event"] == "somebody else controls a meter"]
    assert told_of == [address_of(1)]


def test_the_reads_of_another_master_are_nobodys_matter() -> None:
    site = RelaySite()

    async def story(line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 9 and len(site.sink.relays) == 2)
        site.foreign.append(encode(Frame(address_of(1), 0x11, b"\x00\x01\xff\x00")))
        line.look_at_relay(0)
        await site.until(lambda: len(site.sink.relays) == 3)
        line.look_at_relay(0)
        await site.until(lambda: len(site.sink.relays) == 4)

    logged = told(site, story)
    assert [it for it in logged if "somebody else" in it["event"]] == []
    assert site.looked_at[2:] == [address_of(0)] * 2
