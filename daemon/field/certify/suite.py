"""What a suite is: named checks, what each may do, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from daemon.field.certify.bench import Bench, CheckFailed, Harm, NotTested, Said, secret_free
from protocols.errors import ControlForbidden, FrameError

S = TypeVar("S")
IN_VAIN: Final = 3
"""Checks in which nothing was heard at all, and for which it should have been: nobody is there."""


class Verdict(Enum):
    """What a check says of a meter."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_TESTED = "not tested"
    NOT_PERMITTED = "not permitted"


@dataclass(frozen=True, slots=True)
class Check(Generic[S]):
    """One claim: what a good meter does. `harm`: what the check does to the meter; `run`: returns
    what it saw, CheckFailed or NotTested otherwise."""

    name: str
    claim: str
    run: Callable[[S], Awaitable[str]]
    harm: Harm = Harm.NONE


def checks(
    functions: Iterable[Callable[[S], Awaitable[str]]], harm: Harm = Harm.NONE
) -> Iterator[Check[S]]:
    """Functions as checks: each is called by its name, and claims the first line of its text."""
    for function in functions:
        claim = (function.__doc__ or "").partition("\n")[0].rstrip(".")
        yield Check(function.__name__, claim, function, harm)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check, with the frames that were said."""

    name: str
    claim: str
    verdict: Verdict
    detail: str
    took_s: float
    frames: tuple[Said, ...] = ()


async def run_suite(
    checks: Sequence[Check[S]],
    subject: S,
    bench: Bench,
    *,
    on_result: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """What comes of each check, in order. LineDown ends it."""
    results: list[Result] = []
    for check in checks:
        if _is_nobody_there(results):
            detail = "nobody answers: wiring, speed, address?"
            result = Result(check.name, check.claim, Verdict.NOT_TESTED, detail, 0.0)
        else:
            result = await _run(check, subject, bench)
        on_result(result)
        results.append(result)
    return results


def _is_nobody_there(results: Sequence[Result]) -> bool:
    first = results[:IN_VAIN]
    return len(first) == IN_VAIN and all(
        it.verdict is Verdict.FAILED and all(said.direction == "tx" for said in it.frames)
        for it in first
    )


async def _run(check: Check[S], subject: S, bench: Bench) -> Result:
    started_s = time.monotonic()
    bench.begin()
    verdict = Verdict.NOT_PERMITTED
    detail = PERMITTED_BY[check.harm]
    if check.harm <= bench.permitted:
        try:
            detail = await check.run(subject)
            verdict = Verdict.PASSED
        except (CheckFailed, FrameError) as error:
            verdict = Verdict.FAILED
            detail = str(error)
        except NotTested as error:
            verdict = Verdict.NOT_TESTED
            detail = str(error)
        except ControlForbidden as error:
            verdict = Verdict.NOT_PERMITTED
            detail = str(error)
    return Result(
        check.name,
        check.claim,
        verdict,
        detail,
        time.monotonic() - started_s,
        tuple(secret_free(bench.transcript)),
    )


PERMITTED_BY: Final[Mapping[Harm, str]] = {
    Harm.NONE: "",
    Harm.WRITES: "writes to the meter: --may-write",
    Harm.SWITCHES: "moves the relay: --may-switch",
}


def as_json(result: Result) -> dict[str, Any]:
    """A result for a file that is compared later."""
    return {
        "name": result.name,
        "verdict": result.verdict.value,
        "detail": result.detail,
        "claim": result.claim,
        "took_s": round(result.took_s, 3),
        "frames": [
            {
                "direction": said.direction,
                "at_s": round(said.at_s, 3),
                "bytes": said.data.hex(" ").upper() or "(a password, not shown)",
            }
            for said in result.frames
        ],
    }


@dataclass(frozen=True, slots=True)
class Change:
    """A check that says another thing than it said of an earlier firmware."""

    name: str
    before: str
    now: str
    detail: str

    @property
    def is_worse(self) -> bool:
        """True when something that a meter did is done no more."""
        return self.now == Verdict.FAILED.value


def changes(before: Mapping[str, Any], results: Sequence[Result]) -> list[Change]:
    """Where a report of earlier, as `meterd certify --json` printed it, and this one differ."""
    earlier = {entry["name"]: entry["verdict"] for entry in before["results"]}
    return [
        Change(
            result.name,
            earlier.get(result.name, "new"),
            result.verdict.value,
            result.detail,
        )
        for result in results
        if earlier.get(result.name) != result.verdict.value
    ]
