"""What changes from one configuration of a site to the next.

And what of it can be applied while the daemon runs."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple

from pydantic import BaseModel

from config.archive import Archive
from config.lines import LineMeter, LineSpec, TerminalSettings, configured_lines, line_specs
from config.load import LoadedSite
from config.secret import Secret
from config.settings import LineCollectionSection, ListenerSection, QualitySection, Site, file_keys
from config.tariff_version import TariffVersion

OF_PORTS = ("listen", "tls_certificate", "tls_key", "tls_client_ca", "enabled")
"""Keys of a `[[listener]]` that need a restart, because its port stays open while the daemon
runs."""
OF_TERMINALS = frozenset(field.name for field in fields(TerminalSettings))
"""Keys of a `[[listener]]` that are named with the lines that they change."""
APPLIED = frozenset(
    f"{section}.{key}"
    for section, model in (("collection", LineCollectionSection), ("quality", QualitySection))
    for key in file_keys(model).values()
) | frozenset(
    {"site.archive", "site.tariffs", "log.level", "log.trace_lines", "alarms.escalate_after_min"}
)
"""Keys outside of the sections of lines that need no restart.

Those of `[control]` do on purpose: a start is followed by `startup_hold_min` without trips, in
which a mistake about who is cut can be seen."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a reload would do.

    `changed`: the lines that are built anew, and why. `moved`: meters that change their line,
    (address, from, to). `archive`: how many rows of each table came, went or changed; `days`: what
    that means for points, day by day, in words, where the database was asked. `waiting`: versions
    of tariffs that wait for a second person; `stale`: what documents say otherwise than the files;
    both in words, and neither is a difference."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unchanged: int = 0
    moved: tuple[tuple[str, str, str], ...] = ()
    archive: Mapping[str, int] = field(default_factory=dict)
    days: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if a reload would do nothing and a restart neither."""
        told = Difference(unchanged=self.unchanged, waiting=self.waiting, stale=self.stale)
        return self == told

    @property
    def touched(self) -> set[str]:
        """The lines that are not left alone."""
        return {*self.added, *self.removed, *self.changed}

    def as_dict(self) -> dict[str, Any]:
        """The difference as it is sent to a command that asks for it."""
        return asdict(self)


def difference(old: LoadedSite, new: LoadedSite) -> Difference:
    """What a reload would do to a daemon that runs by `old`, were its files `new`."""
    rows = _changed_rows(old, new)
    meeting = _lines_meeting(rows, old.archive, new.archive)
    # Compared is what would run, so that a key that needs a restart builds no line anew.
    before = _lines(old, meeting)
    after = _lines(applicable(old, new), meeting)
    reasons = {name: _why(before[name], after[name]) for name in after if name in before}
    changed = {name: why for name, why in reasons.items() if why}
    settings = _changed_settings(old.settings, new.settings)
    listeners = _changed_listeners(old.settings, new.settings)
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=changed,
        unchanged=len(reasons) - len(changed),
        moved=tuple(_moved_meters(rows["meters"])),
        archive={table: len(changed) for table, changed in rows.items() if changed},
        settings=(
            *settings.applied,
            *listeners.applied,
            *_changed_callers(old, new),
            *_changed_channels(old.settings, new.settings),
            *_changed_on_call(old.settings, new.settings),
        ),
        needs_restart=(*settings.needing_restart, *listeners.needing_restart),
    )


def applicable(old: LoadedSite, new: LoadedSite) -> LoadedSite:
    """`new` as far as it can be applied while the daemon runs.

    What needs a restart stays as it was. A listener that was taken out keeps its port until
    then, and no terminal."""
    settings: dict[str, Any] = {"listener": _listeners_at_their_ports(old.settings, new.settings)}
    for name, was, now in _pairs_of_sections(old.settings, new.settings):
        kept = [
            attribute
            for attribute, key in file_keys(type(was)).items()
            if f"{name}.{key}" not in APPLIED
        ]
        settings[name] = now.model_copy(update={key: getattr(was, key) for key in kept})
    terminals = {
        listener.name: new.terminals.get(listener.name, ()) for listener in old.settings.listener
    }
    return replace(
        new,
        settings=new.settings.model_copy(update=settings),
        terminals=terminals,
    )


def _listeners_at_their_ports(old: Site, new: Site) -> tuple[ListenerSection, ...]:
    named = {listener.name: listener for listener in new.listener}
    return tuple(_at_its_port(was, named.get(was.name, was)) for was in old.listener)


def _at_its_port(was: ListenerSection, now: ListenerSection) -> ListenerSection:
    return now.model_copy(update={key: getattr(was, key) for key in OF_PORTS})


def changed_part(old: LoadedSite, new: LoadedSite) -> tuple[LoadedSite, frozenset[str]]:
    """`new` with those rows alone of which the files say something else; and the points they meet.

    What a change of one row means is found out without the other hundred thousand."""
    rows = _changed_rows(old, new)
    points = set(rows["points"])
    addresses = set(rows["meters"])
    points |= {meter.point for meter in _sides(rows["meters"])}
    accounts = set(rows["accounts"])
    archive = new.archive
    points |= {point.point for point in archive.points if point.account in accounts}
    accounts |= {point.account or "" for point in archive.points if point.point in points}
    part = replace(
        archive,
        meters=tuple(it for it in archive.meters if it.address in addresses or it.point in points),
        points=tuple(it for it in archive.points if it.point in points),
        accounts=tuple(it for it in archive.accounts if it.account in accounts),
        texts={},
    )
    return replace(new, archive=part), frozenset(points)


# --- lines


class _Parts(NamedTuple):
    """What a line is built of: values by the key that says them, meters by their address."""

    settings: Mapping[str, Any]
    meters: Mapping[str, LineMeter]


def _lines(site: LoadedSite, with_meters: Container[str]) -> dict[str, _Parts]:
    """The enabled lines; the meters of those `with_meters` alone."""
    bare = [line for line in configured_lines(site) if line.enabled]
    return {spec.name: _parts(spec) for spec in [*bare, *line_specs(site, with_meters)]}


def _lines_meeting(
    rows: Mapping[str, Mapping[Any, _Sides]], old: Archive, new: Archive
) -> set[str]:
    """The lines with a meter of which its row, that of its point or its profile differs."""
    lines = {meter.line for meter in _sides(rows["meters"])}
    points = rows["points"]
    profiles = set(_differing(old.profiles, new.profiles))
    if points or profiles:
        for meters in (old.meters, new.meters):
            lines |= {it.line for it in meters if it.point in points or it.profile in profiles}
    return lines


def _parts(spec: LineSpec) -> _Parts:
    if isinstance(spec.settings, TerminalSettings):
        own = asdict(spec.settings)
    else:
        own = _by_key(spec.settings)
    collection = _by_key(spec.collection, LineCollectionSection)
    settings = {
        "kind": spec.kind,
        **own,
        "traced": spec.is_traced,
        **{f"collection.{key}": value for key, value in collection.items()},
    }
    return _Parts(settings, {listed.meter.address: listed for listed in spec.meters})


def _why(was: _Parts, now: _Parts) -> tuple[str, ...]:
    """The keys that differ; meters are counted."""
    # The usual line is the same; counting looks at each of its meters three times.
    if was == now:
        return ()
    counted = {
        "added": sum(address not in was.meters for address in now.meters),
        "removed": sum(address not in now.meters for address in was.meters),
        "changed": sum(was.meters.get(key, meter) != meter for key, meter in now.meters.items()),
    }
    words = [f"{count} meter{'s' * (count > 1)} {what}" for what, count in counted.items() if count]
    return (*_differing(was.settings, now.settings), *words)


def _differing(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The keys whose values differ, in the order of the files. No value is the same as None."""
    return [key for key in {**was, **now} if was.get(key) != now.get(key)]


