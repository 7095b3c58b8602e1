"""What changes from one configuration of a site to the next, and what of it can be applied while the daemon runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from config.load import LoadedSite
from config.secret import Secret
from config.settings import Site

OF_ALL_ROUTES = ("collection.backfill_days", "collection.retry_s", "collection.reconnect_s")
"""Every line is built of these too."""
APPLIED = {*OF_ALL_ROUTES, "site.archive", "site.tariffs", "log.level", "log.trace_lines"}
"""Every other key outside of `[[line]]` and `[[gateway]]` needs a restart. Those of `[control]` on purpose: a start is
followed by `startup_hold_min` without trips, in which a mistake about who is cut can be seen."""
ROUTES = ("line", "gateway")


@dataclass(frozen=True, slots=True)
class Difference:
    """`changed`: the lines that are built anew, and why. `moved`: meters that change their line, (address, from, to).
    `archive`: how many rows of each table came, went or changed."""

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
    before, after = _forms(old), _forms(new)
    both = [name for name in after if name in before]
    changed = {name: why for name in both if (why := _why(before[name], after[name]))}
    keys = sorted(_changed_settings(old, new))
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
        settings=tuple(key for key in keys if key in APPLIED),
        needs_restart=tuple(key for key in keys if key not in APPLIED),
    )


def applicable(old: LoadedSite, new: LoadedSite) -> LoadedSite:
    """`new` as far as it can be applied while the daemon runs: what needs a restart stays as it was."""
    kept: dict[str, Any] = {}
    for name in Site.model_fields:
        was, now = getattr(old.settings, name), getattr(new.settings, name)
        if name in ROUTES:
            continue
        if isinstance(was, BaseModel):
            keys = [key for key in type(was).model_fields if f"{name}.{key}" not in APPLIED]
            kept[name] = now.model_copy(update={key: getattr(was, key) for key in keys})
        else:
            kept[name] = was
    return replace(new, settings=new.settings.model_copy(update=kept), terminals=old.terminals)


Form = Mapping[str, Any]
"""The normal form of a route: everything that it is built of, by the key that says it; a meter by its address."""


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
                own = {"kind": kind, **_flat(section), "traced": section.name in site.settings.log.trace_lines}
                forms[section.name] = {**own, **shared, **meters[section.name]}
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
        name: sum(was.get(key) != after[name].get(key) for key in was | after[name]) for name, was in before.items()
    }
    return {name: count for name, count in counted.items() if count}


def _rows(site: LoadedSite) -> dict[str, dict[Any, Any]]:
    """The rows of each table by what tells them apart."""
    archive = site.archive
    return {
        "meters": {meter.address: meter for meter in archive.meters},
        "points": {point.point: point for point in archive.points},
        "accounts": {account.account: account for account in archive.accounts},
        "tariffs": {(it.tariff, it.effective_from): it for versions in site.tariffs.values() for it in versions},
    }


def _changed_settings(old: LoadedSite, new: LoadedSite) -> set[str]:
    was, now = ({**_plain_settings(site.settings), "listener.terminals": site.terminals} for site in (old, new))
    return {key for key in {*was, *now} if was.get(key) != now.get(key)}


def _plain_settings(settings: Site) -> dict[str, Any]:
    """Every key outside of the routes' sections."""
    plain: dict[str, Any] = {}
    for name in Site.model_fields:
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            plain |= {f"{name}.{key}": found for key, found in _flat(value).items()}
        elif name not in ROUTES:
            plain[name] = _plain(value)
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
