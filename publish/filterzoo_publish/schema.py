"""The columns of the published data set: the one place that says what is in which config, and what it means."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import pyarrow as pa

from filterzoo.store.confidences import CONFIDENCE_SCHEMA
from filterzoo.store.encoding import is_list
from filterzoo.store.filters import BLOCK, PUBLISHED_SCHEMA
from filterzoo.store.fragments import LATER_COLUMNS, LAYER_SCHEMA
from filterzoo_publish.lineage.table import SCHEMA as LINEAGE_SCHEMA

CONFIGS = ("models", "layers", "filters", "filters_sample", "status", "skipped", "confidences", "lineage")
"""The configs, the default one first; one split, `train`, each."""

_STRING, _INT, _FLOAT, _BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_NOT_STATED = "the zoo does not state it"
_NOT_KNOWN = "the architecture is not known, or has none"
_NOT_3X3 = "not 3x3"
_DAY = "`YYYY-MM-DD`"


@dataclass(frozen=True, slots=True)
class Column:
    """`unit`: unit or range, where there is one. `null`: what an empty cell means.

    is_later: files that were published before there was such a column lack it; it is null for their rows.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    null: str = "never"
    _: KW_ONLY
    is_later: bool = False

    @property
    def may_be_unknown(self) -> bool:
        """Whether an empty cell means that nobody says it, not that there is nothing to say."""
        return self.null in {_NOT_STATED, "unknown"}


_MODEL_ID = Column("model_id", _STRING, "the checkpoint: `source/id@revision`")
_SOURCE = Column("source", _STRING, "the zoo it was found in", "`[a-z0-9_]+`")
_LICENCE_CLASS = Column("licence_class", _STRING, "what the licence lets one do; decides the folder", "closed set")
_TASK = Column("task", _STRING, "what the network was trained to do", null=_NOT_STATED)
_TRAINING = Column("training_dataset", _STRING, "what it was trained on last", null=_NOT_STATED)
_CATEGORY = Column("visual_category", _STRING, "kind of images it was trained on", null=_NOT_STATED)
_ARCHITECTURE = Column("architecture", _STRING, "the network's architecture", null=_NOT_STATED)
_ROBUST = Column("robust", _BOOL, "trained against adversarial attacks", null=_NOT_STATED)
_LAYER_ID = Column("layer_id", _STRING, "sha256 over shape and bytes: equal weights have equal ids", "64 hex digits")

