"""From a payment to the reconnect at the meter, and to the relay that was seen closed, by the installed
program over real sockets: on an idle line, while it is back-filled, beside a settlement of all.

The customers are cut before the daemon starts: relays are opened by hand, and the rows say so. Each
pays at the daemon's socket, one every `--every` seconds; the meter tells when the frame came.

PYTHONPATH=. .venv/bin/python tests/bench/bench_reconnect.py [--payers 100] [--accounts 5000] [--only back-fill]"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
import structlog

from config.load import load_site
from daemon.api.asking import ask
from daemon.transactions.archive import take_over_archive
from daemon.transactions.collect import collect
from storage import migrate
from storage.archive import site_meters
from storage.database import DAEMON, OWNER
from tests.acceptance import stage as stages
from tests.acceptance.stage import Stage, stage
from tests.database.small_site import ZONE, connect, freeze
from tests.servers.postgres import Server, embedded_server

FIRST: Final = 3001
METERS: Final = """
[[meters]]
line = "gate-1"
address = "{first:012d}"
count = {count}
kwh_per_day = [6, 12]
"""
FAR: Final = '[[line]]\nname = "far"\ntcp = "127.0.0.1:1"\nenabled = false\n\n[collection]'
"""A line that is never opened: its meters' freezes are there before the daemon starts."""


@dataclass(frozen=True, slots=True)
class Run:
    """What goes on beside the payments."""

    name: str
    days: int
    reply_delay_ms: tuple[int, int]
    accounts: int = 0


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--payers", type=int, default=100)
    arguments.add_argument("--accounts", type=int, default=5_000)
    arguments.add_argument("--every", type=float, default=0.3)
    arguments.add_argument("--only", default="", help="part of the name of a run")
    given = arguments.parse_args()
    runs = [
        Run("idle line", 1, (5, 20)),
        Run("full back-fill", 31, (40, 80)),
        Run(f"settlement of {given.accounts} accounts", 1, (5, 20), given.accounts),
    ]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with embedded_server() as server:
        for number, run in enumerate(it for it in runs if given.only in it.name):
            with TemporaryDirectory() as folder:
                measure(server, Path(folder), run, number, given.payers, given.every)


def measure(
    server: Server, folder: Path, run: Run, number: int, payers: int, every_s: float
) -> None:
    """One run; what it cost to be restored is printed."""
    name = f"reconnect_{number}"
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    migrate(server.url(name, DAEMON), server.url(name, OWNER))
    with prepared(folder, server.url(name, DAEMON), run, payers) as staged:
        staged.start_daemon()
        if run.accounts:
            staged.until("it settles", lambda: waiting(staged) < run.accounts)
        elif run.days > 1:
            staged.until("it back-fills", lambda: staged.ask("SELECT FROM slot LIMIT 1") != [])
        else:
            staged.until("all is read and seen", lambda: seen(staged) == payers, 300)
        paid = {}
        begun = time.monotonic()
        for payer in range(payers):
            time.sleep(max(0.0, begun + payer * every_s - time.monotonic()))
            paid[FIRST + payer], told = pay(staged, FIRST + payer)
            assert len(told["reconnects"]) == 1, told
        was_busy = busy(staged, run)
        staged.until("all are restored", lambda: restored(staged) == payers, 300)
        show(staged, run, paid, was_busy=was_busy)


@contextmanager
def prepared(folder: Path, url: str, run: Run, payers: int) -> Iterator[Stage]:
    """A stage with payers who are cut, and others whose freezes wait to be settled."""
    addresses = [f"{FIRST + n:012d}" for n in range(payers)]
    stages.METERS["gate-1"][6:] = addresses
    stages.ADDRESSES[:] = [it for on_line in stages.METERS.values() for it in on_line]
    delays = f"reply_delay_ms = {list(run.reply_delay_ms)}"
    stages.SCENARIO = stages.SCENARIO.replace("reply_delay_ms = [1, 6]", delays, 1).replace(
        'faults = [{{ kind = "lost_answer", chance = 0.02 }}, '
        '{{ kind = "split", chance = 0.1, delay_ms = 5 }}]\n',
        "",
    )
    more = METERS.format(first=FIRST, count=payers)
    with stage(folder, url, days=run.days, more_meters=more) as staged:
        asyncio.run(add_others(staged, run.accounts))
        for address in addresses:
            staged.bench.force_relay(address, "open")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "UPDATE point_supply SET supply_state = 'disconnected', relay_observed = 'open',"
                " relay_observed_at = now() - interval '2 days' FROM point"
                " WHERE id = point_id AND number = ANY(%s)",
                ([f"P{FIRST + n}" for n in range(payers)],),
            )
            connection.execute(
                "UPDATE account SET reconnect_fen = 200000 WHERE number = ANY(%s)",
                ([f"C{FIRST + n}" for n in range(payers)],),
            )
        yield staged


