"""README's blocks run as they stand: on a data set of real networks, and against a zoo on loopback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save
from tests.hub_server import USER, serve
from tests.model_hub import ModelHub, Repo
from tests.program import filterzoo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SMALL = """
name: small
sources:
  - source: pypi
    packages: ["facenet-pytorch==2.6.0", "digit-recognizer-py==0.1.0"]
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.index
def test_the_loading_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    assert filterzoo("crawl", "small.yaml", cwd=tmp_path).code == 0
    (tmp_path / "build").mkdir()
    assert filterzoo("publish", "build/quickstart", cwd=tmp_path).code == 0
    code = [block for block in blocks("python") if "build/quickstart" in block]
    assert len(code) == 2
    checks = """
assert len(models) == 4 and len(layers) == 15
assert filters.ndim == 3 and filters.shape[1:] == (3, 3) and filters.dtype == "float32"
assert all_filters.shape == (6240 + 1428 + 702 + 10272, 3, 3)
assert 0 < len(first_third) < len(all_filters)
"""
    program = tmp_path / "blocks.py"
    program.write_text("\n".join([*code, checks]))
    subprocess.run([sys.executable, str(program)], check=True, cwd=tmp_path, timeout=300)


def test_the_manifests_it_names_are_there() -> None:
    named = set(re.findall(r"manifests/[\w-]+\.yaml", README))
    assert {"manifests/quickstart.yaml", "manifests/hub-first.yaml"} <= named
    assert [name for name in named if not (ROOT / name).is_file()] == []


@pytest.mark.slow
def test_the_crawl_of_the_hub_is_published_to_a_folder_and_to_ones_account(tmp_path: Path) -> None:
    """The three commands in their order; the Hub is on loopback, and its networks are one layer each."""
    (commands,) = [block for block in blocks("sh") if "hub-first" in block]
    crawl, to_folder, to_hub = (line.partition("#")[0].split()[1:] for line in commands.splitlines())
    assert (crawl[0], to_folder[0], to_hub[0]) == ("crawl", "publish", "publish")
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    (source,) = yaml.safe_load((ROOT / "manifests" / "hub-first.yaml").read_text())["sources"]
    cache = {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    with ModelHub() as zoo:
        for number, name in enumerate(source["include"]):
            weights = save({"conv.weight": np.full((2, 3, 3, 3), number, np.float32)})
            zoo.repos[f"timm/{name}"] = Repo({"model.safetensors": weights})
        here = {"HF_ENDPOINT": zoo.url, "HF_TOKEN": "", **cache}
        ran = filterzoo(*crawl, "--allow-private", "--json", cwd=tmp_path, env=here)
    assert ran.document["checkpoints"] == {"done": 10, "skipped": 1, "failed": 0}, ran.err
    assert ran.document["reasons"] == {"licence": 1}
    published = filterzoo(*to_folder, cwd=tmp_path)
    assert published.code == 0, published.err
    with serve() as hub:
        target = to_hub[1].replace("YOUR-NAME", USER)
        published = filterzoo("publish", target, *to_hub[2:], cwd=tmp_path, env=hub.environment)
        assert published.code == 0, published.err
        assert hub.repos[target].private
        shared = {path: body for path, body in hub.files(target).items() if path.startswith("data/filters/")}
    folder = tmp_path / "build" / "hub-first"
    assert shared == {path: (folder / path).read_bytes() for path in shared}
    assert len(shared) == len(list(folder.glob("data/filters/**/*.parquet"))) >= 1


def test_the_manifest_block_is_a_manifest(tmp_path: Path) -> None:
    (manifest,) = [block for block in blocks("yaml") if "source: local" in block]
    (tmp_path / "my-zoo.yaml").write_text(manifest)
    models = tmp_path / "models"
    models.mkdir()
    from safetensors.numpy import save_file

    save_file({"conv.weight": np.ones((2, 3, 3, 3), np.float32)}, models / "a.safetensors")
    for pattern in ("b.onnx", "c.pth"):
        (models / pattern).write_bytes(b"")
    ran = filterzoo("crawl", "my-zoo.yaml", "--json", cwd=tmp_path)
    assert ran.document["checkpoints"] == {"done": 1, "skipped": 0, "failed": 2}
    assert yaml.safe_load(manifest)["sources"][0]["license"] == "apache-2.0"


def test_the_zoo_of_a_dozen_lines_is_crawled_as_it_stands(tmp_path: Path) -> None:
    (models,) = [block for block in blocks("python") if "my_models" in block and "class" not in block]
    (zoo,) = [block for block in blocks("python") if "class MyZoo" in block]
    (manifest,) = [block for block in blocks("yaml") if "my_zoo" in block]
    (command,) = [block.split()[1:] for block in blocks("sh") if "my_zoo.py" in block]
    lines = [line for line in zoo.splitlines() if line.strip() and not line.strip().startswith('"""')]
    assert len(lines) <= 12
    assert sum(line.startswith(("import", "from")) for line in lines) == 1
    subprocess.run([sys.executable, "-c", models], check=True, cwd=tmp_path, timeout=60)
    (tmp_path / "my_zoo.py").write_text(zoo)
    (tmp_path / "zoo.yaml").write_text(manifest)
    ran = filterzoo(*command, "--json", cwd=tmp_path)
    assert ran.code == 0, ran.err
    assert ran.document["checkpoints"] == {"done": 2, "skipped": 0, "failed": 0}
    assert ran.document["filters"] == {"3x3": 3 * (8 + 16)}
