"""Parses the text of TorchScript archives, which torch's printer writes in the syntax of Python.

The text is untrusted: it is parsed (`ast.parse`), never compiled or run, in the jail, up to `zip_file.MAX_CODE_BYTES`.
Code that is not understood ends the analysis of that file only.
"""

from __future__ import annotations

import ast
import re
import unicodedata  # noqa: F401  # the parser imports it for names beyond ASCII, which the jail denies it
import warnings
from dataclasses import dataclass, field

MAX_NESTING = 60
"""Of brackets."""
MAX_CHAIN = 300
"""Operators, attributes and colons in one logical line, between the same brackets: each may nest the tree once more."""

_MARK = re.compile(
    r"""(?P<skipped>"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'|\#[^\n]*|\d[\w.]*)"""
    r"""|(?P<unended>["'])"""
    r"""|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<split>[,\n])"""
    r"""|(?P<chain>[-+~*/%<>=!|&^@.:]+|\b(?:not|and|or|if|else|is|in|lambda|await|yield)\b)""",
    re.ASCII,
)


class NotUnderstoodError(Exception):
    """Raised for text that torch's printer does not write; the archive is then read without its code."""


@dataclass(slots=True)
class Code:
    """One file: functions by ("", name), methods by (class, name), values of class attributes alike."""

    functions: dict[tuple[str, str], ast.FunctionDef] = field(default_factory=dict)
    constants: dict[tuple[str, str], ast.expr] = field(default_factory=dict)


def parse(text: str) -> Code:
    """The classes and functions of one file; NotUnderstoodError for a text that is not the printer's."""
    _check_nesting(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in strings: the text is untrusted
            body = ast.parse(text).body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise NotUnderstoodError(str(error)) from error
    source = Code()
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name):
                source.functions["", name] = statement
            case ast.ClassDef(name=owner, body=members):
                _read_class(owner, members, source)
    return source


def _read_class(owner: str, members: list[ast.stmt], source: Code) -> None:
    for member in members:
        match member:
            case ast.FunctionDef(name=name):
                source.functions[owner, name] = member
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                source.constants[owner, name] = value


def parameters(function: ast.FunctionDef) -> list[tuple[str, ast.expr | None]]:
    """Names, each with its default."""
    stated = function.args
    named = [*stated.posonlyargs, *stated.args]
    defaults = [*[None] * (len(named) - len(stated.defaults)), *stated.defaults]
    pairs = [*zip(named, defaults, strict=True), *zip(stated.kwonlyargs, stated.kw_defaults, strict=True)]
    return [(argument.arg, default) for argument, default in pairs]


def _check_nesting(text: str) -> None:
    """NotUnderstoodError for a text that nests deeper than the printer writes.

    CPython refuses such a text too, with a MemoryError or RecursionError; not every version of it always did.
    """
    chains = [0]
    for mark in _MARK.finditer(text):
        match mark.lastgroup:
            case "unended":
                raise NotUnderstoodError("a string that stays open")
            case "open":
                chains.append(0)
                if len(chains) > MAX_NESTING:
                    raise NotUnderstoodError("brackets nested too deep")
            case "close" if len(chains) > 1:
                chains.pop()
                chains[-1] += 1
            case "split" if mark.group() == "," or len(chains) == 1:
                chains[-1] = 0
            case "chain":
                chains[-1] += len(mark.group())
        if chains[-1] > MAX_CHAIN:
            raise NotUnderstoodError("a chain of many operators")
