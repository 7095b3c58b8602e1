"""The files of a bench: a site, its own or a copy of one, that reads simulated meters."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, Final

from config.load import LoadedSite
from config.toml_writing import toml_document
from daemon.bench.notices import KEY
from protocols.errors import MeterdError

FEWEST_REPLY_S: Final = 1.0
"""Both ends and a database share this machine: a meter that is asked may be late by that."""
EXAMPLE_METERS: Final = 64
EXAMPLE_LINES: Final = ("gate-1", "gate-2")
EXAMPLE_PRICE: Final = "0.5283"
CHANNEL: Final = "app"
_WRITTEN: Final = ("archive", "tariffs", "texts", "terminals", "file")
"""Keys whose values are paths beside the site's file."""
_CARRIERS: Final = ("tcp", "serial", "baud", "parity", "data_bits", "stop_bits", "mqtt")


class CannotBeBenched(MeterdError):
    """Something of the site that a bench has no simulated counterpart for."""


def example_site(folder: Path, first: date) -> Path:
    """64 prepaid customers on two lines, with notices, cut without another person's approval."""
    archive = folder / "archive"
    archive.mkdir(parents=True)
    numbers = range(1001, 1001 + EXAMPLE_METERS)
    lines = [EXAMPLE_LINES[number % 2] for number in numbers]
    _write(
        archive / "meters.csv",
        ("address", "line", "point", "installed_on"),
        ((f"{n:012d}", line, f"P{n}", first) for n, line in zip(numbers, lines, strict=True)),
    )
    _write(
        archive / "points.csv",
        ("point", "account", "reconnect"),
        ((f"P{n}", f"C{n}", "close") for n in numbers),
    )
    _write(
        archive / "accounts.csv",
        ("account", "tariff", "open_from", "agreement"),
        ((f"C{n}", "home", first, f"A-{n}") for n in numbers),
    )
    _write(
        archive / "contacts.csv",
        ("account", "channel", "address", "consent", "language", "order"),
        ((f"C{n}", CHANNEL, f"user-{n}-{k}", "yes", "zh", k) for n in numbers for k in (1, 2)),
    )
    _write_secret(folder / "password", "000000\n")
    _write_secret(folder / "key", KEY)
    _write_secret(folder / "url", "http://127.0.0.1:9/")
    price = {"effective_from": first, "price": EXAMPLE_PRICE}
    tariffs = {"tariff": {"home": {"version": [price]}}}
    (folder / "tariffs.toml").write_text(toml_document(tariffs), encoding="utf-8")
    content = {
        "site": {
            "name": "bench",
            "zone": "Asia/Shanghai",
            "data_directory": "data",
            "archive": "archive",
            "tariffs": "tariffs.toml",
        },
        "line": [
            {"name": name, "tcp": f"127.0.0.1:{7001 + number}"}
            for number, name in enumerate(EXAMPLE_LINES)
        ],
        "notices": {"how_to_pay_zh": "营业厅", "how_to_complain_zh": "拨打 12345"},
        "notice_channel": [
            {"name": CHANNEL, "webhook": {"file": "url"}, "key": {"file": "key"}},
        ],
        "control": {
            "mode": "auto",
            "password": {"file": "password"},
            "working_days_only": False,
            "no_trip_on_eve": False,
            "approvals_required": 0,
            "startup_hold_min": 0,
        },
    }
    path = folder / "meterd.toml"
    path.write_text(toml_document(content), encoding="utf-8")
    return path


def scenario_text(site: LoadedSite, seed: int) -> str:
    """Meters as the archive names them, on ports that are free. CannotBeBenched."""
    _refuse_gateways(site)
    for meter in site.archive.meters:
        if meter.protocol != "dlt645-2007":
            raise CannotBeBenched(
                f"meter {meter.address} speaks {meter.protocol}: say in a scenario (--scenario) "
                "what it is like"
            )
    lines = dict.fromkeys(meter.line for meter in site.archive.meters)
    parts: dict[str, Any] = {
        "zone": str(site.settings.site.zone),
        "seed": seed,
        "lines": {name: {"port": 0, "reply_delay_ms": 0} for name in lines},
        "meters": [
            {
                "line": meter.line,
                "address": meter.address,
                "kwh_per_day": [5, 14],
                "relay": "external",
                "installed": date(2024, 1, 1),
            }
            for meter in site.archive.meters
        ],
    }
    return toml_document(parts)


