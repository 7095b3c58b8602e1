"""What is public is explained, and what docs/ lists is what the code has.

`python tests/wire/test_protocol_documents.py` writes docs/identifiers.md anew.
"""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTING = ROOT / "docs" / "identifiers.md"
HEAD = """# Identifiers of DL/T 645

Written from `protocols/dlt645/identifiers.csv` and `identifiers_1997.csv` by \
`tests/wire/test_protocol_documents.py`; a test holds them together.
Variable parts: `tt` tariff (00 total, FF all), `dd` settlement day (00 now), `pp` phase, `qq` \
phase or total, `rr` tariff without total, `ll` step of a ladder, `hh` harmonic, `kk` what a freeze \
was taken for, `nn` the how many-th last, `mm` number of a table, `cc` class and `oo` order of load \
records; in 1997 `t`, `p`, `q`, `n` are one digit (F all).
`±`: the top bit is the sign.
The column `source` says how well a row is confirmed.
"""


def public_names(
    tree: ast.Module,
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    """Functions, classes and their methods, by name, that do not begin with _."""
    for node in tree.body:
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            yield node.name, node
            if isinstance(node, ast.ClassDef):
                for part in node.body:
                    if isinstance(
                        part, ast.FunctionDef | ast.AsyncFunctionDef
                    ) and not part.name.startswith("_"):
                        yield f"{node.name}.{part.name}", part


@pytest.mark.parametrize("folder", ["dlt645", "channels", "."])
def test_every_public_name_has_its_docstring(folder: str) -> None:
    modules = sorted((ROOT / "protocols" / folder).glob("*.py"))
    assert modules
    bare = [
        f"{module.name}: {name}"
        for module in modules
        for name, node in public_names(ast.parse(module.read_text(encoding="utf-8")))
        if not ast.get_docstring(node)
    ]
    assert bare == []


def listing() -> str:
    """Both tables as Markdown, consecutive rows of one record under its identifier."""
    lines = [HEAD]
    for title, name in (("2007", "identifiers.csv"), ("1997", "identifiers_1997.csv")):
        table = files("protocols.dlt645").joinpath(name).read_text(encoding="utf-8")
        rows = list(csv.DictReader(table.splitlines()))
        in_2007 = "identifier_2007" in rows[0]
        lines += [
            f"## {title}: {len({row['identifier'] for row in rows})} identifiers, {len(rows)} values\n",
            f"| identifier | 名称 | name | unit | format | source |{' 2007 |' if in_2007 else ''}",
            f"|---|---|---|---|---|---|{'---|' if in_2007 else ''}",
        ]
        before = ""
        for row in rows:
            identifier = "" if row["identifier"] == before else row["identifier"]
            before = row["identifier"]
            cells = [
                identifier,
                row["chinese"],
                row["name"],
                row["unit"],
                row["format"],
                row["source"],
            ]
            lines.append(f"| {' | '.join(cells + ([row['identifier_2007']] if in_2007 else []))} |")
        lines.append("")
    return "\n".join(lines)


def test_the_listing_is_what_the_tables_say() -> None:
    assert LISTING.read_text(encoding="utf-8") == listing()


if __name__ == "__main__":
    LISTING.write_text(listing(), encoding="utf-8")
