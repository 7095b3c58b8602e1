import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import cli
from daemon.cli.output import BAD_DATA
from tests.unit.golden_cases import CASES, FILE


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["tariff", "try", *arguments])


def test_every_open_case_comes_out_as_expected() -> None:
    done = run(str(FILE), "--json")
    assert done.exit_code == 0
    results = {told["id"]: told["result"] for told in map(json.loads, done.stdout.splitlines())}
    assert results == {name: case["expected"] for name, case in CASES.items()}


def test_what_is_expected_is_not_looked_at(tmp_path: Path) -> None:
    cases = [{**case, "expected": {"balance_fen": 7}} for case in CASES.values()]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": cases}))
    assert run(str(path), "--json").stdout == run(str(FILE), "--json").stdout


def test_a_person_is_shown_each_event() -> None:
    done = run(str(FILE))
    assert "event 1\taccepted, -386 fen, balance 9614 fen" in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"id": "x", "kind": "sattle", "input": {}}, "kind: 'sattle' is none of settle, "),
        ({"id": "x", "kind": "settle"}, "input: is missing"),
        ({"id": "x", "kind": "settle", "input": {"timezone": "UTC"}}, "input.tariff_versions: is"),
        ({"id": "x", "kind": "conversion", "input": {}}, "input.remaining_kwh: is missing"),
        ({"id": "x", "kind": "trip_guard", "input": {"config": {"a": 1}, "facts": {}}}, "config.a"),
        (
            {"id": "x", "kind": "trip_guard", "input": {"config": {}, "facts": {"balance_fen": 1}}},
            "input.facts.now: is missing",
        ),
        (
            {"id": "x", "kind": "trip_guard", "input": {"config": {}, "facts": {"credit_fen": 1}}},
            "input.facts.credit_fen: is not known",
        ),
        (
            {"id": "x", "kind": "trip_guard", "input": {"config": {"final_max_h": 10**9}}},
            "input.config.final_max_h: 1000000000 is more than",
        ),
        (
            {
                "id": "x",
                "kind": "trip_guard",
                "input": {"config": {"window": {"start": "09:00+08", "end": "15:00"}}, "facts": {}},
            },
            "input.config.window.start: '09:00+08' is no time of day, as 09:00",
        ),
        (
            {"id": "x", "kind": "round_series", "input": {"exact_yuan": [0.5]}},
            "exact_yuan[0]: must",
        ),
        ({**CASES["O24"], "title": "\ud800"}, "a text holds '\\ud800', half of a character"),
    ],
)
def test_a_case_that_is_not_understood_says_why(tmp_path: Path, case: object, message: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": [case, CASES["O24"]]}))
    done = run(str(path), "--json")
    assert done.exit_code == BAD_DATA
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["O24"]
    assert message in done.stderr
