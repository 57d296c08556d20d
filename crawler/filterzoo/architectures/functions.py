"""Which activation functions an architecture applies, and how it reduces the resolution of its features."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

_ACTIVATIONS = frozenset(
    {
        *("celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu"),
        *("logsigmoid", "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus"),
        *("softshrink", "softsign", "tanh", "tanhshrink", "threshold"),
    }
)
"""torch's activation functions; softmax is not counted, because it is used in attention and after the logits."""
_POOLS = re.compile(r"(?:adaptive_|fractional_)?(max|avg|lp)_pool[123]d(?:_with_indices)?")
_CONVOLUTION = re.compile(r"conv[123]d")
_POOL_WORDS = {"max": "max", "avg": "average", "lp": "lp"}
_IS_TRANSFORM, _IS_INVERSE = re.compile(r"fft_r?fft[2n]"), re.compile(r"fft_ir?fft[2n]")


class FunctionCount:
    """Counts the functions that one run applies to tensors that depend on an input.

    A pooling is counted if its output is smaller along an axis and is not a single element: the global average before a
    classifier is not counted. FrequencyLowCut pooling (arXiv:2204.00491) transforms, keeps the low frequencies and
    transforms back: an inverse transform to a smaller size than that of the input.
    """

    def __init__(self) -> None:
        self._activations: Counter[str] = Counter()
        self._poolings: Counter[str] = Counter()
        self._spectra: dict[int, tuple[torch.Tensor, tuple[int, ...]]] = {}
        """id -> a spectrum or a tensor computed from it (kept alive, as its id is the key), and the size before."""

    def note(self, name: str, convolution: Mapping[str, Any] | None, arguments: Any, result: Any) -> None:
        """Count one call of the function `name`. convolution: for a convolution, its arguments by name, and `fixed`."""
        operand = next((leaf for leaf in tree_leaves(arguments) if isinstance(leaf, torch.Tensor)), None)
        output = next((leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)), None)
        if operand is None or output is None:
            return
        plain = name.rstrip("_")
        if plain in _ACTIVATIONS:
            is_relu6 = plain == "hardtanh" and {0.0, 6.0} <= _numbers(arguments)
            self._activations["relu6" if is_relu6 else plain] += 1
        elif pool := _POOLS.fullmatch(plain):
            self._reduced(_POOL_WORDS[pool[1]], operand, output)
        elif _CONVOLUTION.fullmatch(plain) and convolution is not None:
            if max(np.atleast_1d(convolution.get("stride", 1))) > 1:
                self._reduced("blur" if convolution["fixed"] else "stride", operand, output)
        else:
            self._note_transform(plain, operand, output)

    @property
    def activation(self) -> str | None:
        """Names of activation functions, the most frequent first; None for none."""
        return _listed(self._activations)

    @property
    def pooling(self) -> str | None:
        """Words of `models.pooling`, the most frequent first; None for none."""
        return _listed(self._poolings)

    def _reduced(self, word: str, operand: torch.Tensor, output: torch.Tensor) -> None:
        if operand.ndim == output.ndim and _is_smaller(output.shape[2:], operand.shape[2:]):
            self._poolings[word] += 1

    def _note_transform(self, name: str, operand: torch.Tensor, output: torch.Tensor) -> None:
        if _IS_TRANSFORM.fullmatch(name):
            self._spectra[id(output)] = (output, tuple(operand.shape[2:]))
        elif id(operand) in self._spectra:
            size = self._spectra[id(operand)][1]
            if not _IS_INVERSE.fullmatch(name):
                self._spectra[id(output)] = (output, size)
            elif _is_smaller(output.shape[2:], size):
                self._poolings["flc"] += 1


def _numbers(arguments: Any) -> set[float]:
    return {leaf for leaf in tree_leaves(arguments) if isinstance(leaf, float | int)}


def _is_smaller(now: tuple[int, ...], before: tuple[int, ...]) -> bool:
    """Whether the size shrank along some axis and is not 1 along all."""
    if len(now) != len(before) or not now:
        return False
    return any(a < b for a, b in zip(now, before, strict=True)) and any(a > 1 for a in now)


def _listed(counts: Counter[str]) -> str | None:
    return ", ".join(sorted(counts, key=lambda word: (-counts[word], word))) or None
