"""HDF5 weight files. The reader and the HDF5 library are imported in the jail only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from filterzoo import FileFacts, Format, RandomAccessFile, Tensor, hookimpl

MAGIC = b"\x89HDF\r\n\x1a\n"


class Hdf5(Format):
    """An HDF5 file of weights."""

    name = "hdf5"
    framework: ClassVar[str | None] = None

    def prepare(self) -> None:
        """See `Format.prepare`."""
        import filterzoo_plugins.formats.keras.weights  # noqa: F401, PLC0415  # see above

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic, at the start of the file only."""
        del name
        return head.startswith(MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The numeric arrays, in the order of the model's layers, or else of writing."""
        from filterzoo_plugins.formats.keras.weights import index_file  # noqa: PLC0415  # see above

        return index_file(file)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """Keras, if the file has its attributes."""
        from filterzoo_plugins.formats.keras.weights import is_keras  # noqa: PLC0415  # see above

        return FileFacts(framework="keras" if is_keras(file) else None)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Hdf5()]
