"""The measures against libraries, a plain reference, and what must hold for any logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.tables import logits_and_labels

from filterzoo_evaluation.bootstrap import intervals
from filterzoo_evaluation.measures import Scores, bins_of, histogram, ranking, scores
from filterzoo_evaluation.temperature import fitted_temperature, held_out

SEEDS = range(5)


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_measures_equal_a_plain_reference(seed: int) -> None:
    logits, labels = logits_and_labels(seed)
    p = softmax(logits)
    z, right = p.max(axis=1), p.argmax(axis=1) == labels
    found = scores(logits.astype(np.float64), labels)
    counts = histogram(found)
    assert counts.accuracy == pytest.approx(right.mean(), abs=1e-12)
    assert counts.over_confidence == pytest.approx(z[~right].mean(), abs=1e-12)
    assert counts.under_confidence == pytest.approx((1 - z[right]).mean(), abs=1e-12)
    expected = 0.0
    for number in range(15):
        chosen = (z > number / 15) & (z <= (number + 1) / 15)
        if chosen.any():
            expected += chosen.mean() * abs(right[chosen].mean() - z[chosen].mean())
    assert counts.calibration_error == pytest.approx(expected, abs=1e-12)
    one_hot = np.eye(logits.shape[1])[labels]
    assert found.brier.mean() == pytest.approx(((p - one_hot) ** 2).sum(axis=1).mean(), abs=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_measures_equal_libraries(seed: int) -> None:
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score, roc_curve
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = logits_and_labels(seed)
    p = softmax(logits)
    found = scores(logits.astype(np.float64), labels)
    order = ranking(found)
    assert found.nll.mean() == pytest.approx(log_loss(labels, p, labels=np.arange(p.shape[1])), abs=1e-6)
    assert order.auroc == pytest.approx(roc_auc_score(found.right, found.z), abs=1e-9)
    assert order.aupr_errors == pytest.approx(average_precision_score(~found.right, -found.z), abs=1e-9)
    fpr, tpr, _ = roc_curve(found.right, found.z, drop_intermediate=False)
    assert order.fpr_at_95_tpr == pytest.approx(fpr[np.argmax(tpr >= 0.95)], abs=1e-12)
    of_library = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), p.shape[1], n_bins=15)
    assert histogram(found).calibration_error == pytest.approx(float(of_library), abs=1e-6)


def test_the_calibration_error_equals_netcal() -> None:
    netcal = pytest.importorskip("netcal.metrics")
    logits, labels = logits_and_labels(11)
    p = softmax(logits)
    own = histogram(scores(logits.astype(np.float64), labels)).calibration_error
    assert own == pytest.approx(netcal.ECE(15).measure(p, labels), abs=1e-6)


def test_a_confidence_on_an_edge_is_in_the_bin_below() -> None:
    assert bins_of(np.array([1 / 15, 1 / 15 + 1e-12, 1.0, 14 / 15])).tolist() == [0, 1, 14, 13]


@pytest.mark.parametrize("seed", SEEDS)
def test_aurc_is_the_mean_over_all_orders_of_tied_samples(seed: int) -> None:
    random = np.random.default_rng(seed)
    z, right = random.choice([0.3, 0.5, 0.9], 40), random.random(40) < 0.6
    drawn = []
    for _ in range(4000):
        order = np.lexsort((random.random(40), -z))
        drawn.append((np.cumsum(~right[order]) / np.arange(1, 41)).mean())
    own = ranking(Scores(z=z, right=right, nll=z, brier=z)).aurc
    assert own == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / math.sqrt(4000))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(2, 9), st.floats(0.05, 20))
def test_the_published_bound_holds(seed: int, n: int, classes: int, scale: float) -> None:
    """|o P(wrong) - u P(right)| <= ECE (arXiv:2210.05938), and an error of one direction is no larger than all."""
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, scale, (n, classes)), random.integers(0, classes, n)
    counts = histogram(scores(logits, labels))
    wrong = 1 - counts.accuracy
    gap = abs((counts.over_confidence or 0) * wrong - (counts.under_confidence or 0) * counts.accuracy)
    assert gap <= counts.calibration_error + 1e-12


def test_what_is_undefined_is_none() -> None:
    logits = np.array([[4.0, 0.0], [0.0, 3.0]])
    all_right, all_wrong = scores(logits, np.array([0, 1])), scores(logits, np.array([1, 0]))
    assert histogram(all_right).over_confidence is None
    assert histogram(all_wrong).under_confidence is None
    for found in (all_right, all_wrong):
        assert ranking(found).auroc is ranking(found).aupr_errors is ranking(found).fpr_at_95_tpr is None
    assert ranking(all_right).aurc == 0
    assert fitted_temperature(logits, np.array([0, 1])) is None
    assert fitted_temperature(logits, np.array([1, 0])) is None
    assert intervals(all_right, 0)["over_confidence"] == (None, None)


def test_the_measures_of_a_union_follow_from_its_parts() -> None:
    logits, labels = logits_and_labels(3, n=900)
    whole = histogram(scores(logits, labels))
    merged = histogram(scores(logits[:200], labels[:200])) + histogram(scores(logits[200:], labels[200:]))
    for name in ("accuracy", "over_confidence", "under_confidence", "calibration_error"):
        assert getattr(merged, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_the_measures_distinguish_a_sharpened_network_from_its_calibrated_twin() -> None:
    """Labels are drawn from the softmax, so the twin is calibrated; logits / 0.3 are too sure of themselves."""
    random = np.random.default_rng(5)
    logits = random.normal(0, 1.5, (20_000, 5))
    labels = (softmax(logits).cumsum(axis=1) > random.random((20_000, 1))).argmax(axis=1)
    calibrated, sharpened = histogram(scores(logits, labels)), histogram(scores(logits / 0.3, labels))
    assert calibrated.calibration_error < 0.02
    assert sharpened.calibration_error > 0.2
    assert sharpened.over_confidence - calibrated.over_confidence > 0.2
    chosen = held_out([str(number) for number in range(20_000)])
    assert 0.45 < chosen.mean() < 0.55
    assert fitted_temperature(logits[chosen] / 0.3, labels[chosen]) == pytest.approx(1 / 0.3, rel=0.03)
    assert fitted_temperature(logits[chosen], labels[chosen]) == pytest.approx(1, rel=0.03)


def test_intervals_hold_their_values_and_cover() -> None:
    covered, samples = 0, 60
    truth = 0.7
    for seed in range(samples):
        random = np.random.default_rng(seed)
        right = random.random(300) < truth
        found = Scores(z=np.full(300, truth), right=right, nll=np.zeros(300), brier=np.zeros(300))
        low, high = intervals(found, seed)["accuracy"]
        assert 0 <= low <= right.mean() <= high <= 1
        covered += low <= truth <= high
    assert covered >= 0.85 * samples
