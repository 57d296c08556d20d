"""Writes work folders as a crawl leaves them, from arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from filterzoo.errors import Reason, Stage
from filterzoo.layers.layer import Floats, Layer, LayerMeasure
from filterzoo.layers.normalise import layer_id
from filterzoo.measures.measure import measure_weights
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint, Context, Kind
from filterzoo.store.filters import axes_of
from filterzoo.store.workfolder import WorkFolder

ARTIFACT = Artifact(url="https://zoo.example/file", name="file.pth", sha256="0" * 64, size=1000)


@dataclass(frozen=True)
class Model:
    """A checkpoint to be written: its layers by name, and the facts that differ from the usual."""

    id: str
    layers: dict[str, Floats]
    source: str = "pypi"
    revision: str = "1"
    licence_class: str = "permissive"
    publish_weights: bool = True
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        return f"{self.source}/{self.id}@{self.revision}"


def weights(seed: int, *shape: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def network(seed: int, width: int = 8) -> dict[str, Floats]:
    """Four layers of three kernel sizes."""
    return {
        "stem": weights(seed, width, 3, 3, 3),
        "point": weights(seed + 1, width, width, 1, 1),
        "body": weights(seed + 2, width, width, 3, 3),
        "head": weights(seed + 3, 2, width, 5, 5),
    }


def zoo() -> list[Model]:
    """Seven checkpoints of two zoos and three licence classes; layers tied and shared, twins, one without filters."""
    first = network(10)
    tied = {"a": weights(50, 4, 4, 3, 3), "b": weights(51, 4, 4, 3, 3), "c": weights(50, 4, 4, 3, 3)}
    return [
        Model("a-net", first, facts={"task": "classification", "visual_category": "natural", "robust": True}),
        Model("b-net", tied, facts={"task": "segmentation"}),
        Model("c-copy", dict(first)),
        Model("d-shares", {"own": weights(60, 4, 4, 3, 3), "shared": first["body"]}, licence_class="share-alike"),
        Model("e-secret", network(20), licence_class="no-redistribution", publish_weights=False),
        Model("f-flat", {"only": weights(70, 4, 4, 1, 1)}),
        Model("big", {"wide": weights(80, 256, 200, 3, 3)}, source="local", facts={"task": "object-detection"}),
    ]


def ledger() -> list[LedgerEntry]:
    return [
        LedgerEntry(
            source="pypi",
            id="broken",
            revision="2",
            url=None,
            stage=Stage.INDEX,
            reason=Reason.MALFORMED,
            detail="a tensor ends outside the file",
            where="byte 12",
            plugin=None,
            licence="mit",
        ),
        LedgerEntry(
            source="bad-plugin.py",
            id=None,
            revision=None,
            url=None,
            stage=Stage.IMPORT,
            reason=Reason.PLUGIN_ERROR,
            detail="ValueError: no",
            where=None,
            plugin="bad-plugin.py",
        ),
    ]


def write_work(
    folder: Path,
    models: Iterable[Model],
    entries: Sequence[LedgerEntry] = (),
    kernels=("3x3",),
    listed: str | None = None,
) -> Path:
    """Add what a crawl of the day `listed` (None: it kept none) finds to a work folder."""
    work = WorkFolder(folder)
    store = work.store()
    with work.journal() as journal:
        for model in models:
            done = _done(model, store, frozenset(kernels))
            journal.record_done(done, "settings")
            if listed:
                journal.record_listed([done.checkpoint], listed)
        for entry in entries:
            journal.record_ledger(entry)
    return folder


def _done(model: Model, store, kernels: frozenset[str]) -> Done:
    filters: Counter[str] = Counter()
    checkpoint = Checkpoint(
        id=model.id, revision=model.revision, source=model.source, artifacts=(ARTIFACT,), **model.facts
    )
    axes = axes_of(checkpoint, model.licence_class)
    with store.writer(kernels if model.publish_weights else frozenset(), axes, {}) as writer:
        for index, (name, array) in enumerate(model.layers.items()):
            layer = _layer(index, name, array, len(model.layers))
            filters[layer.kernel] += layer.n_filters
            writer.add(layer, _measure(layer))
        layers_fragment, filters_fragment = writer.finish()
    return Done(
        checkpoint=checkpoint,
        format="torch",
        framework="torch",
        section="",
        sha256="0" * 64,
        size=1000,
        integrity="sha256",
        licence=model.facts.get("licence"),
        licence_class=model.licence_class,
        licence_from=None,
        n_tensors=len(model.layers),
        n_layers=len(model.layers),
        filters_by_kernel=dict(filters),
        layers_fragment=layers_fragment,
        filters_fragment=filters_fragment,
        publish_weights=model.publish_weights,
    )


def _layer(index: int, name: str, array: Floats, count: int) -> Layer:
    return Layer(
        index=index,
        name=name,
        kind=Kind.CONV,
        weights=array,
        dtype="F32",
        context=Context.DECLARED,
        layer_id=layer_id(array),
        conv_depth=index,
        conv_depth_norm=index / max(1, count - 1),
        groups=None,
        stride=None,
        dilation=None,
        padding=(1, 1, 1, 1),
    )


def _measure(layer: Layer) -> LayerMeasure:
    return measure_weights(layer.weights, layer.groups, layer.kind)