def copy_site(
    site: LoadedSite,
    folder: Path,
    places: Mapping[str, str],
    *,
    first: date,
    http_port: int,
    inbox_url: str,
) -> Path:
    """The site with lines that lead to `places`, accounts that open on `first`, a database of its
    own and channels that end in the bench. CannotBeBenched.

    A terminal that dials in is a line that is dialled: what is asked over it is the same."""
    _refuse_gateways(site)
    content = tomllib.loads(site.path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    content = _absolute(content, site.path.parent.resolve())
    content.pop("database", None)
    content.pop("listener", None)
    # Whoever is on call has nothing to do with meters that are simulated.
    content.pop("on_call", None)
    terminals = (line for line in _terminals(site) if line["name"] in places)
    content["line"] = [_line(line, places) for line in chain(content.get("line", []), terminals)]
    content["site"] |= {"data_directory": "data", "archive": "archive"}
    content["http"] = {"listen": f"127.0.0.1:{http_port}"}
    content["notice_channel"] = [
        {"name": it["name"], "webhook": {"file": "inbox-url"}, "key": {"file": "inbox-key"}}
        for it in content.get("notice_channel", [])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    _write_secret(folder / "inbox-url", inbox_url)
    _write_secret(folder / "inbox-key", KEY)
    _copy_archive(site.settings.site.archive, folder / "archive", first)
    path = folder / "meterd.toml"
    path.write_text(toml_document(content), encoding="utf-8")
    return path


def flat_prices(site: LoadedSite) -> dict[str, list[tuple[date, Decimal]]]:
    """The tariffs that are one price a version, by name: (effective from, yuan per kWh)."""
    text = site.settings.site.tariffs.read_text(encoding="utf-8-sig")
    found = {}
    for name, tariff in tomllib.loads(text, parse_float=Decimal)["tariff"].items():
        versions = tariff.get("version", [])
        if all(version.keys() == {"effective_from", "price"} for version in versions):
            found[name] = [(it["effective_from"], Decimal(str(it["price"]))) for it in versions]
    return found


def _absolute(value: Any, base: Path, key: str = "") -> Any:
    """The same with paths that lead to the same files from another folder."""
    if isinstance(value, dict):
        return {name: _absolute(it, base, name) for name, it in value.items()}
    if isinstance(value, list):
        return [_absolute(it, base, key) for it in value]
    if key in _WRITTEN and isinstance(value, str):
        return str(base / value)
    return value


def _refuse_gateways(site: LoadedSite) -> None:
    for gateway in site.settings.gateway:
        raise CannotBeBenched(
            f"gateway {gateway.name}: a bench has no counterpart of a [[gateway]]; take it and its "
            "meters out of a copy of the site, and bench that"
        )


def _terminals(site: LoadedSite) -> Iterator[dict[str, Any]]:
    """As lines of their own."""
    for listener in site.settings.listener:
        for terminal in site.terminals[listener.name]:
            yield {
                "name": terminal.line,
                "reply_timeout_s": listener.reply_timeout_s,
                "retries": listener.retries,
                "pipelined": listener.pipelined,
                "pause_ms": listener.pause_ms,
                "enabled": listener.enabled,
            }


def _line(line: Mapping[str, Any], places: Mapping[str, str]) -> dict[str, Any]:
    name = line["name"]
    if name not in places:
        raise CannotBeBenched(f"line {name} has no meters in the bench")
    kept = {key: value for key, value in line.items() if key not in _CARRIERS}
    reply_s = max(float(kept.pop("reply_timeout_s", 0)), FEWEST_REPLY_S)
    place: dict[str, Any] = {"tcp": places[name]}
    if places[name].startswith("/"):
        # A pseudo-terminal, which has a speed and no parity.
        speed = {"baud": line["baud"]} if "baud" in line else {}
        place = {"serial": places[name], "parity": "N", **speed}
    return {**kept, **place, "reply_timeout_s": reply_s}


def _copy_archive(source: Path, target: Path, first: date) -> None:
    """All tables; meters hang and accounts are open from the first day of the bench on, also those
    that nobody has opened yet."""
    target.mkdir()
    for path in source.glob("*.csv"):
        text = path.read_text(encoding="utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(text)))
        for row in rows:
            if path.name == "meters.csv":
                row["installed_on"] = first.isoformat()
            elif path.name == "accounts.csv" and row.get("tariff"):
                row["open_from"] = first.isoformat()
                row["agreement"] = row.get("agreement") or "bench"
        head = list(rows[0]) if rows else text.strip().split(",")
        _write(target / path.name, head, (row.values() for row in rows))


def _write_secret(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text, encoding="utf-8")


def _write(path: Path, head: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
