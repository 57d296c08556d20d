"""Kernel density estimates of bins are those of SciPy of the numbers in them."""

from __future__ import annotations

import numpy as np
import pytest

from filterzoo_analysis.drift.density import kernel_density

EDGES = np.linspace(-3, 3, 71)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2


@pytest.mark.parametrize("size", [40, 400, 4000])
def test_the_estimate_is_scipys(size):
    from scipy.stats import gaussian_kde

    rng = np.random.default_rng(size)
    numbers = np.concatenate([rng.normal(-0.8, 0.3, size // 2), rng.normal(0.6, 0.4, size // 2)])
    counts = np.histogram(numbers, EDGES)[0].astype(float)
    expected = gaussian_kde(numbers, "scott")(CENTRES)
    assert kernel_density(counts, EDGES) == pytest.approx(expected, abs=0.02 * expected.max())


def test_many_numbers_are_smoothed_over_half_a_bin_and_none_are_zeros():
    counts = np.zeros((2, 70))
    counts[0, 35] = 1e9
    found = kernel_density(counts, EDGES)
    width = EDGES[1] - EDGES[0]
    assert found[0, 35] == pytest.approx(1 / (np.sqrt(2 * np.pi) * width / 2))
    assert found[0].sum() * width == pytest.approx(1, rel=2e-2)
    assert not found[1].any()