_MODELS = (
    _MODEL_ID,
    _SOURCE,
    Column("id", _STRING, "what the zoo calls it"),
    Column("revision", _STRING, "the pinned version of it"),
    Column("url", _STRING, "where people find it", null=_NOT_STATED),
    Column("licence", _STRING, "SPDX expression, lower case", null="unknown"),
    _LICENCE_CLASS,
    Column(
        "licence_from",
        _STRING,
        "zoo, licence-file, licence-link, original, file, joined by +",
        null="unknown",
    ),
    _ARCHITECTURE,
    Column(
        "activation",
        _STRING,
        "activation functions of the architecture, the most frequent first, separated by `, `",
        "relu, silu, gelu, ...: torch's names",
        _NOT_KNOWN,
        is_later=True,
    ),
    Column(
        "pooling",
        _STRING,
        "how the architecture reduces the resolution of its features, the most frequent first, separated by `, `",
        "stride (of a convolution), max, average, blur (a fixed filter), flc (arXiv:2204.00491), lp",
        _NOT_KNOWN,
        is_later=True,
    ),
    _TASK,
    _TRAINING,
    Column("pretraining_dataset", _STRING, "what it was trained on before", null=_NOT_STATED),
    Column("base_model", _STRING, "what it was fine-tuned, quantised or merged from", null=_NOT_STATED),
    _CATEGORY,
    Column("modality", _STRING, "what its input is (RGB, CT, audio)", null=_NOT_STATED),
    Column("anatomy", _STRING, "the part of the body that its images show", null="not medical, or not stated"),
    _ROBUST,
    Column(
        "threat_model",
        _STRING,
        "the attack it was trained against, or measured under",
        null=_NOT_STATED,
    ),
    Column("eps", _FLOAT, "how far that attack may change an image of numbers in [0, 1]", "> 0", _NOT_STATED),
    Column("clean_accuracy", _FLOAT, "accuracy as the zoo states it", "[0, 1]", _NOT_STATED),
    Column("robust_accuracy", _FLOAT, "accuracy under the threat model as the zoo states it", "[0, 1]", _NOT_STATED),
    Column("pair_id", _STRING, "joins a robust network with its normal twin", null="no twin known"),
    Column("tags", _STRING, "what else its zoo files it under, separated by `, `", null="under nothing"),
    Column("framework", _STRING, "what wrote the file", null="unknown"),
    Column("format", _STRING, "the file's format"),
    Column("opset", _INT, "the version of ONNX's operators that the file asks for", ">= 1", "not ONNX"),
    Column("section", _STRING, "which state dict of the file was taken; empty for a flat file"),
    Column("file", _STRING, "the file's name in the zoo"),
    Column("member", _STRING, "its name inside an archive", null="not in an archive"),
    Column("sha256", _STRING, "hash of the file", "64 hex digits", "only parts of it were moved, and the zoo has none"),
    Column("size", _INT, "size of the file", "bytes"),
    Column(
        "integrity",
        _STRING,
        "what its weights were checked against",
        "sha256, crc32, sha256+crc32; none: the transport alone",
    ),
    Column("n_tensors", _INT, "named arrays in the file"),
    Column("n_layers", _INT, "convolution layers: its rows in `layers`"),
    Column(
        "passed_over",
        _STRING,
        "arrays of rank 3 to 5 that were not taken for convolution weights, by why (docs/selection.md)",
        "`3 copy, 1 elementwise`",
        "none, or the file's graph says what is one",
        is_later=True,
    ),
    Column(
        "partial",
        _BOOL,
        "some of its convolutions could not be read: `skipped` says which, and why",
        null="not recorded",
        is_later=True,
    ),
    Column("n_filters", _INT, "filters of its layers, all kernel sizes"),
    Column("filters_3x3", _INT, "3x3 filters of its layers"),
    Column(
        "spatial_dims",
        _INT,
        "axes that its kernels span, the most of any layer",
        "1 (sequences), 2 (images), 3 (volumes, videos)",
        "no layers",
    ),
    Column("published_filters", _INT, "filters of it that `filters` holds, tied layers counted once"),
    Column("stored_filters", _INT, "filters whose rows in `filters` stand under its name; sums to all rows"),
    Column(
        "suspected_random",
        _BOOL,
        "its 3x3 filters look as if it was never trained (`filterzoo.measures.random_weights`)",
        null="too few 3x3 layers to tell",
    ),
    Column(
        "weights_id", _STRING, "sha256 over its sorted layer ids: the same convolutions", "64 hex digits", "no layers"
    ),
    Column("duplicate_of", _STRING, "first model with the same `weights_id`", null="it is the first"),
    Column("release", _STRING, "the release that added it", "`vYYYY.MM.DD`, `.1`, ..."),
    Column("first_seen", _STRING, "day of that release, or when a data set it was taken from had it first", _DAY),
    Column("last_seen", _STRING, "as it was known in that release; what is known now stands in `status`", _DAY),
)

