import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterzoo.measures.dct import DCT_BINS, dct_basis, dct_bins, dct_edges
from filterzoo.measures.drift import fixed_drift, symmetric_kl
from filterzoo.measures.entropy import (
    is_degenerated,
    principal_components,
    variance_entropy,
    variance_entropy_threshold,
)
from filterzoo.measures.statistics import (
    FilterStatistics,
    Moments,
    dct_variance,
    merge_moments,
    merge_statistics,
    pack,
    unpack,
)


def statistics_of(measure):
    """The statistics of one layer, unpacked; None for kernels other than 3x3, which have none."""
    if (
        measure.raw_mean is None
        or measure.raw_m2 is None
        or measure.scaled_mean is None
        or measure.scaled_m2 is None
        or measure.dct_histogram is None
    ):
        return None
    return FilterStatistics(
        raw=Moments.from_packed(measure.n_finite, measure.raw_mean, measure.raw_m2),
        scaled=Moments.from_packed(measure.n_finite, measure.scaled_mean, measure.scaled_m2),
        histogram=measure.dct_histogram.reshape(9, DCT_BINS).astype(np.int64),
        sparse_count=measure.sparse_count,
        l1_norm=measure.l1_norm,
        l2_norm=measure.l2_norm,
    )


def moments_of(filters):
    filters = filters.astype(np.float64)
    if not len(filters):
        return Moments.empty()
    centred = filters - filters.mean(axis=0)
    return Moments(len(filters), filters.mean(axis=0), centred.T @ centred)


def statistics(filters):
    """Straight from float64 filters, in plain NumPy."""
    peaks = np.abs(filters).max(axis=1, keepdims=True, initial=0)
    scaled = filters / np.where(peaks == 0, 1, peaks)
    bins = dct_bins(scaled @ dct_basis().T)
    return FilterStatistics(
        raw=moments_of(filters),
        scaled=moments_of(scaled),
        histogram=np.array([np.bincount(column, minlength=DCT_BINS) for column in bins.T]),
        sparse_count=int((peaks < 0.01).sum()),
        l1_norm=float(np.abs(filters).sum()),
        l2_norm=float(np.sqrt((filters**2).sum())),
    )


@st.composite
def partitions(draw):
    """Filters with a far-off mean at times, and the cuts of a partition, empty parts included."""
    count = draw(st.integers(3, 200))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    spread = rng.uniform(0.01, 1, 9) * draw(st.sampled_from([1e-20, 1.0, 1e20]))
    filters = rng.standard_normal((count, 9)) * spread + spread * draw(st.sampled_from([0, 1, 1000]))
    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=6)))
    parts = np.split(filters, cuts)
    return filters, draw(st.permutations(parts))


def assert_same_moments(merged, direct, peak):
    assert merged.count == direct.count
    slack = direct.scatter + 1e-6 * direct.count * float(direct.mean @ direct.mean)
    assert np.all(np.abs(merged.mean - direct.mean) <= 1e-9 * peak)
    assert np.all(np.abs(merged.m2 - direct.m2) <= 1e-9 * slack)


