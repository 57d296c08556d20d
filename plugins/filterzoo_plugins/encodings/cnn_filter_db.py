"""One network of CNN Filter DB as a file of its own: `MAGIC`, a line of JSON about its layers, its filters.

The release (`dataset.h5`, Zenodo 6371680) holds the filters of all networks in one array. The source `cnn_filter_db`
prepends such a header to one network's rows; the format `cnn_filter_db` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from filterzoo import FileFacts, RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.json import JSON_BYTES, is_natural, read_json

MAGIC = b"filterzoo: a network of CNN Filter DB, 1\n"
FILTER = 9
"""Numbers of a filter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRows:
    """A layer: `count` filters from row `start` of the network's filters.

    inputs, outputs: channels, both known or neither. depth, depth_norm: `conv_depth` as in the table.
    """

    start: int
    count: int
    inputs: int | None
    outputs: int | None
    depth: int | None
    depth_norm: float | None
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkHead:
    """The content of the line of JSON."""

    dtype: str
    framework: str | None
    opset: int | None
    layers: tuple[FilterRows, ...]


def write_head(dtype: str, facts: FileFacts, layers: Sequence[FilterRows]) -> bytes:
    """The bytes before a network's filters; `start` of its first layer is 0."""
    document = asdict(NetworkHead(dtype=dtype, framework=facts.framework, opset=facts.opset, layers=tuple(layers)))
    return MAGIC + json.dumps(document).encode() + b"\n"


def read_head(file: RandomAccessFile) -> tuple[NetworkHead, int]:
    """The header, and the offset of the first filter; Refused (malformed) for any other text."""
    raw = file.read(0, min(file.size, len(MAGIC) + JSON_BYTES + 1))
    end = raw.find(b"\n", len(MAGIC))
    match read_json(raw[len(MAGIC) : max(end, 0)], "the table of layers", depth=3):
        case {
            "dtype": "F16" | "F32" | "F64" as dtype,
            "framework": str() | None as framework,
            "opset": opset,
            "layers": list(layers),
        } if _is_natural_or_none(opset):
            return NetworkHead(dtype=dtype, framework=framework, opset=opset, layers=tuple(map(_rows, layers))), end + 1
    raise Refused(Reason.MALFORMED, "a network of CNN Filter DB without a table of its layers")


def _rows(document: object) -> FilterRows:
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
            return FilterRows(
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
