"""A small site on simulated meters, with the installed programs as processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

import psycopg

from config.load import load_site
from daemon.acquisition.planning.wanted import FREEZE_IS_DUE, due_day
from daemon.demo.proof import owed_fen
from daemon.transactions.archive import take_over_archive
from daemon.transactions.payment import top_up
from simulators.bench.remote import RemoteBench
from storage import migrate
from tests.servers import commands
from tests.servers.commands import METERD, Started
from tests.servers.ports import free_port

ZONE = "Asia/Shanghai"
DAYS = 12
PRICE = "0.5283"
METERS = {
    "gate-1": [f"{n:012d}" for n in range(1001, 1007)],
    "bus-1": [f"{n:012d}" for n in range(2001, 2003)],
}
ADDRESSES = [address for addresses in METERS.values() for address in addresses]
POOR = "000000001003"
DEPOSIT_YUAN = 900
POOR_YUAN = 1
"""Too little for its days, which come to less than the five yuan at which SPAN_GRACE begins."""
PATIENCE_S = 90.0
MOST_S_BETWEEN_LOOKS = 0.25
LONGEST = timedelta(minutes=2)
"""Of a test, on a busy machine."""

SCENARIO = """
zone = "{zone}"
seed = {seed}

[lines.gate-1]
port = 0
reply_delay_ms = [1, 6]
faults = [{{ kind = "lost_answer", chance = 0.02 }}, {{ kind = "split", chance = 0.1, delay_ms = 5 }}]

[lines.bus-1]
link = "{folder}/bus-1"
reply_delay_ms = [1, 6]

[[meters]]
line = "gate-1"
address = "000000001001"
count = 2
kwh_per_day = [6, 12]

[[meters]]
line = "gate-1"
address = "000000001003"
kwh_per_day = [0.5, 0.6]
{poor}

[[meters]]
line = "gate-1"
address = "000000001004"
count = 3
kwh_per_day = [6, 12]

[[meters]]
line = "bus-1"
address = "000000002001"
count = 2
kwh_per_day = [6, 12]
"""

SITE = """
[site]
name = "stage"
zone = "{zone}"
data_directory = "data"
archive = "."
tariffs = "tariffs.toml"

[database]
url = {{ file = "database-url" }}

{lines}
[collection]
backfill_days = {days}
retry_s = 1
reconnect_s = 1

[control]
mode = "{mode}"
password = {{ file = "password" }}
window_start = "00:00"
window_end = "24:00"
working_days_only = false
no_trip_on_eve = false
written_notice_required = false
final_notice_required = false
approvals_required = 0
startup_hold_min = 0
min_debt_yuan = "0.10"

