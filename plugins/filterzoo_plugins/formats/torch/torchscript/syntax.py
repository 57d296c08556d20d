"""Parses the code in TorchScript archives, which torch prints in Python syntax.

The code is untrusted: it is parsed in the jail (`ast.parse`) up to `zip_file.MAX_CODE_BYTES`, never compiled or
executed. Code that is not understood ends the analysis of that file only.
"""

from __future__ import annotations

import ast
import re
import unicodedata  # noqa: F401  # the parser imports it for names beyond ASCII, which the jail denies it
import warnings
from dataclasses import dataclass, field

MAX_NESTING = 60
"""Most nested brackets."""
MAX_CHAIN = 300
"""Most operators, attributes and colons between the same brackets of a logical line: each may nest the tree deeper."""

_MARK = re.compile(
    r"""(?P<skipped>"(?:[^"\\\n]|\\.)*+"|'(?:[^'\\\n]|\\.)*+'|\#[^\n]*|\d[\w.]*)"""
    r"""|(?P<unended>["'])"""
    r"""|(?P<open>[(\[{])|(?P<close>[)\]}])|(?P<split>[,\n])"""
    r"""|(?P<chain>[-+~*/%<>=!|&^@.:]+|\b(?:not|and|or|if|else|is|in|lambda|await|yield)\b)""",
    re.ASCII,
)


class NotUnderstoodError(Exception):
    """Raised for code that torch does not print; the archive is then read without its code."""


@dataclass(slots=True)
class Code:
    """One file: functions by ("", name), methods and values of class attributes by (class, name)."""

    functions: dict[tuple[str, str], ast.FunctionDef] = field(default_factory=dict)
    constants: dict[tuple[str, str], ast.expr] = field(default_factory=dict)


def parse(text: str) -> Code:
    """The classes and functions of one file; NotUnderstoodError for code that torch does not print."""
    _check_nesting(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about escapes in untrusted strings
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
    """The parameters with their defaults."""
    stated = function.args
    named = [*stated.posonlyargs, *stated.args]
    defaults = [*[None] * (len(named) - len(stated.defaults)), *stated.defaults]
    pairs = [*zip(named, defaults, strict=True), *zip(stated.kwonlyargs, stated.kw_defaults, strict=True)]
    return [(argument.arg, default) for argument, default in pairs]


def _check_nesting(text: str) -> None:
    """NotUnderstoodError for code that is nested deeper than torch prints.

    CPython refuses such code too, with a MemoryError or RecursionError, but not in every version.
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
