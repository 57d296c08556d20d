"""Torch files from before the zip format (torch < 1.6, or `_use_new_zipfile_serialization=False`).

A file has five consecutive pickles: a magic number, the protocol, system information, the object, the keys of its
storages. The storages follow in the order of the keys, each as a count (int64) and its elements
(torch/serialization.py, `_legacy_save`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filterzoo import RandomAccessFile, Reason, Refused, StoredRange, Tensor
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.array import MIN_BLOB
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated
from filterzoo_plugins.formats.torch.names import named_tensors
from filterzoo_plugins.formats.torch.tensor import tensors_of
from filterzoo_plugins.formats.torch.values import Storage, TorchMeaning

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
FIRST_BYTES = 64 << 10
MAX_PICKLE_BYTES = 64 << 20
MAX_STORAGES = 200_000
_PICKLES = 5
_COUNT = struct.Struct("<q")


def legacy_tensors(file: RandomAccessFile) -> Iterator[Tensor]:
    """The tensors of a legacy file, from the first `torch.save` in it that has any; see `Format.index`."""
    position = 0
    while True:
        tensors, position = _saved(file, position)
        first = next(tensors, None)
        if first is not None:
            yield first
            yield from tensors
        if first is not None or position == file.size:
            return


def _saved(file: RandomAccessFile, position: int) -> tuple[Iterator[Tensor], int]:
    """The tensors of the `torch.save` at `position`, and its end."""
    meaning = TorchMeaning()
    begin = position
    (magic, protocol, system, root, keys), position = _pickles(file, meaning, begin)
    if magic != MAGIC or protocol != PROTOCOL:
        raise Refused(Reason.MALFORMED, "not the magic number and protocol of a legacy torch file", f"byte {begin}")
    if type(system) is not dict or type(system.get("little_endian")) is not bool:
        raise Refused(Reason.MALFORMED, "a legacy torch file that does not state its byte order")
    if not system["little_endian"]:
        raise Refused(Reason.UNSUPPORTED, "a big-endian torch file")
    records, end = _records(file, meaning, keys, position)

    def locate(storage: Storage) -> StoredRange:
        if storage.key not in records:
            raise Refused(Reason.MALFORMED, "a tensor whose storage is missing", f"storage {show(storage.key)}")
        return records[storage.key]

    return tensors_of(file, named_tensors(root), locate, None if begin == 0 else _window(file, begin)), end


def _window(file: RandomAccessFile, begin: int) -> StoredRange:
    """The stored range to which offsets in the pickles of a later save are relative."""
    return StoredRange(begin, file.size - begin, file.size - begin)


def _pickles(file: RandomAccessFile, meaning: TorchMeaning, begin: int) -> tuple[list[object], int]:
    """The five pickles and their end. Their lengths are not stated, so reading continues until they are complete."""
    size = file.size - begin
    data = file.read(begin, min(FIRST_BYTES, size))
    values: list[object] = []
    position = 0
    while len(values) < _PICKLES:
        try:
            value, position = read_pickle(data, meaning, position, blobs_from=MIN_BLOB)
            values.append(value)
        except Truncated as error:
            if len(data) == size:
                raise Refused(
                    Reason.MALFORMED, "a torch file that ends within its pickles", f"byte {begin + len(data)}"
                ) from error
            if len(data) >= MAX_PICKLE_BYTES:
                raise Refused(Reason.LIMIT, f"pickles of more than {MAX_PICKLE_BYTES} bytes") from error
            data += file.read(begin + len(data), min(3 * len(data), size - len(data)))
    return values, begin + position


def _records(
    file: RandomAccessFile, meaning: TorchMeaning, keys: object, position: int
) -> tuple[dict[str, StoredRange], int]:
    """The location of each storage, and the end of the last.

    Counts are compared with the pickle's if that needs no read; the sum always is.
    """
    if type(keys) is not list or len(keys) > MAX_STORAGES:
        raise Refused(Reason.MALFORMED, "a legacy torch file without the keys of its storages", f"byte {position}")
    records: dict[str, StoredRange] = {}
    for key in keys:
        storage = meaning.storages.get(str(key)) if type(key) in {str, int} else None
        if storage is None or storage.key in records:
            raise Refused(Reason.MALFORMED, "a storage that the pickle names twice or never", f"byte {position}")
        place = f"storage {show(storage.key)}, byte {position}"
        if storage.obstacle is not None:
            raise Refused(Reason.UNSUPPORTED, storage.obstacle, place)  # the later storages cannot be located either
        if position + _COUNT.size + storage.nbytes > file.size:
            raise Refused(Reason.MALFORMED, "the file ends within a storage", place)
        if not file.is_remote and _COUNT.unpack(file.read(position, _COUNT.size))[0] != storage.numel:
            raise Refused(Reason.MALFORMED, "a storage that is not as long as the pickle says", place)
        records[storage.key] = StoredRange(position + _COUNT.size, storage.nbytes, storage.nbytes)
        position += _COUNT.size + storage.nbytes
    if position != file.size and not _another_begins(file, position):
        raise Refused(Reason.MALFORMED, "bytes behind the last storage", f"byte {position}")
    return records, position


def _another_begins(file: RandomAccessFile, position: int) -> bool:
    """Whether the output of another `torch.save` to the same file follows the last storage."""
    try:
        value, _ = read_pickle(file.read(position, min(64, file.size - position)), TorchMeaning())
    except (Truncated, Refused):
        return False
    return value == MAGIC
