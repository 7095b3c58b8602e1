"""One timer for all deadlines, in real event loops: none is early, none is lost, a stalled loop is
not held against those who wait."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from daemon.acquisition.polling.deadlines import LATE_S, Deadline, Deadlines
from tests.examples import examples

Held = Callable[[Coroutine[Any, Any, Any]], Any]
ENOUGH_S = 20.0


@pytest.fixture(params=["asyncio", "uvloop"])
def held(request: pytest.FixtureRequest) -> Held:
    """Runs a story in each of the two event loops."""
    factory = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}[request.param]

    def run(story: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(story)

    return run


class Alarm(Deadline):
    """Notes when it expired, then does what it was told to do."""

    __slots__ = ("_then", "expired_at", "was_heard")

    def __init__(
        self, deadlines: Deadlines, then: Callable[[Alarm], None] = lambda alarm: None
    ) -> None:
        super().__init__(deadlines)
        self._then = then
        self.expired_at: list[float] = []
        self.was_heard = asyncio.Event()

    def expired(self) -> None:
        self.expired_at.append(time.monotonic())
        self.was_heard.set()
        self._then(self)

    async def heard(self) -> float:
        async with asyncio.timeout(ENOUGH_S):
            await self.was_heard.wait()
        return self.expired_at[-1]


def in_s(seconds: float) -> float:
    return time.monotonic() + seconds


def test_a_deadline_expires_once_and_not_early(held: Held) -> None:
    async def story() -> None:
        alarm = Alarm(Deadlines())
        alarm.set(at := in_s(0.05))
        assert await alarm.heard() >= at
        await asyncio.sleep(0.05)
        assert len(alarm.expired_at) == 1
        assert alarm.at == inf

    held(story())


def test_a_deadline_that_is_moved_away_by_assignment_expires_then(held: Held) -> None:
    async def story() -> None:
        alarm = Alarm(Deadlines())
        alarm.set(in_s(0.01))
        alarm.at = at = in_s(0.1)
        assert await alarm.heard() >= at

    held(story())


def test_a_deadline_that_is_set_earlier_does_not_wait_for_the_later(held: Held) -> None:
    async def story() -> None:
        alarm = Alarm(Deadlines())
        alarm.set(in_s(10 * ENOUGH_S))
        alarm.set(at := in_s(0.01))
        assert await alarm.heard() >= at
        alarm.was_heard.clear()
        alarm.set(at := in_s(0.01))
        assert await alarm.heard() >= at

    held(story())


def test_a_cleared_deadline_does_not_expire_and_can_be_set_again(held: Held) -> None:
    async def story() -> None:
        deadlines = Deadlines()
        cleared, other = Alarm(deadlines), Alarm(deadlines)
        cleared.set(in_s(0.01))
        cleared.clear()
        other.set(in_s(0.05))
        await other.heard()
        assert not cleared.expired_at
        cleared.set(in_s(0.01))
        await cleared.heard()

    held(story())


def test_an_error_in_one_does_not_stop_the_others(held: Held) -> None:
    async def story() -> list[str]:
        def fail(alarm: Alarm) -> None:
            raise RuntimeError("spoilt")

        told: list[str] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: told.append(str(context["exception"]))
        )
        deadlines = Deadlines()
        at = in_s(0.02)
        alarms = [
            Alarm(deadlines, fail if number % 2 else lambda alarm: None) for number in range(6)
        ]
        for alarm in alarms:
            alarm.set(at)
        for alarm in alarms:
            await alarm.heard()
        later = Alarm(deadlines)
        later.set(in_s(0.01))
        await later.heard()
        return told

    assert held(story()) == ["spoilt"] * 3


def test_one_that_expires_may_set_itself_and_others(held: Held) -> None:
    async def story() -> None:
        deadlines = Deadlines()
        other = Alarm(deadlines)

        def again(alarm: Alarm) -> None:
            if len(alarm.expired_at) < 5:
                alarm.set(in_s(0.0 if len(alarm.expired_at) % 2 else 0.01))
            else:
                other.set(in_s(-1.0))

        alarm = Alarm(deadlines, again)
        alarm.set(in_s(0.01))
        await other.heard()
        assert len(alarm.expired_at) == 5

    held(story())


def test_one_that_expires_may_clear_another_that_is_due(held: Held) -> None:
    async def story() -> None:
        deadlines = Deadlines()
        at = in_s(0.02)
        victim, last = Alarm(deadlines), Alarm(deadlines)
        killer = Alarm(deadlines, lambda alarm: victim.clear())
        for alarm in (killer, victim):
            alarm.set(at)
        last.set(at + 0.02)
        await last.heard()
        assert killer.expired_at
        assert not victim.expired_at

    held(story())


def test_what_arrived_while_the_loop_stood_still_is_read_before_the_time_is_over(
    held: Held,
) -> None:
    """The answer lies in the socket when the loop comes back: its deadline must not expire
    first."""

    async def story() -> None:
        alarm, heard = Alarm(Deadlines()), asyncio.Event()

        class Reader(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                if data == b"stand still":
                    far.send(b"answer")
                    time.sleep(0.03 + 3 * LATE_S)
                else:
                    alarm.clear()
                    heard.set()

        far, near = socket.socketpair()
        with far:
            transport, _ = await asyncio.get_running_loop().create_connection(Reader, sock=near)
            for _ in range(10):
                heard.clear()
                alarm.set(in_s(0.03))
                far.send(b"stand still")
                async with asyncio.timeout(ENOUGH_S):
                    await heard.wait()
            transport.close()
            await asyncio.sleep(0.01)
        assert not alarm.expired_at

    held(story())


def test_a_loop_that_stalls_all_the_time_delays_a_deadline_only_once(held: Held) -> None:
    async def story() -> None:
        alarm = Alarm(Deadlines())
        alarm.set(in_s(0.01))
        for _ in range(20):
            if alarm.expired_at:
                break
            time.sleep(2 * LATE_S + 0.01)  # noqa: ASYNC251  the loop stands still
            await asyncio.sleep(0)
        assert alarm.expired_at, "never expired: prolonged again and again"

    held(story())


def test_who_slept_for_hours_does_not_wait_for_hours_more(held: Held) -> None:
    """A machine that was suspended, a process that was stopped, a clock of a bench that is set."""
    slept_s = 0.0

    def now() -> float:
        return time.monotonic() + slept_s

    async def story() -> None:
        nonlocal slept_s
        alarm = Alarm(Deadlines(now))
        alarm.set(now() + 0.02)
        slept_s = 3600.0
        await alarm.heard()

    held(story())


def test_thousands_share_one_timer(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> int:
        rung, calling = 0, asyncio.get_running_loop().call_later

        def count(*how: Any, **more: Any) -> asyncio.TimerHandle:
            nonlocal rung
            rung += 1
            return calling(*how, **more)

        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", count)
        for ahead_s in (1.0, 4.0, 16.0):  # the first is due after the last was set
            rung, deadlines, begin = 0, Deadlines(), in_s(ahead_s)
            alarms = [Alarm(deadlines) for _ in range(3000)]
            for number, alarm in enumerate(alarms):
                alarm.set(begin + number * 1e-5)
            if in_s(0.0) < begin:
                break
        await alarms[-1].heard()
        for alarm in alarms:
            await alarm.was_heard.wait()
        return rung

    assert held(story()) < 300


@examples(25)
@given(st.integers(0, 2**32))
def test_any_order_of_setting_moving_and_clearing_is_kept(seed: int) -> None:
    """Against a plain dictionary of who is due when; times are generous, and only being early or
    lost is a mistake."""

    async def story() -> None:
        chance = random.Random(seed)
        deadlines = Deadlines()
        alarms = [Alarm(deadlines) for _ in range(8)]
        due: dict[Alarm, float] = {}
        for _ in range(60):
            alarm = chance.choice(alarms)
            what = chance.random()
            if what < 0.5:
                due[alarm] = in_s(chance.uniform(0.0, 0.06))
                alarm.set(due[alarm])
            elif what < 0.7 and alarm.at < inf:
                due[alarm] = alarm.at = alarm.at + chance.uniform(0.0, 0.05)
            elif what < 0.85:
                due.pop(alarm, None)
                alarm.clear()
            else:
                await asyncio.sleep(chance.choice([0.0, 0.005]))
            for other in alarms:
                if other.at == inf and other in due:
                    assert other.expired_at[-1] >= due.pop(other), "early"
                    other.was_heard.clear()
        for alarm, at in due.items():
            assert await alarm.heard() >= at

    asyncio.run(story())
