"""What commands share that set and lift marks: of whom, from when, and the second person."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_columns, print_json, print_json_rows
from daemon.cli.saying import said_by
from daemon.cli.typed import Text, in_zone
from daemon.control.ramp import Ramp
from daemon.transactions.supply_marks import Marked, agree_to_lift, lift_mark, set_mark
from storage import marks

SCOPES: Final = ("area", "line", "account", "point")
F = TypeVar("F", bound=Callable[..., Any])


def scope_options(*scopes: str) -> Callable[[F], F]:
    """The options of what is of a part of the site: these of SCOPES."""

    def with_them(command: F) -> F:
        for name in reversed(scopes):
            command = click.option(f"--{name}", type=Text(), help=f"Of this {name}.")(command)
        return command

    return with_them


def scope_of(saying: Mapping[str, Any]) -> dict[str, str]:
    """What was named by `scope_options`."""
    return {name: saying[name] for name in SCOPES if saying.get(name)}


def set_and_tell(
    kind: str,
    saying: Mapping[str, Any],
    *,
    whole_site: bool,
    ramp: Ramp | None = None,
) -> None:
    """Set a mark of one of SCOPES, or of the whole site where that may be.

    `saying`: what `speaking_options` and `scope_options` took in, `from_at` and `until` where the
    command has them."""
    named = scope_of(saying)
    if len(named) > 1 or not (named or whole_site):
        known = ", ".join(f"--{name}" for name in SCOPES if name in saying)
        raise click.UsageError(f"say one of {known}")
    settings = load_settings(saying["site_path"])
    zone = settings.site.zone
    begins, ends = saying.get("from_at"), saying.get("until")
    from_at = None if begins is None else in_zone(begins, zone, "--from")
    to_at = None if ends is None else in_zone(ends, zone, "--until")
    if from_at is not None and to_at is not None and from_at >= to_at:
        raise click.UsageError("--from must be before --until")
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> int:
        return await set_mark(
            connection, kind, Marked(**named), said, from_at=from_at, to_at=to_at, ramp=ramp
        )

    number = on_database(settings, ask)
    if saying["as_json"]:
        print_json({"mark": number, "kind": kind, **named})
        return
    of = " ".join(f"{name} {value}" for name, value in named.items()) or "the whole site"
    echo(f"mark {number}: {kind} of {of}")


def lift_and_tell(number: int, kinds: Collection[str], saying: Mapping[str, Any]) -> None:
    """Lift a mark of one of these kinds."""
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> str:
        return await lift_mark(connection, number, kinds, said)

    state = on_database(load_settings(saying["site_path"]), ask)
    if saying["as_json"]:
        print_json({"mark": number, "state": state})
    elif state == "lifted":
        echo(f"mark {number} is lifted")
    else:
        site_path = saying["site_path"]
        at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
        echo(f"mark {number} holds until a second person agrees:")
        echo(f"  meterd protect agree {number} --actor NAME{at}")


def agree_and_tell(number: int, actor: str, site_path: Path, *, as_json: bool) -> None:
    """The second person agrees."""

    async def ask(connection: AsyncConnection[Any]) -> None:
        await agree_to_lift(connection, number, actor)

    on_database(load_settings(site_path), ask)
    if as_json:
        print_json({"mark": number, "state": "lifted"})
        return
    echo(f"mark {number} is lifted")


def list_marks(kinds: Collection[str], site_path: Path, *, all_times: bool, as_json: bool) -> None:
    """Print the marks of these kinds."""

    async def ask(connection: AsyncConnection[Any]) -> list[dict[str, Any]]:
        return await marks.marks(connection, kinds, all_times=all_times)

    rows = on_database(load_settings(site_path), ask)
    if as_json:
        print_json_rows(rows)
        return
    print_columns(
        {
            "mark": "number",
            "kind": "kind",
            "of": "of",
            "from": "from_at",
            "to": "to_at",
            "set by": "actor",
            "why": "reason",
            "to be lifted by": "lift_actor",
            "lifted": "lifted_at",
        },
        [{**row, "of": _of(row)} for row in rows],
    )


def _of(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {row[name]}" for name in SCOPES if row[name]) or "the whole site"
