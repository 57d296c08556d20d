"""Which networks belong together: copies, shared layers, descent that a zoo states, and what weights suggest."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo_analysis.exhibits import Exhibit, counted, query_of, table_of
from filterzoo_analysis.zoo import Zoo

NEAR = 0.1
"""Distance below which descent is suggested; two independent draws of one distribution have 1 on average."""
_FEWEST = 3
"""3x3 layers that two networks need for that: 27 numbers, of which independent ones come so near once in 1e11."""
_LARGEST_FAMILY = 400
"""Networks of equal shapes that are compared each with each; of more, the first ones."""
_MOST_HOLDERS = 50
"""Networks that hold one layer: where more do, it is no sign of a family (a layer of zeros, a fixed filter)."""
RULE = (
    "near (inferred): networks whose 3x3 layers have equal shapes in equal order, at least three of them, and whose "
    "mean filters lie within a tenth of the squared distance, in units of their sampling variance, that independent "
    "draws of one distribution have on average. Long fine-tuning is missed; the direction is not told."
)


def lineage(zoo: Zoo) -> Exhibit | None:
    """A row for each two networks that belong together, what is stated apart from what is inferred; None for none."""
    rows = [*_copies(zoo), *_stated(zoo), *_shared(zoo), *_near(zoo)]
    if not rows:
        return None
    kinds = {kind: sum(row["kind"] == kind for row in rows) for kind in ("copy", "stated", "shared layers", "near")}
    told = ", ".join(f"{kind} {count:,}" for kind, count in kinds.items() if count)
    return Exhibit(
        name="lineage",
        title="Networks that belong together",
        says=f"{counted(len(rows), 'pair')}: {told}.",
        table=table_of({key: [row[key] for row in rows] for key in ("model", "other", "kind", "inferred", "score")}),
        query=query_of(zoo, "lineage.lineage"),
        notes=(
            "copy: the same convolutions. stated: `base_model` names the other.",
            "shared layers: score is the share of the model's layers that the other has as well, by `layer_id`.",
            RULE,
        ),
    )


def _row(model: str, other: str, kind: str, score: float | None, *, inferred: bool = False) -> dict[str, Any]:
    return {"model": model, "other": other, "kind": kind, "inferred": inferred, "score": score}


def _copies(zoo: Zoo) -> list[dict[str, Any]]:
    models = zoo.dataset.models
    pairs = zip(models["model_id"].to_pylist(), models["duplicate_of"].to_pylist(), strict=True)
    return [_row(model, other, "copy", 1.0) for model, other in pairs if other is not None]


def _stated(zoo: Zoo) -> list[dict[str, Any]]:
    """`base_model` holds names as their zoo has them; those of networks that the data set has not stand as stated."""
    models = zoo.dataset.models
    known = dict(zip(models["id"].to_pylist(), models["model_id"].to_pylist(), strict=True))
    pairs = zip(models["model_id"].to_pylist(), models["base_model"].to_pylist(), strict=True)
    return [
        _row(model, known.get(name.strip(), name.strip()), "stated", None)
        for model, stated in pairs
        for name in (stated or "").split(", ")
        if name.strip()
    ]


def _shared(zoo: Zoo) -> list[dict[str, Any]]:
    """Pairs of originals that have layers in common and are no copies of each other."""
    table = zoo.dataset.layers.filter(pc.greater(zoo.dataset.layers["l2_norm"], 0))
    analysed = zoo.dataset.models["model_id"].filter(zoo.analysed).combine_chunks()
    table = table.filter(pc.is_in(table["model_id"], analysed))
    holders: defaultdict[str, set[str]] = defaultdict(set)
    sizes: defaultdict[str, set[str]] = defaultdict(set)
    for model, layer in zip(table["model_id"].to_pylist(), table["layer_id"].to_pylist(), strict=True):
        holders[layer].add(model)
        sizes[model].add(layer)
    common: defaultdict[tuple[str, str], int] = defaultdict(int)
    for models in holders.values():
        if 1 < len(models) <= _MOST_HOLDERS:
            for pair in combinations(sorted(models), 2):
                common[pair] += 1
    return [_row(a, b, "shared layers", count / len(sizes[a])) for (a, b), count in sorted(common.items())]


def _near(zoo: Zoo) -> list[dict[str, Any]]:
    names = zoo.dataset.models["model_id"].to_pylist()
    layers = zoo.layers
    shapes = layers.table["shape"].to_pylist()
    families: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    places = {int(model): np.flatnonzero(layers.model == model) for model in np.unique(layers.model)}
    for model, rows in places.items():
        if len(rows) >= _FEWEST:
            families[tuple(tuple(shapes[row]) for row in rows)].append(model)
    found = []
    for members in families.values():
        for first, second in combinations(members[:_LARGEST_FAMILY], 2):
            score = distance(zoo, places[first], places[second])
            if score < NEAR:
                found.append(_row(names[first], names[second], "near", score, inferred=True))
    return found


def distance(zoo: Zoo, first: Any, second: Any) -> float:
    """Squared distance of the mean filters of two networks' layers, in units of what sampling alone gives; 0 to inf.

    first, second: rows of `zoo.layers`, of equal shapes. Layers that are equal to the last bit are left out: they are
    shared, and say nothing of the others. inf where no others are left.
    """
    ids = zoo.layers.table["layer_id"].to_pylist()
    own = [(a, b) for a, b in zip(first, second, strict=True) if ids[a] != ids[b]]
    gaps, noise = [], []
    for a, b in own:
        spread: Doubles = zoo.layers.raw_m2[[a, b]].trace(axis1=1, axis2=2) / zoo.layers.count[[a, b]]
        expected = float((spread / zoo.layers.count[[a, b]]).sum())
        if expected > 0:
            gaps.append(float(np.square(zoo.layers.raw_mean[a] - zoo.layers.raw_mean[b]).sum()) / expected)
            noise.append(1.0)
    return float(np.sum(gaps) / np.sum(noise)) if len(gaps) >= _FEWEST else float("inf")
