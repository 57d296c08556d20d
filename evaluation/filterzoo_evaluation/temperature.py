"""Temperature scaling: calibration of a network after fitting a temperature on held-out samples.

Guo et al., 'On Calibration of Modern Neural Networks', ICML 2017, section 4.2.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

_SMALLEST, _LARGEST = 0.01, 100.0
_HALVINGS = 60


def held_out(sample_ids: Sequence[str]) -> np.ndarray:
    """(n,) bool: the samples on which the temperature is fitted, about half, chosen by a hash of the sample id."""
    return np.array(
        [hashlib.sha256(sample.encode("utf-8", "surrogatepass")).digest()[0] < 128 for sample in sample_ids]
    )


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """T that minimises the mean negative log-likelihood of logits / T; None if there is no minimum in (0.01, 100).

    The negative log-likelihood is convex in 1/T, so its derivative has one root, which bisection finds. There is none
    if all samples are right (T falls without limit) or all are wrong.
    """
    if len(labels) == 0:
        return None
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        weights = np.exp(shifted * inverse)
        expected = np.einsum("ij,ij->i", weights, shifted) / weights.sum(axis=1)
        return float((expected - own).mean())

    low, high = 1 / _LARGEST, 1 / _SMALLEST
    if not slope(low) < 0 < slope(high):
        return None
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / math.sqrt(low * high)
