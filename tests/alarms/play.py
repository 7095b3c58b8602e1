"""A site of its own for faults: daemon, meters, database, Prometheus with the shortened rules."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from config import prometheus
from daemon.demo.watching import prometheus_beside
from storage.database import OWNER
from tests.acceptance.stage import POOR, ZONE, Stage
from tests.alarms.shortened import shortened
from tests.alarms.watch import Alarm, Watch
from tests.faults.database_faults import statement
from tests.faults.proxy import Proxy
from tests.faults.scene import Scene, own_database, scene
from tests.servers.packages import program
from tests.servers.ports import free_port
from tests.servers.postgres import Server

SCRAPE_S: Final = 2
READY_S: Final = 180.0
"""On a machine that does other things too."""
LISTENER: Final = """
[[listener]]
name = "gprs"
listen = "127.0.0.1:{port}"
terminals = "terminals.csv"
registration = {{ text = "REG:{{id:8}}\\r\\n" }}

[backup]
directory = "backups"

[spool]
max_mb = 1
"""


@dataclass(frozen=True)
class Play:
    """What a story has at hand."""

    scene: Scene
    watch: Watch
    listener_port: int

    @property
    def staged(self) -> Stage:
        return self.scene.staged

    @property
    def converter(self) -> Proxy:
        """The daemon's way to gate-1."""
        return self.scene.converter

    @property
    def database(self) -> Proxy:
        return self.scene.database

    def start(self, **environment: str) -> None:
        """The daemon, until it is asked by Prometheus and has looked at everything once."""
        self.staged.start_daemon(**environment)
        self.staged.until("it is ready", lambda: bool(self.staged.health()), READY_S)

    def until_scraped(self) -> None:
        """The daemon that runs now has answered Prometheus."""
        began = time.time()
        self.staged.until("it is scraped", lambda: self.watch.scraped_at() > began)

    def kill(self) -> None:
        """It is ended as by the kernel when memory is short."""
        self.staged.kill_daemon()

    def restart(self, **environment: str) -> None:
        self.staged.stop_daemon(within_s=READY_S)
        self.start(**environment)

    def as_superuser(self, *statements: str) -> None:
        statement(self.scene, *statements)

    def rewrite(self, file: str, old: str, new: str) -> None:
        """In a file of the site."""
        path = self.staged.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def until_poor_is_cut(self) -> None:
        self.staged.until(
            "the poor customer is cut",
            lambda: self.staged.supply_of(POOR) == "disconnected",
            READY_S,
        )

    def add_meter(self, address: str, opens: str, **more: str) -> None:
        """One more meter on gate-1, and its customer; the daemon takes it in."""
        self.staged.bench.add_meter("gate-1", address)
        add_rows(self.staged.folder, "gate-1", [address], opens, is_billed=True, **more)
        self.staged.meterd("reload")

    def signal(self, number: signal.Signals) -> None:
        """To the daemon."""
        assert self.staged.daemon is not None
        self.staged.daemon.send_signal(number)


@contextmanager
def playing(
    server: Server,
    folder: Path,
    alarms: list[Alarm],
    *,
    days: int,
    more_meters: str = "",
    data: Path | None = None,
    zone: str = ZONE,
) -> Iterator[Play]:
    """A prepared site; the daemon is not started yet. `alarms`: where it is written what fired;
    `data`: where its data directory lies."""
    folder.mkdir()
    with ExitStack() as opened:
        url = opened.enter_context(own_database(server, folder.name))
        scened = opened.enter_context(
            scene(server, url, folder / "site", days=days, more_meters=more_meters, zone=zone)
        )
        staged = scened.staged
        port = free_port()
        (staged.folder / "terminals.csv").write_text("line,terminal\ndtu-1,00008601\n")
        (staged.folder / "migration-url").write_text(server.url(folder.name, OWNER))
        text = staged.site.read_text(encoding="utf-8") + LISTENER.format(port=port)
        text = text.replace(
            'url = { file = "database-url" }',
            'url = { file = "database-url" }\nmigration_url = { file = "migration-url" }',
        )
        if data is not None:
            text = text.replace('data_directory = "data"', f'data_directory = "{data}"')
        staged.site.write_text(text, encoding="utf-8")
        rules = folder / "rules.yml"
        rules.write_text(shortened(prometheus.RULES.read_text(encoding="utf-8")), encoding="utf-8")
        at = opened.enter_context(
            prometheus_beside(
                folder,
                staged.http_port,
                program("prometheus", ["prometheus"]),
                every_s=SCRAPE_S,
                rules=rules,
            )
        )
        watch = Watch(at, alarms)
        opened.enter_context(watch.looking())
        yield Play(scened, watch, port)


def add_rows(
    folder: Path,
    line: str,
    addresses: list[str],
    opens: str,
    *,
    is_billed: bool = True,
    **more: str,
) -> None:
    """Meters of the archive with what else is known of them, each with a point, and if it is billed
    a customer who has paid nothing."""
    for address in addresses:
        point, account = f"P{int(address)}", f"C{int(address)}" if is_billed else ""
        meter = {"address": address, "line": line, "point": point, "installed_on": opens}
        _add_row(folder / "meters.csv", meter | more)
        _add_row(folder / "points.csv", {"point": point, "account": account})
        terms = {"tariff": "home", "open_from": opens, "agreement": f"A-{int(address)}"}
        if is_billed:
            _add_row(folder / "accounts.csv", {"account": account} | terms)


def _add_row(path: Path, row: Mapping[str, str]) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file), row]
    columns = list(dict.fromkeys(it for known in rows for it in known))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(rows)
