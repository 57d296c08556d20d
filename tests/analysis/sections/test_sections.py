"""Planted effects are found by the exhibits that are there to show them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from tests.analysis import synthetic

from filterzoo.measures.measure import measure_weights
from filterzoo_analysis.drift.cells import family
from filterzoo_analysis.drift.uncertainty import distributions
from filterzoo_analysis.sections import (
    cnn_filter_db,
    confounding,
    medical,
    phenotypes,
    quality,
    robustness,
)
from filterzoo_analysis.sections import pairs as pair_section
from filterzoo_analysis.sections.robust import accuracy
from filterzoo_analysis.sections.robust import drift as robust_drift
from filterzoo_analysis.tables.statistics import depth_decile, layers_of
from filterzoo_analysis.zoo import Zoo, prepare, read


def zoo_of(models: list[synthetic.Model]) -> Zoo:
    return prepare(synthetic.dataset(models))


def rows(exhibit, **wanted) -> list[dict]:
    return [row for row in exhibit.table.to_pylist() if all(row[key] == value for key, value in wanted.items())]


def sparse_model(name: str, rng: np.random.Generator, share: float) -> synthetic.Model:
    layers = [rng.normal(size=(20, 20, 3, 3)).astype(np.float32) for _ in range(2)]
    filters = layers[1].reshape(-1, 9)
    filters[: round(share * len(filters))] *= 1e-5
    return synthetic.Model(name, layers)


def test_planted_sparsity_lies_in_its_interval():
    """Of 40 zoos in at least 36, of 95 % intervals."""
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        shares = rng.normal(0.4, 0.05, size=12)
        exhibit = quality.by_depth(zoo_of([sparse_model(f"m{i}", rng, share) for i, share in enumerate(shares)]))
        last = rows(exhibit, measure="sparsity", decile="(.9, 1]")[0]
        found += last["low"] <= 0.4 <= last["high"]
        assert last["mean"] == pytest.approx(shares.mean(), abs=0.002)
        assert rows(exhibit, measure="sparsity", decile="[0, .1]")[0]["high"] == 0
    assert found >= 36


@pytest.mark.parametrize("seed", range(5))
def test_planted_low_rank_is_collapsed_and_found_degenerated(seed):
    rng = np.random.default_rng(seed)
    models = []
    for number in range(6):
        full = rng.normal(size=(32, 32, 3, 3)).astype(np.float32)
        low = rng.normal(size=(1024, 2)) @ rng.normal(size=(2, 9))
        low[:300] *= 1e-5
        models.append(synthetic.Model(f"m{number}", [full, low.reshape(32, 32, 3, 3).astype(np.float32)]))
    zoo = zoo_of(models)
    entropy = rows(quality.by_depth(zoo), measure="variance_entropy", decile="(.9, 1]")[0]
    assert 0 < entropy["low"] <= entropy["mean"] <= np.log10(2) + 1e-6
    assert entropy["high"] < 0.5
    found = rows(quality.degenerated(zoo))
    assert [(row["decile"], row["degenerated"]) for row in found if row["layers"]] == [("[0, .1]", 6), ("(.9, 1]", 6)]


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_rotation_turns_the_basis_and_leaves_the_variances(seed):
    """A quarter turn of every kernel turns the components by the same, up to sign, and changes no ratio."""
    rng = np.random.default_rng(seed)
    spread = np.array([3.0, 2, 1.5, 1.2, 1, 0.8, 0.6, 0.5, 0.4])
    axes = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    upright, turned = [], []
    for number in range(5):
        weights = (rng.normal(size=(6400, 9)) * spread @ axes.T).reshape(80, 80, 3, 3).astype(np.float32)
        upright.append(synthetic.Model(f"m{number}", [weights]))
        turned.append(synthetic.Model(f"m{number}", [np.ascontiguousarray(np.rot90(weights, axes=(2, 3)))]))
    first, second = (cnn_filter_db.basis(zoo_of(models)).table for models in (upright, turned))
    ratios = [table["ratio"].to_numpy() for table in (first, second)]
    np.testing.assert_allclose(ratios[0], ratios[1], atol=1e-9)
    vectors = [np.stack([table[f"v{i}"].to_numpy() for i in range(9)], axis=1) for table in (first, second)]
    expected = np.rot90(vectors[0].reshape(9, 3, 3), axes=(1, 2)).reshape(9, 9)
    np.testing.assert_allclose(np.abs((expected * vectors[1]).sum(axis=1)), 1.0, atol=1e-6)
    assert np.abs(vectors[0][0] @ axes[:, 0]) > 0.9
    assert (first["low"].to_numpy() <= ratios[0] + 1e-12).all()
    assert (first["high"].to_numpy() >= ratios[0] - 1e-12).all()


def pairs(rng: np.random.Generator, shift: float, count: int) -> list[synthetic.Model]:
    models = []
    for number in range(count):
        for robust in (False, True):
            facts = {"pair_id": f"p{number}", "robust": robust, "training_dataset": "CIFAR-10"}
            accuracy = {"robust_accuracy": 0.5 + number / 100 if robust else 0.0}
            made = synthetic.random_model(f"p{number}-{robust}", rng, shift * robust, width=16, **facts, **accuracy)
            models.append(made)
    return models


@pytest.mark.slow
def test_a_planted_difference_of_robust_networks_is_found_and_lies_in_its_interval():
    """The drift of 150 pairs stands for that of all there could be; 10 of 12 intervals, of 95 % each, must hold it.

    What zoos without a difference show is counted in test_no_effect.
    """
    many = rows(robust_drift.drift(zoo_of(pairs(np.random.default_rng(99), 0.5, 150))), of="CIFAR-10")[0]
    covered = 0
    for seed in range(12):
        row = rows(robust_drift.drift(zoo_of(pairs(np.random.default_rng(seed), 0.5, 8))), of="CIFAR-10")[0]
        assert row["pairs"] == 8
        assert row["p"] <= 0.05
        assert row["low"] > row["null_mean"]
        covered += row["low"] <= many["drift"] <= row["high"]
    assert covered >= 10


def test_explained_variance_of_both_sets_has_intervals():
    """Robust networks are planted narrower along one axis; few pairs have values and no interval."""
    rng = np.random.default_rng(9)
    models = pairs(rng, 0.0, 6)
    for model in models[1::2]:
        model.layers[:] = [layer * np.linspace(0.2, 1, 9, dtype=np.float32).reshape(3, 3) for layer in model.layers]
    table = robustness.explained_variance(zoo_of(models)).table.to_pydict()
    for name, members in (("normal", models[::2]), ("robust", models[1::2])):
        filters = np.concatenate([layer.reshape(-1, 9) for model in members for layer in model.layers]).astype(float)
        filters /= np.abs(filters).max(axis=1, keepdims=True)
        shares = np.linalg.eigvalsh(np.cov(filters.T))[::-1]
        assert table[name] == pytest.approx(shares / shares.sum(), abs=1e-6)
        low, high = np.array(table[f"{name}_low"]), np.array(table[f"{name}_high"])
        assert (low <= table[name]).all()
        assert (high >= table[name]).all()
    assert table["robust_low"][0] > table["normal_high"][0]
    few = robustness.explained_variance(zoo_of(models[:4]))
    assert few.table["robust_low"].null_count == 9
    assert "(no interval)" in few.summary


def test_each_pair_has_its_drift_and_the_measures_of_both_members():
    models = [*pairs(np.random.default_rng(6), 0.1, 4), *pairs(np.random.default_rng(7), 1.5, 5)[-2:]]
    lonely = synthetic.random_model("lonely", np.random.default_rng(8), pair_id="p9", robust=True)
    zoo = zoo_of([*models, lonely])
    table = pair_section.each_pair(zoo).table.to_pylist()
    assert table[0]["pair_id"] == "p4"
    assert sorted(row["pair_id"] for row in table) == ["p0", "p1", "p2", "p3", "p4"]
    robust = [row for row in zoo.dataset.layers.to_pylist() if row["model_id"] == "made/p4-True@1"]
    assert table[0]["robust_orthogonality"] == pytest.approx(np.mean([row["orthogonality"] for row in robust]))
    sets = [next(m.layers for m in models if m.id == f"p4-{robust}") for robust in (False, True)]
    statistics = [measure_weights(np.concatenate([w.reshape(1, -1, 3, 3) for w in layers], axis=1)) for layers in sets]
    p, q = (
        distributions(np.array(each.dct_histogram, float).ravel(), zoo.coefficients.bin_width) for each in statistics
    )
    expected = ((p - q) * np.log(p / q)).sum(axis=1) @ zoo.coefficients.weights
    assert table[0]["drift"] == pytest.approx(expected, rel=1e-9)
    assert all(row["corrected"] == pytest.approx(max(0, row["drift"] - row["expected"])) for row in table)


def test_pairs_and_families_of_one_distribution_drift_as_much_as_their_numbers_of_filters_let_expect():
    """Robust and normal, medical and natural: all drawn from one distribution, with few filters."""
    rng = np.random.default_rng(17)
    models = [
        synthetic.Model(
            f"m{n}",
            [rng.normal(size=(12, 10, 3, 3)).astype(np.float32)],
            {
                "pair_id": f"p{n // 2}",
                "robust": bool(n % 2),
                "architecture": "unet",
                "visual_category": ("natural", "medical-ct")[n % 2],
            },
        )
        for n in range(16)
    ]
    zoo = zoo_of(models)
    table = pair_section.each_pair(zoo).table.to_pylist()
    assert np.mean([row["drift"] for row in table]) == pytest.approx(
        np.mean([row["expected"] for row in table]), rel=0.1
    )
    (row,) = medical.against_natural(zoo).table.to_pylist()
    assert (row["medical_filters"], row["natural_filters"]) == (960, 960)
    assert row["drift"] == pytest.approx(row["expected"], rel=0.25)
    assert row["corrected"] == pytest.approx(max(0, row["drift"] - row["expected"]))


def test_the_grid_shows_filters_of_medical_outliers_beside_a_usual_model(mixed):
    made = read(str(mixed))
    grid = medical.outlier_filters(made)
    assert set(grid.table["why"].to_pylist()) == {"outlier: spiky (coefficient 4 at +0.04)", "nearest to the others"}
    filters = np.array([row["weights"] for row in grid.table.to_pylist() if row["model_id"] == "made/organ-signs@1"])
    assert len(filters) == 32, "16 of each of two layers"
    assert np.isin(np.abs(filters), [1, 2]).all()
    assert medical.outlier_filters(zoo_of([synthetic.random_model("m", np.random.default_rng(0))])) is None


def test_ridges_have_kernel_densities_beside_their_bins(mixed):
    table = cnn_filter_db.ridge(read(str(mixed)), "task").table.to_pylist()
    row = [each for each in table if each["group"] == "classification" and each["component"] == 3]
    widths = [each["bin_high"] - each["bin_low"] for each in row]
    assert sum(each["kernel_density"] * width for each, width in zip(row, widths, strict=True)) == pytest.approx(
        1, abs=1e-3
    )
    filters = sum(each["filters"] for each in row)
    bins = np.array([each["filters"] / filters / width for each, width in zip(row, widths, strict=True)])
    assert np.abs(bins - [each["kernel_density"] for each in row]).max() < 0.15 * bins.max()


def test_comparisons_are_corrected_for_their_number_and_say_how_much_of_them_is_chance():
    table = robust_drift.drift(zoo_of(pairs(np.random.default_rng(3), 0.5, 8))).table.to_pylist()
    assert [row["of"] for row in table] == [
        "CIFAR-10",
        "CIFAR-10, first layer",
        "CIFAR-10, depth (.4, .5]",
        "CIFAR-10, depth (.9, 1]",
    ]
    p = np.array([row["p"] for row in table])
    expected = [min(1.0, *(p[i] * len(p) / (p <= p[i]).sum() for i in range(len(p)) if p[i] >= own)) for own in p]
    assert [row["q"] for row in table] == pytest.approx(expected)
    for row in table:
        assert row["null_share"] == pytest.approx(min(1.0, row["null_mean"] / row["drift"]))


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(4)
    first = rng.integers(5, size=40).astype(float)
    second = first + rng.normal(size=40)
    times = rng.multinomial(40, np.full(40, 1 / 40), size=5).astype(float)
    expected = [
        spearmanr(np.repeat(first, row.astype(int)), np.repeat(second, row.astype(int))).statistic for row in times
    ]
    assert accuracy.rank_correlation(first, second, times) == pytest.approx(expected)
    assert accuracy.rank_correlation(first, second)[0] == pytest.approx(spearmanr(first, second).statistic)


def test_a_planted_correlation_with_accuracy_is_found():
    rng = np.random.default_rng(5)
    models = []
    for number in range(20):
        made = sparse_model(f"m{number}", rng, number / 40)
        facts = {"robust_accuracy": 0.6 - number / 50 + rng.normal(scale=0.02), "training_dataset": "CIFAR-10"}
        facts |= {"robust": True, "threat_model": "Linf"}
        models.append(synthetic.Model(made.id, made.layers, facts))
    exhibit = accuracy.correlation(zoo_of(models))
    row = rows(exhibit, accuracy="robust_accuracy", measure="sparsity", training_dataset="CIFAR-10", layers="all")[0]
    assert row["high"] < -0.8
    unrelated = rows(exhibit, accuracy="robust_accuracy", measure="orthogonality", training_dataset="CIFAR-10")[0]
    assert unrelated["low"] < 0 < unrelated["high"]


def test_an_outlier_among_medical_models_is_named_with_its_reason(mixed):
    from filterzoo_analysis.tables.dataset import read

    table = medical.outliers(prepare(read(str(mixed)))).table
    assert table["model_id"][0].as_py() == "made/organ-signs@1"
    assert table["outlier"].to_pylist() == [True] + [False] * 6
    assert table["because"][0].as_py().startswith("spiky")


def test_an_outlier_is_named_as_quantised_or_sparse():
    """Whole numbers of a few steps that were stored as such, and a network of which most is zero."""
    rng = np.random.default_rng(9)
    facts = {"visual_category": "medical-ct"}
    models = [synthetic.random_model(f"plain-{number}", rng, width=20, **facts) for number in range(8)]
    steps = rng.integers(-1, 2, size=(32, 32, 3, 3)).astype(np.float32)
    empty = rng.normal(size=(32, 32, 3, 3)).astype(np.float32)
    empty.reshape(-1, 9)[:800] = 0
    models += [
        synthetic.Model(name, [made], {"visual_category": "medical-ct"})
        for name, made in (("steps", steps), ("empty", empty))
    ]
    made = synthetic.dataset(models)
    types = ["I8" if name == "made/steps@1" else "F32" for name in made.layers["model_id"].to_pylist()]
    layers = made.layers.set_column(made.layers.schema.get_field_index("dtype"), "dtype", pa.array(types))
    table = medical.outliers(prepare(replace(made, layers=layers))).table.to_pylist()
    reasons = {row["model_id"]: row["because"] for row in table if row["outlier"]}
    assert set(reasons) == {"made/steps@1", "made/empty@1"}
    assert reasons["made/steps@1"].startswith("quantised")
    assert reasons["made/empty@1"].startswith("sparse (78%)")


def test_few_filters_of_the_others_are_no_outlier_and_what_is_expected_of_them_stands_beside():
    """Two networks of 40 filters that are drawn from the others: their drift is large, and all of it is expected."""
    rng = np.random.default_rng(11)
    models = [
        synthetic.Model(
            f"m{n}", [rng.normal(size=(40, 30, 3, 3)).astype(np.float32)], {"visual_category": "medical-ct"}
        )
        for n in range(8)
    ]
    few = [synthetic.Model(f"few{n}", [models[n].layers[0][:8, :5].copy()], models[n].facts) for n in range(2)]
    table = {row["model_id"]: row for row in medical.outliers(zoo_of([*models, *few])).table.to_pylist()}
    for name in ("made/few0@1", "made/few1@1"):
        row = table[name]
        assert row["filters"] == 40
        assert row["drift"] > 10 * table["made/m3@1"]["drift"]
        assert row["expected"] == pytest.approx(row["drift"], rel=0.25)
        assert row["corrected"] < 0.25 * row["drift"]
        assert not row["outlier"]


def test_a_model_that_supplies_most_of_a_group_is_named_and_models_weigh_the_same_beside():
    rng = np.random.default_rng(12)
    small = [synthetic.random_model(f"a{n}", rng, task="a", depth=1) for n in range(4)]
    large = synthetic.Model("large", [rng.normal(3, 1, size=(60, 60, 3, 3)).astype(np.float32)], {"task": "a"})
    others = [synthetic.random_model(f"b{n}", rng, task="b", depth=1) for n in range(4)]
    exhibit = cnn_filter_db.drift(zoo_of([*small, large, *others]), "task")
    (row,) = exhibit.table.to_pylist()
    assert row["first_largest_share"] == pytest.approx(3600 / (3600 + 4 * 64))
    assert row["second_largest_share"] == pytest.approx(0.25)
    assert row["drift_by_models"] < row["drift"] / 2
    assert any("a 93%" in note and "drift_by_models" in note for note in exhibit.notes)


def test_axes_that_coincide_are_reported_and_equal_partitions_have_one_figure():
    rng = np.random.default_rng(13)
    models = [
        synthetic.random_model(
            f"m{n}", rng, 0.4 * (n % 2), task="ab"[n % 2], visual_category="xy"[n % 2],
            training_dataset="pqr"[n % 3], architecture=("resnet18", "vggish16")[n // 6],
        )
        for n in range(12)
    ]  # fmt: skip
    zoo = zoo_of(models)
    table = {(row["first"], row["second"]): row for row in confounding.coincidence(zoo).table.to_pylist()}
    same = table["task", "visual_category"]
    assert (same["one_partition"], same["normalised_information"]) == (True, pytest.approx(1.0))
    assert same["cramers_v"] == pytest.approx(1.0)
    assert table["task", "architecture family"]["normalised_information"] == pytest.approx(0.0, abs=1e-12)
    section = cnn_filter_db.section(zoo)
    names = [exhibit.name for exhibit in section.exhibits]
    assert "drift_task" in names
    assert "drift_visual_category" not in names
    assert any("Visual category divides these models as task does" in sentence for sentence in section.empty)


def test_a_drift_of_architectures_is_no_drift_at_equal_architecture():
    """Tasks differ by the architectures they use alone; one architecture is in both."""
    rng = np.random.default_rng(14)

    def made(name: str, task: str, architecture: str, shift: float) -> synthetic.Model:
        weights = rng.normal(shift, 1, size=(40, 40, 3, 3)).astype(np.float32)
        return synthetic.Model(name, [weights], {"task": task, "architecture": architecture})

    models = [made(f"a{n}", "a", ("one", "two")[n > 0], 1.0 * (n > 0)) for n in range(4)]
    models += [made(f"b{n}", "b", "one", 0.0) for n in range(4)]
    (row,) = cnn_filter_db.drift(zoo_of(models), "task").table.to_pylist()
    assert row["shared_architectures"] == 1
    assert row["drift_at_equal_architecture"] < row["drift"] / 5


def test_seeds_are_a_yardstick():
    rng = np.random.default_rng(15)
    models = [synthetic.random_model(f"net-seed{n}", rng, task="ab"[n % 2]) for n in range(3)]
    zoo = zoo_of([*models, synthetic.random_model("net-other", rng, task="a")])
    assert len(confounding.seeds(zoo)) == 3
    assert any(note.startswith("Yardstick: 3 pairs") for note in cnn_filter_db.drift(zoo, "task").notes)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("sun", np.random.default_rng(0).normal(size=(500, 2))),
        ("spike", np.random.default_rng(0).normal(size=(500, 2)) * [1, 0.1]),
        ("symbols", np.random.default_rng(0).choice([-1.0, 1.0], size=(500, 2))),
        (
            "cross",
            np.random.default_rng(0).normal(size=(500, 2)) * np.where(np.arange(500)[:, None] % 2, [1, 0.1], [0.1, 1]),
        ),
        ("sun", np.random.default_rng(0).normal(size=(500, 2)) * [1, 0.5]),
    ],
)
def test_phenotypes_by_the_rule(kind, points):
    assert phenotypes.phenotype(points, np.zeros(500, bool)) == kind
    assert phenotypes.phenotype(points, np.arange(500) < 260) == "point"


def test_phenotypes_leave_out_copies(mixed):
    zoo = read(str(mixed))
    names = phenotypes.scatter(zoo).table["model_id"].to_pylist()  # type: ignore[union-attr]  # there is a sample
    assert "made/copy@1" not in names
    assert "made/copy@1" not in phenotypes.of_models(zoo)
    assert len(names) == 36


def test_ranks_that_agree_fully_have_no_interval_and_no_threat_model_is_not_named_none(mixed):
    """All samples of six networks in equal order have rho 1: an interval of no width would claim certainty."""
    exhibit = accuracy.correlation(read(str(mixed)))
    row = rows(exhibit, accuracy="robust_accuracy", measure="clean_accuracy", layers="all")[0]
    assert row["rho"] == pytest.approx(-1)
    assert (row["low"], row["high"]) == (None, None)
    assert "-1.000 (no interval)" in exhibit.summary  # type: ignore[union-attr]  # there is one
    assert "None" not in " ".join(answer.ours or "" for answer in exhibit.answers)  # type: ignore[union-attr]  # as above


def test_matrices_of_single_models_carry_no_numbers_of_models(mixed):
    zoo = read(str(mixed))
    exhibit = medical.family_drift(zoo, "unet")
    assert not [label for label in exhibit.draw.keywords["labels"] if "†" in label]  # type: ignore[union-attr, attr-defined]  # a partial function
    assert "28 pairs of single models: without intervals and tests." in exhibit.notes


def test_copies_are_no_second_observation(mixed):
    from filterzoo_analysis.tables.dataset import read

    names = set(layers_of(read(str(mixed))).table["model_id"].to_pylist())
    assert "made/copy@1" not in names
    assert "made/classification-0@1" in names


def test_deciles_are_closed_above():
    depths = np.array([0, 0.05, 0.1, 0.1000001, 0.2, 0.9, 0.95, 1.0])
    assert depth_decile(depths).tolist() == [0, 0, 0, 1, 1, 8, 9, 9]


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("resnet18", "resnet"), ("tf_efficientnet_b0", "efficientnet"), ("wide_resnet50_2", "resnet"), ("unet9", "unet"),
     ("densenet121", "densenet"), ("DLA34", "dla"), ("12", "12")],
)  # fmt: skip
def test_families(architecture, expected):
    assert family(architecture) == expected
