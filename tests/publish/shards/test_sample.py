"""The sample: a draw that any release repeats, of which a smaller one is a part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.publish.folders import publish_models, rows, tree
from tests.publish.work import Model, weights

from filterzoo.store.sample import draw
from filterzoo_publish.shards import sample
from filterzoo_publish.verify.checks import verify

LAYERS = st.lists(st.integers(1, 400), min_size=1, max_size=6)


def pairs(drawn: dict[str, np.ndarray]) -> set[tuple[str, int]]:
    return {(layer, number) for layer, numbers in drawn.items() for number in numbers.tolist()}


@given(counts=LAYERS, small=st.integers(1, 300), more=st.integers(0, 300))
def test_a_draw_has_its_size_its_order_and_its_part(counts, small, more):
    layers = [(f"layer-{number}", count) for number, count in enumerate(counts)]
    drawn, larger = (draw("model", layers, size) for size in (small, small + more))
    assert sum(map(len, drawn.values())) == min(small, sum(counts))
    assert pairs(drawn) <= pairs(larger)
    for layer, count in layers:
        assert np.all(np.diff(drawn[layer]) > 0)
        assert not len(drawn[layer]) or (drawn[layer][0] >= 0 and drawn[layer][-1] < count)


def test_a_draw_is_the_same_on_every_machine():
    drawn = draw("pypi/a@1", [("x", 1000), ("y", 500)], 8)
    assert {layer: numbers.tolist() for layer, numbers in drawn.items()} == {
        "x": [178, 264, 522, 654, 931],
        "y": [174, 301, 485],
    }


def test_a_draw_is_even():
    counts = np.bincount([number // 100 for seed in range(200) for number in draw(f"m{seed}", [("x", 1000)], 50)["x"]])
    assert abs(counts / 1000 - 1).max() < 0.15


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([], 8192),
        ([10**6] * 244, 8192),
        ([10**6] * 245, 4096),
        ([10] * 100_000, 8192),
        ([10**6] * 300_000, 4),
        ([10**6] * 3_000_000, 1),
    ],
)
def test_the_quota_keeps_the_sample_small(filters, expected):
    assert sample.quota(filters) == expected


def test_each_checkpoint_has_the_same_number(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, "LARGEST_QUOTA", 64)
    models = [Model("large", {"w": weights(1, 50, 40, 3, 3)}), Model("small", {"w": weights(2, 5, 4, 3, 3)})]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    names = rows(tmp_path / "out", "filters_sample")["model_id"].to_pylist()
    assert (names.count("pypi/large@1"), names.count("pypi/small@1")) == (64, 20)


def test_when_many_come_the_present_sample_is_thinned(tmp_path, monkeypatch):
    """The result is the sample that one release of everything would have."""
    monkeypatch.setattr(sample, "TOTAL", 300)
    monkeypatch.setattr(sample, "GROUP_ROWS", 50)
    models = [Model(f"m{number}", {"w": weights(number, 20, 10, 3, 3)}) for number in range(6)]
    publish_models(tmp_path / "first", tmp_path / "out", models[:2])
    assert len(rows(tmp_path / "out", "filters_sample")) == 256
    before = tree(tmp_path / "out")
    report = publish_models(tmp_path / "second", tmp_path / "out", models)
    assert {path.split("/")[1] for path in report.removed} == {"filters_sample", "status"}
    kept = {path for path in before if path.startswith(("data/models", "data/layers", "data/filters/"))}
    assert kept <= tree(tmp_path / "out").keys()
    publish_models(tmp_path / "third", tmp_path / "once", models)
    grown, made = (rows(tmp_path / name, "filters_sample").to_pylist() for name in ("out", "once"))
    assert len(grown) == 192
    assert sorted(grown, key=str) == sorted(made, key=str)
    assert verify(str(tmp_path / "out")) == []