@settings(max_examples=150, deadline=None)
@given(partitions())
def test_merged_moments_are_those_of_all_filters_together(case):
    filters, parts = case
    direct, peak = moments_of(filters), np.abs(filters).max()
    pairwise = Moments.empty()
    for part in parts:
        pairwise = pairwise.merge(moments_of(part))
    at_once = merge_moments(
        [len(part) for part in parts],
        np.stack([moments_of(part).mean for part in parts]),
        np.stack([moments_of(part).m2 for part in parts]),
    )
    for merged in (pairwise, at_once):
        assert_same_moments(merged, direct, peak)
        assert variance_entropy(merged) == pytest.approx(variance_entropy(direct), abs=1e-9)
        assert np.allclose(principal_components(merged).ratio, principal_components(direct).ratio, rtol=0, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(partitions())
def test_merged_statistics_are_those_of_all_filters_together(case):
    filters, parts = case
    merged, direct = merge_statistics([statistics(part) for part in parts]), statistics(filters)
    assert np.array_equal(merged.histogram, direct.histogram)
    assert (merged.n_finite, merged.sparse_count) == (direct.n_finite, direct.sparse_count)
    assert merged.sparsity == direct.sparsity
    assert merged.l1_norm == pytest.approx(direct.l1_norm, rel=1e-12)
    assert merged.l2_norm == pytest.approx(direct.l2_norm, rel=1e-12)
    assert_same_moments(merged.scaled, direct.scaled, 1)


@settings(max_examples=30, deadline=None)
@given(partitions(), partitions())
def test_drift_of_merged_statistics_is_that_of_all_filters(first, second):
    sets = [merge_statistics([statistics(part) for part in parts]) for _, parts in (first, second)]
    direct = [statistics(filters) for filters, _ in (first, second)]
    assert np.allclose(fixed_drift(sets), fixed_drift(direct), rtol=1e-12, atol=0)


def test_equal_parts_in_equal_order_give_equal_bytes():
    parts = [statistics(np.random.default_rng(seed).standard_normal((50, 9))) for seed in range(20)]
    first, second = merge_statistics(parts), merge_statistics(parts)
    assert first.raw.m2.tobytes() == second.raw.m2.tobytes()
    assert first.scaled.mean.tobytes() == second.scaled.mean.tobytes()


def test_nothing_cannot_be_merged_but_empty_layers_can():
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_statistics([])
    merged = merge_statistics([statistics(np.zeros((0, 9)))] * 2)
    assert (merged.n_finite, merged.sparsity, merged.l2_norm) == (0, None, 0.0)
    assert principal_components(merged.raw) is variance_entropy(merged.raw) is dct_variance(merged.raw) is None  # type: ignore[comparison-overlap]  # mypy narrows what a call has changed


def test_packing_keeps_the_upper_triangle_row_by_row():
    m2 = np.arange(81.0).reshape(9, 9)
    assert pack(m2)[:10].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]
    assert pack(m2)[-3:].tolist() == [70, 71, 80]
    symmetric = m2 + m2.T
    assert np.array_equal(unpack(pack(symmetric)), symmetric)
    assert np.array_equal(unpack(pack(np.stack([symmetric, 2 * symmetric])))[1], 2 * symmetric)


def test_statistics_of_a_measured_layer_are_its_columns_unpacked():
    from filterzoo.measures.measure import measure_weights

    weights = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype(np.float32)
    measured = statistics_of(measure_weights(weights))
    direct = statistics(weights.reshape(-1, 9).astype(np.float64))
    assert_same_moments(measured.raw, direct.raw, np.abs(weights).max())
    assert np.array_equal(measured.raw.packed, pack(measured.raw.m2))
    assert np.array_equal(measured.histogram, direct.histogram)
    assert statistics_of(measure_weights(weights[..., :1])) is None


def test_the_basis_is_orthonormal_and_starts_with_mean_and_gradients():
    basis = dct_basis()
    assert np.allclose(basis @ basis.T, np.eye(9), atol=1e-15)
    assert np.allclose(basis[0], 1 / 3)
    rows, columns = np.indices((3, 3))
    left_to_right = basis[1].reshape(3, 3)
    assert np.allclose(left_to_right, (1 - columns) / math.sqrt(6))
    assert np.allclose(basis[3].reshape(3, 3), (1 - rows) / math.sqrt(6))


def test_bins_are_closed_below_snapped_at_zero_and_clipped_at_the_ends():
    edges = dct_edges()
    assert len(edges) == DCT_BINS + 1
    assert (edges[0], edges[35], edges[70]) == (-3.0, 0.0, 3.0)
    middles = (edges[:-1] + edges[1:]) / 2
    assert dct_bins(middles).tolist() == list(range(DCT_BINS))
    assert dct_bins(np.array([0.0, -1e-16, 1e-16, -0.0])).tolist() == [35] * 4
    assert dct_bins(np.array([-1 / 2**18, 3.0, 3.0 + 9e-16, -3.0 - 9e-16])).tolist() == [34, 69, 69, 0]


def test_variance_in_the_fixed_basis_is_that_of_the_coefficients():
    filters = np.random.default_rng(1).standard_normal((100, 9)) + 5
    expected = (filters @ dct_basis().T).var(axis=0, ddof=1)
    assert np.allclose(dct_variance(moments_of(filters)), expected, rtol=1e-12)


def test_principal_components_are_those_of_an_svd_with_positive_largest_entries():
    filters = np.random.default_rng(2).standard_normal((500, 9)) * np.arange(1, 10) + 3
    pca = principal_components(moments_of(filters))
    _, singular, directions = np.linalg.svd(filters - filters.mean(axis=0), full_matrices=False)
    assert np.allclose(pca.variance, singular**2 / 499, rtol=1e-10)
    assert pca.ratio.sum() == pytest.approx(1, abs=1e-12)
    assert np.allclose(np.abs((pca.components * directions).sum(axis=1)), 1, atol=1e-8)
    assert np.all(pca.components[np.arange(9), np.abs(pca.components).argmax(axis=1)] > 0)
    assert np.allclose(pca.mean, filters.mean(axis=0))


