"""Where a key stands in a TOML text, also in texts that are written to confuse."""

import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.problems import ConfigError
from config.toml_lines import line_of, locate, parse_toml

TRICKY = '''\
# [site] is not here
top = 1
"quoted key" = 2
a.b.c = 3

[site] # a comment ]
name = "[line]"
'single.dot' = 4
inline = { deep = { deeper = 1 }, other = 2 }

[[line]]
name = "x = [[line]]"
list = [
  ["a", "b"],
  ["c"]
]
after = 1

[line.sub]
key = """
name = 5
[site]
"""
last = 1

[[line]]
name = "second"
  indented = 1
[[line.deep.array]]
x = 1
[[line.deep.array]]
x = 2
[ spaced . "table name" ]
y = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("a",), 4),
        (("a", "b", "c"), 4),
        (("site",), 6),
        (("site", "name"), 7),
        (("site", "single.dot"), 8),
        (("site", "inline"), 9),
        (("site", "inline", "deep", "deeper"), 9),
        (("site", "nowhere"), 6),
        (("line", 0), 11),
        (("line", 0, "name"), 12),
        (("line", 0, "list"), 13),
        (("line", 0, "list", 1), 15),
        (("line", 0, "after"), 17),
        (("line", 0, "sub"), 19),
        (("line", 0, "sub", "key"), 20),
        (("line", 0, "sub", "name"), 19),
        (("line", 0, "sub", "last"), 24),
        (("line", 1), 26),
        (("line", 1, "name"), 27),
        (("line", 1, "indented"), 28),
        (("line", 1, "deep", "array", 0, "x"), 30),
        (("line", 1, "deep", "array", 1, "x"), 32),
        (("spaced", "table name", "y"), 34),
        (("nowhere", "at", "all"), 1),
    ],
)
def test_the_line_of_each_key(path: tuple[int | str, ...], line: int) -> None:
    assert tomllib.loads(TRICKY)["line"][0]["list"] == [["a", "b"], ["c"]]  # it is TOML
    assert line_of(locate(TRICKY), path) == line


@given(st.text(alphabet="[]{}=\"'.#\n ab1\t\\", max_size=60))
def test_no_text_breaks_the_search(text: str) -> None:
    found = locate(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
    assert line_of(found, ("a", 0, "b")) >= 1


def test_lines_are_found_in_every_kind_of_table() -> None:
    text = '''\
# [no.table]
top = """
[no.table]
key = 1
"""
[a."b.c".d]   # ]
x.y = 'it = [1]'
list = [
    1, { u = 2, v = [
        3] },   # , ]
    "]",
]
[[e]]
[[e]]
f = { g = 1, h = 2 }
[[e.i]]
[e.i.j]
k = 1979-05-27 07:32:00
'''
    assert tomllib.loads(text)
    lines = locate(text)
    assert {path: lines[path] for path in lines if path and path != ("top",)} == {
        ("a", "b.c", "d"): 6,
        ("a", "b.c", "d", "x"): 7,
        ("a", "b.c", "d", "x", "y"): 7,
        ("a", "b.c", "d", "list"): 8,
        ("a", "b.c", "d", "list", 0): 9,
        ("a", "b.c", "d", "list", 1): 9,
        ("a", "b.c", "d", "list", 1, "u"): 9,
        ("a", "b.c", "d", "list", 1, "v"): 9,
        ("a", "b.c", "d", "list", 1, "v", 0): 10,
        ("a", "b.c", "d", "list", 2): 11,
        ("e",): 13,
        ("e", 0): 13,
        ("e", 1): 14,
        ("e", 1, "f"): 15,
        ("e", 1, "f", "g"): 15,
        ("e", 1, "f", "h"): 15,
        ("e", 1, "i"): 16,
        ("e", 1, "i", 0): 16,
        ("e", 1, "i", 0, "j"): 17,
        ("e", 1, "i", 0, "j", "k"): 18,
    }


def test_an_unknown_place_has_the_line_of_its_parent() -> None:
    lines = locate("a = 1\n\n[b]\nc = 2")
    assert [line_of(lines, path) for path in [("b", "c"), ("b", "x", 3), ("z",)]] == [4, 3, 1]


toml_values = st.recursive(
    st.one_of(
        st.integers(0, 99).map(str),
        st.sampled_from(
            [
                '"a#b"',
                "'[x]'",
                '"\\"{"',
                '"""\na\n"""',
                "'''\n[b]\n'''",
                "2026-05-02",
                "true",
                "1.5",
            ]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(
            lambda items: "[\n" + "".join(f" {item}, # ]\n" for item in items) + "]"
        ),
        st.lists(inner.filter(lambda it: "\n" not in it), max_size=3).map(
            lambda items: (
                "{ " + ", ".join(f"k{number} = {item}" for number, item in enumerate(items)) + " }"
            )
        ),
    ),
    max_leaves=6,
)


@given(st.lists(toml_values, max_size=5))
def test_every_value_that_a_parser_finds_has_a_line(values: list[str]) -> None:
    text = "[t]\n" + "".join(f"key{number} = {value}\n" for number, value in enumerate(values))
    lines = locate(text)

    def walk(path: tuple[str | int, ...], value: dict[str, Any] | list[Any]) -> None:
        assert path in lines, text
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(part, dict | list):
                walk((*path, key), part)
            else:
                assert (*path, key) in lines, text

    walk(("t",), tomllib.loads(text)["t"])
    starts = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith("key")]
    assert [lines["t", f"key{number}"] for number in range(len(values))] == starts


def test_an_exponent_that_no_number_has_is_told() -> None:
    with pytest.raises(ConfigError, match="a number whose exponent is out of reason"):
        parse_toml(f"a = 0e{'9' * 100}", "x.toml", Decimal)
