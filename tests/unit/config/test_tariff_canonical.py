"""The form in which a version is stored says the same as the one in which it was written."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import given

from config.tariff_canonical import canonical_form
from config.tariff_files import load_tariff_file
from config.tariff_form import read_version
from config.tariff_version import TariffVersion
from tests.unit.billing.stories import seeds
from tests.unit.billing.stories import version as written_version
from tests.unit.golden_cases import CASES

PUBLISHED = sorted((Path(__file__).parents[2] / "data/tariffs").glob("*.toml"))
WRITTEN = [
    version
    for case in CASES.values()
    if case["kind"] == "settle"
    for version in case["input"]["tariff_versions"]
]


def stored_and_read(version: TariffVersion) -> TariffVersion | None:
    found, mistakes = read_version(json.loads(json.dumps(canonical_form(version))), "other")
    assert mistakes == []
    return found


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_tariff_is_read_again_as_it_was(path: Path) -> None:
    for versions in load_tariff_file(path).values():
        assert tuple(map(stored_and_read, versions.all)) == versions.all


def test_every_version_of_the_worked_cases_is_read_again_as_it_was() -> None:
    assert len(WRITTEN) > 30
    for written in WRITTEN:
        version, _ = read_version(written, "case")
        assert version is not None
        assert stored_and_read(version) == version


@given(seeds)
def test_any_version_is_read_again_as_it_was(seed: int) -> None:
    version, _ = read_version(written_version(Random(seed), "2026-03-01"), "home")
    assert version is not None
    assert stored_and_read(version) == version


def test_two_ways_to_write_the_same_version_have_one_form() -> None:
    day = {"effective_from": "2026-01-01"}
    short, _ = read_version({**day, "price": "0.50"}, "home")
    long, _ = read_version({**day, "energy": {"mode": "flat", "price": "00.5"}}, "home")
    assert short is not None
    assert long is not None
    assert canonical_form(short) == canonical_form(long) == {
        "id": "home@2026-01-01",
        "effective_from": "2026-01-01",
        "energy": {"mode": "flat", "price": "0.5"},
    }  # fmt: skip
