"""Networks that were never trained: in the data like all others, and marked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.program import filterzoo
from tests.publish.folders import cards, rows

MANIFEST = """
name: untrained
sources:
  - source: local
    paths: ["*.safetensors"]
    license: mit
"""


def network(*, trained: bool, layers: int = 4) -> dict[str, np.ndarray]:
    """Filters drawn at random; those of a trained one are smooth."""
    draws = np.random.default_rng(3).normal(size=(layers, 32, 16, 3, 3)).astype(np.float32)
    filters = draws + np.roll(draws, 1, axis=-1) if trained else draws
    return {f"layer{number}.weight": np.ascontiguousarray(layer) for number, layer in enumerate(filters)}


@pytest.mark.slow
def test_they_are_published_with_their_filters_and_marked(tmp_path: Path) -> None:
    save_file(network(trained=False), tmp_path / "random.safetensors")
    save_file(network(trained=True), tmp_path / "trained.safetensors")
    save_file(network(trained=False, layers=2), tmp_path / "small.safetensors")
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    for command in (("crawl", "manifest.yaml"), ("publish", "out"), ("verify", "out")):
        ran = filterzoo(*command, cwd=tmp_path)
        assert ran.code == 0, ran.err
    models = {Path(row["id"]).stem: row for row in rows(tmp_path / "out", "models").to_pylist()}
    assert {name: row["suspected_random"] for name, row in models.items()} == {
        "random": True,
        "small": None,
        "trained": False,
    }
    assert models["random"]["published_filters"] == 4 * 32 * 16
    told = {name: " ".join(card["warnings"]) for name, card in cards(tmp_path / "out").items()}
    assert {name for name, warnings in told.items() if "never trained" in warnings} == {models["random"]["model_id"]}
    assert "- 1 network looks as if it was never trained" in (tmp_path / "out/README.md").read_text()
