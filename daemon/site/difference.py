"""What changes from one configuration of a site to the next, and what of it can be applied while
the daemon runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from config.load import LoadedSite
from config.secret import Secret
from config.settings import ListenerSection, Site
from daemon.site.listeners import enabled_listeners

OF_ALL_ROUTES = (
    *("collection.backfill_days", "collection.retry_s", "collection.reconnect_s"),
    "collection.set_clocks",
)
"""Every line is built of these too."""
OF_TERMINALS = ("reply_timeout_s", "retries", "pipelined")
"""Of the keys of a `[[listener]]`, what the lines of its terminals are built of."""
OF_PORTS = ("listen", "tls_certificate", "tls_key", "tls_client_ca", "enabled")
"""What needs a restart."""
APPLIED = {*OF_ALL_ROUTES, "site.archive", "site.tariffs", "log.level", "log.trace_lines"}
"""Every other key outside of the routes' sections needs a restart. Those of `[control]` on purpose:
a start is followed by `startup_hold_min` without trips, in which a mistake about who is cut can be
seen."""
ROUTES = ("line", "gateway")
"""Sections of which each is a route. The routes of a `[[listener]]` are its terminals."""


@dataclass(frozen=True, slots=True)
class Difference:
    """`changed`: the lines that are built anew, and why. `moved`: meters that change their line,
    (address, from, to). `archive`: how many rows of each table came, went or changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unchanged: int = 0
    moved: tuple[tuple[str, str, str], ...] = ()
    archive: Mapping[str, int] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """True if a reload would do nothing and a restart neither."""
        return self == Difference(unchanged=self.unchanged)

    @property
    def touched(self) -> set[str]:
        """The lines that are not left alone."""
        return {*self.added, *self.removed, *self.changed}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def difference(old: LoadedSite, new: LoadedSite) -> Difference:
    """What a reload would do to a daemon that runs by `old`, were its files `new`."""
    before, after = _forms(old), _forms(applicable(old, new))
    both = [name for name in after if name in before]
    changed = {name: why for name in both if (why := _why(before[name], after[name]))}
    keys, (greetings, ports) = sorted(_changed_settings(old, new)), _changed_listeners(old, new)
    home = {meter.address: meter.line for meter in old.archive.meters}
    return Difference(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=changed,
        unchanged=len(both) - len(changed),
        moved=tuple(
            (meter.address, home[meter.address], meter.line)
            for meter in new.archive.meters
            if home.get(meter.address, meter.line) != meter.line
        ),
        archive=_archive(old, new),
        settings=(*(key for key in keys if key in APPLIED), *greetings),
        needs_restart=(*(key for key in keys if key not in APPLIED), *ports),
    )


def applicable(old: LoadedSite, new: LoadedSite) -> LoadedSite:
    """`new` as far as it can be applied while the daemon runs: what needs a restart stays as it
    was. A listener that was taken out keeps its port until then, and no terminal."""
    named = {section.name: section for section in new.settings.listener}
    kept: dict[str, Any] = {}
    for name in Site.model_fields:
        was, now = getattr(old.settings, name), getattr(new.settings, name)
        if name in ROUTES:
            continue
        if name == "listener":
            kept[name] = tuple(
                _at_its_port(section, named.get(section.name, section)) for section in was
            )
        elif isinstance(was, BaseModel):
            keys = [key for key in type(was).model_fields if f"{name}.{key}" not in APPLIED]
            kept[name] = now.model_copy(update={key: getattr(was, key) for key in keys})
        else:
            kept[name] = was
    terminals = {
        section.name: new.terminals.get(section.name, ()) for section in old.settings.listener
    }
    return replace(new, settings=new.settings.model_copy(update=kept), terminals=terminals)


def _at_its_port(was: ListenerSection, now: ListenerSection) -> ListenerSection:
    return now.model_copy(update={key: getattr(was, key) for key in OF_PORTS})


Form = Mapping[str, Any]
"""The normal form of a route: everything that it is built of, by the key that says it; a meter by
its address."""


