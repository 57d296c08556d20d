"""Adversarial robustness through the lens of convolutional filters (arXiv:2204.02481): robust against normal."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute as pc

from filterzoo.entropy import principal_components
from filterzoo.layer import Doubles
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.cells import Cells, Grouping, cells_of
from filterzoo_analysis.exhibits import Answer, Exhibit, Section, interval, query_of, shown, table_of
from filterzoo_analysis.sections import quality
from filterzoo_analysis.statistics import DECILES, Bools, depth_decile
from filterzoo_analysis.uncertainty import FEWEST_MODELS, REPLICATES, drift_matrix
from filterzoo_analysis.zoo import Zoo

NAMES = ("normal", "robust")
_DRIFT = (
    "Members of known pairs, pairs in brackets. Intervals draw pairs again, are corrected for what few pairs add to a "
    "drift, and may lie below it; the null exchanges robust and normal within pairs."
)
_GRID = 24
"""Filters drawn of a layer."""


def section(zoo: Zoo) -> Section:
    """All comparisons that the known pairs and accuracies allow."""
    title = "Robustness lens: robust against normal"
    about = "The figures of 'Adversarial Robustness through the Lens of Convolutional Filters' (CVPR-W 2022)."
    exhibits: list[Exhibit] = []
    empty: list[str] = []
    paired = in_pairs(zoo)
    if paired.any():
        exhibits += [drift(zoo), explained_variance(zoo), measures(zoo)]
        grids = first_and_last(zoo)
        exhibits += [] if grids is None else [grids]
    else:
        empty.append("No pair of a robust and a normal network is known: `pair_id` and `robust` name none.")
    related = correlation(zoo)
    if related is None:
        empty.append(f"No correlation with accuracy: fewer than {FEWEST_MODELS + 1} models state one.")
    else:
        exhibits.append(related)
    return Section("robustness", title, about, tuple(exhibits), tuple(empty))


def in_pairs(zoo: Zoo) -> Bools:
    """(n,) whether a layer is of a model whose pair has both a robust and a normal member."""
    models = zoo.dataset.models
    members: dict[str, set[bool]] = {}
    columns = (models[name].to_pylist() for name in ("pair_id", "robust", "duplicate_of"))
    rows = list(zip(*columns, strict=True))
    for pair, robust, duplicate_of in rows:
        if pair is not None and robust is not None and duplicate_of is None:
            members.setdefault(pair, set()).add(robust)
    chosen = np.array([pair in members and len(members[pair]) == 2 and robust is not None for pair, robust, _ in rows])
    found: Bools = chosen[zoo.layers.model] if len(chosen) else np.zeros(0, bool)
    return found


def drift(zoo: Zoo) -> Exhibit:
    """Drift between robust and normal members of pairs: overall, by training set, first layer, by depth."""
    rows = [{"of": name, **_comparison(zoo, chosen)} for name, chosen in _choices(zoo).items()]
    rows = [row for row in rows if row["drift"] is not None]
    found = np.array([[row[key] for row in rows] for key in ("drift", "low", "high")], dtype=float)
    labels = [f"{row['of']} ({row['pairs']})" for row in rows]
    told = "; ".join(f"{row['of']} {interval(row['drift'], row['low'], row['high'])}" for row in rows)
    return Exhibit(
        name="robust_drift",
        title="Drift between robust and normal networks",
        says=f"{told}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robustness.drift"),
        draw=partial(figures.intervals, labels=labels, found=found, label="drift, nats"),
        size=(7.5, 1.2 + 0.25 * len(rows)),
        notes=(f"{_DRIFT} Variant {zoo.coefficients.variant}.",),
        answers=_drift_answers({row["of"]: row for row in rows}),
    )


def explained_variance(zoo: Zoo) -> Exhibit:
    """Explained variance ratio of robust and of normal members, and the share of sparse filters."""
    chosen, robust = in_pairs(zoo), _is_robust(zoo)
    series: dict[str, Doubles] = {}
    sparse = {}
    for name, wanted in zip(NAMES, (chosen & ~robust, chosen & robust), strict=True):
        layers = zoo.layers.take(wanted)
        components = principal_components(layers.scaled())
        series[name] = np.zeros(9) if components is None else components.ratio
        sparse[name] = layers.numbers("sparse_count").sum() / max(1, layers.count.sum())
    told = "; ".join(f"{name}: " + " ".join(f"{share:.3f}" for share in ratio) for name, ratio in series.items())
    first = {name: " ".join(f"{share:.3f}"[1:] for share in ratio[:3]) for name, ratio in series.items()}
    return Exhibit(
        name="robust_explained_variance",
        title="Explained variance of robust and normal networks",
        says=f"{told}. Sparse filters: " + ", ".join(f"{name} {share:.1%}" for name, share in sparse.items()) + ".",
        table=table_of({"component": np.arange(9), **series}),
        query=query_of(zoo, "robustness.explained_variance"),
        draw=partial(
            figures.lines,
            ticks=[f"v{i}" for i in range(9)],
            series={name: np.stack([ratio.cumsum()] * 3) for name, ratio in series.items()},
            label="cumulative explained variance",
        ),
        size=(6, 3.6),
        notes=("Of all scaled filters, from the table of layers; the paper leaves sparse ones out (robust22).",),
        answers=(
            Answer(papers.ROBUST_EVR, f"{first['robust']}; {first['normal']}"),
            Answer(papers.SPARSE_SHARE, f"{sparse['robust']:.4f}; {sparse['normal']:.4f}"),
        ),
    )


def measures(zoo: Zoo) -> Exhibit:
    """The three measures by depth for both members of pairs."""
    chosen, robust = in_pairs(zoo), _is_robust(zoo)
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
        notes=("Boxes: layers of members of pairs. Points: means over models with 95 % intervals.",),
    )


def first_and_last(zoo: Zoo) -> Exhibit | None:
    """Filters of the first and last 3x3 layer of one pair, from `filters_sample`; None where it holds none."""
    sample = zoo.sample()
    if not len(sample):
        return None
    layers, chosen, robust = zoo.layers, in_pairs(zoo), _is_robust(zoo)
    pairs = zoo.dataset.models["pair_id"].to_pylist()
    name = min(pairs[model] for model in layers.model[chosen])
    rows: list[dict[str, Any]] = []
    for kind, wanted in zip(NAMES, (chosen & ~robust, chosen & robust), strict=True):
        places = [i for i in np.flatnonzero(wanted) if pairs[layers.model[i]] == name]
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


def correlation(zoo: Zoo) -> Exhibit | None:
    """Spearman correlation of each model's measures with its accuracies, models drawn again; None for too few."""
    models = zoo.dataset.models
    everything = np.ones(len(zoo.layers), bool)
    sets = _model_values(models["training_dataset"].to_pylist())
    values = {name: quality.model_means(zoo.layers, _measure(zoo, name), everything) for name in quality.MEASURES}
    rows: list[dict[str, Any]] = []
    for target in ("robust_accuracy", "clean_accuracy"):
        accuracy = models[target].to_numpy().astype(float)
        others = values | (
            {} if target == "clean_accuracy" else {"clean_accuracy": models["clean_accuracy"].to_numpy().astype(float)}
        )
        for name, chosen in [("all", np.ones(len(models), bool)), *sets]:
            for measure, numbers in others.items():
                found = _spearman(numbers[chosen], accuracy[chosen])
                if found is not None:
                    rows.append({"accuracy": target, "training_dataset": name, "measure": measure, **found})
    if not rows:
        return None
    labels = [f"{row['accuracy']} ~ {row['measure']}, {row['training_dataset']} ({row['models']})" for row in rows]
    points = np.array([[row[key] for row in rows] for key in ("rho", "low", "high")], dtype=float)
    told = "; ".join(f"{label} {interval(*points[:, i])}" for i, label in enumerate(labels[:12]))
    return Exhibit(
        name="accuracy_correlation",
        title="Correlation of quality with stated accuracies",
        says=f"Spearman: {told}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robustness.correlation"),
        draw=partial(figures.intervals, labels=labels, found=points, label="Spearman rank correlation"),
        size=(9, 1 + 0.24 * len(rows)),
        notes=(f"{len(rows)} correlations at once: one in twenty intervals misses zero by chance alone.",),
        answers=tuple(_correlation_answers(rows)),
    )


