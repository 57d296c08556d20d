"""filterzoo inspect: the convolution layers of model files, without executing anything in them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.commands.options import JsonOption, PluginOption, PrivateOption
from filterzoo.errors import FilterZooError, Reason, Refused, describe


def inspect(
    files: Annotated[
        list[str],
        typer.Argument(help="Model files, http(s) URLs, hf://user/name/file, archive!member.", metavar="PATH_OR_URL"),
    ],
    plugin: PluginOption = None,
    *,
    allow_private: PrivateOption = False,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every named array, not only convolutions.")] = False,
    verify_onnx: Annotated[
        bool,
        typer.Option(
            "--verify-onnx",
            help="Run the first convolutions of local ONNX graphs in onnxruntime, on random input, and compare them "
            "with the weights that are read. This runs the file's graph in this process.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the convolution layers of model files. Nothing in the files is executed, but graphs with --verify-onnx.

    The weights of local files are read and their checksums compared; of a URL only the index is fetched. Exit code 2
    if any file was refused, or if a graph computes with other weights than those that are read.
    """
    from filterzoo.jail import Jail  # noqa: PLC0415  # `--help` needs none

    loaded = plugin_loading.load(plugin_loading.references(plugin or ()), plugin_loading.only_formats)
    refused = False
    with Jail(loaded.format_references) as jail:
        jail.start()
        # Slow imports come while the jail starts.
        from filterzoo.commands.inspect_file import inspect_file, refusal_document, show  # noqa: PLC0415

        scratch = Path(tempfile.gettempdir())
        for name in files:
            try:
                document = inspect_file(
                    name, jail, scratch, allow_private=allow_private, tensors=tensors, verify_onnx=verify_onnx
                )
                refused |= not all(one["agrees"] for one in document.get("verified", ()))
            except Refused as refusal:
                refused = True
                document = refusal_document(name, refusal)
            except FilterZooError:
                raise
            except Exception as error:  # noqa: BLE001  # a file that breaks anything must not hide those behind it
                refused = True
                document = refusal_document(name, Refused(Reason.CRASHED, describe(error)))
            typer.echo(json.dumps(document)) if as_json else show(document)
    if refused:
        raise typer.Exit(2)
