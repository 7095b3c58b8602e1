"""The pages say what the program is: keys, columns, commands, metrics, reasons, links; the example
site works."""

import ast
import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import prometheus_client.metrics
import pytest
from pydantic import BaseModel

from config import archive
from config.archive import Around, load_archive
from config.load import load_site
from config.meters import Meter
from config.point_limit import Connection
from config.settings import BrokerSection, MqttLine, Site, file_keys, known_keys
from config.tariff_form import VERSION_KEYS
from config.tariff_version import Versions
from daemon import metrics
from daemon.cli import cli
from daemon.control import guard
from daemon.site.difference import APPLIED
from simulators.bench.scenario import load_scenario
from storage.migrations import migrations

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
EXAMPLE = ROOT / "config" / "example"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "systemd").glob("*.md")])
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.M | re.S)
    assert found, f"no section {heading}"
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """The rows of the section's tables: first cell (without backticks) -> the other cells."""
    lines = [line.strip() for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in rows if row[0].startswith("`")}


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def test_what_a_page_has_reloaded_or_restarted_is_taken_over_so() -> None:
    told = re.compile(r"`(\w+) = [^`]*` in `\[(\w+)\]`, then `(meterd reload|systemctl restart)")
    found = [it for path in PAGES for it in told.findall(path.read_text(encoding="utf-8"))]
    assert ("mode", "control", "systemctl restart") in found
    for key, table_name, then in found:
        assert (f"{table_name}.{key}" in APPLIED) == (then == "meterd reload"), key


# --- configuration --------------------------------------------------------------------------------

LISTS: dict[str, dict[str, Any]] = {
    "line": {"name": "gate-1", "tcp": "127.0.0.1:1"},
    "gateway": {"name": "gw-1", "broker": {"host": "127.0.0.1"}},
    "listener": {
        "name": "l-1",
        "listen": "127.0.0.1:1",
        "terminals": "t.csv",
        "registration": {"text": "{id:4}"},
    },
    "policy": {"name": "market"},
    "person": {"name": "li", "roles": ["finance"]},
    "on_call": {"name": "li", "channel": "app", "address": "1"},
    "notice_channel": {"name": "app", "apprise": {"file": "tests/data/notice-url"}},
}
SECTIONS = {name: f"`[[{name}]]`" if name in LISTS else f"`[{name}]`" for name in Site.model_fields}
REQUIRED = {
    "site": {
        "name": "s",
        "zone": "Asia/Shanghai",
        "data_directory": "d",
        "archive": "a",
        "tariffs": "t",
    }
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_key_of_a_section_is_explained_and_no_other(name: str) -> None:
    documented = table(section(page("configuration.md"), SECTIONS[name]))
    assert sorted(documented) == sorted(known_keys((name,)))


def with_defaults_written_out(name: str) -> dict[str, Any]:
    rows = table(section(page("configuration.md"), SECTIONS[name]))
    given = {
        key: cells[1].strip("`")
        for key, cells in rows.items()
        if cells[1] not in ("required", "none")
    }
    return tomllib.loads("\n".join(f"{key} = {value}" for key, value in given.items()))


def test_the_defaults_on_the_page_are_the_programs() -> None:
    context = {"base": ROOT}
    silent = Site.model_validate(
        {**REQUIRED, **{name: [needed] for name, needed in LISTS.items()}}, context=context
    )
    spoken = {name: with_defaults_written_out(name) for name in SECTIONS if name != "site"}
    lists = {name: [{**spoken[name], **needed}] for name, needed in LISTS.items()}
    written = {**REQUIRED, **spoken, **lists}
    assert Site.model_validate(written, context=context) == silent


@pytest.mark.parametrize("name", SECTIONS)
def test_a_key_without_a_default_on_the_page_has_none_in_the_program(name: str) -> None:
    annotation = Site.model_fields[name].annotation
    model = next(
        kind for kind in (annotation, *getattr(annotation, "__args__", ())) if is_section(kind)
    )
    compare_missing_defaults(table(section(page("configuration.md"), SECTIONS[name])), model)


def compare_missing_defaults(rows: dict[str, list[str]], model: type[BaseModel]) -> None:
    names = {key: name for name, key in file_keys(model).items()}
    for key, (_, default, *_) in rows.items():
        field = model.model_fields[names[key]]
        assert (default == "required") == field.is_required(), key
        assert (default == "none") == (not field.is_required() and field.default is None), key


def test_the_keys_of_a_broker_are_explained_with_their_defaults() -> None:
    rows = table(section(page("configuration.md"), "Brokers"))
    assert list(rows) == list(BrokerSection.model_fields)
    compare_missing_defaults(rows, BrokerSection)
    given = [
        f"{key} = {default}"
        for key, (_, default, *_) in rows.items()
        if default not in ("required", "none")
    ]
    spoken = tomllib.loads("\n".join(given).replace("`", ""))
    assert BrokerSection.model_validate({"host": "h", **spoken}) == BrokerSection(host="h")


def test_the_keys_of_an_mqtt_line_are_explained_with_their_defaults() -> None:
    own = {
        key: it
        for key, it in MqttLine.model_fields.items()
        if key not in BrokerSection.model_fields
    }
    text = section(page("configuration.md"), SECTIONS["line"])
    assert [key for key in own if f"`{key}`" not in text] == []
    assert [
        it.default
        for it in own.values()
        if not it.is_required() and f'`"{it.default}"`' not in text
    ] == []


SHOWN_ROUTES = "".join(map(page, ("configuration.md", "mqtt.md", "modbus.md", "terminals.md")))


@pytest.mark.parametrize("block", code_blocks(SHOWN_ROUTES, "toml"))
def test_the_routes_that_the_pages_show_are_read(block: str) -> None:
    shown = {name: part for name, part in tomllib.loads(block).items() if name in LISTS}
    Site.model_validate({**REQUIRED, **shown}, context={"base": ROOT})


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


ARCHIVE = {
    "meters.csv": Meter,
    "points.csv": archive.Point,
    "accounts.csv": archive.Account,
}


def columns_of(name: str) -> dict[str, str]:
    """Column -> default as the page has it."""
    return {
        column: cells[0]
        for column, cells in table(section(page("configuration.md"), f"`{name}`")).items()
    }


@pytest.mark.parametrize("name", ARCHIVE)
def test_every_column_is_explained_and_no_other(name: str) -> None:
    fields = {field.name.replace("_fen", "_yuan") for field in dataclasses.fields(ARCHIVE[name])}
    if "connection" in fields:
        # What a limit follows from, which has no column of its own.
        fields = fields - {"connection", "limit_basis"} | set(Connection._fields)
    assert sorted(columns_of(name)) == sorted(fields)


def test_the_defaults_of_columns_on_the_page_are_the_programs(tmp_path: Path) -> None:
    required = {
        "meters.csv": {
            "address": "000000000001",
            "line": "gate-1",
            "point": "P1",
            "installed_on": "2026-01-01",
        },
        "points.csv": {"point": "P1"},
        "accounts.csv": {"account": "C1", "tariff": "home"},
    }
    loaded = []
    for folder, with_defaults in ((tmp_path / "silent", False), (tmp_path / "spoken", True)):
        folder.mkdir()
        for name, cells in required.items():
            assert {
                column for column, default in columns_of(name).items() if default == "required"
            } == set(cells)
            row = dict(cells)
            if with_defaults:
                row |= {
                    c: d.strip("`")
                    for c, d in columns_of(name).items()
                    if re.fullmatch("`[^`]*`", d)
                }
            (folder / name).write_text(
                f"{','.join(row)}\n{','.join(row.values())}\n", encoding="utf-8"
            )
        loaded.append(
            load_archive(folder, Around(tmp_path, {"gate-1"}, {}, {"home": Versions(())}))
        )
    assert loaded[0][1] == loaded[1][1] == []
    assert loaded[0][0] == loaded[1][0]


def test_the_keys_of_a_tariff_version_are_explained() -> None:
    text = section(page("configuration.md"), "What a tariff may say")
    assert [key for key in VERSION_KEYS if f"`{key}`" not in text] == []


# --- commands, metrics, reasons, tables -----------------------------------------------------------


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(cli, "meterd"))


