"""The section on confidence: planted effects are shown with their size, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analysis import synthetic
from tests.analysis.evaluated import evaluated, pairs, zoo_of

from filterzoo_analysis.drift.uncertainty import RATE
from filterzoo_analysis.sections import confidence
from filterzoo_analysis.sections.confidences import curves, functions, scatter, twins, weights
from filterzoo_analysis.sections.confidences.rows import attack_name, evaluations
from filterzoo_evaluation import bootstrap


def rows(exhibit, **wanted) -> list[dict]:
    return [row for row in exhibit.table.to_pylist() if all(row[key] == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def planted():
    return zoo_of(*pairs(np.random.default_rng(0), 8, 0.6))


def test_a_section_without_evaluations_says_how_to_get_some():
    made = confidence.section(zoo_of([synthetic.random_model("m", np.random.default_rng(0))], []))
    assert made.exhibits == ()
    assert "filterzoo evaluate" in made.empty[0]


def test_all_figures_are_there_and_can_be_drawn(planted, tmp_path):
    from filterzoo_analysis.page import rendering

    made = confidence.section(planted)
    names = [exhibit.name for exhibit in made.exhibits]
    assert names == [
        "confidence_right_wrong", "over_confidence", "confidence_roc", "reliability", "confidence_pairs",
        "confidence_weights",
    ]  # fmt: skip
    assert any("activation" in sentence for sentence in made.empty)
    rendering.require_libraries()
    for exhibit in made.exhibits:
        assert rendering.save(exhibit, tmp_path)


def test_a_point_is_a_network_with_its_own_numbers(planted):
    table = rows(scatter.scatter(planted))
    assert len(table) == 8 * 2 * 3
    published = {(r["model_id"], r["image_set"], r["attack"]): r for r in planted.dataset.confidences.to_pylist()}
    for row in table:
        attack = {"clean": "none", "PGD Linf 8/255": "pgd"}[row["attack"]]
        own = published[row["model_id"], row["image_set"], attack]
        assert row["confidence_right"] == pytest.approx(1 - own["under_confidence"])
        assert row["confidence_wrong"] == own["over_confidence"]
        assert row["kind"] == ("normal" if row["model_id"].endswith("-0@1") else "robust")


def test_a_planted_difference_of_twins_is_shown_with_its_sign_and_size(planted):
    exhibit = twins.differences(planted)
    assert len(rows(exhibit)) == 3 * 5
    for row in rows(exhibit, measure="over_confidence"):
        assert row["differs"]
        assert row["pairs"] == row["normal_networks"] == 8
        normal, robust = (
            np.mean([r["over_confidence"] for r in rows(scatter.scatter(planted), attack=row["attack"],
                     image_set=row["image_set"], kind=kind)]) for kind in ("normal", "robust")
        )  # fmt: skip
        assert row["difference"] == pytest.approx(robust - normal)
        assert row["low"] < row["difference"] < row["high"] < 0
    # Logits of another size are as often right, and in another order only by chance.
    assert not any(row["differs"] for row in rows(exhibit, measure="accuracy"))
    assert "over_confidence, digits, clean: -0." in exhibit.summary
    assert "accuracy" not in exhibit.summary
    (answer,) = exhibit.answers
    assert "digits, clean: -0." in answer.ours


def test_robust_networks_of_one_normal_network_are_one_cluster():
    models, found = pairs(np.random.default_rng(1), 3, 0.6, per_normal=5)
    (row,) = rows(twins.differences(zoo_of(models, found)), measure="ece", image_set="mnist")
    assert (row["pairs"], row["normal_networks"]) == (15, 3)
    # Of three clusters there are eight exchanges, and two of them are as far from zero.
    assert row["p"] == pytest.approx(0.25)
    assert not row["differs"]
    few = twins.differences(zoo_of(*pairs(np.random.default_rng(1), 2, 0.6, per_normal=5)))
    assert few.table["low"].null_count == few.table["p"].null_count == len(few.table)


def test_intervals_over_clustered_pairs_hold_the_mean_of_all():
    """Of 300 draws of ten normal networks with three robust ones each at least 270, of 95 % intervals.

    Networks of a cluster have most of their difference in common: were they drawn again one by one, a third of the
    intervals would miss.
    """
    rng, held = np.random.default_rng(7), 0
    for _ in range(300):
        values = 0.2 + np.repeat(rng.normal(scale=0.1, size=10), 3) + rng.normal(scale=0.02, size=30)
        row = twins.row_of(values, np.repeat(np.arange(10), 3))
        held += row["low"] <= 0.2 <= row["high"]
    assert held >= 270


def test_exchanges_of_many_clusters_are_drawn_and_of_few_counted():
    assert twins.exchange(np.ones(10)) == pytest.approx(2 / 1024)
    assert twins.exchange(np.ones(40)) == pytest.approx(1 / 1001)
    assert twins.exchange(np.zeros(5)) == 1


def test_accuracy_below_half_is_warned_of(planted):
    table = twins.differences(planted)
    below = [row for row in planted.dataset.confidences.to_pylist() if row["accuracy"] < 0.5]
    assert below
    assert {row["attack"] for row in below} == {"pgd"}
    assert any("below 50 %" in note and "digits (PGD Linf 8/255)" in note for note in table.notes)
    assert any(f"{len(below)} on digits (PGD Linf 8/255)" in note for note in scatter.scatter(planted).notes)
    assert sum(row["below_half"] for row in rows(table, attack="clean", measure="ece")) == 0


def test_curves_are_those_of_the_histograms(planted):
    roc = rows(curves.roc(planted), model_id="made/p0-0@1", image_set="digits", attack="clean")
    assert [roc[0]["true_positive_rate"], roc[-1]["true_positive_rate"]] == [0, 1]
    exact = next(r for r in planted.dataset.confidences.to_pylist() if r["model_id"] == "made/p0-0@1")["auroc"]
    x, y = (np.array([row[name] for row in roc]) for name in ("false_positive_rate", "true_positive_rate"))
    assert np.trapezoid(y, x) == pytest.approx(exact, abs=0.03)
    table = rows(curves.reliability(planted), image_set="mnist", attack="clean", kind="robust")
    assert sum(row["images"] for row in table) == 8 * 120
    right = sum(row["images"] * row["accuracy"] for row in table if row["images"])
    own = [r for r in planted.dataset.confidences.to_pylist() if r["image_set"] == "mnist" and "-1@" in r["model_id"]]
    assert right == pytest.approx(sum(sum(row["n_right"]) for row in own))


def test_evaluations_with_other_settings_are_named_and_not_compared():
    rng = np.random.default_rng(2)
    models = [synthetic.random_model(f"m{n}", rng, depth=1) for n in range(4)]
    found = [evaluated(model.model_id, rng, "pgd") for model in models[:3]]
    found += [evaluated(models[3].model_id, rng, "pgd", eps=4 / 255), evaluated("made/gone@1", rng, "pgd")]
    kept, left = evaluations(zoo_of(models, found))
    assert [each.row["model_id"] for each in kept] == [model.model_id for model in models[:3]]
    assert left == ["Not compared: 1 evaluation on digits (pgd) with other settings than most (PGD Linf 8/255)."]


@pytest.mark.parametrize(
    ("attack", "norm", "eps", "name"),
    [
        ("none", None, None, "clean"),
        ("pgd", "Linf", 4 / 255, "PGD Linf 4/255"),
        ("square", "L2", 0.5, "Square L2 0.5"),
        ("fog", None, 0.123456, "fog 0.123"),
    ],
)
def test_attacks_are_named_with_their_settings(attack, norm, eps, name):
    assert attack_name({"attack": attack, "norm": norm, "eps": eps}) == name


def functions_zoo(effect: float, seed: int = 3):
    """Six architectures, each with relu and silu, all normal; logits of silu are larger."""
    rng = np.random.default_rng(seed)
    models, found = [], []
    for number in range(12):
        facts = {"architecture": f"net{number // 2}", "robust": False, "activation": ("relu", "silu")[number % 2]}
        models.append(synthetic.random_model(f"m{number}", rng, depth=1, **facts, pooling="stride"))
        scale = (1 + number // 2) * (1 + effect * (number % 2))
        found.append(evaluated(models[-1].model_id, rng, scale=scale, n=400))
    return zoo_of(models, found)


def test_a_planted_difference_of_activations_is_found_at_equal_architecture():
    """Architectures differ by far more than the activations do."""
    (row,) = rows(functions.functions(functions_zoo(0.8)), measure="over_confidence")
    assert (row["column"], row["value"], row["reference"], row["groups"]) == ("activation", "silu", "relu", 6)
    assert 0 < row["low"] < row["difference"]
    assert row["differs"]
    none = functions.functions(functions_zoo(0.0))
    assert not any(row["differs"] for row in rows(none))
    assert "No difference is shown" in none.summary


def weights_zoo(*, is_planted: bool, seed: int = 4):
    """Two architectures of twelve networks; sparser ones are more confident if it is planted."""
    rng = np.random.default_rng(seed)
    models, found = [], []
    for number in range(24):
        share = (number // 2) / 24
        layer = rng.normal(size=(12, 12, 3, 3)).astype(np.float32)
        layer.reshape(-1, 9)[: round(share * 144)] *= 1e-5
        facts = {"architecture": f"net{number % 2}", "robust": False}
        models.append(synthetic.Model(f"m{number}", [layer], facts))
        scale = 1 + (3 * share if is_planted else rng.random())
        found.append(evaluated(models[-1].model_id, rng, scale=scale + 5 * (number % 2), n=300))
    return zoo_of(models, found)


def test_a_planted_correlation_with_sparsity_is_found_at_equal_architecture():
    exhibit = weights.correlation(weights_zoo(is_planted=True))
    (row,) = rows(exhibit, confidence="over_confidence", measure="sparsity")
    assert (row["networks"], row["groups"]) == (24, 2)
    assert row["rho"] > 0.6
    assert row["low"] > 0
    assert row["stands_out"]
    assert "over_confidence with sparsity" in exhibit.summary
    none = weights.correlation(weights_zoo(is_planted=False))
    assert not any(row["stands_out"] for row in rows(none))
    assert "No correlation is shown" in none.summary


def test_drift_from_the_twin_is_that_of_the_pairs_section(planted):
    from filterzoo_analysis.sections import pairs as pair_section

    found = weights.measures_of(planted)["drift_from_twin"]
    names = planted.dataset.models["pair_id"].to_pylist()
    drifts = {row["pair_id"]: row["drift"] for row in pair_section.each_pair(planted).table.to_pylist()}
    robust = [bool(each) for each in planted.dataset.models["robust"].to_pylist()]
    assert [np.isfinite(each) for each in found] == robust
    for name, is_robust, own in zip(names, robust, found, strict=True):
        assert not is_robust or own == pytest.approx(drifts[name])


@pytest.mark.slow
def test_zoos_without_any_effect_show_none_in_94_of_100(monkeypatch):
    """60 zoos of six pairs whose networks differ, robust ones by nothing: 5 % may show something, give or take.

    The intervals of a network's own measures are not looked at, and most of the time would go into them.
    """
    monkeypatch.setattr(bootstrap, "DRAWS", 20)
    shown = {"pairs": 0, "functions": 0, "weights": 0}
    for seed in range(60):
        made = zoo_of(*pairs(np.random.default_rng(seed), 6, 0.0))
        shown["pairs"] += min(twins.differences(made).table["q"].to_pylist()) <= RATE
        found = functions.functions(functions_zoo(0.0, seed)).table["q"].to_pylist()
        shown["functions"] += min(found) <= RATE
        shown["weights"] += min(weights.correlation(made).table["q"].to_pylist()) <= RATE
    assert max(shown.values()) <= 7, shown
