"""Many at once, by the installed program over real sockets: a wrong price that exhausts everybody, an
amnesty of everybody who is cut, a hold of everybody while trips are on their way.

What must hold is asserted, how long it took is printed. The deaf seconds of a busy machine are in it.

PYTHONPATH=. .venv/bin/python tests/bench/bench_masses.py [--accounts 1000] [--restores 2000] [--a-minute 600]"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zoneinfo import ZoneInfo

import psycopg
import structlog

from daemon.control.breaker import Limits
from storage import migrate
from storage.database import DAEMON, OWNER
from tests.acceptance import stage as stages
from tests.acceptance.stage import Stage, stage
from tests.acceptance.test_clock_steps import sweeps
from tests.servers.postgres import Server, embedded_server

FIRST: Final = 3001
METERS: Final = """
[[meters]]
line = "gate-1"
address = "{first:012d}"
count = {count}
kwh_per_day = [6, 12]
"""
FAULTS: Final = (
    'faults = [{{ kind = "lost_answer", chance = 0.02 }}, '
    '{{ kind = "split", chance = 0.1, delay_ms = 5 }}]\n'
)
AT_ONCE: Final = "reply_delay_ms = [1, 6]"
SLOWLY: Final = "reply_delay_ms = [30, 60]"
"""Days that come one after the other: the first trips leave before the money of all has run out."""
WRONG_PRICE: Final = "500"
RIGHT_VERSION: Final = '\n[[tariff.home.version]]\neffective_from = {opens}\nprice = "{price}"\n'
STOPPED_BY_BREAKER_ALONE: Final = """
    (SELECT DISTINCT ON (point_id) reasons FROM guard_verdict ORDER BY point_id, at DESC, id DESC) v
    WHERE reasons = '{BREAKER_OPEN}'"""
TRIP: Final = "1A"
KW: Final = 4
HELD: Final = 15
"""Who is to be cut when everybody is held: fewer than what opens the breaker."""
SETTLES_S: Final = 900.0
SWEEPS: Final = 6
"""After so many more whoever was to be cut is."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--accounts", type=int, default=1_000)
    arguments.add_argument("--restores", type=int, default=2_000)
    arguments.add_argument("--a-minute", type=int, default=600)
    given = arguments.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with embedded_server() as server:
        with staged(server, "held", 200) as site:
            hold_of_everybody(site)
        with staged(server, "amnesty", given.restores) as site:
            amnesty(site, given.restores, given.a_minute)
        right_price, stages.PRICE = stages.PRICE, WRONG_PRICE
        stages.SCENARIO = stages.SCENARIO.replace(AT_ONCE, SLOWLY, 1)
        with staged(server, "tariff", given.accounts) as site:
            wrong_tariff(site, given.accounts, right_price)


@contextmanager
def staged(server: Server, name: str, count: int) -> Iterator[Stage]:
    """So many meters more than a stage has, on a line that loses nothing."""
    server.execute(f"CREATE DATABASE masses_{name} OWNER {OWNER}")
    url = server.url(f"masses_{name}", DAEMON)
    migrate(url, server.url(f"masses_{name}", OWNER))
    stages.METERS["gate-1"][6:] = [f"{FIRST + n:012d}" for n in range(count)]
    stages.ADDRESSES[:] = [it for on_line in stages.METERS.values() for it in on_line]
    stages.SCENARIO = stages.SCENARIO.replace(FAULTS, "")
    more = METERS.format(first=FIRST, count=count)
    with TemporaryDirectory() as folder, stage(Path(folder), url, days=2, more_meters=more) as site:
        yield site
    print(f"  load {os.getloadavg()[0]:.1f}", flush=True)


def wrong_tariff(site: Stage, accounts: int, right_price: str) -> None:
    """The first trips leave, the breaker opens and alone stops the others; who is dark is lit when
    a second person agrees to the right price."""
    site.start_daemon()
    site.until("it opens", lambda: count(site, "breaker WHERE reset_at IS NULL") > 0, SETTLES_S)
    exhausted = "account WHERE credit_state = 'exhausted'"
    site.until("all owe", lambda: count(site, exhausted) >= accounts, SETTLES_S)
    sweep_on(site)
    trips, allowed = len(frames(site, is_trip=True)), trips_allowed(accounts)
    assert 0 < trips <= allowed, f"{trips} trips left, {allowed} may"
    stopped = count(site, STOPPED_BY_BREAKER_ALONE)
    assert stopped >= accounts - allowed, f"the breaker alone stops {stopped} of {accounts}"
    opens = site.today - timedelta(days=1)
    with (site.folder / "tariffs.toml").open("a", encoding="utf-8") as tariffs:
        tariffs.write(RIGHT_VERSION.format(opens=opens, price=right_price))
    site.meterd("reload")
    site.until("it waits", lambda: count(site, "tariff_version WHERE state = 'waits'") > 0)
    began = time.monotonic()
    site.meterd("tariff", "approve", "home", str(opens), "--actor", "wang")
    site.until("nobody owes", lambda: count(site, exhausted) == 0, SETTLES_S)
    site.until("all are lit", lambda: dark(site) == 0, SETTLES_S)
    print(
        f"wrong tariff: {accounts} accounts exhausted, {trips} trips left (allowed {allowed}), the "
        f"breaker alone stopped {stopped}; all lit {time.monotonic() - began:.0f} s after the "
        "right price was approved"
    )


