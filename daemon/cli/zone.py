"""Whose time a command means that talks to meters: the site's, or a zone that is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from daemon.cli.site_option import site_option

F = TypeVar("F", bound=Callable[..., Any])


class ZoneName(click.ParamType[ZoneInfo]):
    """An IANA time zone."""

    name = "zone"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ZoneInfo:
        """The zone; a wrong use for a name that nobody knows."""
        try:
            return ZoneInfo(str(value))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(f"{value!r} is no IANA time zone, write Asia/Shanghai", param, ctx)


def zone_options(command: F) -> F:
    """The options --zone and --config."""
    named = click.option(
        "--zone", type=ZoneName(), help="Of the meters' clocks; default: that of the site."
    )
    return named(site_option(command))


def zone_of(zone: ZoneInfo | None, site_path: Path) -> ZoneInfo:
    """The same, for what cannot do without. UsageError where neither is known."""
    known = known_zone(zone, site_path)
    if known is None:
        raise click.UsageError(
            "whose time is meant? Name its zone, as in --zone Asia/Shanghai, or the site's file "
            f"with -c ({site_path} is not there)"
        )
    return known


def known_zone(zone: ZoneInfo | None, site_path: Path) -> ZoneInfo | None:
    """The zone that was named, else that of the site; None where neither is known.

    Never this machine's: it may stand anywhere."""
    if zone is not None or not site_path.exists():
        return zone
    from config.settings import ZoneSettings
    from config.settings_file import SettingsFile

    return SettingsFile.read(site_path).validated(ZoneSettings).site.zone
