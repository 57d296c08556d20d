"""The measuring stage: a layer in canonical form -> its measures and sufficient statistics, in torch."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from filterzoo.errors import Reason, Refused, StartError
from filterzoo.layers.layer import LayerMeasure
from filterzoo.measures.entropy import variance_entropy, variance_entropy_threshold
from filterzoo.measures.frequency import frequency_energy
from filterzoo.measures.orthogonality import orthogonality
from filterzoo.measures.spectral import UNDEFINED, is_affordable, spectrum, takes_row_products
from filterzoo.measures.sweep import Blocks, sweep
from filterzoo.records import Kind

if TYPE_CHECKING:
    from filterzoo.layers.layer import Device, Doubles, Floats, Layer
    from filterzoo.measures.spectral import Spectrum
    from filterzoo.measures.sweep import Sums

_BLOCK_NUMBERS: Final = {"cpu": 8192 * 9, "cuda": 2**20 * 9}
"""Numbers measured at a time: as many as fit in the L2 cache, or fill a GPU. Fixed, since sums are rounded by block."""

_WORTH_A_GPU: Final = 2**17
"""Smallest layer that is measured on the GPU: below, launching its kernels takes longer than a CPU core does."""


class Measurer:
    """Measures layers on one device."""

    def __init__(self, device: Device = "auto") -> None:
        """Choose the device; `auto` is CUDA where torch sees a GPU.

        Raises:
            StartError: `cuda` was asked for and torch sees no GPU.
        """
        has_cuda = device != "cpu" and torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise StartError("device cuda: torch sees no CUDA device on this machine; use auto or cpu")
        self.device = torch.device("cuda" if has_cuda else "cpu")

    def measure(self, layer: Layer) -> LayerMeasure:
        """Measure one layer where that is quickest; see `measure_weights`."""
        device = self.device if layer.weights.size >= _WORTH_A_GPU else torch.device("cpu")
        return measure_weights(layer.weights, layer.groups, layer.kind, device=device)


def measure_weights(
    weights: Floats,
    groups: int | None = 1,
    kind: Kind = Kind.CONV,
    *,
    device: torch.device | None = None,
    block_numbers: int | None = None,
) -> LayerMeasure:
    """The measures that `docs/measures.md` defines, over a layer's finite filters.

    On the CPU, with one thread, equal weights give equal bytes. Beside the layer, a few blocks of about
    `block_numbers` numbers are held at a time; CUDA holds a copy of the layer as well.

    Args:
        weights: float32, (out, in/groups, *kernel), C order; only read.
        groups: of the convolution. Unknown (None) counts as 1, and leaves the orthogonality of a depthwise layer None.
        kind: of the convolution.
        device: where to compute; None for the CPU.
        block_numbers: None for the device's default.

    Raises:
        Refused: malformed; `groups` does not divide the output channels.
    """
    out, inputs, *kernel = weights.shape
    if groups is not None and (groups < 1 or out % groups):
        raise Refused(Reason.MALFORMED, f"{out} output channels do not split into {groups} groups")
    tensor = _tensor(weights).to(device or torch.device("cpu"))
    numbers = math.prod(kernel)
    block = (block_numbers or _BLOCK_NUMBERS[tensor.device.type]) // max(1, numbers)
    blocks = Blocks(tensor.reshape(out * inputs if numbers else 0, numbers), max(1, block))
    sums = sweep(blocks, with_statistics=kernel == [3, 3])
    can_compare = blocks.is_clean and not (groups is None and kind is Kind.DEPTHWISE)
    # The products of rows are made once, for both measures that need them.
    shared = can_compare and takes_row_products(tensor, groups or 1)
    products = torch.empty(out, out, dtype=torch.float64, device=tensor.device) if shared else None
    direction = orthogonality(tensor, groups or 1, products, blocks.peak or 1.0) if can_compare else None
    if direction is None:
        products = None
    has_spectrum = blocks.is_clean and is_affordable(tensor, groups or 1)
    spectral = spectrum(tensor, blocks.peak, sums.l2_norm, products) if has_spectrum else UNDEFINED
    frequencies = frequency_energy(blocks, kernel, sums.raw)
    return _layer_measure(blocks, sums, direction, spectral, frequencies)


def _layer_measure(
    blocks: Blocks, sums: Sums, direction: float | None, spectral: Spectrum, frequencies: Doubles | None
) -> LayerMeasure:
    n_finite, raw, scaled, histogram = blocks.n_finite, sums.raw, sums.scaled, sums.histogram
    return LayerMeasure(
        n_finite=n_finite,
        nan_count=blocks.nan_count,
        inf_count=blocks.inf_count,
        l1_norm=sums.l1_norm,
        l2_norm=sums.l2_norm,
        sparse_count=sums.sparse_count,
        sparsity=sums.sparse_count / n_finite if n_finite else None,
        orthogonality=direction,
        variance_entropy=None if raw is None else variance_entropy(raw),
        variance_entropy_threshold=None if raw is None else variance_entropy_threshold(n_finite),
        raw_mean=None if raw is None else raw.mean,
        raw_m2=None if raw is None else raw.packed,
        scaled_mean=None if scaled is None else scaled.mean,
        scaled_m2=None if scaled is None else scaled.packed,
        dct_histogram=None if histogram is None else histogram.astype(np.uint32).ravel(),
        spectral_norm=spectral.spectral_norm,
        stable_rank=spectral.stable_rank,
        effective_rank=spectral.effective_rank,
        power_law_alpha=spectral.power_law_alpha,
        frequency_energy=frequencies,
    )


def _tensor(weights: Floats) -> torch.Tensor:
    """The same memory as a tensor. torch warns of arrays that cannot be written; nothing here writes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(weights)
