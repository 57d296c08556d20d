"""The filters of one network of CNN Filter DB: a stretch of the release's one array, behind a table of its layers.

The release (`dataset.h5`, Zenodo 6371680) holds all networks in one array. The source `cnn_filter_db` asks `describe`
for the networks in it and hands in each as a file of its own: `MAGIC`, a line of JSON (`head`), the rows as they stand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.format import Format
from filterzoo.hooks import hookimpl
from filterzoo.records import Context, Convolution, FileFacts, Kind, Span, Tensor
from filterzoo_plugins.encodings.json import JSON_BYTES, is_natural, read_json
from filterzoo_plugins.formats.cnn_filter_db.layout import FILTER, Rows

MAGIC = b"filterzoo: a network of CNN Filter DB, 1\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    dtype: str
    framework: str | None
    opset: int | None
    layers: tuple[Rows, ...]


def head(dtype: str, facts: FileFacts, layers: Sequence[Rows]) -> bytes:
    """What stands before a network's filters; `start` of its first layer is 0."""
    document = asdict(_Head(dtype=dtype, framework=facts.framework, opset=facts.opset, layers=tuple(layers)))
    return MAGIC + json.dumps(document).encode() + b"\n"


class CnnFilterDb(Format):
    """One network of CNN Filter DB."""

    name = "cnn_filter_db"
    framework: ClassVar[str | None] = None
    is_graph: ClassVar[bool] = True

    def prepare(self) -> None:
        """See `Format.prepare`."""
        import filterzoo_plugins.formats.cnn_filter_db.file  # noqa: F401, PLC0415  # as in `hdf5`

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic."""
        del name
        return head.startswith(MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The layers. Where the channels are not known all filters stand as inputs of one output: nothing is paired.

        The table has operators `Conv` only; it tells neither groups nor stride.
        """
        found, position = _read_head(file)
        item = DTYPES[found.dtype].size
        is_ranked = all(layer.depth is not None and layer.depth_norm is not None for layer in found.layers)
        for layer in found.layers:
            rank = (layer.depth, layer.depth_norm) if is_ranked else None
            shape = (layer.outputs or 1, layer.inputs or layer.count, 3, 3)
            yield Tensor(
                name=layer.name,
                dtype=found.dtype,
                shape=shape,
                span=Span(position + layer.start * FILTER * item, layer.count * FILTER * item),
                convolution=Convolution(kind=Kind.CONV, context=Context.DECLARED, rank=rank),  # type: ignore[arg-type]  # both are known
            )

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The framework and the version of ONNX's operators that the table names."""
        found, _ = _read_head(file)
        return FileFacts(framework=found.framework, opset=found.opset)

    def describe(self, file: RandomAccessFile) -> object:
        """A `Description` of a whole `dataset.h5`; of files beside it those of onnxzoo2filterdb are read."""
        from filterzoo_plugins.formats.cnn_filter_db.file import describe_file  # noqa: PLC0415  # as in `hdf5`

        return describe_file(file)


def _read_head(file: RandomAccessFile) -> tuple[_Head, int]:
    """The head, and where the filters begin."""
    raw = file.read(0, min(file.size, len(MAGIC) + JSON_BYTES + 1))
    end = raw.find(b"\n", len(MAGIC))
    match read_json(raw[len(MAGIC) : max(end, 0)], "the table of layers", depth=3):
        case {
            "dtype": "F16" | "F32" | "F64" as dtype,
            "framework": str() | None as framework,
            "opset": opset,
            "layers": list(layers),
        } if _is_natural_or_none(opset):
            return _Head(dtype=dtype, framework=framework, opset=opset, layers=tuple(map(_rows, layers))), end + 1
    raise Refused(Reason.MALFORMED, "a network of CNN Filter DB without a table of its layers")


def _rows(document: object) -> Rows:
    match document:
        case {
            "start": int(start),
            "count": int(count),
            "inputs": inputs,
            "outputs": outputs,
            "depth": depth,
            "depth_norm": float() | None as depth_norm,
            "name": str(name),
        } if (
            is_natural(start)
            and is_natural(count)
            and count > 0
            and all(map(_is_natural_or_none, (inputs, outputs, depth)))
        ):
            return Rows(
                start=start,
                count=count,
                inputs=inputs,
                outputs=outputs,
                depth=depth,
                depth_norm=depth_norm,
                name=name,
            )
    raise Refused(Reason.MALFORMED, "a network of CNN Filter DB with an impossible layer")


def _is_natural_or_none(value: object) -> bool:
    return value is None or is_natural(value)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [CnnFilterDb()]
