"""The figures of CNN Filter DB (arXiv:2203.15331) for this data set: basis, distributions and drift by group."""

from __future__ import annotations

from functools import partial

import numpy as np

from filterzoo.measures.dct import dct_basis
from filterzoo.measures.entropy import principal_components
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.cells import Cells, Grouping, by_depth, by_family, by_model_column, cells_of
from filterzoo_analysis.drift.uncertainty import DriftMatrix, drift_matrix
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, Section, interval, query_of, table_of
from filterzoo_analysis.filters.variants import Variant
from filterzoo_analysis.sections import confounding, drifts, each_model, phenotypes, quality, subsets
from filterzoo_analysis.sections.subsets import ratio_intervals
from filterzoo_analysis.zoo import Zoo

GROUPINGS = ("task", "visual_category", "depth", "training_dataset", "family")
_RIDGES = ("task", "visual_category", "depth")


def section(zoo: Zoo) -> Section:
    """All figures. Groupings with fewer than two groups are reported as missing."""
    title = "CNN Filter DB: what the filters look like"
    about = "The figures of 'CNN Filter DB: An Empirical Investigation of Trained Convolutional Filters' (CVPR 2022)."
    if not len(zoo.layers):
        return Section("cnn-filter-db", title, about, (), ("There is no 3x3 layer with statistics.",))
    named = [dct()] if zoo.coefficients.variant is Variant.FIXED else []
    exhibits, empty = [*named, basis(zoo), subsets.components(zoo), subsets.cumulative(zoo)], []
    matrices: dict[str, DriftMatrix] = {}
    missing = []
    for by in GROUPINGS:
        twin = _twin(zoo, by, [*matrices])
        if twin is not None:
            empty.append(
                f"{_spelled(by).capitalize()} divides these models as {_spelled(twin)} does: `drift_{twin}` is about "
                "both, and nothing here can tell which of the two it is."
            )
            continue
        cells = drifts.largest(cells_of(zoo.layers, zoo.coefficients, grouping(zoo, by)))
        if by in _RIDGES and cells.labels:
            exhibits.append(ridge(zoo, by))
        if len(cells.labels) < 2:
            missing.append(_spelled(by))
            continue
        matrices[by] = drift_matrix(cells)
        exhibits.append(_heat_map(zoo, by, matrices[by]))
    if missing:
        empty.append(f"No drift by {', '.join(missing)}: fewer than two groups are known.")
    if matrices:
        exhibits.append(drifts.boxes(matrices, query_of(zoo, "cnn_filter_db.drift_boxes"), _order_answer(matrices)))
    exhibits.append(confounding.coincidence(zoo))
    exhibits += [quality.by_depth(zoo), quality.degenerated(zoo), each_model.at_a_glance(zoo)]
    shapes = phenotypes.scatter(zoo)
    if shapes is None:
        empty.append("No scatter of the first two coefficients: `filters_sample` is empty.")
    else:
        exhibits.append(shapes)
    return Section("cnn-filter-db", title, about, tuple(exhibits), tuple(empty))


def grouping(zoo: Zoo, by: str) -> Grouping:
    """The groups of a grouping. by: one of GROUPINGS."""
    if by == "depth":
        return by_depth(zoo.layers)
    return by_family(zoo.layers) if by == "family" else by_model_column(zoo.layers, by)


def basis(zoo: Zoo) -> Exhibit:
    """Principal components of the scaled filters and their explained variance, with intervals over models."""
    every = np.ones(len(zoo.layers), bool)
    components = principal_components(zoo.coefficients.moments(every))
    vectors = np.zeros((9, 9)) if components is None else components.components
    ratio = np.zeros(9) if components is None else components.ratio
    low, high = ratio_intervals(zoo, every, ratio)
    titles = [f"v{i}  {share:.1%}" for i, share in enumerate(ratio)]
    columns = {f"v{j}": vectors[:, j] for j in range(9)}
    summary = ", ".join(interval(*each) for each in zip(ratio, low, high, strict=True))
    ours = " ".join(f"{share:.5f}"[1:] if share < 1 else "1.0" for share in ratio)
    return Exhibit(
        name="pca_basis",
        title="Principal components of all scaled 3x3 filters",
        summary=f"Explained variance ratio of the nine components: {summary}.",
        table=table_of({"component": np.arange(9), "ratio": ratio, "low": low, "high": high, **columns}),
        query=query_of(zoo, "cnn_filter_db.basis"),
        draw=partial(figures.kernels, filters=vectors, titles=titles, columns=9),
        size=(WIDE, 1.9),
        notes=(f"Of the filters of variant {zoo.coefficients.variant}.",),
        answers=(Answer(papers.EVR, ours),),
    )


