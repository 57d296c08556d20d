import itertools
import math
import warnings
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.crawler.measures import measure_reference as reference

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.layers.layer import Layer
from filterzoo.measures.dct import dct_bins
from filterzoo.measures.measure import Measurer, measure_weights
from filterzoo.measures.on_torch import measure as torch_measure
from filterzoo.measures.orthogonality import orthogonality
from filterzoo.measures.statistics import unpack
from filterzoo.records import Context, Kind

KERNELS = [(3, 3), (3, 3), (3, 3), (1, 1), (5, 5), (3,), (3, 3, 3), (1, 7)]
SPECIALS = [0.0, -0.0, 1.0, -1.0, 0.01, 1e-45, -1e-42, 1e-38, 3e38, -3.4028235e38, 1e-20]
BROKEN = [math.nan, math.inf, -math.inf]


@st.composite
def layers(draw, kernels=KERNELS):
    """A layer of any kind, with a few numbers replaced by zeros, denormals, enormous numbers, NaN or Inf."""
    groups = draw(st.integers(1, 4))
    shape = (groups * draw(st.integers(1, 5)), draw(st.integers(1, 6)), *draw(st.sampled_from(kernels)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.0, 1e-44, 1e-30, 0.05, 1.0, 1e37]))
    offset = draw(st.sampled_from([0.0, 0.0, 1.0, 20.0]))
    weights = (rng.standard_normal(shape) * scale + offset * scale).astype(np.float32)
    for value in draw(st.lists(st.sampled_from(SPECIALS + BROKEN), max_size=3)):
        weights[tuple(rng.integers(shape))] = value
    for row in draw(st.lists(st.integers(0, shape[0] - 1), max_size=2)):
        weights[row] = draw(st.sampled_from([0.0, 0.5]))
    return weights, groups


def check_moments(mean, m2, filters, tolerance):
    """The bounds of docs/measures.md; filters: float32, raw or scaled."""
    expected_mean, expected_m2 = reference.moments(filters)
    peak = float(np.abs(filters).max(initial=0))
    assert np.all(np.abs(mean - expected_mean) <= tolerance * peak)
    slack = np.trace(expected_m2) + 1e-6 * len(filters) * float(expected_mean @ expected_mean)
    assert np.all(np.abs(unpack(m2) - expected_m2) <= tolerance * slack)


def check_histogram(histogram, coefficients):
    """Exact but for the coefficients within 2e-6 of an edge, which may lie on either side of it."""
    counts = histogram.reshape(9, 70).astype(int)
    assert np.all(counts.sum(axis=1) == len(coefficients))
    edges = np.arange(-35, 36) * 6 / 70
    for row, values in zip(counts, coefficients.T, strict=True):
        for index in range(1, 70):
            below = row[:index].sum()
            assert (values < edges[index] - 2e-6).sum() <= below <= (values < edges[index] + 2e-6).sum()
        assert row[35] >= (np.abs(values) < 1e-12).sum()


def check(measured, weights, groups):
    expected = reference.measure(weights, groups)
    for name in ("n_finite", "nan_count", "inf_count", "sparse_count", "sparsity"):
        assert getattr(measured, name) == expected[name], name
    assert measured.l1_norm == pytest.approx(expected["l1_norm"], rel=1e-6, abs=0)
    assert measured.l2_norm == pytest.approx(expected["l2_norm"], rel=1e-6, abs=0)
    assert measured.orthogonality == pytest.approx(expected["orthogonality"], abs=1e-5)
    if "variance_entropy" not in expected:
        assert measured.raw_mean is measured.raw_m2 is measured.scaled_mean is measured.scaled_m2 is None
        assert measured.dct_histogram is measured.variance_entropy is measured.variance_entropy_threshold is None
        return
    assert measured.variance_entropy == pytest.approx(expected["variance_entropy"], abs=1e-6)
    assert measured.variance_entropy_threshold == pytest.approx(expected["variance_entropy_threshold"], abs=1e-9)
    filters = reference.finite_filters(weights)
    check_moments(measured.raw_mean, measured.raw_m2, filters, 1e-9)
    check_moments(measured.scaled_mean, measured.scaled_m2, reference.scaled(filters), 1e-7)
    check_histogram(measured.dct_histogram, reference.coefficients(filters))


