"""A mutant put into a module that is loaded already, where only the code of functions differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any


def put_in_place(module: ModuleType, before: Mapping[str, CodeType], mutated: str) -> bool:
    """Give the functions of a module the code of a mutant; False where more than that differs.

    `before`: `codes_of` its source. Others hold these functions by their own names: the functions
    stay, their code is exchanged."""
    after = codes_of(mutated, str(module.__file__))
    if before.keys() != after.keys():
        return False
    changed = [name for name in before if _told(before[name]) != _told(after[name])]
    functions = {name: _function(module, name) for name in changed}
    if not all(functions.values()):
        return False
    for name, function in functions.items():
        assert function is not None, "all of them were found"
        function.__code__ = after[name]
    return True


def codes_of(source: str, path: str) -> dict[str, CodeType]:
    """The code of a module, of its classes and of their functions, by qualified name."""
    return dict(_codes(compile(source, path, "exec", dont_inherit=True)))


def _codes(code: CodeType, name: str = "") -> Iterator[tuple[str, CodeType]]:
    """The code of the module, of its classes and of what stands in these; not of what functions
    hold."""
    yield name, code
    if code.co_flags & _OPTIMIZED:
        return
    for it in code.co_consts:
        if isinstance(it, CodeType):
            yield from _codes(it, it.co_qualname)


_OPTIMIZED = 1
"""CO_OPTIMIZED: a function, no class and no module."""


def _told(code: CodeType) -> object:
    """What code does, without the lines that it stands on."""
    is_function = bool(code.co_flags & _OPTIMIZED)
    constants = tuple(
        (_told(it) if is_function else it.co_qualname)
        if isinstance(it, CodeType)
        else (type(it), repr(it))
        for it in code.co_consts
    )
    facts = (code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_name, code.co_argcount, facts, code.co_exceptiontable, constants


def _function(module: ModuleType, name: str) -> FunctionType | None:
    found: Any = module
    for part in filter(None, name.split(".")):
        found = vars(found).get(part) if found is not None else None
    return _bare(found)


def _bare(found: Any) -> FunctionType | None:
    """The function below its decorators, of which one that remembers forgets."""
    forget: Callable[[], None] | None = getattr(found, "cache_clear", None)
    if forget is not None:
        forget()
    if isinstance(found, property):
        return _bare(found.fget)
    if isinstance(found, cached_property):
        return _bare(found.func)
    if hasattr(found, "__wrapped__"):
        return _bare(found.__wrapped__)
    return found if isinstance(found, FunctionType) else None
