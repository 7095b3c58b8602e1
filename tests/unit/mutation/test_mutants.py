"""What is changed in a file to see whether a test notices, and how it gets into a loaded module."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from tests.mutation.in_place import codes_of, put_in_place
from tests.mutation.mutants import mutants_of

RULES = '''\
"""Rules."""

from functools import lru_cache
from typing import Any

Pair = tuple[int, int]
LIMIT = 5


class Meter:
    def __init__(self, kwh: int) -> None:
        self.kwh = kwh

    @property
    def is_over(self) -> bool:
        return self.kwh > LIMIT


@lru_cache(maxsize=7)
def half(kwh: int) -> int:
    """Half of it."""
    return kwh // 2


def half_over(kwh: int) -> list[int]:
    assert kwh >= 0, "no energy is negative"
    return [half(it) for it, _ in zip([kwh], [1], strict=True) if it > LIMIT]


def pairs(kwh: list[int]) -> list[tuple[int, int]]:
    return [*zip(kwh, kwh[1:], strict=False)]
'''

CODES = codes_of(RULES, "rules.py")


@pytest.fixture
def rules(tmp_path: Path) -> ModuleType:
    path = tmp_path / "rules.py"
    path.write_text(RULES)
    spec = spec_from_file_location("rules", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(old: str, new: str) -> str:
    assert RULES.count(old) == 1
    return RULES.replace(old, new)


def test_rules_are_changed_wherever_they_stand() -> None:
    changes = {(it.where, it.was, it.now) for it in mutants_of(RULES)}
    assert changes >= {
        ("(file)", "LIMIT = 5", "LIMIT = 6"),
        ("Meter", "return self.kwh > LIMIT", "return self.kwh >= LIMIT"),
        ("half", "return kwh // 2", "return kwh / 2"),
    }


def test_what_is_for_readers_and_checkers_is_left_alone() -> None:
    for mutant in mutants_of(RULES):
        assert mutant.was not in {'"""Half of it."""', "Pair = tuple[int, int]", "from typing"}
        assert "strict=True" in mutant.source
        assert mutant.source.count("strict=") == 2
        assert "strict=None" not in mutant.source
        assert "@lru_cache(maxsize=7)" in mutant.source
        assert "no energy is negative" in mutant.source


def test_each_mutant_is_the_whole_file_with_one_change() -> None:
    mutants = list(mutants_of(RULES))
    assert len({it.source for it in mutants}) == len(mutants)
    assert all(RULES.replace(it.was, it.now, 1) == it.source for it in mutants)


def test_who_holds_a_function_calls_its_mutant(rules: ModuleType) -> None:
    held = rules.half
    assert held(9) == 4
    assert put_in_place(rules, CODES, changed("kwh // 2", "kwh // 3"))
    assert held(9) == 3


def test_a_property_and_what_stands_inside_of_a_function_are_exchanged(rules: ModuleType) -> None:
    meter = rules.Meter(5)
    assert put_in_place(rules, CODES, changed("self.kwh > LIMIT", "self.kwh >= LIMIT"))
    assert meter.is_over
    assert put_in_place(rules, CODES, changed("if it > LIMIT", "if it >= LIMIT"))
    assert rules.half_over(5) == [2]


def test_what_others_may_have_read_already_is_not_put_in_place(rules: ModuleType) -> None:
    assert not put_in_place(rules, CODES, changed("LIMIT = 5", "LIMIT = 6"))
    assert not put_in_place(rules, CODES, changed("half(kwh: int)", "half(kwh: int = 1)"))
    assert rules.half_over(6) == [3]
