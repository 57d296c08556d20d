"""Computes rows of `confidences` from evaluations."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from filterzoo_evaluation.bootstrap import intervals
from filterzoo_evaluation.logits import Evaluation
from filterzoo_evaluation.measures import Scores, histogram, ranking, scores
from filterzoo_evaluation.temperature import fitted_temperature, held_out

Row = dict[str, Any]


def confidence_row(evaluation: Evaluation) -> Row:
    """The row: all columns of `store.confidences.CONFIDENCE_SCHEMA`, None for undefined measures."""
    found = scores(evaluation.logits, evaluation.labels)
    counts = histogram(found)
    order = ranking(found)
    digest = _content(evaluation)
    row: Row = {
        **evaluation.key,
        "n": counts.n,
        "classes": evaluation.logits.shape[1],
        "accuracy": counts.accuracy,
        "over_confidence": counts.over_confidence,
        "under_confidence": counts.under_confidence,
        "ece": counts.calibration_error,
        "auroc": order.auroc,
        "aupr_errors": order.aupr_errors,
        "fpr_at_95_tpr": order.fpr_at_95_tpr,
        "nll": float(found.nll.mean()),
        "brier": float(found.brier.mean()),
        "aurc": order.aurc,
        **_calibrated(evaluation),
        "n_right": counts.n_right.tolist(),
        "n_wrong": counts.n_wrong.tolist(),
        "z_right": counts.sum_right.tolist(),
        "z_wrong": counts.sum_wrong.tolist(),
        "logits_id": digest,
    }
    for name, (low, high) in intervals(found, int(digest[:16], 16)).items():
        row[f"{name}_low"], row[f"{name}_high"] = low, high
    return row


def _calibrated(evaluation: Evaluation) -> Row:
    """The temperature fitted on one half of the samples, and the calibration error of the other half at it."""
    fitted_on = held_out(evaluation.sample_ids)
    temperature = fitted_temperature(evaluation.logits[fitted_on], evaluation.labels[fitted_on])
    rest = ~fitted_on
    if temperature is None or not rest.any():
        return {"temperature": temperature, "ece_calibrated": None}
    scaled: Scores = scores(evaluation.logits[rest] / temperature, evaluation.labels[rest])
    return {"temperature": temperature, "ece_calibrated": histogram(scaled).calibration_error}


def _content(evaluation: Evaluation) -> str:
    """sha256 over the key, the sorted sample ids, the labels, and the logits as float64."""
    digest = hashlib.sha256()
    digest.update(json.dumps([evaluation.key, evaluation.sample_ids], sort_keys=True).encode())
    digest.update(np.ascontiguousarray(evaluation.labels, "<i8").tobytes())
    digest.update(np.ascontiguousarray(evaluation.logits, "<f8").tobytes())
    return digest.hexdigest()
