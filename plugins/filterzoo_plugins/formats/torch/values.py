"""Interprets torch pickles: storages, their tensors, and the few calls that wrap them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from filterzoo import DTYPES, Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.array import is_array
from filterzoo_plugins.encodings.pickle.inert import Instance, Name
from filterzoo_plugins.encodings.torch_storages import STORAGE_DTYPES

MAX_DIMENSIONS = 64
MAX_NUMBER = 1 << 48
"""Upper bound of sizes, strides and offsets."""
MAX_EXPANDED = 1 << 24
"""Most elements of a tensor that is larger than its storage (strides of 0)."""

TENSOR_DTYPES = {
    "float64": "F64",
    "double": "F64",
    "float32": "F32",
    "float": "F32",
    "float16": "F16",
    "half": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """A storage that tensors are views of. `first`: its start in the storage named `key` (torch 0.1)."""

    key: str
    dtype: str
    numel: int
    is_untyped: bool = False
    first: int = 0
    obstacle: str | None = None
    """Why its elements cannot be read; their length is then unknown."""

    @property
    def nbytes(self) -> int:
        """The length in bytes."""
        return self.numel * DTYPES[self.dtype].size


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A view of a storage, in elements of `dtype`. `quantiser`: the arguments of a quantised tensor, as pickled."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    quantiser: tuple[object, ...] = ()
    obstacle: str | None = None
    """Why its elements cannot be read; `storage` is then a placeholder."""

    @property
    def reach(self) -> int:
        """The number of elements from `offset` that the view covers."""
        if 0 in self.shape:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))

    @property
    def is_contiguous(self) -> bool:
        """Whether the view is contiguous in C order."""
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != expected:
                return 0 in self.shape
            expected *= size
        return True


class TorchMeaning:
    """Reads the storages and tensors of one pickle; every other call stays inert."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        """The first storage seen under each key."""

    def persistent(self, identity: object) -> object:
        """A storage, or the class of a legacy file's module, whose source text is ignored."""
        match identity:
            case ("module", maker, *_):
                return maker
            case ("storage" | b"storage", Name() as kind, str() | int() as key, _, int() as numel, *view):
                storage = _storage(kind, str(key), numel, view)
            case _:
                raise Refused(Reason.MALFORMED, "a persistent id that names no storage")
        known = self.storages.setdefault(storage.key, storage)
        if not view and not known.first and not storage.is_untyped and known.nbytes != storage.nbytes:
            raise Refused(Reason.MALFORMED, "a storage of two sizes", f"storage {show(storage.key)}")
        return storage

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        """The tensor of a known rebuild function, the value inside a known wrapper, or an inert instance."""
        if type(maker) is Name:
            rebuild = _CALLS.get(f"{maker.module}.{maker.name}")
            if rebuild is not None:
                value = rebuild(self, arguments)
                if value is not None:
                    return value
        return Instance(maker, arguments)


def _storage(kind: Name, key: str, numel: int, view: list[object]) -> Storage:
    place = f"storage {show(key)}"
    dtype = STORAGE_DTYPES.get(kind.name)
    if kind.module not in {"torch", "torch.cuda", "torch.storage"}:
        raise Refused(Reason.UNSUPPORTED, f"unknown storage type {show(kind.module + '.' + kind.name)}", place)
    if ".." in key or "/" in key or "\\" in key or "\0" in key:
        raise Refused(Reason.UNSAFE, "a storage whose name is a path", place)
    if type(numel) is not int or not 0 <= numel < MAX_NUMBER:
        raise Refused(Reason.MALFORMED, f"a storage of {numel} numbers", place)
    if dtype is None:
        return Storage(key, "U8", 0, obstacle=f"unknown storage type {show(kind.module + '.' + kind.name)}")
    is_untyped = kind.name == "UntypedStorage"
    match view:
        case [] | [None]:
            return Storage(key, dtype, numel, is_untyped)
        case [(_, int() as first, int() as length)] if 0 <= first <= first + length <= numel:
            return Storage(key, dtype, numel, is_untyped, first)
    raise Refused(Reason.MALFORMED, "a storage that is no part of the one it views", place)


