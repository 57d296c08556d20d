"""Writes synthetic zoos with known effects: as tables in memory, or as a published folder with filters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filterzoo.layers.normalise import layer_id
from filterzoo.layers.shapes import kernel_name
from filterzoo.measures.measure import measure_weights
from filterzoo.records import Kind
from filterzoo.store.filters import BLOCK
from filterzoo_analysis.tables.dataset import DataSet
from filterzoo_publish.schema import arrow_schema
from filterzoo_publish.shards.parquet import ShardWriter

Weights = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """A checkpoint: its layers in order of depth, and the facts the zoo states. depthwise: whether all layers are."""

    id: str
    layers: list[Weights]
    facts: dict[str, Any] = field(default_factory=dict)
    source: str = "made"
    depthwise: bool = False

    @property
    def model_id(self) -> str:
        return f"{self.source}/{self.id}@1"


def random_model(name: str, rng: np.random.Generator, shift=0.0, width=8, depth=3, **facts: Any) -> Model:
    """Layers of normal filters around a mean of the model's own; `shift` moves the mean of all numbers."""
    layers = []
    for _ in range(depth):
        own = rng.normal(scale=0.1, size=(3, 3))
        layers.append((rng.normal(size=(width, width, 3, 3)) + own + shift).astype(np.float32))
    return Model(name, layers, facts)


def dataset(models: Sequence[Model], skipped: Iterable[dict[str, Any]] = (), name: str = "made") -> DataSet:
    """The tables of the models, without a file."""
    tables = _tables(models, skipped, {})
    return DataSet(name, tables["models"], tables["layers"], tables["skipped"])


def publish(
    folder: Path, models: Sequence[Model], skipped: Iterable[dict[str, Any]] = (), group_filters=20_000
) -> Path:
    """Write the models as a published folder; `group_filters`: about how many filters a row group holds."""
    pointers = _write_filters(folder, models, group_filters)
    for config, table in _tables(models, skipped, pointers).items():
        _write(folder, config, [table])
    return folder


def _tables(models, skipped, pointers) -> dict[str, pa.Table]:
    ordered = sorted(models, key=lambda model: model.model_id)
    rows = {
        "models": [_model_row(model, pointers) for model in ordered],
        "layers": [row for model in ordered for row in _layer_rows(model, pointers)],
        "filters_sample": [row for model in ordered for row in _sample_rows(model)] if pointers else [],
        "skipped": [dict(row) for row in skipped],
    }
    return {config: pa.Table.from_pylist(found, schema=arrow_schema(config)) for config, found in rows.items()}


def _axes(model: Model) -> dict[str, Any]:
    names = ("task", "training_dataset", "visual_category", "architecture", "robust")
    return {"model_id": model.model_id, "source": model.source, "licence_class": "permissive"} | {
        name: model.facts.get(name) for name in names
    }


def _model_row(model: Model, pointers) -> dict[str, Any]:
    filters = sum(layer.shape[0] * layer.shape[1] for layer in model.layers)
    row = _axes(model) | {
        "id": model.id,
        "revision": "1",
        "licence": "mit",
        "format": "torch",
        "framework": "torch",
        "section": "",
        "file": "file.pth",
        "size": 1000,
        "integrity": "sha256",
        "n_tensors": len(model.layers),
        "n_layers": len(model.layers),
        "n_filters": filters,
        "filters_3x3": sum(layer.shape[0] * layer.shape[1] for layer in model.layers if layer.shape[2:] == (3, 3)),
        "published_filters": filters if pointers else 0,
        "stored_filters": filters if pointers else 0,
        "weights_id": "0" * 64,
    }
    return row | model.facts


def _layer_rows(model: Model, pointers) -> Iterable[dict[str, Any]]:
    for index, weights in enumerate(model.layers):
        groups, kind = (len(weights), Kind.DEPTHWISE) if model.depthwise else (1, Kind.CONV)
        measure = asdict(measure_weights(weights, groups, kind))
        identity = layer_id(weights)
        yield (
            _axes(model)
            | measure
            | {
                "layer_index": index,
                "name": f"layer{index}.weight",
                "kind": kind.value,
                "groups": groups,
                "kernel": kernel_name(weights.shape[2:]),
                "shape": list(weights.shape),
                "dtype": "F32",
                "conv_depth": index,
                "conv_depth_norm": index / max(1, len(model.layers) - 1),
                "context": "declared",
                "layer_id": identity,
                "n_filters": weights.shape[0] * weights.shape[1],
                **pointers.get(identity, {}),
            }
        )


