"""A Hub that lies about sizes, hashes and contents of models: nothing of such a file is stored; each is a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tests.model_hub import ModelHub, Repo
from tests.program import filterzoo

from filterzoo.store.workfolder import WorkFolder

NAME = "model.safetensors"
LIMIT = 100_000


def weights(seed: int, out: int = 8) -> bytes:
    rng = np.random.default_rng(seed)
    return safetensors.numpy.save({"conv.weight": rng.normal(size=(out, 4, 3, 3)).astype(np.float32)})


def repo(seed: int, **said: Any) -> Repo:
    return Repo({NAME: weights(seed)}, lies={NAME: said})


def lfs(**said: Any) -> dict[str, Any]:
    """What is said of the file in LFS; a hash where it says none."""
    return {"lfs": {"sha256": "a" * 64, "size": len(weights(0)), "pointerSize": 130} | said}


LIES: dict[str, tuple[Repo, set[str]]] = {
    "smaller": (repo(1, size=100), {"hash_mismatch"}),
    "larger": (repo(2, size=90_000), {"hash_mismatch"}),
    "huge": (repo(3, size=1 << 62), {"too_large"}),
    "negative": (repo(4, size=-5), {"fetch_failed"}),
    "text": (repo(5, size="many"), {"fetch_failed"}),
    "other-hash": (repo(6, **lfs()), {"hash_mismatch"}),
    "no-hash": (repo(7, **lfs(sha256="not a hash")), {"fetch_failed"}),
    "small-and-large": (
        Repo({NAME: weights(8, 1_000)}, lies={NAME: {"size": 100, "lfs": None}}),
        {"too_large"},
    ),
    "unstated-and-large": (Repo({NAME: weights(9, 1_000)}, lies={NAME: {"size": None, "lfs": None}}), {"too_large"}),
    "other-content": (Repo({NAME: weights(10)[:-36] + bytes(36)}, lies={NAME: lfs()}), {"hash_mismatch"}),
}


@pytest.mark.slow
def test_no_file_is_stored_that_the_hub_lies_about(tmp_path: Path) -> None:
    names = [f"liar/{name}" for name in LIES]
    (tmp_path / "m.yaml").write_text(
        f"name: m\nlimits: {{checkpoint_bytes: {LIMIT}}}\nlicenses: {{unknown: publish}}\n"
        f"sources:\n  - {{source: hf_hub, repos: {[*names, 'honest/one']}}}\n"
    )
    with ModelHub() as hub:
        hub.repos = {name: repository for name, (repository, _) in zip(names, LIES.values(), strict=True)}
        hub.repos["honest/one"] = Repo({NAME: weights(0)})
        environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = ("crawl", "m.yaml", "--allow-private", "--json", "--workers", "1")
        ran = filterzoo(*command, cwd=tmp_path, env=environment)
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        done = [each.checkpoint.id for each in journal.done()]
        reasons = {entry.id: str(entry.reason) for entry in journal.ledger()}
        details = [entry.detail for entry in journal.ledger()]
    assert ran.code == 1, ran.err
    assert done == ["honest/one"]
    assert not any("\n" in detail for detail in details)
    for name, (_, expected) in zip(names, LIES.values(), strict=True):
        assert reasons[name] in expected, (name, reasons[name])
