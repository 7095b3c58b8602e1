"""Put a backup back, and prove that what comes out is what went in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import psycopg
from psycopg import AsyncConnection

from daemon.backups import folder
from daemon.backups.folder import Manifest, NotWhole
from daemon.backups.programs import program, run
from daemon.runtime.supervision import in_thread
from daemon.transactions.sealing import Verified, verify
from daemon.transactions.supply_marks import Marked, set_mark
from protocols.errors import MeterdError
from storage import backup, migrate, seals
from storage.database import Database, connect
from storage.documents import Said
from storage.sql import Connection

HALF_FILLED: Final = (
    "the database is filled by half: when that is mended, begin with an empty one (an embedded one "
    "is the folder postgresql of the data directory)"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What came out as it went in: how many `tables` and `rows`, and the chain of the ledger."""

    tables: int
    rows: int
    verified: Verified


async def restore(backup_folder: Path, manifest: Manifest, database: Database) -> Restored:
    """Fill an empty database from a backup whose files were compared.

    NotWhole when a table, the chain of the ledger or a sealed block is not as it was; MeterdError
    when the database is not empty, or cannot take it."""
    url = database.owner_url or database.url
    async with await connect(url) as connection:
        await backup.begin(connection)
        server = await backup.server(connection)
        if not await backup.is_empty(connection):
            raise MeterdError(
                "the database holds tables already, of a site or of a restore that was broken off; "
                "restore into an empty one"
            )
        if manifest.server.timescaledb is not None:
            await _prepare_timescaledb(connection, manifest.server.timescaledb)
        # It goes on after an error, and is told by it; what came out is compared anyway.
        put = partial(
            run,
            program("pg_restore", max(server.major, manifest.server.major)),
            url,
            "--no-owner",
            "--no-privileges",
            str(backup_folder / folder.DUMP),
        )
        try:
            await in_thread(put)
        except MeterdError as error:
            raise MeterdError(f"{error}\n{HALF_FILLED}") from None
        if manifest.server.timescaledb is not None:
            await connection.execute("SELECT timescaledb_post_restore()")
        await backup.hand_over(connection)
        tables = await backup.contents(connection)
        folder.compare_tables(tables, manifest.tables)
        await in_thread(partial(migrate, database.url, database.owner_url))
        verified = await _chain(connection, manifest)
    return Restored(len(tables), sum(content.rows for content in tables.values()), verified)


async def _prepare_timescaledb(connection: AsyncConnection[object], wanted: str) -> None:
    try:
        await connection.execute(f"CREATE EXTENSION IF NOT EXISTS timescaledb VERSION '{wanted}'")
        await connection.execute("SELECT timescaledb_pre_restore()")
    except psycopg.errors.InsufficientPrivilege as error:
        raise MeterdError(
            "TimescaleDB lets only a superuser of the server restore: for this once name one by "
            "database.migration_url (of `meterd verify`: by --server); what comes out belongs to "
            f"the database's owner all the same ({str(error).splitlines()[0]})"
        ) from None
    except psycopg.Error as error:
        raise MeterdError(
            f"the backup needs a server with TimescaleDB {wanted}: {str(error).strip()}"
        ) from None


async def _chain(connection: Connection, manifest: Manifest) -> Verified:
    last = await seals.last_block(connection)
    chain = None if last is None else (last.number, last.hash.hex())
    if chain != manifest.chain:
        raise NotWhole(f"the ledger's last sealed block is {chain} instead of {manifest.chain}")
    verified = await verify(connection, 1)
    if verified.fault is not None:
        raise NotWhole(f"the ledger is not as it was sealed: {verified.fault}")
    return verified


async def hold_cuts(url: str, manifest: Manifest, actor: str) -> int:
    """Nobody is cut for what the backup does not know: the number of the mark that says so."""
    said = Said(
        actor=actor,
        reason=f"restored from a backup of {manifest.made_at:%Y-%m-%d %H:%M} UTC: payments since "
        "then may be missing",
    )
    async with await connect(url) as connection:
        return await set_mark(connection, "hold", Marked(), said, from_at=None, to_at=None)


def refuse_taken(backup_folder: Path, part: str, to: Path) -> None:
    """MeterdError where a file of a part of the backup would meet one that is there."""
    if taken := [str(place) for _, place in _places(backup_folder, part, to) if place.exists()]:
        raise MeterdError(f"{taken[0]} is there already; move it away first")


def lay_out(backup_folder: Path, part: str, to: Path) -> list[Path]:
    """Copy the files of a part of the backup to where none of them is yet; where they are.

    MeterdError, before anything is written, where one is there."""
    refuse_taken(backup_folder, part, to)
    laid = []
    for path, place in _places(backup_folder, part, to):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
        laid.append(place)
    return laid


def _places(backup_folder: Path, part: str, to: Path) -> list[tuple[Path, Path]]:
    source = backup_folder / part
    found = sorted(path for path in source.rglob("*") if path.is_file())
    return [(path, to / path.relative_to(source)) for path in found]
