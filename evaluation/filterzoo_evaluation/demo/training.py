"""Trains a network on images, normally or adversarially (Madry et al., ICLR 2018, arXiv:1706.06083)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from filterzoo_evaluation.attacks.pgd import ProjectedGradientDescent
from filterzoo_evaluation.demo.images import Images

EPS = {"digits": 0.1, "mnist": 0.1}
"""Radius of the Linf ball, for images in [0, 1], in adversarial training and in all attacks."""
EPOCHS = {"digits": 12, "mnist": 4}
_BATCH = 50
_STEPS = 5
_RATE = 3e-3


def trained(
    network: torch.nn.Module, image_set: str, data: Images, *, robust: bool, seed: int, epochs: int | None = None
) -> torch.nn.Module:
    """The trained network. robust: trained on images that PGD (5 steps, random start) attacked.

    eps grows during the first half of training: at full size from the start, small networks learn only the mean.
    """
    images = torch.from_numpy(data.images[: data.trained].astype(np.float32) / 255)[:, None]
    labels = torch.from_numpy(data.labels[: data.trained])
    optimizer = torch.optim.Adam(network.parameters(), _RATE)
    random = np.random.default_rng(seed)
    seen, rounds = 0, EPOCHS[image_set] if epochs is None else epochs
    for _ in range(rounds):
        for chosen in np.array_split(random.permutation(data.trained), data.trained // _BATCH):
            own, right = images[chosen], labels[chosen]
            if robust:
                share = min(1.0, (seen + len(chosen)) / (data.trained * rounds / 2))
                attack = ProjectedGradientDescent("Linf", share * EPS[image_set], steps=_STEPS, seed=seed)
                own = attack(network, own, right, range(seen, seen + len(chosen)))
            seen += len(chosen)
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(network(own), right)
            loss.backward()
            optimizer.step()
    return network.eval()


def accuracy(network: torch.nn.Module, data: Images) -> float:
    """The accuracy on clean images that are not in the training set."""
    images = torch.from_numpy(data.images[data.trained :].astype(np.float32) / 255)[:, None]
    with torch.no_grad():
        found = network(images).argmax(dim=1).numpy()
    return float((found == data.labels[data.trained :]).mean())
