"""Tables of layers that a release keeps: without room for them only its time is another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.publish.folders import publish_models, tree
from tests.publish.work import zoo

from filterzoo.store.fragments import FragmentStore


def test_a_release_reads_the_layers_of_a_checkpoint_a_few_times_if_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    layers = FragmentStore.layers

    def counted(store: FragmentStore, name: str) -> object:
        read.append(name)
        return layers(store, name)

    monkeypatch.setattr(FragmentStore, "layers", counted)
    publish_models(tmp_path / "kept", tmp_path / "with", zoo())
    assert len(read) <= 3 * len(set(read))
    read.clear()
    monkeypatch.setattr("filterzoo_publish.plan.origins._KEPT_BYTES", 0)
    publish_models(tmp_path / "not_kept", tmp_path / "without", zoo())
    assert len(read) >= 10 * len(set(read))
    assert tree(tmp_path / "with") == tree(tmp_path / "without")
