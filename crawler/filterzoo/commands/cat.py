"""filterzoo cat: one tensor of any model file, without executing anything in the file."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from filterzoo.commands.options import PluginOption, PrivateOption
from filterzoo.durable import whole_file
from filterzoo.errors import StartError, remedy, system_says
from filterzoo.reader.model_file import Array, ModelFile
from filterzoo.reader.opening import open_file
from filterzoo.reporting.terminal import printable


def cat(
    file: Annotated[
        str, typer.Argument(help="A model file, URL, hf://user/name/file or archive!member.", metavar="PATH_OR_URL")
    ],
    name: Annotated[str, typer.Argument(help="The tensor, as `filterzoo inspect --tensors` lists it.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write a .npy file; without it, to standard output.")
    ] = None,
    plugin: PluginOption = None,
    *,
    layer: Annotated[
        bool, typer.Option("--layer", help="NAME is a convolution: float32, (out, in/groups, *kernel).")
    ] = False,
    allow_private: PrivateOption = False,
) -> None:
    """Write one tensor of a model file as a NumPy array. Nothing in the file is executed.

    Its checksum is compared, where the format has one. bfloat16 and 8-bit floats become float32; other types stay as
    they are. On a terminal, without -o, the numbers are printed. Exit code 2 if the file is refused or has no such
    tensor.
    """
    with open_file(file, plugins=plugin or (), allow_private=allow_private) as model:
        array = _layer(model, name) if layer else _tensor(model, name)
    if output is not None:
        _write(output, array)
    elif sys.stdout.isatty():
        typer.echo(f"{array.dtype} {'x'.join(map(str, array.shape)) or 'scalar'}\n{array}")
    else:
        np.save(sys.stdout.buffer, array, allow_pickle=False)


def _tensor(model: ModelFile, name: str) -> Array:
    if name not in model:
        raise StartError(_missing("tensor", name, list(model)))
    return model[name]


def _layer(model: ModelFile, name: str) -> Array:
    for layer in model.layers:
        if layer.name == name:
            return layer.weights
    raise StartError(_missing("convolution", name, [layer.name for layer in model.layers]))


def _missing(what: str, name: str, known: list[str]) -> str:
    near = ", ".join(printable(one) for one in difflib.get_close_matches(name, known, n=3, cutoff=0.5))
    hint = f"the nearest are {near}" if near else "`filterzoo inspect --tensors` lists them"
    return f"cat: the file has no {what} {printable(name)}; {hint}"


def _write(path: Path, array: Array) -> None:
    """Write the .npy file at exactly that path, completely or not at all."""
    try:
        with whole_file(path) as draft, draft.open("wb") as sink:
            np.save(sink, array, allow_pickle=False)
    except OSError as error:
        raise StartError(f"cat: cannot write {path}: {system_says(error)}; {remedy(error)}") from error
