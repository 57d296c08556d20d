"""Projected gradient descent on the cross-entropy (Madry et al., ICLR 2018, arXiv:1706.06083), Linf and L2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from filterzoo_evaluation.attacks.attack import FIXED_BUDGET, AttackSettings, Classify, Norm, check, noise, uniform

_TINY = 1e-12


class ProjectedGradientDescent:
    """Starts at a random point of the ball. Each step ascends the loss and projects back into the ball and [0, 1].

    For each image, the restart with the largest final loss is used. step_size: 2.5 eps/steps by default (Madry's rule
    of thumb for Linf; arXiv:2210.05938 does not publish its settings).
    """

    def __init__(
        self,
        norm: Norm,
        eps: float,
        *,
        steps: int = 40,
        step_size: float | None = None,
        restarts: int = 1,
        seed: int = 0,
    ) -> None:
        self.settings = AttackSettings(
            attack="pgd",
            norm=norm,
            eps=eps,
            steps=steps,
            step_size=2.5 * eps / max(steps, 1) if step_size is None else step_size,
            restarts=restarts,
            stop_rule=FIXED_BUDGET,
            seed=seed,
        )
        check(self.settings)
        self._norm: Norm = norm
        self._eps, self._steps, self._restarts, self._seed = eps, steps, restarts, seed
        self._step_size = float(self.settings.step_size or 0.0)

    def __call__(
        self, classify: Classify, images: torch.Tensor, labels: torch.Tensor, numbers: Sequence[int]
    ) -> torch.Tensor:
        """See `Attack`."""
        best, best_loss = images, torch.full((len(images),), -torch.inf, device=images.device)
        for restart in range(self._restarts):
            attacked = self._run(classify, images, labels, numbers, restart)
            with torch.no_grad():
                loss = functional.cross_entropy(classify(attacked), labels, reduction="none")
            is_better = loss > best_loss
            best = torch.where(is_better[:, None, None, None], attacked, best)
            best_loss = torch.where(is_better, loss, best_loss)
        return best

    def _run(
        self, classify: Classify, images: torch.Tensor, labels: torch.Tensor, numbers: Sequence[int], restart: int
    ) -> torch.Tensor:
        attacked = project(images + self._start(images, numbers, restart), images, self._norm, self._eps)
        for _ in range(self._steps):
            attacked.requires_grad_()
            loss = functional.cross_entropy(classify(attacked), labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, attacked)
            step = gradient.sign() if self._norm == "Linf" else gradient / lengths(gradient).clamp_min(_TINY)
            attacked = project(attacked.detach() + self._step_size * step, images, self._norm, self._eps)
        return attacked

    def _start(self, images: torch.Tensor, numbers: Sequence[int], restart: int) -> torch.Tensor:
        shape = images.shape[1:]
        if self._norm == "Linf":
            return ((2 * uniform(self._seed, numbers, shape, restart) - 1) * self._eps).to(images)
        direction = noise(self._seed, numbers, shape, restart)
        # Uniform in a ball of d dimensions: the radius is the d-th root of a uniform number.
        radius = uniform(self._seed, numbers, (1, 1, 1), self._restarts + restart) ** (1 / direction[0].numel())
        return (direction / lengths(direction).clamp_min(_TINY) * radius * self._eps).to(images)


def project(attacked: torch.Tensor, images: torch.Tensor, norm: Norm, eps: float) -> torch.Tensor:
    """Project onto the ball of radius eps around each image, then onto [0, 1], which does not leave the ball."""
    change = attacked - images
    if norm == "Linf":
        change = change.clamp(-eps, eps)
    else:
        change = change * (eps / lengths(change).clamp_min(_TINY)).clamp_max(1.0)
    return (images + change).clamp(0.0, 1.0)


def lengths(change: torch.Tensor) -> torch.Tensor:
    """(n, 1, 1, 1): the L2 norm of each image's change."""
    found: torch.Tensor = torch.linalg.vector_norm(change.flatten(1), dim=1)[:, None, None, None]
    return found