def dct() -> Exhibit:
    """The fixed basis, whose coefficients d0 to d8 define the ridge plots and the drift."""
    vectors = dct_basis()
    table = table_of({"component": [f"d{i}" for i in range(9)], **{f"v{j}": vectors[:, j] for j in range(9)}})
    return Exhibit(
        name="dct_basis",
        title="The fixed basis: discrete cosine transform of 3x3",
        summary=(
            "d0 is the mean of a filter, d1 to d8 its variation across and down; their coefficients are what drift and "
            "the distributions below compare."
        ),
        table=table,
        query="from filterzoo_analysis.sections import cnn_filter_db\n\ntable = cnn_filter_db.dct().table",
        draw=partial(figures.kernels, filters=vectors, titles=[f"d{i}" for i in range(9)], columns=9),
        size=(WIDE, 1.9),
        notes=("The same for every data set (docs/measures.md, 5).",),
    )


def ridge(zoo: Zoo, by: str) -> Exhibit:
    """Distributions of the coefficients by group."""
    cells = drifts.largest(cells_of(zoo.layers, zoo.coefficients, grouping(zoo, by)))
    title = f"Distributions of the coefficients by {_spelled(by)}"
    return drifts.ridge(zoo, cells, f"ridge_{by}", title, query_of(zoo, "cnn_filter_db.ridge", by=by))


def drift(zoo: Zoo, by: str) -> Exhibit:
    """Drift between groups."""
    return _heat_map(zoo, by, _matrix(zoo, by))


def drift_boxes(zoo: Zoo) -> Exhibit:
    """Box plots of the drift of every grouping."""
    matrices = {by: _matrix(zoo, by) for by in GROUPINGS}
    matrices = {by: matrix for by, matrix in matrices.items() if len(matrix.labels) > 1}
    return drifts.boxes(matrices, query_of(zoo, "cnn_filter_db.drift_boxes"), _order_answer(matrices))


def _cells(zoo: Zoo, by: str) -> Cells:
    return drifts.largest(cells_of(zoo.layers, zoo.coefficients, grouping(zoo, by)))


def _matrix(zoo: Zoo, by: str) -> DriftMatrix:
    return drift_matrix(_cells(zoo, by))


def _heat_map(zoo: Zoo, by: str, matrix: DriftMatrix) -> Exhibit:
    answers: tuple[Answer, ...] = ()
    if by in papers.DRIFT and len(matrix.upper):
        answers = (Answer(papers.DRIFT[by], f"{matrix.upper.mean():.3f}; {matrix.upper.max():.3f}"),)
    query = query_of(zoo, "cnn_filter_db.drift", by=by)
    more = None if by in _WITHIN else confounding.at_equal_architecture(zoo, by, matrix)
    notes = confounding.seed_note(zoo)
    if more is not None:
        known = sum(count > 0 for count in more["shared_architectures"])
        notes = (
            (
                f"At equal architecture (`drift_at_equal_architecture`): {counted(known, 'pair')} of groups "
                f"{'has' if known == 1 else 'have'} an architecture in common."
            ),
            *notes,
        )
    title = f"Drift by {_spelled(by)}"
    return drifts.heat_map(
        zoo, matrix, f"drift_{by}", title, query, answers=answers, more=more, notes=notes, in_order=by == "depth"
    )


_WITHIN = ("depth", "family")
"""Groupings that are not compared at equal architecture."""


def _twin(zoo: Zoo, by: str, others: list[str]) -> str | None:
    """The first of `others` that divides the models into the same groups; None if there is none."""
    if by == "depth":
        return None
    return next((each for each in others if each != "depth" and confounding.is_one_partition(zoo, each, by)), None)


def _order_answer(matrices: dict[str, DriftMatrix]) -> tuple[Answer, ...]:
    means = {by: matrix.upper.mean() for by, matrix in matrices.items() if by in papers.DRIFT}
    ordered = sorted(means, key=lambda by: -means[by])
    return (Answer(papers.ORDER, " > ".join(_spelled(by) for by in ordered) if len(ordered) > 1 else None),)


def _spelled(by: str) -> str:
    return {"depth": "relative depth", "family": "architecture family"}.get(by, by.replace("_", " "))