_LAYER_MEANINGS = {
    "layer_index": ("place among the convolutions of the file", "0 = first", "never"),
    "name": ("the tensor's name in the file", "", "never"),
    "kind": ("what it does with its channels", "conv, depthwise, grouped, transposed", "never"),
    "kernel": ("kernel size", "`3x3`, `5`, `3x3x3`", "never"),
    "shape": ("canonical shape: (out, in/groups, *kernel)", "", "never"),
    "dtype": ("the stored number type", "F32, F16, BF16, I8, ...", "never"),
    "groups": ("channel groups", ">= 1", "unknown"),
    "stride": ("step of the kernel, per axis", "pixels", "unknown"),
    "dilation": ("spacing of the kernel's points, per axis", "pixels", "unknown"),
    "padding": ("padding, begins then ends", "pixels", "unknown"),
    "conv_depth": ("rank of the layer's depth among the convolutions", "0 = first", "never"),
    "conv_depth_norm": ("conv_depth / largest conv_depth", "[0, 1]", "never"),
    "context": ("where stride, groups and depth were read", "graph, architecture, declared", "never"),
    "layout_evidence": (
        "what decided that it is a convolution, its kind and the order of its axes (docs/selection.md)",
        "graph, architecture, config, format, shapes, name, assumed",
        "not recorded",
    ),
    "computed": (
        "how its weights follow from stored tensors, where they are not stored themselves",
        "weight_norm, spectral_norm, mask, scale, folded, packed",
        "they are stored",
    ),
    "layer_id": (_LAYER_ID.meaning, _LAYER_ID.unit, "never"),
    "n_filters": ("filters of the layer: out * in/groups", "", "never"),
    "n_finite": ("filters without NaN or infinity; all measures run over these", "", "never"),
    "nan_count": ("numbers that are NaN", "", "never"),
    "inf_count": ("numbers that are infinite", "", "never"),
    "l1_norm": ("sum of absolute weights", ">= 0", "never"),
    "l2_norm": ("root of the sum of squared weights", ">= 0", "never"),
    "sparse_count": ("filters whose every number is below 1 % of the layer's largest", "", "never"),
    "sparsity": ("sparse_count / n_finite", "[0, 1]", "no finite filter"),
    "orthogonality": (
        "1 - mean absolute cosine of pairs of output rows of a group",
        "[0, 1]",
        "no such pair, or too many (2^28)",
    ),
    "variance_entropy": ("entropy of the variance along the principal axes", "[0, log10 9]", f"{_NOT_3X3}, n < 2"),
    "variance_entropy_threshold": ("entropy that random filters of this number reach", "", f"{_NOT_3X3}, n < 3"),
    "raw_mean": ("mean filter", "9 numbers", _NOT_3X3),
    "raw_m2": ("upper triangle of sum (f - mean)(f - mean)^T", "45 numbers", _NOT_3X3),
    "scaled_mean": ("mean of the filters, each divided by its largest absolute number", "9 numbers", _NOT_3X3),
    "scaled_m2": ("raw_m2 of the scaled filters", "45 numbers", _NOT_3X3),
    "spectral_norm": (
        "largest singular value of the weights as (out, in/groups * kernel)",
        ">= 0",
        "numbers not finite, all zero, or a matrix whose spectrum would cost too much",
    ),
    "stable_rank": ("sum of squared singular values / the largest of them", ">= 1", "as spectral_norm"),
    "effective_rank": ("exp of the entropy of singular values / their sum", ">= 1", "as spectral_norm"),
    "power_law_alpha": (
        "exponent of the power law that fits the squared singular values best",
        "> 1",
        "as spectral_norm; fewer than 50 of them",
    ),
    "frequency_energy": (
        "share of the filters' energy by radial frequency of their DCT",
        "sums to 1; 4 numbers for 3x3 to 9 for 7x7",
        "another kernel than 3x3 to 7x7, no finite filter, all zero",
    ),
    "kurtosis": (
        "fourth central moment of the weights / their squared variance",
        ">= 1; 3 of a normal distribution",
        "no finite filter, or all weights equal",
    ),
    "probe": (
        "32 weights at fixed places, to compare layers of equal shapes: the middles of 32 equal parts of the layer",
        "all of a layer of fewer",
        "a weight is NaN or infinite, or the licence keeps the weights",
    ),
    "dct_histogram": ("histograms of the scaled filters' 9 DCT coefficients over [-3, 3]", "9 x 70 counts", _NOT_3X3),
}

_NO_FILTERS = "its filters are not published"
_LAYERS = (
    _MODEL_ID,
    _SOURCE,
    _LICENCE_CLASS,
    _ARCHITECTURE,
    _TASK,
    _TRAINING,
    _CATEGORY,
    _ROBUST,
    *(
        Column(field.name, field.type, meaning, unit, null, is_later=field.name in LATER_COLUMNS)
        for field in LAYER_SCHEMA
        for meaning, unit, null in (_LAYER_MEANINGS[field.name],)
    ),
    Column("filters_file", _STRING, "the file of `filters` that holds its filters", null=_NO_FILTERS),
    Column(
        "filters_row_group", pa.int32(), "the row group in that file that starts with or holds them", "", _NO_FILTERS
    ),
    Column("filters_first_row", _INT, "their first row in that file; the others follow it", "0 = first", _NO_FILTERS),
    Column("filters_rows", pa.int32(), "how many rows they are", "", _NO_FILTERS),
)

_DEPTH = Column("conv_depth_norm", _FLOAT, "depth where the layer first occurs in that checkpoint", "[0, 1]")
_FILTER_MEANINGS: dict[str, tuple[str, ...]] = {
    "model_id": ("the first checkpoint that has the layer; `layers` lists all of them",),
    "kernel": ("kernel size", "`3x3`"),
    "first_filter": ("number of the block's first filter in its layer", "0 = first"),
    "n_filters": ("filters in the block", f"1 to {BLOCK}"),
    "weights": ("the filters one after the other, row-major: `.reshape(-1, 3, 3)`",),
}
_SHARED = {column.name: column for column in (_LAYER_ID, _SOURCE, _LICENCE_CLASS, _TASK, _CATEGORY, _DEPTH)}
_FILTERS = tuple(
    Column(field.name, field.type, *_FILTER_MEANINGS[field.name])
    if field.name in _FILTER_MEANINGS
    else _SHARED[field.name]
    for field in PUBLISHED_SCHEMA
)

_SAMPLE = (
    _MODEL_ID,
    _LAYER_ID,
    Column("filter_index", _INT, "number of the filter in its layer", "0 = first"),
    _SOURCE,
    _LICENCE_CLASS,
    _TASK,
    _TRAINING,
    _CATEGORY,
    _DEPTH,
    Column("weights", pa.list_(pa.float32(), 9), "one 3x3 filter, row-major"),
)

