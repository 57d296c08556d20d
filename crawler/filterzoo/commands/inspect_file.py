"""The output of `filterzoo inspect` for one file. It imports NumPy, which takes a while, so the jail starts first."""

from __future__ import annotations

from collections import Counter
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterzoo.crawl.budget import Budget, cpu_clock
from filterzoo.crawl.worker.opening import opened
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, sha256_of
from filterzoo.jail import Jail
from filterzoo.layers.depth import depths
from filterzoo.layers.normalise import canonical, evidence_of, read
from filterzoo.layers.shapes import canonical_shape, kernel_name
from filterzoo.layers.stored import TensorReader
from filterzoo.reader.locations import location_of
from filterzoo.reader.opening import whole_copy
from filterzoo.records import Index, Layout, Tensor
from filterzoo.reporting.terminal import cell, console, printable, table

if TYPE_CHECKING:
    from filterzoo.running.convolutions import Compared

_PIECE = 1 << 22
_MOST_VERIFIED = 16
"""Weights read for `--verify-onnx`: more than are compared, because some operations cannot be."""


def refusal_document(name: str, refusal: Refused) -> dict[str, Any]:
    """The --json document of a refused file."""
    detail = f"{refusal.detail} (at {refusal.where})" if refusal.where else refusal.detail
    return {"file": name, "error": {"reason": str(refusal.reason), "detail": " ".join(printable(detail, 1000).split())}}


def inspect_file(
    name: str, jail: Jail, scratch: Path, *, allow_private: bool, tensors: bool, verify_onnx: bool
) -> dict[str, Any]:
    """The --json document of a file; the options are those of `inspect`. Refused as in a crawl."""
    place = location_of(name)
    with (
        whole_copy(place, allow_private=allow_private) as whole,
        opened(whole, place.name, jail, scratch, place.member, all_tensors=tensors) as (file, index),
    ):
        is_local = place.path is not None
        if is_local:
            _check(index, file, scratch)
        document = _describe(name, index, sha256_of(whole) if is_local else whole.verified_sha256)
        if tensors:
            document["all_tensors"] = [_listed(tensor) for tensor in index.tensors]
        if verify_onnx and index.format == "onnx":
            if not is_local:
                raise Refused(Reason.UNSUPPORTED, "--verify-onnx runs graphs of local files only; download it first")
            document["verified"] = [
                {"name": one.name, "difference": one.difference, "agrees": one.agrees}
                for one in _verified(index, file, scratch)
            ]
        if index.obstacle is not None:
            document["layers_error"] = " ".join(printable(index.obstacle, 1000).split())
        return document


def _listed(tensor: Tensor) -> dict[str, Any]:
    layout = None if tensor.layout is Layout.OTHER else tensor.layout
    listed = {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape), "layout": layout}
    listed |= {"section": tensor.section} if tensor.section else {}
    return listed | {"obstacle": tensor.obstacle} if tensor.obstacle else listed


def _check(index: Index, file: RandomAccessFile, scratch: Path) -> None:
    """Read all convolutions, so that a damaged file is refused as in a crawl."""
    with TensorReader(file, scratch) as reader, cpu_clock(Budget().seconds_for(index)):
        reader.check(index.containers)
        for tensor in index.convolutions:
            read(tensor, reader)


def _verified(index: Index, file: RandomAccessFile, scratch: Path) -> list[Compared]:
    """Run the graph's first convolutions and compare them with the weights that a crawl reads."""
    from filterzoo.running.convolutions import compare  # noqa: PLC0415  # an extra's packages

    with TensorReader(file, scratch) as reader:
        weights = {
            tensor.name: canonical(read(tensor, reader), tensor) for tensor in index.convolutions[:_MOST_VERIFIED]
        }
    pieces = (bytes(file.read(first, min(_PIECE, file.size - first))) for first in range(0, file.size, _PIECE))
    return compare(b"".join(pieces), weights)


def _describe(name: str, index: Index, sha256: str | None) -> dict[str, Any]:
    filters: Counter[str] = Counter()
    layers = []
    for tensor, (depth, _norm, context) in zip(index.convolutions, depths(index.convolutions), strict=True):
        shape = canonical_shape(tensor)
        convolution = tensor.convolution
        filters[kernel_name(shape[2:])] += prod(shape[:2])
        layers.append(
            {
                "name": tensor.name,
                "kind": convolution.kind if convolution else None,
                "shape": list(shape),
                "dtype": tensor.dtype,
                "groups": convolution.groups if convolution else None,
                "stride": list(convolution.stride) if convolution and convolution.stride else None,
                "conv_depth": depth,
                "context": context,
                "layout_evidence": evidence_of(tensor),
                "computed": tensor.computation.way if tensor.computation else None,
            }
        )
    return {
        "format": index.format,
        "file": name,
        "sha256": sha256,
        "framework": index.facts.framework,
        "tensors": index.tensor_count,
        "layers": layers,
        "passed_over": index.passed_over,
        "left_out": [{"name": left.name, "reason": left.reason, "detail": left.detail} for left in index.left_out],
        "filters": dict(sorted(filters.items())),
    }


def show(document: dict[str, Any]) -> None:
    """Print the content of a file, for people."""
    out = console()
    name = printable(document["file"])
    if "error" in document:
        out.print(f"{name}: refused: {document['error']['reason']}: {document['error']['detail']}")
        return
    for one in document.get("verified", ()):
        verdict = "as the graph computes" if one["agrees"] else "NOT WHAT THE GRAPH COMPUTES"
        out.print(f"run in onnxruntime: {printable(one['name'])}: {verdict} (difference {one['difference']:.1e})")
    counts = ", ".join(f"{kernel} {count:,}" for kernel, count in document["filters"].items()) or "none"
    layers = len(document["layers"])
    out.print(f"{name}: {document['format']}, {document['tensors']:,} tensors, {layers:,} convolutions")
    if "layers_error" in document:
        out.print(f"its convolutions cannot be shown: unsupported: {document['layers_error']}")
    for left in document["left_out"]:
        out.print(f"left out: {printable(left['name'])}: {left['reason']}: {printable(left['detail'], 300)}")
    out.print(f"filters: {counts}")
    if layers:
        made = table("depth", "name", "kind", "shape", "dtype", "groups", "stride", "context", numbers=("depth",))
        for layer in document["layers"]:
            shape = "x".join(map(str, layer["shape"]))
            stride = "x".join(map(str, layer["stride"])) if layer["stride"] else "-"
            groups = "-" if layer["groups"] is None else str(layer["groups"])
            place = (str(layer["conv_depth"]), cell(layer["name"]), str(layer["kind"]), shape)
            made.add_row(*place, layer["dtype"], groups, stride, str(layer["context"]))
        out.print(made)
    if "all_tensors" in document:
        made = table("name", "dtype", "shape", "layout")
        for tensor in document["all_tensors"]:
            name = f"{tensor['section']}.{tensor['name']}" if "section" in tensor else tensor["name"]
            shape = "x".join(map(str, tensor["shape"])) or "scalar"
            layout = f"not read: {cell(tensor['obstacle'])}" if "obstacle" in tensor else tensor["layout"] or "-"
            made.add_row(cell(name, longest=100), tensor["dtype"], shape, layout)
        out.print(made)