[http]
listen = "127.0.0.1:{port}"
"""


@dataclass
class Stage:
    """A prepared site: its files, its simulated meters, its daemon."""

    folder: Path
    url: str
    bench: RemoteBench
    http_port: int
    mode: str
    _: KW_ONLY
    days: int = DAYS
    today: date = field(default_factory=lambda: _today(ZONE))
    daemon: subprocess.Popen[bytes] | Started | None = None
    _asking: psycopg.Connection[Any] | None = None
    """Kept from one look to the next: a new one costs the server more than most looks."""

    @property
    def site(self) -> Path:
        return self.folder / "meterd.toml"

    def start_daemon(self, **environment: str) -> None:
        """In this environment the installed program, whose interpreter heeds it; without one what
        costs no loading."""
        words = ("run", "-c", str(self.site))
        with (self.folder / "meterd.log").open("ab") as log:
            if environment:
                self.daemon = subprocess.Popen(
                    [METERD, *words], stderr=log, env=os.environ | environment
                )
            else:
                self.daemon = commands.start(*words, err=log.fileno())

    def kill_daemon(self) -> None:
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def close(self) -> None:
        """Whatever became of its daemon, it runs no more; nobody is connected to the database."""
        if self.daemon is not None:
            end(self.daemon)
        self.ask_no_more()

    def stop_daemon(self, within_s: float = 5.0) -> int:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        return self.daemon.wait(within_s)

    def meterd(self, *arguments: str, code: int = 0) -> str:
        done = commands.run(*arguments, "-c", self.site)
        assert done.returncode == code, (
            f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def ask(self, question: str, *values: Any) -> list[tuple[Any, ...]]:
        try:
            return self._kept().execute(question, values).fetchall()
        except psycopg.OperationalError:
            # It did not outlive what happens to the server; a new one says whether that does.
            self.ask_no_more()
            return self._kept().execute(question, values).fetchall()

    def _kept(self) -> psycopg.Connection[Any]:
        if self._asking is None:
            self._asking = psycopg.connect(self.url, autocommit=True)
        return self._asking

    def ask_no_more(self) -> None:
        """Leave the database."""
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def log(self) -> str:
        return (self.folder / "meterd.log").read_text(encoding="utf-8")

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.http_port}/healthz", timeout=5
        ) as answer:
            health: dict[str, Any] = json.load(answer)
        return health

    def until(self, what: str, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Wait for something that the world outside shows; there is nobody to wake us, so look
        often, and less often at what takes long: looking costs what is waited for its core."""
        began = monotonic()
        while not _holds(holds):
            waited = monotonic() - began
            assert waited < patience_s, f"not within {patience_s} s: {what}\n{self.log()[-3000:]}"
            sleep(min(MOST_S_BETWEEN_LOOKS, 0.05 + waited / 40))

    def control_frames(self) -> list[dict[str, Any]]:
        """Every control frame that reached a meter; `action` is N1 in hex (1A is a trip)."""
        return [event for event in self.bench.events() if event["kind"] == "control"]

    def slots_missing(self) -> int:
        """Slots without a published value, and accounts that are not settled since the last came."""
        owed = self.days * len(ADDRESSES)
        ((there,),) = self.ask(
            "SELECT count(*) FROM slot WHERE state = 'published' AND day <= %s", self.today
        )
        # After the slots: marks are committed with them, and asked before they would be missed.
        ((unsettled,),) = self.ask("SELECT count(*) FROM to_settle")
        return owed - int(there) + int(unsettled)

    def supply_of(self, address: str) -> str:
        ((state,),) = self.ask(
            "SELECT supply_state FROM point_supply JOIN point ON id = point_id WHERE number = %s",
            f"P{int(address)}",
        )
        return str(state)

    def deposit_yuan(self, address: str) -> int:
        """What the customer of a meter has paid before the daemon starts."""
        return POOR_YUAN if address == POOR else DEPOSIT_YUAN

    def balance_faults(self, payments_yuan: dict[str, str]) -> list[str]:
        """Compare each balance with the simulators' truth; `payments_yuan` by account, besides the
        deposits."""
        truth = self.bench.truth()
        first = self.today - timedelta(days=self.days - 1)
        found = dict(self.ask("SELECT name, balance_fen FROM account_balance"))
        ((last,),) = self.ask("SELECT max(to_day) FROM link WHERE hold IS NULL")
        faults = []
        for address in ADDRESSES:
            account = f"C{int(address)}"
            paid = self.deposit_yuan(address) + Fraction(payments_yuan.get(account, "0"))
            use = owed_fen([(Fraction(1), truth[address])], first, last, lambda _: Decimal(PRICE))
            must = int(paid * 100) - use
            if found[f"customer:{account}:prepaid"] != must:
                faults.append(
                    f"{account}: {found[f'customer:{account}:prepaid']} fen, must be {must}"
                )
        return faults


