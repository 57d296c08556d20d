"""The drift that is expected of numbers of filters is that of draws from one distribution."""

from __future__ import annotations

import numpy as np
import pytest

from filterzoo_analysis.drift.chance import expected_drift
from filterzoo_analysis.drift.uncertainty import drift_between

WIDTH = 6 / 70


@pytest.mark.parametrize(("first", "second"), [(33, None), (33, 40_000), (88, 500), (1000, 1000), (20_000, 5_000)])
def test_the_expected_drift_is_the_mean_of_drifts_of_draws(first, second):
    rng = np.random.default_rng(1)
    centres = np.linspace(-3, 3, 70)
    shape = np.stack([np.exp(-(centres**2) / (2 * s**2)) for s in np.linspace(0.2, 1.5, 9)])
    shape[:, ::7] = 0
    shape /= shape.sum(axis=1, keepdims=True)
    weights = np.arange(9, 0, -1) / 45
    drawn = []
    for _ in range(400):
        sides = [
            np.concatenate([rng.multinomial(number, p) for p in shape]) if number else shape.ravel() * 1e12
            for number in (first, second)
        ]
        drawn.append(drift_between(sides[0].astype(float), sides[1].astype(float), weights, WIDTH))
    error = np.std(drawn) / np.sqrt(len(drawn))
    found = expected_drift(shape.ravel() * 1e6, first, second, weights, WIDTH)
    assert found == pytest.approx(np.mean(drawn), abs=4 * error)


def test_nothing_is_expected_of_no_filters():
    assert np.isnan(expected_drift(np.zeros(630), 5, 5, np.ones(9), WIDTH))
    assert np.isnan(expected_drift(np.ones(630), 0, 5, np.ones(9), WIDTH))