def test_filters_without_variance_have_no_entropy_and_no_shares():
    constant = moments_of(np.full((10, 9), 0.1))
    assert variance_entropy(constant) == 0.0
    assert principal_components(Moments(10, np.ones(9), np.zeros((9, 9)))).ratio.tolist() == [0.0] * 9
    line = moments_of(np.outer(np.arange(10.0), np.arange(9.0)))
    assert variance_entropy(line) == pytest.approx(0, abs=1e-12)


def test_variance_is_distinguished_from_rounding_of_a_large_mean():
    mean = np.ones(9)
    assert variance_entropy(Moments(100, mean, np.eye(9) * 1e-20)) == pytest.approx(math.log10(9), abs=1e-12)
    assert variance_entropy(Moments(100, mean, np.eye(9) * 1e-23)) == 0.0


def test_entropy_is_greatest_for_equal_variances():
    assert variance_entropy(Moments(2, np.zeros(9), np.eye(9) * 3)) == pytest.approx(math.log10(9), abs=1e-15)
    halves = Moments(2, np.zeros(9), np.diag([1.0, 1, 0, 0, 0, 0, 0, 0, 0]))
    assert variance_entropy(halves) == pytest.approx(math.log10(2), abs=1e-15)


@pytest.mark.parametrize(
    ("n", "expected"), [(4, 0.2357), (9, 0.5515), (16, 0.7221), (64, 0.9056), (256, 0.9433), (4096, 0.9511)]
)
def test_entropy_thresholds_are_the_published_ones(n, expected):
    assert variance_entropy_threshold(n) == pytest.approx(expected, abs=5e-5)


def test_entropy_threshold_is_undefined_where_it_would_be_negative():
    assert [variance_entropy_threshold(n) for n in (0, 1, 2)] == [None, None, None]
    assert variance_entropy_threshold(3) > 0


@pytest.mark.parametrize(
    ("entropy", "threshold", "sparsity", "expected"),
    [
        (0.93, 0.95, 0.0, True),
        (0.92, 0.95, 0.9, False),
        (0.49, 0.95, 0.14, True),
        (0.5, 0.95, 0.14, False),
        (0.49, 0.95, 0.13, False),
        (None, 0.95, 0.5, None),
        (0.5, None, 0.5, None),
    ],
)
def test_degenerated_layers_are_random_or_collapsed_and_sparse(entropy, threshold, sparsity, expected):
    assert is_degenerated(entropy, threshold, sparsity) is expected


def test_drift_is_zero_on_itself_symmetric_and_grows_with_the_shift():
    rng = np.random.default_rng(3)
    sets = [statistics(rng.standard_normal((400, 9)) + shift) for shift in (0, 0, 1, 5)]
    drift = fixed_drift([*sets, sets[0]])
    assert drift[0, 4] == 0.0
    assert np.array_equal(drift, drift.T)
    assert not drift.diagonal().any()
    assert 0 < drift[0, 1] < drift[0, 2] < drift[0, 3]
    assert fixed_drift([sets[0]]).tolist() == [[0.0]]


def test_drift_follows_its_formula():
    rng = np.random.default_rng(4)
    first, second = statistics(rng.standard_normal((300, 9))), statistics(rng.random((200, 9)))
    variance = dct_variance(merge_statistics([first, second]).scaled)
    total = 0.0
    for weight, a, b in zip(variance / variance.sum(), first.histogram, second.histogram, strict=True):
        p = [count / (300 * 6 / 70) or 2**-23 for count in a]
        q = [count / (200 * 6 / 70) or 2**-23 for count in b]
        p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
        total += weight * sum(x * math.log(x / y) + y * math.log(y / x) for x, y in zip(p, q, strict=True))
    assert fixed_drift([first, second])[0, 1] == pytest.approx(total, rel=1e-12)


def test_drift_of_filters_without_variance_is_zero_and_of_no_filters_an_error():
    zeros = statistics(np.zeros((5, 9)))
    assert not fixed_drift([zeros, zeros]).any()
    with pytest.raises(ValueError, match="without filters"):
        fixed_drift([zeros, statistics(np.zeros((0, 9)))])
    with pytest.raises(ValueError, match="without filters"):
        symmetric_kl(np.zeros(70, int), np.ones(70, int), 0.1)
