"""meterd account policy: by which policy an account is cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from psycopg import AsyncConnection

from config.settings import PolicySettings
from config.settings_file import SettingsFile
from daemon.cli.actor import acting
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_columns, print_json, print_json_rows
from daemon.cli.saying import said_by, speaking_options
from daemon.cli.typed import Text
from storage import account_policies

OF_SITE: Final = "site"
"""Instead of a name: the site's again."""


@click.command(short_help="Show or choose by which policy an account is cut.")
@click.argument("account_id", metavar="ACCOUNT", type=Text())
@click.argument("name", metavar="[POLICY]", type=Text(), required=False)
@click.option("--agree", is_flag=True, help="As the second person, to the policy that waits.")
@speaking_options
def policy(account_id: str, name: str | None, *, agree: bool, **saying: Any) -> None:
    """Choose POLICY for an account; without it, show which ones it had.

    A policy of meterd.toml or one that comes with the program; "site" is the site's again. Where it
    lets be cut who was not, a second person has to agree."""
    if agree and name:
        raise click.UsageError("who agrees, agrees to the policy that waits: leave POLICY out")
    settings = SettingsFile.read(saying["site_path"]).validated(PolicySettings)
    if agree:
        _agree(settings, account_id, saying)
    elif name:
        _choose(settings, account_id, name, saying)
    else:
        _show(settings, account_id, as_json=saying["as_json"])


def _choose(settings: PolicySettings, account: str, name: str, saying: dict[str, Any]) -> None:
    from daemon.site.assembly import authority_of
    from daemon.transactions.account_policy import State, choose_policy

    authority = authority_of(settings.control, settings.policy, settings.site.zone)
    chosen = None if name == OF_SITE else name
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> tuple[State, list[str]]:
        return await choose_policy(connection, authority, account, chosen, said)

    state, wider = on_database(settings, ask)
    if saying["as_json"]:
        print_json({"account": account, "policy": chosen, "state": state, "wider_in": wider})
    elif state == "counts":
        echo(f"account {account} has the policy {name}")
    else:
        at = "" if saying["site_path"] == Path("meterd.toml") else f" -c {saying['site_path']}"
        echo(f"it asks for less in {', '.join(wider)}: a second person has to agree")
        echo(f"  meterd account policy {account} --agree --actor NAME{at}")


def _agree(settings: PolicySettings, account: str, saying: dict[str, Any]) -> None:
    from daemon.transactions.account_policy import agree_to_policy

    actor = acting(saying["actor"])

    async def ask(connection: AsyncConnection[Any]) -> str | None:
        return await agree_to_policy(connection, account, actor)

    name = on_database(settings, ask)
    if saying["as_json"]:
        print_json({"account": account, "policy": name, "state": "counts"})
    else:
        echo(f"account {account} has the policy {name or OF_SITE}")


def _show(settings: PolicySettings, account: str, *, as_json: bool) -> None:
    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await account_policies.account_policies(connection, account)

    rows = on_database(settings, ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "policy": "named",
            "waits": "waits",
            "said by": "actor",
            "why": "reason",
            "agreed by": "second",
            "when": "at",
        },
        [{**row, "named": row["profile"] or OF_SITE} for row in rows],
    )