def _forms(site: LoadedSite) -> dict[str, Form]:
    settings = _plain_settings(site.settings)
    shared = {key: settings[key] for key in OF_ALL_ROUTES}
    points = {point.point: (point.ratio, point.max_daily_kwh) for point in site.archive.points}
    meters: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for meter in site.archive.meters:
        profile = site.archive.profiles[meter.profile] if meter.profile else None
        meters[meter.line][f"meter {meter.address}"] = (meter, points.get(meter.point), profile)
    forms: dict[str, Form] = {}
    for kind in ROUTES:
        for section in getattr(site.settings, kind):
            if section.enabled:
                own = {
                    "kind": kind,
                    **_flat(section),
                    "traced": section.name in site.settings.log.trace_lines,
                }
                forms[section.name] = {
                    **own,
                    **shared,
                    **meters[section.name],
                }
    for listener in enabled_listeners(site):
        own_keys = {key: getattr(listener, key) for key in OF_TERMINALS}
        of_each = {
            "kind": "terminal",
            "listener": listener.name,
            **own_keys,
        }
        for it in site.terminals[listener.name]:
            own = {
                **of_each,
                "terminal": it.terminal,
                "traced": it.line in site.settings.log.trace_lines,
            }
            forms[it.line] = {
                **own,
                **shared,
                **meters[it.line],
            }
    return forms


def _why(was: Form, now: Form) -> tuple[str, ...]:
    """The keys that differ; meters are counted."""
    if was == now:
        return ()
    keys = [key for key in dict.fromkeys([*was, *now]) if was.get(key) != now.get(key)]
    meters = [key for key in keys if key.startswith("meter ")]
    counted = {
        "added": sum(key not in was for key in meters),
        "removed": sum(key not in now for key in meters),
        "changed": sum(key in was and key in now for key in meters),
    }
    words = [f"{count} meter{'s' * (count > 1)} {what}" for what, count in counted.items() if count]
    return (*(key for key in keys if not key.startswith("meter ")), *words)


def _archive(old: LoadedSite, new: LoadedSite) -> dict[str, int]:
    before, after = _rows(old), _rows(new)
    counted = {
        name: sum(was.get(key) != after[name].get(key) for key in was | after[name])
        for name, was in before.items()
    }
    return {name: count for name, count in counted.items() if count}


def _rows(site: LoadedSite) -> dict[str, dict[Any, Any]]:
    """The rows of each table by what tells them apart."""
    archive = site.archive
    return {
        "meters": {meter.address: meter for meter in archive.meters},
        "points": {point.point: point for point in archive.points},
        "accounts": {account.account: account for account in archive.accounts},
        "tariffs": {
            (it.tariff, it.effective_from): it
            for versions in site.tariffs.values()
            for it in versions
        },
    }


def _changed_settings(old: LoadedSite, new: LoadedSite) -> set[str]:
    was, now = (_plain_settings(site.settings) for site in (old, new))
    return {key for key in {*was, *now} if was.get(key) != now.get(key)}


def _changed_listeners(old: LoadedSite, new: LoadedSite) -> tuple[list[str], list[str]]:
    """(what is applied, what needs a restart) of the listeners' own keys: with KEY, or only NAME
    when one comes or goes."""
    was, now = ({it.name: _flat(it) for it in site.settings.listener} for site in (old, new))
    applied: list[str] = []
    restart = [f"listener.{name}" for name in {**was, **now} if name not in was or name not in now]
    for name, section in was.items():
        for key, value in section.items() if name in now else ():
            if value != now[name][key] and key not in OF_TERMINALS:
                (restart if key in OF_PORTS else applied).append(f"listener.{name}.{key}")
    return applied, restart


def _plain_settings(settings: Site) -> dict[str, Any]:
    """Every key outside of the routes' sections."""
    plain: dict[str, Any] = {}
    for name in Site.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            plain |= {f"{name}.{key}": found for key, found in _flat(value).items()}
    return plain


def _flat(section: BaseModel) -> dict[str, Any]:
    return {key: _plain(getattr(section, key)) for key in type(section).model_fields}


def _plain(value: Any) -> Any:
    """Something that can be compared: secrets by what they hide, which never leaves this module."""
    match value:
        case Secret():
            return value.reveal()
        case BaseModel():
            return _flat(value)
        case tuple():
            return tuple(map(_plain, value))
    return value
