"""The weights of an HDF5 tree, in order, with their layers: Keras 2 and 3 files, and plain data sets.

Layout of Keras files: `keras.src.legacy.saving.legacy_h5_format` (`model_weights`, `layer_names`, `weight_names`) and
`keras.src.saving.saving_lib` (`layers/conv2d/vars/0`), Keras 2.2 to 3.15.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Self

from filterzoo import DTYPES, Layout, RandomAccessFile, Reason, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings.expansion import check_expansion
from filterzoo_plugins.encodings.folding import packed
from filterzoo_plugins.encodings.hdf5.data import StoredArray, locate, shape_of
from filterzoo_plugins.encodings.hdf5.tree import H5DataSet, Tree, names_attribute, open_tree, text_attribute
from filterzoo_plugins.encodings.kernel_names import NO_CONVOLUTION, KernelMeaning, meaning_by_name
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.keras.config import KerasLayer, class_of, has_bfloat16, meaning, read_config, variables

_OPTIMISER = {"optimizer", "optimizer_weights"}
_NUMBERED = re.compile(r"(?:^|/)vars/(\d+)$")


def index_file(file: RandomAccessFile) -> Iterator[Tensor]:
    """The tensors of a file, described by the model's configuration in it."""
    with open_tree(file) as tree:
        text = text_attribute(tree.groups[""], "model_config")
        model = None if text is None else read_config(text, "model_config")
        yield from refusing_unread_alone(_tensors(_Weights.of(tree, model), file.size))


def index_weights(file: RandomAccessFile, model: KerasLayer) -> Iterator[Tensor]:
    """The tensors of a file whose model configuration is in another file."""
    with open_tree(file) as tree:
        yield from refusing_unread_alone(_tensors(_Weights.of(tree, model), file.size))


@dataclass(slots=True)
class Elsewhere:
    """Facts about a shard's groups from the other shards.

    groups: those with variables in any shard. names: the layers' names by group, as far as the shards stated them.
    """

    groups: frozenset[str] = frozenset()
    names: dict[str, bytes] = field(default_factory=dict)


def index_groups(tree: Tree, size: int, groups: Collection[str], elsewhere: Elsewhere) -> Iterator[Tensor]:
    """The tensors directly in some groups of a shard of `size` bytes; its names of layers are added to `elsewhere`."""
    for path, group in tree.groups.items():
        name = text_attribute(group, "name")
        if name is not None:
            elsewhere.names.setdefault(path, name)
    yield from _tensors(replace(_Weights.of(tree, None), layer_names=None, groups=groups, elsewhere=elsewhere), size)


def refusing_unread_alone(tensors: Iterable[Tensor]) -> Iterator[Tensor]:
    """The tensors; Refused (unsupported) at the end if some cannot be read and no readable one has rank 3 to 5."""
    unread, has_kernel = None, False
    for tensor in tensors:
        if tensor.obstacle is None:
            has_kernel |= 3 <= len(tensor.shape) <= 5
        else:
            unread = unread or tensor
        yield tensor
    if unread is not None and not has_kernel:
        raise Refused(Reason.UNSUPPORTED, unread.obstacle or "", show(unread.name))


def is_keras(file: RandomAccessFile) -> bool:
    """Whether the file has attributes of Keras."""
    with open_tree(file) as tree:
        return _Weights.of(tree, None).keras_version is not None or any(map(_NUMBERED.search, tree.data_sets))


def _tensors(weights: _Weights, size: int) -> Iterator[Tensor]:
    """The tensors of a tree that takes `size` bytes; those that cannot be read have an obstacle."""
    if (weights.keras_version or b"").startswith(b"1."):
        raise Refused(Reason.UNSUPPORTED, "weights of Keras 1, whose axes depend on its backend")
    total = 0
    for data_set, layer in weights.in_order():
        name = data_set.name.removeprefix(weights.prefix)
        try:
            stored = locate(data_set, opaque="BF16" if layer is not None and has_bfloat16(layer) else None)
        except Refused as refusal:
            if refusal.reason is not Reason.UNSUPPORTED:
                raise
            yield _unread(name, weights, data_set, layer, refusal.detail)
            continue
        if stored is not None:
            total += prod(stored.shape) * DTYPES[stored.dtype].size
            check_expansion(total, size, "all data sets together")
            yield _tensor(name, stored, weights.meaning(name, stored.shape, layer))


