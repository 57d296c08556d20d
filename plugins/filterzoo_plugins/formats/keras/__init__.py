"""Reads Keras 3's `.keras` archives: the weights as HDF5, the configuration as data.

Layout: `keras.src.saving.saving_lib`; a zip of metadata.json, config.json and model.weights.h5, all stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from filterzoo import Codec, Format, RandomAccessFile, Reason, Refused, StoredRange, Tensor, Window, hookimpl
from filterzoo_plugins.encodings.json import JSON_BYTES
from filterzoo_plugins.encodings.zip import ZipIndex
from filterzoo_plugins.formats.keras.config import read_config

METADATA = "metadata.json"
CONFIG = "config.json"
WEIGHTS = "model.weights.h5"


class Keras(Format):
    """A `.keras` file."""

    name = "keras"
    framework: ClassVar[str | None] = "keras"

    def prepare(self) -> None:
        """See `Format.prepare`."""
        import filterzoo_plugins.formats.keras.weights  # noqa: F401, PLC0415  # as in `hdf5`

    def accepts(self, head: bytes, name: str) -> bool:
        """A zip that starts with Keras's metadata or configuration, or with its weights under Keras's name."""
        name_length = int.from_bytes(head[26:28], "little")
        first = head[30 : 30 + name_length].decode("latin-1")
        is_keras = b"keras" in head if first in {METADATA, CONFIG} else first == WEIGHTS and name.endswith(".keras")
        return head.startswith(b"PK\3\4") and is_keras

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The numeric arrays, in the order of writing, which is that of the model."""
        from filterzoo_plugins.formats.keras.weights import index_weights  # noqa: PLC0415  # as in `hdf5`

        archive = ZipIndex(file)
        missing = {CONFIG, WEIGHTS} - archive.members.keys()
        if missing:
            raise Refused(Reason.MALFORMED, f"a Keras archive without {min(missing)}")
        model = read_config(archive.read(archive.members[CONFIG], JSON_BYTES), CONFIG)
        member = archive.members[WEIGHTS]
        record = archive.record(member, archive.offset(member))
        if record.codec is not Codec.RAW:
            raise Refused(Reason.UNSUPPORTED, "compressed weights; Keras stores them", WEIGHTS)
        archive.check_headers()
        archive.check(member)  # its HDF5 tree states what to read
        for tensor in index_weights(Window(file, record.offset, record.length), model):
            yield _moved(tensor, record)


def _moved(tensor: Tensor, member: StoredRange) -> Tensor:
    """The tensor with offsets in the archive. A byte range gets the member's CRC; chunks are stored ranges already."""
    if tensor.computation is not None:
        inputs = tuple(_moved(each, member) for each in tensor.computation.inputs)
        return replace(tensor, computation=replace(tensor.computation, inputs=inputs))
    if tensor.obstacle is not None:
        return tensor
    if tensor.chunk_shape is not None:
        records = tuple(replace(record, offset=member.offset + record.offset) for record in tensor.stored_in)
        return replace(tensor, stored_in=records)
    span = replace(tensor.span, offset=member.offset + tensor.span.offset)
    return replace(tensor, span=span, stored_in=(member,))


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Keras()]
