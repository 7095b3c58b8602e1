import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from daemon.cli import cli
from daemon.cli.output import BAD_DATA
from tests.unit.quality.judge_cases import CASES, FILE


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["quality", "try", *arguments])


def test_each_case_is_one_object_on_a_line() -> None:
    done = run(str(FILE), "--json")
    assert done.exit_code == 0
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"id": name, "result": case["expected"]} for name, case in CASES.items()
    ]


def test_a_person_is_shown_the_days() -> None:
    done = run(str(FILE))
    assert "2026-03-05\tsuspect\t480.00\tV27, V31\treread" in done.stdout.splitlines()


def test_a_case_that_is_not_understood_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"cases": [{"id": "bad", "input": {}}, 7, CASES["J02"]]}))
    done = run(str(path), "--json")
    assert done.exit_code == BAD_DATA
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["J02"]
    assert done.stderr.splitlines() == [
        f"{path}: case bad: input.events: is missing",
        f"{path}: case [1]: case: must be an object, is the number 7",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON: "),
        ("[]", "must be an object with a list `cases`"),
        ('{"cases": {}}', "must be an object with a list `cases`"),
    ],
)
def test_a_file_without_cases_says_so(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "cases.json"
    path.write_text(text)
    done = run(str(path))
    # `main` prints what the command raises
    assert str(done.exception).startswith(f"{path}: {message}")