@dataclass(frozen=True, slots=True)
class _Weights:
    """The part of a tree with the model's weights, and the model's description.

    `prefix` is `model_weights/` in a file of a whole model, else empty. groups: of a shard, those that are read.
    """

    tree: Tree
    prefix: str
    keras_version: bytes | None
    layer_names: list[str] | None
    model: KerasLayer | None
    layer_at: Mapping[str, KerasLayer]
    """Keras 3's paths and their layers."""
    groups: Collection[str] | None = None
    elsewhere: Elsewhere = field(default_factory=Elsewhere)

    @classmethod
    def of(cls, tree: Tree, model: KerasLayer | None) -> Self:
        prefix = "model_weights/" if "model_weights" in tree.groups else ""
        group = tree.groups[prefix.rstrip("/")]
        version = text_attribute(group, "keras_version") or text_attribute(tree.groups[""], "keras_version")
        layer_at = {} if model is None else dict(variables(model))
        return cls(tree, prefix, version, names_attribute(group, "layer_names"), model, layer_at)

    def in_order(self) -> Iterator[tuple[H5DataSet, KerasLayer | None]]:
        """The data sets that Keras would load, with their layers if known; without a list, sorted by address."""
        if self.layer_names is not None:
            yield from self._listed(self.layer_names)
            return
        for data_set in sorted(self.tree.data_sets.values(), key=lambda data_set: data_set.address):
            if not data_set.name.startswith(self.prefix) or _OPTIMISER.intersection(data_set.name.split("/")):
                continue
            if self.groups is None or data_set.name.rpartition("/")[0] in self.groups:
                yield data_set, None

    def _listed(self, layer_names: list[str]) -> Iterator[tuple[H5DataSet, KerasLayer | None]]:
        for layer_name in dict.fromkeys(layer_names):
            group = self.tree.groups.get(self.prefix + layer_name)
            if group is None:
                raise Refused(Reason.MALFORMED, "a layer that is listed has no group", show(layer_name))
            owner = self.model.by_name.get(layer_name) if self.model is not None else None
            for weight_name in dict.fromkeys(names_attribute(group, "weight_names") or ()):
                data_set = self.tree.data_sets.get(f"{self.prefix}{layer_name}/{weight_name}")
                if data_set is None:
                    raise Refused(Reason.MALFORMED, "a weight that is listed is not in the file", show(weight_name))
                yield data_set, owner and owner.find(weight_name.split("/")[:-1])

    def meaning(self, name: str, shape: tuple[int, ...], layer: KerasLayer | None) -> KernelMeaning:
        """The description of the tensor called `name`, from its layer or else from its name."""
        numbered = _NUMBERED.search(name)
        if numbered is not None:
            return self._numbered_meaning(name[: numbered.start()], numbered[1], shape)
        if layer is None or layer.layers:
            return meaning_by_name(name, shape)
        return meaning(layer, name.rpartition("/")[2].partition(":")[0], shape)

    def _numbered_meaning(self, owner: str, number: str, shape: tuple[int, ...]) -> KernelMeaning:
        """Keras 3 numbers the variables of a layer; their group's attribute `name` is the layer's name."""
        group = f"{self.prefix}{owner}/vars".replace("//", "/").lstrip("/")
        stated = text_attribute(self.tree.groups[group], "name") or self.elsewhere.names.get(group, b"")
        layer_name = stated.decode("utf-8", "backslashreplace")
        wrapped = f"{self.prefix}{owner}/layer/vars".lstrip("/")
        if wrapped in self.tree.groups or wrapped in self.elsewhere.groups:
            return NO_CONVOLUTION  # a wrapper's variable belongs to the wrapped layer, which has its own kernel
        is_cell = owner.endswith("/cell")
        owner = owner.removesuffix("/cell").replace("_layer_checkpoint_dependencies", "layers")
        if owner in self.layer_at:
            return meaning(self.layer_at[owner].wrapped, number, shape)
        if is_cell and len(shape) > 2:
            return meaning(KerasLayer(layer_name, f"ConvLSTM{len(shape) - 2}D"), number, shape)
        part = owner.rpartition("/")[2]
        class_name = class_of(part) or class_of(layer_name)
        if class_name is not None:
            return meaning(KerasLayer(layer_name, class_name), number, shape)
        return (Layout.K_IO, None) if 3 <= len(shape) <= 5 else NO_CONVOLUTION


def _unread(name: str, weights: _Weights, data_set: H5DataSet, layer: KerasLayer | None, obstacle: str) -> Tensor:
    shape = shape_of(data_set)
    layout, convolution = weights.meaning(name, shape, layer)
    place = Span(0, 0)
    return Tensor(
        name=name, dtype="F32", shape=shape, span=place, layout=layout, convolution=convolution, obstacle=obstacle
    )


def _tensor(name: str, stored: StoredArray, found: KernelMeaning) -> Tensor:
    layout, convolution = found
    whole = Tensor(
        name=name,
        dtype=stored.dtype,
        shape=stored.shape,
        span=stored.span,
        layout=layout,
        stored_in=stored.stored_in,
        chunk_shape=stored.chunk_shape,
        convolution=convolution,
    )
    if not stored.is_big:
        return whole
    swapped = packed(whole, stored.shape, stored.dtype, Step.SWAP, numbers=())
    return replace(swapped, layout=layout, convolution=convolution, evidence=None)
