"""meterd policy: what has to be so before somebody is cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import time, timedelta
from pathlib import Path
from typing import Any, Final

import click

from config.settings import PolicySettings
from config.settings_file import SettingsFile
from daemon.cli.output import as_json, echo, fail, print_columns, print_json, print_json_rows
from daemon.cli.site_option import site_option
from daemon.cli.typed import Text
from daemon.control.guard import Policy
from daemon.control.policies import widened

STRICT: Final = "cn_strict"
OF_SITE: Final = "site"


@click.group()
def policy() -> None:
    """When, and after which notices, somebody may be cut."""


@policy.command()
@click.argument("name", metavar="[POLICY]", type=Text(), required=False)
@site_option
@as_json
def show(name: str | None, site_path: Path, as_json: bool) -> None:
    """All that POLICY asks for; without a name, the names."""
    policies = _policies(site_path)
    if name is None:
        rows = [
            {"policy": it, "asks_for_less_than_strict_in": widened(policies[STRICT], policies[it])}
            for it in policies
        ]
        if as_json:
            print_json_rows(rows)
        else:
            print_columns(
                {"policy": "policy", "asks for less than cn_strict in": "less"},
                [{**row, "less": ", ".join(row["asks_for_less_than_strict_in"])} for row in rows],
            )
        return
    if name not in policies:
        raise fail(f"no policy {name}; there are {', '.join(policies)}")
    told = {field: _in_words(value) for field, value in asdict(policies[name]).items()}
    if as_json:
        print_json({"policy": name, **told})
    else:
        print_columns(
            {"of the policy": "field", name: "value"},
            [{"field": field, "value": value} for field, value in told.items()],
        )


@policy.command()
@site_option
@as_json
def check(site_path: Path, as_json: bool) -> None:
    """In what the site's own policies ask for less than the strict one; exit 1 if any does.

    Mistakes in meterd.toml are named first, as meterd check does."""
    policies = _policies(site_path)
    settings = SettingsFile.read(site_path).validated(PolicySettings)
    own = [OF_SITE, *(it.name for it in settings.policy)]
    found = {name: widened(policies[STRICT], policies[name]) for name in own}
    if as_json:
        print_json(found)
    for name, fields in found.items():
        if not as_json:
            less = f"asks for less than {STRICT} in {', '.join(fields)}"
            echo(f"{name}: {less if fields else f'asks for as much as {STRICT}, or more'}")
    if any(found.values()):
        raise SystemExit(1)


def _policies(site_path: Path) -> Mapping[str, Policy]:
    """By name: the site's, its own, those that come with the program."""
    from daemon.site.assembly import authority_of

    settings = SettingsFile.read(site_path).validated(PolicySettings)
    authority = authority_of(settings.control, settings.policy, settings.site.zone)
    return {OF_SITE: authority.policy, **authority.profiles}


def _in_words(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"{value / timedelta(hours=1):g} h"
    if value == time.max:
        return "24:00"
    if isinstance(value, frozenset):
        return f"{len(value)} days" if value else "none"
    return "none" if value is None else str(value)