# --- the archive


_Sides = tuple[Any, Any]
"""A row before and after; None where it was not there."""


def _moved_meters(meters: Mapping[str, _Sides]) -> Iterator[tuple[str, str, str]]:
    """(address, from, to) of the meters that are on another line."""
    for address, (was, now) in meters.items():
        if was is not None and now is not None and was.line != now.line:
            yield address, was.line, now.line


def _sides(rows: Mapping[Any, _Sides]) -> Iterator[Any]:
    """Every row that there was or is."""
    return (row for sides in rows.values() for row in sides if row is not None)


def _changed_rows(old: LoadedSite, new: LoadedSite) -> dict[str, dict[Any, _Sides]]:
    """By table the rows that came, went or changed, by what tells them apart."""
    was = old.archive
    now = new.archive
    return {
        "meters": _changed(was.meters, now.meters, attrgetter("address")),
        "points": _changed(was.points, now.points, attrgetter("point")),
        "accounts": _changed(was.accounts, now.accounts, attrgetter("account")),
        "tariffs": _changed(_versions(old), _versions(new), _tariff_and_start),
    }


def _changed(
    was: Sequence[Any], now: Sequence[Any], key: Callable[[Any], Any]
) -> dict[Any, _Sides]:
    if was is now:
        return {}
    # Rows that were not read again are the same objects: they need no look at what is in them.
    first = _same(zip(was, now, strict=False))
    last = _same(zip(reversed(was[first:]), reversed(now[first:]), strict=False))
    before = {key(row): row for row in was[first : len(was) - last]}
    after = {key(row): row for row in now[first : len(now) - last]}
    return {
        name: (before.get(name), after.get(name))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def _same(pairs: Iterable[_Sides]) -> int:
    """How many of the first pairs are the same object twice."""
    count = 0
    for one, other in pairs:
        if one is not other:
            break
        count += 1
    return count


def _versions(site: LoadedSite) -> list[tuple[str, TariffVersion]]:
    return [(name, version) for name, versions in site.tariffs.items() for version in versions.all]


def _tariff_and_start(named: tuple[str, TariffVersion]) -> tuple[str, date]:
    name, version = named
    return name, version.effective_from


# --- settings


class _Changed(NamedTuple):
    applied: list[str]
    needing_restart: list[str]


def _changed_settings(old: Site, new: Site) -> _Changed:
    """SECTION.KEY outside of the sections of lines."""
    keys = sorted(
        f"{name}.{key}"
        for name, was, now in _pairs_of_sections(old, new)
        for key in _differing(_by_key(was), _by_key(now))
    )
    return _Changed(
        applied=[key for key in keys if key in APPLIED],
        needing_restart=[key for key in keys if key not in APPLIED],
    )


def _changed_listeners(old: Site, new: Site) -> _Changed:
    """The listeners' own keys, listener.NAME.KEY.

    Only listener.NAME of one that comes or goes."""
    was = {listener.name: _by_key(listener) for listener in old.listener}
    now = {listener.name: _by_key(listener) for listener in new.listener}
    found = _Changed([], [f"listener.{name}" for name in _lacking(was, now)])
    for name in [name for name in was if name in now]:
        for key in _differing(was[name], now[name]):
            if key in OF_PORTS:
                found.needing_restart.append(f"listener.{name}.{key}")
            elif key not in OF_TERMINALS:
                found.applied.append(f"listener.{name}.{key}")
    return found


def _changed_channels(old: Site, new: Site) -> Iterator[str]:
    """The ways for notices: notice_channel.NAME.KEY, only notice_channel.NAME of one that comes or
    goes."""
    was = {channel.name: _by_key(channel) for channel in old.notice_channel}
    now = {channel.name: _by_key(channel) for channel in new.notice_channel}
    for name in _lacking(was, now):
        yield f"notice_channel.{name}"
    for name in [name for name in was if name in now]:
        for key in _differing(was[name], now[name]):
            yield f"notice_channel.{name}.{key}"


def _changed_on_call(old: Site, new: Site) -> Iterator[str]:
    """Who is told of alarms: on_call.NAME of everybody who comes, goes or is told otherwise."""
    names = dict.fromkeys(it.name for it in (*old.on_call, *new.on_call))
    for name in names:
        was, now = ([it for it in of.on_call if it.name == name] for of in (old, new))
        if was != now:
            yield f"on_call.{name}"


def _changed_callers(old: LoadedSite, new: LoadedSite) -> Iterator[str]:
    """The lists in which it changed who may speak for a terminal: no line is built anew by that."""
    for name, listed in new.terminals.items():
        was = {it.terminal: (it.networks, it.fingerprint) for it in old.terminals.get(name, ())}
        now = {it.terminal: (it.networks, it.fingerprint) for it in listed}
        if any(was[terminal] != now[terminal] for terminal in was.keys() & now.keys()):
            yield f"listener.{name}.terminals"


def _lacking(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names that only one of them has."""
    return [name for name in {**was, **now} if name not in was or name not in now]


def _pairs_of_sections(old: Site, new: Site) -> Iterator[tuple[str, BaseModel, BaseModel]]:
    """The sections that stand once in a file: name, old, new."""
    for name in Site.model_fields:
        was = getattr(old, name)
        if isinstance(was, BaseModel):
            yield name, was, getattr(new, name)


def _by_key(section: BaseModel, of: type[BaseModel] | None = None) -> dict[str, Any]:
    """The values of a section by their keys in the file; only the keys of its base class `of`."""
    keys = file_keys(of or type(section))
    return {key: _comparable(getattr(section, name)) for name, key in keys.items()}


def _comparable(value: Any) -> Any:
    """Secrets by what they hide, which never leaves this module."""
    match value:
        case Secret():
            return value.reveal()
        case BaseModel():
            return _by_key(value)
        case tuple():
            return tuple(map(_comparable, value))
    return value
