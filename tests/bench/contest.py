"""Contenders that do the same work, each in a process of its own, in turn; medians, ratios and
goals.

A benchmark calls `measure_in_turn` with its own file; the process that this starts calls `told`
with what it found."""

from __future__ import annotations

import json
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

CONTENDER_TIMEOUT_S = 1800
PAGE = resource.getpagesize()


class Goal(NamedTuple):
    """Ours must cost at the most `factor` times what `peer` costs."""

    peer: str
    factor: float


def measure_in_turn(
    program: str, contenders: Iterable[str], rounds: int, arguments: Mapping[str, Sequence[str]]
) -> dict[str, list[dict[str, float]]]:
    """What each contender tells, round by round. `arguments`: of each contender. A contender that
    fails ends it all."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, told in found.items():
            if sys.stderr.isatty():
                print(
                    f"\rround {number + 1} of {rounds}: {name:40}\r",
                    end="",
                    file=sys.stderr,
                    flush=True,
                )
            command = [sys.executable, program, "--contender", name, *arguments[name]]
            done = subprocess.run(
                command, stdout=subprocess.PIPE, text=True, check=True, timeout=CONTENDER_TIMEOUT_S
            )
            told.append(json.loads(done.stdout.splitlines()[-1]))
    return found


def told(**figures: Any) -> None:
    """A contender's last word to `measure_in_turn`."""
    print(json.dumps(figures), flush=True)


def median(found: list[dict[str, float]], figure: str) -> float:
    return statistics.median(each[figure] for each in found)


def ratio(ours: list[dict[str, float]], theirs: list[dict[str, float]], figure: str) -> float:
    """Median over the rounds of ours by theirs of the same round."""
    return statistics.median(
        our[figure] / their[figure] for our, their in zip(ours, theirs, strict=True)
    )


def print_verdicts(
    found: dict[str, list[dict[str, float]]], ours: str, goals: Iterable[Goal], figure: str
) -> bool:
    """One line for each goal; True when all are reached."""
    reached = True
    for peer, factor in goals:
        if ours in found and peer in found:
            measured = ratio(found[ours], found[peer], figure)
            reached = reached and measured <= factor
            verdict = "reached" if measured <= factor else "MISSED"
            print(f"{ours} / {peer}: {measured:.3f}, goal at the most {factor:.3f}: {verdict}")
    return reached


def rss() -> int:
    """Bytes of memory of this process that are in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def allow_files() -> None:
    """As many open files as the hard limit permits."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def headline(what: str) -> str:
    return f"{datetime.now(UTC).date()}, CPython {platform.python_version()}, {what}\n"
