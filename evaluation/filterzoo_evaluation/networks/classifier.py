"""A network that is ready to classify images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image

from filterzoo_evaluation.attacks.attack import Classify


@dataclass(frozen=True, slots=True)
class Classifier:
    """classify: images (n, c, h, w) in [0, 1] -> logits. prepare: an image of any size -> (c, h, w) in [0, 1].

    transform: a description of the preparation and the normalisation, for the table. has_gradients: False for a graph
    that can only run forward.
    """

    classify: Classify
    prepare: Callable[[Image.Image], torch.Tensor]
    transform: str
    has_gradients: bool = True


def normalised(network: torch.nn.Module, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> Classify:
    """The network with its normalisation as a first step, so that attacks work on images in [0, 1]."""
    shift = torch.tensor(mean, device=device)[None, :, None, None]
    scale = torch.tensor(std, device=device)[None, :, None, None]

    def classify(images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = network((images - shift) / scale)
        return logits

    return classify
