"""What a survey keeps of the steps of a scan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import pytest

from daemon.field import survey as survey_module
from daemon.field.connection import Speed
from daemon.field.scan import Outcome, ScanTimeouts, Step
from daemon.field.survey import Survey, speeds, timeouts_at

NEW, OLD = "dlt645-2007", "dlt645-1997"
NO_SPEED = Speed()


class Nowhere(AbstractAsyncContextManager["Nowhere"]):
    """An open channel that carries nothing."""

    name = "nowhere"

    async def __aexit__(self, *_: object) -> None:
        return None


def surveyed(
    monkeypatch: pytest.MonkeyPatch, *steps: Step, at: Speed = NO_SPEED
) -> tuple[Survey, list[tuple[str, int, int]]]:
    """The survey after these steps, and (where, asked, to ask) after each."""

    async def scan(*_: Any, **__: Any) -> AsyncIterator[Step]:
        for step in steps:
            yield step

    monkeypatch.setattr(survey_module, "scan", scan)
    survey = Survey()

    async def story() -> list[tuple[str, int, int]]:
        channel = cast(Any, Nowhere())
        return [
            (progress.where, progress.asked, progress.to_ask)
            async for progress in survey.scan(channel, at, ScanTimeouts())
        ]

    return survey, asyncio.run(story())


def test_a_collision_brings_a_hundred_questions_more_and_one_that_nothing_parts_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    survey, progress = surveyed(
        monkeypatch,
        Step(NEW, "AAAAAAAAAAAA", Outcome.COLLISION),
        Step(NEW, "000000001600", Outcome.COLLISION),
        Step(NEW, "AAAAAAAAAA01", Outcome.METER, "000000000001"),
        at=Speed(2400, "E"),
    )
    assert progress[0] == ("2400 8E1 AAAAAAAAAAAA", 1, 101)
    assert progress[-1][1:] == (3, 101)
    assert [found.step.address for found in survey.meters] == ["000000000001"]
    assert [found.in_words() for found in survey.unclear] == [
        "2400 8E1: 000000001600: more than one answer: two meters with one address, or noise"
    ]


def test_noise_is_no_question_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    survey, progress = surveyed(
        monkeypatch,
        Step(NEW, "AAAAAAAAAAAA", Outcome.NOISE),
        Step(OLD, "999999999999", Outcome.COLLISION),
    )
    assert (survey.questions, len(progress)) == (1, 1)
    noise, old = [found.in_words() for found in survey.unclear]
    assert noise.startswith("AAAAAAAAAAAA: noise, no meters")
    assert old.startswith("more than one meter of 1997, or noise")


def test_speeds_are_those_given_or_the_usual_ones() -> None:
    assert speeds((300,), ("O",)) == [Speed(300, "O")]
    assert [str(speed) for speed in speeds((), ())][:3] == ["2400 8E1", "2400 8N1", "9600 8E1"]


def test_a_question_takes_its_time_on_a_slow_line() -> None:
    assert timeouts_at(Speed(), 0.6, 2) == ScanTimeouts(0.6, 0.15, 2)
    slow = timeouts_at(Speed(1200, "E"), 0.02, 1)
    assert slow.answer_s == pytest.approx(0.02 + 16 * 11 / 1200)
    assert (slow.quiet_s, slow.tries) == (0.05, 1)