def options(command: click.Command) -> list[str]:
    return [
        text
        for option in command.params
        if isinstance(option, click.Option)
        for text in option.opts
    ]


def test_every_command_has_a_section_and_no_other() -> None:
    assert sorted(re.findall(r"^## (meterd .*)$", page("commands.md"), re.M)) == sorted(COMMANDS)


@pytest.mark.parametrize("path", COMMANDS)
def test_every_option_of_a_command_is_explained_and_no_other(path: str) -> None:
    text = section(page("commands.md"), path)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    assert {
        option for option in options(COMMANDS[path]) if not re.search(rf"`{option}\b", prose)
    } == set()
    assert set(re.findall(r"`(--[a-z-]+)", prose)) <= {*options(COMMANDS[path]), "--help"}


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_an_example(path: str) -> None:
    typed = [
        *code_blocks(section(page("commands.md"), path), "console"),
        *code_blocks(readme(), "console"),
    ]
    assert any(f"$ {path}" in block for block in typed) or path == "meterd demo"


def typed_commands() -> list[tuple[str, str]]:
    """Every `$ ... meterd ...` line of the pages."""
    return [
        (file.name, line)
        for file in PAGES
        for block in code_blocks(file.read_text(encoding="utf-8"), "console")
        for line in re.findall(r"^\$ .*?(\bmeterd (?!/).*)$", block, re.M)
    ]


@pytest.mark.parametrize(("file", "line"), typed_commands())
def test_what_the_pages_type_is_a_command_with_its_options(file: str, line: str) -> None:
    path = next((path for path in COMMANDS if line == path or line.startswith(f"{path} ")), None)
    assert path, line
    assert set(re.findall(r"(?<=\s)(--?[a-z][a-z-]*)", line.split("$(")[0])) <= set(
        options(COMMANDS[path])
    )


