"""What the report says equals what the papers' notebooks compute, on a zoo that has every hard part.

Within the bounds of docs/measures.md.

Planted: sparse filters (more of them in normal networks), layers in every decile of depth, three training sets,
networks robust to Linf and to L2, a normal network that several robust ones share, copies, and an untrained network.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.analysis import notebooks, synthetic

from filterzoo_analysis.drift import uncertainty
from filterzoo_analysis.page import report
from filterzoo_analysis.sections import cnn_filter_db, medical, robustness
from filterzoo_analysis.sections.robust import accuracy
from filterzoo_analysis.sections.robust import drift as robust_drift
from filterzoo_analysis.sections.robust import measures as robust_measures
from filterzoo_analysis.sections.robust.measures import BINS
from filterzoo_analysis.tables import dataset
from filterzoo_analysis.zoo import Zoo, prepare

SETS = ("cifar10", "cifar100", "imagenet")
DRIFT = 1e-3
"""Relative: a coefficient within float32's rounding of an edge moves a count, and CPUs round differently."""


def network(name: str, rng: np.random.Generator, sparse: float, shift: float, **facts) -> synthetic.Model:
    layers = []
    for _ in range(12):
        own = rng.normal(scale=0.2, size=(3, 3))
        weights = (rng.normal(size=(14, 12, 3, 3)) + own + shift).astype(np.float32)
        filters = weights.reshape(-1, 9)
        small = rng.random(len(filters)) < sparse
        # On both sides of a hundredth of the layer's largest number.
        filters[small] *= 10 ** rng.uniform(-4, -1, (small.sum(), 1)).astype(np.float32)
        layers.append(weights)
    return synthetic.Model(name, layers, {"task": "classification", "visual_category": "natural"} | facts)


def models() -> list[synthetic.Model]:
    rng = np.random.default_rng(5)
    found = []
    for place, name in enumerate(SETS):
        shared = network(f"{name}-normal-shared", rng, 0.4, 0.0, robust=False, pair_id=f"{name}/shared")
        found.append(replace(shared, facts=shared.facts | {"training_dataset": name, "clean_accuracy": 0.95}))
        for number in range(6):
            pair = "shared" if number < 3 else str(number)
            facts = {
                "training_dataset": name,
                "pair_id": f"{name}/{pair}",
                "robust": True,
                "threat_model": "Linf",
                "architecture": ("wrn28", "prn18")[number % 2],
                "clean_accuracy": 0.8 + 0.01 * rng.random(),
                "robust_accuracy": 0.4 + 0.1 * rng.random(),
            }
            robust = network(f"{name}-robust-{number}", rng, 0.1 + 0.02 * rng.random(), 0.2 * (2 - place), **facts)
            found.append(robust)
            if number >= 3:
                twin = {"training_dataset": name, "pair_id": f"{name}/{pair}", "robust": False, "clean_accuracy": 0.94}
                found.append(network(f"{name}-normal-{number}", rng, 0.4, 0.0, **twin))
    for number in range(5):
        facts = {"training_dataset": "cifar10", "robust": True, "threat_model": "L2", "robust_accuracy": rng.random()}
        found.append(network(f"l2-{number}", rng, 0.2, 0.1, clean_accuracy=rng.random(), **facts))
    for number in range(4):
        facts = {"task": "segmentation", "visual_category": "medical-ct", "architecture": "unet"}
        found.append(network(f"organ-{number}", rng, 0.0, 0.05 * number, **facts))
    return found


def extras(made: list[synthetic.Model]) -> list[synthetic.Model]:
    """What the notebooks' table does not hold: a copy with an accuracy of its own, and an untrained network."""
    first = next(model for model in made if model.facts.get("robust"))
    copy = {**first.facts, "duplicate_of": first.model_id, "robust_accuracy": 0.99}
    random = np.random.default_rng(9).normal(size=(3, 20, 20, 3, 3)).astype(np.float32)
    return [
        synthetic.Model("copy", first.layers, copy),
        synthetic.Model("untrained", list(random), {"suspected_random": True, "task": "style-transfer"}),
    ]


