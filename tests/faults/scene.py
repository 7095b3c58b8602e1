"""The installed daemon, its simulated meters and a real PostgreSQL, with ways between them that
break.

with scene(server, url, folder, seed=7) as played:
    played.staged.start_daemon()
    played.database.hang()"""

from __future__ import annotations

import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage import migrate
from storage.database import DAEMON, OWNER
from tests.acceptance.stage import ZONE, Stage, stage
from tests.faults.proxy import Proxy, proxy_to
from tests.servers.postgres import Server

DAYS: Final = 6
LOOK_S: Final = 0.05
SOCKET: Final = ".s.PGSQL.5432"
LINE: Final = "gate-1"
"""The line whose converter is behind a way that breaks."""


@dataclass(frozen=True)
class Scene:
    """`database` and `converter`: the daemon's only ways to its database and to the meters of
    LINE. The stage's own questions go past the way to the database."""

    staged: Stage
    server: Server
    database: Proxy
    converter: Proxy

    @property
    def database_name(self) -> str:
        return str(conninfo_to_dict(self.staged.url)["dbname"])

    def storing(self) -> dict[str, Any]:
        """What the daemon says of its way into the database."""
        found: dict[str, Any] = self.staged.health()["storing"]
        return found


@contextmanager
def scene(
    server: Server,
    url: str,
    folder: Path,
    *,
    seed: int = 1,
    days: int = DAYS,
    more_meters: str = "",
    zone: str = ZONE,
) -> Iterator[Scene]:
    """A prepared site on the database of this URL; the daemon is not started yet."""
    with (
        stage(folder, url, seed=seed, days=days, more_meters=more_meters, zone=zone) as staged,
        proxy_to(server.socket_folder / SOCKET) as database,
        proxy_to(_converter(staged)) as converter,
    ):
        behind = make_conninfo(url, host="127.0.0.1", port=database.port)
        (folder / "database-url").write_text(behind)
        host, port = _converter(staged)
        text = staged.site.read_text()
        text = text.replace(f'"{host}:{port}"', f'"127.0.0.1:{converter.port}"')
        staged.site.write_text(text)
        yield Scene(staged, server, database, converter)


@contextmanager
def own_database(server: Server, name: str) -> Iterator[str]:
    """The URL of a migrated database that nobody else uses."""
    server.execute(f"CREATE DATABASE {name} OWNER {OWNER}")
    try:
        migrate(server.url(name, DAEMON), server.url(name, OWNER))
        yield server.url(name, DAEMON)
    finally:
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _converter(staged: Stage) -> tuple[str, int]:
    lines = tomllib.loads(staged.site.read_text())["line"]
    (place,) = (line["tcp"] for line in lines if line["name"] == LINE)
    host, _, port = place.rpartition(":")
    return host, int(port)


@dataclass(frozen=True)
class Look:
    """What `/healthz` said. `at`: monotonic; `shown` None where nobody answered."""

    at: float
    took_s: float
    shown: dict[str, Any] | None


@dataclass
class Watch:
    """Looks at `/healthz` all the time, as a monitor would."""

    staged: Stage
    looks: list[Look] = field(default_factory=list)

    @contextmanager
    def looking(self) -> Iterator[None]:
        ended = threading.Event()
        watching = threading.Thread(target=self._look, args=(ended,))
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()

    def took_s(self, quantile: float) -> float:
        """So many of the answers took no longer."""
        times = sorted(look.took_s for look in self.looks if look.shown is not None)
        return times[min(len(times) - 1, int(len(times) * quantile))]

    def first_after(self, at: float, *, ok: bool) -> float | None:
        """How long after this moment `database` was first shown as ok, or as anything else."""
        for look in self.looks:
            if look.at < at or look.shown is None:
                continue
            if (look.shown["database"] == "ok") is ok:
                return look.at - at
        return None

    def _look(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_S):
            began = time.monotonic()
            try:
                shown = self.staged.health()
            except OSError:
                shown = None
            now = time.monotonic()
            self.looks.append(Look(now, now - began, shown))
