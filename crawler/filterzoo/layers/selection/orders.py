"""The order of channel axes in the weights of transposed convolutions, by framework.

torch and Paddle write (in, out, *kernel) beside (out, in, *kernel) of other weights; Keras, TensorFlow and Haiku
(*kernel, out, in) beside (*kernel, in, out). Flax (unless `transpose_kernel`) and MLX have one order for both.
"""

from __future__ import annotations

import re

from filterzoo.records import Layout, Tensor

SWAPPED = {Layout.OI_K: Layout.IO_K, Layout.K_IO: Layout.K_OI}
"""The layout of a transposed convolution in a file of that order, where the framework swaps the channels."""

_FLAX_CLASS = re.compile(r"(^|[/.])(Conv|ConvTranspose)_\d+[/.]kernel$")
"""Flax names a module after its class unless told otherwise; no other framework writes a class so."""
_KERAS_CLASS = re.compile(r"(^|[/.~_])conv[123]_?d_transpose(_\d+)?[/.]", re.IGNORECASE)
"""So do Keras (`conv2d_transpose`) and Haiku (`conv2_d_transpose`)."""


def has_one(tensor: Tensor, framework: str | None) -> bool:
    """Whether the file's order of ordinary weights is that of its transposed ones too: Flax and MLX."""
    if tensor.layout is Layout.O_K_I:
        return framework in {
            "mlx",
            "numpy",
        }  # MLX writes npz files too; TFLite and spconv have graphs and no such layers
    is_flax = framework == "flax" or (
        framework not in {"keras", "tensorflow"} and _FLAX_CLASS.search(tensor.name) is not None
    )
    return tensor.layout is Layout.K_IO and is_flax


def is_swapped(tensor: Tensor, framework: str | None) -> bool:
    """Whether the framework certainly swaps the channel axes of transposed weights."""
    if tensor.layout is not Layout.K_IO:
        return True
    return framework in {"keras", "tensorflow"} or _KERAS_CLASS.search(tensor.name) is not None
