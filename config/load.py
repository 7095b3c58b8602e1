"""Load a site: every file once, every mistake at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.archive import Archive, load_archive
from config.problems import ConfigError, Problem, did_you_mean, shown
from config.settings import ListenerSection, Site, known_keys, registration_form
from config.tariffs import TariffVersion, load_tariffs
from config.terminals import Terminal, load_terminals
from config.toml_lines import line_of, read_toml
from protocols.channels.tls import server_tls


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """Everything that was configured, checked as a whole. `terminals`: those of each listener, by
    its name."""

    path: Path
    settings: Site
    archive: Archive
    tariffs: Mapping[str, list[TariffVersion]]
    terminals: Mapping[str, tuple[Terminal, ...]]


def load_site(path: Path) -> LoadedSite:
    """Read `meterd.toml` and the files it names. ConfigError with all mistakes if there is any."""
    settings, content, terminals, problems = _load_settings(path)
    base = path.absolute().parent
    places = _table(content, "site")
    tariffs: Mapping[str, list[TariffVersion]] = {}
    archive = Archive((), (), (), {})
    known_tariffs: Mapping[str, list[TariffVersion]] | None = None
    if isinstance(places.get("tariffs"), str):
        tariffs, mistakes = load_tariffs(base / places["tariffs"], base)
        problems += mistakes
        known_tariffs = None if mistakes else tariffs
    if isinstance(places.get("archive"), str):
        lines = _routes(content, "line") | {
            it.line for listed in terminals.values() for it in listed
        }
        archive, mistakes = load_archive(
            base / places["archive"],
            base,
            lines,
            _routes(content, "gateway"),
            known_tariffs,
        )
        problems += mistakes
    if settings is not None:
        problems += _closing_at_once(archive, settings, base)
    if settings is None or problems:
        raise ConfigError(problems)
    return LoadedSite(
        path,
        settings,
        archive,
        tariffs,
        terminals,
    )


def _closing_at_once(archive: Archive, settings: Site, base: Path) -> list[Problem]:
    """Relays without a button close the moment they are told: that must have been agreed with the
    customer."""
    plain = {gateway.name for gateway in settings.gateway if gateway.family != "meterd"}
    waiting = {point.point for point in archive.points if point.reconnect == "allow_close"}
    name = shown(settings.site.archive / "points.csv", base)
    return [
        Problem(
            name,
            1,
            meter.point,
            f"meter {meter.address} closes at once: reconnect must be close, not allow_close",
        )
        for meter in archive.meters
        if meter.relay
        and meter.point in waiting
        and (meter.protocol.startswith("modbus") or meter.line in plain)
    ]


def _table(content: Any, name: str) -> Mapping[str, Any]:
    table = content.get(name)
    return table if isinstance(table, dict) else {}


def _tables(content: Any, kind: str) -> list[dict[str, Any]]:
    tables = content.get(kind)
    return (
        [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []
    )


def _routes(content: Any, kind: str) -> set[str]:
    """The names of lines or gateways that are there, whatever else is wrong with them."""
    return {str(route.get("name")) for route in _tables(content, kind)}


def _load_settings(
    path: Path,
) -> tuple[Site | None, dict[str, Any], Mapping[str, tuple[Terminal, ...]], list[Problem]]:
    """The settings, None when they cannot be used, and the raw content, in which the other files
    are found anyway: here the lists of terminals, because they name lines."""
    name = path.name
    try:
        content, lines = read_toml(path, name if path.is_file() else str(path))
    except ConfigError as error:
        return None, {}, {}, error.problems
    base = path.absolute().parent
    terminals, problems = _load_terminals(content, base)
    try:
        settings = Site.model_validate(content, context={"base": base})
    except ValidationError as error:
        problems += [_problem(name, lines, content, mistake) for mistake in error.errors()]
        return None, content, terminals, problems
    if not settings.line and not settings.gateway and not settings.listener:
        problems.append(
            Problem(name, 1, "line", "there is no line; add [[line]] with name and tcp or serial")
        )
    names: set[str] = set()
    routes = [("line", index, line.name) for index, line in enumerate(settings.line)]
    routes += [("gateway", index, gateway.name) for index, gateway in enumerate(settings.gateway)]
    routes += [
        ("listener", index, listener.name) for index, listener in enumerate(settings.listener)
    ]
    for kind, index, route in routes:
        if route in names:
            where = line_of(lines, (kind, index, "name"))
            problems.append(Problem(name, where, f"{kind}.{route}", "two lines have this name"))
        names.add(route)
    names -= {listener.name for listener in settings.listener}
    names |= {it.line for listed in terminals.values() for it in listed}
    for traced in settings.log.trace_lines:
        if traced not in names:
            where = line_of(lines, ("log", "trace_lines"))
            problems.append(
                Problem(
                    name, where, "log.trace_lines", f"no line {traced}{did_you_mean(traced, names)}"
                )
            )
    for index, listener in enumerate(settings.listener):
        if (why := _unusable_tls(listener)) is not None:
            where = line_of(lines, ("listener", index, "tls_certificate"))
            problems.append(Problem(name, where, f"listener.{listener.name}.tls_certificate", why))
    return settings, content, terminals, problems


def _load_terminals(
    content: Any, base: Path
) -> tuple[dict[str, tuple[Terminal, ...]], list[Problem]]:
    """The lists of all listeners, whatever else is wrong with these. No two lines of the site have
    one name."""
    problems: list[Problem] = []
    terminals: dict[str, tuple[Terminal, ...]] = {}
    taken = {
        route: f"a {kind} of meterd.toml"
        for kind in ("line", "gateway", "listener")
        for route in _routes(content, kind)
    }
    for listener in _tables(content, "listener"):
        file = listener.get("terminals")
        if not isinstance(file, str) or not file:
            continue
        try:
            form = registration_form(listener.get("registration"))
        except ValueError:
            form = None
        terminals[str(listener.get("name"))], mistakes = load_terminals(
            base / file, base, form, taken
        )
        problems += mistakes
    return terminals, problems


def _unusable_tls(listener: ListenerSection) -> str | None:
    if listener.tls_certificate is None or listener.tls_key is None:
        return None
    try:
        server_tls(listener.tls_certificate, listener.tls_key, listener.tls_client_ca)
    except OSError as error:
        return f"cannot be used with its key and authority: {error.strerror or error}"
    return None


def _problem(
    name: str, lines: dict[tuple[str | int, ...], int], content: Any, mistake: Any
) -> Problem:
    """One mistake in the reader's words: lines are called by their names, not by their number."""
    path = tuple(
        part
        for part in mistake["loc"]
        if not (isinstance(part, str) and part.startswith("function-"))
    )
    shown: list[str] = []
    at = content
    for part in path:
        at = at[part] if isinstance(at, dict | list) and _has(at, part) else None
        if isinstance(part, int):
            label = at.get("name") if isinstance(at, dict) else None
            shown.append(str(label if isinstance(label, str) else part))
        else:
            shown.append(part)
    match mistake["type"]:
        case "extra_forbidden":
            message = f"unknown key{did_you_mean(str(path[-1]), known_keys(path[:-1]))}"
        case "missing":
            message = "is missing"
        case _:
            message = mistake["msg"].removeprefix("Value error, ")
    return Problem(name, line_of(lines, path), ".".join(shown) or "file", message)


def _has(at: dict[Any, Any] | list[Any], part: str | int) -> bool:
    return part in at if isinstance(at, dict) else isinstance(part, int) and part < len(at)
