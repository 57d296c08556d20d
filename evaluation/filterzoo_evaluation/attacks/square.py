"""Square (Andriushchenko et al., ECCV 2020, arXiv:1912.00049), Linf and L2: random search without gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from filterzoo_evaluation.attacks import square_l2
from filterzoo_evaluation.attacks.attack import (
    FIXED_BUDGET,
    AttackSettings,
    Classify,
    Norm,
    check,
    generator,
    signs,
)

_SHARE = 0.8
"""Share of the image's pixels in the first square, for both norms as in AutoAttack (arXiv:2003.01690)."""
_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""The queries of 10,000 after which the share is halved (section 3.2 of the paper). They are scaled to the budget."""

Random = Sequence[torch.Generator]
"""One generator for each image."""
_Start = Callable[[torch.Tensor, float, Random], torch.Tensor]
_Propose = Callable[[torch.Tensor, torch.Tensor, float, int, Random], torch.Tensor]


class Square:
    """Each query changes one square of each image. The change is kept if the margin decreases.

    The margin is the logit of the label minus the largest other logit. All queries are made, also after the first
    error. Linf: starts with vertical stripes; a query recolours a square. L2: starts with tiles of pyramids; a query
    moves the change of one square to another (`square_l2`).
    """

    def __init__(self, norm: Norm, eps: float, *, queries: int = 5000, seed: int = 0) -> None:
        self.settings = AttackSettings(
            attack="square", norm=norm, eps=eps, queries=queries, stop_rule=FIXED_BUDGET, seed=seed
        )
        check(self.settings)
        self._norm: Norm = norm
        self._eps, self._queries, self._seed = eps, queries, seed

    @torch.no_grad()
    def __call__(
        self, classify: Classify, images: torch.Tensor, labels: torch.Tensor, numbers: Sequence[int]
    ) -> torch.Tensor:
        """See `Attack`."""
        is_l2 = self._norm == "L2"
        start: _Start = square_l2.start if is_l2 else _stripes
        propose: _Propose = square_l2.propose if is_l2 else _recoloured
        random = [generator(self._seed, number) for number in numbers]
        best = start(images, self._eps, random)
        margins = _margins(classify(best), labels)
        for query in range(1, self._queries):
            pixels = self._share(query) * images.shape[2] * images.shape[3]
            tried = propose(best, images, self._eps, round(math.sqrt(pixels)), random)
            found = _margins(classify(tried), labels)
            is_better = found < margins
            best = torch.where(is_better[:, None, None, None], tried, best)
            margins = torch.where(is_better, found, margins)
        return best

    def _share(self, query: int) -> float:
        """The share of the image's pixels in the square of this query."""
        halvings = sum(query * 10_000 / self._queries > bound for bound in _HALVED_AT)
        return _SHARE / float(2**halvings)


def _stripes(images: torch.Tensor, eps: float, random: Random) -> torch.Tensor:
    shape = (images.shape[1], 1, images.shape[3])
    return (images + eps * torch.stack([signs(own, shape) for own in random]).to(images)).clamp(0, 1)


def _recoloured(best: torch.Tensor, images: torch.Tensor, eps: float, side: int, random: Random) -> torch.Tensor:
    channels, height, width = images.shape[1:]
    side = max(1, min(side, height, width))
    # For each image: the corner of its square, then the sign of each channel.
    drawn = torch.stack([torch.rand(2 + channels, generator=own) for own in random])
    corners = (drawn[:, :2] * torch.tensor([height - side + 1, width - side + 1])).long().to(images.device)
    rows, columns = (_within(corners[:, axis], side, length) for axis, length in enumerate((height, width)))
    is_in = (rows[:, :, None] & columns[:, None, :])[:, None]
    colours = (eps * torch.where(drawn[:, 2:] < 0.5, -1.0, 1.0))[:, :, None, None].to(images)
    return torch.where(is_in, (images + colours).clamp(0, 1), best)


def _within(first: torch.Tensor, side: int, length: int) -> torch.Tensor:
    """(n, length): whether each index of an axis is among the `side` indices from `first` (n,) on."""
    place = torch.arange(length, device=first.device)[None]
    return (place >= first[:, None]) & (place < first[:, None] + side)


def _margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.max(dim=1).values
