"""meterd steer: lets something happen to simulated meters that run."""

from __future__ import annotations

import json
from typing import Any, get_args

import click

from daemon.cli.output import USAGE, fail, print_json
from daemon.cli.typed import Whole
from simulators.bench.change_tables import CHANGES
from simulators.bench.control_port import CONTROL_HOST
from simulators.bench.remote import BenchRefused, RemoteBench


@click.command()
@click.argument("port", type=Whole(1, 65535))
@click.argument("do")
@click.argument("keys", metavar="[KEY=VALUE]...", nargs=-1)
def steer(port: int, do: str, keys: tuple[str, ...]) -> None:
    """Ask the bench with control port PORT to DO something, and print its answer as JSON.

    `meterd simulate` tells the port. What there is to do, and with which keys, stands in
    docs/simulators.md:

      meterd steer 41235 fault_on line=gate-1 kind=late chance=0.1 delay_ms=800

      meterd steer 41235 clock address=000000001003 by_s=-400

      meterd steer 41235 state
    """
    said = dict(_pair(key) for key in keys)
    try:
        with RemoteBench(CONTROL_HOST, port) as bench:
            print_json(bench.do(do, **_as_meant(do, said)))
    except BenchRefused as error:
        raise fail(str(error)) from None
    except OSError as error:
        reason = error.strerror or error
        raise fail(
            f"no bench answers at {CONTROL_HOST}:{port} ({reason}): meterd simulate tells its port"
        ) from None


def _pair(written: str) -> tuple[str, str]:
    key, equals, value = written.partition("=")
    if not equals or not key:
        raise fail(f"{written!r} is no KEY=VALUE, such as line=gate-1", USAGE)
    return key, value


def _as_meant(do: str, said: dict[str, str]) -> dict[str, Any]:
    """A key that may hold a text is one; another is what JSON makes of it, such as a number."""
    model = CHANGES.get(do)
    meant: dict[str, Any] = {}
    for key, value in said.items():
        field = model.model_fields.get(key) if model is not None else None
        is_text = field is None or _holds_text(field.annotation)
        meant[key] = value if is_text else _json_or_text(value)
    return meant


def _holds_text(annotation: Any) -> bool:
    """True of str, and of str or None."""
    kinds = (annotation, *get_args(annotation))
    return any(kind is str or getattr(kind, "__origin__", None) is str for kind in kinds)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
