"""Meters that somebody asks for now: once over the wire, told to everybody, never more at a time
than a line bears."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from daemon.acquisition import on_demand
from daemon.acquisition.jobs import Jobs
from daemon.acquisition.line import Line
from daemon.acquisition.lines import Lines
from daemon.acquisition.meter_reads import Result
from daemon.acquisition.on_demand import (
    MAX_AT_ONCE,
    CurrentRegisters,
    OnDemand,
    Request,
    RequestRefused,
)
from daemon.acquisition.planning.reads import ReadRequest, ReadResult, What
from daemon.control.authority import Authority
from daemon.control.guard import Policy
from daemon.runtime.supervision import Supervisor
from protocols.reading import RelayState
from storage.archive import SiteMeter
from tests.line_parts import line_parts

TODAY = date(2026, 3, 11)
AUTHORITY = Authority(Policy(), ZoneInfo("Asia/Shanghai"), True, timedelta)
GOOD = ReadResult("ok", (Decimal("12.5"), None))


class Wire(Line):
    """A route whose wire is the test: `asked` is what reached it."""

    def __init__(self, name: str, count: int) -> None:
        numbers = range(int(name) * 1000, int(name) * 1000 + count)
        parts = line_parts(
            name,
            [a_meter(number, name) for number in numbers],
            backfill_days=3,
            now=lambda: datetime(2026, 3, 11, 4, tzinfo=UTC),
        )
        jobs = Jobs(parts, has_memory=[True] * count, longest_wait_s=1)
        super().__init__(jobs, longest_step_s=1.0)
        self.up = True
        self.asked: list[ReadRequest] = []

    async def _session(self) -> None: ...

    def _why_it_flaps(self) -> str:
        return "nobody opens it here"

    def ask(self, question: ReadRequest) -> None:
        super().ask(question)
        self.asked.append(question)

    @property
    def open(self) -> list[ReadRequest]:
        return [question for question in self.asked if not question.result.done()]


def a_meter(number: int, line: str) -> SiteMeter:
    day = date(2026, 1, 1)
    return SiteMeter(
        number,
        f"{number:012d}",
        line,
        "dlt645-2007",
        10**8,
        2,
        day,
        number,
        f"P{number}",
        Decimal(380),
    )


class Site:
    """Lines that are not run, their on-demand reads, and what was told."""

    def __init__(self, **counts: int) -> None:
        routes = Lines(Supervisor())
        self.wires = {name[1:]: Wire(name[1:], count) for name, count in counts.items()}
        routes._lines.update(self.wires)
        self.on_demand = OnDemand(routes, today=lambda: TODAY)
        self.told: list[Result] = []

    async def collect(
        self, *meters: str, what: What = "registers", within_s: float = 30, **more: Any
    ) -> list[Result]:
        request = Request(what, within_s, meters, **more)
        found = [
            result
            async for result in self.on_demand.results(self.on_demand.jobs(request), within_s)
        ]
        self.told += found
        return found


async def let_run() -> None:
    """Until everybody waits for somebody else."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def test_a_meter_is_asked_once_and_its_answer_told_again_for_five_minutes() -> None:
    async def test() -> None:
        site = Site(_1=2)
        wire = site.wires["1"]
        first = asyncio.create_task(site.collect("P1000"))
        await let_run()
        wire.asked[0].settle(GOOD)
        assert [it.values for it in await first] == [{"total_kwh": "12.50", "tariff_1_kwh": None}]
        (again,) = await site.collect("000000001000")
        assert (again.outcome, len(wire.asked)) == ("ok", 1)
        assert again.age_s is not None
        site.on_demand.remembered_s = -1.0
        later = asyncio.create_task(site.collect("P1000"))
        await let_run()
        assert len(wire.asked) == 2
        later.cancel()

    run(test)


