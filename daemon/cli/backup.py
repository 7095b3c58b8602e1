"""meterd backup: everything that a site is, in one folder."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import click
import psycopg

from config.secret import revealed
from config.settings import BackupSettings
from config.settings_file import SettingsFile
from daemon.backups import folder
from daemon.backups.making import Source, make
from daemon.cli.output import as_json, echo, fail, print_json
from daemon.cli.site_option import site_option
from daemon.cli.typed import Whole
from daemon.runtime import logs
from protocols.errors import MeterdError
from storage.database import open_database

TABLES: Final = (".csv", ".xlsx")


@click.command()
@click.option(
    "--to",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where backups are kept; default: backup.directory of meterd.toml.",
)
@click.option("--keep", type=Whole(1), help="Remove all but the newest so many afterwards.")
@site_option
@as_json
def backup(directory: Path | None, keep: int | None, site_path: Path, as_json: bool) -> None:
    """Write a new folder with all that the site is. The daemon may be running or not.

    In it are the database as it is at one moment, the files of the site, and the readings that
    wait on disk.

    Secrets are not in it: what meterd.toml names as a file or a credential has to be kept
    elsewhere. That it can be restored is shown by `meterd verify`."""
    logs.configure(level="warning")
    file = SettingsFile.read(site_path)
    settings = file.validated(BackupSettings)
    to = directory or settings.backup.directory
    if to is None:
        raise click.UsageError("say --to DIRECTORY, or set backup.directory in meterd.toml")
    opened = open_database(
        revealed(settings.database.url),
        settings.site.data_directory,
        owner=revealed(settings.database.migration_url),
        create=False,
    )
    with opened as database:
        source = Source(
            site=settings.site.name,
            settings=site_path.absolute(),
            files=_files(file),
            url=database.owner_url or database.url,
            spool=settings.site.data_directory / folder.SPOOL,
        )
        try:
            made = asyncio.run(make(source, to.absolute()))
        except psycopg.Error as error:
            raise fail(f"the database cannot be read whole: {str(error).strip()}") from None
    manifest = folder.read(made)
    most = keep or settings.backup.keep
    removed = [] if most is None else folder.forget_older(to, manifest.site, most)
    rows = sum(content.rows for content in manifest.tables.values())
    if as_json:
        print_json(
            {
                "backup": str(made),
                "tables": len(manifest.tables),
                "rows": rows,
                "files": len(manifest.files),
                "removed": [str(old) for old in removed],
            }
        )
        return
    echo(f"{made}: {rows} rows of {len(manifest.tables)} tables, {len(manifest.files)} files")
    for old in removed:
        echo(f"{old}: removed")


def _files(file: SettingsFile) -> list[Path]:
    """The files that meterd.toml names, and the tables of the archive's folder.

    Nothing else of that folder: secrets may lie there, and the data."""
    named = [
        file.path_of("site", "tariffs"),
        file.path_of("notices", "texts"),
        *(
            file.base / terminals
            for listener in file.tables("listener")
            if isinstance(terminals := listener.get("terminals"), str)
        ),
    ]
    archive = file.path_of("site", "archive")
    if archive is None or not archive.is_dir():
        raise MeterdError(f"{file.name}: site.archive is no folder: there is no site to back up")
    found = [path for path in sorted(archive.iterdir()) if path.suffix in TABLES]
    return [*found, *(path for path in named if path is not None and path.is_file())]
