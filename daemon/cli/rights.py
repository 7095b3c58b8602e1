"""Who may do what at a site: by the login, where it says so, and by roles, where it names persons.

R95: least privilege, and whoever has a say in money has none in cuts. Sites that name nobody let
everybody do everything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

from config.persons import Role, is_same_person, person
from config.toml_lines import read_toml
from protocols.errors import MeterdError

Roles = frozenset[Role]
ANYBODY: Final[Roles] = frozenset(get_args(Role))
"""Who is in doubt may stop a cut at once; to let it go on is another matter."""
SYSTEM: Final[Roles] = frozenset({"system"})
CONTROL: Final[Roles] = frozenset({"control"})
FINANCE: Final[Roles] = frozenset({"finance"})
STATION: Final[Roles] = frozenset({"station"})
ACCOUNTS: Final[Roles] = frozenset({"marketing"})
PRICES: Final[Roles] = frozenset({"marketing", "finance"})
POINTS: Final[Roles] = frozenset({"marketing", "station"})
CUSTOMERS: Final[Roles] = frozenset({"marketing", "service"})
DEBTS: Final[Roles] = frozenset({"marketing", "control"})
PLACES: Final[Roles] = frozenset({"station", "control"})
TASKS: Final[Roles] = frozenset({"station", "service", "control"})
TOLD: Final[Roles] = CUSTOMERS | PLACES
RIGHTS: Final[Mapping[str, Roles]] = {
    "migrate": SYSTEM,
    "reload": SYSTEM,
    "restore": SYSTEM,
    "deadletter replay": SYSTEM,
    "deadletter drop": SYSTEM,
    "topup": FINANCE,
    "payment reverse": FINANCE,
    "ledger close": FINANCE,
    "tariff approve": FINANCE,
    # Who told a version, by a reload, may take it back.
    "tariff reject": FINANCE | SYSTEM,
    "account open": ACCOUNTS,
    "account import": ACCOUNTS,
    "account policy": ACCOUNTS,
    "account tariff": PRICES,
    "account bonus": PRICES,
    "account elsewhere": PRICES,
    "contact import": CUSTOMERS,
    "point assign": POINTS,
    "point release": POINTS,
    "meter exchange": STATION,
    "meter ratio": STATION,
    "meter correct": STATION,
    "meter crossed": STATION,
    "certify": STATION,
    "write": STATION,
    "clock": STATION,
    "quality release": STATION,
    "quality release-link": STATION,
    "quality reject": STATION,
    "quality withdraw": STATION,
    "quality substitute": STATION,
    "quality revalidate": STATION,
    "quality approve": STATION,
    "quality refuse": STATION,
    # What they are about is known when they are read: `confirm_right_to_document`.
    "document approve": PRICES | POINTS,
    "document reject": PRICES | POINTS,
    "notice record": TOLD,
    "notice receipt": TOLD,
    "job assign": TASKS,
    "job close": TASKS,
    "supply acknowledge": TASKS,
    "dispute open": ANYBODY,
    "dispute close": CUSTOMERS,
    "protect add": ANYBODY,
    "protect lift": CUSTOMERS,
    "protect agree": CUSTOMERS,
    "supply hold": ANYBODY,
    "supply lock": PLACES,
    "supply release": CONTROL,
    "approve request": DEBTS,
    "approve withdraw": DEBTS,
    "approve give": CONTROL,
    "supply trip": CONTROL,
    "supply restore": CONTROL,
    "supply amnesty": CONTROL,
    "supply order ask": TASKS,
    "supply order agree": CONTROL,
    "supply order end": CONTROL,
    "supply breaker reset": CONTROL,
    "supply breaker agree": CONTROL,
}
"""By the words of a command that changes something, whose it is."""


def confirm_right(command_path: str, actor: str, login: str, site_path: Path) -> None:
    """MeterdError where the site of this file lets persons act by their logins only and this is
    another's, or names persons and this one is none of those whose the command is.

    `command_path`: as click has it, with the program's name. Without a site (who sets a meter over
    a cable) there is nobody to ask."""
    roles = _roles_of(actor, login, site_path)
    _, _, command = command_path.partition(" ")
    if roles is not None:
        _confirm(roles, RIGHTS[command], actor, command, site_path)


def confirm_right_to_document(is_of_money: bool, actor: str, login: str, site_path: Path) -> None:
    """The same once it is known what a document is about: money, or meters and points."""
    roles = _roles_of(actor, login, site_path)
    if roles is not None:
        allowed = FINANCE if is_of_money else POINTS
        _confirm(roles, allowed, actor, "decide about this document", site_path)


def _roles_of(actor: str, login: str, site_path: Path) -> Roles | None:
    """None where everybody may do everything."""
    if not site_path.is_file():
        return None
    content, _ = read_toml(site_path, site_path.name)
    site = content.get("site")
    if "person" not in content and not (isinstance(site, dict) and "actors" in site):
        return None
    # Few sites do, and settings take a fifth of a second to load.
    from config.settings import ActingSettings
    from config.settings_file import SettingsFile

    settings = SettingsFile.read(site_path).validated(ActingSettings)
    if settings.site.actors == "logins" and not is_same_person(actor, login):
        raise MeterdError(
            f'site.actors is "logins" and {login} is logged in: nobody acts as {actor} here; '
            f"say --actor {login}, or have {actor} log in"
        )
    if not settings.person:
        return None
    named = {person(it.name): frozenset(it.roles) for it in settings.person}
    return named.get(person(actor), frozenset())


def _confirm(roles: Roles, allowed: Roles, actor: str, what: str, site_path: Path) -> None:
    if roles & allowed:
        return
    known = f"works as {' and '.join(sorted(roles))}" if roles else "is none of its persons"
    raise MeterdError(
        f"{actor} may not {what} here: that is for {' or '.join(sorted(allowed))}, and {actor} "
        f"{known} ([[person]] in {site_path.name})"
    )