_STATUS = (
    _MODEL_ID,
    Column("last_seen", _STRING, "last day a crawl found the checkpoint in its zoo: one that vanished stays", _DAY),
    Column("superseded_by", _STRING, "`model_id` of the newest revision of the same checkpoint", null="it is that"),
)

_SKIPPED = (
    Column("source", _STRING, "the zoo, or the plugin that failed"),
    Column("id", _STRING, "what the zoo calls the checkpoint", null="a whole plugin failed"),
    Column("revision", _STRING, "the pinned version of it", null="a whole plugin failed"),
    Column("url", _STRING, "where people find it", null=_NOT_STATED),
    Column(
        "stage",
        _STRING,
        "where the line stopped",
        "a stage of the crawl; `publish` for a takedown",
    ),
    Column("reason", _STRING, "why", "closed set: `filterzoo.Reason`"),
    Column("detail", _STRING, "one line for people"),
    Column("where", _STRING, "tensor, record or byte offset", null="the whole file"),
    Column("plugin", _STRING, "the plugin that was at work", null="none"),
    Column("licence", _STRING, "the licence, as far as it was known", null="unknown"),
)

_NOT_GIVEN = "not an attack that has it, or not stated"
_NO_ERRORS = "no wrong sample"
_ONE_KIND = "all samples are right, or all are wrong"
_CONFIDENCE_MEANINGS = {
    "model_id": (_MODEL_ID.meaning, "", "never"),
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


_CONFIDENCES = tuple(_confidence_column(field) for field in CONFIDENCE_SCHEMA)

_ONLY_INFERRED = "not inferred"
_LINEAGE_MEANINGS = {
    "model_id": (_MODEL_ID.meaning, "", "never"),
    "other": ("the `model_id` of the other one; a name as stated, where the data set lacks it", "", "never"),
    "kind": (
        "what joins them: facts, or a guess from weights (docs/measures.md, 6)",
        "copy, stated, shared_layers; inferred",
        "never",
    ),
    "score": (
        "copy: 1; shared_layers: share of the model's layers that the other has; inferred: 1 - the distance",
        "[0, 1]",
        "stated",
    ),
    "weights_distance": ("distance of their weights at equal shapes", "0 equal, 1 independent", _ONLY_INFERRED),
    "moments_distance": (
        "distance of their mean 3x3 filters, in units of what sampling gives",
        "0 equal, 1 independent",
        f"{_ONLY_INFERRED}, or fewer than three 3x3 layers",
    ),
    "direction": (
        "mean of ln(kurtosis of the other / of the model): the other is inferred to be the older one",
        "> 0",
        f"{_ONLY_INFERRED}, or not known: then in the order of names",
    ),
}
_LINEAGE = tuple(Column(field.name, field.type, *_LINEAGE_MEANINGS[field.name]) for field in LINEAGE_SCHEMA)

COLUMNS: dict[str, tuple[Column, ...]] = dict(
    zip(CONFIGS, (_MODELS, _LAYERS, _FILTERS, _SAMPLE, _STATUS, _SKIPPED, _CONFIDENCES, _LINEAGE), strict=True)
)
"""Config -> its columns, in order."""


def arrow_schema(config: str) -> pa.Schema:
    """The schema every file of the config has."""
    return pa.schema([(column.name, column.type) for column in COLUMNS[config]])


def is_schema_of(config: str, schema: pa.Schema) -> bool:
    """Whether a file has the columns of the config; those that came later may be missing."""
    names = set(schema.names)
    wanted = [column for column in COLUMNS[config] if column.name in names or not column.is_later]
    return bool(schema.equals(pa.schema([(column.name, column.type) for column in wanted])))


def with_every_column(config: str, table: pa.Table) -> pa.Table:
    """The rows with the columns that came after they were written, null."""
    for place, column in enumerate(COLUMNS[config]):
        if column.is_later and column.name not in table.schema.names:
            empty = pa.nulls(len(table), column.type)
            table = table.add_column(min(place, table.num_columns), column.name, empty)
    return table


def features(config: str) -> list[dict[str, Any]]:
    """The config's `features` as the README's `dataset_info` spells them."""
    return [_feature(column) for column in COLUMNS[config]]


def _feature(column: Column) -> dict[str, Any]:
    if not is_list(column.type):
        return {"name": column.name, "dtype": _dtype(column.type)}
    length = {"length": column.type.list_size} if pa.types.is_fixed_size_list(column.type) else {}
    return {"name": column.name, "list": _dtype(column.type.value_type), **length}


def _dtype(kind: pa.DataType) -> str:
    """Arrow says `float` and `double` where `datasets` says `float32` and `float64`."""
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
