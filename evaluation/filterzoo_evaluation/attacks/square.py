"""Square (Andriushchenko et al., ECCV 2020, arXiv:1912.00049), Linf: random search by squares, without gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from filterzoo.errors import StartError
from filterzoo_evaluation.attacks.attack import FIXED_BUDGET, AttackSettings, Classify, Norm, check, generator

_SHARE = 0.8
"""Share of the image's pixels in the first square, as in the authors' experiments."""
_HALVED_AT = (10, 50, 200, 1000, 2000, 4000, 6000, 8000)
"""Of 10,000 queries: where the share is halved (section 3.2 of the paper); scaled to the budget."""


class Square:
    """Starts with vertical stripes; each query recolours one square and keeps it where the margin shrinks.

    The margin is the logit of the label minus the largest other. All queries are made, also after the first error.
    """

    def __init__(self, norm: Norm, eps: float, *, queries: int = 5000, seed: int = 0) -> None:
        if norm != "Linf":
            raise StartError(f"--attack square --norm {norm}: Square is there for Linf only")
        self.settings = AttackSettings(
            attack="square", norm=norm, eps=eps, queries=queries, stop_rule=FIXED_BUDGET, seed=seed
        )
        check(self.settings)
        self._eps, self._queries, self._seed = eps, queries, seed

    @torch.no_grad()
    def __call__(
        self, classify: Classify, images: torch.Tensor, labels: torch.Tensor, numbers: Sequence[int]
    ) -> torch.Tensor:
        """See `Attack`."""
        random = [generator(self._seed, number) for number in numbers]
        channels, height, width = images.shape[1:]
        stripes = torch.stack([_signs(one, (channels, 1, width)) for one in random]).to(images)
        best = (images + self._eps * stripes).clamp(0, 1)
        margins = _margins(classify(best), labels)
        for query in range(1, self._queries):
            side = self._side(query, height, width)
            tried = best.clone()
            for place, one in enumerate(random):
                top, left = _integer(one, height - side + 1), _integer(one, width - side + 1)
                square = (slice(None), slice(top, top + side), slice(left, left + side))
                colour = self._eps * _signs(one, (channels, 1, 1)).to(images)
                tried[place][square] = (images[place][square] + colour).clamp(0, 1)
            found = _margins(classify(tried), labels)
            is_better = found < margins
            best = torch.where(is_better[:, None, None, None], tried, best)
            margins = torch.where(is_better, found, margins)
        return best

    def _side(self, query: int, height: int, width: int) -> int:
        halvings = sum(query * 10_000 / self._queries > bound for bound in _HALVED_AT)
        side = round(math.sqrt(_SHARE / 2**halvings * height * width))
        return max(1, min(side, height, width))


def _margins(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.max(dim=1).values


def _signs(random: torch.Generator, shape: Sequence[int]) -> torch.Tensor:
    return torch.randint(0, 2, tuple(shape), generator=random) * 2.0 - 1.0


def _integer(random: torch.Generator, below: int) -> int:
    return int(torch.randint(0, below, (1,), generator=random))