def _sample_rows(model: Model) -> Iterable[dict[str, Any]]:
    for index, weights in enumerate(model.layers):
        for number, kernel in enumerate(weights.reshape(-1, 9)[:16] if weights.shape[2:] == (3, 3) else ()):
            yield _axes(model) | {
                "layer_id": layer_id(weights),
                "filter_index": number,
                "conv_depth_norm": index / max(1, len(model.layers) - 1),
                "weights": kernel,
            }


def _write_filters(folder: Path, models, group_filters) -> dict[str, dict[str, Any]]:
    pointers: dict[str, dict[str, Any]] = {}
    groups: list[list[dict[str, Any]]] = [[]]
    rows = 0
    for model in sorted(models, key=lambda model: model.model_id):
        for weights in model.layers:
            identity = layer_id(weights)
            if identity in pointers:
                continue
            filters = weights.reshape(len(weights) * weights.shape[1], -1)
            pointers[identity] = {"filters_row_group": len(groups) - 1, "filters_first_row": rows, "filters_rows": 0}
            for first in range(0, len(filters), BLOCK):
                block = filters[first : first + BLOCK]
                groups[-1].append(
                    _axes(model)
                    | {
                        "layer_id": identity,
                        "kernel": kernel_name(weights.shape[2:]),
                        "conv_depth_norm": 0.0,
                        "first_filter": first,
                    }
                    | {"n_filters": len(block), "weights": block.reshape(-1)}
                )
                rows += 1
                pointers[identity]["filters_rows"] += 1
                if sum(row["n_filters"] for row in groups[-1]) >= group_filters:
                    groups.append([])
    schema = arrow_schema("filters")
    tables = [
        pa.Table.from_pylist([{name: row.get(name) for name in schema.names} for row in group], schema=schema)
        for group in groups
        if group
    ]
    path = _write(folder, "filters", tables or [schema.empty_table()])
    return {identity: place | {"filters_file": path} for identity, place in pointers.items()}


def _write(folder: Path, config: str, tables) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, config) as writer:
        for table in tables:
            writer.write(table)
        shard = writer.finish("made", "permissive")
    place = folder / shard.path
    place.parent.mkdir(parents=True, exist_ok=True)
    shard.local.rename(place)
    return shard.path


HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script> $x^2$ {{7*7}} \u202egnp.exe"


def mixed_zoo(seed: int = 0) -> list[Model]:
    """Tasks and categories with drift, pairs of robust and normal, medical networks, a copy, hostile names."""
    rng = np.random.default_rng(seed)
    models = [
        random_model(f"{task}-{number}", rng, shift=shift, task=task, visual_category=category, licence=licence)
        for task, category, shift, licence in (
            ("classification", "natural", 0.0, "mit"),
            ("segmentation", "natural", 0.4, "apache-2.0"),
            ("gan-discriminator", "faces", -0.3, None),
        )
        for number in range(5)
    ]
    for number in range(6):
        pair = f"cifar-net-{number}"
        for robust in (False, True):
            made = random_model(
                f"{pair}-{'robust' if robust else 'normal'}",
                rng,
                shift=0.5 * robust,
                task="classification",
                visual_category="natural",
                training_dataset="CIFAR-10",
                architecture="wideresnet28",
                robust=robust,
                pair_id=pair,
                clean_accuracy=0.95 - 0.1 * robust - 0.002 * number,
                robust_accuracy=(0.5 + 0.02 * number) if robust else 0.0,
            )
            models.append(made)
    for number in range(6):
        medical = {"visual_category": "medical-ct", "architecture": f"unet{number}", "task": "segmentation"}
        models.append(random_model(f"organ-{number}", rng, width=20, **medical))
    signs = np.sign(rng.normal(size=(24, 24, 3, 3))).astype(np.float32)
    models.append(Model("organ-signs", [signs, signs * 2], {"visual_category": "medical-ct", "architecture": "unet9"}))
    models.append(random_model("sky", rng, visual_category="natural", architecture="unet", task="segmentation"))
    facts = {"task": HOSTILE, "architecture": HOSTILE, "url": "javascript:alert(3)"}
    models.append(Model(HOSTILE, [rng.normal(size=(8, 8, 3, 3)).astype(np.float32)], facts))
    first = models[0]
    models.append(Model("copy", first.layers, {**first.facts, "duplicate_of": first.model_id}))
    models.append(Model("empty", [], {"url": "https://zoo.example/empty"}))
    return models


SKIPPED = [
    {"source": "made", "id": "bad", "stage": "index", "reason": "malformed", "detail": HOSTILE},
    {"source": "made", "id": "secret", "stage": "discover", "reason": "licence", "detail": "gpl-3.0"},
    {"source": "other", "id": "gone", "stage": "fetch", "reason": "removed", "detail": "404"},
]
