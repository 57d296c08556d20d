"""Figures of frequencies, spectra and master keys on a published zoo of kernels from 3x3 to 7x7."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.analysis import synthetic

from filterzoo_analysis import zoo
from filterzoo_analysis.filters.master_keys import ideal_keys
from filterzoo_analysis.sections import beyond
from filterzoo_analysis.sections.weights import frequencies, master_keys, spectra
from filterzoo_analysis.tables.statistics import DECILES


def depthwise(name: str, rng: np.random.Generator, side: int, noise: float, **facts) -> synthetic.Model:
    """Shifted and scaled ideal keys, with noise that grows with depth."""
    edge = (7 - side) // 2
    keys = ideal_keys(7)[:, edge : edge + side, edge : edge + side]
    keys = keys / keys.std(axis=(1, 2), keepdims=True)
    layers = []
    for depth in range(4):
        made = keys[rng.integers(8, size=40)] * rng.normal(1, 0.2, size=(40, 1, 1)) + rng.normal(size=(40, 1, 1))
        layers.append((made + noise * depth * rng.normal(size=made.shape)).astype(np.float32)[:, None])
    return synthetic.Model(name, layers, facts, depthwise=True)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    rng = np.random.default_rng(0)
    models = [depthwise(f"net{side}-{n}", rng, side, 0.3) for side in (3, 5, 7) for n in range(3)]
    models.append(depthwise("untrained", rng, 7, 9.0, suspected_random=True))
    models += [synthetic.random_model(f"plain{n}", rng, width=60) for n in range(3)]
    return zoo.read(str(synthetic.publish(tmp_path_factory.mktemp("wide") / "zoo", models)))


def test_energy_by_frequency_is_shown_for_every_kernel_from_3x3_to_7x7(wide):
    table = frequencies.content(wide).table.to_pylist()
    assert {(row["kernel"], row["kind"], row["models"]) for row in table} == {
        ("3x3", "depthwise", 3), ("5x5", "depthwise", 3), ("7x7", "depthwise", 3), ("3x3", "all other", 3)
    }  # fmt: skip
    for kernel, kind in {(row["kernel"], row["kind"]) for row in table}:
        rows = [row for row in table if (row["kernel"], row["kind"]) == (kernel, kind)]
        assert sum(row["mean"] for row in rows) == pytest.approx(1)
        assert sum(row["white"] for row in rows) == pytest.approx(1)
        if kind == "all other":
            assert all(row["mean"] == pytest.approx(row["white"], abs=0.03) for row in rows)
    layers = [row for row in wide.dataset.layers.to_pylist() if row["model_id"].startswith("made/net7-0")]
    first = [row["mean"] for row in table if row["kernel"] == "7x7" and row["radius"] == 0]
    every = [row for row in wide.dataset.layers.to_pylist() if row["model_id"].startswith("made/net7-")]
    assert len(layers) == 4
    assert first == [pytest.approx(np.mean([row["frequency_energy"][0] for row in every]))]


def test_spectra_by_depth_are_means_over_models_of_ranks_over_full_ranks(wide):
    table = spectra.by_depth(wide).table.to_pylist()
    row = next(row for row in table if (row["measure"], row["decile"]) == ("stable_rank", DECILES[9]))
    last = [row for row in wide.dataset.layers.to_pylist() if row["conv_depth_norm"] == 1.0]
    last = [row for row in last if "untrained" not in row["model_id"]]
    expected = [row["stable_rank"] / min(row["shape"][0], int(np.prod(row["shape"][1:]))) for row in last]
    assert row["models"] == len(expected) == 12
    assert row["mean"] == pytest.approx(np.mean(expected))
    alpha = [row for row in table if row["measure"] == "power_law_alpha" and row["models"]]
    assert {row["models"] for row in alpha} == {3}, "matrices of fewer than 50 singular values have none"


def test_master_keys_explain_planted_filters_less_with_depth_and_more_than_chance(wide):
    found = master_keys.explained(wide, "ideal")
    table = found.table.to_pylist()
    whole = [row for row in table if row["depth"] == "all"]
    assert len(whole) == 9
    assert {row["kernel"] for row in whole} == {"3x3", "5x5", "7x7"}
    assert all(row["filters"] == 160 and row["layers"] == 4 for row in whole)
    assert all(row["share"] > 0.6 > 2 * row["chance"] for row in whole if row["kernel"] == "7x7")
    depths = {row["depth"]: row["share"] for row in table if row["model_id"] == "made/net7-0@1"}
    assert depths[DECILES[0]] == pytest.approx(1, abs=1e-3)
    assert depths[DECILES[0]] > depths[DECILES[3]] > depths[DECILES[9]]
    assert all(sum(row[f"key_{n}"] for n in range(1, 9)) == pytest.approx(1) for row in table)


def test_keys_of_a_file_are_compared_as_well_and_one_that_is_none_is_refused(wide, tmp_path):
    rows = "\n\n".join("\n".join(" ".join(map(str, row)) for row in key) for key in ideal_keys(7)[:2])
    (tmp_path / "two.txt").write_text(rows)
    table = master_keys.explained(wide, str(tmp_path / "two.txt")).table
    assert [name for name in table.column_names if name.startswith("key_")] == ["key_1", "key_2"]
    assert max(table["share"].to_pylist()) < 0.9


def test_the_section_says_in_a_line_what_is_missing(wide):
    without = beyond.section(wide)
    assert [each.name for each in without.exhibits] == ["frequency_content", "spectra_by_depth"]
    assert any(line.startswith("No master keys: not asked for") for line in without.empty)
    assert any(line.startswith("No mixed models: no axis has two groups") for line in without.empty)
    assert "master_keys" in {each.name for each in beyond.section(replace(wide, master_keys="ideal")).exhibits}
    bare = zoo.prepare(synthetic.dataset([synthetic.Model("points", [np.ones((4, 4, 1, 1), np.float32)])]))
    missing = beyond.section(replace(bare, master_keys="ideal")).empty
    assert "No master keys: no depthwise filters of their sizes are published." in missing
    assert any(line.startswith("No frequency content") for line in missing)
