"""What must hold of the attacks for any network."""

from __future__ import annotations

import pytest
import torch

from filterzoo.errors import StartError
from filterzoo_evaluation.attacks import square_l2
from filterzoo_evaluation.attacks.attack import Norm
from filterzoo_evaluation.attacks.pgd import ProjectedGradientDescent, lengths
from filterzoo_evaluation.attacks.square import Square


@pytest.fixture(scope="module")
def batch() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A network, images at the edges of [0, 1] and inside, and the classes that the network gives them."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(96, 5))
    images = torch.rand(30, 2, 6, 6).mul(1.6).sub(0.3).clamp(0, 1)
    for parameter in network.parameters():
        parameter.requires_grad = False
    return network, images, network(images).argmax(dim=1)


ATTACKS = [
    pytest.param(lambda eps: ProjectedGradientDescent("Linf", eps, steps=8), "Linf", id="pgd-Linf"),
    pytest.param(lambda eps: ProjectedGradientDescent("L2", eps, steps=8), "L2", id="pgd-L2"),
    pytest.param(lambda eps: Square("Linf", eps, queries=60), "Linf", id="square-Linf"),
    pytest.param(lambda eps: Square("L2", eps, queries=60), "L2", id="square-L2"),
]


@pytest.mark.parametrize(("attack", "norm"), ATTACKS)
def test_images_stay_in_the_ball_and_in_range_and_accuracy_falls_with_eps(batch, attack, norm: Norm) -> None:
    network, images, labels = batch
    accuracies = []
    for eps in (0.001, 0.05, 0.5):
        attacked = attack(eps)(network, images, labels, range(len(images)))
        change = attacked - images
        length = change.abs().amax() if norm == "Linf" else lengths(change).amax()
        assert length <= eps * (1 + 1e-5) + 1e-6  # images are float32
        assert attacked.min() >= 0
        assert attacked.max() <= 1
        accuracies.append((network(attacked).argmax(dim=1) == labels).float().mean().item())
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.9
    assert accuracies[-1] < 0.7


@pytest.mark.parametrize(("attack", "norm"), ATTACKS)
def test_an_image_is_attacked_alike_alone_and_in_a_batch(batch, attack, norm: Norm) -> None:
    network, images, labels = batch
    together = attack(0.1)(network, images, labels, range(len(images)))
    alone = attack(0.1)(network, images[7:8], labels[7:8], [7])
    assert torch.allclose(together[7], alone[0], atol=1e-6)


def test_more_restarts_are_no_weaker(batch) -> None:
    network, images, labels = batch

    def loss(restarts: int) -> torch.Tensor:
        attack = ProjectedGradientDescent("Linf", 0.05, steps=3, restarts=restarts)
        attacked = attack(network, images, labels, range(len(images)))
        return torch.nn.functional.cross_entropy(network(attacked), labels, reduction="none")

    assert (loss(4) >= loss(1) - 1e-6).all()


def test_a_start_in_the_l2_ball_is_uniform_in_its_volume() -> None:
    images = torch.full((400, 1, 2, 2), 0.5)
    attack = ProjectedGradientDescent("L2", 0.3, steps=1, step_size=1e-9)
    found = attack(
        lambda one: torch.cat([one.flatten(1)[:, :1] * 0, one.flatten(1)[:, :1] * 0], 1),
        images,
        torch.zeros(400, dtype=torch.long),
        range(400),
    )
    # In four dimensions the median of the radius is the fourth root of a half of the largest.
    assert lengths(found - images).median().item() / 0.3 == pytest.approx(0.5**0.25, abs=0.03)


@pytest.mark.parametrize("settings", [{"eps": 0.0}, {"eps": float("nan")}, {"eps": 0.1, "steps": 0}])
def test_invalid_settings_are_refused(settings: dict) -> None:
    with pytest.raises(StartError, match=r"must be (above 0|at least 1)"):
        ProjectedGradientDescent("Linf", **settings)


@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 2, 3), (3, 5, 5), (1, 8, 8), (3, 32, 20)])
def test_square_takes_images_of_any_size(norm: Norm, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(1)
    images, labels = torch.rand(4, *shape), torch.zeros(4, dtype=torch.long)
    readout = torch.randn(images[0].numel(), 3)
    attacked = Square(norm, 0.4, queries=40)(lambda one: one.flatten(1) @ readout, images, labels, range(4))
    change = attacked - images
    length = change.abs().amax() if norm == "Linf" else lengths(change).amax()
    assert 0 < length <= 0.4 * (1 + 1e-5)
    assert attacked.min() >= 0
    assert attacked.max() <= 1


@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_square_is_no_weaker_with_more_queries(batch, norm: Norm) -> None:
    network, images, labels = batch

    def margins(attacked: torch.Tensor) -> torch.Tensor:
        logits = network(attacked)
        own = logits.gather(1, labels[:, None])[:, 0]
        return own - logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)

    # The start is the same for any budget, and no query makes a margin larger.
    start = margins(Square(norm, 0.2, queries=1)(network, images, labels, range(len(images))))
    later = margins(Square(norm, 0.2, queries=100)(network, images, labels, range(len(images))))
    assert (later <= start + 1e-6).all()
    assert later.mean() < start.mean() - 0.01


def test_a_pyramid_falls_with_the_square_of_the_distance_and_two_cancel() -> None:
    """Of arXiv:1912.00049, for a square of six: its lower half is the upper one with its sign changed."""
    both = square_l2._two_pyramids(6)
    assert both.norm().item() == pytest.approx(1)
    peak, first, second = 1 + 1 / 4 + 1 / 9 + 1 / 16, 1 / 4 + 1 / 9 + 1 / 16, 1 / 9 + 1 / 16
    upper = both[:3] / both[1, 3] * peak
    assert upper[1].tolist() == pytest.approx([1 / 16, second, first, peak, first, second])
    assert upper[0].tolist() == pytest.approx([1 / 16, second, first, first, first, second])
    assert torch.equal(both[3:], -both[:3])