def test_every_metric_is_explained_with_its_labels_and_no_other() -> None:
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = ", ".join(metric._labelnames)
    documented = {
        name: cells[0] for name, cells in table(section(page("monitoring.md"), "Metrics")).items()
    }
    assert documented == found


def test_every_input_of_the_guard_is_explained_and_no_other() -> None:
    named = [
        name
        for row in re.findall(
            r"^\| (`.*?) \|", section(page("supply.md"), "The stored snapshot"), re.M
        )
        for name in re.findall(r"`(\w+)`", row)
    ]
    inputs = [it.name for kind in (guard.Policy, guard.Facts) for it in dataclasses.fields(kind)]
    assert sorted(named) == sorted([*inputs, "policy", "facts"])


def test_every_reason_the_guard_can_name_is_explained_and_no_other() -> None:
    tree = ast.parse(Path(guard.__file__).read_text(encoding="utf-8"))
    words = {
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }
    codes = {word for word in words if re.fullmatch(r"[A-Z]+(_[A-Z]+)*", word)} - {
        "NOTICE",
        "FINAL_NOTICE",
    }
    endings = {word for word in words if re.fullmatch(r"(_[A-Z]+)+", word)}
    assert endings == {"_MISSING", "_EXPIRED", "_TOO_RECENT"}
    codes |= {prefix + ending for prefix in ("NOTICE", "FINAL_NOTICE") for ending in endings}
    assert set(table(section(page("supply.md"), "The guard"))) == codes


def test_every_state_of_the_schema_is_explained() -> None:
    schema = "\n".join(migration.text for migration in migrations())
    for column, heading in (("state", "The life of a command"), ("supply_state", "Supply state")):
        found = re.findall(rf"^\s+{column}\s+text NOT NULL.*?IN \((.*?)\)", schema, re.M | re.S)
        states = set(
            re.findall(
                r"'([a-z_]+)'", next(it for it in found if "persisted" in it or "energised" in it)
            )
        )
        assert set(table(section(page("supply.md"), heading))) == states


def test_every_table_of_the_schema_is_explained() -> None:
    tables = {
        name for m in migrations() for name in re.findall(r"^CREATE TABLE (\w+)", m.text, re.M)
    }
    explained = set(re.findall(r"`(\w+)`", section(page("storage.md"), "Tables")))
    assert tables - explained == set()


# --- the example site and the README --------------------------------------------------------------


def test_the_example_site_has_no_mistakes_and_is_in_shadow_mode() -> None:
    site = load_site(EXAMPLE / "meterd.toml")
    assert site.settings.control.mode == "shadow"
    assert sorted("serial" if line.serial else "tcp" for line in site.settings.line) == [
        "serial",
        "tcp",
    ]


def test_the_example_bench_has_the_lines_and_meters_of_the_example_site() -> None:
    site, bench = load_site(EXAMPLE / "meterd.toml"), load_scenario(EXAMPLE / "bench.toml")
    places = {name: line.link or (line.host, line.port) for name, line in bench.lines.items()}
    assert {line.name: line.serial or line.tcp for line in site.settings.line} == places
    meters = {(fleet.line, address) for fleet in bench.fleets for address in fleet.addresses()}
    assert {(meter.line, meter.address) for meter in site.archive.meters} == meters


def readme() -> str:
    return READMES[0].read_text(encoding="utf-8")


def test_the_readme_starts_with_the_two_commands() -> None:
    assert code_blocks(readme(), "console")[0] == "$ make demo\n$ make test\n"


def test_the_chinese_readme_types_the_same() -> None:
    english, chinese = (file.read_text(encoding="utf-8") for file in READMES)
    assert code_blocks(chinese, "console") == code_blocks(english, "console")
    assert [len(re.findall(rf"^#{{{n}}} ", chinese, re.M)) for n in (1, 2, 3)] == [
        len(re.findall(rf"^#{{{n}}} ", english, re.M)) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_shown_of_a_start_is_of_this_schema(file: Path) -> None:
    shown = re.findall(r'"database ready" schema=(\d+)', file.read_text(encoding="utf-8"))
    assert set(shown) <= {str(migrations()[-1].version)}


def test_what_is_shown_of_the_health_is_all_that_it_says() -> None:
    told = [
        set(json.loads(line))
        for file in PAGES
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith('{"status":')
    ]
    assert len(told) > 1
    assert all(keys == told[0] for keys in told)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_emphasis_ends_on_a_line_of_its_own(file: Path) -> None:
    # After a line's end the asterisks are shown, and nothing is bold.
    assert not re.search(r"^\*\* ", file.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(file: Path) -> None:
    text = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_the_index_leads_to_every_page() -> None:
    text = page("README.md")
    assert [
        file.name
        for file in DOCS.glob("*.md")
        if file.name != "README.md" and f"({file.name})" not in text
    ] == []
