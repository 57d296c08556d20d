"""TensorFlow checkpoints: every variable, under its name in TensorFlow and with TensorFlow's layout."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import ClassVar

from filterzoo import Evidence, Format, Layout, LeftOut, RandomAccessFile, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.kernel_names import meaning_by_name
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.tensorflow import slices
from filterzoo_plugins.formats.tensorflow.bundle import ENDING, Bundle, BundleEntry
from filterzoo_plugins.formats.tensorflow.heads import is_checkpoint, is_old_checkpoint
from filterzoo_plugins.formats.tensorflow.types import DTYPES_BY_NUMBER

_BIASES = ("bias", "biases")
_OPTIMISERS = frozenset({"optimizer", "optimizers", ".OPTIMIZER_SLOT"})
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


class TensorFlowCheckpoint(Format):
    """A checkpoint: `NAME.index` with side files `NAME.data-?????-of-?????`, or a single file (TensorFlow before 1.0).

    Kernels are (*kernel, in/groups, out); names and shapes decide which are depthwise or transposed.
    """

    name: ClassVar[str] = "tensorflow_checkpoint"
    framework: ClassVar[str | None] = "tensorflow"
    _called: str = ""
    _is_old: bool = False

    def accepts(self, head: bytes, name: str) -> bool:
        """By the header, which is the table's first entry; the name also determines that of the data."""
        self._called = name
        self._is_old = is_old_checkpoint(head)
        return self._is_old or is_checkpoint(head)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """Every variable, in the order of the index, which is sorted by key."""
        found = list(slices.tensors(file) if self._is_old else self._of_bundle(file))
        lengths = {t.name: t.shape[0] for t in found if isinstance(t, Tensor) and len(t.shape) == 1}
        return (each if isinstance(each, LeftOut) else _with_meaning(each, lengths) for each in found)

    def _of_bundle(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        name = self._called.rpartition("/")[2]
        if not name.endswith(ENDING):
            detail = f"a TensorFlow checkpoint's data are found by the name of its index, which must end with {ENDING}"
            raise Refused(Reason.UNSUPPORTED, detail, show(name))
        with contextlib.closing(Bundle(file, file, name[: -len(ENDING)])) as bundle:
            bundle.read()
            names = {variable.key: variable.name for variable in bundle.objects() if variable.name}
            counts = Counter(names.values())
            for entry in bundle.entries.values():
                full = names.get(entry.key, "")
                is_usable = counts[full] == 1 and full not in bundle.entries
                yield from _of_entry(bundle, entry, full if is_usable else entry.key.removesuffix(_SUFFIX))


def _of_entry(bundle: Bundle, entry: BundleEntry, name: str) -> Iterator[Tensor | LeftOut]:
    if entry.is_sliced:
        if entry.shape is not None and -1 not in entry.shape:
            obstacle = "a variable that is stored in slices"
            layout = Layout.OTHER if _is_of_optimiser(entry.key) else Layout.K_IO
            yield Tensor(name=name, dtype="F32", shape=entry.shape, span=Span(0, 0), layout=layout, obstacle=obstacle)
        return
    tensor = bundle.tensor(entry, name)
    is_kernel = entry.type in DTYPES_BY_NUMBER and not _is_of_optimiser(entry.key)
    yield replace(tensor, layout=Layout.K_IO) if is_kernel else tensor


def _is_of_optimiser(key: str) -> bool:
    """Whether a variable belongs to an optimiser instead of the network, by the object graph."""
    parts = key.split("/")
    return not _OPTIMISERS.isdisjoint(parts[:-1]) and "_trainable_variables" not in parts


def _with_meaning(tensor: Tensor, lengths: Mapping[str, int]) -> Tensor:
    """The tensor with its layout.

    If there is a bias for each (input channel, multiplier), the kernel is depthwise: (*kernel, in, multiplier).
    """
    if tensor.layout is Layout.OTHER:
        return tensor
    layout, convolution = meaning_by_name(tensor.name, tensor.shape)
    owner = tensor.name.rpartition("/")[0]
    biases = {lengths[name] for word in _BIASES if (name := f"{owner}/{word}") in lengths}
    if (
        convolution is None
        and len(tensor.shape) > 3
        and min(tensor.shape[-2:]) > 1
        and biases == {prod(tensor.shape[-2:])}
    ):
        return replace(tensor, layout=Layout.K_IM, evidence=Evidence.SHAPES)
    return replace(tensor, layout=Layout.K_IO if layout is Layout.OPEN else layout, convolution=convolution)
