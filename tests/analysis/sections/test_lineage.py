"""Descent that weights suggest, on networks that are trained and fine-tuned here; what is stated is kept apart."""

from __future__ import annotations

import numpy as np
import torch
from tests.analysis import synthetic

from filterzoo_analysis.sections import lineage
from filterzoo_analysis.zoo import prepare


def trained(start: torch.nn.Module | None, seed: int, steps: int, rate: float) -> torch.nn.Module:
    """A small network after `steps` of training on images whose classes are textures; from `start` or from noise."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = torch.nn.Sequential(
        *(part for wide in (3, 12, 12, 12) for part in (torch.nn.Conv2d(wide, 12, 3, padding=1), torch.nn.ReLU())),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(12, 4),
    )
    if start is not None:
        network.load_state_dict(start.state_dict())
    for _ in range(steps):
        labels = torch.randint(4, (16,), generator=generator)
        images = torch.randn(16, 3, 12, 12, generator=generator)
        images = images + torch.sin(torch.arange(12.0) * (labels[:, None, None, None] + 1))
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient.sign())
    return network


def model(name: str, network: torch.nn.Module, **facts) -> synthetic.Model:
    layers = [part.weight.detach().numpy().copy() for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    return synthetic.Model(name, layers, facts)


def test_fine_tuned_networks_are_near_and_networks_of_other_seeds_are_not():
    bases = [trained(None, seed, 30, 3e-3) for seed in range(3)]
    tuned = [trained(base, 10 + place, 15, 5e-4) for place, base in enumerate(bases)]
    models = [model(f"base{n}", base) for n, base in enumerate(bases)]
    models += [model(f"tuned{n}", each, base_model="base0, elsewhere/other" if n == 0 else None)
               for n, each in enumerate(tuned)]  # fmt: skip
    models.append(synthetic.Model("copy", models[0].layers, {"duplicate_of": models[0].model_id}))
    half = model("half", tuned[1])
    half.layers[:2] = models[2].layers[:2]
    models.append(half)
    rows = lineage.lineage(prepare(synthetic.dataset(models))).table.to_pylist()
    found = {kind: {(r["model"][5:-2], r["other"]) for r in rows if r["kind"] == kind} for kind in
             ("near", "stated", "copy", "shared layers")}  # fmt: skip
    assert {(a, b[5:-2]) for a, b in found["near"]} == {(f"base{n}", f"tuned{n}") for n in range(3)}
    assert found["stated"] == {("tuned0", "made/base0@1"), ("tuned0", "elsewhere/other")}
    assert found["copy"] == {("copy", "made/base0@1")}
    assert found["shared layers"] == {("base2", "made/half@1"), ("half", "made/tuned1@1")}
    assert all(row["inferred"] == (row["kind"] == "near") for row in rows)


def test_layers_of_one_distribution_are_not_near_however_large_they_are():
    """Moments of large layers agree by their size alone; that is no descent."""
    rng = np.random.default_rng(1)
    models = [
        synthetic.Model(f"m{n}", [rng.normal(0, 1, (60, 60, 3, 3)).astype(np.float32) for _ in range(4)])
        for n in range(12)
    ]
    assert lineage.lineage(prepare(synthetic.dataset(models))) is None