@pytest.fixture(scope="module", autouse=True)
def few_replicates():
    """Intervals are not what is compared here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertainty.drift_matrix, "__defaults__", (20, 0))
        yield


@pytest.fixture(scope="module")
def made() -> list[synthetic.Model]:
    return models()


@pytest.fixture(scope="module")
def published(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals") / "zoo"
    return str(synthetic.publish(folder, [*made, *extras(made)], group_filters=6000))


@pytest.fixture(scope="module")
def table(made) -> notebooks.Rows:
    return notebooks.rows(made)


@pytest.fixture(scope="module")
def lens(made) -> notebooks.Robust22:
    chosen = [model for model in made if model.facts.get("threat_model") == "Linf"]
    normal = {m.facts["pair_id"]: m.id for m in made if m.facts.get("pair_id") and not m.facts["robust"]}
    pairings = pd.DataFrame(
        [(m.id, normal[m.facts["pair_id"]], m.facts["training_dataset"]) for m in chosen],
        columns=["Robust", "Normal", "Dataset"],
    )
    return notebooks.Robust22(notebooks.rows(made), pairings)


@pytest.fixture(scope="module")
def robust22(published) -> Zoo:
    return prepare(dataset.read(published), "robust22")


@pytest.fixture(scope="module")
def drifts(robust22):
    return robust_drift.drift(robust22)


def row_of(exhibit, **wanted) -> dict:
    (found,) = (row for row in exhibit.table.to_pylist() if all(row[key] == value for key, value in wanted.items()))
    return found


@pytest.mark.parametrize("by", ["task", "visual_category", "training_dataset", "depth"])
def test_cvpr22(published, table, by):
    zoo = prepare(dataset.read(published), "cvpr22")
    groups, expected, ratio = notebooks.cvpr22(table, by)
    found = cnn_filter_db.drift(zoo, by).table.to_pylist()
    upper = expected[np.triu_indices(len(groups), 1)]
    assert len(found) == len(upper) > 0
    assert [row["drift"] for row in found] == pytest.approx(list(upper), rel=DRIFT)
    assert cnn_filter_db.basis(zoo).table["ratio"].to_pylist() == pytest.approx(list(ratio), abs=1e-6)


def test_medical22(published, made):
    zoo = prepare(dataset.read(published), "medical22")
    names, expected = notebooks.medical22(notebooks.rows(made), "unet")
    found = medical.family_drift(zoo, "unet").table["drift"].to_pylist()
    assert len(names) == 4
    assert found == pytest.approx(list(expected[np.triu_indices(4, 1)]), rel=DRIFT)


def test_robust22_drift_counts_non_sparse_filters_and_normal_networks_as_often_as_their_pairs(drifts, lens):
    for name in SETS:
        row = row_of(drifts, of=name)
        assert row["drift_per_pair"] == pytest.approx(lens.drift(name), rel=DRIFT)
        assert row["drift"] == pytest.approx(lens.drift(name, once=True), rel=DRIFT)
        assert row["drift"] != pytest.approx(row["drift_per_pair"], rel=10 * DRIFT)
        for depth, stated in zip(notebooks.DEPTHS, BINS, strict=True):
            part = "first layer" if depth == "0" else f"depth {stated}"
            found = row_of(drifts, of=f"{name}, {part}")["drift_per_pair"]
            # Of some hundred filters one count at an edge is more.
            assert found == pytest.approx(lens.drift(name, depth), rel=5 * DRIFT), (name, depth)


def test_robust22_explained_variance_is_of_non_sparse_filters(robust22, lens):
    table = robustness.explained_variance(robust22).table
    for kind in ("robust", "normal"):
        expected = lens.pcas[kind].explained_variance_ratio_
        assert table[kind].to_pylist() == pytest.approx(list(expected), abs=1e-6)
    assert robust22.coefficients.weights == pytest.approx(lens.pcas["full"].explained_variance_ratio_, abs=1e-6)


@pytest.mark.parametrize(
    ("column", "measure", "tolerance"),
    [("sparsity", "sparsity", 1e-9), ("variance_entropy", "entropy", 1e-6), ("orthogonality", "ortho", 1e-5)],
)
def test_robust22_measures_by_training_set_and_depth(robust22, lens, column, measure, tolerance):
    found = robust_measures.measures(robust22)
    for name in SETS:
        for kind in ("Robust", "Normal"):
            expected, once = lens.measures(name, kind, measure), lens.measures(name, kind, measure, once=True)
            assert len(expected) == len(BINS)
            for depth, stated in zip(notebooks.DEPTHS, BINS, strict=True):
                wanted = {"training_dataset": name, "measure": column, "series": kind.lower(), "depth": stated}
                row = row_of(found, **wanted)
                assert row["mean_per_pair"] == pytest.approx(np.mean(expected[depth]), abs=tolerance)
                assert row["mean"] == pytest.approx(np.mean(once[depth]), abs=tolerance)
                assert row["low"] <= row["mean"] <= row["high"]


def test_robust22_correlations_are_of_robust_networks_of_one_threat_model_and_training_set(robust22, lens):
    found = accuracy.correlation(robust22)
    names = {
        "clean_accuracy": "clean_accuracy",
        "sparsity": "sparsity",
        "variance_entropy": "entropy",
        "orthogonality": "ortho",
    }
    wanted = {"accuracy": "robust_accuracy", "threat_model": "Linf", "architecture": None}
    for name in SETS:
        for column, measure in names.items():
            row = row_of(found, training_dataset=name, measure=column, layers="all", **wanted)
            assert row["models"] == 6
            assert row["rho"] == pytest.approx(lens.spearman(name, measure), abs=1e-9)
            if column != "clean_accuracy":
                row = row_of(found, training_dataset=name, measure=column, layers="first", **wanted)
                assert row["rho"] == pytest.approx(lens.spearman(name, measure, first=True), abs=1e-9)
    assert {row["training_dataset"] for row in found.table.to_pylist() if row["threat_model"] == "L2"} == {"cifar10"}
    assert all(row["models"] <= 6 for row in found.table.to_pylist())


def test_where_nothing_differs_that_is_seen(robust22, drifts):
    """Robust networks of `imagenet` were made with the mean of the normal ones, those of `cifar10` far from it."""
    assert row_of(drifts, of="imagenet")["corrected"] < row_of(drifts, of="cifar10")["corrected"] / 3
    assert row_of(robust_measures.differences(robust22), training_dataset="cifar10", measure="sparsity")["high"] < 0


def test_an_untrained_network_is_left_out_and_named_unless_it_is_asked_for(published):
    read = dataset.read(published)
    zoo = prepare(read)
    assert zoo.left_out == {"suspected_random": ("made/untrained@1",)}
    assert "made/untrained@1" not in zoo.layers.table["model_id"].to_pylist()
    assert any("made/untrained@1" in sentence for sentence in report._chosen(zoo))
    whole = prepare(read, exclude=())
    assert report._chosen(whole) == []
    assert len(whole.layers) == len(zoo.layers) + 3
    assert whole.left_out == {}
