from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from config.problems import ConfigError
from config.tariff_files import load_tariff_file


def told(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_tariff_file(path)
    return [str(problem).removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_file_of_one_tariff_gives_it_its_name(tmp_path: Path) -> None:
    path = tmp_path / "home.tariffs.toml"
    path.write_text(
        '[[version]]\neffective_from = 2026-07-01\nprice = "0.6"\n'
        '[[version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
    )
    (name, versions), *others = load_tariff_file(path).items()
    assert (name, others) == ("home", [])
    assert [(it.version_id, it.energy["total"]) for it in versions.all] == [
        ("home@2026-01-01", Decimal("0.5")),
        ("home@2026-07-01", Decimal("0.6")),
    ]


def test_a_version_is_in_force_from_its_day_until_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "home.toml"
    path.write_text(
        '[[version]]\neffective_from = 2026-01-01\nprice = "0.5"\n'
        '[[version]]\neffective_from = 2026-07-01\nprice = "0.6"\n'
    )
    versions = load_tariff_file(path)["home"]
    days = (date(2025, 12, 31), date(2026, 1, 1), date(2026, 6, 30), date(2026, 7, 1))
    assert [versions.number_on(day) for day in days] == [None, 0, 0, 1]
    assert versions.on(days[0]) is None
    assert versions.on(days[3]) is versions.all[1]
    assert versions.starts_between(date(2026, 1, 1), date(2026, 7, 2)) == [date(2026, 7, 1)]
    assert versions.starts_between(date(2026, 1, 1), date(2026, 7, 1)) == []


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["1: file: holds no tariff; add [[tariff.NAME.version]]"]),
        ("version = 7", ["1: file: has no versions; add [[version]]"]),
        ("tariff = 7", ["1: tariff: must be written as [[tariff.NAME.version]]"]),
        ("[tariff.home]", ["1: tariff.home: has no versions; add [[tariff.home.version]]"]),
        ("[[versions]]", ["1: versions: unknown key (did you mean version?); a file holds [[version]]"]),
        (
            '[[version]]\neffective_from = 2026-01-01\nprice = "1"\n' * 2,
            ["1: version: two versions start on the same day"],
        ),
        (
            "".join(
                f'[[version]]\nid = "a"\nprice = "1"\neffective_from = 2026-0{month}-01\n'
                for month in (1, 2)
            ),
            ["1: version: two versions have the same id"],
        ),
        (
            '[[version]]\neffective_from = 2026-01-01\nprice = "1"\ntax = 0.13\n',
            [
                "4: version.0.tax: must be a table; "
                'write tax = { mode = "exclusive", rate = "0.15" }'
            ],
        ),
        (
            '[[tariff." ".version]]\neffective_from = 2026-01-01\nprice = "1"\n',
            ["1: tariff. : has no name"],
        ),
        (
            "[[tariff.home.version]]\neffective_from = 2026-01-01T12:00:00\n"
            '[tariff.home.version.ladder]\ncycle = "month"\nmethod = "price"\n'
            'bounds_kwh = ["2", "1"]\nprices = ["1",\n "x", "3"]',
            [
                "2: tariff.home.version.0.effective_from: must be a date, its 00:00 counts: "
                "effective_from = 2026-01-01",
                "6: tariff.home.version.0.ladder.bounds_kwh: must rise: 1 comes after 2",
                "8: tariff.home.version.0.ladder.prices.1: 'x' is not a number such as \"0.5283\"",
            ],
        ),
    ],
)  # fmt: skip
def test_every_mistake_has_its_line(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    assert told(tmp_path / "t.toml", text) == mistakes


LADDER = (
    'write ladder = { cycle = "month", method = "price", bounds_kwh = ["240"], '
    'prices = ["0.4", "0.5"] }'
)
HEAD = "[[tariff.home.version]]\neffective_from = 2024-01-01\n"


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        (
            'steps = [{ up_to_kwh = 240, price = "0.4883" }, { price = "0.7883" }]',
            [f"3: tariff.home.version.0.steps: unknown key; {LADDER}"],
        ),
        (
            'price_day = "0.3072"\nprice_night = "0.15"\nstanding_per_day = "0.4366"',
            [
                "3: tariff.home.version.0.price_day: unknown key; write energy = "
                '{ mode = "tou", prices = { day = "0.617", night = "0.307" } }',
                "4: tariff.home.version.0.price_night: unknown key; write energy = "
                '{ mode = "tou", prices = { day = "0.617", night = "0.307" } }',
                "5: tariff.home.version.0.standing_per_day: unknown key; "
                'write fixed = { daily_yuan = "0.4366" }',
            ],
        ),
        (
            'price = "1.9028"\nvat = "0.15"',
            [
                "4: tariff.home.version.0.vat: unknown key; "
                'write tax = { mode = "exclusive", rate = "0.15" }'
            ],
        ),
        (
            'price = "3.25"\nfixed_per_month = "40"',
            [
                "4: tariff.home.version.0.fixed_per_month: unknown key; "
                'write fixed = { monthly_yuan = "40", proration = "calendar" }'
            ],
        ),
        (
            'price = { peak = "0.617", valley = "0.307" }\npeak = ["06:00-22:00"]',
            [
                "3: tariff.home.version.0.price: of rates: write energy = "
                '{ mode = "tou", prices = { peak = "0.617", valley = "0.307" } }',
                "4: tariff.home.version.0.peak: unknown key; the meter's own calendar tells rates "
                'apart; give their prices: energy = { mode = "tou", prices = '
                '{ peak = "0.617", valley = "0.307" } }',
            ],
        ),
    ],
)
def test_a_key_that_does_not_exist_says_what_does(
    tmp_path: Path, text: str, mistakes: list[str]
) -> None:
    """As five published tariffs were first written (faults/toml)."""
    assert told(tmp_path / "t.toml", HEAD + text) == mistakes


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("tariff.T = 5", ["1: tariff.T: has no versions; add [[tariff.T.version]]"]),
        (
            "[[tarif.T.version]]",
            ["1: tarif: unknown key (did you mean tariff?); a file holds [[version]]"],
        ),
    ],
)
def test_what_is_no_tariff_is_told(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    assert told(tmp_path / "home.toml", text) == mistakes


def test_a_file_that_is_no_toml_is_told_by_its_name(tmp_path: Path) -> None:
    (only,) = told(tmp_path / "home.toml", "[[version")
    assert only.startswith("1: ")


def test_a_version_of_a_named_tariff_is_called_after_it(tmp_path: Path) -> None:
    path = tmp_path / "all.toml"
    path.write_text('[[tariff.shop.version]]\neffective_from = 2026-01-01\nprice = "0.5"\n')
    ((name, versions),) = load_tariff_file(path).items()
    assert (name, versions.all[0].version_id) == ("shop", "shop@2026-01-01")
