"""Adversarial robustness through the lens of convolutional filters (arXiv:2204.02481): robust against normal."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo.measures.entropy import principal_components
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.cells import Cells, Grouping, cells_of
from filterzoo_analysis.exhibits import Answer, Exhibit, Section, counted, interval, query_of, shown, table_of
from filterzoo_analysis.sections import accuracy, pairs, quality, thresholding
from filterzoo_analysis.sections.cnn_filter_db import ratio_intervals
from filterzoo_analysis.statistics import DECILES, Bools, depth_decile
from filterzoo_analysis.uncertainty import FEWEST_MODELS, HOLLOW, RATE, drift_matrix, with_null_share
from filterzoo_analysis.zoo import Zoo

NAMES = ("normal", "robust")
_DRIFT = (
    "Members of known pairs, pairs in brackets. Intervals draw pairs again, are corrected for what few pairs add to a "
    "drift, wider for few, and may lie below it; the null exchanges robust and normal within pairs. "
    f"{HOLLOW}"
)
_GRID = 24
"""Filters drawn of a layer."""


def section(zoo: Zoo) -> Section:
    """All comparisons that the known pairs and accuracies allow."""
    title = "Robustness lens: robust against normal"
    about = "The figures of 'Adversarial Robustness through the Lens of Convolutional Filters' (CVPR-W 2022)."
    exhibits: list[Exhibit] = []
    empty: list[str] = []
    paired = pairs.in_pairs(zoo)
    if paired.any():
        exhibits += [drift(zoo), pairs.each_pair(zoo), explained_variance(zoo), measures(zoo)]
        grids = first_and_last(zoo)
        exhibits += [] if grids is None else [grids]
    else:
        empty.append("No pair of a robust and a normal network is known: `pair_id` and `robust` name none.")
    if zoo.images:
        answers = thresholding.activations(zoo, zoo.images)
        exhibits += [] if answers is None else [answers]
        empty += ["No pair has 3x3 first layers on pictures to try the given one."] if answers is None else []
    else:
        empty.append("No first layers on a picture: none was given (--images).")
    related = accuracy.correlation(zoo)
    if related is None:
        empty.append(f"No correlation with accuracy: fewer than {FEWEST_MODELS + 1} models state one.")
    else:
        exhibits.append(related)
    return Section("robustness", title, about, tuple(exhibits), tuple(empty))


def drift(zoo: Zoo) -> Exhibit:
    """Drift between robust and normal members of pairs: overall, by training set, first layer, by depth."""
    rows = [{"of": name, **_comparison(zoo, chosen)} for name, chosen in _choices(zoo).items()]
    rows = with_null_share([row for row in rows if row["drift"] is not None])
    found = np.array([[row[key] for row in rows] for key in ("drift", "low", "high")], dtype=float)
    labels = [f"{row['of']} ({row['pairs']}){'*' if row['q'] <= RATE else ''}" for row in rows]
    told = "; ".join(f"{row['of']} {interval(row['drift'], row['low'], row['high'])}" for row in rows)
    return Exhibit(
        name="robust_drift",
        title="Drift between robust and normal networks",
        says=f"{told}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robustness.drift"),
        draw=partial(figures.intervals, labels=labels, found=found, label="drift, nats"),
        size=(7.5, 1.2 + 0.25 * len(rows)),
        notes=(
            _DRIFT,
            f"{counted(len(rows), 'comparison')}; *: q <= {RATE}, Benjamini-Hochberg over them.",
            f"Variant {zoo.coefficients.variant}.",
        ),
        answers=_drift_answers({row["of"]: row for row in rows}),
    )


def explained_variance(zoo: Zoo) -> Exhibit:
    """Explained variance ratio of robust and of normal members, and the share of sparse filters."""
    chosen, robust = pairs.in_pairs(zoo), pairs.is_robust(zoo)
    series: dict[str, Doubles] = {}
    sparse = {}
    for name, wanted in zip(NAMES, (chosen & ~robust, chosen & robust), strict=True):
        layers = zoo.layers.take(wanted)
        components = principal_components(layers.scaled())
        ratio = np.zeros(FILTER_SIZE) if components is None else components.ratio
        series[name] = np.stack([ratio, *ratio_intervals(layers)])
        sparse[name] = layers.numbers("sparse_count").sum() / max(1, layers.count.sum())
    told = "; ".join(f"{name}: " + ", ".join(interval(*each) for each in ratios.T) for name, ratios in series.items())
    first = {name: " ".join(f"{share:.3f}"[1:] for share in ratios[0, :3]) for name, ratios in series.items()}
    columns = {
        f"{name}{end}": values
        for name, ratios in series.items()
        for end, values in zip(("", "_low", "_high"), ratios, strict=True)
    }
    return Exhibit(
        name="robust_explained_variance",
        title="Explained variance of robust and normal networks",
        says=f"{told}. Sparse filters: " + ", ".join(f"{name} {share:.1%}" for name, share in sparse.items()) + ".",
        table=table_of({"component": np.arange(FILTER_SIZE), **columns}),
        query=query_of(zoo, "robustness.explained_variance"),
        draw=partial(
            figures.lines, ticks=[f"v{i}" for i in range(FILTER_SIZE)], series=series, label="explained variance ratio"
        ),
        size=(6, 3.6),
        notes=(
            "Of all scaled filters, from the table of layers; the paper leaves sparse ones out (robust22).",
            f"Intervals draw the models of each set again. {HOLLOW}",
        ),
        answers=(
            Answer(papers.ROBUST_EVR, f"{first['robust']}; {first['normal']}"),
            Answer(papers.SPARSE_SHARE, f"{sparse['robust']:.4f}; {sparse['normal']:.4f}"),
        ),
    )


def measures(zoo: Zoo) -> Exhibit:
    """The three measures by depth for both members of pairs."""
    chosen, robust = pairs.in_pairs(zoo), pairs.is_robust(zoo)
    series = {"normal": chosen & ~robust, "robust": chosen & robust}
    table, panels = quality.measures_by_depth(zoo, series)
    last = {
        measure: " against ".join(f"{name} {shown(shapes['mean'][-1])}" for name, shapes in panels[measure].items())
        for measure in panels
    }
    return Exhibit(
        name="robust_measures",
        title="Quality of robust and normal networks by depth",
        says="Mean over models in the last decile: " + "; ".join(f"{m}, {told}" for m, told in last.items()) + ".",
        table=table_of(table),
        query=query_of(zoo, "robustness.measures"),
        draw=partial(figures.depth_panels, ticks=DECILES, panels=panels),
        size=(13, 4.2),
        notes=(
            f"Layers of members of pairs. {quality.POINTS} {HOLLOW}",
            f"{counted(2 * len(quality.MEASURES) * 10, 'interval')}: {quality.ONE_IN_TWENTY}",
        ),
    )


def first_and_last(zoo: Zoo) -> Exhibit | None:
    """Filters of the first and last 3x3 layer of one pair, from `filters_sample`; None where it holds none."""
    sample = zoo.sample()
    if not len(sample):
        return None
    layers, chosen, robust = zoo.layers, pairs.in_pairs(zoo), pairs.is_robust(zoo)
    names = zoo.dataset.models["pair_id"].to_pylist()
    name = min(names[model] for model in layers.model[chosen])
    rows: list[dict[str, Any]] = []
    for kind, wanted in zip(NAMES, (chosen & ~robust, chosen & robust), strict=True):
        places = [i for i in np.flatnonzero(wanted) if names[layers.model[i]] == name]
        places = [i for i in places if layers.model[i] == layers.model[places[0]]]
        for place, where in ((places[0], "first"), (places[-1], "last")):
            layer = layers.table["layer_id"][int(place)].as_py()
            found = sample.filter(pc.equal(sample["layer_id"], layer)).slice(0, _GRID)["weights"].to_pylist()
            rows += [
                {"network": kind, "layer": where, "number": i, "weights": kernel} for i, kernel in enumerate(found)
            ]
    if not rows:
        return None
    counts = {(row["network"], row["layer"]): 0 for row in rows}
    for row in rows:
        counts[row["network"], row["layer"]] += 1
    blank = np.full(9, np.nan)
    drawn = np.concatenate(
        [_padded([row["weights"] for row in rows if (row["network"], row["layer"]) == key], blank) for key in counts]
    )
    titles = [f"{key[0]}, {key[1]}" if i == 0 else "" for key in counts for i in range(_GRID)]
    return Exhibit(
        name="robust_filters",
        title=f"First and last 3x3 layer of the pair {figures.short(name, 60)}",
        says="Sampled filters: "
        + ", ".join(f"{kind} {layer} {count}" for (kind, layer), count in counts.items())
        + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robustness.first_and_last"),
        draw=partial(figures.kernels, filters=drawn, titles=titles, columns=_GRID),
        size=(12, 0.75 * len(counts)),
        notes=("Rows: " + ", ".join(f"{kind} {layer}" for kind, layer in counts) + ". Each filter on its own scale.",),
    )


def _choices(zoo: Zoo) -> dict[str, Bools]:
    """Name -> layers to compare: everything, each training set, first layers and depths of each."""
    layers, chosen = zoo.layers, pairs.in_pairs(zoo)
    decile = depth_decile(layers.numbers("conv_depth_norm"))
    first = layers.numbers("conv_depth") == 0
    found = {"all": chosen}
    names = zoo.dataset.models["training_dataset"].to_pylist()
    sets = {name: np.array([each == name for each in names])[layers.model] & chosen for name in {*names} - {None}}
    found |= {name: sets[name] for name in sorted(sets) if sets[name].any()}
    for name, rows in list(found.items()):
        found[f"{name}, first layer"] = rows & first
        found |= {f"{name}, depth {DECILES[i]}": rows & (decile == i) for i in range(10)}
    return found


def _comparison(zoo: Zoo, rows: Bools) -> dict[str, Any]:
    robust = pairs.is_robust(zoo)
    grouping = Grouping("robust", np.where(rows, robust.astype(np.int64), -1), NAMES)
    cells = cells_of(zoo.layers, zoo.coefficients, grouping)
    if len(cells.labels) < 2:
        return dict.fromkeys(("pairs", "drift", "low", "high", "null_mean", "p"))
    matrix = drift_matrix(_as_pairs(zoo, cells))
    keys = {"drift": matrix.drift, "low": matrix.low, "high": matrix.high, "null_mean": matrix.null, "p": matrix.p}
    return {"pairs": int(matrix.models.min())} | {key: float(values[0, 1]) for key, values in keys.items()}


def _as_pairs(zoo: Zoo, cells: Cells) -> Cells:
    """The same cells with the pair in the model's place: pairs are drawn, and labels exchanged within them."""
    names = zoo.dataset.models["pair_id"].to_pylist()
    _, place = np.unique([names[model] for model in cells.model], return_inverse=True)
    keys = cells.group * len(names) + place
    unique, inverse = np.unique(keys, return_inverse=True)
    summed = np.zeros((len(unique), cells.histogram.shape[1]))
    np.add.at(summed, inverse, cells.histogram)
    return Cells(
        cells.by, cells.labels, unique % len(names), unique // len(names), summed, cells.weights, cells.bin_width
    )


def _drift_answers(rows: dict[str, dict[str, Any]]) -> tuple[Answer, ...]:
    def ours(of: str) -> str | None:
        row = next((row for name, row in rows.items() if _plain(name) == of), None)
        return None if row is None else interval(row["drift"], row["low"], row["high"])

    found = [Answer(published, ours(name)) for name, published in papers.ROBUST_DRIFT.items()]
    found += [Answer(published, ours(f"{name},firstlayer")) for name, published in papers.FIRST_LAYER_DRIFT.items()]
    for name, published in papers.DEEP_DRIFT.items():
        deep = [ours(f"{name},depth{DECILES[i].replace(' ', '')}") for i in (8, 9)]
        found.append(Answer(published, None if None in deep else " / ".join(str(each) for each in deep)))
    return tuple(found)


def _plain(name: str) -> str:
    """`CIFAR-10, first layer` -> `cifar10,firstlayer`."""
    return name.lower().replace("-", "", 1).replace(" ", "").replace("ilsvrc2012", "imagenet")


def _padded(filters: list[list[float]], blank: Doubles) -> Doubles:
    padded: Doubles = np.array([*filters, *[blank] * (_GRID - len(filters))])
    return padded
