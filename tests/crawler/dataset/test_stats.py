"""filterzoo.stats: what is merged from the table of layers is what the loaded filters give directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pytest
from tests.publish import work
from tests.publish.folders import publish_models
from tests.publish.work import Model, weights, zoo

import filterzoo
from filterzoo.dataset import scan
from filterzoo.dataset.merged import GroupStatistics
from filterzoo.errors import FilterZooError, StartError
from filterzoo.layers.normalise import layer_id
from filterzoo.measures.dct import DCT_BINS, dct_basis, dct_bins
from filterzoo.measures.drift import fixed_drift
from filterzoo.measures.entropy import principal_components, variance_entropy
from filterzoo.measures.measure import measure_weights
from filterzoo.measures.statistics import FilterStatistics, Moments

PUBLISHED = pc.field("filters_file").is_valid()


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """The zoo with real measures, and a network with sparse, zero and non-finite filters."""
    folder = tmp_path_factory.mktemp("stats")
    odd = weights(90, 40, 20, 3, 3)
    odd[:10] *= 1e-4
    odd[10] = 0
    odd[11, 0, 0, 0] = np.nan
    models = [*zoo(), Model("odd", {"odd": odd, "nothing": np.zeros((4, 4, 3, 3), np.float32)})]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "_measure", lambda layer: measure_weights(layer.weights, layer.groups or 1))
        publish_models(folder / "work", folder / "out", models)
    return folder / "out"


def moments(filters: np.ndarray) -> Moments:
    if not len(filters):
        return Moments.empty()
    centred = filters - filters.mean(axis=0)
    return Moments(len(filters), filters.mean(axis=0), centred.T @ centred)


def direct(out: Path, **query) -> FilterStatistics:
    """From the filters that `load` gives, in plain NumPy and float64."""
    filters, layers = filterzoo.load(str(out), return_layers=True, **query)
    flat = filters.reshape(-1, 9)
    pieces = np.split(flat, np.cumsum(layers["n_filters"].to_pylist())[:-1]) if len(layers) else []
    pieces = [piece[np.isfinite(piece).all(axis=1)] for piece in pieces]
    peaks = [np.abs(piece).max(axis=1) for piece in pieces]
    sparse = sum(int(np.sum(peak < peak.max() / 100)) if peak.max() else len(peak) for peak in peaks)
    raw = np.concatenate([*pieces, np.empty((0, 9), np.float32)])
    peak = np.abs(raw).max(axis=1, keepdims=True, initial=0)
    scaled = (raw / np.where(peak == 0, 1, peak)).astype(np.float64)
    bins = dct_bins(scaled @ dct_basis().T)
    raw = raw.astype(np.float64)
    histogram = np.array([np.bincount(column, minlength=DCT_BINS) for column in bins.T])
    return FilterStatistics(
        moments(raw), moments(scaled), histogram, sparse, np.abs(raw).sum(), np.sqrt((raw**2).sum())
    )


def assert_same_moments(found: Moments, expected: Moments, tolerance: float, peak: float) -> None:
    assert found.count == expected.count
    slack = expected.scatter + 1e-6 * expected.count * float(expected.mean @ expected.mean)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=tolerance * peak)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=0, atol=tolerance * slack)


def assert_same(found: GroupStatistics, expected: FilterStatistics) -> None:
    """Within the tolerances of docs/measures.md."""
    assert_same_moments(found.raw, expected.raw, 1e-9, 10)
    assert_same_moments(found.scaled, expected.scaled, 1e-7, 1)
    assert found.count == expected.n_finite
    assert found.statistics.sparse_count == expected.sparse_count
    assert found.sparsity == expected.sparsity
    assert found.histogram.sum(axis=1).tolist() == [expected.n_finite] * 9
    # A coefficient within float32 rounding of an edge may fall to either side of it.
    assert np.abs(found.histogram - expected.histogram).sum() <= 2 + expected.n_finite * 9e-5
    np.testing.assert_allclose(
        [found.statistics.l1_norm, found.statistics.l2_norm], [expected.l1_norm, expected.l2_norm], rtol=1e-6
    )
    if expected.n_finite < 2:
        assert (found.variance_entropy, found.principal_components) == (None, None)
        return
    np.testing.assert_allclose(found.variance_entropy, variance_entropy(expected.raw), rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        found.principal_components.ratio, principal_components(expected.scaled).ratio, rtol=0, atol=1e-6
    )


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"models": "pypi/a-net@1"},
        {"models": ["pypi/[ab]-*", "local/*"]},
        {"source": "local"},
        {"task": ["segmentation", "classification"]},
        {"layers": "s*"},
        {"layers": "nothing"},
        {"depth": (0, 0.5)},
        {"kind": "conv", "unique": True},
        {"models": "pypi/odd@1", "unique": True},
        {"where": pc.field("n_filters") > 30},
        {"models": "local/*", "task": "segmentation"},
    ],
)
@pytest.mark.filterwarnings("ignore:no layer fulfils")
def test_a_query_is_merged_to_what_its_filters_give(out, query):
    found = filterzoo.stats(str(out), **(query | {"where": query.get("where", PUBLISHED) & PUBLISHED}))
    assert_same(found, direct(out, **query))


def test_a_shared_layer_counts_for_each_model_unless_unique(out):
    body = zoo()[0].layers["body"]
    layer = layer_id(body)
    assert filterzoo.stats(str(out), layers=layer).count == 3 * 64
    once = filterzoo.stats(str(out), layers=layer, unique=True)
    assert (once.count, once.layers) == (64, 1)


def test_unpublished_weights_count_unless_they_are_excluded(out):
    assert filterzoo.stats(str(out), models="pypi/e-secret@1").count > 0
    with pytest.warns(filterzoo.EmptyQuery):
        assert filterzoo.stats(str(out), models="pypi/e-secret@1", where=PUBLISHED).count == 0


def test_groups_are_what_each_of_them_is_alone(out):
    groups = filterzoo.stats(str(out), by="task", where=PUBLISHED)
    assert [group.key["task"] for group in groups] == ["classification", "object-detection", "segmentation", None]
    assert sum(group.count for group in groups) == filterzoo.stats(str(out), where=PUBLISHED).count
    for task in ("classification", "object-detection", "segmentation"):
        assert_same(groups[task], direct(out, task=task))
    with pytest.raises(KeyError):
        groups["colouring"]


def test_several_columns_group_together(out):
    groups = filterzoo.stats(str(out), by=["source", "conv_depth"])
    assert groups["local", 0].key == {"source": "local", "conv_depth": 0}
    assert sum(group.layers for group in groups) == filterzoo.stats(str(out)).layers


def test_the_table_has_a_row_for_each_group(out):
    groups = filterzoo.stats(str(out), by="model_id")
    frame = groups.table().to_pandas()
    assert frame["model_id"].tolist() == [group.key["model_id"] for group in groups]
    assert frame["n_finite"].tolist() == [group.count for group in groups]
    assert [len(ratio) for ratio in frame["explained_variance_ratio"]] == [9] * len(groups)
    one = filterzoo.stats(str(out), models="pypi/a-net@1").table()
    layers = [row for row in groups.table().to_pylist() if row["model_id"] == "pypi/a-net@1"]
    assert one.to_pylist() == [{name: value for name, value in layers[0].items() if name != "model_id"}]
    with pytest.warns(filterzoo.EmptyQuery):
        nothing = filterzoo.stats(str(out), by="source", models="local/*", task="segmentation")
    assert nothing.table().num_rows == len(nothing.to_pandas()) == 0


def test_drift_between_groups_is_that_of_their_filters(out):
    groups = filterzoo.stats(str(out), by="task", where=PUBLISHED & pc.field("task").is_valid())
    expected = fixed_drift([direct(out, task=task) for task in ("classification", "object-detection", "segmentation")])
    np.testing.assert_allclose(groups.drift(), expected, rtol=1e-3)
    assert np.all(groups.drift()[~np.eye(3, dtype=bool)] > 0)


def test_no_file_of_filters_is_opened(out):
    import shutil

    copy = out.parent / "without-filters"
    shutil.copytree(out, copy)
    shutil.rmtree(copy / "data/filters")
    assert filterzoo.stats(str(copy)).table() == filterzoo.stats(str(out)).table()


@pytest.mark.parametrize("query", [{}, {"task": "face-detection"}])
@pytest.mark.filterwarnings("ignore:no layer fulfils")
def test_a_bar_follows_every_row_that_is_read_or_passed_over(out, monkeypatch, query):
    told = []
    monkeypatch.setattr(scan, "watched", lambda amounts, total, label: told.append((sum(amounts), total, label)))
    assert (filterzoo.stats(str(out), **query).layers > 0) == (not query)
    rows = pads.dataset(out / "data/layers").count_rows()
    assert set(told) == {(rows, rows, "reading layers")}


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(StartError, match="no such folder"):
        filterzoo.stats(str(tmp_path / "nothing"))
    with pytest.raises(FilterZooError, match="not a published data set"):
        filterzoo.stats(str(tmp_path))
