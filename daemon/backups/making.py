"""Make a backup, of one moment, while the daemon works."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

from psycopg import IsolationLevel

from daemon.backups import folder
from daemon.backups.programs import program, run
from daemon.runtime.supervision import in_thread
from protocols.errors import MeterdError
from storage import backup, seals
from storage.database import connect


@dataclass(frozen=True, slots=True)
class Source:
    """What is backed up: the site's name, its meterd.toml and other `files`, database and spool.

    `url` is of a role that may read every table."""

    site: str
    settings: Path
    files: Collection[Path]
    url: str
    spool: Path


async def make(source: Source, directory: Path, *, now: datetime | None = None) -> Path:
    """The folder of a new backup in `directory`, which is made if need be.

    Nothing is left of one that fails. MeterdError says why; psycopg.Error from the database."""
    made_at = now or datetime.now(UTC)
    place = directory / folder.name_of(made_at)
    _refuse_second(place)
    folder.forget_unfinished(directory, made_at)
    with tempfile.TemporaryDirectory(prefix=folder.UNFINISHED, dir=directory) as unfinished:
        part = Path(unfinished) / place.name
        part.mkdir(mode=0o700)
        base = source.settings.parent
        for path, name in folder.copies([source.settings, *source.files], base):
            _copy(path, part / folder.SITE / name)
        _copy_spool(source.spool, part / folder.SPOOL)
        manifest = await _database(source, part, made_at)
        folder.finish(part, manifest, place)
    return place


async def _database(source: Source, part: Path, made_at: datetime) -> folder.Manifest:
    connection = await connect(source.url)
    async with connection:
        await backup.begin(connection)
        await connection.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        async with connection.transaction():
            server = await backup.server(connection)
            dump = partial(
                run,
                program("pg_dump", server.major),
                source.url,
                "--format=custom",
                f"--snapshot={await backup.snapshot(connection)}",
                f"--file={part / folder.DUMP}",
            )
            tables = await backup.contents(connection)
            last = await seals.last_block(connection)
            await in_thread(dump)
    return folder.Manifest(
        form=folder.FORM,
        made_at=made_at,
        program=version("meterd"),
        site=source.site,
        settings=f"{folder.SITE}/{source.settings.name}",
        server=server,
        tables=tables,
        chain=None if last is None else (last.number, last.hash.hex()),
        files=folder.digests(part),
    )


def _refuse_second(place: Path) -> None:
    """Two of one second would have one name."""
    if place.exists():
        raise MeterdError(f"{place} is there already; a second later there can be another")
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)


def _copy_spool(spool: Path, to: Path) -> None:
    """What waited on disk. A file that was stored and removed meanwhile is in the database."""
    to.mkdir()
    for path in sorted(spool.glob("*.spool")):
        try:
            shutil.copyfile(path, to / path.name)
        except FileNotFoundError:
            continue
