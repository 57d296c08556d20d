"""The settings and the interface of attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from filterzoo.errors import StartError

Norm = Literal["Linf", "L2"]
Classify = Callable[[torch.Tensor], torch.Tensor]
"""Images (n, c, h, w) in [0, 1] -> logits (n, classes)."""
FIXED_BUDGET = "fixed_budget"
"""Every image gets all steps or queries, also after its first error. This is the only stop rule: stopping at the first
error leaves samples barely misclassified, and their low confidence would make errors too easy to detect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackSettings:
    """The columns of a table of logits that describe the attack; None for settings that the attack does not have."""

    attack: str = "none"
    norm: Norm | None = None
    eps: float | None = None
    steps: int | None = None
    step_size: float | None = None
    restarts: int | None = None
    queries: int | None = None
    stop_rule: str | None = None
    seed: int | None = None


class Attack(Protocol):
    """Perturbs images within `settings.eps` so that the network errs. numbers: the images' indices in their set."""

    settings: AttackSettings

    def __call__(
        self, classify: Classify, images: torch.Tensor, labels: torch.Tensor, numbers: Sequence[int]
    ) -> torch.Tensor:
        """The attacked images, of the same shape, in [0, 1]."""
        ...


def check(settings: AttackSettings) -> None:
    """StartError for invalid settings."""
    for name in ("eps", "step_size"):
        value = getattr(settings, name)
        if value is not None and not 0 < value < float("inf"):
            raise StartError(f"--{name.replace('_', '-')} {value}: must be above 0")
    for name in ("steps", "restarts", "queries"):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise StartError(f"--{name} {value}: must be at least 1")


def generator(seed: int, number: int, draw: int = 0) -> torch.Generator:
    """The generator of an image: independent of batch size, order and number of workers."""
    mixed = (seed * 1_000_003 + number) * 1_009 + draw
    return torch.Generator().manual_seed(mixed % (1 << 63))


def noise(seed: int, numbers: Sequence[int], shape: Sequence[int], draw: int) -> torch.Tensor:
    """(n, *shape): standard normal numbers, for each image from its own generator."""
    return torch.stack([torch.randn(*shape, generator=generator(seed, number, draw)) for number in numbers])


def uniform(seed: int, numbers: Sequence[int], shape: Sequence[int], draw: int) -> torch.Tensor:
    """(n, *shape): uniform numbers in [0, 1), for each image from its own generator."""
    return torch.stack([torch.rand(*shape, generator=generator(seed, number, draw)) for number in numbers])


def signs(random: torch.Generator, shape: Sequence[int]) -> torch.Tensor:
    """Random signs of this shape: 1 or -1 with equal probability."""
    return torch.randint(0, 2, tuple(shape), generator=random) * 2.0 - 1.0


def integer(random: torch.Generator, below: int) -> int:
    """A uniform integer from 0 to below - 1."""
    return int(torch.randint(0, below, (1,), generator=random))
