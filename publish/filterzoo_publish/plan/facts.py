"""Facts about a model that are computed from its layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from filterzoo.measures.random_weights import suspected_random


class _Measured(NamedTuple):
    """The columns of a row of `layers` that `suspected_random` needs."""

    n_finite: int
    variance_entropy: float | None
    variance_entropy_threshold: float | None


FACTUAL = ["kernel", *_Measured._fields]
"""Columns of `layers` that `facts_of_layers` needs."""


def facts_of_layers(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of `models`, computed from the FACTUAL columns of the model's rows of `layers`."""
    measured = (_Measured(*(row[name] for name in _Measured._fields)) for row in layers)
    axes_of_kernels = (row["kernel"].count("x") + 1 for row in layers)
    return {"spatial_dims": max(axes_of_kernels, default=None), "suspected_random": suspected_random(measured)}


def weights_id_of(layer_ids: Iterable[str]) -> str | None:
    """sha256 over the sorted layer ids; None if there are none."""
    joined = "\n".join(sorted(layer_ids))
    return hashlib.sha256(joined.encode()).hexdigest() if joined else None
