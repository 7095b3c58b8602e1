"""`meterd certify`: named checks of a real meter against its standard."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from daemon.cli.authority import Writer, writer_options
from daemon.cli.cable import acting_over_a_cable
from daemon.cli.connection import line_options
from daemon.cli.gathered import gathered
from daemon.cli.output import BAD_DATA, FAILED, as_json, echo, fail, print_json, print_table
from daemon.cli.typed import Text
from daemon.cli.zone import Whose, zone_options
from daemon.field.certify.bench import Bench, Harm, harm_of_dlt645, harm_of_modbus
from daemon.field.certify.dlt645 import checks as dlt645_checks
from daemon.field.certify.dlt645.subject import Subject as Meter
from daemon.field.certify.dlt645.subject import is_whole as is_whole_dlt645
from daemon.field.certify.report import page
from daemon.field.certify.suite import (
    Change,
    Result,
    Verdict,
    changes,
    run_suite,
)
from daemon.field.certify.suite import (
    as_json as result_as_json,
)
from daemon.field.clock import wall_clock
from daemon.field.connection import Connection

DLT645: Final = "dlt645-2007"
MODBUS: Final = "modbus"
HIGHEST_UNIT: Final = 255
MOST_BYTES: Final = 20_000_000
"""Of a certificate to be compared with."""

Run = Callable[[Callable[[Result], None]], Awaitable[list[Result]]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """The meter that is checked, and against what; as it was typed."""

    meter: str
    suite: str
    profile: str | None
    framing: str | None


@dataclass(frozen=True, slots=True)
class Permission:
    """What the checks may do to it."""

    may_write: bool
    may_switch: bool

    @property
    def harm(self) -> Harm:
        """The most of it."""
        return Harm.SWITCHES if self.may_switch else Harm.WRITES if self.may_write else Harm.NONE


@dataclass(frozen=True, slots=True)
class Paper:
    """What is written of it, and what it is compared with."""

    label: str | None
    html: Path | None
    compare: Path | None


@click.command()
@line_options(baud=2400, parity="E")
@click.option(
    "--meter",
    required=True,
    metavar="ADDRESS|UNIT",
    help="12 digits, or of Modbus the unit.",
)
@click.option(
    "--suite",
    type=click.Choice([DLT645, MODBUS]),
    default=DLT645,
    show_default=True,
)
@click.option(
    "--profile", metavar="NAME|FILE", help="Modbus: what stands in its registers (docs/modbus.md)."
)
@click.option(
    "--framing",
    type=click.Choice(["rtu", "tcp"]),
    help="Modbus: how frames look. Default: rtu on --serial, tcp on --tcp.",
)
@click.option(
    "--may-write", is_flag=True, help="Write parameters too, and put them back; asks a password."
)
@click.option(
    "--may-switch", is_flag=True, help="Move the relay too, and close it again: it gets dark."
)
@click.option("--only", "only", multiple=True, metavar="CHECK", help="This check; may be repeated.")
@click.option("--label", type=Text(), help="Of the meter, such as its firmware.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with all frames there.",
)
@click.option(
    "--compare",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A certificate of earlier, as --json printed it.",
)
@writer_options
@zone_options
@as_json
@gathered("candidate", Candidate)
@gathered("permission", Permission)
@gathered("paper", Paper)
def certify(
    *,
    connection: Connection,
    candidate: Candidate,
    permission: Permission,
    only: tuple[str, ...],
    paper: Paper,
    writer: Writer,
    whose: Whose,
    as_json: bool,
) -> None:
    """Check a meter against its standard: what it answers, refuses, keeps and obeys.

    Without --may-write and --may-switch only reads are sent, and bytes that are no request. Needs
    no daemon; nothing else may talk on the line. Exit code 0 when no check failed, else 1; with
    --compare, when none failed that passed before."""
    before = None if paper.compare is None else _certificate_in(paper.compare)
    if candidate.suite == DLT645:
        if candidate.profile is not None or candidate.framing is not None:
            raise click.UsageError("--profile and --framing are for --suite modbus")
        run = _dlt645(connection, candidate.meter, permission.harm, only, writer, whose)
    else:
        run = _modbus(connection, candidate, permission.harm, only)
    if permission.harm:
        acting_over_a_cable(writer.actor, whose.site_path)
    results = asyncio.run(_all(run, silent=as_json))
    certificate = _certificate(candidate, paper.label or "", results)
    differences = [] if before is None else changes(before, results)
    if paper.html is not None:
        paper.html.write_text(page(certificate, differences), encoding="utf-8")
    if as_json:
        print_json(certificate)
    else:
        _print(results, differences, compared=before is not None)
    is_bad = (
        any(change.is_worse for change in differences)
        if before is not None
        else any(result.verdict is Verdict.FAILED for result in results)
    )
    if is_bad:
        raise SystemExit(FAILED)


async def _all(run: Run, *, silent: bool) -> list[Result]:
    def tell(result: Result) -> None:
        if not silent:
            echo(f"{result.verdict.value:13} {result.name}", err=True)

    return await run(tell)


def _print(results: Sequence[Result], differences: Sequence[Change], *, compared: bool) -> None:
    print_table(
        ("check", "verdict", "what came", "a good meter"),
        [(result.name, result.verdict.value, result.detail, result.claim) for result in results],
        whole=("check", "verdict"),
    )
    echo(", ".join(f"{count} {verdict}" for verdict, count in _counts(results).items()))
    if compared and not differences:
        echo("no check says another thing than before")
    elif differences:
        print_table(
            ("check", "before", "now", "what came"),
            [(change.name, change.before, change.now, change.detail) for change in differences],
        )


def _certificate(candidate: Candidate, label: str, results: Sequence[Result]) -> dict[str, Any]:
    return {
        "suite": candidate.suite,
        "meter": candidate.meter,
        "label": label,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": _counts(results),
        "results": [result_as_json(result) for result in results],
    }


def _counts(results: Sequence[Result]) -> dict[str, int]:
    found = Counter(result.verdict.value for result in results)
    return {verdict.value: found[verdict.value] for verdict in Verdict if found[verdict.value]}


def _certificate_in(path: Path) -> dict[str, Any]:
    """What an earlier run printed. Failure, 65, when it is none."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES)
    try:
        found: dict[str, Any] = json.loads(content)
        _ = {entry["name"]: entry["verdict"] for entry in found["results"]}
    except (ValueError, KeyError, TypeError):
        raise fail(
            f"{path} is no certificate: write one with meterd certify ... --json > {path}", BAD_DATA
        ) from None
    return found


