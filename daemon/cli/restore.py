"""meterd restore: a backup becomes the site again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import psycopg

from config.secret import revealed
from config.settings import BackupSettings
from config.settings_file import SettingsFile
from daemon.backups import folder
from daemon.backups.restoring import hold_cuts, lay_out, refuse_taken
from daemon.backups.restoring import restore as put_back
from daemon.cli.actor import acting, actor_option
from daemon.cli.output import as_json, echo, fail, print_json
from daemon.cli.site_option import site_option
from daemon.cli.verify import backup_argument
from daemon.runtime import logs
from storage.database import open_database


@click.command()
@backup_argument
@site_option
@actor_option
@as_json
def restore(backup_folder: Path, site_path: Path, actor: str | None, as_json: bool) -> None:
    """Put a backup back where no site is.

    It goes into the empty database that meterd.toml names, or a new embedded one. Where there is no
    meterd.toml, the files of the site are laid beside it first.

    Everything is compared as by `meterd verify`. Then cuts are held for the whole site: payments
    that came after the backup are not in it. Bring them in again, and `meterd supply release` the
    mark that is named."""
    logs.configure(level="warning")
    manifest = folder.read(backup_folder)
    folder.compare_files(backup_folder, manifest)
    if not site_path.exists():
        if site_path.name != Path(manifest.settings).name:
            raise fail(f"the site's file is called {Path(manifest.settings).name} in the backup")
        base = site_path.absolute().parent
        files = lay_out(backup_folder, folder.SITE, base)
        echo(f"{len(files)} files of the site are in {base}", err=as_json)
        for path, was in folder.from_elsewhere(files, base):
            echo(f"{path} was {was}: put it there, or change meterd.toml", err=as_json)
    settings = SettingsFile.read(site_path).validated(BackupSettings)
    if settings.site.name != manifest.site:
        raise fail(
            f"the backup is of {manifest.site}, {site_path} of {settings.site.name}: "
            "one of them is the wrong one"
        )
    who = acting(actor)
    spool = settings.site.data_directory / folder.SPOOL
    refuse_taken(backup_folder, folder.SPOOL, spool)
    opened = open_database(
        revealed(settings.database.url),
        settings.site.data_directory,
        owner=revealed(settings.database.migration_url),
    )
    with opened as database:
        try:
            restored = asyncio.run(put_back(backup_folder, manifest, database))
            mark = asyncio.run(hold_cuts(database.url, manifest, who))
        except psycopg.Error as error:
            raise fail(f"it cannot be restored: {str(error).strip()}") from None
    waiting = len(lay_out(backup_folder, folder.SPOOL, spool))
    if as_json:
        print_json(
            {
                "site": manifest.site,
                "made_at": manifest.made_at,
                "rows": restored.rows,
                "tables": restored.tables,
                "blocks": restored.verified.last,
                "spool_files": waiting,
                "mark": mark,
            }
        )
        return
    echo(
        f"{manifest.site} is as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC: {restored.rows} rows "
        f"of {restored.tables} tables, {restored.verified.last} sealed blocks, all as they were"
    )
    echo(f"cuts are held (mark {mark}): bring in the payments since then, then")
    at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
    echo(f"  meterd supply release {mark} --reason WHY{at}")
