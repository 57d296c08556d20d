"""Mixed models: what architectures explain is not left, what is planted is, and unknown is not zero."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analysis import synthetic

from filterzoo_analysis.sections import mixed_models
from filterzoo_analysis.zoo import prepare

FAMILIES = ("resnet", "densenet", "unetplus", "mobilenet", "efficientnet", "inception")


def sparse_model(name: str, rng: np.random.Generator, share: float, **facts) -> synthetic.Model:
    weights = rng.normal(size=(20, 20, 3, 3)).astype(np.float32)
    weights.reshape(-1, 9)[rng.random(400) < share] = 0
    return synthetic.Model(name, [weights], facts)


def zoo_of(seed: int, of_task: float, of_family: float, *, coincide: bool):
    """48 networks of six families; tasks mostly follow families (`coincide`) or not."""
    rng = np.random.default_rng(seed)
    levels = dict(zip(FAMILIES, rng.permutation(6) / 5, strict=True))
    models = []
    for number in range(48):
        family = FAMILIES[number % 6]
        task = (levels[family] > 0.5) if coincide and number % 8 else number // 6 % 2
        share = 0.1 + of_family * levels[family] + of_task * task + 0.02 * rng.random()
        facts = {"task": f"task {int(task)}", "architecture": f"{family}{number}"}
        models.append(sparse_model(f"m{number}", rng, share, **facts))
    return prepare(synthetic.dataset(models))


def row_of(zoo, measure: str = "sparsity") -> dict:
    effects = mixed_models.axis_effects(zoo)
    assert not isinstance(effects, str), effects
    table = effects.table.to_pylist()
    return next(row for row in table if (row["axis"], row["measure"]) == ("task", measure))


def test_a_difference_of_architectures_is_none_at_equal_architecture():
    row = row_of(zoo_of(0, of_task=0.0, of_family=0.6, coincide=True))
    assert row["raw_spread"] > 0.5
    assert row["spread"] < 0.1
    assert row["q"] > 0.05
    assert row["architecture_share"] > 0.9
    assert row["architecture_share"] + row["rest_share"] == pytest.approx(1)


def test_a_planted_difference_is_left_and_is_of_its_size():
    zoo = zoo_of(1, of_task=0.2, of_family=0.4, coincide=False)
    row = row_of(zoo)
    sparsity = np.array(zoo.dataset.layers["sparsity"].to_pylist())
    assert row["q"] < 1e-4
    assert row["spread"] * sparsity.std() == pytest.approx(0.1, rel=0.1), "half of 0.2: two groups of equal size"


def test_the_fit_is_the_best_linear_unbiased_one_of_its_variances():
    """Generalised least squares with the variances that were found, by plain matrices."""
    rng = np.random.default_rng(2)
    group, levels = rng.integers(2, size=60).astype(float), rng.integers(5, size=60)
    y = 0.8 * group + rng.normal(size=5)[levels] + 0.3 * rng.normal(size=60)
    design = np.column_stack([np.ones(60), group])
    estimates, covariance, shares = mixed_models._reml(y, design, {"architecture": levels.astype(str)})
    same = (levels[:, None] == levels[None, :]).astype(float)
    inverse = np.linalg.inv(shares["architecture"] * same + shares["rest"] * np.eye(60))
    expected = np.linalg.solve(design.T @ inverse @ design, design.T @ inverse @ y)
    assert estimates == pytest.approx(expected, rel=1e-4)
    left = y - design @ expected
    scale = left @ inverse @ left / 58
    assert covariance == pytest.approx(scale * np.linalg.inv(design.T @ inverse @ design), rel=0.02)


def test_without_groups_or_without_room_nothing_is_claimed():
    rng = np.random.default_rng(3)
    alone = [sparse_model(f"m{n}", rng, 0.2, task="one", architecture="resnet") for n in range(6)]
    assert str(mixed_models.axis_effects(prepare(synthetic.dataset(alone)))).startswith("No mixed models: no axis has")
    few = [sparse_model(f"m{n}", rng, 0.2, task=f"t{n % 2}", architecture="abcdef"[n] * 6) for n in range(6)]
    few = [
        synthetic.Model(each.id, each.layers, each.facts | {"training_dataset": f"s{n % 4}"})
        for n, each in enumerate(few)
    ]
    row = row_of(prepare(synthetic.dataset(few)))
    assert row["p"] is None
    assert row["spread"] is None


def test_networks_that_state_no_architecture_are_not_taken_for_equal_ones():
    rng = np.random.default_rng(4)
    models = [sparse_model(f"m{n}", rng, 0.1 + 0.4 * (n % 2), task=f"t{n % 2}") for n in range(12)]
    assert "state their architecture" in str(mixed_models.axis_effects(prepare(synthetic.dataset(models))))
    facts = [
        {"task": f"t{n % 2}", "architecture": FAMILIES[n // 2 % 3], "training_dataset": "s"[: n % 3]} for n in range(12)
    ]
    stated = [
        sparse_model(f"s{n}", rng, 0.1, **{key: value or None for key, value in facts[n].items()}) for n in range(12)
    ]
    zoo = prepare(synthetic.dataset([*models, *stated]))
    row = row_of(zoo)
    assert (row["models"], row["data_stated"]) == (12, 8)
    assert row["q"] > 0.05
    assert "Of at most 12 networks 8 state a training set" in " ".join(mixed_models.axis_effects(zoo).notes)  # type: ignore[union-attr]  # an exhibit, as above