@pytest.mark.parametrize("not_kept", ["", "not kept: the disk is full"])
def test_registers_are_kept_before_they_are_told_and_it_is_said_where_they_are_not(
    not_kept: str,
) -> None:
    async def test() -> None:
        site = Site(_1=1)
        given: list[CurrentRegisters] = []

        async def keep(current: CurrentRegisters) -> str:
            assert not site.told
            given.append(current)
            return not_kept

        site.on_demand.keep = keep
        at = datetime(2026, 3, 11, 4, tzinfo=UTC)
        asking = asyncio.create_task(site.collect("P1000"))
        await let_run()
        site.wires["1"].asked[0].settle(replace(GOOD, at=at, arrived_at=at))
        (result,) = await asking
        assert (result.outcome, result.reason, result.at) == ("ok", not_kept, at)
        assert [(it.meter.point, it.registers, it.at) for it in given] == [
            ("P1000", GOOD.value, at)
        ]

    run(test)


@pytest.mark.parametrize(
    ("told", "times"),
    [
        (ReadResult("no_data", reason="x"), 1),
        (ReadResult("unsupported", reason="x"), 1),
        (ReadResult("refused", reason="x"), 1),
        (ReadResult("silent", reason="x"), 2),
        (ReadResult("line_down", reason="x"), 2),
        (ReadResult("unreadable", reason="x"), 2),
    ],
)
def test_only_what_a_meter_told_is_remembered(told: ReadResult, times: int) -> None:
    async def test() -> None:
        site = Site(_1=1)
        for _ in range(2):
            asking = asyncio.create_task(site.collect("P1000"))
            await let_run()
            for question in site.wires["1"].open:
                question.settle(told)
            (result,) = await asking
            assert (result.outcome, result.reason) == (told.outcome, "x")
        assert len(site.wires["1"].asked) == times

    run(test)


def test_the_same_question_that_is_in_flight_is_joined_and_the_last_to_leave_takes_it_back() -> (
    None
):
    async def test() -> None:
        site = Site(_1=1)
        one, two = (
            asyncio.create_task(site.collect("P1000", within_s=wait_s)) for wait_s in (20, 25)
        )
        await let_run()
        (question,) = site.wires["1"].asked
        one.cancel()
        await let_run()
        assert not question.result.done()
        question.settle(GOOD)
        assert (await two)[0].outcome == "ok"

        alone = asyncio.create_task(site.collect("P1000", what="clock"))
        await let_run()
        alone.cancel()
        await let_run()
        assert site.wires["1"].asked[-1].result.cancelled()
        again = asyncio.create_task(site.collect("P1000", what="clock"))
        await let_run()
        site.wires["1"].open[0].settle(GOOD)
        assert (await again)[0].outcome == "ok"

    run(test)


def test_a_long_list_never_has_more_than_a_few_questions_on_a_line_and_all_lines_work() -> None:
    async def test() -> None:
        site = Site(_1=30, _2=1)
        asking = asyncio.create_task(
            site.collect(*(f"P{number}" for number in range(1000, 1030)), "P2000")
        )
        other = asyncio.create_task(site.collect("P1029", what="clock"))
        most = 0
        while not asking.done():
            await let_run()
            open_ = site.wires["1"].open
            most = max(most, len(open_))
            for question in [*open_, *site.wires["2"].open]:
                question.settle(GOOD)
        assert most == MAX_AT_ONCE
        assert len(await asking) == 31
        assert len(await other) == 1

    run(test)


def test_a_line_has_time_for_itself_between_the_questions_of_a_long_list() -> None:
    async def test() -> None:
        site = Site(_1=MAX_AT_ONCE + 1)
        loop = asyncio.get_running_loop()
        asking = asyncio.create_task(site.collect(line="1"))
        await let_run()
        await asyncio.sleep(0.2)
        answered_at = loop.time()
        for question in site.wires["1"].open:
            question.settle(GOOD)
        while len(site.wires["1"].asked) == MAX_AT_ONCE:
            await let_run()
        assert loop.time() - answered_at > 0.15
        site.wires["1"].open[0].settle(GOOD)
        await asking

    run(test)


def test_what_is_not_answered_in_time_is_told_so_and_taken_back() -> None:
    async def test() -> None:
        site = Site(_1=6)
        results = await site.collect(line="1", within_s=0.05)
        assert [result.outcome for result in results] == ["expired"] * 6
        assert {result.reason for result in results} == {"no answer within 0.05 s (--within)"}
        await let_run()
        assert all(question.result.cancelled() for question in site.wires["1"].asked)
        assert len(site.wires["1"].asked) <= MAX_AT_ONCE

    run(test)


