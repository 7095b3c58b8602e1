"""Somebody else controls a meter of a line, or writes to it: the relays are looked at (A10)."""

from __future__ import annotations

import time
from math import inf

import structlog

from daemon import metrics
from daemon.acquisition.jobs import Jobs

log = structlog.get_logger("line")

AGAIN_S = 600.0
"""Another master that goes on writing must not keep the line from its own work."""


class Overheard:
    """What is made of frames that other masters send on one line."""

    __slots__ = ("_heard_at", "_jobs")

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self._heard_at = -inf

    def note(self, addressee: str) -> None:
        """`addressee`: the meter's address, or another word for it where the protocol has none."""
        parts = self._jobs.parts
        metrics.FOREIGN_WRITES.labels(parts.shown_as).inc()
        now_s = time.monotonic()
        if now_s < self._heard_at + AGAIN_S:
            return
        self._heard_at = now_s
        log.error("somebody else controls a meter", line=parts.name, meter=addressee)
        named = [number for number, it in enumerate(parts.meters) if it.address == addressee]
        # A broadcast, or a unit: it may be any of them.
        for number in named or range(len(parts.meters)):
            self._jobs.relay_looks.ask(number, now_s)
