"""docs/recipes.md: its blocks run as they stand, on real networks; those for the Hub against a Hub on loopback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hub_server import serve
from tests.program import filterzoo

RECIPES = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
MANIFEST = """
name: recipes
sources:
  - source: pypi
    packages: [{packages}]
licenses: {{allow: [apache-2.0, mit, agpl-3.0-only]}}
"""
FIRST = "facenet-pytorch==2.6.0, digit-recognizer-py==0.1.0, rapidocr-onnxruntime==1.4.4"
SECOND = "facenet-pytorch==2.6.0, nudenet==3.4.2"
CHECKS = """
assert len(models) == 7 and TARGET == "build/quickstart"
assert len(chosen) == 3 and set(named) >= {"conv1.weight"} and sum(map(len, by_layer)) == 6240 + 1428 + 10272
assert len(known) == len(newest) == 7 and newest_filters.shape == (len(everything), 3, 3)
assert len(faces) == 30 + 84 + 96, "the first layers of P-Net, R-Net and O-Net"
assert set(by_task) == {"face-detection", "text-recognition", "classification"} and all(map(len, by_task.values()))
assert len(faces) < len(first_layers) < len(everything)
assert strided.shape[1:] == (3, 3)
assert 0 < len(dense) < len(everything) and by_kernel["3x3"].shape == everything.numpy().shape
assert measures["model_id"].nunique() == 7 and "dct_histogram" not in measures and len(sparsest) == 5
assert list(named_drift.index) == list(table["model_id"])
assert 10_000 < seen <= 10_000 + 32_768
assert batch.shape[1:] == (1, 3, 3) and batch.dtype == torch.float32
assert next(iter(even))[0].shape == (512, 3, 3)
assert len(mean_sparsity) == len(entropies) == 7 and entropies["n_filters"].sum() == len(everything)
assert len(largest) == 5 and largest[0][2] == max(row[2] for row in largest)
assert whole.count == len(everything) and abs(pca.ratio.sum() - 1) < 1e-9 and pca.ratio[0] > pca.ratio[8]
direct = everything.numpy().reshape(-1, 9).astype(np.float64)
direct /= np.maximum(np.abs(direct).max(axis=1, keepdims=True), 1e-300)
assert np.allclose(np.linalg.eigvalsh(np.cov(direct.T))[::-1], pca.variance, atol=1e-6)
assert len(table) == len(groups) == 7 and drift.shape == (7, 7)
assert np.all(drift == drift.T) and np.all(drift[~np.eye(7, dtype=bool)] > 0)
assert coefficients.shape == (512, 9) and np.all(share > 0)
assert sample.shape == (7 * 50, 3, 3)
assert len(added) > 0 and len(joined) == len(older) + len(added)
assert len(union) == len(everything) + added["published_filters"].sum()
"""
HUB_CHECKS = """
assert len(frame) > 100 and frame.equals(local[["model_id", "sparsity"]])
local = local[local["kernel"] == "3x3"].groupby("model_id")
assert len(counted) == 7 and dict(counted) == local["n_filters"].sum().to_dict()
means = dict(entropies.iter_rows())
assert means.keys() == dict(counted).keys()
assert all(abs(means[model] - mean) < 1e-12 for model, mean in local["variance_entropy"].mean().items())
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", RECIPES, re.DOTALL)


def run(folder: Path, code: list[str], **environment: str) -> None:
    (folder / "recipes.py").write_text("\n".join(code))
    environment = {**os.environ, "HF_HOME": str(folder / "home"), **environment}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "recipes.py"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder with `build/quickstart`, `build/second` and the work folder of the first."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "build").mkdir()
    for name, packages in (("quickstart", FIRST), ("second", SECOND)):
        (folder / f"{name}.yaml").write_text(MANIFEST.format(packages=packages))
        crawled = filterzoo("crawl", f"{name}.yaml", "--workdir", f"{name}-work", cwd=folder)
        assert crawled.code == 0, crawled.err
        done = filterzoo("publish", f"build/{name}", "--workdir", f"{name}-work", cwd=folder)
        assert done.code == 0, done.err
    return folder


@pytest.mark.index
def test_the_recipes_run(published: Path) -> None:
    code = blocks("python")
    assert len(code) == RECIPES.count("```python\n") == 19
    run(published, [*code, CHECKS])


@pytest.mark.index
def test_the_recipe_for_the_hub_runs(published: Path) -> None:
    (code,) = blocks("python hub")
    code = code.replace("user/name", "alice/zoo")
    layers = sorted((published / "build/quickstart/data/layers").rglob("*.parquet"))
    checks = f"local = pd.concat(pd.read_parquet(p) for p in {list(map(str, layers))})" + HUB_CHECKS
    with serve() as hub:
        done = filterzoo("publish", "alice/zoo", "--workdir", "quickstart-work", cwd=published, env=hub.environment)
        assert done.code == 0, done.err
        run(published, [code, checks], **hub.environment)


def test_what_is_not_tested_says_so_and_is_python() -> None:
    (code,) = blocks("python untested")
    compile(code, "recipes.md", "exec")
    assert "**not tested**" in RECIPES
    assert len(blocks("python hub")) == 1
