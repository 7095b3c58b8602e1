"""meterd verify: a backup is worth what can be restored from it."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import click
import psycopg

from config.bounded_file import read_file
from daemon.backups import folder
from daemon.backups.restoring import restore
from daemon.cli.output import as_json, echo, fail, print_json
from daemon.runtime import logs
from storage.database import Database, open_database

backup_argument = click.argument(
    "backup_folder",
    metavar="BACKUP",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)


@click.command()
@backup_argument
@click.option(
    "--server",
    "url_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file with the URL of an empty database to restore into; needed for TimescaleDB.",
)
@as_json
def verify(backup_folder: Path, url_file: Path | None, as_json: bool) -> None:
    """Restore a backup into a database of its own and compare.

    Files by their hashes, every table by its rows and a sum over them, the ledger by its sealed
    blocks. The site is not touched.

    Exit code 1, and what differs, if anything does."""
    logs.configure(level="warning")
    manifest = folder.read(backup_folder)
    folder.compare_files(backup_folder, manifest)
    if url_file is None and manifest.server.timescaledb is not None:
        raise fail("this backup is of a database with TimescaleDB: name an empty one by --server")
    with tempfile.TemporaryDirectory(prefix="meterd-verify-") as scratch:
        Path(scratch).chmod(0o755)  # the embedded server of root is another user's
        with _scratch(url_file, Path(scratch)) as database:
            try:
                restored = asyncio.run(restore(backup_folder, manifest, database))
            except psycopg.Error as error:
                raise fail(f"it cannot be restored: {str(error).strip()}") from None
    if as_json:
        print_json(
            {
                "backup": str(backup_folder),
                "site": manifest.site,
                "made_at": manifest.made_at,
                "tables": restored.tables,
                "rows": restored.rows,
                "blocks": restored.verified.last,
            }
        )
        return
    echo(
        f"{backup_folder}: {manifest.site} as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, "
        f"{restored.rows} rows of {restored.tables} tables and {restored.verified.last} sealed "
        "blocks came out as they went in"
    )


def _scratch(url_file: Path | None, directory: Path) -> AbstractContextManager[Database]:
    url = None if url_file is None else read_file(url_file).decode().strip()
    return open_database(url, directory)
