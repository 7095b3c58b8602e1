"""Whose time a command means that talks to meters: the site's, or a zone that is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import click

from config.values import zone
from daemon.cli.gathered import Command, gathered
from daemon.cli.site_option import site_option


class ZoneName(click.ParamType[ZoneInfo]):
    """An IANA time zone."""

    name = "zone"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> ZoneInfo:
        """The zone; a wrong use for a name that nobody knows."""
        try:
            return zone(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose time is meant. `zone`: the one that was named."""

    zone: ZoneInfo | None
    site_path: Path

    def known(self) -> ZoneInfo | None:
        """The zone that was named, else that of the site; None where neither is known.

        Never this machine's: it may stand anywhere."""
        if self.zone is not None or not self.site_path.exists():
            return self.zone
        from config.settings import ZoneSettings
        from config.settings_file import SettingsFile

        return SettingsFile.read(self.site_path).validated(ZoneSettings).site.zone

    def meant(self) -> ZoneInfo:
        """The same, for what cannot do without. UsageError where neither is known."""
        known = self.known()
        if known is None:
            raise click.UsageError(
                "whose time is meant? Name its zone, as in --zone Asia/Shanghai, or the site's "
                f"file with -c ({self.site_path} is not there)"
            )
        return known


def zone_options(command: Command) -> Command:
    """The options --zone and --config; the command gets them as `whose`."""
    named = click.option(
        "--zone", type=ZoneName(), help="Of the meters' clocks; default: that of the site."
    )
    return named(site_option(gathered("whose", Whose)(command)))
