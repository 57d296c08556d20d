"""A network that tests train and evaluate: named on the command line as `tests.evaluation.small_network:network`."""

from __future__ import annotations

import torch


def network() -> torch.nn.Module:
    """Digits of 8 x 8 pixels, ten classes."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 8, 3, padding=1, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    )
