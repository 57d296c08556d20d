"""A layer in canonical form, and its measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from filterzoo.computation import Way
from filterzoo.layers.shapes import kernel_name
from filterzoo.records import Context, Evidence, Kind

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One convolution layer: `weights` is float32, (out, in/groups, *kernel), C order (docs/measures.md, 1).

    dtype: the stored type, under safetensors' name. layer_id: sha256 of shape and bytes, hex (`normalise.layer_id`).
    conv_depth: rank of the layer's depth, 0 = first; conv_depth_norm: in [0, 1] (docs/measures.md, 2).
    """

    index: int
    name: str
    kind: Kind
    weights: Floats
    dtype: str
    context: Context
    layer_id: str
    conv_depth: int
    conv_depth_norm: float
    groups: int | None
    stride: tuple[int, ...] | None
    dilation: tuple[int, ...] | None
    padding: tuple[int, ...] | None
    evidence: Evidence = Evidence.FORMAT
    """What determined that it is a convolution, its kind and the meaning of its axes."""
    computed: Way | None = None
    """How the weights are computed; None if they are stored."""

    @property
    def n_filters(self) -> int:
        """out * in/groups."""
        return int(self.weights.shape[0] * self.weights.shape[1])

    @property
    def kernel(self) -> str:
        """The kernel's size as manifests spell it: `3x3`, `5`, `3x3x3`."""
        return kernel_name(self.weights.shape[2:])


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMeasure:
    """The measures and sufficient statistics of docs/measures.md, 3 and 4; None if undefined, never NaN.

    raw_mean, scaled_mean: float64 (9,). raw_m2, scaled_m2: float64 (45,), the upper triangle row by row of
    sum (f - mean)(f - mean)^T. dct_histogram: uint32 (630,), coefficient-major. These five are None except for 3x3.
    frequency_energy: float64, by radial frequency; None except for kernels from 3x3 to 7x7. probe: float32, at most 32.
    """

    n_finite: int
    nan_count: int
    inf_count: int
    l1_norm: float
    l2_norm: float
    sparse_count: int
    sparsity: float | None
    orthogonality: float | None
    variance_entropy: float | None
    variance_entropy_threshold: float | None
    raw_mean: Doubles | None
    raw_m2: Doubles | None
    scaled_mean: Doubles | None
    scaled_m2: Doubles | None
    dct_histogram: Counts | None
    spectral_norm: float | None = None
    stable_rank: float | None = None
    effective_rank: float | None = None
    power_law_alpha: float | None = None
    frequency_energy: Doubles | None = None
    kurtosis: float | None = None
    probe: Floats | None = None
