"""Measures of confidence from logits, in float64 (docs/confidence.md has the formulas and their sources).

z is the confidence of the predicted class: the largest softmax probability. A sample is right if the predicted class is
its label. An undefined measure is None, such as the over-confidence of a network without errors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BINS = 15
"""Equal-width bins (a, b] on [0, 1] for the calibration error. FilterZoo's choice: the authors' code is not public."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What the measures need from n samples. z: (n,) confidences in (0, 1]. right: (n,) bool. nll, brier: (n,)."""

    z: np.ndarray
    right: np.ndarray
    nll: np.ndarray
    brier: np.ndarray


def scores(logits: np.ndarray, labels: np.ndarray) -> Scores:
    """The scores of logits (n, classes) and labels (n,). Of several largest logits, the first is the prediction.

    nll = -ln p[label]; brier = sum over classes of (p - 1[class = label])^2 (Brier, Monthly Weather Review 1950).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1)
    probabilities = exponentials / total[:, None]
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    return Scores(
        z=probabilities.max(axis=1),
        right=logits.argmax(axis=1) == labels,
        nll=np.log(total) - shifted[rows, labels],
        brier=np.einsum("ij,ij->i", probabilities, probabilities) - 2 * own + 1,
    )


@dataclass(frozen=True, slots=True)
class ConfidenceHistogram:
    """Counts and sums of z by bin, for right and wrong samples, (BINS,) each. The sum of two is that of the union.

    Over-confidence, under-confidence, accuracy and the calibration error can be computed from it exactly.
    """

    n_right: np.ndarray
    n_wrong: np.ndarray
    sum_right: np.ndarray
    sum_wrong: np.ndarray

    def __add__(self, other: ConfidenceHistogram) -> ConfidenceHistogram:
        return ConfidenceHistogram(
            self.n_right + other.n_right,
            self.n_wrong + other.n_wrong,
            self.sum_right + other.sum_right,
            self.sum_wrong + other.sum_wrong,
        )

    @property
    def n(self) -> int:
        """The number of samples."""
        return int(self.n_right.sum() + self.n_wrong.sum())

    @property
    def accuracy(self) -> float | None:
        """The share of right samples."""
        return _ratio(self.n_right.sum(), self.n)

    @property
    def over_confidence(self) -> float | None:
        """E[z | wrong] (arXiv:2210.05938)."""
        return _ratio(self.sum_wrong.sum(), self.n_wrong.sum())

    @property
    def under_confidence(self) -> float | None:
        """E[1 - z | right] (arXiv:2210.05938)."""
        n = self.n_right.sum()
        return _ratio(n - self.sum_right.sum(), n)

    @property
    def calibration_error(self) -> float | None:
        """ECE, p = 1: sum over bins of n_b/n |accuracy_b - mean z_b| (Guo et al., ICML 2017, eq. 3)."""
        return _ratio(np.abs(self.n_right - self.sum_right - self.sum_wrong).sum(), self.n)


def histogram(found: Scores) -> ConfidenceHistogram:
    """The histogram of the scores."""
    bins = bins_of(found.z)

    def counted(mask: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(bins[mask], None if weights is None else weights[mask], minlength=BINS)

    right, wrong = found.right, ~found.right
    return ConfidenceHistogram(counted(right), counted(wrong), counted(right, found.z), counted(wrong, found.z))


def bins_of(z: np.ndarray) -> np.ndarray:
    """The index of the bin (a, b] of each confidence."""
    edges = np.arange(1, BINS + 1) / BINS
    return np.minimum(np.searchsorted(edges, z, side="left"), BINS - 1)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well confidence separates right from wrong samples. None if all are right or all are wrong, except `aurc`.

    auroc: area under the ROC curve of z as a detector of right samples; ties count half. aupr_errors: average precision
    of 1 - z as a detector of wrong samples. fpr_at_95_tpr: the smallest share of wrong samples above a threshold that
    at least 95 % of the right samples reach. aurc: mean over k of the share of errors among the k most confident
    samples, averaged over all orders of tied samples (Geifman et al., ICLR 2019).
    """

    auroc: float | None
    aupr_errors: float | None
    fpr_at_95_tpr: float | None
    aurc: float | None


def ranking(found: Scores) -> Ranking:
    """The measures that depend only on the order of confidences."""
    n = len(found.z)
    if n == 0:
        return Ranking(None, None, None, None)
    values, inverse, counts = np.unique(-found.z, return_inverse=True, return_counts=True)
    right = np.bincount(inverse, found.right, minlength=len(values))
    wrong = counts - right
    aurc = float(_selective_risks(counts, wrong).mean())
    n_right, n_wrong = right.sum(), wrong.sum()
    if n_right == 0 or n_wrong == 0:
        return Ranking(None, None, None, aurc)
    right_above = np.cumsum(right) - right
    auroc = ((right_above + right / 2) * wrong).sum() / (n_right * n_wrong)
    # Errors, beginning with the least confident: precision at each distinct threshold, weighted by the added recall.
    caught, seen = np.cumsum(wrong[::-1]), np.cumsum(counts[::-1])
    aupr = (wrong[::-1] / n_wrong * (caught / seen)).sum()
    reached = np.cumsum(right) / n_right
    place = int(np.argmax(reached >= 0.95))
    return Ranking(float(auroc), float(aupr), float(np.cumsum(wrong)[place] / n_wrong), aurc)


def _selective_risks(counts: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Expected share of errors among the k most confident samples, k = 1 .. n. Samples of a block are tied."""
    block = np.repeat(np.arange(len(counts)), counts)
    before, errors_before = np.cumsum(counts) - counts, np.cumsum(wrong) - wrong
    k = np.arange(1, counts.sum() + 1)
    errors = errors_before[block] + (k - before[block]) * (wrong / counts)[block]
    return np.asarray(errors / k)


def _ratio(numerator: float, denominator: float) -> float | None:
    return float(numerator / denominator) if denominator else None
