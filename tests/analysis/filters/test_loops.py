"""The compiled loops against NumPy, on what float32 has of odd numbers."""

from __future__ import annotations

import numpy as np
import pytest
from numba.core.caching import CompileResultCacheImpl

from filterzoo_analysis.filters import loops


def odd_numbers() -> np.ndarray:
    """Every 4,096th float32 and its neighbour, ties between two numbers of float16 among them; both signs."""
    bits = np.arange(0, 2**31, 4096, dtype=np.int64)
    ends = np.array([65504, 65519.996, 65520, 2**-14, 2**-24, 2**-25, 1e-45], np.float32)
    found = np.concatenate([(bits + step).astype(np.int32).view(np.float32) for step in (0, 1)] + [ends])
    return np.concatenate([found, -found])


def test_numbers_are_rounded_to_half_precision_as_numpy_rounds_them():
    numbers = odd_numbers()
    with np.errstate(over="ignore", invalid="ignore"):
        expected = numbers.astype(np.float16).astype(np.float32)
    loops.round_to_half(numbers, len(numbers))
    finite = np.isfinite(expected)
    assert 0 < finite.mean() < 1
    np.testing.assert_array_equal(np.isfinite(numbers), finite)
    np.testing.assert_array_equal(numbers[finite], expected[finite])


@pytest.mark.parametrize("count", [0, 1, loops.BLOCK - 1, loops.BLOCK, 3 * loops.BLOCK + 7])
@pytest.mark.parametrize("limit", [-1.0, 0.01])
def test_moments_are_those_of_the_finite_filters_above_the_limit(count, limit):
    rng = np.random.default_rng(count)
    filters = (rng.normal(size=(count, 9)) * 10.0 ** rng.uniform(-6, 1, size=(count, 1))).astype(np.float32)
    filters[::5] = 0
    filters[3::11, 4] = np.nan
    filters[4::13, 2] = -np.inf
    peaks = np.abs(filters).max(axis=1)
    finite = filters[np.isfinite(filters).all(axis=1)]
    scaled = finite / np.maximum(np.abs(finite).max(axis=1, keepdims=True), np.finfo(np.float32).smallest_subnormal)
    used = scaled[peaks[np.isfinite(filters).all(axis=1)] > limit].astype(np.float64)
    far = np.empty_like(filters)
    n, mean, m2, n_far = loops.moments(filters, 32, limit, 2.0, far)
    assert n == len(used)
    np.testing.assert_allclose(mean, used.mean(axis=0) if n else np.zeros(9), atol=1e-14)
    centred = used - mean
    np.testing.assert_allclose(m2, centred.T @ centred, rtol=1e-12, atol=1e-10)
    np.testing.assert_array_equal(far[:n_far], scaled[np.square(scaled).sum(axis=1) > 2])
    assert loops.largest(filters) == np.abs(finite).max(initial=0)


def test_numbers_of_any_size_scale_to_one():
    """The smallest subnormal, the largest number and filters with both."""
    tiny, huge = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    filters = np.zeros((3, 9), np.float32)
    filters[0, 3], filters[1, 4], filters[2, :2] = tiny, -huge, (tiny, huge)
    scaled = np.empty_like(filters)
    *_, n = loops.moments(filters, 32, -1.0, -1.0, scaled)
    assert n == 3
    assert np.array_equal(np.abs(scaled).max(axis=1), [1, 1, 1])
    assert scaled[0, 3] == 1
    assert scaled[1, 4] == -1
    assert scaled[2, 1] == 1


def test_loops_are_compiled_where_no_folder_can_hold_them(monkeypatch):
    monkeypatch.setattr(CompileResultCacheImpl, "_locator_classes", [])

    def doubled(number: float) -> float:
        return number + number

    assert loops._compiled(doubled)(2.5) == 5.0
