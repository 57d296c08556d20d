"""Generates a plugin's package from templates: pyproject.toml, one module, its test, a README."""

from __future__ import annotations

import keyword
import re
from importlib import resources
from pathlib import Path
from string import Template
from typing import Literal

from filterzoo.errors import StartError, remedy, system_says

What = Literal["source", "format"]
LONGEST = 40
"""Longest name in characters; it is used in file names and columns."""

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")


def identifier(name: str) -> str:
    """The name of the source, format and module: `my-zoo` becomes `my_zoo`. StartError for an invalid name."""
    if not _NAME.fullmatch(name) or len(name) > LONGEST or keyword.iskeyword(name):
        rule = f"a name is made of lower-case letters, digits and single _ or -, starts with a letter, up to {LONGEST}"
        raise StartError(f"{ascii(name)[:80]} cannot be a plugin's name: {rule}, as in my_zoo")
    return name.replace("-", "_")


def write_plugin(name: str, what: What, parent: Path) -> list[Path]:
    """Write the package `name` into a new folder of that name in `parent`; returns the files.

    StartError for an invalid name, an existing folder, or a folder that cannot be written.
    """
    known = _words(name, what)
    folder = parent / name
    texts = {place: Template(_template(source)).substitute(known) for place, source in _files(known, what).items()}
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        for place, text in texts.items():
            (folder / place).write_text(text, encoding="utf-8")
    except FileExistsError:
        raise StartError(f"{folder}: there is something of that name already; choose another name or --into") from None
    except OSError as error:
        raise StartError(f"{folder}: cannot write the package: {system_says(error)}; {remedy(error)}") from error
    return [folder / place for place in texts]


def _words(name: str, what: What) -> dict[str, str]:
    """The values for the templates, all derived from the checked name."""
    safe = identifier(name)
    return {
        "name": safe,
        "what": {"source": "zoo", "format": "format"}[what],
        "class_name": "".join(part.capitalize() for part in safe.split("_")),
        "module": f"filterzoo_{safe}",
        "distribution": f"filterzoo-{safe.replace('_', '-')}",
    }


def _files(known: dict[str, str], what: What) -> dict[str, str]:
    """File of the package -> its template."""
    return {
        "pyproject.toml": "pyproject.toml.txt",
        f"{known['module']}.py": f"{what}/plugin.py.txt",
        f"test_{known['name']}.py": f"{what}/test.py.txt",
        "README.md": f"{what}/README.md.txt",
    }


def _template(place: str) -> str:
    return resources.files("filterzoo.kit").joinpath("templates", *place.split("/")).read_text(encoding="utf-8")
