"""Bare pickles: of NumPy arrays, and of torch tensors (`pickle.dump(model.state_dict())`, the networks of StyleGAN).

In a bare pickle, each torch storage is the output of its own legacy `torch.save`, passed to
`torch.storage._load_from_bytes`. Only this location differs from a torch file.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filterzoo import RandomAccessFile, Reason, Refused, StoredRange, Tensor
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.array import MIN_BLOB
from filterzoo_plugins.encodings.pickle.arrays import ArrayMeaning, arrays_below, paged, root_of
from filterzoo_plugins.encodings.pickle.inert import Blob, Instance, Name, PickleBytes
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated
from filterzoo_plugins.formats.torch.legacy import MAGIC, PROTOCOL
from filterzoo_plugins.formats.torch.names import named_tensors
from filterzoo_plugins.formats.torch.tensor import tensors_of
from filterzoo_plugins.formats.torch.values import Storage, TorchMeaning

_COUNT = struct.Struct("<q")
_LOAD = Name("torch.storage", "_load_from_bytes")
_PERSISTENT = "_reconstruct_persistent_obj"
"""The function that rebuilds networks of StyleGAN2 and 3 from their source and state (torch_utils/persistence.py)."""
_UNREAD = {
    "joblib.numpy_pickle": "a joblib file, whose arrays lie between the opcodes of a pickle",
    "torch.distributed.checkpoint.metadata": "the index of torch.distributed.checkpoint, whose shards are other files",
}


class PlainMeaning(ArrayMeaning):
    """Interprets torch tensors too, with storages inside the pickle."""

    def __init__(self, data: PickleBytes) -> None:
        self._data = data
        self._torch = TorchMeaning()
        self.records: dict[str, StoredRange] = {}
        """The location of the elements of each storage."""
        self.is_torch = False

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        """A storage or tensor; the values that arrays require; an inert instance for anything else."""
        if maker == _LOAD and len(arguments) == 1:
            self.is_torch = True
            return self._storage(arguments[0])
        if type(maker) is Name and maker.module in _UNREAD:
            raise Refused(Reason.UNSUPPORTED, _UNREAD[maker.module], "byte 0")
        if type(maker) is Name and maker.name == _PERSISTENT:
            match arguments:
                case ({"class_name": str() as name, "state": dict() as state},):
                    return Instance(Name(maker.module, name), (), state)
        value = super().call(maker, arguments)
        return self._torch.call(maker, arguments) if type(value) is Instance else value

    def locate(self, storage: Storage) -> StoredRange:
        """The bytes of a storage."""
        return self.records[storage.key]

    def _storage(self, saved: object) -> Storage:
        if type(saved) is not Blob:
            raise Refused(Reason.MALFORMED, "a torch storage without bytes")
        key = f"pickle byte {saved.offset}"
        if saved.is_text:
            return Storage(key, "U8", 0, obstacle="torch numbers that are written as text (pickle protocols 0 to 2)")
        storage, begin = self._saved(saved)
        if storage.obstacle is not None:
            return storage
        if begin + storage.nbytes > saved.offset + saved.length:
            raise Refused(Reason.MALFORMED, "a torch storage longer than its bytes", show(key))
        self.records[key] = StoredRange(begin, storage.nbytes, storage.nbytes)
        return Storage(key, storage.dtype, storage.numel, storage.is_untyped, storage.first)

    def _saved(self, saved: Blob) -> tuple[Storage, int]:
        """The single storage of a legacy `torch.save` inside the pickle, and the offset of its elements."""
        place, position = f"pickle byte {saved.offset}", saved.offset
        values: list[object] = []
        try:
            for _ in range(5):
                value, position = read_pickle(self._data, TorchMeaning(), position, blobs_from=MIN_BLOB)
                values.append(value)
        except Truncated as error:
            raise Refused(Reason.MALFORMED, "a torch storage that ends early", place) from error
        match values:
            case [magic, protocol, {"little_endian": True}, Storage() as storage, [_]] if magic == MAGIC:
                pass
            case [magic, _, {"little_endian": False}, *_] if magic == MAGIC:
                return Storage(place, "U8", 0, obstacle="a big-endian torch storage"), position
            case _:
                raise Refused(Reason.MALFORMED, "bytes that are no torch storage", place)
        if storage.obstacle is not None:
            return storage, position
        count = self._data[position : position + _COUNT.size]
        if protocol != PROTOCOL or len(count) < _COUNT.size or _COUNT.unpack(count)[0] != storage.numel:
            raise Refused(Reason.MALFORMED, "a storage that is not as long as the pickle says", place)
        return storage, position + _COUNT.size


def plain_tensors(file: RandomAccessFile) -> tuple[Iterator[Tensor], bool]:
    """The arrays and tensors of a bare pickle, and whether they are torch's; Refused (unsupported) for none."""
    data = paged(file)
    meaning = PlainMeaning(data)
    root = root_of(data, meaning)
    if meaning.is_torch:
        return tensors_of(file, named_tensors(root), meaning.locate), True
    return _some(arrays_below(root, "")), False


def _some(tensors: Iterator[Tensor]) -> Iterator[Tensor]:
    count = 0
    for count, tensor in enumerate(tensors, 1):  # noqa: B007  # counted, for the refusal behind the loop
        yield tensor
    if not count:
        raise Refused(Reason.UNSUPPORTED, "a bare pickle without arrays of numbers: no checkpoint", "byte 0")
