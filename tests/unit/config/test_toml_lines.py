"""Where a key stands in a TOML text, also in texts that are written to confuse."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.toml_lines import line_of, locate

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
        (("line", 0, "list", 1), 13),
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
def test_the_line_of_each_key(path, line):
    assert tomllib.loads(TRICKY)["line"][0]["list"] == [["a", "b"], ["c"]]  # it is TOML
    assert line_of(locate(TRICKY), path) == line


@given(st.text(alphabet="[]{}=\"'.#\n ab1\t\\", max_size=60))
def test_no_text_breaks_the_search(text):
    found = locate(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
    assert line_of(found, ("a", 0, "b")) >= 1
