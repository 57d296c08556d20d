"""A Hub that fails every fifth request, as live ones do: the release is that of calm weather, byte for byte."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.model_hub import ModelHub, Repo
from tests.plugins.sources.tables.test_table_zoos import APACHE
from tests.program import filterzoo

MANIFEST = """
name: hub
licenses: {unknown: metadata-only}
sources:
  - source: hf_hub
    repos: [alone/net]
    authors: [zoo]
    sizes: true
"""


def weights(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = {f"stage{n}.conv.weight": torch.randn(48, 48, 3, 3, generator=generator) for n in range(3)}
    return state | {"head.weight": torch.randn(300, 300, generator=generator)}


def torch_file(seed: int) -> bytes:
    buffer = io.BytesIO()
    torch.save(weights(seed), buffer)
    return buffer.getvalue()


@pytest.fixture
def hub():
    config = json.dumps({"architecture": "mine"}).encode()
    beside = {"LICENSE": APACHE, "config.json": config}
    with ModelHub() as running:
        running.repos = {"alone/net": Repo({"model.safetensors": safetensors.torch.save(weights(0))} | beside)}
        for seed in range(1, 5):
            running.repos[f"zoo/{seed}"] = Repo({"model.safetensors": safetensors.torch.save(weights(seed))} | beside)
            running.repos[f"zoo/old{seed}"] = Repo({"pytorch_model.bin": torch_file(seed + 10)} | beside)
        yield running


def release(hub: ModelHub, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    (folder / "hub.yaml").write_text(MANIFEST)
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "FILTERZOO_CACHE": str(folder / "cache")}
    ran = filterzoo("crawl", "hub.yaml", "--allow-private", "--json", "--workers", "2", cwd=folder, env=environment)
    assert (ran.code, ran.document["checkpoints"]) == (0, {"done": 9, "skipped": 0, "failed": 0}), ran.err
    assert filterzoo("publish", "out", cwd=folder).code == 0
    out = folder / "out"
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def kind(path: str) -> str:
    """What a request of the crawl was for."""
    if path.startswith("/api/models?"):
        return "listing"
    if path.startswith("/api/models/"):
        return "model_info"
    return "document" if path.endswith(("config.json", "LICENSE")) else "file"


@pytest.mark.slow
def test_a_release_over_a_bad_network_is_that_over_a_good_one(hub, tmp_path):
    calm = release(hub, tmp_path / "calm")
    hub.requests.clear()
    asked: Counter[str] = Counter()
    failed: list[str] = []

    def ails(number: int) -> bool | int:
        """Every fifth of each kind fails, in each of the four ways in turn."""
        what = kind(hub.requests[number - 1][0])
        asked[what] += 1
        if asked[what] % 5:
            return False
        failed.append(what)
        return len(failed)

    hub.ails = ails
    stormy = release(hub, tmp_path / "stormy")
    # Which requests are the fifth is a matter of threads.
    assert set(failed) <= {"listing", "model_info", "document", "file"}
    assert len(failed) >= 4
    assert len(set(failed)) >= 2
    assert stormy == calm
    assert any(path.startswith("data/") or path.endswith(".parquet") for path in calm)