def equal_bytes(first, second):
    return all(
        (a.tobytes() == b.tobytes()) if isinstance(a, np.ndarray) else a == b
        for a, b in zip(asdict(first).values(), asdict(second).values(), strict=True)
    )


def random_layer(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(layers())
def test_every_measure_is_within_tolerance_of_the_reference(case):
    weights, groups = case
    check(measure_weights(weights, groups), weights, groups)


@settings(max_examples=60, deadline=None)
@given(layers())
def test_no_measure_is_ever_nan_or_infinite(case):
    for value in asdict(measure_weights(*case)).values():
        assert value is None or np.all(np.isfinite(value))


@settings(max_examples=60, deadline=None)
@given(layers(), st.one_of(st.none(), st.integers(1, 9 * 20)))
def test_what_runs_on_gpus_is_within_the_same_tolerance(case, numbers):
    weights, groups = case
    check(torch_measure.measure_weights(weights, groups, device="cpu", block_numbers=numbers), weights, groups)


def test_a_layer_of_several_blocks_is_within_tolerance():
    weights = random_layer(150, 150, 3, 3) + np.float32(0.3)
    weights[:10, :20] *= 0.001
    measured = measure_weights(weights)
    filters = weights.reshape(-1, 9)
    check_moments(measured.raw_mean, measured.raw_m2, filters, 1e-9)
    check_moments(measured.scaled_mean, measured.scaled_m2, reference.scaled(filters), 1e-7)
    coefficients = reference.coefficients(filters)
    check_histogram(measured.dct_histogram, coefficients)
    binned = reference.bins(coefficients)
    assert np.array_equal(measured.dct_histogram.reshape(9, 70), [np.bincount(b, minlength=70) for b in binned.T])
    magnitudes = np.abs(filters).astype(np.float64)
    assert 0 < measured.sparse_count == int((magnitudes < magnitudes.max() / 100).all(axis=1).sum())


def test_bytes_are_equal_between_runs_and_wherever_the_weights_lie():
    weights = random_layer(96, 100, 3, 3)
    first = measure_weights(weights)
    for shift in range(1, 6):
        room = np.zeros(weights.size + 8, np.float32)
        moved = room[shift : shift + weights.size].reshape(weights.shape)
        moved[:] = weights
        assert equal_bytes(first, measure_weights(moved))


def test_weights_that_cannot_be_written_are_measured_without_a_warning():
    weights = random_layer(4, 4, 3, 3)
    frozen = np.frombuffer(weights.tobytes(), np.float32).reshape(weights.shape)
    assert equal_bytes(measure_weights(frozen), measure_weights(weights))


def test_every_sign_pattern_is_counted_where_exact_arithmetic_counts_it():
    patterns = np.array(list(itertools.product([-1, 0, 1], repeat=9)), np.float32)
    counts = measure_weights(patterns.reshape(-1, 1, 3, 3), len(patterns), Kind.DEPTHWISE).dct_histogram.reshape(9, 70)
    # The basis without its roots: integer products tell exact zeros from rounding.
    whole = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]])
    products = patterns.astype(int) @ np.kron(whole, whole).T
    lengths = np.kron([3, 2, 6], [3, 2, 6])
    for row, integers, length in zip(counts, products.T, lengths, strict=True):
        expected = np.bincount(reference.bins(integers / math.sqrt(length)), minlength=70)
        assert np.array_equal(row, expected)
        assert row[35] >= (integers == 0).sum() > 0
    assert counts[0, 69] == counts[0, 0] == 1  # only all ones reach +3, only all minus ones -3
    assert np.array_equal(dct_bins(products / np.sqrt(lengths)), reference.bins(products / np.sqrt(lengths)))


