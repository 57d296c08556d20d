"""The small networks of the demonstration: one architecture, in variants of activation function and pooling."""

from __future__ import annotations

from functools import partial

import torch

WIDTH = 24
_ACTIVATIONS = {"relu": torch.nn.ReLU, "silu": torch.nn.SiLU}
_SIDES = {"digits": 8, "mnist": 28}
VARIANTS = ("relu_stride", "silu_stride", "relu_max")


def small_cnn(image_set: str, variant: str) -> torch.nn.Sequential:
    """Four 3x3 convolutions, of which two halve the resolution, for grey images of the set's size and ten classes."""
    activation, pooling = variant.split("_")
    act = _ACTIVATIONS[activation]
    side = -(-_SIDES[image_set] // 4)

    def halving(inputs: int) -> list[torch.nn.Module]:
        if pooling == "max":
            return [torch.nn.Conv2d(inputs, WIDTH, 3, padding=1), act(), torch.nn.MaxPool2d(2, ceil_mode=True)]
        return [torch.nn.Conv2d(inputs, WIDTH, 3, stride=2, padding=1), act()]

    return torch.nn.Sequential(
        *halving(1),
        torch.nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        act(),
        *halving(WIDTH),
        torch.nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
        act(),
        torch.nn.Flatten(),
        torch.nn.Linear(WIDTH * side * side, 10),
    )


# The names for `--network filterzoo_evaluation.demo.networks:NAME`.
digits_relu_stride = partial(small_cnn, "digits", "relu_stride")
digits_silu_stride = partial(small_cnn, "digits", "silu_stride")
digits_relu_max = partial(small_cnn, "digits", "relu_max")
mnist_relu_stride = partial(small_cnn, "mnist", "relu_stride")
mnist_silu_stride = partial(small_cnn, "mnist", "silu_stride")
mnist_relu_max = partial(small_cnn, "mnist", "relu_max")