def test_the_failure_list_is_asked_for_the_newest_day_that_each_meter_lacks() -> None:
    async def test() -> None:
        site = Site(_1=3)
        wire = site.wires["1"]
        for day in range(9, 12):
            wire.stored(1000, date(2026, 3, day))
        wire.stored(1001, TODAY)
        asking = asyncio.create_task(site.collect(failed=True, what="freeze"))
        await let_run()
        assert [(q.meter_id, q.day) for q in wire.asked] == [
            (1001, date(2026, 3, 10)),
            (1002, TODAY),
        ]
        for question in wire.open:
            question.settle(GOOD)
        await asking

    run(test)


def test_each_day_that_is_withheld_is_asked_for_of_the_meters_that_are_meant() -> None:
    async def test() -> None:
        site = Site(_1=2, _2=1)
        lines = site.on_demand.lines
        for wire in site.wires.values():
            lines._of_meter.update((meter.meter_id, wire) for meter in wire.meters)
        day = date(2026, 3, 9)
        slots = [(1001, day), (1001, TODAY), (2000, day), (9999, day)]

        def read(line: str | None) -> list[tuple[str, str, date | None]]:
            request = Request("freeze", 30, line=line, withheld=True)
            reads = site.on_demand.jobs(request, slots)
            return [(read.line.name, read.meter.address, read.day) for read in reads]

        here = [("1", "000000001001", day), ("1", "000000001001", TODAY)]
        assert read(None) == [*here, ("2", "000000002000", day)]
        assert read("1") == here
        assert site.on_demand.jobs(Request("freeze", 30, withheld=True)) == []

    run(test)


def test_a_line_that_was_stopped_tells_who_waits() -> None:
    async def test() -> None:
        site = Site(_1=1)
        asking = asyncio.create_task(site.collect("P1000"))
        await let_run()
        site.wires["1"]._jobs.requests.next(0.0)  # the line has begun it
        site.wires["1"].give_up("stopped")
        (result,) = await asking
        assert (result.outcome, result.reason) == ("line_down", "stopped")

    run(test)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("clock", 1, meters=("P1000", "nobody")), "address or point nobody$"),
        (
            Request("clock", 1, meters=("P100O",)),
            r"address or point P100O \(did you mean P1000\?\)",
        ),
        (
            Request("clock", 1, meters=("P1000",), line="2"),
            "^P1000 is on line 1, not on 2; leave out --line$",
        ),
        (Request("clock", 1, meters=("P2000", "P1000"), line="2"), "^P1000 is on line 1, not on 2"),
        (Request("clock", 1, line="9"), "no line 9"),
    ],
)
def test_who_is_not_there_is_named(request_: Request, words: str) -> None:
    with pytest.raises(RequestRefused, match=words):
        Site(_1=1, _2=1).on_demand.jobs(request_)


def test_a_similar_name_is_not_looked_for_among_very_many() -> None:
    with pytest.raises(RequestRefused, match=r"address or point P100O$"):
        Site(_1=on_demand.MAX_COMPARED + 1).on_demand.jobs(Request("clock", 1, meters=("P100O",)))


def test_too_many_requests_within_a_minute_are_refused() -> None:
    site = Site(_1=1)
    site.on_demand.most_per_minute = 2
    for _ in range(2):
        site.on_demand.jobs(Request("clock", 1, line="1"))
        with pytest.raises(RequestRefused):
            site.on_demand.jobs(Request("clock", 1, line="misspelt"))  # does not count
    with pytest.raises(RequestRefused, match=r"ask again in 6[01] s"):
        site.on_demand.jobs(Request("clock", 1, line="1"))


def test_values_are_told_in_words() -> None:
    async def test() -> None:
        site = Site(_1=1)
        for what, told in (
            ("relay", RelayState(False, True)),
            ("clock", datetime(2026, 3, 11, 12, 0, 5)),
        ):
            asking = asyncio.create_task(site.collect("P1000", what=cast(What, what)))
            await let_run()
            site.wires["1"].open[0].settle(ReadResult("ok", told))
            await asking
        assert [it.values for it in site.told] == [
            {"relay": "closed", "ordered": "open"},
            {"clock": "2026-03-11 12:00:05"},
        ]

    run(test)
