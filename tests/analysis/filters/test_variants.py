from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from tests.analysis import synthetic

from filterzoo.dataset import batches
from filterzoo.errors import StartError
from filterzoo.measures.entropy import PrincipalComponents
from filterzoo_analysis.drift.cells import by_model_column, cells_of
from filterzoo_analysis.drift.uncertainty import drift_matrix
from filterzoo_analysis.filters import passes, projection
from filterzoo_analysis.filters.variants import Variant, coefficients
from filterzoo_analysis.tables import dataset
from filterzoo_analysis.tables.statistics import layers_of


def zoo(rng: np.random.Generator) -> list[synthetic.Model]:
    """Three tasks with drift between them; a layer that two models share, sparse filters, filters of zeros."""
    models = [
        synthetic.random_model(f"{task}-{number}", rng, shift=shift, task=task)
        for task, shift in (("a", 0.0), ("b", 0.3), ("c", -0.5))
        for number in range(3)
    ]
    sparse = rng.normal(size=(40, 30, 3, 3)).astype(np.float32)
    sparse[::3] *= 1e-4
    sparse[::7] = 0
    models[0].layers.append(sparse)
    models[4].layers.append(sparse)
    models[5].layers.append((rng.normal(size=(300, 200, 3, 3)) * 1e-3).astype(np.float32))
    return models


def filters_by_task(models: list[synthetic.Model]) -> dict[str, list[np.ndarray]]:
    found: dict[str, list[np.ndarray]] = {}
    for model in models:
        found.setdefault(model.facts["task"], []).extend(layer.reshape(-1, 9) for layer in model.layers)
    return found


def scaled(filters: np.ndarray) -> np.ndarray:
    peaks = np.abs(filters).max(axis=1, keepdims=True)
    return filters / np.where(peaks == 0, np.float32(1), peaks)


def reference(variant: Variant, tasks: dict[str, list[np.ndarray]]) -> np.ndarray:
    """docs/measures.md, 5 by plain NumPy and scikit-learn, all filters at once."""
    from sklearn.decomposition import PCA

    if variant is Variant.CVPR22:
        sets = [scaled(np.concatenate(layers).astype(np.float16).astype(np.float32)) for layers in tasks.values()]
    else:
        sets = [scaled(np.concatenate(layers)) for layers in tasks.values()]
    used = sets
    if variant is Variant.ROBUST22:
        used = [np.concatenate([scaled(not_sparse(layer)) for layer in layers]) for layers in tasks.values()]
    pca = PCA(9, svd_solver="full").fit(np.concatenate(used).astype(np.float64))
    every = pca.transform(np.concatenate(sets).astype(np.float64))
    low, high = every.min(), every.max()
    projected = [pca.transform(part.astype(np.float64)) for part in used]
    weights = pca.explained_variance_ratio_
    if variant is Variant.MEDICAL22:
        low, high, weights = -3.0, 3.0, np.full(9, 1 / 9)
    matrix = np.zeros((len(used), len(used)))
    for row, first in enumerate(projected):
        for column, second in enumerate(projected):
            matrix[row, column] = sum(
                weight * _symmetric(first[:, axis], second[:, axis], low, high) for axis, weight in enumerate(weights)
            )
    return matrix


def not_sparse(layer: np.ndarray) -> np.ndarray:
    return layer[np.abs(layer).max(axis=1).astype(float) > np.abs(layer).max().astype(float) / 100]


def _symmetric(first: np.ndarray, second: np.ndarray, low: float, high: float) -> float:
    p, q = (np.histogram(values, bins=70, range=(low, high), density=True)[0] for values in (first, second))
    p[p == 0], q[q == 0] = np.finfo(np.float32).eps, np.finfo(np.float32).eps
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("variant", [Variant.CVPR22, Variant.ROBUST22, Variant.MEDICAL22])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_variant_equals_numpy_and_scikit_learn(tmp_path, variant, seed):
    models = zoo(np.random.default_rng(seed))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models, group_filters=4000)))
    layers = layers_of(read)
    measured = coefficients(variant, layers, read.files)
    matrix = drift_matrix(cells_of(layers, measured, by_model_column(layers, "task")), replicates=10).drift
    expected = reference(variant, filters_by_task(models))
    # Signs of components and coefficients within rounding of an edge may move single counts, no more.
    np.testing.assert_allclose(matrix, expected, rtol=2e-4, atol=1e-6)


