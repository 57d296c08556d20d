"""Writes the API reference for plugins: `python -m filterzoo.kit.reference docs/api.md`."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import filterzoo

NAMES = (
    *("Source", "SourceOptions", "Checkpoint", "Artifact", "Refusal", "Door", "Document", "secret"),
    *("RandomAccessFile", "Format", "Tensor", "Span", "StoredRange", "Quantisation", "Convolution", "FileFacts"),
    *("LeftOut", "Layout", "Kind", "Archive", "Member", "Packing", "Reason", "Refused", "StartError"),
)
"""The names on the page, in order: zoos, formats, archives, errors. All are imported from `filterzoo`."""

_HEAD = """\
# API reference for plugins

Written by `make docs` from the docstrings; a test compares. Everything here is imported from `filterzoo`.
[write-a-plugin.md](write-a-plugin.md) uses it step by step, [hooks.md](hooks.md) has the hooks.
"""


def reference_page() -> str:
    """The page, as Markdown."""
    links = ", ".join(f"[`{name}`](#{name.lower()})" for name in NAMES)
    return "\n".join([_HEAD, f"{links}\n", *(line for name in NAMES for line in _entry(name))])


def _entry(name: str) -> Iterator[str]:
    """The lines under the heading of one name."""
    public = getattr(filterzoo, name)
    yield f"## {name}\n"
    if not inspect.isclass(public):
        yield f"```python\n{_call(name, public)}\n```\n\n{_text(public)}\n"
        return
    bases = [base.__name__ for base in public.__bases__ if base.__name__ in {*NAMES, "StrEnum", "Exception"}]
    inherited = f"({', '.join(bases)})" if bases else ""
    yield f"```python\nclass {name}{inherited}\n```\n\n{_text(public)}\n"
    if fields := list(_fields(public)):
        yield from [*fields, ""]
    for method, function in vars(public).items():
        if _is_documented(method, function):
            yield f"### {name}.{method}\n"
            yield f"```python\n{_call(method, function)}\n```\n\n{_text(_plain(function))}\n"


def _is_documented(method: str, function: object) -> bool:
    """Whether it is a method that a plugin calls or implements."""
    plain = _plain(function)
    return inspect.isfunction(plain) and not method.startswith("_") and bool(plain.__doc__)


def _plain(function: object) -> object:
    if isinstance(function, property):
        return function.fget
    return function.__func__ if isinstance(function, classmethod | staticmethod) else function


def _call(name: str, function: object) -> str:
    """The typed signature; properties, class methods and abstract methods are marked."""
    plain = _plain(function)
    marks = [
        mark for mark, kind in (("@property", property), ("@classmethod", classmethod)) if isinstance(function, kind)
    ]
    marks += ["@abstractmethod"] if getattr(plain, "__isabstractmethod__", False) else []
    (written,) = ast.parse(textwrap.dedent(inspect.getsource(plain))).body  # type: ignore[arg-type]  # a function
    if not isinstance(written, ast.FunctionDef):
        raise TypeError(f"{name} is not written as a function")
    returns = f" -> {ast.unparse(written.returns)}" if written.returns else ""
    return "\n".join([*marks, f"def {name}({ast.unparse(written.args)}){returns}"])


def _fields(owner: type) -> Iterator[str]:
    """A line for each field, with its type, default and the string below it in the source."""
    for statement, text in _statements(owner):
        if isinstance(statement, ast.AnnAssign):
            name, kind = ast.unparse(statement.target), f": `{ast.unparse(statement.annotation)}`"
        else:
            name, kind = ast.unparse(statement.targets[0]), ""
        if name.startswith("_"):
            continue
        default = f" = `{ast.unparse(statement.value)}`" if statement.value is not None else ""
        yield f"* **`{name}`**{kind}{default}" + (f" - {text}" if text else "")


def _statements(owner: type) -> Iterator[tuple[ast.AnnAssign | ast.Assign, str]]:
    """Assignments in a class's body, each with the string that follows it."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    if not isinstance(body, ast.ClassDef):
        return
    for statement, following in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign | ast.Assign):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(inspect.cleandoc(str(following.value.value)).split())
            yield statement, text


def _text(documented: object) -> str:
    """The docstring, with `*` escaped for Markdown."""
    return inspect.cleandoc(getattr(documented, "__doc__", None) or "").replace("*", r"\*")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference_page(), encoding="utf-8")
