"""PostgreSQL servers that live as long as a test run (or a bench): the embedded one, and one with
TimescaleDB.

with embedded_server() as server:
    psycopg.connect(server.url())
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psycopg

from storage.database import DAEMON, OWNER
from tests.servers.timescaledb import (
    copy_installation,
    link,
    timescaledb_installation,
    wheel_installation,
)

START_TIMEOUT_S = 30.0
MEMORY = Path("/dev/shm")
MEMORY_NEEDED_BYTES = (
    2 * 2**30
)  # two servers, their write-ahead logs and some test databases, with room to spare

INITDB_OPTIONS = [
    "--username=postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--no-sync",
]
SETTINGS = {
    "listen_addresses": "",
    "timezone": "UTC",
    "log_checkpoints": "off",
}
# Data that is thrown away at the end need not survive a power cut. What the tests do kill is a
# process, and the kernel keeps what a killed process has written. Autovacuum would only run into
# the tests at a moment of its own.
DISPOSABLE_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}
# What is loaded into an empty table goes into no log besides.
UNLOGGED_LOADING_SETTINGS = {
    "wal_level": "minimal",
    "max_wal_senders": "0",
}
# PostgreSQL copies no database that a worker of TimescaleDB is connected to. The Apache edition has
# no jobs of users that would need workers.
TIMESCALEDB_SETTINGS = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.max_background_workers": "0",
    "timescaledb.telemetry_level": "off",
}


class Server:
    """A server that listens on a Unix socket only and trusts everybody who can reach it."""

    def __init__(self, name: str, socket_folder: Path, data: Path, command: Sequence[str]) -> None:
        """`data`: its files. `command`: what runs it in the foreground."""
        self.name = name
        self.socket_folder = socket_folder
        self.data = data
        self._command = command
        self._log = socket_folder / "log"
        self._asking: psycopg.Connection[Any] | None = None

    def url(self, database: str = "postgres", role: str = "postgres") -> str:
        return f"postgresql://{role}@/{database}?host={self.socket_folder}"

    def execute(self, statement: str) -> None:
        """Run one statement in the server's own database, outside a transaction."""
        try:
            self._kept().execute(statement.encode())
        except psycopg.OperationalError:
            # It did not outlive what happened to the server; a new one says whether that does.
            self._ask_no_more()
            self._kept().execute(statement.encode())

    def _kept(self) -> psycopg.Connection[Any]:
        """A new one for each statement would cost as much as most of them."""
        if self._asking is None:
            self._asking = psycopg.connect(self.url(), autocommit=True)
        return self._asking

    def _ask_no_more(self) -> None:
        if self._asking is not None:
            self._asking.close()
            self._asking = None

    def start(self) -> None:
        """Run it, until it answers."""
        with self._log.open("a") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=output)
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                psycopg.connect(self.url()).close()
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > give_up:
                    self.end(signal.SIGQUIT)
                    raise RuntimeError(
                        f"the {self.name} server did not start:\n{self._log.read_text()}"
                    ) from error
                time.sleep(0.02)
            else:
                return

    def end(self, number: signal.Signals) -> None:
        """Send its process this signal, and wait for its end."""
        self._ask_no_more()
        self._process.send_signal(number)
        self._process.wait()

    @property
    def has_ended(self) -> bool:
        """True if its process is gone."""
        return self._process.poll() is not None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile it does not run: nobody is waited for, and what was committed is kept."""
        self.end(signal.SIGINT)
        try:
            yield
        finally:
            self.start()


def embedded_server(
    *,
    durable: bool = False,
    on_disk: bool = False,
    disk: Path | None = None,
    kept: Path | None = None,
) -> AbstractContextManager[Server]:
    """The PostgreSQL that meterd starts when no database is configured, as the wheel brings it.

    `durable`: keep promises as in the field (fsync, on the disk), for a bench that measures what
    they cost. `on_disk`: no promises, but more data than there is memory. `disk`: where its data
    lies instead. `kept`: the folder of its data, which is there before or made, and stays."""
    settings = SETTINGS | (UNLOGGED_LOADING_SETTINGS if on_disk else {})
    return _running("embedded", wheel_installation(18), settings, durable, on_disk, disk, kept)


def timescale_server(
    *, durable: bool = False, on_disk: bool = False, kept: Path | None = None
) -> AbstractContextManager[Server]:
    """A PostgreSQL with TimescaleDB. The first call on a machine builds it."""
    settings = SETTINGS | TIMESCALEDB_SETTINGS | (UNLOGGED_LOADING_SETTINGS if on_disk else {})
    return _running(
        "timescaledb", timescaledb_installation(), settings, durable, on_disk, kept=kept
    )


@contextmanager
def _running(
    name: str,
    pginstall: Path,
    settings: dict[str, str],
    durable: bool,
    on_disk: bool,
    own_disk: Path | None = None,
    kept: Path | None = None,
) -> Iterator[Server]:
    # Not the configured temporary folder: the path of a Unix socket has 107 bytes at most.
    disk = Path("/tmp")
    fast = disk if durable or on_disk else _fast_folder(disk)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    own_data = nullcontext(kept) if kept is not None else _temporary_folder(own_disk or fast)
    with _temporary_folder(disk) as home, own_data as data:
        as_user = ["setpriv", "--pdeathsig", "INT"]  # a killed test run takes its server along
        if os.geteuid() == 0:
            # PostgreSQL refuses root, and another user may not look into root's folders: give it a
            # copy in its own.
            shutil.chown(home, "nobody", "nogroup")
            shutil.chown(data, "nobody", "nogroup")
            as_user += ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
            pginstall = copy_installation(pginstall, home, link)
        settings = (
            settings
            | {"unix_socket_directories": str(home)}
            | ({} if durable else DISPOSABLE_SETTINGS)
        )
        options = [f"--{key}={value}" for key, value in settings.items()]
        initdb = [
            *as_user,
            str(pginstall / "bin" / "initdb"),
            "--pgdata",
            str(data),
            *INITDB_OPTIONS,
        ]
        postgres = [*as_user, str(pginstall / "bin" / "postgres"), "-D", str(data), *options]
        is_new = not (data / "PG_VERSION").exists()
        if is_new:
            made = subprocess.run(initdb, capture_output=True, text=True, check=False)
            if made.returncode != 0:
                raise RuntimeError(f"initdb failed:\n{made.stdout}{made.stderr}")
        server = Server(name, home, data, postgres)
        server.start()
        try:
            for role in (OWNER, DAEMON) if is_new else ():
                server.execute(f"CREATE ROLE {role} LOGIN")
            yield server
        finally:
            # At once, without saving, where the data goes with it.
            server.end(signal.SIGQUIT if kept is None else signal.SIGINT)


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="meterd-", dir=parent) as folder:
        yield Path(folder)


def _fast_folder(disk: Path) -> Path:
    """Memory, if there is enough of it: a database is cloned there in a tenth of the time it takes
    on a disk."""
    enough = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_NEEDED_BYTES
    return MEMORY if enough else disk