@pytest.mark.parametrize("peak", [1.0, 0.3, 1e-40, 3e38, 7e-45])
def test_the_sparsity_threshold_is_exact_to_the_last_bit(peak):
    peak = np.float32(peak)
    limit = float(peak) / 100
    nearest = np.float32(limit)
    around = [np.nextafter(nearest, np.float32(0)), nearest, np.nextafter(nearest, np.float32(1e38))]
    weights = np.zeros((4, 1, 3, 3), np.float32)
    weights[0] = peak
    weights[1:, 0, 1, 1] = around
    assert measure_weights(weights).sparse_count == sum(float(value) < limit for value in around)


def test_a_layer_of_zeros_is_all_sparse_and_has_no_direction():
    measured = measure_weights(np.zeros((4, 4, 3, 3), np.float32))
    assert (measured.sparse_count, measured.sparsity, measured.l1_norm, measured.l2_norm) == (16, 1.0, 0.0, 0.0)
    assert measured.orthogonality is None
    assert measured.variance_entropy == 0.0
    assert measured.dct_histogram.reshape(9, 70)[:, 35].tolist() == [16] * 9


def test_a_layer_without_finite_filters_has_counts_and_nothing_else():
    weights = np.full((2, 2, 3, 3), np.nan, np.float32)
    weights[0, 0, 0, 0] = np.inf
    measured = measure_weights(weights)
    assert (measured.n_finite, measured.nan_count, measured.inf_count) == (0, 35, 1)
    assert (measured.sparse_count, measured.sparsity, measured.variance_entropy) == (0, None, None)
    assert (measured.l1_norm, measured.l2_norm, measured.orthogonality) == (0.0, 0.0, None)
    assert not measured.raw_mean.any()
    assert not measured.scaled_m2.any()
    assert not measured.dct_histogram.any()


@pytest.mark.parametrize(("n", "has_entropy", "has_threshold"), [(1, False, False), (2, True, False), (3, True, True)])
def test_entropy_needs_two_filters_and_its_threshold_three(n, has_entropy, has_threshold):
    measured = measure_weights(random_layer(n, 1, 3, 3))
    assert (measured.variance_entropy is not None) == has_entropy
    assert (measured.variance_entropy_threshold is not None) == has_threshold


@pytest.mark.parametrize("shape", [(0, 3, 3, 3), (3, 0, 3, 3), (2, 2, 0)])
def test_a_layer_without_numbers_is_measured_as_empty(shape):
    measured = measure_weights(np.zeros(shape, np.float32))
    assert (measured.n_finite, measured.sparsity, measured.orthogonality, measured.l2_norm) == (0, None, None, 0.0)


def test_only_rows_of_the_same_group_are_compared():
    weights = random_layer(6, 2, 3, 3)
    weights[1], weights[3], weights[5] = weights[0], weights[2] * -2, weights[4]
    assert measure_weights(weights, 3).orthogonality == pytest.approx(0.0, abs=1e-6)
    assert measure_weights(weights, 1).orthogonality > 0.5
    assert measure_weights(weights, 6).orthogonality is None


def test_unknown_groups_count_as_one_but_for_depthwise_layers():
    weights = random_layer(6, 1, 3, 3)
    assert measure_weights(weights, None).orthogonality == measure_weights(weights, 1).orthogonality
    assert measure_weights(weights, None, Kind.DEPTHWISE).orthogonality is None


@pytest.mark.parametrize("groups", [0, -1, 4, 7])
def test_groups_that_do_not_divide_the_output_channels_are_refused(groups):
    with pytest.raises(Refused) as refusal:
        measure_weights(random_layer(6, 1, 3, 3), groups)
    assert refusal.value.reason is Reason.MALFORMED