async def add_others(staged: Stage, accounts: int) -> None:
    """Accounts on a line that is off, with two freezes each that are not settled yet."""
    if not accounts:
        return
    site = staged.site.read_text().replace("[collection]", FAR, 1)
    staged.site.write_text(site)
    opens = staged.today - timedelta(days=1)
    names = [900_000 + n for n in range(accounts)]
    rows = {
        "meters.csv": [f"{n:012d},far,P{n},{opens}" for n in names],
        "points.csv": [f"P{n},C{n},close" for n in names],
        "accounts.csv": [f"C{n},home,{opens},A-{n}" for n in names],
    }
    for file, lines in rows.items():
        with (staged.folder / file).open("a", encoding="utf-8") as out:
            out.write("\n".join(lines) + "\n")
    async with await connect(staged.url) as connection:
        await take_over_archive(connection, load_site(staged.site))
        far = [it for it in await site_meters(connection) if it.line == "far"]
        for day, kwh in ((opens, 100), (staged.today, 110)):
            await collect(connection, [freeze(meter, day, kwh) for meter in far], ZONE)


def waiting(staged: Stage) -> int:
    """Accounts that are not settled."""
    ((count,),) = staged.ask("SELECT count(*) FROM to_settle")
    return int(count)


def seen(staged: Stage) -> int:
    """Payers whose relays the daemon looked at."""
    return _count(staged, "relay_observed_at > now() - interval '1 hour'")


def restored(staged: Stage) -> int:
    return _count(staged, "supply_state = 'energised' AND relay_observed = 'closed'")


def _count(staged: Stage, what: str) -> int:
    ((count,),) = staged.ask(
        f"SELECT count(*) FROM point_supply JOIN point ON id = point_id"
        f" WHERE number ~ '^P{FIRST // 1000}' AND {what}"
    )
    return int(count)


def pay(staged: Stage, number: int, amount_fen: int = 300_000) -> tuple[datetime, dict[str, Any]]:
    """When the payment was handed in, and what the daemon said."""
    request = {
        "do": "topup",
        "account": f"C{number}",
        "amount_fen": amount_fen,
        "channel": "bench",
        "reference": f"r{number}",
        "actor": "person:bench",
        "by_way_of": "bench",
    }
    at = datetime.now(UTC)
    (told, *_) = list(ask(staged.folder / "data", request))
    return at, told


def busy(staged: Stage, run: Run) -> bool:
    """Whether what goes on beside was still going on at the end."""
    if run.accounts:
        return waiting(staged) > 0
    return staged.slots_missing() > 0


def show(staged: Stage, run: Run, paid: dict[int, datetime], *, was_busy: bool) -> None:
    first_frames: dict[int, datetime] = {}
    for frame in staged.control_frames():
        number = int(frame["address"])
        # The bench's clock is the site's wall clock.
        first_frames.setdefault(number, datetime.fromisoformat(frame["at"]).replace(tzinfo=ZONE))
    verified = dict(
        staged.ask(
            "SELECT c.address, min(e.at) FROM command c JOIN command_event e ON e.command_id = c.id"
            " WHERE e.state = 'verified' GROUP BY 1"
        )
    )
    to_frame = [first_frames[n] - at for n, at in paid.items()]
    to_closed = [verified[f"{n:012d}"] - at for n, at in paid.items()]
    print(f"{run.name}{'' if was_busy or (run.days == 1 and not run.accounts) else ' (it ended)'}:")
    print(f"  payment to frame  {in_words(to_frame)}")
    print(f"  payment to closed {in_words(to_closed)}", flush=True)


def in_words(waits: list[timedelta]) -> str:
    seconds = sorted(it.total_seconds() for it in waits)
    parts = (f"p{part} {1000 * seconds[(len(seconds) - 1) * part // 100]:.0f}" for part in (50, 95))
    return f"{' '.join(parts)} max {1000 * seconds[-1]:.0f} ms of {len(seconds)}, load {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    main()