def _tensor(
    arguments: tuple[object, ...], dtype: str | None = None, quantiser: tuple[object, ...] = ()
) -> StoredTensor:
    """The tensor of (storage, offset, shape, strides, ...), checked to be inside its storage."""
    match arguments:
        case (Storage() as storage, int() as offset, tuple() as shape, tuple() as strides, *_):
            pass
        case _:
            raise Refused(
                Reason.MALFORMED, "a tensor whose arguments are not a storage, an offset, a shape and strides"
            )
    if storage.obstacle is not None:
        return unread(shape, storage.obstacle)
    place = f"storage {show(storage.key)}"
    numbers = [number for number in (offset, *shape, *strides) if type(number) is int and 0 <= number < MAX_NUMBER]
    if len(shape) != len(strides) or len(numbers) != 1 + 2 * len(shape):
        raise Refused(Reason.MALFORMED, "a tensor whose offset, shape or strides are no sizes", place)
    if len(shape) > MAX_DIMENSIONS:
        raise Refused(Reason.LIMIT, f"a tensor of {len(shape)} dimensions", place)
    dtype = dtype or storage.dtype
    ranks = len(shape)
    tensor = StoredTensor(
        storage, dtype, storage.first + offset, tuple(numbers[1 : 1 + ranks]), tuple(numbers[1 + ranks :]), quantiser
    )
    if (tensor.offset + tensor.reach) * DTYPES[dtype].size > storage.nbytes and tensor.reach:
        raise Refused(Reason.MALFORMED, "a tensor that reaches past the end of its storage", place)
    if math.prod(tensor.shape) > max(storage.numel, MAX_EXPANDED):
        raise Refused(Reason.LIMIT, "a tensor of far more numbers than its storage holds", place)
    return tensor


def _rebuild_tensor(_: TorchMeaning, arguments: tuple[object, ...]) -> StoredTensor:
    whole = _tensor(arguments)
    return _negated(whole) if _is_negated(arguments[6] if len(arguments) > 6 else None) else whole


def _negated(tensor: StoredTensor) -> StoredTensor:
    return replace(tensor, storage=_NOWHERE, obstacle=_NEGATED)


_NEGATED = "a tensor that is stored negated"


def _rebuild_typed(_: TorchMeaning, arguments: tuple[object, ...]) -> StoredTensor:
    """(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata): untyped bytes viewed as a dtype."""
    match arguments:
        case (_, _, shape, _, _, _, Name(module="torch", name=dtype), *rest):
            pass
        case (_, _, _, _, _, _, other, *_):
            raise Refused(Reason.MALFORMED, f"a dtype that is {show(repr(type(other)))}")
        case _:
            raise Refused(Reason.MALFORMED, "a tensor without a dtype")
    if rest and _is_negated(rest[0]):
        return unread(shape, _NEGATED, dtype)
    if dtype in TENSOR_DTYPES:
        return _tensor(arguments, TENSOR_DTYPES[dtype])
    return unread(shape, f"numbers of torch's type {show(dtype)}", dtype)


def unread(shape: object, why: str, dtype: str = "float32") -> StoredTensor:
    """A tensor of that shape whose elements cannot be read: it is left out, not the file.

    Unknown dtypes are listed as integers, which are not weights by themselves.
    """
    sides = (
        tuple(side for side in shape if type(side) is int and 0 <= side < MAX_NUMBER) if type(shape) is tuple else ()
    )
    if type(shape) is not tuple or len(sides) != len(shape) or len(shape) > MAX_DIMENSIONS:
        raise Refused(Reason.MALFORMED, f"{why}, whose shape is none")
    known = TENSOR_DTYPES.get(dtype) or ("C64" if "complex" in dtype else "U8" if "bits" in dtype else "F32")
    return StoredTensor(_NOWHERE, known, 0, sides, (0,) * len(sides), obstacle=why)


_NOWHERE = Storage("", "U8", 0)


def _is_negated(metadata: object) -> bool:
    return type(metadata) is dict and metadata.get("neg") is True


