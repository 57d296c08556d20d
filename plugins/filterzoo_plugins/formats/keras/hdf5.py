"""HDF5 weight files, and indexes of Keras shards. The reader and the HDF5 library are imported only in the jail."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import FileFacts, Format, RandomAccessFile, Tensor, hookimpl
from filterzoo_plugins.encodings.weight_map import is_index, is_keras_index

MAGIC = b"\x89HDF\r\n\x1a\n"


class Hdf5(Format):
    """An HDF5 file of weights, or the `.weights.json` that names Keras's shards."""

    name = "hdf5"
    framework: ClassVar[str | None] = None

    def prepare(self) -> None:
        """See `Format.prepare`."""
        import filterzoo_plugins.formats.keras.shards  # noqa: F401, PLC0415  # see above

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes, at the start of the file only; an index by the shards that it names."""
        return head.startswith(MAGIC) or is_keras_index(head, name)

    def includes(self, name: str, other: str) -> bool:
        """Whether it is a shard of the index."""
        folder, _, file = name.rpartition("/")
        stem = file.removesuffix(".json").removesuffix(".weights")
        shard = re.compile(re.escape(f"{folder}/{stem}".lstrip("/")) + r"_\d{5}\.weights\.h5")
        return file.endswith(".json") and shard.fullmatch(other) is not None

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The numeric arrays, in the order of the model's layers if known, otherwise of writing."""
        from filterzoo_plugins.formats.keras.shards import index_shards  # noqa: PLC0415  # see above
        from filterzoo_plugins.formats.keras.weights import index_file  # noqa: PLC0415  # see above

        return index_shards(file) if is_index(_head(file)) else index_file(file)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """Keras, if the file has its attributes or is its index."""
        from filterzoo_plugins.formats.keras.weights import is_keras  # noqa: PLC0415  # see above

        return FileFacts(framework="keras" if is_index(_head(file)) or is_keras(file) else None)


def _head(file: RandomAccessFile) -> bytes:
    return file.read(0, min(file.size, 9))


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Hdf5()]
