"""Why slots are missing, as a line knows it until somebody writes it down."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daemon.runtime.supervision import Supervisor
from protocols.channels.tcp import TcpChannel
from storage.gaps import Failures, SlotAttempt
from tests.servers.ports import free_port
from tests.wire.acquisition.test_wire_line import NOON, Site, address_of, far_end, refused

TODAY = NOON.date()


def drained(line: Any) -> Failures:
    failures = Failures()
    line.drain_failures(failures)
    return failures


def by_slot(failures: Failures) -> dict[tuple[int, int], tuple[str, int]]:
    """(meter, age of the day) -> (cause, tries)."""
    return {
        (attempt.meter_id, (TODAY - attempt.day).days): (attempt.cause, attempt.tries)
        for attempt in failures.attempts
    }


def test_a_silent_meter_is_the_cause_at_the_newest_day_that_it_lacks() -> None:
    site = Site(meters=2, days=3)
    site.silent.add(address_of(1))

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: line.backed_off == 1)
            failures = drained(line)
            found = by_slot(failures)
            assert set(found) == {(1, 0)}
            cause, tries = found[1, 0]
            assert cause == "no_answer"
            assert tries >= 3
            (attempt,) = failures.attempts
            # It is left in peace now: the next try is when its pause is over.
            assert attempt.next_at > attempt.last_at
            assert drained(line).attempts == []

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("data", "cause"), [(b"\x04", "refused"), (b"\x02", "no_freeze")], ids=["right", "no data"]
)
def test_a_refusal_and_a_freeze_that_is_not_there_are_two_causes(data: bytes, cause: str) -> None:
    site = Site(meters=1, days=1)
    site.script["0506"] = refused(data)

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: bool(line._jobs.attempts._of_slots))
            failures = drained(line)
            assert by_slot(failures)[0, 0][0] == cause
            assert failures.attempts[0].next_at > failures.attempts[0].last_at

    asyncio.run(scene())


def test_a_clock_that_is_off_by_days_is_the_cause() -> None:
    site = Site(meters=1, days=1)
    site.clock_off[address_of(0)] = timedelta(days=2)

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: bool(line._jobs.attempts._of_slots))
            assert by_slot(drained(line))[0, 0][0] == "meter_clock"

    asyncio.run(scene())


def test_what_could_not_be_written_down_is_handed_out_again() -> None:
    site = Site(meters=1, days=1)
    site.silent.add(address_of(0))

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: bool(line._jobs.attempts._of_slots))
            first = drained(line)
            for attempt in first.attempts:
                line.put_back(attempt)
            line.outage.write_again()
            again = drained(line)
            assert by_slot(again)[0, 0][1] >= by_slot(first)[0, 0][1]
            assert again.ended == ["gate-3"]

    asyncio.run(scene())


def test_a_line_that_is_down_is_told_until_it_is_up() -> None:
    site = Site(meters=1, days=1)

    async def scene() -> None:
        ports = [free_port()]
        line = site.line_over(lambda: TcpChannel("127.0.0.1", ports[-1]))
        (before,) = drained(line).outages
        assert (before.line, before.tries) == ("gate-3", 0)
        async with Supervisor() as supervisor:
            supervisor.start("gate-3", line.run, kind="line")
            await site.until(lambda: line.outage.tries >= 2)
            (outage,) = drained(line).outages
            assert "refused" in outage.reason.lower() or "connect" in outage.reason.lower()
            assert outage.tries >= 2
            assert outage.next_at is not None

        async with far_end(site.hear) as port, Supervisor() as supervisor:
            ports.append(port)
            supervisor.start("gate-3", line.run, kind="line")
            await site.until(lambda: line.up)
            assert drained(line).ended == ["gate-3"]
            # Nothing has changed since: nothing is written.
            assert drained(line) == Failures()

    asyncio.run(scene())


def test_an_attempt_knows_its_meter_and_time() -> None:
    site = Site(meters=1, days=1)
    site.silent.add(address_of(0))

    async def scene() -> None:
        async with site.line() as line:
            await site.until(lambda: bool(line._jobs.attempts._of_slots))
            (attempt,) = drained(line).attempts
            assert isinstance(attempt, SlotAttempt)
            assert (attempt.meter_id, attempt.day) == (0, TODAY)
            assert timedelta() <= site.now() - attempt.last_at < timedelta(seconds=30)

    asyncio.run(scene())