def test_orthogonality_of_many_rows_is_that_of_all_pairs():
    weights = random_layer(700, 8, 3, 3)
    weights[5], weights[300:310] = 0, weights[600:610] * np.float32(1e-30)
    rows = weights.reshape(700, -1).astype(np.float64)
    rows = rows[rows.any(axis=1)]
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = np.abs(rows @ rows.T)
    np.fill_diagonal(cosines, 0)
    expected = 1 - cosines.sum() / (len(rows) * (len(rows) - 1))
    assert measure_weights(weights).orthogonality == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "groups"), [((1_900_000, 1, 3, 3), 1), ((40_000, 1, 1, 1), 2), ((12_000, 10_000, 1), 1)]
)
def test_orthogonality_that_would_take_too_long_is_null(shape, groups):
    rows = np.broadcast_to(np.float32(0), shape)  # takes no memory: nothing of it may be looked at
    assert orthogonality(rows, groups) is None


def test_orthogonality_stays_exact_where_coarse_products_are_allowed():
    weights = random_layer(64, 64, 3, 3)
    expected = measure_weights(weights).orthogonality
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch_measure.measure_weights(weights, device="cpu").orthogonality == pytest.approx(expected, abs=1e-6)
    finally:
        torch.set_float32_matmul_precision("highest")


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 24), st.integers(2, 24), st.integers(0, 2**32), st.sampled_from([0.0, 0.02]))
def test_torchconvquality_agrees_where_it_is_defined(out, inputs, seed, shrink):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports distutils
        import torchconvquality
    weights = random_layer(out, inputs, 3, 3, seed=seed)
    weights[0, : inputs // 2] *= np.float32(shrink) if shrink else np.float32(1)
    theirs = torchconvquality.measure_conv_weight_quality(torch.from_numpy(weights))
    ours = measure_weights(weights)
    assert ours.sparsity == pytest.approx(theirs["sparsity"], abs=1e-6)
    assert ours.orthogonality == pytest.approx(theirs["orthogonality"], abs=1e-5)
    if out * inputs > 9:  # with fewer filters some variances are exactly 0, and its entropy is NaN
        assert ours.variance_entropy == pytest.approx(theirs["variance_entropy"], abs=1e-5)
        ratio = ours.variance_entropy / ours.variance_entropy_threshold
        assert ratio == pytest.approx(theirs["variance_entropy_norm"], abs=2e-5)


def depthwise(weights):
    return Layer(
        index=0,
        name="conv.weight",
        kind=Kind.DEPTHWISE,
        weights=weights,
        dtype="F32",
        context=Context.GRAPH,
        layer_id="0" * 64,
        conv_depth=0,
        conv_depth_norm=0.0,
        groups=4,
        stride=None,
        dilation=None,
        padding=None,
    )


def test_a_measurer_measures_layers():
    weights = random_layer(8, 1, 3, 3)
    assert equal_bytes(Measurer("cpu").measure(depthwise(weights)), measure_weights(weights, 4, Kind.DEPTHWISE))


def test_a_layer_too_small_to_gain_by_another_device_is_measured_on_the_cpu():
    measurer = Measurer("cpu")
    measurer.device = "meta"  # stands for a GPU; it holds no numbers, so nothing can be measured there
    small = random_layer(8, 1, 3, 3)
    assert equal_bytes(measurer.measure(depthwise(small)), measure_weights(small, 4, Kind.DEPTHWISE))
    with pytest.raises(KeyError, match="meta"):
        measurer.measure(depthwise(random_layer(4096, 4, 3, 3)))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_gpu_that_is_not_there_fails_at_the_start():
    with pytest.raises(StartError, match="no CUDA device"):
        Measurer("cuda")
    assert Measurer("auto").device == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device on this machine")
@pytest.mark.parametrize("shape", [(24, 16, 3, 3), (16, 4, 1, 1), (8, 2, 5)])
def test_cuda_is_within_the_same_tolerances(shape):
    weights = random_layer(*shape)
    weights[0, 0] = 0
    check(torch_measure.measure_weights(weights, 2, device="cuda"), weights, 2)
    weights[1, 1, 0] = np.inf
    check(torch_measure.measure_weights(weights, 2, device="cuda"), weights, 2)
