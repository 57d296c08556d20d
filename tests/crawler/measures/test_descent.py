"""Kurtosis and probes against plain computations on float64 copies of the same weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kurtosis

from filterzoo.measures.measure import measure_weights
from filterzoo.measures.on_torch import measure as torch_measure


@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (300, 7, 1, 1), (5, 1, 7, 7), (2, 3, 2), (1, 1, 1, 2)])
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
@pytest.mark.parametrize("on_torch", [False, True])
def test_the_kurtosis_is_scipys(shape, scale, on_torch):
    weights = ((np.random.default_rng(0).standard_t(3, size=shape) + 0.5) * scale).astype(np.float32)
    found = torch_measure.measure_weights(weights, device="cpu") if on_torch else measure_weights(weights)
    expected = kurtosis(weights.astype(np.float64), axis=None, fisher=False)
    assert found.kurtosis == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("mean", [0.9, -1.1, 30.0, 1e4])
@pytest.mark.parametrize("shape", [(8, 40, 3, 3), (300, 7, 1, 1)])
def test_a_mean_that_is_large_against_the_spread_costs_no_digits(shape, mean):
    weights = (np.random.default_rng(2).standard_t(3, size=shape) + mean).astype(np.float32)
    expected = kurtosis(weights.astype(np.float64), axis=None, fisher=False)
    assert measure_weights(weights).kurtosis == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("on_torch", [False, True])
def test_filters_that_are_not_finite_are_left_out(on_torch):
    weights = np.random.default_rng(1).normal(size=(6, 5, 3, 3)).astype(np.float32)
    weights[2, 1, 0, 0] = np.inf
    found = torch_measure.measure_weights(weights, device="cpu") if on_torch else measure_weights(weights)
    kept = weights.reshape(-1, 9)[np.isfinite(weights.reshape(-1, 9)).all(axis=1)]
    assert found.kurtosis == pytest.approx(kurtosis(kept.astype(np.float64), axis=None, fisher=False), rel=1e-10)
    assert found.probe is None


@pytest.mark.parametrize("fill", [0.0, 0.1, np.nan])
def test_equal_numbers_have_none(fill):
    weights = np.full((3, 4, 3, 3), fill, np.float32)
    assert measure_weights(weights).kurtosis is None
    assert torch_measure.measure_weights(weights, device="cpu").kurtosis is None


def test_a_probe_is_taken_at_the_same_places_of_equal_shapes():
    numbers = np.arange(64 * 10, dtype=np.float32).reshape(64, 10, 1, 1)
    found = measure_weights(numbers).probe
    assert found.dtype == np.float32
    assert found.tolist() == [10 + 20 * place for place in range(32)]
    assert measure_weights(np.arange(18, dtype=np.float32).reshape(2, 1, 3, 3)).probe.tolist() == list(range(18))
