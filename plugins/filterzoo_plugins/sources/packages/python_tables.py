"""Tables in Python code of packages, read as data: parsed, never executed."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from typing import Any

from filterzoo import Reason, Refused

MAX_NESTING = 50


def parse(text: str, file: str) -> ast.Module:
    """The syntax tree of a Python file; Refused (malformed) if it is not valid Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # warnings about escapes in untrusted text are useless
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Refused(Reason.MALFORMED, f"not Python: {type(error).__name__}", file) from error


def assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Every (target, value) of plain assignments, at any depth, in file order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield target, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield node.target, node.value


def assigned(tree: ast.AST, name: str, file: str) -> ast.expr:
    """The last value assigned to a name; Refused (malformed) if there is none."""
    found = [value for target, value in assignments(tree) if isinstance(target, ast.Name) and target.id == name]
    if not found:
        raise Refused(Reason.MALFORMED, f"assigns nothing to {name}", file)
    return found[-1]


def literal(node: ast.AST, nesting: int = 0) -> Any:
    """The value of constants and dicts; lists, tuples and sets become lists; anything else (a call, a name) is None.

    Entries of a dict whose key is not a constant are omitted.
    """
    if nesting > MAX_NESTING:
        return None
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            return [literal(part, nesting + 1) for part in parts]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.Dict():
            return {key: literal(value, nesting + 1) for key, value in items(node)}
        case _:
            return None


def items(node: ast.AST) -> Iterator[tuple[Any, ast.expr]]:
    """(key, value) of a dict or of an OrderedDict([(key, value), ...]) whose keys are constants, in order."""
    match node:
        case ast.Dict(keys=keys, values=values):
            pairs: list[tuple[ast.expr | None, ast.expr]] = list(zip(keys, values, strict=True))
        case ast.Call(args=[ast.List(elts=parts) | ast.Tuple(elts=parts)]):
            tuples = [part.elts for part in parts if isinstance(part, ast.Tuple) and len(part.elts) == 2]
            pairs = [(key, value) for key, value in tuples]
        case _:
            return
    for key, value in pairs:
        if isinstance(key, ast.Constant):
            yield key.value, value