def test_coefficients_are_counted_as_numpy_counts_them(tmp_path):
    models = zoo(np.random.default_rng(3))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models)))
    layers = layers_of(read)
    measured = coefficients(Variant.MEDICAL22, layers, read.files)
    everything = [layer.reshape(-1, 9) for model in sorted(models, key=lambda m: m.model_id) for layer in model.layers]
    assert measured.histogram[:, 0].sum(axis=1).tolist() == [len(layer) for layer in everything]
    for row, layer in enumerate(everything):
        projected = (scaled(layer).astype(np.float64) - measured.mean) @ measured.basis.T
        expected = [np.histogram(column, bins=measured.edges)[0] for column in projected.T]
        near = (np.abs(projected[..., None] - measured.edges) < 2e-6).any(axis=-1).sum()
        assert np.abs(np.cumsum(measured.histogram[row].astype(int) - expected, axis=1)).max() <= near


def test_the_range_is_found_among_few_kept_filters(tmp_path, monkeypatch):
    """A thousand filters are kept of 100,000: the range is proved from them, or found by a pass of its own."""
    models = zoo(np.random.default_rng(4))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models)))
    layers = layers_of(read)
    whole = coefficients(Variant.CVPR22, layers, read.files)
    monkeypatch.setattr(projection.Extremes.__init__, "__defaults__", (500,))
    thin = coefficients(Variant.CVPR22, layers, read.files)
    np.testing.assert_allclose(thin.edges, whole.edges, rtol=1e-12)
    assert (thin.histogram == whole.histogram).all()


@pytest.mark.parametrize("precision", projection.Precision)
def test_the_pass_for_the_range_finds_what_numpy_finds(precision):
    from sklearn.decomposition import PCA

    filters = np.random.default_rng(7).normal(size=(20_000, 9)).astype(np.float32)
    filters[[5, 19_000], [2, 3]] = np.nan, -np.inf
    filters[7] = 0
    kept = filters[np.isfinite(filters).all(axis=1)]
    if precision is projection.Precision.HALF:
        kept = kept.astype(np.float16).astype(np.float32)
    pca = PCA(9, svd_solver="full").fit(scaled(kept).astype(np.float64))
    components = PrincipalComponents(pca.mean_, pca.components_, pca.explained_variance_, pca.explained_variance_ratio_)
    expected = pca.transform(scaled(kept).astype(np.float64))
    found = projection.extent_of([filters[:300], filters[300:]], precision, components)
    assert found == pytest.approx((expected.min(), expected.max()), rel=1e-12)
    assert projection.extent_of([filters[5:6]], precision, components) == (np.inf, -np.inf)


@pytest.mark.parametrize("variant", [Variant.CVPR22, Variant.ROBUST22])
def test_filters_that_are_kept_between_passes_give_what_decoding_them_again_gives(tmp_path, monkeypatch, variant):
    models = zoo(np.random.default_rng(10))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models, group_filters=4000)))
    layers = layers_of(read)
    decoded: list[str] = []

    def counted(files, path, footer, group, columns):
        decoded.append(f"{path} {group}")
        return batches.batches(files, path, footer, group, columns)

    monkeypatch.setattr(passes, "batches", counted)
    found, reads = [], []
    for keep in (0, 9 * 4 * 10_000, 1 << 30):
        decoded.clear()
        found.append(coefficients(variant, layers, read.files, keep=keep))
        reads.append(len(decoded))
    everything = len(set(decoded))
    assert reads[0] == 2 * everything > reads[1] > reads[2] == everything
    for other in found[1:]:
        assert (other.histogram == found[0].histogram).all()
        assert (other.edges == found[0].edges).all()


