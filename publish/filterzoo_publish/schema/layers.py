"""The columns of `layers`: a row for each layer of each checkpoint."""

from __future__ import annotations

import pyarrow as pa

from filterzoo.store.fragments import LATER_COLUMNS, LAYER_SCHEMA
from filterzoo_publish.schema.column import (
    ARCHITECTURE,
    CATEGORY,
    INT,
    LAYER_ID,
    LICENCE_CLASS,
    MODEL_ID,
    ROBUST,
    SOURCE,
    STRING,
    TASK,
    TRAINING,
    Column,
)

_NOT_3X3 = "not 3x3"
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
    "layer_id": (LAYER_ID.meaning, LAYER_ID.unit, "never"),
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
LAYERS = (
    MODEL_ID,
    SOURCE,
    LICENCE_CLASS,
    ARCHITECTURE,
    TASK,
    TRAINING,
    CATEGORY,
    ROBUST,
    *(
        Column(field.name, field.type, meaning, unit, null, is_later=field.name in LATER_COLUMNS)
        for field in LAYER_SCHEMA
        for meaning, unit, null in (_LAYER_MEANINGS[field.name],)
    ),
    Column("filters_file", STRING, "the file of `filters` that holds its filters", null=_NO_FILTERS),
    Column(
        "filters_row_group", pa.int32(), "the row group in that file that starts with or holds them", "", _NO_FILTERS
    ),
    Column("filters_first_row", INT, "their first row in that file; the others follow it", "0 = first", _NO_FILTERS),
    Column("filters_rows", pa.int32(), "how many rows they are", "", _NO_FILTERS),
)
