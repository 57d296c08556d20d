"""The depth of the layers of a checkpoint (docs/measures.md, 2); imports no NumPy, because the jail uses it."""

from __future__ import annotations

from collections.abc import Sequence

from filterzoo.records import Context, Tensor


def depths(tensors: Sequence[Tensor]) -> list[tuple[int, float, Context]]:
    """(conv_depth, conv_depth_norm, context) of each layer: as stated, else by rank of depth, else by position."""
    stated = [
        (*t.convolution.stated_depth, t.convolution.context)
        for t in tensors
        if t.convolution and t.convolution.stated_depth
    ]
    if len(stated) == len(tensors):
        return stated
    known = [t.convolution.depth for t in tensors if t.convolution is not None and t.convolution.depth is not None]
    if len(known) == len(tensors):
        rank_of = {depth: rank for rank, depth in enumerate(sorted(set(known)))}
        ranks = [rank_of[depth] for depth in known]
        contexts = [t.convolution.context for t in tensors if t.convolution is not None]
    else:
        ranks = list(range(len(tensors)))
        contexts = [Context.DECLARED] * len(tensors)
    last = max(ranks, default=0)
    return [(rank, rank / last if last else 0.0, context) for rank, context in zip(ranks, contexts, strict=True)]
