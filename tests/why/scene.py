"""Thirteen causes of darkness on one small site, over real sockets: each is injected, and the time
runs from when its symptom is there until `meterd why` names it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Final

from tests.acceptance.stage import METERS, POOR, Stage, stage

WITHIN_S: Final = 10.0
DAYS: Final = 6
"""So many that the poor one runs out of money."""
LOOK_S: Final = 0.1
SAID: Final = ("--reason", "as it was injected", "--actor", "li")
CAUSES: Final = (
    "trip",
    "cut",
    "never_read",
    "area_silent",
    "meter_silent",
    "on",
    "kept_off",
    "reconnect",
    "button",
    "safety",
    "foreign_open",
    "planned_outage",
    "line_down",
)


@dataclass(frozen=True, slots=True)
class Found:
    """How long after its symptom a cause was named."""

    cause: str
    after_s: float


@dataclass(slots=True)
class Scene:
    """Who plays what is drawn by the seed."""

    staged: Stage
    chance: random.Random
    found: list[Found] = field(default_factory=list)

    def play(self) -> Iterator[Found]:
        """Each cause when it was named. AssertionError: one was not."""
        others = [it for it in METERS["gate-1"] if it != POOR]
        silent, never, ordered, opened, outage = self.chance.sample(others, len(others))
        bench, staged = self.staged.bench, self.staged
        bench.reply_delay(120, line="gate-1")
        bench.power("off", address=never)
        for address in METERS["bus-1"]:
            bench.power("off", address=address)
        # The first command loads what all of them need.
        self._why(POOR)
        staged.start_daemon()
        staged.until("the silent one was read once", lambda: self._days_of(silent) > 0)
        bench.power("off", address=silent)
        bench.reply_delay((1, 6), line="gate-1")
        is_under_way = "trip_commanded"
        # Until its relay is seen open, some seconds later.
        yield self._named("trip", POOR, lambda: staged.supply_of(POOR) == is_under_way, 60)
        yield self._named("cut", POOR, lambda: bench.relay_is_open(POOR))
        yield self._named("never_read", never, lambda: self._asked_in_vain(never))
        area = METERS["bus-1"]
        yield self._named(
            "area_silent", area[0], lambda: all(map(self._asked_in_vain, area)), patience_s=60
        )
        yield self._named("meter_silent", silent, lambda: self._asked_in_vain(silent))
        yield self._named("on", outage, lambda: self._days_of(outage) == DAYS)
        yield from self._restored()
        yield self._ordered_off(ordered)
        yield self._opened_by_others(opened)
        staged.meterd("supply", "hold", "--kind", "planned-outage", *_point(outage), *SAID)
        yield self._named("planned_outage", outage, lambda: True)
        staged.meterd("supply", "release", "3", *SAID)
        bench.cut("gate-1")
        yield self._named("line_down", outage, lambda: True)

    def _restored(self) -> Iterator[Found]:
        """Paid while somebody works there; then the reconnect, and the button."""
        staged = self.staged
        staged.meterd("supply", "lock", *_point(POOR), *SAID)
        staged.meterd("topup", f"C{int(POOR)}", "50", "--key", "a")
        yield self._named("kept_off", POOR, lambda: True)
        staged.bench.fault_on("stuck_relay", address=POOR)
        staged.bench.power("off", address=POOR)
        staged.meterd("supply", "release", "1", *SAID)
        is_under_way = "reconnect_commanded"
        yield self._named("reconnect", POOR, lambda: staged.supply_of(POOR) == is_under_way)
        staged.bench.fault_off("stuck_relay", address=POOR)
        staged.bench.power("on", address=POOR)
        staged.meterd("topup", f"C{int(POOR)}", "50", "--key", "b")
        yield self._named("button", POOR, self._waits_for_button, patience_s=60)

    def _waits_for_button(self) -> bool:
        return bool(self.staged.bench.meter(POOR)["command"] == "closed")

    def _ordered_off(self, address: str) -> Found:
        cause = ("--cause", "safety")
        self.staged.meterd("supply", "order", "ask", f"P{int(address)}", *cause, *SAID)
        self.staged.meterd("supply", "order", "agree", "1", "--actor", "wang")
        return self._named("safety", address, lambda: self.staged.bench.relay_is_open(address))

    def _opened_by_others(self, address: str) -> Found:
        """While work is planned nobody closes it; a look at the relay is the symptom."""
        self.staged.meterd("supply", "hold", "--kind", "planned-outage", *_point(address), *SAID)
        self.staged.bench.force_relay(address, "open")
        self.staged.ask(
            "SELECT pg_notify('meterd_relay', id::text) FROM meter WHERE address = %s", address
        )
        return self._named("foreign_open", address, lambda: True)

    def _named(
        self, cause: str, address: str, is_there: Callable[[], bool], patience_s: float = 30
    ) -> Found:
        if cause != "trip":
            sleep(self.chance.random())
        self.staged.until(f"the symptom of {cause}", is_there, patience_s)
        begun = monotonic()
        while (told := self._why(address)) != cause:
            assert monotonic() - begun < WITHIN_S, f"{cause} of {address}: why says {told}"
            sleep(LOOK_S)
        return Found(cause, monotonic() - begun)

    def _why(self, address: str) -> str:
        told = json.loads(self.staged.meterd("why", f"P{int(address)}", "--json"))
        return str(told["cause"])

    def _days_of(self, address: str) -> int:
        ((days,),) = self.staged.ask(
            "SELECT count(*) FROM slot s JOIN point p ON p.id = s.point_id "
            "WHERE p.number = %s AND s.state = 'published'",
            f"P{int(address)}",
        )
        return int(days)

    def _asked_in_vain(self, address: str) -> bool:
        ((tries,),) = self.staged.ask(
            "SELECT count(*) FROM attempt t JOIN meter m ON m.id = t.meter_id "
            "WHERE m.address = %s AND t.cause = 'no_answer'",
            address,
        )
        return bool(tries)


def play(folder: Path, url: str, seed: int) -> Iterator[Found]:
    """The causes of a seed, each when it was named."""
    with stage(folder, url, seed=seed, days=DAYS) as staged:
        points = staged.folder / "points.csv"
        head, *rows = points.read_text().splitlines()
        told = [f"{row},{_area(row)}".replace(*_by_button(row)) for row in rows]
        points.write_text("\n".join([f"{head},area", *told]) + "\n")
        # On a busy machine an answer may take longer; a trip that was not sent waits five minutes.
        site = staged.site.read_text()
        staged.site.write_text(site.replace("reply_timeout_s = 0.3", "reply_timeout_s = 0.8"))
        yield from Scene(staged, random.Random(seed)).play()


def _area(row: str) -> str:
    return "T1" if row.startswith(tuple(f"P{int(it)}," for it in METERS["bus-1"])) else ""


def _by_button(row: str) -> tuple[str, str]:
    return ("close", "allow_close") if row.startswith(f"P{int(POOR)},") else ("", "")


def _point(address: str) -> tuple[str, str]:
    return ("--point", f"P{int(address)}")