def _rebuild_quantised(_: TorchMeaning, arguments: tuple[object, ...]) -> StoredTensor:
    """(storage, offset, shape, strides, quantiser, ...); the quantiser is (scheme, scale, zero point[, axis])."""
    quantiser = arguments[4] if len(arguments) > 4 else ()
    if type(quantiser) is not tuple:
        raise Refused(Reason.MALFORMED, "a quantised tensor without its scale")
    return _tensor(arguments, quantiser=quantiser)


def _wrapped(_: TorchMeaning, arguments: tuple[object, ...]) -> object | None:
    """The tensor in a parameter, or the NumPy array of a tensor on another device (XLA)."""
    return arguments[0] if arguments and (type(arguments[0]) is StoredTensor or is_array(arguments[0])) else None


def _subclass(meaning: TorchMeaning, arguments: tuple[object, ...]) -> object | None:
    """(function, class, arguments, state): a tensor subclass is the tensor that the function rebuilds."""
    match arguments:
        case (Name() as maker, _, tuple() as inner, *_):
            value = meaning.call(maker, inner)
            return value if type(value) is StoredTensor or is_array(value) else None
    return None


def _mapping(_: TorchMeaning, arguments: tuple[object, ...]) -> object | None:
    """An empty dictionary, or one from a list of pairs, as Python 2 pickled an OrderedDict."""
    if not arguments:
        return {}
    pairs = arguments[0]
    if type(pairs) is not list:
        return None
    entries: dict[str, object] = {}
    for pair in pairs:
        if type(pair) not in {list, tuple} or len(pair) != 2 or type(pair[0]) is not str:
            return None
        entries[pair[0]] = pair[1]
    return entries


def _default_mapping(_: TorchMeaning, arguments: tuple[object, ...]) -> object | None:
    return {} if len(arguments) <= 1 else None


def _size(_: TorchMeaning, arguments: tuple[object, ...]) -> object | None:
    return arguments[0] if len(arguments) == 1 and type(arguments[0]) is tuple else None


def _sparse(_: TorchMeaning, arguments: tuple[object, ...]) -> StoredTensor:
    """(layout, data): the shape is the last item of data, or the one before a boolean."""
    match arguments:
        case (_, (*_, tuple() as shape) | (*_, tuple() as shape, bool() | None)):
            return unread(shape, "a sparse tensor")
    raise Refused(Reason.MALFORMED, "a sparse tensor without a shape")


def _shaped(why: str, *, at: int) -> Callable[[TorchMeaning, tuple[object, ...]], StoredTensor]:
    """Rebuild a tensor that cannot be read. at: index of its shape among the arguments; its dtype comes before."""

    def rebuild(_: TorchMeaning, arguments: tuple[object, ...]) -> StoredTensor:
        if len(arguments) <= at:
            raise Refused(Reason.MALFORMED, f"{why}, without a shape")
        dtype = arguments[at - 1]
        return unread(arguments[at], why, dtype.name if type(dtype) is Name else "float32")

    return rebuild


_CALLS: dict[str, Callable[[TorchMeaning, tuple[object, ...]], object | None]] = {
    "torch._utils._rebuild_tensor": lambda _, arguments: _tensor(arguments),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_qtensor": _rebuild_quantised,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_sparse_csr_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": lambda *_: unread((), "a nested tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": _shaped("a tensor of the meta device, which has no numbers", at=1),
    "torch._utils._rebuild_xla_tensor": _wrapped,
    "torch._utils._rebuild_device_tensor_from_numpy": _wrapped,
    "torch._utils._rebuild_wrapper_subclass": _shaped("a tensor of a wrapper class, such as DTensor", at=2),
    "torch._utils._rebuild_parameter": _wrapped,
    "torch._utils._rebuild_parameter_with_state": _wrapped,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _wrapped,
    "torch.nn.parameter.Parameter": _wrapped,
    "torch.nn.parameter.Buffer": _wrapped,
    "torch.autograd.variable.Variable": _wrapped,
    "torch._tensor._rebuild_from_type": _subclass,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch.tensor._rebuild_from_type": _subclass,
    "collections.OrderedDict": _mapping,
    "builtins.dict": _mapping,
    "__builtin__.dict": _mapping,
    "collections.defaultdict": _default_mapping,
    "torch.Size": _size,
}
