"""The columns of `confidences`: a row for each evaluation of a network."""

from __future__ import annotations

import pyarrow as pa

from filterzoo.store.confidences import CONFIDENCE_SCHEMA
from filterzoo_publish.schema.column import MODEL_ID, Column

_NOT_GIVEN = "not an attack that has it, or not stated"
_NO_ERRORS = "no wrong sample"
_ONE_KIND = "all samples are right, or all are wrong"
_CONFIDENCE_MEANINGS = {
    "model_id": (MODEL_ID.meaning, "", "never"),
    "image_set": ("the images it was run on", "", "never"),
    "attack": ("what was done to the images", "none, pgd, square, ...", "never"),
    "norm": ("the norm that bounds the attack", "Linf, L2", _NOT_GIVEN),
    "eps": ("how far the attack may change an image of numbers in [0, 1]", "", _NOT_GIVEN),
    "steps": ("steps of the attack", "", _NOT_GIVEN),
    "step_size": ("size of one step", "as eps", _NOT_GIVEN),
    "restarts": ("random starts of the attack", "", _NOT_GIVEN),
    "queries": ("queries of the attack for each image", "", _NOT_GIVEN),
    "stop_rule": ("when the attack leaves an image", "", _NOT_GIVEN),
    "seed": ("seed of its random numbers", "", _NOT_GIVEN),
    "n": ("samples", ">= 1", "never"),
    "classes": ("logits of a sample", ">= 2", "never"),
    "accuracy": ("share of right samples", "[0, 1]", "never"),
    "over_confidence": ("mean confidence of the wrong samples", "[0, 1]", _NO_ERRORS),
    "under_confidence": ("1 - mean confidence of the right samples", "[0, 1]", "no right sample"),
    "ece": ("expected calibration error, 15 bins", "[0, 1]", "never"),
    "auroc": ("area under the ROC curve of confidence for being right", "[0, 1]", _ONE_KIND),
    "aupr_errors": ("average precision of 1 - confidence for being wrong", "[0, 1]", _ONE_KIND),
    "fpr_at_95_tpr": ("wrong samples above the threshold that 95 % of the right ones reach", "[0, 1]", _ONE_KIND),
    "nll": ("mean negative log-likelihood of the labels", "nats", "never"),
    "brier": ("mean squared distance of the probabilities from the label", "[0, 2]", "never"),
    "aurc": ("area under the risk-coverage curve", "[0, 1]", "never"),
    "temperature": ("temperature fitted on one half of the samples", "0.01 to 100", "no such temperature"),
    "ece_calibrated": ("`ece` of the other half with that temperature", "[0, 1]", "no such temperature"),
    "n_right": ("right samples by bin of confidence", "15 counts", "never"),
    "n_wrong": ("wrong samples by bin of confidence", "15 counts", "never"),
    "z_right": ("sum of the confidences of right samples by bin", "15 sums", "never"),
    "z_wrong": ("sum of the confidences of wrong samples by bin", "15 sums", "never"),
    "logits_id": ("sha256 over the evaluation's settings, samples, labels and logits", "64 hex digits", "never"),
}


def _confidence_column(field: pa.Field) -> Column:
    measure, _, end = field.name.rpartition("_")
    if end in {"low", "high"}:
        null = "the measure is undefined"
        return Column(field.name, field.type, f"{end} end of the 95 % interval of `{measure}`", "[0, 1]", null)
    return Column(field.name, field.type, *_CONFIDENCE_MEANINGS[field.name])


CONFIDENCES = tuple(_confidence_column(field) for field in CONFIDENCE_SCHEMA)
