"""Files of `filters`: as the workers wrote them where that can be, and the same bytes where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.publish.folders import RELEASE, publish_models, tree
from tests.publish.work import Model, weights, write_work

from filterzoo.errors import FilterZooError
from filterzoo.store import filters as layout
from filterzoo.store.filters import BLOCK
from filterzoo.store.former_filters import former_name
from filterzoo.store.fragments import FILTERS, LAYERS
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.plan.origins import WorkOrigin
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.shards import filters
from filterzoo_publish.verify.checks import verify

SHARED = weights(9, 100, 20, 3, 3)
LARGE = Model("a", {"w": weights(1, 100, 20, 3, 3), "of-a": SHARED}, facts={"task": "object-detection"})
SMALL = [Model(name, {"w": weights(seed, 10, 20, 3, 3)}) for seed, name in enumerate("bcd", 2)]
SHARING = Model("e", {"of-a": SHARED, "w": weights(5, 120, 20, 3, 3), "v": weights(6, 10, 20, 3, 3)})


@pytest.fixture(autouse=True)
def _small_sizes(monkeypatch):
    monkeypatch.setattr(layout, "ALONE_NUMBERS", 9 * 2_000)
    monkeypatch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 2_500)


def data(folder: Path) -> dict[str, str]:
    return {path: digest for path, digest in tree(folder).items() if path.startswith("data/")}


def models_of(folder: Path) -> dict[str, Path]:
    """The models of each file of filters, joined, and where it is."""
    found = {}
    for path in (folder / "data" / "filters").rglob("*.parquet"):
        names = pq.read_table(path, columns=["model_id"], partitioning=None)["model_id"].unique().to_pylist()
        found["".join(name.removeprefix("pypi/").removesuffix("@1") for name in names)] = path
    return found


def fragment_of(folder: Path, name: str) -> Path:
    work = WorkFolder(folder)
    with work.existing_journal() as journal:
        (done,) = (one for one in journal.done() if one.checkpoint.id == name)
    return Path(work.fragments_url) / done.filters_fragment[:2] / f"{done.filters_fragment}{FILTERS}"


def test_large_checkpoints_have_files_of_their_own_and_small_ones_share_one(tmp_path):
    work = write_work(tmp_path / "work", [LARGE, *SMALL, SHARING])
    publish(work, target_for(str(tmp_path / "out")), release=RELEASE)
    assert verify(str(tmp_path / "out"), full=True) == []
    found = models_of(tmp_path / "out")
    assert set(found) == {"a", "bcd", "e"}
    assert found["a"].samefile(fragment_of(work, "a"))
    assert len(pq.read_table(found["e"], partitioning=None)) == 2, "a has its third layer"


def test_what_is_taken_has_the_bytes_that_encoding_gives(tmp_path, monkeypatch):
    work = write_work(tmp_path / "work", [LARGE, SMALL[0], replace(SMALL[1], source="timm"), SHARING])
    publish(work, target_for(str(tmp_path / "out")), release=RELEASE)
    assert sum(path.stat().st_nlink > 1 for path in models_of(tmp_path / "out").values()) == 3
    monkeypatch.setattr(WorkOrigin, "take_file", lambda *_arguments, **_options: None)
    publish(work, target_for(str(tmp_path / "again")), release=RELEASE)
    assert data(tmp_path / "again") == data(tmp_path / "out")


def test_a_checkpoint_that_is_described_differently_is_encoded_again(tmp_path):
    """Facts may change behind the crawl: then the fragment tells the former ones."""
    changed = replace(LARGE, facts={"task": "segmentation"})
    publish_models(tmp_path / "fresh", tmp_path / "out", [changed])
    work = write_work(tmp_path / "work", [LARGE])
    with WorkFolder(work).existing_journal() as journal:
        (done,) = journal.done()
        journal.record_done(replace(done, checkpoint=replace(done.checkpoint, task="segmentation")), "settings")
    publish(work, target_for(str(tmp_path / "again")), release=RELEASE)
    assert data(tmp_path / "again") == data(tmp_path / "out")
    assert models_of(tmp_path / "again")["a"].stat().st_nlink == 1


def test_several_files_made_at_once_are_those_of_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(filters, "FILE_NUMBERS", 9 * 250)
    monkeypatch.setattr(WorkOrigin, "take_file", lambda *_arguments, **_options: None)
    work = write_work(tmp_path / "work", [LARGE, *SMALL, SHARING])
    for name, at_once in (("one", 1), ("four", 4)):
        monkeypatch.setattr(filters, "_AT_ONCE", at_once)
        monkeypatch.setattr("os.cpu_count", lambda: 4)
        publish(work, target_for(str(tmp_path / name)), release=RELEASE)
    assert len(models_of(tmp_path / "one")) == 5
    assert data(tmp_path / "four") == data(tmp_path / "one")


def former(work: Path, models: list[Model]) -> None:
    """Rewrite a work folder as crawls before version 3 of the journal left it."""
    folder = WorkFolder(work)
    root = Path(folder.fragments_url)
    with folder.existing_journal() as journal:
        for done, model in zip(list(journal.done()), models, strict=True):
            layers = root / done.layers_fragment[:2] / f"{done.layers_fragment}{LAYERS}"
            with pa.memory_map(str(layers)) as source:
                table = pa.ipc.open_file(source).read_all()
            name = former_name(dict.fromkeys(table["layer_id"].to_pylist()))
            _write(root, name, table["layer_id"].to_pylist(), list(model.layers.values()))
            (root / done.filters_fragment[:2] / f"{done.filters_fragment}{FILTERS}").unlink()
            journal.record_done(replace(done, filters_fragment=name), "settings")


def _write(root: Path, name: str, ids: list[str], layers: list[np.ndarray]) -> None:
    columns = ("layer_id", "kernel", "first_filter", "n_filters", "weights")
    types = (pa.string(), pa.string(), pa.int64(), pa.int32(), pa.list_(pa.float32()))
    schema = pa.schema(list(zip(columns, types, strict=True)))
    (root / name[:2]).mkdir(exist_ok=True)
    with pa.ipc.new_file(str(root / name[:2] / f"{name}{LAYERS}"), schema) as writer:
        for layer_id, array in dict(zip(ids, layers, strict=True)).items():
            filters = array.reshape(-1, 9)
            rows = [
                (layer_id, "3x3", first, len(filters[first : first + BLOCK]), filters[first : first + BLOCK].ravel())
                for first in range(0, len(filters), BLOCK)
            ]
            writer.write_batch(
                pa.record_batch(
                    [pa.array(c, t) for c, t in zip(zip(*rows, strict=True), types, strict=True)], schema=schema
                )
            )


@pytest.mark.parametrize("is_damaged", [False, True])
def test_work_folders_of_former_versions_are_published(tmp_path, is_damaged):
    models = [LARGE, *SMALL, SHARING]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    former(tmp_path / "work", models)
    if is_damaged:
        path = next(path for path in (tmp_path / "work/fragments").glob("*/*") if path.stat().st_size > 100_000)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(FilterZooError, match="filterzoo doctor --repair"):
            publish(tmp_path / "work", target_for(str(tmp_path / "again")), release=RELEASE)
        return
    publish(tmp_path / "work", target_for(str(tmp_path / "again")), release=RELEASE)
    assert data(tmp_path / "again") == data(tmp_path / "out")