def test_entropy_of_robust22_is_that_of_scaled_non_sparse_filters(tmp_path):
    from sklearn.decomposition import PCA

    models = zoo(np.random.default_rng(5))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models)))
    layers = layers_of(read)
    entropy = coefficients(Variant.ROBUST22, layers, read.files).entropy
    everything = [layer.reshape(-1, 9) for model in sorted(models, key=lambda m: m.model_id) for layer in model.layers]
    for layer, found in zip(everything, entropy, strict=True):
        clean = scaled(layer[np.abs(layer).max(axis=1) > np.abs(layer).max() / 100]).astype(np.float64)
        shares = PCA(9).fit(clean).explained_variance_ratio_
        assert found == pytest.approx(-(shares * np.log10(shares)).sum(), abs=1e-6)


def test_non_finite_filters_are_left_out(tmp_path):
    rng = np.random.default_rng(6)
    broken = synthetic.random_model("broken", rng)
    broken.layers[0][0, 0, 1, 1] = np.nan
    broken.layers[0][0, 1, 1, 1] = np.inf
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", [broken])))
    layers = layers_of(read)
    for variant in (Variant.CVPR22, Variant.ROBUST22, Variant.MEDICAL22):
        assert coefficients(variant, layers, read.files).histogram[0, 0].sum() == 62


def test_a_variant_that_reads_filters_says_so_where_there_are_none():
    layers = layers_of(synthetic.dataset([synthetic.random_model("only", np.random.default_rng(0))]))
    with pytest.raises(StartError, match="reads filters"):
        coefficients(Variant.CVPR22, layers, None)


@pytest.mark.parametrize("variant", [Variant.CVPR22, Variant.ROBUST22, Variant.MEDICAL22])
def test_a_layer_that_is_decoded_in_parts_gives_what_it_gives_in_one(tmp_path, monkeypatch, variant):
    """Parts begin within layers; the largest number, which says what is sparse, is behind one that is not finite."""
    rng = np.random.default_rng(8)
    models = zoo(rng)
    large = rng.normal(size=(500, 300, 3, 3)).astype(np.float32)
    large[::3] *= 0.02
    large[250, 0, 1, 1], large[499, 299, 2, 2] = np.nan, 40
    models.append(synthetic.Model("large", [large], {"task": "a"}))
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", models, group_filters=50_000)))
    layers = layers_of(read)
    found = []
    for numbers in (9 * 4096, 10**9):
        monkeypatch.setattr(batches, "_NUMBERS", numbers)
        found.append(coefficients(variant, layers, read.files))
    parts, whole = found
    np.testing.assert_allclose(parts.edges, whole.edges, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-11)
    np.testing.assert_allclose(parts.entropy, whole.entropy, rtol=1e-10)
    # The bases differ by the order of sums; a float32 coefficient at an edge may follow.
    assert np.abs(np.cumsum(parts.histogram.astype(int) - whole.histogram, axis=2)).max() <= 2
    assert parts.histogram.sum() == whole.histogram.sum()


@pytest.mark.parametrize(
    ("column", "wrong"),
    [("filters_first_row", 1), ("filters_rows", 2), ("filters_first_row", 10_000), ("n_filters", 5)],
)
def test_filters_that_are_not_where_the_layers_say_are_refused(tmp_path, column, wrong):
    rng = np.random.default_rng(9)
    read = dataset.read(str(synthetic.publish(tmp_path / "zoo", [synthetic.random_model("m", rng, depth=2)])))
    table = read.layers
    place = table.schema.get_field_index(column)
    values = [wrong, *table[column].to_pylist()[1:]]
    table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    with pytest.raises(StartError, match="run filterzoo verify"):
        coefficients(Variant.CVPR22, layers_of(replace(read, layers=table)), read.files)
