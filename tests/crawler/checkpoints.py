"""Checkpoints, layers and measures made up for tests of the store and the journal."""

from __future__ import annotations

from typing import Any

import numpy as np

from filterzoo.errors import Reason
from filterzoo.layers.layer import Layer, LayerMeasure
from filterzoo.layers.normalise import layer_id
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint, Context, Kind


def layer(index: int, weights: np.ndarray, **fields: Any) -> Layer:
    plain: dict[str, Any] = {
        "index": index,
        "name": f"layer{index}.weight",
        "kind": Kind.CONV,
        "weights": weights,
        "dtype": "F32",
        "context": Context.DECLARED,
        "layer_id": layer_id(weights),
        "conv_depth": index,
        "conv_depth_norm": 0.5,
        "groups": 1,
        "stride": None,
        "dilation": (1, 1),
        "padding": None,
    }
    return Layer(**(plain | fields))


def weights(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape or (4, 2, 3, 3)).astype(np.float32)


def measure(**fields: Any) -> LayerMeasure:
    plain: dict[str, Any] = {
        "n_finite": 8,
        "nan_count": 0,
        "inf_count": 0,
        "l1_norm": 1.5,
        "l2_norm": 2.5,
        "sparse_count": 0,
        "sparsity": 0.0,
        "orthogonality": None,
        "variance_entropy": 0.9,
        "variance_entropy_threshold": None,
        "raw_mean": np.arange(9.0),
        "raw_m2": np.arange(45.0),
        "scaled_mean": None,
        "scaled_m2": None,
        "dct_histogram": np.arange(630, dtype=np.uint32),
    }
    return LayerMeasure(**(plain | fields))


def checkpoint(id: str = "a/b", **fields: Any) -> Checkpoint:  # noqa: A002  # the field's name
    plain: dict[str, Any] = {"revision": "1", "source": "zoo", "artifacts": (Artifact(url="https://zoo/a", size=3),)}
    return Checkpoint(id=id, **(plain | fields))


def done(of: Checkpoint | None = None, **fields: Any) -> Done:
    plain: dict[str, Any] = {
        "checkpoint": of or checkpoint(),
        "format": "torch",
        "framework": None,
        "section": "",
        "sha256": None,
        "size": 3,
        "integrity": "none",
        "licence": "mit",
        "licence_class": "permissive",
        "licence_from": "zoo",
        "n_tensors": 2,
        "n_layers": 1,
        "filters_by_kernel": {"3x3": 8, "1x1": 2},
        "layers_fragment": "f" * 64,
        "filters_fragment": None,
        "publish_weights": True,
    }
    return Done(**(plain | fields))


def entry(of: Checkpoint | None = None, reason: Reason = Reason.DAMAGED, **fields: Any) -> LedgerEntry:
    of = of or checkpoint()
    plain: dict[str, Any] = {
        "source": of.source,
        "id": of.id,
        "revision": of.revision,
        "url": None,
        "stage": "index",
        "reason": reason,
        "detail": "CRC",
        "where": None,
        "plugin": None,
    }
    return LedgerEntry(**(plain | fields))
