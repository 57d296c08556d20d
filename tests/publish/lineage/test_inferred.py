"""Descent that weights suggest, on networks that are trained and fine-tuned here, and on networks without descent."""

from __future__ import annotations

import itertools
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest
import scipy.stats
import torch

from filterzoo.layers.normalise import layer_id
from filterzoo.measures.measure import measure_weights
from filterzoo_publish.lineage import inferred
from filterzoo_publish.lineage.inferred import inferred_rows
from filterzoo_publish.lineage.table import LAYER_COLUMNS
from filterzoo_publish.schema import arrow_schema


def network(inputs: int = 3, classes: int = 4, widths: tuple[int, ...] = (12, 12, 12, 12)) -> torch.nn.Sequential:
    """3x3 convolutions of these widths, and a 1x1 convolution as the head."""
    sizes = itertools.pairwise((inputs, *widths))
    parts = itertools.chain.from_iterable((torch.nn.Conv2d(a, b, 3, padding=1), torch.nn.ReLU()) for a, b in sizes)
    head = torch.nn.Conv2d(widths[-1], classes, 1)
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(1), head, torch.nn.Flatten())


def trained(
    start: torch.nn.Module | None,
    seed: int,
    steps: int,
    rate: float,
    *,
    inputs: int = 3,
    classes: int = 4,
    more: int = 0,
) -> torch.nn.Module:
    """A small network after `steps` of training on images whose classes are textures; from `start` or from noise.

    What `start` has of the same name and shape is taken over. more: layers of another width behind the fourth.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    made = network(inputs, classes, (12, 12, 12, 12, *[10] * more))
    if start is not None:
        own, theirs = made.state_dict(), start.state_dict()
        made.load_state_dict(own | {k: v for k, v in theirs.items() if k in own and v.shape == own[k].shape})
    for _ in range(steps):
        labels = torch.randint(classes, (16,), generator=generator)
        images = torch.randn(16, inputs, 12, 12, generator=generator)
        images = images + torch.sin(torch.arange(12.0) * (labels[:, None, None, None] + 1))
        loss = torch.nn.functional.cross_entropy(made(images), labels)
        gradients = torch.autograd.grad(loss, list(made.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(made.parameters(), gradients, strict=True):
                parameter.sub_(rate * gradient.sign())
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
    return {tuple(sorted((row["model_id"], row["other"]))) for row in inferred_rows([table_of(networks, without)])}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads cost such small networks more than they save."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bases() -> list[torch.nn.Module]:
    """Three networks of three seeds."""
    return [trained(None, seed, 30, 3e-3) for seed in range(3)]


@pytest.fixture(scope="module")
def family(bases) -> dict[str, list[np.ndarray]]:
    """The three, and each of them fine-tuned."""
    tuned = [trained(base, 10 + place, 15, 5e-4) for place, base in enumerate(bases)]
    named = {f"{kind}{n}": each for kind, some in (("base", bases), ("tuned", tuned)) for n, each in enumerate(some)}
    return {name: weights_of(each) for name, each in named.items()}


@pytest.mark.parametrize("without", [(), ("probe",)], ids=["by weights", "by moments, in old releases"])
def test_fine_tuned_networks_are_found_and_networks_of_other_seeds_are_not(family, without):
    assert pairs(family, without) == {(f"base{n}", f"tuned{n}") for n in range(3)}


OTHERS = {
    "other classes": {"classes": 7},
    "other inputs": {"inputs": 1},
    "both": {"inputs": 1, "classes": 7},
    "more layers": {"more": 2, "classes": 7},
    "many more layers": {"more": 9},
}


@pytest.mark.parametrize("changed", OTHERS.values(), ids=OTHERS)
def test_networks_with_other_heads_first_layers_or_depth_are_found(bases, changed):
    """A fine-tuned network has the classes, and the channels, of its own images."""
    made = {f"base{n}": weights_of(base) for n, base in enumerate(bases)}
    made |= {f"tuned{n}": weights_of(trained(base, 10 + n, 15, 5e-4, **changed)) for n, base in enumerate(bases)}
    assert [each.shape for each in made["tuned0"]] != [each.shape for each in made["base0"]]
    assert pairs(made) == {(f"base{n}", f"tuned{n}") for n in range(3)}


def test_distances_are_those_of_the_layers_of_equal_shapes(bases):
    tuned = weights_of(trained(bases[0], 10, 15, 5e-4, inputs=1, more=3, classes=7))
    base = weights_of(bases[0])
    assert pairs({"base": base, "tuned": tuned}) == set()  # neither begins nor ends like the other
    whole = weights_of(trained(bases[0], 10, 15, 5e-4, more=3, classes=7))
    (row,) = inferred_rows([table_of({"base": base, "tuned": whole})])
    (alone,) = inferred_rows([table_of({"base": base[:4], "tuned": whole[:4]})])
    assert row == alone


def test_the_order_and_the_size_of_tables_change_nothing(family):
    whole = table_of(family)
    order = np.random.default_rng(7).permutation(len(whole))
    mixed = whole.take(pa.array(order))
    parts = [mixed.slice(start, 4) for start in range(0, len(mixed), 4)]
    assert list(inferred_rows([whole.slice(0, 0), *parts])) == list(inferred_rows([whole])) != []


def test_layers_that_claim_one_place_cost_nothing_but_their_network(family):
    """A data set from elsewhere: `verify` reads it too."""
    whole = table_of(family)
    places = [
        0 if name == "tuned2" else place
        for name, place in zip(
            *map(pa.ChunkedArray.to_pylist, whole.select(["model_id", "layer_index"]).columns), strict=True
        )
    ]
    column = pa.array(places, whole.schema.field("layer_index").type)
    rows = list(inferred_rows([whole.set_column(1, "layer_index", column)]))
    assert {("base0", "tuned0"), ("base1", "tuned1")} <= {
        tuple(sorted((row["model_id"], row["other"]))) for row in rows
    }


def test_half_of_the_layers_of_the_smaller_network_have_to_match():
    rng = np.random.default_rng(4)
    first = [rng.normal(size=(8, 8, 3, 3)).astype(np.float32) for _ in range(9)]
    other = [rng.normal(size=(9, 9, 3, 3)).astype(np.float32) for _ in range(5)]
    near = [each + np.float32(0.01) * rng.normal(size=each.shape).astype(np.float32) for each in first]
    assert pairs({"whole": first, "four of nine": [*near[:4], *other]}) == set()
    assert pairs({"whole": first, "five of nine": [*near[:5], *other[:4]]}) == {("five of nine", "whole")}


def test_scores_are_those_of_a_plain_computation(family):
    row = next(row for row in inferred_rows([table_of(family)]) if "base1" in {row["model_id"], row["other"]})
    gaps, both, moments = [], [], []
    for a, b in zip(family["base1"], family["tuned1"], strict=True):
        places = (2 * np.arange(32) + 1) * a.size // 64
        first, second = (each.astype(np.float64).ravel()[places] for each in (a, b))
        first, second = first - first.mean(), second - second.mean()
        gaps.append(((first - second) ** 2).sum())
        both.append((first**2).sum() + (second**2).sum())
        if a.shape[2:] != (3, 3):
            continue
        filters = [each.astype(np.float64).reshape(-1, 9) for each in (a, b)]
        noise = sum(each.var(axis=0).sum() / len(each) for each in filters)
        moments.append(((filters[0].mean(axis=0) - filters[1].mean(axis=0)) ** 2).sum() / noise)
    assert row["weights_distance"] == pytest.approx(np.mean(np.array(gaps) / both), rel=1e-5)
    assert row["moments_distance"] == pytest.approx(np.mean(moments), rel=1e-5)
    assert row["score"] == pytest.approx(1 - row["weights_distance"])


def test_the_distance_of_probes_is_about_that_of_all_weights(family):
    for row in inferred_rows([table_of(family)]):
        first, second = (np.concatenate([each.ravel() for each in family[row[end]]]) for end in ("model_id", "other"))
        whole = ((first - second) ** 2).sum() / ((first**2).sum() + (second**2).sum())
        assert row["weights_distance"] == pytest.approx(whole, abs=0.05)


def test_the_direction_is_decided_by_kurtosis():
    """Specialisation, as MoTHer calls it: what decays most are the heavy tails."""
    rng = np.random.default_rng(0)
    parent = [rng.standard_t(4, size=(12, 12, 3, 3)).astype(np.float32) for _ in range(4)]
    child = [np.sign(each) * np.abs(each) ** np.float32(0.9) for each in parent]
    (row,) = inferred_rows([table_of({"a-child": child, "b-parent": parent})])
    assert (row["model_id"], row["other"]) == ("a-child", "b-parent")
    assert row["direction"] > 0.1
    (row,) = inferred_rows([table_of({"a-parent": parent, "b-child": child})])
    assert row["other"] == "a-parent"
    (row,) = inferred_rows([table_of({"b": parent, "a": child}, ("kurtosis",))])
    assert (row["model_id"], row["other"], row["direction"]) == ("a", "b", None)


def test_the_direction_of_fine_tuned_networks_is_that_of_their_kurtosis(family):
    """Of all layers, the head's too; which of two so small networks is the older one it does not tell reliably."""
    rows = list(inferred_rows([table_of(family)]))
    assert len(rows) == 3
    for row in rows:
        model, other = (
            [scipy.stats.kurtosis(each.astype(np.float64), axis=None, fisher=False) for each in family[row[end]]]
            for end in ("model_id", "other")
        )
        assert row["direction"] == pytest.approx(np.mean(np.log(other) - np.log(model)), rel=1e-6)
        assert row["direction"] > 0


@pytest.mark.parametrize("mean", [0.0, 2.0])
@pytest.mark.parametrize("without", [(), ("probe",)])
def test_large_networks_of_one_distribution_are_not_near(mean, without):
    """Moments of large layers agree by their size alone; that is no descent."""
    rng = np.random.default_rng(1)
    made = {f"m{n}": [rng.normal(mean, 1, (60, 60, 3, 3)).astype(np.float32) for _ in range(4)] for n in range(12)}
    assert pairs(made, without) == set()


def test_shared_layers_and_too_few_numbers_are_no_evidence(family):
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
