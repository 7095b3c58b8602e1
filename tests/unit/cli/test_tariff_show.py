import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from config.problems import ConfigError
from daemon.cli import cli

FOLDER = Path(__file__).parents[2] / "data" / "tariffs"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["tariff", *arguments])


def test_a_good_file_is_named_with_the_days_of_its_versions() -> None:
    path = str(FOLDER / "kerala.toml")
    done = run("check", path)
    assert done.stdout == f"{path}: kerala is good, in force from 2024-01-01\n"
    assert done.exit_code == 0


def test_the_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    paths = [tmp_path / "a.toml", tmp_path / "b.toml"]
    for path in paths:
        path.write_text("[[version]]\neffective_from = 2026-01-01\nprice = 0.5\n")
    done = run("check", *map(str, paths), str(FOLDER / "eskom.toml"))
    assert isinstance(done.exception, ConfigError)  # `main` makes it exit code 78
    assert [problem.where for problem in done.exception.problems] == ["version.0.price"] * 2
    assert "eskom is good" in done.stdout


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("beijing", "kWh, 240 to 400 kWh in a month\t0.5383"),
        ("shanghai", "kWh of valley, above 4800 kWh in a year\t0.487"),
        ("kerala", "kWh, 200 to 250 kWh in a month\t8.2"),
        ("kerala", "kWh, 250 to 300 kWh in a month, for every kWh of it\t6.4"),
        ("kerala", "month of 3 phase, above 500 kWh, by calendar\t260"),
        ("eskom", "tax added\t15 %"),
        ("economy7", "kWh of night\t0.15"),
        ("economy7", "day\t0.4366"),
        ("economy7", "tax inside the prices\t5 %"),
    ],
)
def test_what_a_version_costs_is_a_line_each(name: str, line: str) -> None:
    done = run("show", str(FOLDER / f"{name}.toml"))
    assert f"{name}\t2024-01-01\t{line}" in done.stdout.splitlines()


def test_everything_else_is_shown_too(tmp_path: Path) -> None:
    path = tmp_path / "home.toml"
    path.write_text(
        '[[version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
        'ladder = { cycle = "year", method = "adder", bounds_kwh = ["10"], adders = ["0", "0.1"], '
        'partial_year = "months" }\n'
        'surcharges = [{ code = "fund", per_kwh = "0.02" }, '
        '{ code = "green", per_kwh = "0.01", included = true }]\n'
        'fixed = { monthly_yuan = "4", proration = "thirtieth" }\nminimum = { monthly_yuan = "15" }\n'
    )
    told = json.loads(run("show", str(path), "--json").stdout)
    assert told == {
        "tariff": "home",
        "effective_from": "2026-01-01",
        "costs": {
            "kWh of total": "0.5",
            "kWh more, 0 to 10 kWh in a year": "0",
            "kWh more, above 10 kWh in a year": "0.1",
            "bounds in the year of a close": "by months in service",
            "kWh, fund (added)": "0.02",
            "kWh, green (inside the price)": "0.01",
            "month, by thirtieth": "4",
            "month, at least": "15",
        },
    }


def test_a_difference_is_told_by_line_with_both_values(tmp_path: Path) -> None:
    for folder, price, more in (("old", "0.5", ""), ("new", "0.6", 'minimum.monthly_yuan = "9"\n')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "home.toml").write_text(
            f'[[version]]\neffective_from = 2026-01-01\nprice = "{price}"\n{more}'
            '[[version]]\neffective_from = 2025-01-01\nprice = "0.4"\n'
        )
    done = run("diff", str(tmp_path / "old/home.toml"), str(tmp_path / "new/home.toml"))
    assert done.stdout.splitlines() == [
        "tariff\tfrom\twhat\told\tnew",
        "home\t2026-01-01\tkWh of total\t0.5\t0.6",
        "home\t2026-01-01\tmonth, at least\t\t9",
    ]


def test_the_only_tariff_of_each_file_is_compared_whatever_its_name(tmp_path: Path) -> None:
    for name, price in (("home-2026", "0.5"), ("home-2027", "0.6")):
        text = f'[[version]]\neffective_from = 2026-01-01\nprice = "{price}"\n'
        (tmp_path / f"{name}.toml").write_text(text)
    done = run("diff", str(tmp_path / "home-2026.toml"), str(tmp_path / "home-2027.toml"))
    assert done.stdout.splitlines()[1:] == ["home-2027\t2026-01-01\tkWh of total\t0.5\t0.6"]
