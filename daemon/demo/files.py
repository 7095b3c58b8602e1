"""The files of the demonstration: the scenario of its meters and the site that reads them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

ZONE = "Asia/Shanghai"
DAYS = 31
"""Midnights to collect, today's included."""
SEED = 20_261_121
TARIFF = "home"
FIRST_PRICE = Decimal("0.5283")
SECOND_PRICE = Decimal("0.5583")
DEPOSIT_FEN = 200_000
POOR_DEPOSIT_FEN = 200
"""Far less than a month's use: this customer's balance falls below the floor."""


@dataclass(frozen=True, slots=True)
class DemoMeter:
    """One meter of the demonstration, its point and its customer."""

    address: str
    line: str
    point: str
    account: str
    ratio: Decimal


@dataclass(frozen=True, slots=True)
class Fleet:
    """Meters of one kind on a line; `extra` is TOML of the scenario."""

    line: str
    first: int
    count: int
    extra: str


LINES: Mapping[str, str] = {
    "gate-1": "port = 0\nreply_delay_ms = [1, 4]",
    "gate-2": "port = 0\nreply_delay_ms = [1, 4]",
    "bus-1": 'link = "{folder}/bus-1"\nbaud = 19200\nreply_delay_ms = [1, 4]',
}
FLEETS: Sequence[Fleet] = (
    Fleet("gate-1", 1101, 4, "kwh_per_day = [5, 14]\nclock_offset_s = [-30, 30]"),
    # So little that what it comes to at once spares nobody: SPAN_GRACE begins above five yuan.
    Fleet("gate-1", 1105, 1, "kwh_per_day = [0.20, 0.22]\nclock_offset_s = [-30, 30]"),
    Fleet("gate-1", 1106, 19, "kwh_per_day = [5, 14]\nclock_offset_s = [-30, 30]"),
    Fleet(
        "gate-1",
        1201,
        3,
        'kwh_per_day = [5, 14]\nfaults = [{ kind = "lost_answer", chance = 0.05 }]',
    ),
    Fleet(
        "gate-1",
        1301,
        3,
        'kwh_per_day = [5, 14]\nfaults = [{ kind = "wrong_checksum", chance = 0.05 }]',
    ),
    Fleet("gate-2", 2101, 22, "kwh_per_day = [5, 14]\nclock_offset_s = [-30, 30]"),
    Fleet(
        "gate-2",
        2201,
        3,
        'kwh_per_day = [5, 14]\nfaults = [{ kind = "noise_before", chance = 0.2 }]',
    ),
    Fleet(
        "gate-2",
        2301,
        3,
        'kwh_per_day = [5, 14]\nfaults = [{ kind = "late", chance = 0.02, delay_ms = 450 }]',
    ),
    Fleet("bus-1", 3101, 6, "kwh_per_day = [5, 14]\ntariffs = 0"),
)
CUT_LINE = "gate-2"
POOR_METER = "000000001105"
TWO_METERS = ("000000001101", "000000001102")
"""One customer has two meters."""
RATIO_METER = "000000001103"
"""This meter sits behind current transformers."""


def demo_meters() -> list[DemoMeter]:
    """All meters in order of their addresses."""
    found = []
    for fleet in FLEETS:
        for number in range(fleet.first, fleet.first + fleet.count):
            address = f"{number:012d}"
            owner = TWO_METERS[0] if address in TWO_METERS else address
            ratio = Decimal(20) if address == RATIO_METER else Decimal(1)
            found.append(
                DemoMeter(
                    address,
                    fleet.line,
                    f"P{number}",
                    f"C{int(owner)}",
                    ratio,
                )
            )
    return found


def deposit_fen(account: str) -> int:
    """What a customer pays before the daemon starts."""
    if account == f"C{int(POOR_METER)}":
        return POOR_DEPOSIT_FEN
    return DEPOSIT_FEN * (20 if account == f"C{int(RATIO_METER)}" else 1)


def price_change(today: date) -> date:
    """The second price holds from this day on."""
    return today - timedelta(days=10)


def write_scenario(folder: Path) -> Path:
    """The simulated meters, as `meterd simulate` reads them."""
    parts = [f'zone = "{ZONE}"\nseed = {SEED}']
    parts += [f"[lines.{name}]\n{body.format(folder=folder)}" for name, body in LINES.items()]
    parts += [
        f'[[meters]]\nline = "{fleet.line}"\naddress = "{fleet.first:012d}"\n'
        f"count = {fleet.count}\n{fleet.extra}"
        for fleet in FLEETS
    ]
    path = folder / "scenario.toml"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def write_site(folder: Path, places: Mapping[str, str], http_port: int, today: date) -> Path:
    """The site: settings, tariff and archive.

    `places`: line -> HOST:PORT or device, as the simulators tell."""
    (folder / "password").write_text("000000\n", encoding="utf-8")
    opens = today - timedelta(days=DAYS - 1)
    lines = "\n".join(_line(name, place) for name, place in places.items())
    (folder / "meterd.toml").write_text(
        SITE.format(
            zone=ZONE,
            days=DAYS,
            lines=lines,
            port=http_port,
        ),
        encoding="utf-8",
    )
    (folder / "tariffs.toml").write_text(
        TARIFFS.format(
            name=TARIFF,
            first=FIRST_PRICE,
            second=SECOND_PRICE,
            start=opens,
            change=price_change(today),
        ),
        encoding="utf-8",
    )
    meters = demo_meters()
    archive = folder / "archive"
    archive.mkdir()
    _write(
        archive / "meters.csv",
        ("address", "line", "point", "installed_on"),
        ((m.address, m.line, m.point, opens) for m in meters),
    )
    _write(
        archive / "points.csv",
        ("point", "account", "ratio", "reconnect"),
        ((m.point, m.account, m.ratio, "close") for m in meters),
    )
    _write(
        archive / "accounts.csv",
        ("account", "tariff", "open_from", "agreement"),
        (
            (account, TARIFF, opens, f"A-{account}")
            for account in sorted({m.account for m in meters})
        ),
    )
    return folder / "meterd.toml"


def _line(name: str, place: str) -> str:
    where = f'serial = "{place}"\nbaud = 19200' if place.startswith("/") else f'tcp = "{place}"'
    return f'[[line]]\nname = "{name}"\n{where}\nreply_timeout_s = 0.3\nretries = 2\n'


def _write(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


SITE = """\
# The demonstration site. It may cut supply at any hour and without notices: the meters are
# simulated.
[site]
name = "demo"
zone = "{zone}"
data_directory = "data"
archive = "archive"
tariffs = "tariffs.toml"

{lines}
[collection]
backfill_days = {days}
retry_s = 2
reconnect_s = 2

[control]
mode = "auto"
password = {{ file = "password" }}
window_start = "00:00"
window_end = "24:00"
working_days_only = false
no_trip_on_eve = false
written_notice_required = false
final_notice_required = false
approvals_required = 0
startup_hold_min = 0
min_debt_yuan = "0.50"

[http]
listen = "127.0.0.1:{port}"
"""

TARIFFS = """\
[[tariff.{name}.version]]
effective_from = {start}
price = "{first}"

[[tariff.{name}.version]]
effective_from = {change}
price = "{second}"
"""
