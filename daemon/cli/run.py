"""meterd run: the daemon."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import get_args

import click

from config.load import load_site
from config.problems import told_once
from config.translation import ENGLISH, words_of
from daemon.cli.output import fail
from daemon.cli.site_option import site_option
from daemon.runtime import logs
from daemon.runtime.late_logs import LateLogger

log = LateLogger("daemon")


@click.command()
@site_option
@click.option(
    "--log-format",
    "form",
    type=click.Choice(get_args(logs.Form)),
    help="Instead of log.format; journal: the system's, field by field.",
)
def run(site_path: Path, form: logs.Form | None) -> None:
    """Run the daemon until SIGTERM or Ctrl-C. Logs go to standard error.

    Wrong configuration ends it with exit code 78 before anything is opened.
    """
    site = load_site(site_path)
    form = form or site.settings.log.format
    try:
        logs.configure(form, site.settings.log.level)
    except OSError as error:
        raise fail(f"log format {form}: there is no journal here ({error.strerror})") from None
    for warning in told_once(site.warnings, words_of(ENGLISH)):
        log.warning("configuration", warning=warning)
    # The daemon's imports come after the check: wrong files are told at once.
    import psycopg

    from daemon import app

    try:
        import uvloop
    except ImportError:
        new_loop = None
    else:
        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        try:
            runner.run(app.run(site))
        except asyncio.CancelledError:
            return  # asked to stop before it was ready
        except psycopg.OperationalError as error:
            raise fail(f"the database cannot be reached: {str(error).strip()}") from None
        except psycopg.Error as error:
            raise fail(f"the database cannot be used: {str(error).strip()}") from None
