"""meterd why: why a point is dark, or that it is not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from psycopg import AsyncConnection

from config.notice_texts import load_texts
from config.settings import NoticeTextSettings
from config.settings_file import SettingsFile
from config.translation import ENGLISH, LANGUAGES
from daemon.cli.on_site import on_database
from daemon.cli.output import as_json, echo, fail, print_json_rows
from daemon.cli.site_option import site_option
from daemon.notices import why as rules
from daemon.notices.wording import minute
from storage import supply
from storage import why as storage


@click.command()
@click.argument("name", metavar="POINT|ACCOUNT")
@click.option(
    "--language",
    type=click.Choice(LANGUAGES),
    default=ENGLISH,
    show_default=True,
    help="Of the sentence: English, or Chinese.",
)
@site_option
@as_json
def why(name: str, language: str, site_path: Path, as_json: bool) -> None:
    """Why a point, or each point of an account, is dark, in one sentence with its evidence.

    It is said from what meters told; nothing is asked of them now."""
    file = SettingsFile.read(site_path)
    settings = file.validated(NoticeTextSettings)
    zone = settings.site.zone
    is_shadow = settings.control.mode == "shadow"
    texts = load_texts(settings.notices.texts, file.base)[language]

    async def ask(connection: AsyncConnection[Any]) -> list[rules.Why]:
        points = await storage.points_asked_for(connection, name)
        if not points:
            raise fail(f"no point and no account with points {name}")
        now = await supply.database_clock(connection)
        today = now.astimezone(zone).date()
        known = await storage.supplies(connection, points, rules.PointSupply, now=now, today=today)
        return [rules.why(it, texts, zone, now, shadow_mode=is_shadow) for it in known]

    found = on_database(settings, ask)
    if as_json:
        print_json_rows(asdict(it) for it in found)
        return
    for it in found:
        echo(f"{it.point}  {it.sentence}")
        told = "; ".join([*it.evidence, minute(it.seen_at, zone)])
        echo(f"  {told}")
