"""The mutants of a source file: each the whole text with one small change, by mutmut's operators.

mutmut itself leaves out what has a decorator and what stands outside of functions. Rules are there
too (properties, tables of prices), so the tree is walked here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import libcst as cst
from libcst import matchers as m
from mutmut.mutation.mutators import mutation_operators

UNTOUCHED = m.Annotation() | m.Decorator() | m.Import() | m.ImportFrom()
"""How a file is read, not what it reckons."""
STRICT = m.Arg(keyword=m.Name("strict"), value=m.Name("True"))
"""An assertion: what it forbids, no caller does."""
SAID = m.Arg(keyword=m.Name("strict"), value=m.Name("True") | m.Name("False"))
"""False is what nothing, or None, says too."""


@dataclass(frozen=True)
class Mutant:
    """`where`: the function or class. `was`, `now`: the lines that differ, on one line each."""

    where: str
    was: str
    now: str
    source: str


def mutants_of(source: str, every: int = 1) -> Iterator[Mutant]:
    """Each that compiles, in order of the file; or only each Nth."""
    numbers = count()
    module = cst.parse_module(source)
    header = "".join(map(module.code_for_node, module.header))
    footer = "".join(map(module.code_for_node, module.footer))
    parts = [module.code_for_node(statement) for statement in module.body]
    for place, statement in enumerate(module.body):
        if _is_alias_of_a_type(statement):
            continue
        before = header + "".join(parts[:place])
        after = "".join(parts[place + 1 :]) + footer
        for node, mutated in _mutations(statement):
            if next(numbers) % every:
                continue
            part = module.code_for_node(_replaced(statement, node, mutated))
            if part != parts[place] and _compiles(before + part + after):
                was, now = _difference(parts[place], part)
                yield Mutant(_name(statement), was, now, before + part + after)


def _mutations(node: cst.CSTNode) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            mutated = list(operator(node))
            # A text between XX is the first; the same text in other letters tells no more.
            kept = mutated[:1] if isinstance(node, cst.SimpleString) else mutated
            yield from ((node, it) for it in kept if _count_strict(it) == _count_strict(node))
    for child in node.children:
        is_message = isinstance(node, cst.Assert) and child is node.msg
        if not is_message and not m.matches(child, UNTOUCHED | STRICT):
            yield from _mutations(child)


def _count_strict(node: cst.CSTNode) -> int:
    return sum(m.matches(it, SAID) for it in node.args) if isinstance(node, cst.Call) else 0


def _replaced(tree: cst.CSTNode, node: cst.CSTNode, mutated: cst.CSTNode) -> cst.CSTNode:
    if tree is node:
        return mutated
    changed = tree.deep_replace(node, mutated)
    assert isinstance(changed, cst.CSTNode), "a node is replaced by a node"
    return changed


def _is_alias_of_a_type(statement: cst.CSTNode) -> bool:
    alias = m.Name(m.MatchIfTrue(lambda name: name[:1].isupper() and not name.isupper()))
    line = m.SimpleStatementLine([m.Assign([m.AssignTarget(alias)])])
    variable = m.SimpleStatementLine([m.Assign(value=m.Call(m.Name("TypeVar")))])
    return m.matches(statement, line | variable)


def _name(statement: cst.CSTNode) -> str:
    if isinstance(statement, cst.FunctionDef | cst.ClassDef):
        return statement.name.value
    return "(file)"


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True


def _difference(before: str, after: str) -> tuple[str, str]:
    was, now = before.splitlines(), after.splitlines()
    while was and now and was[0] == now[0]:
        del was[0], now[0]
    while was and now and was[-1] == now[-1]:
        del was[-1], now[-1]
    return " ".join(map(str.strip, was)), " ".join(map(str.strip, now))
