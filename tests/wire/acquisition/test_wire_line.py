"""A whole line over a real connection, with meters that count what they are asked. Commands come
from the database and are tested with it; here the line has none."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import structlog

from daemon.acquisition.conversations import Conversations
from daemon.acquisition.drivers import driver_of
from daemon.acquisition.parts import Pace
from daemon.acquisition.planning.reads import ReadRequest
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.polling.packed_slots import NUMBER_AT, entry, plan
from daemon.acquisition.site_clock import SiteClock
from daemon.acquisition.wire_line import WireLine, WireParts
from daemon.quality.arrival import Arrival, PolledFreeze
from daemon.runtime.supervision import Supervisor
from protocols.channels.conversation import Timing
from protocols.channels.streams import StreamChannel
from protocols.channels.tcp import UNACKNOWLEDGED_MS, TcpChannel
from protocols.dlt645.bcd import decode_time, encode_time
from protocols.dlt645.frame import Frame, encode
from protocols.dlt645.prepared.steps import CLOCK, STAMP
from storage.archive import SiteMeter
from tests.bench.faults import Plan, bcd, dead_meters, fault_run, truth
from tests.line_parts import Sink, line_parts
from tests.presence import presence
from tests.wire.conftest import tcp_server

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 3, 16, 12, tzinfo=ZONE)
QUICK = Timing(reply_timeout_s=0.15, byte_gap_s=0.1, longest_answer_s=0.5, quiet_s=0.02, retries=0)
ENOUGH_S = 30.0


def address_of(number: int) -> str:
    return f"{number + 1:012d}"


class OpenLine(WireLine):
    """A line whose methods may be replaced: it has no slots."""


Answer = Callable[[Frame, datetime], bytes | None]
"""What a meter with this clock answers; None: nothing."""


class Site:
    """A line with its meters, which follow a script where it says something, else the truth."""

    def __init__(self, *, meters: int = 3, days: int = 10, at: datetime = NOON, **how: Any) -> None:
        self.at = at
        self.began = time.monotonic()
        self.requests: list[Frame] = []
        self.arrived: list[Arrival | PolledFreeze] = []
        self.came = asyncio.Event()
        self.clock_off = dict.fromkeys(map(address_of, range(meters)), timedelta())
        self.takes_time = True
        self.shift = 0
        self.silent: set[str] = set()
        self.script: dict[str, Answer] = {}
        """By how an identifier begins."""
        self.on_request: Callable[[Frame], None] = lambda frame: None
        common: dict[str, Any] = {
            "pace": how.pop("pace", Pace(retry_s=1.0, reconnect_s=0.1)),
            "backfill_days": days,
        }
        self.sink = Sink(how.pop("submit", self._take))
        self.how = how
        self.meters = [_meter(number) for number in range(meters)]
        self.doubt = ""
        """What speaks against the host's clock."""
        self.logged: list[Any] = []
        clock = SiteClock(ZONE, self.now, lambda: self.doubt)
        self.common = line_parts("gate-3", self.meters, clock=clock, sink=self.sink, **common)

    def now(self) -> datetime:
        return (self.at + timedelta(seconds=time.monotonic() - self.began)).astimezone(UTC)

    def _take(self, arrival: Arrival | PolledFreeze) -> bool:
        self.arrived.append(arrival)
        self.came.set()
        return True

    def hear(self, frame: Frame) -> Iterable[bytes]:
        self.requests.append(frame)
        self.on_request(frame)
        local = self.now().astimezone(ZONE).replace(tzinfo=None)
        if frame.control == 0x08:
            told = decode_time(frame.data, "ss mm hh DD MM YY")
            assert told is not None
            for address in self.clock_off:
                if self.takes_time and frame.address in (address, "9" * 12):
                    self.clock_off[address] = told - local
            return []
        if frame.address in self.silent or frame.address not in self.clock_off:
            return []
        answer = self._scripted(asked(frame)) or self._true_answer
        reply = answer(frame, local + self.clock_off[frame.address])
        return [] if reply is None else [reply]

    def _scripted(self, identifier: str) -> Answer | None:
        found = (it for begins, it in self.script.items() if identifier.startswith(begins))
        return next(found, None)

    def _true_answer(self, frame: Frame, clock: datetime) -> bytes:
        identifier = asked(frame)
        day = clock.date() - timedelta(days=frame.data[0] - 1 - self.shift)
        match identifier[:6]:
            case "040001":
                data = encode_time(
                    clock, "WW DD MM YY" if identifier.endswith("01") else "ss mm hh"
                )
            case "050600":
                data = encode_time(datetime(day.year, day.month, day.day), "mm hh DD MM YY")
            case "050601":
                data = b"".join(bcd(register, 4) for register in truth(frame.address, day))
            case "0001FF":
                data = bcd(123456, 4) * 5
            case _:
                return encode(Frame(frame.address, 0xD1, b"\x02"))
        return encode(Frame(frame.address, 0x91, frame.data[:4] + data))

    def line_over(self, open_channel: Callable[[], StreamChannel]) -> WireLine:
        parts = WireParts(
            driver_of=lambda meter: driver_of(meter, {}, has_relay=False),
            open_channel=open_channel,
            timing=QUICK,
            batch_poller=BatchPoller(Deadlines(), 1),
            **self.how,
        )
        return OpenLine(self.common, parts)

    @asynccontextmanager
    async def line(self) -> AsyncIterator[WireLine]:
        """The line as a task that is kept running."""
        async with far_end(self.hear) as port, Supervisor() as supervisor:
            line = self.line_over(lambda: TcpChannel("127.0.0.1", port))
            supervisor.start("gate-3", line.run, kind="line")
            yield line

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; what is read or asked makes it so."""
        async with asyncio.timeout(ENOUGH_S):
            while not is_so():  # noqa: ASYNC110  anything may make it so
                await asyncio.sleep(0.005)

    def told(self, event: str) -> int:
        """How often it was logged."""
        return [it["event"] for it in self.logged].count(event)

    @property
    def days(self) -> list[tuple[str, date]]:
        return [(it.meter.address, it.freeze.frozen_at.date()) for it in self.arrived]

    def took_the_truth(self) -> bool:
        return all(
            it.freeze.registers
            == tuple(
                Decimal(register).scaleb(-2)
                for register in truth(it.meter.address, it.freeze.frozen_at.date())
            )
            for it in self.arrived
        )


@asynccontextmanager
async def far_end(hear: Callable[[Frame], Iterable[bytes]]) -> AsyncIterator[int]:
    """A server whose clients may go away at any time."""
    server = tcp_server(hear)
    port = await server.__aenter__()
    try:
        yield port
    finally:
        with suppress(ConnectionError):  # of the server alone: what the test says must come through
            await server.__aexit__(None, None, None)


def asked(frame: Frame) -> str:
    return frame.data[3::-1].hex().upper()


def refused(data: bytes) -> Answer:
    """The script of a meter that refuses: 02 = it has none, 04 = one may not read it."""
    return lambda frame, clock: encode(Frame(frame.address, 0xD1, data))


def value(told: Callable[[Frame], bytes]) -> Answer:
    """The script of a meter that tells this."""
    return lambda frame, clock: encode(Frame(frame.address, 0x91, frame.data[:4] + told(frame)))


def silence(frame: Frame, clock: datetime) -> None:
    """The script of a meter that does not answer."""


def _meter(number: int, identity_read_on: date | None = None) -> SiteMeter:
    return SiteMeter(
        number,
        address_of(number),
        "gate-3",
        "dlt645-2007",
        10**8,
        2,
        date(2020, 1, 1),
        number,
        f"P{number}",
        Decimal(9),
        identity_read_on=identity_read_on,
    )


def told(
    site: Callable[[], Site], story: Callable[[Site, WireLine], Awaitable[None]]
) -> list[dict[str, Any]]:
    """Run a story on a line; what was logged."""

    async def run() -> None:
        made = site()
        made.logged = logged
        async with made.line() as line:
            await story(made, line)

    with structlog.testing.capture_logs() as logged:
        asyncio.run(run())
    return [dict(it) for it in logged]


def test_todays_freezes_are_read_before_older_days_and_these_from_the_oldest() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 30)
        today = NOON.date()
        days = [day for _, day in site.days]
        assert days[:3] == [today] * 3
        assert days[3:] == sorted(days[3:])
        assert site.took_the_truth()

    told(Site, story)


def test_while_back_fill_must_wait_only_today_is_read() -> None:
    allowed: list[bool] = []

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 3)
        await asyncio.sleep(0.2)
        assert {day for _, day in site.days} == {NOON.date()}
        allowed.append(True)
        await site.until(lambda: len(site.arrived) == 30)

    told(lambda: Site(may_backfill=lambda: bool(allowed)), story)


def test_a_question_is_asked_within_one_exchange_of_full_back_fill() -> None:
    async def story(site: Site, line: WireLine) -> None:
        question = ReadRequest(1, "registers", time.monotonic() + ENOUGH_S)
        asked_at: list[int] = []

        def ask(frame: Frame) -> None:
            if len(site.requests) == 20:
                line.ask(question)
            if asked(frame) == "0001FF00":
                asked_at.append(len(site.requests))

        site.on_request = ask
        assert (await question.result).outcome == "ok"
        assert asked_at == [21]
        await site.until(lambda: len(site.arrived) == 10 * 8)
        assert site.took_the_truth()

    told(lambda: Site(meters=8), story)


def test_a_question_is_asked_within_one_exchange_of_the_general_way() -> None:
    """A freeze that is read in the general way takes several exchanges: it gives way between two of
    them."""

    async def story(site: Site, line: WireLine) -> None:
        question = ReadRequest(1, "registers", time.monotonic() + ENOUGH_S)
        begun: list[int] = []
        late: list[int] = []

        def ask(frame: Frame) -> None:
            if asked(frame).startswith("050601") and len(site.requests) > 12 and not begun:
                begun.append(len(site.requests))
                line.ask(question)
            if asked(frame) == "0001FF00":
                late.append(len(site.requests) - begun[0])

        site.on_request = ask
        assert (await question.result).outcome == "ok"
        assert late == [1]
        await site.until(lambda: len(site.arrived) >= 10)

    def site() -> Site:
        made = Site(meters=2)
        made.clock_off = dict.fromkeys(made.clock_off, timedelta(minutes=7))
        return made

    told(site, story)


def test_a_question_that_comes_while_the_line_is_drained_is_asked_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(site: Site, line: WireLine) -> None:
        question = ReadRequest(1, "registers", time.monotonic() + ENOUGH_S)
        drain, drained_at = Conversations.drain, list[int]()

        async def ask_meanwhile(talk: Conversations, timing: Timing) -> None:
            await drain(talk, timing)
            if not drained_at:
                drained_at.append(len(site.requests))
                line.ask(question)

        monkeypatch.setattr(Conversations, "drain", ask_meanwhile)
        site.silent = {address_of(0)}
        assert (await question.result).outcome == "ok"
        assert [asked(frame) for frame in site.requests].index("0001FF00") == drained_at[0]

    told(lambda: Site(meters=4, days=62), story)


def test_no_meter_is_asked_twice_at_a_time() -> None:
    async def story(site: Site, line: WireLine) -> None:
        today, before = NOON.date(), NOON.date() - timedelta(days=1)
        slots = [(0, today), (1, today), (0, before), (2, before)]
        line.rebuild(*presence([]))
        assert [
            slot >> NUMBER_AT for slot in line._freezes.planned(slots, NOON.replace(tzinfo=None))
        ] == [
            1,
            0,
        ]

    told(lambda: Site(pipelined=4, submit=lambda arrival: False), story)


def test_a_line_whose_back_fill_must_wait_does_not_spin() -> None:
    looked: list[int] = []

    def may_not() -> bool:
        looked.append(1)
        return False

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 3)
        looked.clear()
        await asyncio.sleep(1)
        assert 1 <= len(looked) <= 10

    told(lambda: Site(may_backfill=may_not), story)


def test_a_line_whose_request_must_wait_for_midnight_does_not_spin() -> None:
    """The host freeze of a meter without memory is due in a second: a request would give way to it
    before its first frame, and be begun again at once."""

    class Watched(Site):
        looks = 0

        def now(self) -> datetime:
            self.looks += 1
            return super().now()

    async def story(site: Site, line: WireLine) -> None:
        assert isinstance(site, Watched)
        await site.until(lambda: line.up)
        request = ReadRequest(1, "registers", time.monotonic() + ENOUGH_S)
        looks_before = site.looks
        line.ask(request)
        await asyncio.sleep(1)
        assert not request.result.done()
        assert site.looks - looks_before < 300

    def site() -> Site:
        made = Watched(meters=2, at=datetime(2026, 3, 15, 23, 59, 58, 600_000, tzinfo=ZONE))
        made.meters[0] = replace(made.meters[0], protocol="dlt645-1997")
        return made

    told(site, story)


def test_a_peer_that_acknowledges_nothing_is_given_up_by_the_kernel() -> None:
    async def story() -> None:
        async with far_end(lambda frame: []) as port, TcpChannel("127.0.0.1", port) as channel:
            assert channel._transport is not None
            connection = channel._transport.get_extra_info("socket")
            assert (
                connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                == UNACKNOWLEDGED_MS
            )

    asyncio.run(story())


def test_a_question_whose_time_is_over_is_dropped_and_its_asker_told() -> None:
    async def story(site: Site, line: WireLine) -> None:
        over = ReadRequest(0, "registers", time.monotonic() - 1)
        await site.until(lambda: line.up)
        line.ask(over)
        assert (await over.result).outcome == "expired"
        assert "0001FF00" not in map(asked, site.requests)

    told(Site, story)


def test_a_question_on_a_line_that_is_down_is_answered_at_once() -> None:
    async def story() -> None:
        line = Site().line_over(lambda: TcpChannel("127.0.0.1", 1))
        question = ReadRequest(0, "registers", time.monotonic() + ENOUGH_S)
        line.ask(question)
        assert question.result.result().outcome == "line_down"

    asyncio.run(story())


# --- clocks ---------------------------------------------------------------------------------------


def clocks_off(seconds: float, **how: Any) -> Site:
    site = Site(meters=2, days=2, sets_clocks=True, **how)
    site.clock_off[address_of(0)] = timedelta(seconds=seconds)
    return site


def set_clocks(site: Site) -> list[str]:
    return [frame.address for frame in site.requests if frame.control == 0x08]


def test_a_clock_that_drifted_is_set_and_read_back() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: abs(site.clock_off[address_of(0)]) < timedelta(seconds=2))
        back = len(site.requests)
        await site.until(lambda: any(asked(it) == "04000102" for it in site.requests[back:]))
        assert set_clocks(site) == [address_of(0)]
        await site.until(lambda: len(site.arrived) == 4)
        await site.until(lambda: site.told("clock set") == 1)

    told(lambda: clocks_off(100), story)


def test_a_clock_that_is_not_taken_is_broadcast_then_told_and_left_for_that_day() -> None:
    async def story(site: Site, line: WireLine) -> None:
        site.takes_time = False
        await site.until(lambda: site.told("clock not set") == 1)
        line._clocks._to_set[0] = None
        line.rebuild(*presence([]))
        line.wake()
        await site.until(lambda: len(site.arrived) >= 6 and not line._clocks._to_set)
        await asyncio.sleep(0.3)
        assert set_clocks(site) == [address_of(0), "9" * 12]
        assert site.told("clock not set") == 1

    told(lambda: clocks_off(100), story)


@pytest.mark.parametrize("minute", [-10, 10])
def test_no_clock_is_set_near_midnight(minute: int) -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) >= 4)
        await asyncio.sleep(0.2)
        assert set_clocks(site) == []

    midnight = NOON.replace(hour=0) + timedelta(days=1)
    told(lambda: clocks_off(100, at=midnight + timedelta(minutes=minute)), story)


def test_no_clock_is_set_while_the_host_clock_is_doubted() -> None:
    def site() -> Site:
        made = clocks_off(100)
        made.doubt = "it was stepped"
        return made

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: bool(line._clocks._to_set) and len(site.arrived) == 4)
        assert set_clocks(site) == []
        site.doubt = ""
        await site.until(lambda: bool(set_clocks(site)))

    told(site, story)


def test_after_a_step_of_the_host_clock_each_meter_clock_is_read_again() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 4)
        assert [abs(skew_s) <= 1 for skew_s in line._clocks.skews_s()] == [True, True]
        line._clocks.forget_all()
        assert len(line._clocks.skews_s()) == 0
        line.rebuild(*presence([]))
        await site.until(lambda: len(line._clocks.skews_s()) == 2)

    told(lambda: Site(meters=2, days=2), story)


@pytest.mark.parametrize("off_s", [20, 301, 1000])
def test_a_good_clock_and_one_that_is_too_far_off_are_left_alone(off_s: int) -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) >= 4)
        await asyncio.sleep(0.2)
        assert set_clocks(site) == []

    told(lambda: clocks_off(off_s), story)


def test_todays_freeze_carries_the_skew_of_its_clock_and_older_ones_none() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 4)
        skews = {
            (it.meter.address, it.freeze.frozen_at.date() == NOON.date()): it.freeze.clock_skew
            for it in site.arrived
        }
        for number, off_s in ((0, 200), (1, 600)):
            skew = skews[address_of(number), True]
            assert skew is not None
            assert abs(skew.total_seconds() - off_s) < 5
            assert skews[address_of(number), False] is None

    def site() -> Site:
        made = Site(meters=2, days=2)
        made.clock_off = {
            address_of(0): timedelta(seconds=200),
            address_of(1): timedelta(seconds=600),
        }
        return made

    told(site, story)


def test_a_meter_that_freezes_between_two_reads_gives_no_value_of_another_day() -> None:
    """Its clock is four minutes fast and known since noon: at 23:56 it freezes anew while older
    days are read."""
    fast = timedelta(minutes=4)

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 10)
        midnight = NOON.replace(hour=0) + timedelta(days=1)
        site.arrived.clear()
        frozen: list[Frame] = []

        def freeze_behind_the_stamp(frame: Frame) -> None:
            if asked(frame).startswith("050600") and not frozen:
                frozen.append(frame)
                site.on_request = jump

        def jump(frame: Frame) -> None:
            site.at += timedelta(seconds=3)
            site.on_request = lambda frame: None

        site.at, site.began = midnight - fast - timedelta(seconds=2), time.monotonic()
        site.on_request = freeze_behind_the_stamp
        line.rebuild(*presence([]))
        line.wake()
        await site.until(lambda: len(site.arrived) >= 3)
        assert site.took_the_truth()

    def site() -> Site:
        made = Site(meters=1)
        made.clock_off = {address_of(0): fast}
        return made

    told(site, story)


def test_freezes_whose_indexes_an_outage_shifted_are_found() -> None:
    async def story(site: Site, line: WireLine) -> None:
        site.shift = -1
        await site.until(lambda: len(site.arrived) >= 9)
        assert site.took_the_truth()

    told(lambda: Site(meters=1), story)


# --- silence --------------------------------------------------------------------------------------


def test_a_silent_line_is_told_once_probed_rarely_and_noticed_at_once() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) >= 8)
        site.silent = set(map(address_of, range(8)))
        await site.until(lambda: line.is_silent)
        before = len(site.requests)
        await asyncio.sleep(2)
        assert 1 <= len(site.requests) - before <= 6
        site.silent.clear()
        await site.until(lambda: len(site.arrived) == 8 * 62)
        assert site.took_the_truth()

    logged = told(lambda: Site(meters=8, days=62), story)
    events = [it["event"] for it in logged]
    assert events.count("line silent: nobody answers") == 1
    assert events.count("line answers again") == 1
    assert "meter silent" not in events


def test_a_silent_line_is_probed_although_most_of_its_meters_want_nothing() -> None:
    async def story(site: Site, line: WireLine) -> None:
        wanted = (0, 5)
        site.silent = {address_of(number) for number in wanted}
        await site.until(lambda: len(site.arrived) == 6)
        site.silent = set(map(address_of, range(8)))
        line.rebuild(
            *presence((number, NOON.date()) for number in range(8) if number not in wanted)
        )
        for number in range(8):
            question = ReadRequest(number, "registers", time.monotonic() + ENOUGH_S)
            line.ask(question)
            await question.result
        assert line.is_silent
        site.silent.clear()
        await site.until(lambda: len(site.arrived) == 8)

    told(lambda: Site(meters=8, days=1), story)


def test_a_line_on_which_nobody_answers_is_opened_anew() -> None:
    """The far end keeps the connection and has forgotten it: only a new one helps."""

    async def story() -> None:
        site = Site(meters=3, days=2)
        opened = 0

        def open_channel(port: int) -> TcpChannel:
            nonlocal opened
            opened += 1
            site.silent = set(map(address_of, range(3))) if opened == 1 else set()
            return TcpChannel("127.0.0.1", port)

        async with far_end(site.hear) as port:
            line = site.line_over(lambda: open_channel(port))
            running = asyncio.create_task(line.run())
            try:
                await site.until(lambda: len(site.arrived) == 6)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)

    asyncio.run(story())


def test_the_dead_cost_the_living_nothing_once_they_are_backed_off() -> None:
    rounds = asyncio.run(dead_meters(meters=32, dead=8, rounds=3))
    living = [questions for _, questions, _ in rounds]
    assert max(living) <= 1.02 * min(living), "the living are asked as often as without the dead"
    assert all(to_dead <= 3 * 8 for _, _, to_dead in rounds)


# --- faults ---------------------------------------------------------------------------------------


def test_a_line_whose_task_dies_comes_back_and_goes_on() -> None:
    died: list[Arrival | PolledFreeze] = []

    async def story(site: Site, line: WireLine) -> None:
        take = site._take

        def die_once(arrival: Arrival | PolledFreeze) -> bool:
            if not died and len(site.arrived) == 5:
                died.append(arrival)
                raise RuntimeError("spoilt")
            return take(arrival)

        site.sink.submit = die_once
        await site.until(lambda: len(site.arrived) == 30)
        assert died
        assert site.took_the_truth()

    logged = told(Site, story)
    assert [it["event"] for it in logged].count("task died") == 1


def test_no_fault_puts_a_value_on_a_wrong_meter_or_day() -> None:
    with structlog.testing.capture_logs():
        figures = asyncio.run(
            fault_run(20_260_316, 3000, lines=24, within_s=120, plan=Plan(faulty=200))
        )
    assert figures.wrong == []
    assert figures.exchanges >= 3000
    assert figures.values > 200


# --- what a hostile review found ------------------------------------------------------------------


def test_a_meter_that_tells_no_clock_is_not_withheld_because_of_it() -> None:
    """Asked for an older freeze on demand, its clock counts as read today; the poll of today's
    freeze must know that it was not told."""

    async def story(site: Site, line: WireLine) -> None:
        line.rebuild(*presence([(0, NOON.date())]))
        await site.until(lambda: line.up)
        question = ReadRequest(
            0, "freeze", time.monotonic() + ENOUGH_S, NOON.date() - timedelta(days=5)
        )
        line.ask(question)
        assert (await question.result).outcome == "ok"
        site.arrived.clear()
        allowed.append(True)
        line.rebuild(*presence([]))
        line.wake()
        await site.until(lambda: len(site.arrived) == 10)
        assert {it.freeze.clock_skew for it in site.arrived} == {None}
        assert site.took_the_truth()

    allowed: list[bool] = []

    def site() -> Site:
        made = Site(meters=1, may_backfill=lambda: bool(allowed))
        made.script["040001"] = refused(b"\x02")
        return made

    told(site, story)


@pytest.mark.parametrize("ahead", [1, -1])
def test_a_clock_that_is_off_by_whole_days_is_seen_by_a_question_behind_a_poll_that_read_the_time_of_day(
    ahead: int,
) -> None:
    async def story(site: Site, line: WireLine) -> None:
        question = ReadRequest(
            0, "freeze", time.monotonic() + ENOUGH_S, NOON.date() - timedelta(days=3)
        )

        def ask(frame: Frame) -> None:
            if asked(frame) == "04000102" and not question.result.done():
                site.on_request = lambda frame: None
                line.ask(question)

        site.on_request = ask
        assert (await question.result).outcome == "no_data"
        assert not site.arrived

    def site() -> Site:
        made = Site(meters=1)
        made.clock_off = {address_of(0): timedelta(days=ahead)}
        return made

    told(site, story)


def test_the_freeze_of_a_meter_with_a_wrong_clock_is_not_mixed_at_its_own_midnight() -> None:
    """Three hours fast and read on demand, so its skew is known; at 21:00 it freezes behind the
    stamp of a poll."""
    fast = timedelta(hours=3)
    nine = NOON.replace(hour=21)

    async def story(site: Site, line: WireLine) -> None:
        line.rebuild(*presence((number, NOON.date()) for number in range(2)))
        await site.until(lambda: line.up)
        question = ReadRequest(
            1, "freeze", time.monotonic() + ENOUGH_S, NOON.date() - timedelta(days=5)
        )
        line.ask(question)
        assert (await question.result).outcome == "ok"
        site.arrived.clear()

        def freeze_behind_the_stamp(frame: Frame) -> None:
            if asked(frame).startswith("050600") and frame.address == address_of(1):
                site.on_request = jump

        def jump(frame: Frame) -> None:
            site.at += timedelta(seconds=3)
            site.on_request = lambda frame: None

        site.at, site.began = nine - timedelta(seconds=2), time.monotonic()
        site.on_request = freeze_behind_the_stamp
        allowed.append(True)
        line.rebuild(*presence([]))
        line.wake()
        await site.until(lambda: len({day for it, day in site.days if it == address_of(1)}) >= 3)
        assert site.took_the_truth()

    allowed: list[bool] = []

    def site() -> Site:
        made = Site(meters=2, at=nine - timedelta(minutes=30), may_backfill=lambda: bool(allowed))
        made.clock_off[address_of(1)] = fast
        return made

    told(site, story)


def test_one_poll_counts_the_silence_of_a_meter_once() -> None:
    async def story(site: Site, line: WireLine) -> None:
        site.silent = {address_of(0)}
        await site.until(lambda: bool(site.requests))
        await asyncio.sleep(0.9)
        assert len(site.requests) == 1
        site.silent.clear()
        await site.until(lambda: len(site.arrived) == 10)

    told(lambda: Site(meters=1, pace=Pace(retry_s=600.0, reconnect_s=0.1)), story)


def test_the_clock_of_a_meter_is_read_once_for_all_the_slots_of_a_poll() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 10)
        assert [asked(it) for it in site.requests].count("04000102") == 1

    told(lambda: Site(meters=1), story)


def test_what_was_read_waits_for_room_and_is_not_read_again() -> None:
    is_full = [True]

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(set(frozen(site))) == 2 * 3 * 10)
        asked_before = len(frozen(site))
        await asyncio.sleep(1.5)
        assert len(frozen(site)) == asked_before
        is_full.clear()
        await site.until(lambda: len(site.arrived) == 30)
        assert sorted(set(site.days)) == sorted(site.days)
        assert site.took_the_truth()

    def frozen(site: Site) -> list[tuple[str, str]]:
        """What was asked of freezes, a stamp and energies of each; who a meter is may be asked meanwhile."""
        questions = [(it.address, asked(it)) for it in site.requests]
        return [it for it in questions if it[1].startswith("0506")]

    def site() -> Site:
        made: Site = Site(submit=lambda arrival: not is_full and made._take(arrival))
        return made

    told(site, story)


def test_the_living_are_read_although_the_dead_never_stop_being_due() -> None:
    """A retry shorter than it takes to ask all the dead once: today's freezes of the dead come
    first for ever."""

    async def story(site: Site, line: WireLine) -> None:
        site.silent = set(map(address_of, range(2, 12)))
        await site.until(lambda: len(site.arrived) == 2 * 20)
        assert site.took_the_truth()

    told(lambda: Site(meters=12, days=20, pace=Pace(retry_s=1.0, reconnect_s=0.1)), story)


def test_many_dead_whose_freeze_of_today_is_missing_do_not_make_a_line_silent_whose_others_answer() -> (
    None
):
    """Only the dead lack today's freeze; the living are wanted for older days and must be among the
    probes."""

    async def story(site: Site, line: WireLine) -> None:
        today = NOON.date()
        line.rebuild(*presence((number, today) for number in range(12, 18)))
        site.silent = set(map(address_of, range(12)))
        await site.until(lambda: len([it for it in site.days if it[1] != today]) >= 6 * 9)
        assert not line.is_silent

    told(lambda: Site(meters=18, pace=Pace(retry_s=600.0, reconnect_s=0.1)), story)


def test_a_poll_that_takes_into_the_midnight_gives_nothing() -> None:
    """A meter that needs half a minute for each answer freezes between its stamp and its
    energies."""

    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 10)
        site.arrived.clear()

        def jump(frame: Frame) -> None:
            if asked(frame).startswith("050601"):
                site.at += timedelta(seconds=70)
                site.on_request = lambda frame: None

        site.at, site.began = (
            NOON.replace(hour=0) + timedelta(days=1, seconds=-65),
            time.monotonic(),
        )
        site.on_request = jump
        line.rebuild(*presence([]))
        line.wake()
        await asyncio.sleep(1.0)
        assert site.took_the_truth()

    told(lambda: Site(meters=1), story)


def test_a_question_on_a_line_whose_task_dies_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(site: Site, line: WireLine) -> None:
        def spoilt(*_: Any) -> Any:
            raise RuntimeError("spoilt")

        await site.until(lambda: len(site.arrived) == 30)
        monkeypatch.setattr(line, "_driver", spoilt)
        question = ReadRequest(0, "registers", time.monotonic() + ENOUGH_S)
        line.ask(question)
        async with asyncio.timeout(5):
            assert (await question.result).outcome == "line_down"

    told(Site, story)


# --- what a poll is to read -----------------------------------------------------------------------


def planned(line: WireLine, *slots: tuple[int, int], at: datetime = NOON) -> list[int]:
    """The meters of the plan for these slots (meter, age of the day), in the order in which they
    are asked."""
    days = [(number, at.date() - timedelta(days=age)) for number, age in slots]
    return [
        slot >> NUMBER_AT for slot in reversed(line._freezes.planned(days, at.replace(tzinfo=None)))
    ]


@pytest.mark.parametrize(("shift", "age"), [(1, 61), (3, 59), (-1, 0), (-3, 1), (0, -1), (1, -1)])
def test_no_freeze_is_asked_for_that_a_meter_cannot_have(shift: int, age: int) -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) >= 3)
        line._freezes._shift[1] = shift
        assert planned(line, (0, 0), (1, age)) == [0]
        line._freezes._shift.clear()
        line._freezes._odd_on[1] = NOON.date()
        assert planned(line, (0, 0), (1, 3), (2, 0)) == [0]

    told(lambda: Site(days=1), story)


@pytest.mark.parametrize(("shift", "age", "nth"), [(0, 0, 1), (0, 61, 62), (-2, 5, 4), (3, 5, 9)])
def test_a_slot_is_asked_for_with_its_day_and_the_index_of_its_shift(
    shift: int, age: int, nth: int
) -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) >= 3)
        line._freezes._shift[1] = shift
        slots = 2 * [(1, NOON.date() - timedelta(days=age))]
        assert line._freezes.planned(slots, NOON.replace(tzinfo=None)) == plan(
            2 * [entry(1, age, nth, STAMP)]
        )
        line._clocks.read_on[1] = 0
        clock_first = [entry(1, age, nth, CLOCK), entry(1, age, nth, STAMP)]
        assert line._freezes.planned(slots, NOON.replace(tzinfo=None)) == plan(clock_first)

    told(lambda: Site(days=1), story)


@pytest.mark.parametrize(
    ("past_midnight_s", "off_s"), [(240, -240), (330, -300), (-240, 240), (-330, 300)]
)
def test_a_meter_whose_own_midnight_is_near_ends_the_plan(past_midnight_s: int, off_s: int) -> None:
    async def story(site: Site, line: WireLine) -> None:
        at = NOON.replace(hour=0) + timedelta(days=1, seconds=past_midnight_s)
        for number in range(3):
            line._clocks.read_on[number], line._clocks.skew_s[number] = at.toordinal(), 0
        assert planned(line, (0, 0), (1, 0), (2, 0), at=at) == [0, 1, 2]
        line._clocks.skew_s[1] = off_s
        assert planned(line, (0, 0), (1, 0), (2, 0), at=at) == [0]

    told(Site, story)


def second_of_day(at: str) -> int:
    hours, minutes, seconds = map(int, at.split(":"))
    return 3600 * hours + 60 * minutes + seconds


def is_clock_accepted(line: WireLine, *, shown: str, ours: str) -> bool:
    """Whether a poll goes on with meter 1, which shows this time of day when it is `ours` here."""
    line._clocks.polled_on = NOON.toordinal()
    line._clocks._midnight_s = (
        time.monotonic() - second_of_day(ours) - 0.01
    )  # a fraction below would count as a second less
    return line._clocks.check_time_of_day(1, second_of_day(shown))


@pytest.mark.parametrize(
    ("shown", "ours", "is_accepted"),
    [
        ("00:00:30", "00:02:00", False),
        ("00:00:59", "00:02:00", False),
        ("00:01:00", "00:02:00", True),
        ("23:58:59", "23:58:00", True),
        ("23:59:00", "23:58:00", False),
        ("23:59:30", "23:58:00", False),
    ],
)
def test_a_clock_that_shows_almost_midnight_is_left_to_the_general_way(
    shown: str, ours: str, is_accepted: bool
) -> None:
    async def story(site: Site, line: WireLine) -> None:
        assert is_clock_accepted(line, shown=shown, ours=ours) == is_accepted
        assert (line._clocks.read_on[1] == NOON.toordinal()) == is_accepted

    told(Site, story)


@pytest.mark.parametrize(
    ("shown", "ours", "off_s"), [("23:58:30", "00:03:00", -270), ("00:01:30", "23:57:00", 270)]
)
def test_a_clock_on_the_other_side_of_midnight_is_off_by_minutes_and_not_by_a_day(
    shown: str, ours: str, off_s: int
) -> None:
    async def story(site: Site, line: WireLine) -> None:
        assert is_clock_accepted(line, shown=shown, ours=ours)
        assert line._clocks.skew_s[1] == off_s

    told(Site, story)


def test_a_wrong_clock_that_a_poll_finds_right_is_not_held_for_wrong_any_more() -> None:
    async def story(site: Site, line: WireLine) -> None:
        line._clocks._wrong[1] = time.monotonic() + ENOUGH_S, NOON.toordinal()
        assert is_clock_accepted(line, shown="12:00:00", ours="12:00:00")
        assert not line._clocks._wrong

    logged = told(Site, story)
    assert [(it["event"], it["meter"]) for it in logged] == [
        ("meter clock is right again", address_of(1))
    ]


def test_a_clock_is_read_once_a_day_though_meters_take_turns() -> None:
    async def story(site: Site, line: WireLine) -> None:
        await site.until(lambda: len(site.arrived) == 30)
        clocks = [frame.address for frame in site.requests if asked(frame) == "04000102"]
        assert sorted(clocks) == sorted(map(address_of, range(3)))

    told(Site, story)


def test_a_wrong_clock_is_looked_at_once_in_a_while_and_told_once_a_day() -> None:
    async def story(site: Site, line: WireLine) -> None:
        site.clock_off[address_of(1)] = timedelta(minutes=20)
        await site.until(lambda: len(site.arrived) == 60)
        clocks = [
            frame
            for frame in site.requests
            if frame.address == address_of(1) and asked(frame)[:6] == "040001"
        ]
        assert 2 <= len(clocks) <= 5  # the time of the poll, then date and time
        site.clock_off[address_of(1)] = timedelta()
        line._clocks._wrong[1] = 0.0, line._clocks._wrong[1][1]
        line.rebuild({}, NOON.date())
        line.wake()
        await site.until(lambda: len(site.arrived) == 120)

    logged = told(lambda: Site(days=20, pace=Pace(retry_s=60.0, reconnect_s=0.1)), story)
    events = [it["event"] for it in logged]
    assert events.count("meter clock is wrong") == 1
    assert events.count("meter clock is right again") == 1


def test_of_those_backed_off_one_is_asked_when_the_way_was_opened() -> None:
    async def story(site: Site, line: WireLine) -> None:
        site.silent = set(map(address_of, range(10)))
        await site.until(lambda: line.backed_off == 10 and len(site.arrived) == 10)
        line._jobs.reply_timeouts.unblock()
        site.requests.clear()
        site.arrived.clear()
        line.rebuild({}, NOON.date())
        line.wake()
        await site.until(lambda: len(site.arrived) == 10)
        assert sum(frame.address in site.silent for frame in site.requests) <= 2

    told(lambda: Site(meters=20, days=1), story)
