"""What a real Prometheus beside the daemon says of alarms, and what a story expects of it."""

from __future__ import annotations

import json
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

LOOK_S: Final = 0.5
FIRES_S: Final = 200.0
"""So long an alarm may take to come: three periods of a tick are the longest."""
ENDS_S: Final = 420.0
"""And to go: who stands still is looked for every five minutes."""


@dataclass
class Alarm:
    """An alert as a fault made it fire. `fault`: what was done, in words.

    Seconds: after the fault, and after it fired; None where that never came."""

    alert: str
    fault: str
    fired_after_s: float | None = None
    ended_after_s: float | None = None


@dataclass
class Watch:
    """Asks all the time which alerts fire, as a person who is called would."""

    prometheus_at: str
    alarms: list[Alarm]
    _firing: frozenset[str] = frozenset()
    _open: dict[str, tuple[Alarm, float]] = field(default_factory=dict)
    """What fires because of a fault, and since when."""
    _looked: threading.Condition = field(default_factory=threading.Condition)

    def fires(self, fault: str, *alerts: str, within_s: float = FIRES_S) -> None:
        """Wait until each of these fires because of that."""
        began = time.monotonic()
        for alert in alerts:
            alarm = Alarm(alert, fault)
            self.alarms.append(alarm)
            if self._until(partial(self._fires, alert), within_s):
                fired = time.monotonic()
                alarm.fired_after_s = fired - began
                print(f"{alert} fires: {fault}", file=sys.stderr, flush=True)
                with self._looked:
                    self._open[alert] = alarm, fired

    def is_quiet(self, *alerts: str) -> None:
        """Wait until none of these fires: what comes next is not what came before."""
        self._until(lambda: self._firing.isdisjoint(alerts), ENDS_S)

    def all_end(self) -> None:
        """Wait until everything is over that fired because of a fault."""
        self._until(lambda: not self._open, ENDS_S)

    def scraped_at(self) -> float:
        """When the daemon last answered Prometheus, in seconds of Unix time; 0 while it does not."""
        asked = urllib.parse.urlencode({"query": "timestamp(process_start_time_seconds)"})
        found = self._answer(f"query?{asked}")["result"]
        return float(found[0]["value"][1]) if found else 0.0

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look in a thread meanwhile."""
        ended = threading.Event()
        thread = threading.Thread(target=self._look, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _fires(self, alert: str) -> bool:
        return alert in self._firing

    def _until(self, holds: Callable[[], bool], patience_s: float) -> bool:
        with self._looked:
            return self._looked.wait_for(holds, patience_s)

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_S):
            try:
                names = self._names()
            except OSError:
                continue  # it is starting
            with self._looked:
                self._firing = names
                for alert in self._open.keys() - names:
                    alarm, fired = self._open.pop(alert)
                    alarm.ended_after_s = time.monotonic() - fired
                    print(f"{alert} is over", file=sys.stderr, flush=True)
                self._looked.notify_all()

    def _names(self) -> frozenset[str]:
        alerts = self._answer("alerts")["alerts"]
        return frozenset(it["labels"]["alertname"] for it in alerts if it["state"] == "firing")

    def _answer(self, question: str) -> Any:
        url = f"{self.prometheus_at}/api/v1/{question}"
        with urllib.request.urlopen(url, timeout=10) as told:
            return json.load(told)["data"]
