"""The state dict in an old archive: a torch zip whose pickle maps names to views of storages. Nothing is executed."""

from __future__ import annotations

from dataclasses import dataclass

from filterzoo import RandomAccessFile, Reason, Refused, StoredRange, Window
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.inert import Instance, Name
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated
from filterzoo_plugins.encodings.torch_storages import STORAGE_DTYPES
from filterzoo_plugins.encodings.zip import STORED, ZipIndex

MAX_PICKLE_BYTES = 64 << 20
MAX_NUMBER = 1 << 48


@dataclass(frozen=True, slots=True)
class StoredView:
    """A tensor of the state dict; offset and strides in elements of `dtype`."""

    record: StoredRange
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class _View:
    key: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


class _Meaning:
    """Interprets plain tensors, parameters and dicts; all else stays inert."""

    def persistent(self, identity: object) -> object:
        match identity:
            case ("storage", Name(name=kind), str(key), _, int()):
                return key, STORAGE_DTYPES.get(kind, "")
            case _:
                raise Refused(Reason.MALFORMED, "a persistent id that names no storage")

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        name = f"{maker.module}.{maker.name}" if isinstance(maker, Name) else ""
        match name, arguments:
            case "torch._utils._rebuild_tensor_v2", (
                (str(key), str(dtype)),
                int(offset),
                tuple(shape),
                tuple(strides),
                *_,
            ):
                numbers = (offset, *shape, *strides)
                is_good = all(type(number) is int and 0 <= number < MAX_NUMBER for number in numbers)
                if is_good and len(shape) == len(strides):
                    return _View(key, dtype, shape, strides, offset)
                raise Refused(Reason.MALFORMED, "a tensor whose offset, shape or strides are no sizes", show(key))
            case "torch._utils._rebuild_parameter" | "torch.nn.parameter.Parameter", (_View() as view, *_):
                return view
            case "collections.OrderedDict", ():
                return {}
        return Instance(maker, arguments)


def state_dict(file: RandomAccessFile, whole: StoredRange, where: str) -> dict[str, StoredView | None]:
    """The tensors by name; None for an unsupported one. `whole`: the torch zip's stored range in the file."""
    inner = Window(file, whole.offset, whole.length)
    archive = ZipIndex(inner)
    pickles = [name for name in archive.members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused(Reason.MALFORMED, f"a state dict with {len(pickles)} pickles", where)
    folder = pickles[0].rpartition("/")[0]
    try:
        root, _ = read_pickle(archive.read(archive.members[pickles[0]], MAX_PICKLE_BYTES), _Meaning())
    except Truncated as error:
        raise Refused(Reason.MALFORMED, "a pickle that ends before it is done", where) from error
    if not isinstance(root, dict):
        raise Refused(Reason.UNSUPPORTED, "a state dict that is no dict", where)
    found: dict[str, StoredView | None] = {}
    for name, value in root.items():
        if isinstance(value, _View) and value.dtype:
            record = _record(archive, f"{folder}/data/{value.key}", whole)
            found[str(name)] = StoredView(record, value.dtype, value.shape, value.strides, value.offset)
        else:
            found[str(name)] = None
    return found


def _record(archive: ZipIndex, name: str, whole: StoredRange) -> StoredRange:
    """A storage's stored range, with offsets in the outer file."""
    member = archive.members.get(name)
    if member is None:
        raise Refused(Reason.MALFORMED, "a tensor whose storage is missing", show(name))
    if member.method != STORED:
        raise Refused(Reason.UNSUPPORTED, "a compressed storage", show(name))
    record = archive.record(member, archive.offset(member))
    return StoredRange(record.offset + whole.offset, record.length, record.size, record.codec, record.crc32)
