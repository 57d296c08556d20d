"""The figures of 'Adversarial Robustness through the Lens of Convolutional Filters' (arXiv:2204.02481)."""

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
from filterzoo_analysis.drift.cells import Grouping, cells_of
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, HOLLOW
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, Section, interval, query_of, table_of
from filterzoo_analysis.sections import drifts, pairs
from filterzoo_analysis.sections.robust import accuracy, thresholding
from filterzoo_analysis.sections.robust import drift as robust_drift
from filterzoo_analysis.sections.robust import measures as robust_measures
from filterzoo_analysis.sections.robust.drift import NAMES
from filterzoo_analysis.sections.subsets import ratio_intervals
from filterzoo_analysis.zoo import Zoo

_GRID = 24
"""Number of filters drawn of a layer."""


def section(zoo: Zoo) -> Section:
    """All comparisons for which pairs or accuracies are known."""
    title = "Robustness lens: robust against normal"
    about = "The figures of 'Adversarial Robustness through the Lens of Convolutional Filters' (CVPR-W 2022)."
    exhibits: list[Exhibit] = []
    empty: list[str] = []
    paired = pairs.in_pairs(zoo)
    if paired.any():
        exhibits += [robust_drift.drift(zoo), pairs.each_pair(zoo), explained_variance(zoo)]
        exhibits += [robust_measures.measures(zoo), robust_measures.differences(zoo), robust_ridge(zoo)]
        found = (accuracy.accuracies(zoo), accuracy.extra_data(zoo))
        exhibits += [each for each in found if each is not None]
        grids = [first_and_last(zoo, name) for name in pairs_drawn(zoo)]
        exhibits += [each for each in grids if each is not None]
        known = pairs.names(zoo)
        empty += [f"No grid of `{name}`: no such pair." for name in zoo.grids if name not in {"all", *known}]
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


def robust_ridge(zoo: Zoo) -> Exhibit:
    """Distributions of the coefficients by training set, separately for normal and robust members of pairs."""
    robust = pairs.is_robust(zoo).astype(np.int64)
    sets = pairs.training_sets(zoo) or {"pairs": pairs.in_pairs(zoo)}
    group, labels = np.full(len(zoo.layers), -1), []
    for number, (name, rows) in enumerate(sets.items()):
        group = np.where(rows, 2 * number + robust, group)
        labels += [f"{name} {kind}" for kind in NAMES]
    cells = cells_of(zoo.layers, zoo.coefficients, Grouping("training set and robustness", group, tuple(labels)))
    title = "Distributions of the coefficients by training set and robustness"
    return drifts.ridge(zoo, cells, "ridge_dataset_robust", title, query_of(zoo, "robustness.robust_ridge"))


def explained_variance(zoo: Zoo) -> Exhibit:
    """Explained variance ratio of robust and of normal members, and the share of sparse filters."""
    chosen, robust = pairs.in_pairs(zoo), pairs.is_robust(zoo)
    series: dict[str, Doubles] = {}
    sparse = {}
    for name, wanted in zip(NAMES, (chosen & ~robust, chosen & robust), strict=True):
        components = principal_components(zoo.coefficients.moments(wanted))
        ratio = np.zeros(FILTER_SIZE) if components is None else components.ratio
        series[name] = np.stack([ratio, *ratio_intervals(zoo, wanted, ratio)])
        known = wanted & np.isfinite(zoo.coefficients.sparse)
        sparse[name] = zoo.coefficients.sparse[known].sum() / max(1, zoo.layers.count[known].sum())
    summary = "; ".join(
        f"{name}: " + ", ".join(interval(*each) for each in ratios.T) for name, ratios in series.items()
    )
    first = {name: " ".join(f"{share:.3f}"[1:] for share in ratios[0, :3]) for name, ratios in series.items()}
    columns = {
        f"{name}{end}": values
        for name, ratios in series.items()
        for end, values in zip(("", "_low", "_high"), ratios, strict=True)
    }
    return Exhibit(
        name="robust_explained_variance",
        title="Explained variance of robust and normal networks",
        summary=f"{summary}. Sparse filters: "
        + ", ".join(f"{name} {share:.1%}" for name, share in sparse.items())
        + ".",
        table=table_of({"component": np.arange(FILTER_SIZE), **columns}),
        query=query_of(zoo, "robustness.explained_variance"),
        draw=partial(
            figures.lines,
            ticks=[f"v{i}" for i in range(FILTER_SIZE)],
            series=series,
            label="explained variance ratio",
            along="component",
        ),
        size=(WIDE, 3.6),
        notes=(
            f"Of the filters of variant {zoo.coefficients.variant}; robust22 leaves sparse ones out, as the paper.",
            f"Intervals draw the models of each set again. {HOLLOW}",
        ),
        answers=(
            Answer(papers.ROBUST_EVR, f"{first['robust']}; {first['normal']}"),
            Answer(papers.SPARSE_SHARE, f"{sparse['robust']:.4f}; {sparse['normal']:.4f}"),
        ),
    )


def pairs_drawn(zoo: Zoo) -> list[str]:
    """The pairs whose grids are requested; by default the first pair."""
    known = pairs.names(zoo)
    if "all" in zoo.grids:
        return known
    return [name for name in zoo.grids if name in known] if zoo.grids else known[:1]


def first_and_last(zoo: Zoo, pair: str | None = None) -> Exhibit | None:
    """Filters of the first and the last 3x3 layer of a pair, from `filters_sample`; None if it has none of them.

    pair: None for the first pair.
    """
    sample = zoo.sample()
    if not len(sample):
        return None
    layers, chosen, robust = zoo.layers, pairs.in_pairs(zoo), pairs.is_robust(zoo)
    names = zoo.dataset.models["pair_id"].to_pylist()
    known = pairs.names(zoo)
    name = known[0] if pair is None else pair
    number = known.index(name)
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
    columns = max(counts.values())
    drawn = np.concatenate(
        [_padded([row["weights"] for row in rows if (row["network"], row["layer"]) == key], columns) for key in counts]
    )
    titles = [f"{key[0]}, {key[1]}" if i == 0 else "" for key in counts for i in range(columns)]
    return Exhibit(
        name="robust_filters" if number == 0 else f"robust_filters_{number + 1}",
        title=f"First and last 3x3 layer of the pair {figures.short(name, 60)}",
        summary="Sampled filters: "
        + ", ".join(f"{kind} {layer} {count}" for (kind, layer), count in counts.items())
        + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robustness.first_and_last", pair=name),
        draw=partial(figures.kernels, filters=drawn, titles=titles, columns=columns),
        size=(WIDE, 0.35 + 10.5 / columns * len(counts)),
        notes=("Rows: " + ", ".join(f"{kind} {layer}" for kind, layer in counts) + ". Each filter on its own scale.",),
    )


def _padded(filters: list[list[float]], columns: int) -> Doubles:
    padded: Doubles = np.array([*filters, *[np.full(9, np.nan)] * (columns - len(filters))])
    return padded
