"""The format of a whole file of CNN Filter DB (`dataset.h5`). Only the source `cnn_filter_db` loads it into a jail.

A crawl never uses this format directly: the file holds many checkpoints, and each is crawled as a file of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from h5py import h5d, h5t

from filterzoo import (
    DTYPES,
    Context,
    Convolution,
    FileFacts,
    Format,
    Kind,
    RandomAccessFile,
    Reason,
    Refused,
    SectionFacts,
    Span,
    Tensor,
    hookimpl,
)
from filterzoo_plugins.encodings.cnn_filter_db import FILTER
from filterzoo_plugins.encodings.hdf5 import data as hdf5_data
from filterzoo_plugins.encodings.hdf5 import tree as hdf5_tree
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.sources.cnn_filter_db.tables import read_networks

_Found = tuple[str, int, list[dict[str, Any]]]
"""(dtype, byte offset of the filters, result of `read_networks`)."""


class WholeFile(Format):
    """Each network is a section named by its `model_id`; each tensor is a layer."""

    name = "cnn_filter_db_release"
    framework: ClassVar[str | None] = None
    is_graph: ClassVar[bool] = True

    def __init__(self) -> None:
        self._last: tuple[RandomAccessFile, _Found] | None = None

    def accepts(self, head: bytes, name: str) -> bool:
        """Any file: the source names the file, and other files are refused when they are read."""
        del head, name
        return True

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every layer, as the byte range of its filters. Side files of onnxzoo2filterdb are read."""
        dtype, offset, networks = self._read(file)
        size = FILTER * DTYPES[dtype].size
        for network in networks:
            for layer in network["layers"]:
                is_stated = layer["depth"] is not None and layer["depth_norm"] is not None
                yield Tensor(
                    name=layer["name"],
                    dtype=dtype,
                    shape=(layer["outputs"] or 1, layer["inputs"] or layer["count"], 3, 3),
                    span=Span(offset + layer["start"] * size, layer["count"] * size),
                    convolution=Convolution(
                        kind=Kind.CONV,
                        context=Context.DECLARED,
                        stated_depth=(layer["depth"], layer["depth_norm"]) if is_stated else None,
                    ),
                    section=str(network["key"]),
                )

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """What the table states of each network."""
        _, _, networks = self._read(file)
        return FileFacts(sections=tuple(SectionFacts(str(n["key"]), n["facts"]) for n in networks))

    def _read(self, file: RandomAccessFile) -> _Found:
        """Read the table once per file, because that of the release takes seconds."""
        if self._last is None or self._last[0] is not file:
            self._last = file, _read(file)
        return self._last[1]


def _read(file: RandomAccessFile) -> _Found:
    with hdf5_tree.open_tree(file) as tree:
        for data_set in tree.data_sets.values():
            if data_set.id.get_type().get_class() == h5t.REFERENCE:
                raise Refused(Reason.UNSAFE, "a data set of references", show(data_set.name))
        filters = tree.data_sets.get("filters")
        if filters is None:
            raise Refused(Reason.UNSUPPORTED, "no array /filters: not a file of CNN Filter DB")
        dtype, offset, count = _locate(filters)
        return dtype, offset, read_networks(tree, file, count)


def _locate(filters: hdf5_tree.H5DataSet) -> tuple[str, int, int]:
    """(dtype, byte offset, number of filters) of `/filters`, (n, 3, 3) or (n, 9)."""
    if filters.id.get_create_plist().get_layout() == h5d.CHUNKED:
        detail = "filters in chunks; `h5repack -l /filters:CONTI` lays them out as the release has them"
        raise Refused(Reason.UNSUPPORTED, detail, "filters")
    stored = hdf5_data.locate(filters)
    if (
        stored is None
        or stored.is_big
        or stored.dtype not in {"F16", "F32", "F64"}
        or stored.shape[1:] not in {(3, 3), (FILTER,)}
    ):
        raise Refused(
            Reason.UNSUPPORTED, "filters that are no array (n, 3, 3) or (n, 9) of little-endian floats", "filters"
        )
    return stored.dtype, stored.span.offset, stored.shape[0]


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [WholeFile()]
