"""Selects the models of a report: by an expression over the columns of `models`, and by kinds to exclude."""

from __future__ import annotations

import ast
import difflib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo.errors import StartError
from filterzoo_analysis.tables.statistics import Bools

SUSPECTED_RANDOM = "suspected_random"
EXCLUDABLE: dict[str, str] = {
    SUSPECTED_RANDOM: "published with weights that look as if they were never trained",
}
"""The kinds of `--exclude`, and their meaning."""
_LONGEST = 2000
"""Longest expression, in characters."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, values: value in values,
    ast.NotIn: lambda value, values: value not in values,
}


def matching(models: pa.Table, expression: str) -> Bools:
    """(models,) whether the expression holds, such as `task == "segmentation" and filters_3x3 > 1000`.

    It compares columns of `models`, strings, numbers, True, False and None (`in` takes a list), joined by `and`, `or`,
    `not`. The expression is parsed, never executed. A comparison with an unknown value is false, except for `is None`.
    StartError for an invalid expression.
    """
    if len(expression) > _LONGEST:
        raise StartError(f"--where: longer than {_LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise StartError(f"--where {expression!r}: not an expression: {getattr(error, 'msg', error)}") from None
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    for name in names:
        if name not in models.column_names:
            near = difflib.get_close_matches(name, models.column_names, 3, 0.5)
            hint = f"; did you mean {', '.join(near)}?" if near else "; write texts in quotes"
            raise StartError(f"--where: {name!r} is no column of `models`{hint}")
    columns = {name: models[name].to_pylist() for name in names}
    try:
        found = [_holds(tree, {name: columns[name][row] for name in names}) for row in range(len(models))]
    except TypeError as error:
        raise StartError(f"--where {expression!r}: {error}") from None
    return np.array(found, bool)


def left_out(models: pa.Table, kinds: Sequence[str]) -> dict[str, Bools]:
    """Kind -> (models,) which models it excludes. StartError for a kind that is not in EXCLUDABLE."""
    for kind in kinds:
        if kind not in EXCLUDABLE:
            raise StartError(f"--exclude {kind!r}: known are {', '.join(EXCLUDABLE)}, none")
    return {kind: np.array([value is True for value in models[kind].to_pylist()], bool) for kind in kinds}


def _holds(node: ast.expr, row: dict[str, Any]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And()):
            return all(_holds(part, row) for part in node.values)
        case ast.BoolOp(op=ast.Or()):
            return any(_holds(part, row) for part in node.values)
        case ast.UnaryOp(op=ast.Not()):
            return not _holds(node.operand, row)
        case ast.Compare():
            values = [_value(part, row) for part in (node.left, *node.comparators)]
            pairs = zip(values, node.ops, values[1:], strict=False)
            return all(_compared(left, op, right) for left, op, right in pairs)
        case ast.Name() | ast.Constant():
            return _value(node, row) is True
    raise TypeError("only comparisons of columns with values, joined by and, or, not")


def _compared(left: Any, op: ast.cmpop, right: Any) -> bool:
    if isinstance(op, ast.Is | ast.IsNot):
        return (left is right) == isinstance(op, ast.Is)
    if left is None or right is None:
        return False
    return bool(_COMPARE[type(op)](left, right))


def _value(node: ast.expr, row: dict[str, Any]) -> Any:
    match node:
        case ast.Name():
            return row[node.id]
        case ast.Constant(value=str() | int() | float() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List() | ast.Tuple() | ast.Set():
            return [_value(each, row) for each in node.elts]
    raise TypeError("only columns, texts, numbers, True, False, None and lists of them")
