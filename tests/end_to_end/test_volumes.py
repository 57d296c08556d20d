"""A 3-D network of the medical zoos, from its repository to the data set: its kernels in `layers`, asked for or not."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.model_hub import ModelHub, Repo
from tests.program import filterzoo

from filterzoo import load

SHAPES = {"module.conv1.weight": (4, 1, 7, 7, 7), "module.layer1.0.conv1.weight": (8, 4, 3, 3, 3)}


@pytest.fixture(scope="module")
def hub():
    generator = torch.Generator().manual_seed(0)
    file = io.BytesIO()
    torch.save({"state_dict": {name: torch.randn(*shape, generator=generator) for name, shape in SHAPES.items()}}, file)
    with ModelHub() as server:
        server.repos["TencentMedicalNet/MedicalNet-Resnet10"] = Repo({"resnet_10_23dataset.pth": file.getvalue()})
        yield server, torch.load(io.BytesIO(file.getvalue()))["state_dict"]


@pytest.mark.slow
@pytest.mark.parametrize("kernels", [["3x3"], ["3x3", "3x3x3"]])
def test_kernels_of_volumes_reach_layers_and_where_they_are_asked_for_filters(hub, kernels, tmp_path: Path) -> None:
    server, stored = hub
    sources = "sources: [{source: medical, repositories: [medicalnet]}]"
    (tmp_path / "volumes.yaml").write_text(f"name: volumes\n{sources}\nkernels: {kernels}\n")
    here = {"HF_ENDPOINT": server.url, "HF_TOKEN": "", "FILTERZOO_CACHE": str(tmp_path / "cache")}
    ran = filterzoo("crawl", "volumes.yaml", "--allow-private", "--json", "--workers", 1, cwd=tmp_path, env=here)
    assert ran.code == 0, ran.err
    assert ran.document["filters"] == {"3x3x3": 32, "7x7x7": 4}
    assert filterzoo("publish", "out", cwd=tmp_path).code == 0
    (models,) = (tmp_path / "out").glob("data/models/**/*.parquet")
    (model,) = pq.read_table(models).to_pylist()
    assert (model["modality"], model["licence"], model["architecture"]) == ("ct+mr", "mit", "resnet10")
    assert model["spatial_dims"] == 3
    (layers,) = (tmp_path / "out").glob("data/layers/**/*.parquet")
    rows = {row["name"]: row for row in pq.read_table(layers).to_pylist()}
    assert {name: (row["kernel"], tuple(row["shape"])) for name, row in rows.items()} == {
        name: ("x".join(map(str, shape[2:])), shape) for name, shape in SHAPES.items()
    }
    blocks = [path for path in (tmp_path / "out").glob("data/filters/**/*.parquet") if pq.read_table(path).num_rows]
    assert bool(blocks) is ("3x3x3" in kernels)
    for path in blocks:
        assert pq.read_table(path)["kernel"].to_pylist() == ["3x3x3"]
        filters = load(str(tmp_path / "out"), kernel="3x3x3")
        assert np.array_equal(filters, stored["module.layer1.0.conv1.weight"].reshape(-1, 3, 3, 3).numpy())
    assert filterzoo("verify", "out", cwd=tmp_path).code == 0
