"""Every message that a file of a site can cause has a template in the catalogue of each language."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from config.translation import LANGUAGES, words_of

ROOT: Final = Path(__file__).parents[3]
FILES: Final = [*sorted((ROOT / "config").glob("*.py")), ROOT / "daemon/cli/check.py"]
TELLERS: Final = {
    "tell",
    "warn",
    "problem",
    "problem_at",
    "Problem",
    "ValueError",
    "OSError",
    "_no_toml",
    "_in_archive",
    "_Doubt",
}
"""What takes a message."""
NAMES: Final = {"message", "hint", "told"}
"""To what one is assigned."""
NO_MESSAGES: Final = {
    "uid {0}",  # an owner
    "Value error, ",  # what pydantic puts before ours
    "a list",
    "a table",
    "{0} is {1}{2}",  # put together of others, which tests of wrong settings ask for
    '"{0}" is not {1}',
    "{0} mistake{1}",  # both forms stand in the catalogue
    "the same in {0} more {1}: {2}",
    "is no TOML: {0}{1}",
    "{0}:{1}: {2}: {3}",
    "{0}: {1}",
    "line {0}: {1}",
    "{0} ({1})",
    "{0} ({1}{2})",
    "{0}, {1}",
    '"{0}" is no {1}{2}',
    # Where a number stands in the catalogue that is a constant of ours.
    "{0}: fewer than {1} ways to reach them with their consent",
    "the year {0} is not between {1}",
}


def texts(file: Path) -> Iterator[str]:
    """The templates of a file; {0}, {1}: what is told of a value."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in TELLERS:
                for it in (*node.args, *(keyword.value for keyword in node.keywords)):
                    yield from templates(it)
            case ast.Assign(targets=[ast.Name(id=name)]) if name in NAMES:
                yield from templates(node.value)
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                yield from templates(value)


def templates(node: ast.expr) -> Iterator[str]:
    """Of an expression that is a text, or chooses one of several."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            blanks = 0
            text = ""
            for part in parts:
                if isinstance(part, ast.Constant):
                    text += str(part.value)
                else:
                    text += f"{{{blanks}}}"
                    blanks += 1
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from templates(body)
            yield from templates(orelse)


def is_prose(text: str) -> bool:
    """True for more than a name, a place or a hint behind something."""
    return len(text.split()) > 1 and not text.startswith((" ", ",", "; ", ": "))


def forms(template: str) -> Iterator[str]:
    """As it is told, with a hint at its end and without."""
    last = template.count("{") - 1
    told = template
    for number in range(last + 1):
        told = told.replace(f"{{{number}}}", f"X{number}", 1)
    yield told
    if template.endswith(f"{{{last}}}"):
        yield told.removesuffix(f"X{last}")


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_no_message_is_left_untranslated(language: str) -> None:
    words = words_of(language)
    untold = {
        f"{file.name}: {template}"
        for file in FILES
        for template in texts(file)
        if is_prose(template) and template not in NO_MESSAGES
        if all(words(form) == form for form in forms(template))
    }
    assert sorted(untold) == []
