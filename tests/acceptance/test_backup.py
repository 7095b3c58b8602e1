"""A backup is made while the daemon works, proved by being restored, and put back elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stage import Stage, stage
from tests.conftest import new_database
from tests.servers.commands import METERD
from tests.servers.postgres import Server

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]


@pytest.fixture
def site(database_url: str, owner_url: str, tmp_path: Path) -> Iterator[Stage]:
    """A site that has read and billed, and goes on."""
    with stage(tmp_path / "site", database_url, mode="shadow") as staged:
        (staged.folder / "migration-url").write_text(owner_url)
        settings = staged.site.read_text()
        url = 'url = { file = "database-url" }'
        assert url in settings
        owner = 'migration_url = { file = "migration-url" }'
        staged.site.write_text(settings.replace(url, f"{url}\n{owner}"))
        staged.start_daemon()
        staged.until("what can be read is read", lambda: staged.slots_missing() == 0)
        staged.until("a block is sealed", lambda: staged.ask("SELECT FROM sealed_block") != [])
        yield staged


@pytest.fixture
def empty_url(server: Server) -> Iterator[str]:
    """A database with nothing in it, as a superuser: TimescaleDB lets nobody else restore."""
    with new_database(server, "template1") as name:
        yield server.url(name)


@pytest.fixture
def second_empty_url(server: Server) -> Iterator[str]:
    with new_database(server, "template1") as name:
        yield server.url(name)


def meterd(*arguments: str | Path, code: int = 0) -> str:
    done = subprocess.run([METERD, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def made_of(site: Stage) -> Path:
    told = meterd("backup", "--to", site.folder / "backups", "-c", site.site, "--json")
    return Path(json.loads(told)["backup"])


def balances(site_path: Path) -> dict[str, Any]:
    told = meterd("account", "list", "--json", "-c", site_path)
    rows = [json.loads(line) for line in told.splitlines()]
    return {row["id"]: row["balance_fen"] for row in rows}


@pytest.mark.hypertables
def test_what_was_backed_up_is_proved_and_comes_out_and_cuts_are_held(
    site: Stage, empty_url: str, second_empty_url: str, tmp_path: Path
) -> None:
    made = made_of(site)
    site.stop_daemon()
    before = balances(site.site)

    other = tmp_path / "other"
    other.mkdir()
    (other / "database-url").write_text(empty_url)
    (other / "migration-url").write_text(empty_url)
    told = json.loads(
        meterd("restore", made, "-c", other / "meterd.toml", "--actor", "chen", "--json")
    )

    assert told["blocks"] >= 1
    assert balances(other / "meterd.toml") == before
    held = meterd("supply", "holds", "-c", other / "meterd.toml")
    assert "payments since then may be missing" in " ".join(held.split())
    refused = meterd("restore", made, "-c", other / "meterd.toml", code=1)
    assert "holds tables already" in refused

    scratch = tmp_path / "scratch-url"
    scratch.write_text(second_empty_url)
    manifest = json.loads((made / "manifest.json").read_text())
    manifest["tables"]["journal"]["sum"] += "1"
    (made / "manifest.json").write_text(json.dumps(manifest))
    refused = meterd("verify", made, "--server", scratch, code=1)
    assert f"journal: {manifest['tables']['journal']['rows']} rows" in refused
