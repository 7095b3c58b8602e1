"""What customers are told, by language: texts with blanks, shipped and overridden by a site."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from types import MappingProxyType
from typing import Any, Final

from config.problems import ConfigError, Problem, did_you_mean, shown
from config.toml_lines import Path as Place
from config.toml_lines import line_of, read_toml
from config.translation import LANGUAGES

SHIPPED: Final = Path(__file__).parent / "notices"

_WHOLE: Final = frozenset(
    {
        "account",
        "balance",
        "missing",
        "since",
        "deadline",
        "planned",
        "how_to_pay",
        "how_to_restore",
        "how_to_complain",
    }
)
NOTICES: Final[Mapping[str, frozenset[str]]] = {
    "written": _WHOLE,
    "visit": _WHOLE,
    "final": _WHOLE,
    "low": frozenset({"account", "balance", "warn", "how_to_pay"}),
    "few_days": frozenset({"account", "balance", "days_left", "how_to_pay"}),
    "arrears": frozenset({"account", "balance", "missing", "since", "how_to_pay"}),
    "cycle_end": frozenset(
        {"account", "balance", "days_left", "cycle_end", "suggested", "how_to_pay"}
    ),
    "cut": frozenset(
        {"account", "balance", "missing", "how_to_pay", "how_to_restore", "how_to_complain"}
    ),
    "button": frozenset({"account", "how_to_complain"}),
}
"""By notice the blanks that its text has to have, and may have (control, notices; R74, R75,
R89c)."""
WHY: Final[Mapping[str, frozenset[str]]] = {
    "safety": frozenset({"since", "reason"}),
    "theft": frozenset({"since", "reason"}),
    "customer_request": frozenset({"since", "reason"}),
    "order_over": frozenset({"since"}),
    "former_customer": frozenset({"since"}),
    "cut": frozenset({"since", "balance", "missing", "how_to_restore"}),
    "kept_off": frozenset({"since", "reason"}),
    "left_dark": frozenset({"since", "balance"}),
    "restore_due": frozenset({"since", "balance"}),
    "trip": frozenset({"since", "balance", "missing"}),
    "reconnect": frozenset({"since"}),
    "button": frozenset({"since"}),
    "foreign_open": frozenset({"seen", "balance"}),
    "planned_outage": frozenset({"since", "until", "reason"}),
    "line_down": frozenset({"line", "since", "reason"}),
    "area_silent": frozenset({"silent", "meters", "area"}),
    "meter_silent": frozenset({"address"}),
    "on": frozenset(),
    "never_read": frozenset({"address"}),
    "no_meter": frozenset(),
    "unknown": frozenset({"heard"}),
}
"""By cause of darkness the blanks of its sentence (R108)."""
EVIDENCE: Final[Mapping[str, frozenset[str]]] = {
    "relay_open": frozenset({"at"}),
    "relay_closed": frozenset({"at"}),
    "heard": frozenset({"at"}),
    "never_heard": frozenset(),
    "asked": frozenset({"at"}),
    "line_down": frozenset({"line", "at"}),
    "kept_off": frozenset({"at"}),
    "command": frozenset({"at", "state"}),
    "safety_all_the_same": frozenset(),
    "visit": frozenset({"at"}),
}
COMMAND: Final[Mapping[str, frozenset[str]]] = dict.fromkeys(
    (
        "persisted",
        "sent",
        "acked",
        "unknown",
        "verifying",
        "verified",
        "refused",
        "expired",
        "superseded",
        "cancelled",
        "failed",
    ),
    frozenset(),
)
"""What may have become of a command (R108)."""
STAFF_CALL: Final = frozenset({"number", "what", "count", "area", "which", "since", "level", "how"})
"""The blanks of what is told those on call (R78)."""
STAFF_ALARM: Final[Mapping[str, frozenset[str]]] = dict.fromkeys(
    (
        "reconnect_late",
        "trip_unverified",
        "cut_on_disabled_line",
        "cut_on_silent_line",
        "cut_not_seen",
        "cut_in_shadow",
        "order_not_done",
        "breaker_open",
        "job_overdue",
        "job_restore",
        "job_trip",
        "job_foreign_open",
        "job_foreign_closed",
        "job_notice",
    ),
    frozenset(),
)
"""What they may be told of."""
HOW_TO_RESTORE: Final[Mapping[str, frozenset[str]]] = {
    "allow_close": frozenset(),
    "close": frozenset(),
}
_NOTICE_KEYS: Final = ("title", "text")
_TABLES: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "how_to_restore": HOW_TO_RESTORE,
    **{name: {"title": blanks, "text": blanks} for name, blanks in NOTICES.items()},
    "why": WHY,
    "evidence": EVIDENCE,
    "command": COMMAND,
    "staff_call": {"title": STAFF_CALL, "text": STAFF_CALL},
    "staff_alarm": STAFF_ALARM,
}
"""By table and key the blanks that there are."""


@dataclass(frozen=True, slots=True)
class NoticeTexts:
    """The texts of one language, by table and key."""

    language: str
    tables: Mapping[str, Mapping[str, str]]

    def fill(self, table: str, key: str, values: Mapping[str, str]) -> str:
        """The text with its blanks filled; `values` may have more than it asks for."""
        return self.tables[table][key].format_map(values).strip()


Texts = Mapping[str, NoticeTexts]
"""By language."""


@cache
def shipped_texts() -> Texts:
    """What is told where the site says nothing else."""
    return load_texts(None, Path())


def load_texts(folder: Path | None, base: Path) -> Texts:
    """The shipped texts under those that `folder` overrides. ConfigError with every mistake.

    `base`: what paths in messages are relative to."""
    problems: list[Problem] = []
    texts = {}
    for language in LANGUAGES:
        tables = _tables(SHIPPED / f"{language}.toml", Path(), problems)
        own = folder / f"{language}.toml" if folder else None
        overridden = _tables(own, base, problems) if own is not None and own.is_file() else {}
        texts[language] = NoticeTexts(language, _merged(tables, overridden))
    if folder is not None and not any((folder / f"{it}.toml").is_file() for it in LANGUAGES):
        message = f"has none of {', '.join(f'{it}.toml' for it in LANGUAGES)}"
        problems.append(Problem(shown(folder, base), 1, "notices.texts", message))
    if problems:
        raise ConfigError(problems)
    return MappingProxyType(texts)


def _merged(
    shipped: Mapping[str, Mapping[str, str]], own: Mapping[str, Mapping[str, str]]
) -> Mapping[str, Mapping[str, str]]:
    return {name: {**texts, **own.get(name, {})} for name, texts in shipped.items()}


def _tables(path: Path, base: Path, problems: list[Problem]) -> dict[str, dict[str, str]]:
    """What stands in a file, as far as it can be used."""
    name = shown(path, base)
    try:
        content, lines = read_toml(path, name)
    except ConfigError as error:
        problems += error.problems
        return {}
    found: dict[str, dict[str, str]] = {}
    for place, message in _mistakes(content):
        where = ".".join(map(str, place))
        problems.append(Problem(name, line_of(lines, place), where, message))
    for table, keys in _TABLES.items():
        given = content.get(table)
        if isinstance(given, dict):
            found[table] = {key: given[key] for key in keys if isinstance(given.get(key), str)}
    return found


def _mistakes(content: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    for table, given in content.items():
        keys = _TABLES.get(table)
        if keys is None:
            yield (table,), f"unknown table{did_you_mean(table, _TABLES)}"
        elif not isinstance(given, dict):
            yield (table,), "is no table"
        else:
            for key, text in given.items():
                for message in _mistakes_of_text(table, key, text, keys):
                    yield (table, key), message


def _mistakes_of_text(
    table: str, key: str, text: object, keys: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    if key not in keys:
        yield f"unknown key{did_you_mean(key, keys)}"
        return
    if not isinstance(text, str) or not text.strip():
        yield "must be a text"
        return
    try:
        blanks = _blanks(text)
    except ValueError as error:
        yield f"cannot be filled: {error}; write {{{{ and }}}} for braces"
        return
    for blank in sorted(blanks - keys[key]):
        yield f"unknown blank {{{blank}}}{did_you_mean(blank, keys[key])}"
    # A title is short: only what is said below it has to be whole.
    missing = [] if key == "title" else sorted(keys[key] - blanks)
    if missing:
        yield f"does not say {', '.join(f'{{{blank}}}' for blank in missing)}"


def _blanks(text: str) -> set[str]:
    """ValueError where braces are not in pairs, or a blank asks for more than its value."""
    found = set()
    for _, name, form, conversion in Formatter().parse(text):
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            raise ValueError(f"{{{name}}} is more than a name")
        found.add(name)
    return found
