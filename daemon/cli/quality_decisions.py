"""meterd quality release, reject, withdraw, substitute, release-link; approve, refuse, waiting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import click
from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.cli.actor import acting, actor_option
from daemon.cli.on_site import on_database
from daemon.cli.output import BAD_DATA, as_json, echo, fail, print_columns, print_json, print_table
from daemon.cli.quality_words import kwh
from daemon.cli.site_option import site_option
from daemon.cli.typed import Day, RegisterList, Text, Whole
from daemon.quality.substitution import METHODS
from daemon.transactions import decisions
from daemon.transactions.decisions import Decided, DecisionRefused, Order
from storage import decisions as storage
from storage.decisions import DecisionRow

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Total(click.ParamType[Decimal]):
    """The total of a register as the meter shows it, kWh."""

    name = "kwh"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        """Exact; a wrong use for anything but one number."""
        registers = RegisterList().convert(value, param, ctx)
        if len(registers) != 1:
            self.fail(f"{value!r}: write the total alone, such as 1234.56", param, ctx)
        return registers[0]


def _said(command: F) -> F:
    for option in (
        as_json,
        site_option,
        actor_option,
        click.option("--reason", type=Text(), required=True, help="Why."),
    ):
        command = option(command)
    return command


def _value(command: F) -> F:
    for argument in (
        click.argument("total", type=Total()),
        click.argument("day", type=Day()),
        click.argument("point"),
    ):
        command = argument(command)
    return _said(command)


@click.command(short_help="The value is right: it is published.")
@_value
@click.option("--rolled-over", is_flag=True, help="The register went over its highest value.")
def release(point: str, day: date, total: Decimal, *, rolled_over: bool, **said: Any) -> None:
    """What was read of POINT for DAY, TOTAL, is right."""
    _decide(said, point=point, day=day, action="release", total=total, rolled_over=rolled_over)


@click.command(short_help="The value is wrong: the day is read again.")
@_value
def reject(point: str, day: date, total: Decimal, **said: Any) -> None:
    """What was read of POINT for DAY, TOTAL, is wrong: equal reads stay rejected."""
    _decide(said, point=point, day=day, action="reject", total=total)


@click.command(short_help="A published value is not to be published.")
@_value
def withdraw(point: str, day: date, total: Decimal, **said: Any) -> None:
    """TOTAL of POINT for DAY is taken back, a release or a substitute too, with its money."""
    _decide(said, point=point, day=day, action="withdraw", total=total)


@click.command(short_help="A value in the place of a reading; others have to approve it.")
@click.argument("point")
@click.argument("day", type=Day())
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    required=True,
    help="; ".join(f"{name}: {words}" for name, words in METHODS.items()) + ".",
)
@click.option("--total", type=Total(), required=True, help="What the register showed, kWh.")
@click.option("--rates", type=RegisterList(), help="Its rates, kWh, with commas between.")
@click.option("--evidence", type=Text(), required=True, help="Where it can be looked up.")
@click.option(
    "--reading",
    metavar="NUMBER",
    type=Whole(-(2**63), 2**63 - 1),
    help="What S3 is worked out from: registers of that day, of meterd readings POINT --raw.",
)
@click.option("--basis", type=click.Choice(["contract", "prevented"]), help="What allows S5.")
@_said
def substitute(
    point: str,
    day: date,
    *,
    method: str,
    total: Decimal,
    rates: tuple[Decimal, ...] | None,
    evidence: str,
    reading: int | None,
    basis: str | None,
    **said: Any,
) -> None:
    """A value of POINT for DAY where no reading is (S1 to S6).

    S3 names what `meterd collect POINT --what registers` kept on DAY (--reading).

    It counts when one other person approved it, S6 when two did. A reading that fits takes its
    place."""
    _decide(
        said,
        point=point,
        day=day,
        action="substitute",
        total=total,
        rates=rates or (),
        method=method,
        evidence=evidence,
        reading=reading,
        basis=basis,
    )


@click.command("release-link", short_help="Use that is held is billed; another has to approve it.")
@click.argument("point")
@click.argument("from_day", metavar="FROM", type=Day())
@click.argument("day", metavar="TO", type=Day())
@click.option(
    "--agreed",
    type=Total(),
    help="kWh, the ratio included, that are billed where no register shows the use (S6).",
)
@click.option("--evidence", type=Text(), help="Of what was agreed: where it can be looked up.")
@_said
def release_link(
    point: str,
    from_day: date,
    day: date,
    *,
    agreed: Decimal | None,
    evidence: str | None,
    **said: Any,
) -> None:
    """The use of POINT from 00:00 of FROM to 00:00 of TO, which is held, is right.

    What was agreed upon counts when two other persons approved it."""
    if (agreed is None) != (evidence is None):
        raise click.UsageError("say --agreed and --evidence together")
    _decide(
        said,
        point=point,
        day=day,
        action="release_link",
        from_day=from_day,
        method=None if agreed is None else "S6",
        agreed_kwh=agreed,
        evidence=evidence or "",
    )


@click.command(short_help="A decision of somebody else counts.")
@click.argument("number", type=Whole(1))
@actor_option
@click.option("--reason", default="", help="Why.")
@site_option
@as_json
def approve(number: int, actor: str | None, reason: str, site_path: Path, as_json: bool) -> None:
    """Let decision NUMBER count. Another person does that than who made it."""
    said = {"site_path": site_path, "as_json": as_json}
    approver = _actor(actor)

    async def ask(connection: AsyncConnection[Any]) -> Decided:
        return await decisions.approve(connection, number, approver, reason)

    _tell(_asked(said, ask), said)


@click.command(short_help="A decision that waits is not to count.")
@click.argument("number", type=Whole(1))
@_said
def refuse(number: int, **said: Any) -> None:
    """Decision NUMBER, which waits, does not count; who made it may take it back so."""
    who = _actor(said["actor"])

    async def ask(connection: AsyncConnection[Any]) -> DecisionRow:
        return await decisions.refuse(connection, number, who, said["reason"])

    _asked(said, ask)
    if said["as_json"]:
        print_json({"decision": number, "state": "refused"})
    else:
        echo(f"decision {number} does not count; nothing was changed")


@click.command(short_help="Decisions that wait for somebody else.")
@site_option
@as_json
def waiting(site_path: Path, as_json: bool) -> None:
    """Decisions that count when others approved them: meterd quality approve NUMBER."""

    async def ask(connection: AsyncConnection[Any]) -> list[DecisionRow]:
        return await storage.decisions(connection, only_waiting=True)

    rows = [
        {
            **asdict(it),
            "total": kwh(it.total, it.decimals),
            "from": it.content.get("from"),
            "kWh": it.content.get("kwh") or it.content.get("shown_kwh"),
        }
        for it in on_database(load_settings(site_path), ask)
    ]
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        columns = ("number", "point", "from", "day", "action", "method", "total", "kWh", "maker")
        texts = ("approvers", "evidence", "reason")
        print_columns(
            {it: it for it in (*columns, *texts)},
            [{**row, "approvers": " ".join(row["approvers"]) or None} for row in rows],
        )
    echo(f"{len(rows)} wait", err=True)


def _decide(said: dict[str, Any], **order: Any) -> None:
    maker = _actor(said["actor"])
    if not said["reason"].strip():
        raise click.UsageError("--reason must say why")

    wanted = Order(maker=maker, reason=said["reason"].strip(), **order)

    async def ask(connection: AsyncConnection[Any]) -> Decided:
        return await decisions.decide(connection, wanted)

    _tell(_asked(said, ask), said)


def _actor(actor: str | None) -> str:
    name = acting(actor)
    if not name or not name.isprintable():
        raise click.UsageError("--actor must be a name")
    return name


def _asked(said: dict[str, Any], ask: Callable[[AsyncConnection[Any]], Awaitable[T]]) -> T:
    try:
        return on_database(load_settings(said["site_path"]), ask)
    except DecisionRefused as refused:
        if said["as_json"]:
            print_json({"refused": refused.reason})
        raise fail(str(refused), BAD_DATA) from None


def _tell(decided: Decided, said: dict[str, Any]) -> None:
    changes: list[dict[str, Any]] = [
        {"day": day, "state": it.state, "codes": list(it.codes), "next": it.next_step}
        for day, it in decided.changes.items()
    ]
    if said["as_json"]:
        state = "waits" if decided.waits_for else "counts"
        print_json({"decision": decided.number, "state": state, "changes": changes})
        return
    if decided.waits_for:
        who = "another person" if decided.waits_for == 1 else f"{decided.waits_for} other persons"
        echo(
            f"decision {decided.number} waits for {who}:\n"
            f"  meterd quality approve {decided.number} --actor NAME"
        )
        return
    echo(f"decision {decided.number} counts; what is billed follows in some seconds")
    if changes:
        print_table(
            ("day", "state", "codes", "next"),
            [(it["day"], it["state"], " ".join(it["codes"]), it["next"]) for it in changes],
        )
