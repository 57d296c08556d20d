"""A local file of CNN Filter DB: it is indexed in the jail, and each of its networks is opened as a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from pathlib import Path

from filterzoo import FileFacts, Jail, LocalFile, PluginReference, RandomAccessFile, Reason, Refused, StatedFact, Tensor
from filterzoo_plugins.encodings.cnn_filter_db import FilterRows, write_head

_FORMAT = PluginReference("cnn_filter_db_release", module="filterzoo_plugins.sources.cnn_filter_db.release")


@dataclass(frozen=True, slots=True)
class ReleasedNetwork:
    """A network of the table. key: its `model_id`. stated: the table's columns. layers: in row order."""

    key: str
    stated: Mapping[str, StatedFact]
    layers: tuple[Tensor, ...]


def read_release(path: Path) -> list[ReleasedNetwork]:
    """The networks of a file, read in the jail; Refused for another kind of file, or byte ranges outside it."""
    with LocalFile(path) as file, Jail([_FORMAT]) as jail:
        index = jail.index(file, path.name)
    stated = {facts.section: facts.stated for facts in index.facts.sections}
    networks = groupby(index.convolutions, key=lambda tensor: tensor.section)
    return [ReleasedNetwork(section, stated.get(section, {}), tuple(layers)) for section, layers in networks]


@dataclass(frozen=True, slots=True)
class _Part:
    """`length` bytes of the network's file from `begin`, which are in the whole file at `offset`."""

    begin: int
    length: int
    offset: int


class NetworkFile(RandomAccessFile):
    """One network: the table of its layers, then its filters, read in place from the whole file."""

    def __init__(self, path: Path, network: ReleasedNetwork) -> None:
        self._head, self._parts = _layout(network)
        self.size = network_size(network)
        self._file = LocalFile(path)

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        end = offset + length
        pieces = [self._head[offset:end]]
        for part in self._parts:
            begin, stop = max(offset, part.begin), min(end, part.begin + part.length)
            if begin < stop:
                pieces.append(self._read_part(part.offset + begin - part.begin, stop - begin))
        return b"".join(pieces)

    def _read_part(self, offset: int, length: int) -> bytes:
        if offset + length > self._file.size:
            raise Refused(Reason.CHANGED, "the file became shorter since its networks were listed", f"byte {offset}")
        return self._file.read(offset, length)

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        self._file.close()


def network_size(network: ReleasedNetwork) -> int:
    """The size of the network's own file, in bytes."""
    head, parts = _layout(network)
    return len(head) + sum(part.length for part in parts)


def _layout(network: ReleasedNetwork) -> tuple[bytes, list[_Part]]:
    lengths = [layer.span.length for layer in network.layers]
    begins = list(accumulate(lengths[:-1], initial=0))
    dtype = network.layers[0].dtype
    head = write_head(dtype, facts(network), list(_rows(network)))
    parts = [
        _Part(len(head) + begin, layer.span.length, layer.span.offset)
        for layer, begin in zip(network.layers, begins, strict=True)
    ]
    return head, list(_joined(parts))


def _rows(network: ReleasedNetwork) -> Iterator[FilterRows]:
    start = 0
    for layer in network.layers:
        outputs, inputs = layer.shape[:2]
        convolution = layer.convolution
        depth, norm = (convolution and convolution.stated_depth) or (None, None)
        yield FilterRows(
            start=start,
            count=outputs * inputs,
            inputs=inputs,
            outputs=outputs,
            depth=depth,
            depth_norm=norm,
            name=layer.name,
        )
        start += outputs * inputs


def _joined(parts: list[_Part]) -> Iterator[_Part]:
    """Merge parts that are adjacent in both files: a network's layers are mostly consecutive."""
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


def facts(network: ReleasedNetwork) -> FileFacts:
    """What the table states about the network's ONNX file. `pytorch` becomes `torch`; other words are unchanged."""
    stated, opset = network.stated.get("Framework"), network.stated.get("op_set")
    word = stated.strip().lower() if isinstance(stated, str) else ""
    is_version = isinstance(opset, (int, float)) and 1 <= opset < 1 << 31
    return FileFacts(
        framework={"pytorch": "torch"}.get(word, word) or None, opset=int(opset or 0) if is_version else None
    )
