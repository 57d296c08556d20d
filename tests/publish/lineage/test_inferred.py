"""Descent that weights suggest, on networks that are trained and fine-tuned here, and on networks without descent."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
import torch

from filterzoo.layers.normalise import layer_id
from filterzoo.measures.measure import measure_weights
from filterzoo_publish.lineage import inferred
from filterzoo_publish.lineage.inferred import inferred_rows
from filterzoo_publish.lineage.table import LAYER_COLUMNS
from filterzoo_publish.schema import arrow_schema


def network() -> torch.nn.Sequential:
    convolutions = [torch.nn.Conv2d(wide, 12, 3, padding=1) for wide in (3, 12, 12, 12)]
    parts = itertools.chain.from_iterable((each, torch.nn.ReLU()) for each in convolutions)
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(12, 4))


def trained(start: torch.nn.Module | None, seed: int, steps: int, rate: float, decay: float = 0.0) -> torch.nn.Module:
    """A small network after `steps` of training on images whose classes are textures; from `start` or from noise."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    made = network()
    if start is not None:
        made.load_state_dict(start.state_dict())
    for _ in range(steps):
        labels = torch.randint(4, (16,), generator=generator)
        images = torch.randn(16, 3, 12, 12, generator=generator)
        images = images + torch.sin(torch.arange(12.0) * (labels[:, None, None, None] + 1))
        loss = torch.nn.functional.cross_entropy(made(images), labels)
        gradients = torch.autograd.grad(loss, list(made.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(made.parameters(), gradients, strict=True):
                parameter.mul_(1 - decay).sub_(rate * gradient.sign())
    return made


def weights_of(made: torch.nn.Module) -> list[np.ndarray]:
    return [part.weight.detach().numpy().copy() for part in made.modules() if isinstance(part, torch.nn.Conv2d)]


def table_of(networks: dict[str, list[np.ndarray]], without: tuple[str, ...] = ()) -> pa.Table:
    """`layers` of the networks; `without`: columns that are null, as in old releases."""
    schema = pa.schema([arrow_schema("layers").field(name) for name in LAYER_COLUMNS])
    rows = [
        {"model_id": name, "layer_index": place, "layer_id": layer_id(weights), "shape": list(weights.shape)}
        | {column: value for column, value in asdict(measure_weights(weights)).items() if column in LAYER_COLUMNS}
        | dict.fromkeys(without)
        for name, layers in networks.items()
        for place, weights in enumerate(layers)
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def pairs(networks: dict[str, list[np.ndarray]], without: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    return {tuple(sorted((row["model_id"], row["other"]))) for row in inferred_rows(table_of(networks, without))}


@pytest.fixture(scope="module")
def family() -> dict[str, list[np.ndarray]]:
    """Three networks of three seeds, and each of them fine-tuned."""
    bases = [trained(None, seed, 30, 3e-3) for seed in range(3)]
    tuned = [trained(base, 10 + place, 15, 5e-4) for place, base in enumerate(bases)]
    named = {f"{kind}{n}": each for kind, some in (("base", bases), ("tuned", tuned)) for n, each in enumerate(some)}
    return {name: weights_of(each) for name, each in named.items()}


@pytest.mark.parametrize("without", [(), ("probe",)], ids=["by weights", "by moments, in old releases"])
def test_fine_tuned_networks_are_found_and_networks_of_other_seeds_are_not(family, without):
    assert pairs(family, without) == {(f"base{n}", f"tuned{n}") for n in range(3)}


def test_scores_are_those_of_a_plain_computation(family):
    row = next(row for row in inferred_rows(table_of(family)) if "base1" in {row["model_id"], row["other"]})
    gaps, both, moments = [], [], []
    for a, b in zip(family["base1"], family["tuned1"], strict=True):
        places = (2 * np.arange(32) + 1) * a.size // 64
        first, second = (each.astype(np.float64).ravel()[places] for each in (a, b))
        first, second = first - first.mean(), second - second.mean()
        gaps.append(((first - second) ** 2).sum())
        both.append((first**2).sum() + (second**2).sum())
        filters = [each.astype(np.float64).reshape(-1, 9) for each in (a, b)]
        noise = sum(each.var(axis=0).sum() / len(each) for each in filters)
        moments.append(((filters[0].mean(axis=0) - filters[1].mean(axis=0)) ** 2).sum() / noise)
    assert row["weights_distance"] == pytest.approx(np.mean(np.array(gaps) / both), rel=1e-5)
    assert row["moments_distance"] == pytest.approx(np.mean(moments), rel=1e-5)
    assert row["score"] == pytest.approx(1 - row["weights_distance"])


def test_the_distance_of_probes_is_about_that_of_all_weights(family):
    for row in inferred_rows(table_of(family)):
        first, second = (np.concatenate([each.ravel() for each in family[row[end]]]) for end in ("model_id", "other"))
        whole = ((first - second) ** 2).sum() / ((first**2).sum() + (second**2).sum())
        assert row["weights_distance"] == pytest.approx(whole, abs=0.05)


def test_the_direction_is_told_by_kurtosis():
    """Specialisation, as MoTHer calls it: what decays most are the heavy tails."""
    rng = np.random.default_rng(0)
    parent = [rng.standard_t(4, size=(12, 12, 3, 3)).astype(np.float32) for _ in range(4)]
    child = [np.sign(each) * np.abs(each) ** np.float32(0.9) for each in parent]
    (row,) = inferred_rows(table_of({"a-child": child, "b-parent": parent}))
    assert (row["model_id"], row["other"]) == ("a-child", "b-parent")
    assert row["direction"] > 0.1
    (row,) = inferred_rows(table_of({"a-parent": parent, "b-child": child}))
    assert row["other"] == "a-parent"
    (row,) = inferred_rows(table_of({"b": parent, "a": child}, ("kurtosis",)))
    assert (row["model_id"], row["other"], row["direction"]) == ("a", "b", None)


@pytest.mark.parametrize("mean", [0.0, 2.0])
@pytest.mark.parametrize("without", [(), ("probe",)])
def test_large_networks_of_one_distribution_are_not_near(mean, without):
    """Moments of large layers agree by their size alone; that is no descent."""
    rng = np.random.default_rng(1)
    made = {f"m{n}": [rng.normal(mean, 1, (60, 60, 3, 3)).astype(np.float32) for _ in range(4)] for n in range(12)}
    assert pairs(made, without) == set()


def test_shared_layers_and_too_few_numbers_say_nothing(family):
    frozen = [*family["base0"][:2], *family["base1"][2:]]
    assert pairs({"base0": family["base0"], "frozen": frozen}) == set()
    small = {name: [each[:1, :1] for each in layers] for name, layers in family.items()}
    assert pairs(small) == set()


def test_each_is_listed_with_its_nearest(monkeypatch):
    monkeypatch.setattr(inferred, "_NEAREST", 1)
    rng = np.random.default_rng(2)
    base = [rng.normal(size=(20, 20, 3, 3)).astype(np.float32) for _ in range(3)]
    made = {
        f"m{step}": [each + np.float32(0.1 * step) * rng.normal(size=each.shape).astype(np.float32) for each in base]
        for step in range(5)
    }
    assert pairs(made) == {("m0", f"m{step}") for step in range(1, 5)}
