"""The tables of mutation speak of files and lines that are there."""

import tomllib
from pathlib import Path

FOLDER = Path("tests/mutation")
RULES: dict[str, list[str]] = tomllib.loads((FOLDER / "rules.toml").read_text())
SURVIVORS: dict[str, list[dict[str, str]]] = tomllib.loads((FOLDER / "survivors.toml").read_text())
SPOILS: list[dict[str, str]] = tomllib.loads((FOLDER / "spoils.toml").read_text())["spoil"]


def test_every_rule_and_test_that_is_named_is_there() -> None:
    named = {*RULES, *(test for tests in RULES.values() for test in tests)}
    assert [name for name in sorted(named) if not Path(name).is_file()] == []


def test_a_survivor_is_of_a_line_that_is_there_and_has_a_reason() -> None:
    assert SURVIVORS.keys() <= RULES.keys()
    for name, survivors in SURVIVORS.items():
        text = " ".join(map(str.strip, Path(name).read_text().splitlines()))
        assert [it["was"] for it in survivors if it["was"] not in text] == []
        assert all(it["why"] and it["now"] != it["was"] for it in survivors)


def test_a_promise_is_kept_by_a_line_and_a_test_that_are_there() -> None:
    for spoil in SPOILS:
        assert Path(spoil["file"]).read_text().count(spoil["was"]) == 1, spoil
        path, _, name = spoil["test"].partition("::")
        assert f"def {name}" in Path(path).read_text(), spoil
