"""The measuring stage: a layer in canonical form -> its measures and sufficient statistics, on a CPU core or a GPU."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.errors import StartError
from filterzoo.layers.layer import LayerMeasure
from filterzoo.layers.shapes import check_groups
from filterzoo.measures.compiled.kernels import largest_bits, scratch
from filterzoo.measures.descent import kurtosis, probe
from filterzoo.measures.frequency import energy_of_filters, energy_of_moments, frequency_energy, is_measured
from filterzoo.measures.orthogonality import orthogonality
from filterzoo.measures.spectral import UNDEFINED, eigenvalues, is_affordable, spectrum, takes_row_products
from filterzoo.measures.sums import FilterCounts, Sums, layer_measure, sums_of
from filterzoo.records import Kind

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats, Layer
    from filterzoo.measures.device import Device
    from filterzoo.measures.statistics import Moments

_WORTH_A_GPU: Final = 2**17
"""Smallest layer that is measured on the GPU: for smaller ones, launching kernels takes longer than a CPU core."""
_SIGNS_OF_A_GPU: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
"""Device files of GPU drivers that torch supports on Linux: if there are none, torch is not loaded."""


class Measurer:
    """Measures layers on one device."""

    def __init__(self, device: Device = "auto") -> None:
        """Choose the device; `auto` is CUDA if torch sees a GPU.

        Raises:
            StartError: `cuda` was requested and torch sees no GPU.
        """
        may_have = device == "cuda" or (device == "auto" and any(sign.exists() for sign in _SIGNS_OF_A_GPU))
        self.device = "cuda" if may_have and _torch_sees_a_gpu() else "cpu"
        if device == "cuda" and self.device == "cpu":
            raise StartError("device cuda: torch sees no CUDA device on this machine; use auto or cpu")

    def measure(self, layer: Layer) -> LayerMeasure:
        """Measure one layer on the faster device; see `measure_weights`."""
        if self.device == "cpu" or layer.weights.size < _WORTH_A_GPU:
            return measure_weights(layer.weights, layer.groups, layer.kind)
        from filterzoo.measures.on_torch import measure as torch_measure  # noqa: PLC0415  # torch takes seconds to load

        return torch_measure.measure_weights(layer.weights, layer.groups, layer.kind, device=self.device)


def measure_weights(weights: Floats, groups: int | None = 1, kind: Kind = Kind.CONV) -> LayerMeasure:
    """The measures that `docs/measures.md` defines, over a layer's finite filters, on one CPU core.

    With one arithmetic thread, equal weights give equal bytes. Besides the layer, a few tiles of products are in
    memory, and for a layer with a NaN or Inf also its finite filters.

    Args:
        weights: float32, (out, in/groups, *kernel), C order; only read.
        groups: of the convolution. Unknown (None) counts as 1, and leaves the orthogonality of a depthwise layer None.
        kind: of the convolution.

    Raises:
        Refused: malformed; `groups` does not divide the output channels.
    """
    check_groups(weights.shape, groups)
    weights = np.ascontiguousarray(weights)
    out, inputs, *kernel = weights.shape
    numbers = math.prod(kernel)
    filters = weights.reshape(out * inputs if numbers else 0, numbers)
    finite, counts = finite_filters(filters)
    sums: Sums = sums_of(finite, counts.peak, with_statistics=kernel == [3, 3])
    can_compare = counts.is_clean and not (groups is None and kind is Kind.DEPTHWISE)
    has_spectrum = counts.is_clean and counts.peak > 0 and is_affordable(weights.shape, groups or 1)
    # The products of rows are computed once, for both measures that need them.
    shared = has_spectrum and can_compare and takes_row_products(weights.shape, groups or 1)
    products = scratch("products", out * out).reshape(out, out) if shared else None
    direction = orthogonality(weights, groups or 1, products, counts.peak or 1.0) if can_compare else None
    if direction is None:
        products = None
    spectral = UNDEFINED
    if has_spectrum:
        spectral = spectrum(eigenvalues(weights, counts.peak, products), counts.peak, sums.l2_norm)
    return layer_measure(
        counts,
        sums,
        direction,
        spectral,
        frequencies=_frequencies(finite, kernel, counts.peak, sums.raw),
        kurtosis=None if sums.totals is None else kurtosis(finite, sums.totals, counts.peak),
        probe=probe(weights) if counts.is_clean else None,
    )


def _frequencies(filters: Floats, kernel: list[int], peak: float, raw: Moments | None) -> Doubles | None:
    if not is_measured(kernel) or not len(filters) or peak == 0:
        return None
    energy = energy_of_filters(filters, peak, kernel[0]) if raw is None else energy_of_moments(raw)
    return frequency_energy(energy, kernel[0])


def finite_filters(filters: Floats) -> tuple[Floats, FilterCounts]:
    """Filters (n, k) without those with a NaN or Inf, and the counts."""
    peak = largest(filters)
    if math.isfinite(peak):
        return filters, FilterCounts(n_finite=len(filters), nan_count=0, inf_count=0, peak=peak)
    finite = filters[np.isfinite(filters).all(axis=1)]
    return finite, FilterCounts(
        n_finite=len(finite),
        nan_count=int(np.isnan(filters).sum()),
        inf_count=int(np.isinf(filters).sum()),
        peak=largest(finite),
    )


def largest(filters: Floats) -> float:
    """The largest absolute value of C-ordered float32 numbers, NaN or Inf if there is one; 0.0 for an empty array."""
    bits = np.array([largest_bits(filters.reshape(-1).view(np.uint32))], np.uint32)
    return float(bits.view(np.float32)[0])


def _torch_sees_a_gpu() -> bool:
    import torch  # noqa: PLC0415  # as above

    return torch.cuda.is_available()
