"""How much is shown does not grow with meters."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY, generate_latest

from daemon import figures, metrics
from daemon.acquisition.polling.batch import BatchPoller
from daemon.acquisition.polling.deadlines import Deadlines
from daemon.acquisition.wire_line import WireLine, WireParts
from protocols.channels.conversation import Timing
from tests.line_parts import line_parts
from tests.spooled import a_meter


def a_line(meters: int, name: str = "many") -> WireLine:
    """One that is never run: it has neither a channel nor a database."""
    nothing = cast(Any, None)
    parts = WireParts(nothing, nothing, Timing(), BatchPoller(Deadlines()))
    return WireLine(line_parts(name, [a_meter("000000000001")] * meters), parts)


def shown() -> list[bytes]:
    """Every series, without its value."""
    text = generate_latest(REGISTRY)
    return [row.rsplit(b" ", 1)[0] for row in text.splitlines() if row.startswith(b"meterd_")]


def test_a_million_meters_have_as_many_series_as_one() -> None:
    figures.begin()
    series = []
    for meters in (1, 1_000_000):
        asyncio.run(figures.show_lines([a_line(meters)]))
        assert REGISTRY.get_sample_value("meterd_line_meters", {"line": "many"}) == meters
        of_day = {"line": "many", "day": "0", "state": "owed"}
        assert REGISTRY.get_sample_value("meterd_day_slots", of_day) == meters
        assert REGISTRY.get_sample_value("meterd_slots_missing", {"days": "0"}) == meters
        series.append(shown())
    for outcome in metrics.GATEWAY_OUTCOMES:
        metrics.REPLIES.labels("many", outcome)
    metrics.forget_line("many")
    assert series[0] == series[1]
    assert b'meterd_line_up{line="many"}' in series[0]
    assert not [row for row in shown() if b'line="many"' in row]


def test_lines_have_their_turn_between_the_steps_of_a_line_of_a_million_meters() -> None:
    line = a_line(figures.METERS_AT_ONCE + 1)
    turns = 0

    async def story() -> None:
        nonlocal turns
        showing = asyncio.create_task(figures.show_lines([line]))
        while not showing.done():
            turns += 1
            await asyncio.sleep(0)

    asyncio.run(story())
    of_a_small_one = 3
    assert turns == of_a_small_one + 2


def test_lines_have_their_turn_between_some_of_many_and_who_goes_meanwhile_is_not_shown() -> None:
    names = [f"many-{number}" for number in range(1000)]
    lines = [a_line(1, name) for name in names]
    turns = 0

    async def story() -> None:
        nonlocal turns
        showing = asyncio.create_task(figures.show_lines(lines))
        while not showing.done():
            turns += 1
            if turns == 45:  # all are looked at, and half of them shown
                for line in lines[500:]:
                    metrics.forget_line(line.name)
                del lines[500:]
            await asyncio.sleep(0)

    asyncio.run(story())
    assert turns >= 1000 / 25 + 1000 / 100
    there = {it for row in shown() if (it := row.partition(b'line="many-')[2].partition(b'"')[0])}
    for name in names:
        metrics.forget_line(name)
    assert there == {b"%d" % number for number in range(500)}


@pytest.mark.parametrize("row", [b"_created", b"_created{"])
def test_nothing_says_when_it_was_made(row: bytes) -> None:
    assert not [name for name in shown() if row in name]