def _measure(zoo: Zoo, column: str) -> Doubles:
    return zoo.coefficients.entropy if column == "variance_entropy" else zoo.layers.numbers(column)


def _model_values(values: list[str | None]) -> list[tuple[str, Bools]]:
    """Each value with the models that have it."""
    return [
        (name, np.array([value == name for value in values])) for name in sorted({v for v in values if v is not None})
    ]


def rank_correlation(first: Doubles, second: Doubles, times: Doubles | None = None) -> Doubles:
    """Spearman's rho, equal values sharing their mean rank, of samples that hold value i `times[:, i]` times.

    first, second: (n,). times: (samples, n), whole numbers with equal sums; None for each value once. Gives (samples,),
    NaN where a sample has one value only.
    """
    times = np.ones((1, len(first))) if times is None else times
    centre = (times[0].sum() + 1) / 2
    a, b = _ranks(first, times) - centre, _ranks(second, times) - centre
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Doubles = (times * a * b).sum(axis=1) / np.sqrt((times * a**2).sum(axis=1) * (times * b**2).sum(axis=1))
    return rho


def _ranks(values: Doubles, times: Doubles) -> Doubles:
    """(samples, n): the mean rank of each value in each sample."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(times[:, order], starts, axis=1)
    ranks: Doubles = (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, place]
    return ranks


def _spearman(first: Doubles, second: Doubles) -> dict[str, Any] | None:
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    count = len(first)
    if count <= FEWEST_MODELS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=REPLICATES).astype(np.float64)
    low, high = np.nanquantile(rank_correlation(first, second, times), (0.025, 0.975))
    return {"models": count, "rho": float(rank_correlation(first, second)[0]), "low": low, "high": high}


def _is_robust(zoo: Zoo) -> Bools:
    of_model = np.array([value is True for value in zoo.dataset.models["robust"].to_pylist()])
    found: Bools = of_model[zoo.layers.model]
    return found


def _choices(zoo: Zoo) -> dict[str, Bools]:
    """Name -> layers to compare: everything, each training set, first layers and depths of each."""
    layers, chosen = zoo.layers, in_pairs(zoo)
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
    robust = _is_robust(zoo)
    grouping = Grouping("robust", np.where(rows, robust.astype(np.int64), -1), NAMES)
    cells = cells_of(zoo.layers, zoo.coefficients, grouping)
    if len(cells.labels) < 2:
        return dict.fromkeys(("pairs", "drift", "low", "high", "null_mean", "p"))
    matrix = drift_matrix(_as_pairs(zoo, cells))
    keys = {"drift": matrix.drift, "low": matrix.low, "high": matrix.high, "null_mean": matrix.null, "p": matrix.p}
    return {"pairs": int(matrix.models.min())} | {key: float(values[0, 1]) for key, values in keys.items()}


def _as_pairs(zoo: Zoo, cells: Cells) -> Cells:
    """The same cells with the pair in the model's place: pairs are drawn, and labels exchanged within them."""
    pairs = zoo.dataset.models["pair_id"].to_pylist()
    _, place = np.unique([pairs[model] for model in cells.model], return_inverse=True)
    keys = cells.group * len(pairs) + place
    unique, inverse = np.unique(keys, return_inverse=True)
    summed = np.zeros((len(unique), cells.histogram.shape[1]))
    np.add.at(summed, inverse, cells.histogram)
    return Cells(
        cells.by, cells.labels, unique % len(pairs), unique // len(pairs), summed, cells.weights, cells.bin_width
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


def _correlation_answers(rows: list[dict[str, Any]]) -> list[Answer]:
    found = []
    for measure, published in papers.SPEARMAN.items():
        ours = [row for row in rows if row["accuracy"] == "robust_accuracy" and row["measure"] == measure]
        told = "; ".join(f"{row['training_dataset']} {shown(row['rho'])}" for row in ours)
        found.append(Answer(published, told or None))
    return found


def _padded(filters: list[list[float]], blank: Doubles) -> Doubles:
    padded: Doubles = np.array([*filters, *[blank] * (_GRID - len(filters))])
    return padded
