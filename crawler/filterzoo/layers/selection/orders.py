"""The order of channel axes in the weights of transposed convolutions, by framework.

torch and Paddle store transposed weights as (in, out, *kernel) and others as (out, in, *kernel). Keras, TensorFlow and
Haiku store them as (*kernel, out, in), and others as (*kernel, in, out). Flax (unless `transpose_kernel`) and MLX use
one order for both.
"""

from __future__ import annotations

import re

from filterzoo.records import Layout, Tensor

SWAPPED = {Layout.OI_K: Layout.IO_K, Layout.K_IO: Layout.K_OI}
"""The layout of transposed convolutions, by that of ordinary ones, in frameworks that swap the channels."""

_FLAX_CLASS = re.compile(r"(^|[/.])(Conv|ConvTranspose)_\d+[/.]kernel$")
"""By default Flax names a module after its class; no other framework spells classes this way."""
_KERAS_CLASS = re.compile(r"(^|[/.~_])conv[123]_?d_transpose(_\d+)?[/.]", re.IGNORECASE)
"""The class names of Keras (`conv2d_transpose`) and Haiku (`conv2_d_transpose`)."""


def has_one(tensor: Tensor, framework: str | None) -> bool:
    """Whether transposed weights have the same order as ordinary ones: in Flax and MLX."""
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
