"""Rooms stay small. What is larger has a sentence in docs/architecture.md that says why."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("config", "daemon", "protocols", "simulators", "storage")
MOST_METHODS = 25
MOST_ATTRIBUTES = 15
MOST_LINES = 450
"""Of a file of the room that crowds first."""
MOST_LOOSE_FILES = 6
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def methods(tree: ast.ClassDef) -> set[str]:
    """By name: the overloads of a method are its type, and a property's setter is its property."""
    return {node.name for node in tree.body if isinstance(node, FUNCTIONS)}


def attributes(tree: ast.ClassDef) -> set[str]:
    """What an instance holds of its own: fields of a record, and what is set on `self`."""
    fields = {
        node.target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    own = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return fields | own


def classes(source: str) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))


@cache
def sizes() -> dict[str, list[tuple[int, int]]]:
    """(methods, attributes) of the classes of each name."""
    found: dict[str, list[tuple[int, int]]] = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for tree in classes(path.read_text()):
                size = (len(methods(tree)), len(attributes(tree)))
                found.setdefault(tree.name, []).append(size)
    return found


def explained() -> list[str]:
    """The classes that the page has a sentence for."""
    page = (ROOT / "docs/architecture.md").read_text()
    _, _, rest = page.partition("| class | why |\n|---|---|\n")
    table, _, _ = rest.partition("\n\n")
    rows = [row.split("|") for row in table.splitlines()]
    assert rows, "the page has lost its table"
    assert all(why.strip() for _, _, why, _ in rows)
    return [name for _, named, _, _ in rows for name in re.findall(r"`(\w+)`", named)]


def test_a_class_over_the_limits_has_a_sentence_that_says_why() -> None:
    large = {
        name
        for name, found in sizes().items()
        if any(of > MOST_METHODS or held > MOST_ATTRIBUTES for of, held in found)
    }
    assert large - set(explained()) == set()


def test_a_sentence_goes_when_its_class_has_become_small() -> None:
    near = {
        name
        for name, found in sizes().items()
        if any(of >= MOST_METHODS or held >= MOST_ATTRIBUTES for of, held in found)
    }
    assert set(explained()) - near == set()


def test_no_file_of_acquisition_is_longer_than_a_few_screens() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "daemon/acquisition").rglob("*.py")
    }
    assert lines
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_few_files_of_the_daemon_are_in_no_room() -> None:
    loose = {path.name for path in (ROOT / "daemon").glob("*.py")} - {"__init__.py"}
    assert len(loose) <= MOST_LOOSE_FILES, loose


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("class A:\n    x: int\n    y: int = 0", (0, 2)),
        ("class A:\n    def __init__(self):\n        self.x = 1\n        self.y, z = 1, 2", (1, 2)),
        ("class A:\n    async def f(self):\n        self.x += 1\n    def g(self): ...", (2, 1)),
        ("class A:\n    @overload\n    def f(self): ...\n    def f(self): ...", (1, 0)),
        ("class A:\n    def f(self):\n        self.x.y = 1\n        return self.z", (1, 0)),
    ],
)
def test_methods_count_by_name_and_attributes_where_they_are_set(
    source: str, size: tuple[int, int]
) -> None:
    (tree,) = classes(source)
    assert (len(methods(tree)), len(attributes(tree))) == size
