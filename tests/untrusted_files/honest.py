"""All honest files: what frameworks write and everything there must be read, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tests.untrusted_files import honest_keras, honest_others, honest_torch

Layers = dict[str, np.ndarray]
"""Canonical weights by layer name; "" for the only layer, whatever it is called."""

VARIANTS: dict[str, tuple[str, Callable[[Path], Layers]]] = {
    label: (name, write)
    for files in (
        honest_torch.checkpoints(),
        honest_torch.scripts(),
        honest_others.safetensors_files(),
        honest_others.onnx_files(),
        honest_others.npz_files(),
        honest_others.tflite_files(),
        honest_keras.files(),
    )
    for label, name, write in files
}
"""Label -> file name, and what writes the file and says what its framework reads in it."""
