"""The files of a new site, as somebody would write them who has read the pages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

SETTINGS: Final = """\
# {name}. Keys and defaults: docs/configuration.md. `meterd check` names every mistake at once.

[site]
name = {quoted_name}
zone = {zone}                    # days and windows are local dates and times of this zone
data_directory = "data"
archive = "archive"                       # meters.csv, points.csv, accounts.csv
tariffs = "tariffs.toml"

# Without a server of your own the database lives in data/.
#[database]
#url = {{ file = "secrets/database-url" }}
{lines}
[collection]
backfill_days = 31

# "shadow" computes and reports whom it would cut, and no control frame leaves the program.
# docs/supply.md tells what to do before you write "auto".
[control]
mode = "shadow"
"""
SERIAL: Final = """
[[line]]
name = {name}
serial = {place}
baud = {baud}
parity = "E"
"""
TCP: Final = """
[[line]]
name = {name}
tcp = {place}
"""
TARIFFS: Final = """\
# Yuan per kWh. Time of use, ladders, fees: docs/configuration.md, "What a tariff may say".
[[tariff.{tariff}.version]]
effective_from = {first_day}
price = {price}
"""
TARIFF: Final = "standard"
METERS: Final = "address,line,point,installed_on"
POINTS: Final = "point,account,area,reconnect"
ACCOUNTS: Final = "account,name,tariff"


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line by its `name`: a serial port with its `baud`, or (None) HOST:PORT."""

    name: str
    place: str
    baud: int | None


@dataclass(frozen=True, slots=True)
class NewSite:
    """What has to be known of a site to begin. `meters`: line and address of each.

    `price`: yuan per kWh. `since`: the day from which the meters hang where they are, and from
    which the price holds."""

    name: str
    zone: str
    lines: Sequence[NewLine]
    meters: Sequence[tuple[str, str]]
    price: str
    since: date


def files_of(site: NewSite) -> dict[str, str]:
    """The text of each file by its path below the site's folder.

    Every meter has a point and an account of its own, called as its address. The customer closes
    the relay by the meter's button: nobody's supply comes back unseen."""
    lines = "".join(map(_line, site.lines))
    name = " ".join(site.name.split())
    meters = [f"{address},{line},{address},{site.since}" for line, address in site.meters]
    points = [f"{address},{address},,allow_close" for _, address in site.meters]
    accounts = [f"{address},,{TARIFF}" for _, address in site.meters]
    return {
        "meterd.toml": SETTINGS.format(
            name=name, quoted_name=_quoted(name), zone=_quoted(site.zone), lines=lines
        ),
        "tariffs.toml": TARIFFS.format(
            tariff=TARIFF, first_day=site.since, price=_quoted(site.price)
        ),
        "archive/meters.csv": _table(METERS, meters),
        "archive/points.csv": _table(POINTS, points),
        "archive/accounts.csv": _table(ACCOUNTS, accounts),
    }


def _line(line: NewLine) -> str:
    form = TCP if line.baud is None else SERIAL
    return form.format(name=_quoted(line.name), place=_quoted(line.place), baud=line.baud)


def _quoted(text: str) -> str:
    # A basic string of TOML; JSON writes the same, but for one character that it leaves.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _table(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, *rows]) + "\n"
