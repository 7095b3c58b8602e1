"""One fault while meters are read: what was lost, and how long everything took."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from storage.site_lock import SITE_LOCK
from tests.acceptance.stage import ADDRESSES, METERS
from tests.faults.database_faults import Fault
from tests.faults.scene import LINE, Scene, Watch, scene
from tests.faults.truth import untruths
from tests.servers.commands import METERD
from tests.servers.postgres import Server

STORES_AGAIN_S: Final = 10.0
HEALTH_S: Final = 30.0
STOP_S: Final = 30.0
HEALTHZ_P99_S: Final = 0.2
PAYER: Final = f"C{int(ADDRESSES[0])}"
PAID_YUAN: Final = "5"
PATIENCE_S: Final = 120.0
RENEWED_HOLDS: Final = """
SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE locktype = 'advisory' AND objid = %(lock)s AND query LIKE '%%idle_session_timeout%%'
"""
IMPATIENT: Final = "-c statement_timeout=2000"


@dataclass
class Outcome:
    """What came of one. Seconds; None where it never came, or was not asked for."""

    fault: str
    lasted_s: float
    noticed_s: float | None = None
    """From the beginning of the fault until `/healthz` said so."""
    stores_again_s: float | None = None
    """From the end of the fault until the next reading was stored."""
    well_again_s: float | None = None
    """From the end of the fault until `/healthz` was content."""
    stop_s: float | None = None
    healthz_p99_s: float | None = None
    untruths: list[str] = field(default_factory=list)

    @property
    def late(self) -> list[str]:
        """What took longer than it may, in words."""
        limits = {
            "stores again": (self.stores_again_s, STORES_AGAIN_S),
            "health shows the fault": (self.noticed_s, HEALTH_S),
            "health shows its end": (self.well_again_s, HEALTH_S),
            "SIGTERM": (self.stop_s, STOP_S),
            "/healthz p99": (self.healthz_p99_s, HEALTHZ_P99_S),
        }
        return [
            f"{what} after {took_s:.1f} s, at most {most_s:g}"
            for what, (took_s, most_s) in limits.items()
            if took_s is not None and took_s > most_s
        ]


def heal(
    server: Server, url: str, folder: Path, fault: Fault, lasts_s: float, *, seed: int = 1
) -> Outcome:
    """The fault comes while meters are read, lasts, and goes; somebody pays meanwhile."""
    chance = random.Random(seed)
    with scene(server, url, folder, seed=seed) as played:
        staged = played.staged
        _start_with_cut_lines(played)
        watch = Watch(staged)
        with watch.looking():
            staged.bench.mend(LINE)
            time.sleep(chance.uniform(0, 0.5))
            began = time.monotonic()
            with fault(played):
                _mend_lines(played)  # some are read before it, and some while it lasts
                paying = _pay(played)
                time.sleep(lasts_s)
                stored = _stored(played)
            ended = time.monotonic()
            # Where nobody could ask meanwhile.
            before = (_stored(played) or 0) if stored is None else stored
            outcome = Outcome(fault.__name__, ended - began)
            outcome.stores_again_s = _until(lambda: _stores(played, before), ended)
            paying.wait(PATIENCE_S)
            _until(lambda: _pay(played).wait(PATIENCE_S) == 0, ended)
            staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
            outcome.well_again_s = _until(lambda: staged.health()["status"] == "ok", ended)
        outcome.noticed_s = watch.first_after(began, ok=False)
        outcome.healthz_p99_s = watch.took_s(0.99)
        outcome.untruths = untruths(staged, {PAYER: PAID_YUAN}) + _complaints(staged.log())
        outcome.stop_s = _stop(played)
    return outcome


def stop(
    server: Server, url: str, folder: Path, fault: Fault, lasts_s: float, *, seed: int = 1
) -> Outcome:
    """SIGTERM while the fault lasts; what was read is there after the next start."""
    with scene(server, url, folder, seed=seed) as played:
        staged = played.staged
        _start_with_cut_lines(played)
        began = time.monotonic()
        with fault(played):
            _mend_lines(played)
            time.sleep(lasts_s)
            outcome = Outcome(fault.__name__, time.monotonic() - began, stop_s=_stop(played))
        staged.start_daemon()
        staged.until("every slot is filled", lambda: staged.slots_missing() == 0)
        staged.until("it is well", lambda: staged.health()["status"] == "ok")
        outcome.untruths = untruths(staged) + _complaints(staged.log())
        _stop(played)
    return outcome


def _start_with_cut_lines(played: Scene) -> None:
    for line in METERS:
        played.staged.bench.cut(line)
    played.staged.start_daemon()
    played.staged.until("it is ready", lambda: played.staged.health()["database"] == "ok")
    # A hold that was never renewed ends with the server's keepalives alone, which a proxy answers.
    played.staged.until("its hold is renewed", lambda: _renewed_holds(played) == 1)


def _renewed_holds(played: Scene) -> int:
    url = make_conninfo(played.staged.url, user="postgres")
    with psycopg.connect(url) as connection:
        row = connection.execute(RENEWED_HOLDS, {"lock": SITE_LOCK}).fetchone()
        assert row is not None
        return int(row[0])


def _mend_lines(played: Scene) -> None:
    for line in METERS:
        played.staged.bench.mend(line)


def _pay(played: Scene) -> subprocess.Popen[bytes]:
    """The same payment each time."""
    words = ["topup", PAYER, PAID_YUAN, "--key", "fault", "-c", str(played.staged.site)]
    with (played.staged.folder / "topup.log").open("ab") as log:
        return subprocess.Popen([METERD, *words], stdout=log, stderr=log)


def _stored(played: Scene) -> int | None:
    """Past the daemon's way and its role's limits; None where nobody can ask."""
    url = make_conninfo(played.staged.url, user="postgres", connect_timeout=2, options=IMPATIENT)
    with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM reading").fetchone()
        assert row is not None
        return int(row[0])
    return None


def _stores(played: Scene, before: int) -> bool:
    stored = _stored(played)
    return stored is not None and (stored > before or not played.staged.slots_missing())


def _until(holds: Callable[[], bool], since: float) -> float:
    """How long after this moment it held; infinite if it did not while anybody would wait."""
    while time.monotonic() < since + PATIENCE_S:
        if holds():
            return time.monotonic() - since
        time.sleep(0.05)
    return inf


def _stop(played: Scene) -> float:
    began = time.monotonic()
    code = played.staged.stop_daemon(within_s=2 * STOP_S)
    assert code == 0, f"exit code {code}\n{played.staged.log()[-2000:]}"
    return time.monotonic() - began


def _complaints(log: str) -> list[str]:
    words = ("Traceback", "task died", "dead letter")
    return [f"the log says {word}" for word in words if word in log]
