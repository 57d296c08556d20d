"""A local file of CNN Filter DB: described in the jail, and each network of it opened as a file of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from filterzoo import LocalFile, Reason, Refused
from filterzoo.dtypes import DTYPES
from filterzoo.files import RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.records import FileFacts
from filterzoo.references import PluginReference
from filterzoo_plugins.formats import cnn_filter_db as rows
from filterzoo_plugins.formats.cnn_filter_db.layout import FILTER, Description, Network

_DESCRIPTION: TypeAdapter[Description] = TypeAdapter(Description)
_FORMAT = PluginReference("cnn_filter_db_rows", module=rows.__name__)


def describe(path: Path) -> Description:
    """What the file holds, as the jail read it; Refused where it is no such file, or points outside itself."""
    with LocalFile(path) as file, Jail([_FORMAT]) as jail:
        document = jail.describe(file, rows.CnnFilterDb.name)
        try:
            found = _DESCRIPTION.validate_json(json.dumps(document), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise Refused(Reason.CRASHED, f"the jail describes no file of CNN Filter DB: {first['msg']}") from None
        if found.dtype not in DTYPES or found.filters < 0:
            raise Refused(Reason.MALFORMED, "impossible filters")
        file.check_bounds(found.offset, found.filters * _filter_bytes(found))
    for network in found.networks:
        for layer in network.layers:
            if layer.start < 0 or layer.count <= 0 or layer.start + layer.count > found.filters:
                raise Refused(Reason.MALFORMED, "a layer outside the filters", f"model {network.key}")
    return found


def _filter_bytes(description: Description) -> int:
    return FILTER * DTYPES[description.dtype].size


@dataclass(frozen=True, slots=True)
class _Part:
    """`length` bytes of the network's file from `begin`, which stand in the whole file at `offset`."""

    begin: int
    length: int
    offset: int


class NetworkFile(RandomAccessFile):
    """One network: the table of its layers, then its filters, read from the whole file where they stand."""

    def __init__(self, path: Path, description: Description, network: Network) -> None:
        self._file = LocalFile(path)
        try:
            self._file.check_bounds(description.offset, description.filters * _filter_bytes(description))
        except Refused:
            self._file.close()
            raise
        self._head, self._parts = _layout(description, network)
        self.size = network_size(description, network)

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        end = offset + length
        pieces = [self._head[offset:end]]
        for part in self._parts:
            begin, stop = max(offset, part.begin), min(end, part.begin + part.length)
            if begin < stop:
                pieces.append(self._file.read(part.offset + begin - part.begin, stop - begin))
        return b"".join(pieces)

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        self._file.close()


def network_size(description: Description, network: Network) -> int:
    """Bytes of the network as a file of its own."""
    head, parts = _layout(description, network)
    return len(head) + sum(part.length for part in parts)


def _layout(description: Description, network: Network) -> tuple[bytes, Sequence[_Part]]:
    counts = [layer.count for layer in network.layers]
    starts = list(accumulate(counts[:-1], initial=0))
    own = [replace(layer, start=start) for layer, start in zip(network.layers, starts, strict=True)]
    head = rows.head(description.dtype, facts(network), own)
    size = _filter_bytes(description)
    parts = [
        _Part(len(head) + start * size, layer.count * size, description.offset + layer.start * size)
        for layer, start in zip(network.layers, starts, strict=True)
    ]
    return head, list(_joined(parts))


def _joined(parts: Sequence[_Part]) -> Iterator[_Part]:
    """Neighbours in both files made one: a network's layers mostly stand side by side."""
    waiting: _Part | None = None
    for part in parts:
        if waiting is not None and waiting.offset + waiting.length == part.offset:
            waiting = replace(waiting, length=waiting.length + part.length)
            continue
        if waiting is not None:
            yield waiting
        waiting = part
    if waiting is not None:
        yield waiting


def facts(network: Network) -> FileFacts:
    """What the table says of the network's ONNX file. Its pytorch is torch here; other words stay as they are."""
    stated, opset = network.facts.get("Framework"), network.facts.get("op_set")
    word = stated.strip().lower() if isinstance(stated, str) else ""
    is_version = isinstance(opset, (int, float)) and 1 <= opset < 1 << 31
    return FileFacts(
        framework={"pytorch": "torch"}.get(word, word) or None, opset=int(opset or 0) if is_version else None
    )