# --- the two suites


def _dlt645(
    connection: Connection,
    address: str,
    permitted: Harm,
    only: tuple[str, ...],
    writer: Writer,
    whose: Whose,
) -> Run:
    if not re.fullmatch("[0-9]{12}", address):
        raise click.UsageError(f"--meter {address}: the address of a DL/T 645 meter has 12 digits")
    zone = whose.meant()
    authority = writer.authority() if permitted else None
    checks = _chosen(dlt645_checks.SUITE, only)

    async def run(tell: Callable[[Result], None]) -> list[Result]:
        async with connection.channel:
            bench = _bench(connection, permitted, is_whole_dlt645, harm_of_dlt645)
            meter = Meter(bench, address, lambda: wall_clock(zone), authority)
            return await run_suite(checks, meter, bench, on_result=tell)

    return run


def _modbus(
    connection: Connection,
    candidate: Candidate,
    permitted: Harm,
    only: tuple[str, ...],
) -> Run:
    # pymodbus takes a tenth of a second to import: only when it is needed.
    from config.profiles import load_profile
    from daemon.field.certify.modbus import checks as modbus_checks
    from daemon.field.certify.modbus.subject import Subject, is_whole

    unit, profile, framing = candidate.meter, candidate.profile, candidate.framing
    if not re.fullmatch("[0-9]{1,3}", unit) or int(unit) > HIGHEST_UNIT:
        raise click.UsageError(f"--meter {unit}: a Modbus unit is a number up to {HIGHEST_UNIT}")
    is_tcp = framing == "tcp" if framing else not connection.speed.baud
    known = None if profile is None else load_profile(profile)
    checks = _chosen(modbus_checks.SUITE, only)

    async def run(tell: Callable[[Result], None]) -> list[Result]:
        async with connection.channel:
            bench = _bench(connection, permitted, is_whole(is_tcp), harm_of_modbus)
            slave = Subject(bench, int(unit), is_tcp, known)
            return await run_suite(checks, slave, bench, on_result=tell)

    return run


def _bench(
    connection: Connection,
    permitted: Harm,
    is_whole: Callable[[bytes], bool],
    harm_of: Callable[[bytes], Harm],
) -> Bench:
    channel = connection.channel
    return Bench(
        channel,
        is_whole,
        harm_of,
        permitted,
        connection.timing.reply_timeout_s,
        channel.byte_s,
        connection.wire,
    )


def _chosen(suite: Sequence[Any], only: tuple[str, ...]) -> list[Any]:
    """The checks of these names; all where none is named."""
    names = [check.name for check in suite]
    if unknown := [name for name in only if name not in names]:
        raise click.UsageError(f"--only {unknown[0]}: the checks are {', '.join(names)}")
    return [check for check in suite if not only or check.name in only]
