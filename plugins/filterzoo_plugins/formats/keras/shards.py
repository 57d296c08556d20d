"""Keras weights in shards: `x.weights.json` with `x_00000.weights.h5`, `x_00001.weights.h5`, ...

Layout: `keras.src.saving.saving_lib.ShardedH5IOStore`, Keras 3.10 to 3.15. The index maps the group of a layer's
variables (`/layers/conv2d/vars`) to the shards that hold some of them. Only the first shard in which Keras opened a
group has its attributes, so the layer's name may be in an earlier shard than its kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from filterzoo import RandomAccessFile, Reason, Refused, Tensor, check_plain_name
from filterzoo_plugins.encodings.hdf5.tree import open_tree
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.weight_map import read_weight_map
from filterzoo_plugins.formats.keras.weights import Elsewhere, index_groups, refusing_unread_alone


def index_shards(file: RandomAccessFile) -> Iterator[Tensor]:
    """The arrays of the groups that an index names, shard by shard in the order of writing, which is that of the model.

    Refused (unsafe, malformed) for a shard that is a path, is missing, lacks a group, or repeats a variable.
    """
    return refusing_unread_alone(_tensors(file))


def _tensors(file: RandomAccessFile) -> Iterator[Tensor]:
    groups_of: dict[str, set[str]] = {}
    for group, shards in read_weight_map(file).items():
        for shard in shards:
            check_plain_name(shard)
            groups_of.setdefault(shard, set()).add(group.strip("/"))
    if not groups_of:
        raise Refused(Reason.MALFORMED, "the index names no shards", "weight_map")
    elsewhere = Elsewhere(frozenset().union(*groups_of.values()))
    seen: set[str] = set()
    for shard, groups in sorted(groups_of.items()):
        with file.beside(shard) as opened, open_tree(opened) as tree:
            if missing := groups - tree.groups.keys():
                raise Refused(Reason.MALFORMED, f"{len(missing)} groups are not in their shard", show(min(missing)))
            for tensor in index_groups(tree, opened.size, groups, elsewhere):
                if tensor.name in seen:
                    raise Refused(Reason.MALFORMED, "a variable that two shards hold", show(tensor.name))
                seen.add(tensor.name)
                yield _beside(tensor, shard)


def _beside(tensor: Tensor, shard: str) -> Tensor:
    """The tensor, and those it is computed from, located in the shard."""
    if tensor.computation is not None:
        inputs = tuple(_beside(each, shard) for each in tensor.computation.inputs)
        return replace(tensor, computation=replace(tensor.computation, inputs=inputs))
    return tensor if tensor.obstacle is not None else replace(tensor, span=replace(tensor.span, side=shard))
