"""The measures of `filterzoo.measures.measure` on a device of torch, for GPUs."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Final

import torch

from filterzoo.layers.shapes import check_groups
from filterzoo.measures.descent import kurtosis_of, probe
from filterzoo.measures.frequency import basis_of, energy_of_moments, frequency_energy, is_measured
from filterzoo.measures.on_torch.orthogonality import orthogonality
from filterzoo.measures.on_torch.sweep import Blocks, sweep
from filterzoo.measures.spectral import UNDEFINED, is_affordable, lose_digits, spectrum, takes_row_products
from filterzoo.measures.sums import FilterCounts, layer_measure
from filterzoo.records import Kind

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats, LayerMeasure
    from filterzoo.measures.statistics import Moments

_BLOCK_NUMBERS: Final = {"cpu": 8192 * 9, "cuda": 2**20 * 9}
"""Numbers measured at a time: as many as fit in the L2 cache, or fill a GPU. Fixed, because rounding depends on it."""
_GRAM_NUMBERS: Final = 2**24
"""Numbers converted to float64 at a time."""


def measure_weights(
    weights: Floats,
    groups: int | None = 1,
    kind: Kind = Kind.CONV,
    *,
    device: str,
    block_numbers: int | None = None,
) -> LayerMeasure:
    """See `measures.measure.measure_weights`; results agree with it within the tolerances of docs/measures.md.

    The device holds a copy of the layer, and a few blocks of about `block_numbers` numbers at a time (None: the
    device's default). `device="cpu"` is for tests.
    """
    check_groups(weights.shape, groups)
    out, inputs, *kernel = weights.shape
    tensor = _tensor(weights).to(torch.device(device))
    numbers = math.prod(kernel)
    block = (block_numbers or _BLOCK_NUMBERS[tensor.device.type]) // max(1, numbers)
    blocks = Blocks(tensor.reshape(out * inputs if numbers else 0, numbers), max(1, block))
    sums = sweep(blocks, with_statistics=kernel == [3, 3])
    can_compare = blocks.is_clean and not (groups is None and kind is Kind.DEPTHWISE)
    has_spectrum = blocks.is_clean and blocks.peak > 0 and is_affordable(weights.shape, groups or 1)
    shared = has_spectrum and can_compare and takes_row_products(weights.shape, groups or 1)
    products = torch.empty(out, out, dtype=torch.float64, device=tensor.device) if shared else None
    direction = orthogonality(tensor, groups or 1, products, blocks.peak or 1.0) if can_compare else None
    if direction is None:
        products = None
    spectral = UNDEFINED
    if has_spectrum:
        spectral = spectrum(_eigenvalues(tensor.reshape(out, -1), blocks.peak, products), blocks.peak, sums.l2_norm)
    counts = FilterCounts(
        n_finite=blocks.n_finite, nan_count=blocks.nan_count, inf_count=blocks.inf_count, peak=blocks.peak
    )
    return layer_measure(
        counts,
        sums,
        direction,
        spectral,
        frequencies=_frequencies(blocks, kernel, sums.raw),
        kurtosis=_kurtosis(blocks, numbers),
        probe=probe(weights) if blocks.is_clean else None,
    )


def _eigenvalues(matrix: torch.Tensor, peak: float, products: torch.Tensor | None) -> Doubles:
    """See `spectral.eigenvalues`."""
    if products is not None:
        found: Doubles = torch.linalg.eigvalsh(products, UPLO="U").cpu().numpy()
        if not lose_digits(found, products.diagonal().cpu().numpy()):
            return found
    values: Doubles = torch.linalg.eigvalsh(_gram(matrix, peak), UPLO="U").cpu().numpy()
    return values


def _kurtosis(blocks: Blocks, numbers: int) -> float | None:
    """See `descent.kurtosis`; numbers: of a filter."""
    count = blocks.n_finite * numbers
    if not count or blocks.peak == 0:
        return None
    total, powers = (torch.zeros(size, dtype=torch.float64, device=blocks.device) for size in (1, 2))
    for block in blocks:
        total += block.double().div_(blocks.peak).sum()
    mean = float(total) / count
    for block in blocks:
        squares = block.double().div_(blocks.peak).sub_(mean).square_().flatten()
        powers += torch.stack([squares.sum(), squares @ squares])
    return kurtosis_of(count, float(powers[0]), float(powers[1]))


def _frequencies(blocks: Blocks, kernel: list[int], raw: Moments | None) -> Doubles | None:
    if not is_measured(kernel) or not blocks.n_finite or blocks.peak == 0:
        return None
    side = kernel[0]
    if raw is not None:
        return frequency_energy(energy_of_moments(raw), side)
    basis = torch.from_numpy(basis_of(side)).to(blocks.device)
    total = torch.zeros(len(basis), dtype=torch.float64, device=blocks.device)
    for block in blocks:
        total += torch.mm(basis, block.double().div_(blocks.peak).T).square_().sum(dim=1)
    return frequency_energy(total.cpu().numpy(), side)


def _gram(matrix: torch.Tensor, peak: float) -> torch.Tensor:
    """float64 M M^T or M^T M, whichever is smaller, of M = matrix / peak."""
    rows, columns = matrix.shape
    side = min(rows, columns)
    gram = torch.zeros(side, side, dtype=torch.float64, device=matrix.device)
    for piece in torch.split(matrix, max(1, _GRAM_NUMBERS // side), dim=0 if columns <= rows else 1):
        part = piece.double().div_(peak)
        gram.addmm_(part.T, part) if columns <= rows else gram.addmm_(part, part.T)
    return gram


def _tensor(weights: Floats) -> torch.Tensor:
    """The same memory as a tensor. torch warns of arrays that cannot be written; nothing here writes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(weights)
