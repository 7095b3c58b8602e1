"""What commands share that write a document of a point: how it is filed, and its effect shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from config.settings_file import load_settings
from daemon.billing.document_effect import Effect, Use, in_words
from daemon.cli.files_to_mend import cells_to_mend
from daemon.cli.on_site import on_database
from daemon.cli.output import echo, print_json, print_money, print_table
from daemon.cli.saying import said_by
from daemon.quality.verdict import DayState
from daemon.transactions.documents.filing import Document, Filed, file_document
from storage import supply


def run_document(make: Callable[[ZoneInfo], Document], saying: Mapping[str, Any]) -> None:
    """File the document that `make` returns for the site's zone, and print what came of it.

    `saying`: what `saying_options` took in."""
    site_path: Path = saying["site_path"]
    settings = load_settings(site_path)
    zone = settings.site.zone
    document = make(zone)
    said = said_by(saying)

    async def ask(connection: AsyncConnection[Any]) -> Filed:
        return await file_document(
            connection,
            document,
            said,
            await supply.database_clock(connection),
            is_trial=saying["dry_run"],
        )

    filed = on_database(settings, ask)
    to_do = [] if filed.state == "waits" else cells_to_mend(site_path, document, zone)
    if saying["as_json"]:
        print_json(
            {
                "document": filed.number,
                "state": filed.state,
                **filed_as_json(filed, zone),
                "to_do": to_do,
            }
        )
        return
    print_filed(filed, zone)
    for line in (_outcome(filed, site_path), *to_do):
        echo(line)


def _outcome(filed: Filed, site_path: Path) -> str:
    at = "" if site_path == Path("meterd.toml") else f" -c {site_path}"
    match filed.state:
        case "tried" if filed.needs_another:
            return f"dry run, nothing was written; it {_why(filed)} and needs a second person"
        case "tried":
            return "dry run, nothing was written"
        case "waits":
            return (
                f"document {filed.number} waits, because it {_why(filed)}; "
                "a second person has to agree:\n"
                f"  meterd document approve {filed.number} --actor NAME{at}"
            )
    return f"document {filed.number} counts"


def _why(filed: Filed) -> str:
    if filed.moved:
        return f"moves days that are billed ({filed.moved})"
    if any(it.beyond for it in filed.effects.values()):
        return "tells more use than the limit allows"
    return "tells another ratio, which no limit sees"


def print_filed(filed: Filed, zone: ZoneInfo) -> None:
    """What a document changes, point by point, and the money that follows where it was asked."""
    for point, found in filed.effects.items():
        print_effect(point, found, zone)
    print_money(filed.fen)


def filed_as_json(filed: Filed, zone: ZoneInfo) -> dict[str, Any]:
    """The same for programs: of one point its own keys, of several the list `points`."""
    shown = [effect_as_json(point, found, zone) for point, found in filed.effects.items()]
    money = {"balances_moved_fen": dict(filed.fen)}
    if len(shown) == 1:
        return {**shown[0], **money}
    return {"points": shown, **money}


def print_effect(point: str, found: Effect, zone: ZoneInfo) -> None:
    """What changes, first in words, then by day and by use."""
    for sentence in in_words(point, found):
        echo(sentence)
    if found.days:
        print_table(
            ("day", "change", "before", "after"),
            [(it.day, it.change, _state(it.before), _state(it.after)) for it in found.days],
            title="readings",
        )
    uses = _by_span(found)
    if uses:
        print_table(
            ("from", "to", "kWh before", "kWh after", "billed before", "billed after"),
            [
                (
                    _at(span[0], zone),
                    _at(span[1], zone),
                    _kwh(before),
                    _kwh(after),
                    before.account if before else None,
                    after.account if after else None,
                )
                for span, (before, after) in uses
            ],
            title="use",
        )


def effect_as_json(point: str, found: Effect, zone: ZoneInfo) -> dict[str, Any]:
    """The same for programs; moments in the site's time."""
    return {
        "point": point,
        "told": in_words(point, found),
        "readings": [
            {
                "day": it.day,
                "change": it.change,
                "before": _state_as_json(it.before),
                "after": _state_as_json(it.after),
            }
            for it in found.days
        ],
        "use": {
            "before": [_use_as_json(use, zone) for use in found.gone],
            "after": [_use_as_json(use, zone) for use in found.come],
        },
        "billed_days_moved": len(found.moved),
        "billed_days_given_back": len(found.given_back),
    }


def _by_span(found: Effect) -> list[tuple[tuple[Any, Any], tuple[Use | None, Use | None]]]:
    before = {(use.start, use.end): use for use in found.gone}
    after = {(use.start, use.end): use for use in found.come}
    spans = sorted({*before, *after}, key=lambda span: [str(end) for end in span])
    return [(span, (before.get(span), after.get(span))) for span in spans]


def _state(state: DayState | None) -> str | None:
    if state is None:
        return None
    codes = f" ({', '.join(state.codes)})" if state.codes else ""
    return f"{state.state} {state.total}{codes}"


def _state_as_json(state: DayState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "state": state.state,
        "total": state.total,
        "codes": list(state.codes),
        "next": state.next_step,
    }


def _use_as_json(use: Use, zone: ZoneInfo) -> dict[str, Any]:
    return {
        "from": _in_zone(use.start, zone),
        "to": _in_zone(use.end, zone),
        "kwh": use.kwh,
        "held": use.held,
        "account": use.account,
    }


def _kwh(use: Use | None) -> str | None:
    if use is None:
        return None
    shown = "not known" if use.kwh is None else f"{use.kwh:f}"
    return f"{shown} (held: {use.held})" if use.held else shown


def _at(at: date | datetime, zone: ZoneInfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if isinstance(at, datetime) else str(at)


def _in_zone(at: date | datetime, zone: ZoneInfo) -> date | datetime:
    return at.astimezone(zone) if isinstance(at, datetime) else at
