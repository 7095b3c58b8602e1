"""The demonstration's processes: a database, simulated meters and the daemon."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.load import load_site
from daemon.acquisition.planning.wanted import due_day
from daemon.demo import files
from daemon.runtime.ports import free_port
from daemon.transactions.archive import take_over_archive
from daemon.transactions.payment import top_up
from protocols.errors import MeterdError
from simulators.bench.remote import RemoteBench
from storage import migrate
from storage.database import open_database

STEP_LIMIT_S: Final = 120.0
LOOK_EVERY_S: Final = 0.2
STOP_LIMIT_S: Final = 5.0
ANSWER_LIMIT_S: Final = 5.0
OWN_GROUP: Final = 0
"""Of processes: Ctrl-C at the terminal is the demonstration's, which ends the others in order."""
LOG_TAIL_LINES: Final = 15

Say = Callable[[str], None]
"""Takes one sentence for the audience."""
ShowProgress = Callable[[str, int, int], None]
"""Takes (line, slots present, slots owed) at every look."""


class DemoFailed(MeterdError):
    """A step of the demonstration did not come to its end."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that had to hold."""

    what: str
    holds: bool
    found: str


@dataclass(frozen=True, slots=True)
class Demo:
    """What is running, and what was checked so far."""

    folder: Path
    site: Path
    http_port: int
    today: date
    database_url: str
    bench: RemoteBench
    daemon: subprocess.Popen[bytes]
    say: Say
    show_progress: ShowProgress
    checks: list[Check] = field(default_factory=list)

    def check(self, what: str, holds: bool, found: object = "") -> None:
        """Keep for the report what had to hold and what was found."""
        self.checks.append(Check(what, holds, str(found)))

    def http(self, path: str) -> bytes:
        """What the daemon answers. OSError while it does not."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        with urllib.request.urlopen(url, timeout=ANSWER_LIMIT_S) as answer:
            content: bytes = answer.read()
        return content

    def health(self) -> dict[str, Any]:
        """What /healthz shows."""
        health: dict[str, Any] = json.loads(self.http("/healthz"))
        return health

    def until(
        self, what: str, holds: Callable[[], bool], *, within_s: float = STEP_LIMIT_S
    ) -> None:
        """Look until it holds, showing how far each line is.

        DemoFailed after `within_s` or when the daemon ended."""
        give_up_at = time.monotonic() + within_s
        while not self._holds(holds):
            code = self.daemon.poll()
            if code is not None:
                raise DemoFailed(f"the daemon ended with exit code {code}{self._log_tail()}")
            if time.monotonic() > give_up_at:
                raise DemoFailed(f"not within {within_s:.0f} s: {what}{self._log_tail()}")
            time.sleep(LOOK_EVERY_S)

    def run(self, arguments: Sequence[str]) -> None:
        """Run a command of meterd on the site. DemoFailed when it fails."""
        command = [*arguments, "-c", str(self.site)]
        done = subprocess.run(
            [*_meterd(), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise DemoFailed(f"meterd {' '.join(command)}: {done.stderr.strip()}")

    def stop_daemon(self) -> None:
        """Check that SIGTERM ends the daemon cleanly and soon."""
        began = time.monotonic()
        self.daemon.send_signal(signal.SIGTERM)
        try:
            code: int | None = self.daemon.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        took_s = time.monotonic() - began
        found = f"exit code {code} after {took_s:.1f} s"
        self.check("SIGTERM ends the daemon cleanly", code == 0, found)

    def _holds(self, holds: Callable[[], bool]) -> bool:
        try:
            for name, line in self.health()["lines"].items():
                self.show_progress(name, line["present"], line["present"] + line["wanted"])
            return holds()
        except OSError:
            return False  # the daemon is not up yet, or ended: its exit code says so

    def _log_tail(self) -> str:
        log = self.folder / "meterd.log"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        return "\n".join(["\nthe end of its log:", *text.splitlines()[-LOG_TAIL_LINES:]])


@contextmanager
def running_demo(folder: Path | None, say: Say, show_progress: ShowProgress) -> Iterator[Demo]:
    """Start the database, the simulated meters and the daemon; stop them in reverse.

    Without a folder it is a temporary one, which is removed. DemoFailed."""
    with ExitStack() as opened:
        if folder is None:
            folder = Path(mkdtemp(prefix="meterd-demo-"))
            opened.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        today = due_day(datetime.now(ZoneInfo(files.ZONE)))
        say(f"embedded PostgreSQL in {folder / 'data'}")
        database = opened.enter_context(open_database(None, folder / "data"))
        # Meters before the site: their ports are known only when they are open.
        bench, places = _start_bench(files.write_scenario(folder), say, opened)
        http_port = free_port()
        site = files.write_site(folder, places, http_port, today)
        migrate(database.url, database.owner_url)
        asyncio.run(_prepare(database.url, site))
        demo = Demo(
            folder=folder,
            site=site,
            http_port=http_port,
            today=today,
            database_url=database.url,
            bench=bench,
            daemon=_start_daemon(folder, site, opened),
            say=say,
            show_progress=show_progress,
        )
        say(f"daemon started, its log is {folder / 'meterd.log'}")
        demo.until("the daemon answers", lambda: bool(demo.health()["lines"]))
        yield demo


def _start_bench(scenario: Path, say: Say, opened: ExitStack) -> tuple[RemoteBench, dict[str, str]]:
    """The simulated meters, and where each of their lines is."""
    process = subprocess.Popen(
        [*_meterd(), "simulate", str(scenario), "--json"],
        stdout=subprocess.PIPE,
        process_group=OWN_GROUP,
    )
    opened.callback(stop, process)
    assert process.stdout is not None
    # An empty line is the end of a process that did not start.
    ready = json.loads(process.stdout.readline() or b"{}")
    if not ready.get("ready"):
        raise DemoFailed(f"the simulated meters did not start: {ready}")
    control = ready["control"]
    bench = opened.enter_context(RemoteBench(control["host"], control["port"]))
    say(f"{ready['meters']} simulated meters on {', '.join(ready['lines'])}")
    return bench, {name: _place(where) for name, where in ready["lines"].items()}


def _place(where: Mapping[str, Any]) -> str:
    if where["kind"] == "pty":
        return str(where["device"])
    return f"{where['host']}:{where['port']}"


async def _prepare(url: str, site: Path) -> None:
    """The customers of the site and their first payments, before the daemon starts."""
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await take_over_archive(connection, load_site(site))
        for account in sorted({meter.account for meter in files.demo_meters()}):
            await top_up(
                connection,
                account,
                files.deposit_fen(account),
                channel="demo",
                reference=account,
                now=datetime.now(UTC),
            )


def _start_daemon(folder: Path, site: Path, opened: ExitStack) -> subprocess.Popen[bytes]:
    log = opened.enter_context((folder / "meterd.log").open("ab"))
    daemon = subprocess.Popen(
        [*_meterd(), "run", "-c", str(site)], stderr=log, process_group=OWN_GROUP
    )
    opened.callback(stop, daemon)
    return daemon


def _meterd() -> list[str]:
    """This very program, as another process: never another checkout's."""
    return [sys.executable, "-P", "-c", "from daemon.cli import main; main()"]


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it, by force if need be."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