@contextmanager
def stage(
    folder: Path,
    url: str,
    *,
    seed: int = 1,
    mode: str = "auto",
    days: int = DAYS,
    poor: str = "",
    more_meters: str = "",
    zone: str = ZONE,
) -> Iterator[Stage]:
    """Simulated meters, files, a database with the customers' deposits; the daemon is not started
    yet. `poor`: another line of that customer's meter; `more_meters`: what stands behind the tables
    of the scenario."""
    with ExitStack() as opened:
        folder.mkdir(parents=True, exist_ok=True)
        scenario = folder / "scenario.toml"
        told = SCENARIO.format(zone=zone, seed=seed, folder=folder, poor=poor)
        scenario.write_text(told + more_meters)
        ready, bench = opened.enter_context(simulated(scenario))
        port = free_port()
        today = _today(zone)
        opens = today - timedelta(days=days - 1)
        text = SITE.format(zone=zone, days=days, lines=_lines(ready["lines"]), port=port, mode=mode)
        _write_site(folder, url, text, opens)
        staged = Stage(folder, url, bench, port, mode, days=days, today=today)
        opened.callback(staged.close)
        migrate(url)
        asyncio.run(_take_deposits(staged))
        yield staged


@contextmanager
def simulated(scenario: Path) -> Iterator[tuple[dict[str, Any], RemoteBench]]:
    """Simulated meters that run: what they say when they are ready, and the client of their control
    port."""
    read, write = os.pipe()
    with open(read) as said:
        simulators = commands.start("simulate", scenario, "--json", out=write)
        os.close(write)
        try:
            ready = json.loads(said.readline())
            with RemoteBench(ready["control"]["host"], ready["control"]["port"]) as bench:
                yield ready, bench
        finally:
            end(simulators)


def _today(zone: str) -> date:
    """The newest day whose freeze is due; where another will be due while the test runs, that one is
    waited for: what is there and what is owed is counted once."""
    now = datetime.now(ZoneInfo(zone))
    today, later = due_day(now), due_day(now + LONGEST)
    if later != today:
        due = datetime.combine(later, time.min, now.tzinfo) + FREEZE_IS_DUE
        sleep((due - now).total_seconds())
    return later


async def _take_deposits(staged: Stage) -> None:
    """The customers and their first payments, before the daemon may bill anything."""
    async with await psycopg.AsyncConnection.connect(staged.url, autocommit=True) as connection:
        await take_over_archive(connection, load_site(staged.site))
        for address in ADDRESSES:
            fen = staged.deposit_yuan(address) * 100
            account = f"C{int(address)}"
            await top_up(
                connection, account, fen, channel="test", reference=account, now=datetime.now(UTC)
            )


def _lines(places: dict[str, Any]) -> str:
    lines = ""
    for name, where in places.items():
        tcp = where["kind"] == "tcp"
        place = (
            f'tcp = "{where["host"]}:{where["port"]}"' if tcp else f'serial = "{where["device"]}"'
        )
        lines += f'[[line]]\nname = "{name}"\n{place}\nreply_timeout_s = 0.3\nretries = 2\n\n'
    return lines


def _write_site(folder: Path, url: str, text: str, opens: date) -> None:
    (folder / "password").write_text("000000\n")
    (folder / "database-url").write_text(url)
    (folder / "meterd.toml").write_text(text)
    (folder / "tariffs.toml").write_text(
        f'[[tariff.home.version]]\neffective_from = 2020-01-01\nprice = "{PRICE}"\n'
    )
    rows = [(line, address) for line, addresses in METERS.items() for address in addresses]
    _table(
        folder / "meters.csv",
        "address,line,point,installed_on",
        [f"{a},{n},P{int(a)},{opens}" for n, a in rows],
    )
    _table(
        folder / "points.csv",
        "point,account,reconnect",
        [f"P{int(a)},C{int(a)},close" for _, a in rows],
    )
    accounts = [f"C{int(a)},home,{opens},A-{int(a)}" for _, a in rows]
    _table(folder / "accounts.csv", "account,tariff,open_from,agreement", accounts)


def _table(path: Path, head: str, rows: Sequence[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n")


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except (OSError, psycopg.OperationalError, psycopg.errors.UndefinedTable):
        return False  # not there yet


def end(process: subprocess.Popen[bytes] | Started) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
