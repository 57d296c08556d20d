"""Core ML models: neural networks of layers (.mlmodel), and programs (.mlpackage) with weights in side files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.protobuf import LENGTH_DELIMITED, VARINT, WireReader, first_fields, length_tag
from filterzoo_plugins.formats.coreml.blobs import Blobs
from filterzoo_plugins.formats.coreml.network import NetworkReader
from filterzoo_plugins.formats.coreml.program import ProgramReader

_DESCRIPTION = frozenset({1, 7, 10, 11, 12, 20, 21, 50, 100})
"""Fields of ModelDescription."""
_NETWORKS = frozenset({303, 403, 500})
_PIPELINES = {202: (), 200: (1,), 201: (1,)}
"""Field of Model -> path of fields inside it to the Pipeline."""
_PROGRAM = 502
_ENDING = ".mlmodel"
_MAX_PIPELINES = 8


class CoreMl(Format):
    """NeuralNetwork, its classifiers and regressors, pipelines of them, and ML programs.

    A program's weights are in the side file `weights/weight.bin`. Linearly quantised weights are computed; look-up
    tables are refused by name.
    """

    name: ClassVar[str] = "coreml"
    framework: ClassVar[str | None] = "coreml"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By a version and then a description; the name decides if the file could also be a SavedModel."""
        fields = first_fields(head)
        if [tag for tag, _, _ in fields[:2]] != [1 << 3 | VARINT, 2 << 3 | LENGTH_DELIMITED]:
            return False
        inner = first_fields(fields[1][2])
        if not inner or inner[0][0] & 7 != LENGTH_DELIMITED or inner[0][0] >> 3 not in _DESCRIPTION:
            return False
        return fields[0][1] > 1 or inner[0][0] >> 3 > _MAX_PIPELINES or name.lower().endswith(_ENDING)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in layer order; then the other arrays."""
        reader = WireReader(file)
        with contextlib.closing(Blobs(file)) as blobs:
            for model in _models(reader, 0, file.size, 0):
                model.run(blobs)
                yield from model.convolutions.found()
                yield from model.rest()

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every stored array."""
        reader = WireReader(file)
        with contextlib.closing(Blobs(file)) as blobs:
            for model in _models(reader, 0, file.size, 0):
                model.run(blobs)
                yield from model.stored.values()


def _models(reader: WireReader, start: int, end: int, depth: int) -> Iterator[NetworkReader | ProgramReader]:
    """The networks and programs of a Model, in the order of a pipeline."""
    if depth > _MAX_PIPELINES:
        raise Refused(Reason.LIMIT, f"pipelines more than {_MAX_PIPELINES} deep in each other", f"byte {start}")
    found = 0
    for tag, length, at in reader.fields(start, end):
        number = tag >> 3
        if tag & 7 != LENGTH_DELIMITED:
            continue
        if number in _NETWORKS:
            found += 1
            yield NetworkReader(reader, at, at + length)
        elif number == _PROGRAM:
            found += 1
            yield ProgramReader(reader, at, at + length)
        elif number in _PIPELINES:
            found += 1
            yield from _of_pipeline(reader, (at, at + length), _PIPELINES[number], depth)
    if not found and not depth:
        raise Refused(Reason.UNSUPPORTED, "a Core ML model that is no neural network")


def _of_pipeline(
    reader: WireReader, place: tuple[int, int], path: tuple[int, ...], depth: int
) -> Iterator[NetworkReader | ProgramReader]:
    for tag, length, at in reader.fields(*place):
        if path and tag == length_tag(path[0]):
            yield from _of_pipeline(reader, (at, at + length), path[1:], depth)
        elif not path and tag == length_tag(1):
            yield from _models(reader, at, at + length, depth + 1)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The Core ML format."""
    return [CoreMl()]