def trips_allowed(points: int) -> int:
    """Within an hour."""
    return max(Limits().hour, Limits().hour_permille * points // 1000)


def amnesty(site: Stage, restores: int, a_minute: int) -> None:
    """Everybody comes back, and in no minute more than the ramp lets."""
    for number in range(FIRST, FIRST + restores):
        site.bench.force_relay(f"{number:012d}", "open")
    owe_all(site, FIRST + restores - 1)
    with psycopg.connect(site.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'open',"
            " relay_observed_at = now() FROM point WHERE id = point_id AND number ~ '^P[3-9]'"
        )
    site.start_daemon()
    site.until("it is ready", lambda: "event=ready" in site.log())
    began = time.monotonic()
    ramp = ("--kw-per-minute", str(KW * a_minute), "--kw-per-point", str(KW))
    site.meterd("supply", "amnesty", *ramp, "--reason", "flood", "--as", "li")
    site.until("all are lit", lambda: dark(site) == 0, 3 * 60 * restores / a_minute + SETTLES_S)
    at = sorted(frames(site, is_trip=False))
    most = max(
        sum(start <= it < start + timedelta(minutes=1) for it in at[n : n + 2 * a_minute])
        for n, start in enumerate(at)
    )
    assert most <= a_minute, f"{most} restores within a minute, {a_minute} may"
    print(
        f"amnesty: {restores} restores in {time.monotonic() - began:.0f} s, "
        f"at most {most} within a minute (allowed {a_minute})"
    )


def hold_of_everybody(site: Stage) -> None:
    """No trip leaves a second after it was said, nor after a restart."""
    owe_all(site, FIRST + HELD - 1)
    site.start_daemon()
    site.until("trips leave", lambda: len(frames(site, is_trip=True)) > 0, SETTLES_S)
    began = time.monotonic()
    site.meterd("supply", "hold", "--reason", "system failure", "--as", "li")
    took_s = time.monotonic() - began
    at_rest = datetime.now(ZoneInfo(stages.ZONE)).replace(tzinfo=None) + timedelta(seconds=1)
    sweep_on(site)
    site.kill_daemon()
    site.start_daemon()
    site.until("it is ready", lambda: site.log().count("event=ready") == 2)
    sweep_on(site)
    left = frames(site, is_trip=True)
    late = [at for at in left if at > at_rest]
    assert not late, f"{len(late)} trips left later than a second after the hold"
    assert len(left) < HELD, "all had left before the hold"
    print(f"hold: said in {took_s:.1f} s, {len(left)} of {HELD} trips left, none a second after it")


def sweep_on(site: Stage) -> None:
    """Until the daemon has looked SWEEPS times more at who is to be cut."""
    wanted = sweeps(site) + SWEEPS
    site.until("it looks again", lambda: sweeps(site) >= wanted)


def owe_all(site: Stage, last: int) -> None:
    """Of the accounts up to this one the balance is below what they may have."""
    numbers = [f"C{number}" for number in range(FIRST, last + 1)]
    with psycopg.connect(site.url, autocommit=True) as connection:
        connection.execute(
            "UPDATE account SET warn_fen = 200000, trip_fen = 200000, reconnect_fen = 200000"
            " WHERE number = ANY(%s)",
            (numbers,),
        )


def frames(site: Stage, *, is_trip: bool) -> list[datetime]:
    """When control frames reached meters."""
    return [
        datetime.fromisoformat(it["at"])
        for it in site.control_frames()
        if (it["action"] == TRIP) == is_trip
    ]


def dark(site: Stage) -> int:
    return count(site, "point_supply WHERE supply_state <> 'energised' OR relay_observed = 'open'")


def count(site: Stage, what: str) -> int:
    ((found,),) = site.ask(f"SELECT count(*) FROM {what}")
    return int(found)


if __name__ == "__main__":
    main()
