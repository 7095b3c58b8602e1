"""Load a site: every file once, every mistake at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from pathlib import Path

from config.archive import Archive, Around, load_archive
from config.contacts import Contact, load_contacts
from config.notice_texts import Texts, load_texts, shipped_texts
from config.open_secrets import open_secrets
from config.persons import person
from config.places import shared_places
from config.problems import ConfigError, Problem, did_you_mean, shown
from config.settings import WIRE_KEYS, NamedSection, QualitySection, Site
from config.settings_file import SettingsFile
from config.table_text import table_file
from config.tariff_files import load_tariffs, owner_of
from config.tariff_version import Versions
from config.terminals import Terminal, load_terminals
from config.values import registration_form
from protocols.channels.tls import client_tls, server_tls
from protocols.dial_in.registration import Registration

Terminals = Mapping[str, tuple[Terminal, ...]]
"""The lists of terminals by the name of their listener."""


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """Everything that was configured, checked as a whole.

    `tariffs_owner`, `points_owner`: the user of this machine who owns that file, None: it is gone
    again. `terminals`: those of each listener, by its name. `texts`: what customers are told.
    `warnings`: what is taken as it stands, and may be meant otherwise."""

    path: Path
    settings: Site
    archive: Archive
    tariffs: Mapping[str, Versions]
    tariffs_owner: str | None
    points_owner: str | None
    terminals: Terminals
    texts: Texts
    contacts: tuple[Contact, ...]
    warnings: tuple[Problem, ...] = field(default=(), compare=False)


def load_site(path: Path, known: LoadedSite | None = None) -> LoadedSite:
    """Read `meterd.toml` and the files it names. ConfigError with all mistakes if there is any.

    A file that is named is read whatever else is wrong, so that all mistakes come at once. `known`:
    what was read before: the rows that are in it too cost less, and that is all."""
    file = SettingsFile.read(path)
    problems: list[Problem] = []
    # Terminals first: their lines are names that the archive and the log may use.
    terminals = _load_terminals(file, problems)
    settings = _settings(file, terminals, problems)
    tariffs = _tariffs(file, problems)
    quality = settings.quality if settings else QualitySection()
    # Limits are worked out as rows are read.
    follows = known is not None and known.settings.quality.max_daily_kwh == quality.max_daily_kwh
    archive = _archive(
        file,
        terminals,
        tariffs,
        problems,
        known.archive if known and follows else None,
        quality,
    )
    texts = _texts(file, problems)
    contacts = _contacts(file, archive, problems)
    if settings is not None:
        problems += _unsaid(file, settings, {it.language for it in contacts})
    if settings is not None:
        problems += _unknown_places(file, settings, archive)
        problems += _closing_at_once(archive, settings, file.base)
    if settings is None or problems:
        raise ConfigError(problems)
    return LoadedSite(
        path=path,
        settings=settings,
        archive=archive,
        tariffs=tariffs or {},
        tariffs_owner=owner_of(settings.site.tariffs),
        points_owner=owner_of(table_file(settings.site.archive / "points.csv")),
        terminals=terminals,
        texts=texts,
        contacts=contacts,
        warnings=(*_idle_speeds(file, settings), *open_secrets(file), *archive.warnings),
    )


def _texts(file: SettingsFile, problems: list[Problem]) -> Texts:
    try:
        return load_texts(file.path_of("notices", "texts"), file.base)
    except ConfigError as error:
        problems += error.problems
        return shipped_texts()


def _contacts(file: SettingsFile, archive: Archive, problems: list[Problem]) -> tuple[Contact, ...]:
    folder = file.path_of("site", "archive")
    if folder is None:
        return ()
    # Where something is wrong already, it may be the account that is not there.
    accounts = None if problems else {it.account for it in archive.accounts}
    contacts, mistakes = load_contacts(
        folder, file.base, accounts=accounts, channels=file.names("notice_channel")
    )
    problems += mistakes
    return contacts


def _unsaid(file: SettingsFile, settings: Site, languages: Collection[str]) -> Iterator[Problem]:
    """What notices in these languages have to say and the site does not."""
    for language in sorted(languages):
        for key in (f"how_to_pay_{language}", f"how_to_complain_{language}"):
            if getattr(settings.notices, key) is None:
                message = "is missing: a notice of a disconnection has to say it"
                yield file.problem(("notices",), f"notices.{key}", message)


def _unknown_places(file: SettingsFile, settings: Site, archive: Archive) -> Iterator[Problem]:
    """Channels and areas of who is on call that there are not."""
    channels = {it.name for it in settings.notice_channel}
    areas = {it.area for it in archive.points}
    for index, somebody in enumerate(settings.on_call):
        where = f"on_call.{somebody.name}"
        if somebody.channel not in channels:
            hint = did_you_mean(somebody.channel, channels)
            message = f"no [[notice_channel]] {somebody.channel} in meterd.toml{hint}"
            yield file.problem(("on_call", index, "channel"), f"{where}.channel", message)
        for area in sorted(set(somebody.areas) - areas if archive.points else ()):
            message = f"no point of points.csv is in area {area}{did_you_mean(area, areas)}"
            yield file.problem(("on_call", index, "areas"), f"{where}.areas", message)


# --- meterd.toml


def _settings(file: SettingsFile, terminals: Terminals, problems: list[Problem]) -> Site | None:
    """The settings, or None when they cannot be used."""
    try:
        settings = file.validated(Site)
    except ConfigError as error:
        problems += error.problems
        return None
    problems += _missing_lines(file, settings)
    problems += _equal_names(file, settings)
    problems += shared_places(file, settings)
    problems += _unknown_traced_lines(file, settings, terminals)
    problems += _unusable_certificates(file, settings)
    problems += _idle_fingerprints(file, settings, terminals)
    problems += _unknown_listeners(file, settings)
    return settings


def _missing_lines(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    if not (settings.line or settings.gateway or settings.listener):
        yield file.problem((), "line", "there is no line; add [[line]] with name and tcp or serial")


def _equal_names(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    names: set[str] = set()
    sections: dict[str, tuple[NamedSection, ...]] = {
        "line": settings.line,
        "gateway": settings.gateway,
        "listener": settings.listener,
    }
    for section, tables in sections.items():
        for index, table in enumerate(tables):
            if table.name in names:
                place = (section, index, "name")
                yield file.problem(place, f"{section}.{table.name}", "two lines have this name")
            names.add(table.name)
    persons: set[str] = set()
    for index, somebody in enumerate(settings.person):
        who = person(somebody.name)
        if who in persons:
            where = f"person.{somebody.name}"
            message = "this person is named twice: one table with all roles"
            yield file.problem(("person", index, "name"), where, message)
        persons.add(who)
    ways: set[str] = set()
    for index, channel in enumerate(settings.notice_channel):
        if channel.name in ways:
            place = ("notice_channel", index, "name")
            where = f"notice_channel.{channel.name}"
            yield file.problem(place, where, "two channels have this name")
        ways.add(channel.name)


def _idle_speeds(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    """Speeds of lines that have none: somebody believes that the line is slower, or faster."""
    for index, line in enumerate(settings.line):
        if line.serial is not None:
            continue
        for key in sorted(line.model_fields_set & WIRE_KEYS):
            message = (
                f"{key} is for serial: the speed of what is behind tcp or mqtt is set in its "
                "converter; leave it out"
            )
            yield file.problem(("line", index, key), f"line.{line.name}.{key}", message)


def _unknown_traced_lines(
    file: SettingsFile, settings: Site, terminals: Terminals
) -> Iterator[Problem]:
    names = {line.name for line in (*settings.line, *settings.gateway)} | _lines_of(terminals)
    for name in settings.log.trace_lines:
        if name not in names:
            message = f"no line {name}{did_you_mean(name, names)}"
            yield file.problem(("log", "trace_lines"), "log.trace_lines", message)


def _unusable_certificates(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    for section, index, key, name, load in _tls_of(settings):
        try:
            load()
        except OSError as error:
            reason = error.strerror or error
            message = f"cannot be used with its key and authority: {reason}"
            yield file.problem((section, index, *key), ".".join((section, name, *key)), message)


def _tls_of(
    settings: Site,
) -> Iterator[tuple[str, int, tuple[str, ...], str, Callable[[], object]]]:
    """What offers or demands TLS: section, number, key, name, and how its files are loaded."""
    for index, listener in enumerate(settings.listener):
        if listener.tls_certificate is not None and listener.tls_key is not None:
            load = partial(
                server_tls, listener.tls_certificate, listener.tls_key, listener.tls_client_ca
            )
            yield "listener", index, ("tls_certificate",), listener.name, load
    for section, key, names, brokers in (
        ("gateway", "broker", settings.gateway, [it.broker for it in settings.gateway]),
        ("line", "mqtt", settings.line, [it.mqtt for it in settings.line]),
    ):
        for index, (named, broker) in enumerate(zip(names, brokers, strict=True)):
            if broker is not None and broker.tls_ca is not None:
                load = partial(client_tls, broker.tls_ca, broker.tls_certificate, broker.tls_key)
                yield section, index, (key, "tls_ca"), named.name, load


def _idle_fingerprints(
    file: SettingsFile, settings: Site, terminals: Terminals
) -> Iterator[Problem]:
    """Fingerprints that nobody looks at, because no certificate is asked for."""
    for index, listener in enumerate(settings.listener):
        listed = [it.terminal for it in terminals[listener.name] if it.fingerprint]
        if listed and listener.tls_client_ca is None:
            message = (
                f"{shown(listener.terminals, file.base)} has the fingerprint of terminal "
                f"{listed[0]}'s certificate, and no certificate is asked for: set tls_client_ca"
            )
            place = ("listener", index, "terminals")
            yield file.problem(place, f"listener.{listener.name}.tls_client_ca", message)


def _unknown_listeners(file: SettingsFile, settings: Site) -> Iterator[Problem]:
    names = {listener.name for listener in settings.listener}
    for name in settings.control.trips_over_plain_text:
        if name not in names:
            message = f"no listener {name}{did_you_mean(name, names)}"
            place = ("control", "trips_over_plain_text")
            yield file.problem(place, "control.trips_over_plain_text", message)


# --- the files that it names


def _load_terminals(file: SettingsFile, problems: list[Problem]) -> dict[str, tuple[Terminal, ...]]:
    """The lists of all listeners. No two lines of the site have one name."""
    terminals: dict[str, tuple[Terminal, ...]] = {}
    taken = {
        name: f"a {section} of meterd.toml"
        for section in ("line", "gateway", "listener")
        for name in file.names(section)
    }
    for listener in file.tables("listener"):
        place = listener.get("terminals")
        if not isinstance(place, str) or not place:
            continue
        form = _registration(listener.get("registration"))
        listed, mistakes = load_terminals(
            file.base / place,
            file.base,
            form,
            taken,
        )
        terminals[str(listener.get("name"))] = listed
        problems += mistakes
    return terminals


def _registration(value: object) -> Registration | None:
    """How terminals say who they are; None when that is wrong itself, which is told elsewhere."""
    try:
        return registration_form(value)
    except ValueError:
        return None


def _tariffs(file: SettingsFile, problems: list[Problem]) -> dict[str, Versions] | None:
    """The tariffs, or None when they are wrong themselves: then no account is told a mistake."""
    path = file.path_of("site", "tariffs")
    if path is None:
        return None
    tariffs, mistakes = load_tariffs(path, shown(path, file.base))
    problems += mistakes
    return None if mistakes else tariffs


def _archive(
    file: SettingsFile,
    terminals: Terminals,
    tariffs: Mapping[str, Versions] | None,
    problems: list[Problem],
    known: Archive | None,
    quality: QualitySection,
) -> Archive:
    folder = file.path_of("site", "archive")
    if folder is not None and not folder.is_dir():
        message = f"there is no folder {shown(folder, file.base)}"
        problems.append(file.problem(("site", "archive"), "site.archive", message))
        folder = None
    if folder is None:
        return Archive(
            (),
            (),
            (),
            {},
        )
    around = Around(
        file.base,
        lines=file.names("line") | _lines_of(terminals),
        gateways={
            str(it.get("name")): str(it.get("family", "meterd")) for it in file.tables("gateway")
        },
        tariffs=tariffs,
        one_phase_kwh=quality.max_daily_kwh,
    )
    archive, mistakes = load_archive(folder, around, known)
    problems += mistakes
    return archive


def _lines_of(terminals: Terminals) -> set[str]:
    return {terminal.line for listed in terminals.values() for terminal in listed}


def _closing_at_once(archive: Archive, settings: Site, base: Path) -> Iterator[Problem]:
    """Relays without a button close the moment they are told.

    Closing at once must have been agreed with the customer."""
    without_button = {gateway.name for gateway in settings.gateway if gateway.family != "meterd"}
    at_once = {
        (protocol, line)
        for protocol, line in set(map(attrgetter("protocol", "line"), archive.meters))
        if protocol.startswith("modbus") or line in without_button
    }
    if not at_once:
        return
    waiting = {point.point for point in archive.points if point.reconnect == "allow_close"}
    name = shown(settings.site.archive / "points.csv", base)
    for meter in archive.meters:
        closes_at_once = (meter.protocol, meter.line) in at_once
        if meter.relay and closes_at_once and meter.point in waiting:
            message = (
                f"meter {meter.address} closes at once: reconnect must be close, not allow_close"
            )
            yield Problem(
                name,
                1,
                meter.point,
                message,
            )
