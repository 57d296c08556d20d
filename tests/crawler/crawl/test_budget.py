"""No checkpoint costs more time, memory or disk than its budget; the next one is taken as if nothing had been."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file
from tests.crawler.jail.test_validation import conv, index
from tests.servers import WebServer

from filterzoo.crawl.budget import SECONDS, Budget, cpu_clock
from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.worker import Worker
from filterzoo.errors import Reason, Refused
from filterzoo.measures import measure
from filterzoo.network.door import Door
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.plugins import load, references
from filterzoo.records import Span
from filterzoo.store.workfolder import WorkFolder

KERNELS = frozenset({"3x3"})


@pytest.mark.parametrize(
    ("budget", "detail"),
    [
        (Budget(layers=2), "3 layers, 2 are allowed"),
        (Budget(layer_bytes=287), "a layer of 288 bytes, 287 are allowed"),
        (Budget(stored_bytes=575), "576 bytes of filters, 575 may be stored"),
    ],
)
def test_what_the_table_alone_shows_is_refused_before_a_weight_is_read(budget: Budget, detail: str):
    table = index(conv(), conv(name="tied"), conv(span=Span(288, 288)))
    Budget(layers=3, layer_bytes=288, stored_bytes=576).check(table, KERNELS)
    with pytest.raises(Refused, match=detail) as raised:
        budget.check(table, KERNELS)
    assert raised.value.reason is Reason.LIMIT


def test_only_kernels_that_are_stored_count_as_stored():
    Budget(stored_bytes=1).check(index(conv()), frozenset({"5x5"}))


def test_the_clock_is_by_size_unless_the_manifest_states_it():
    assert Budget().seconds_for(index()) == SECONDS
    assert Budget().seconds_for(index(conv(shape=(1 << 14, 1 << 14, 1)))) == SECONDS + 258
    assert Budget(seconds=5).seconds_for(index(conv())) == 5


def spin(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_the_clock_counts_cpu_time_and_stops_what_goes_on():
    with pytest.raises(Refused, match="CPU time") as raised, cpu_clock(0.2):
        spin(20)
    assert raised.value.reason is Reason.LIMIT
    with cpu_clock(0.2):
        time.sleep(0.3)


def spin_in_a_library() -> None:
    with cpu_clock(0.2):
        try:
            spin(20)
        except Refused as error:
            raise RuntimeError("a library made it another") from error


def test_another_error_that_the_clock_ended_in_is_still_a_limit():
    with pytest.raises(Refused) as raised:
        spin_in_a_library()
    assert raised.value.reason is Reason.LIMIT


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "zoo").mkdir()
    for name, layers in {"a": 3, "b": 1}.items():
        tensors = {f"layer{n}.weight": np.full((64, 64, 3, 3), n, "<f4") for n in range(layers)}
        save_file(tensors, tmp_path / "zoo" / f"{name}.safetensors")
    return tmp_path


LOCAL = {"source": "local", "paths": ["zoo/*"], "license": "mit"}


def take(
    folder: Path, limits: dict[str, Any], source: Mapping[str, Any] = LOCAL, files: tuple[Path, ...] = ()
) -> list[Done | LedgerEntry]:
    """What becomes of each file of the zoo, in one worker."""
    manifest = folder / "zoo.yaml"
    manifest.write_text(json.dumps({"name": "zoo", "sources": [source], "limits": limits}))
    plugins = tuple(references(files))
    with WorkFolder(folder / "work") as work, Door(folder / "cache", allow_private=True) as door:
        setup = WorkerSetup(
            manifests=(manifest,),
            plugins=plugins,
            fragments_url=work.fragments_url,
            scratch=work.scratch,
            cache=folder / "cache",
            device="cpu",
            allow_private=True,
        )
        tasks = [found for found in discover(open_sources((manifest,), load(plugins), door)) if isinstance(found, Task)]
        worker = Worker(setup)
        try:
            return [worker.take(task) for task in tasks]
        finally:
            worker.close()


def test_the_limits_of_the_manifest_reach_the_worker_and_the_run_goes_on(zoo: Path):
    first, second = take(zoo, {"layers_per_checkpoint": 2})
    assert isinstance(first, LedgerEntry)
    assert (first.reason, first.detail) == (Reason.LIMIT, "3 layers, 2 are allowed")
    assert isinstance(second, Done)


def test_a_checkpoint_that_takes_too_long_is_a_limit_and_leaves_nothing(zoo: Path, monkeypatch: pytest.MonkeyPatch):
    real = measure.measure_weights
    monkeypatch.setattr(
        measure,
        "measure_weights",
        lambda w, *args, **options: spin(9 * w.max()) or real(w, *args, **options),  # type: ignore[func-returns-value]  # run for its effect
    )
    first, second = take(zoo, {"cpu_seconds": 1})
    assert isinstance(first, LedgerEntry)
    assert (first.reason, first.stage) == (Reason.LIMIT, "measure")
    assert isinstance(second, Done)
    assert sorted(path.suffix for path in (zoo / "work" / "fragments").glob("*/*")) == [".arrow", ".parquet"]
    assert not list((zoo / "work" / "scratch").iterdir())


SHELF = '''
from filterzoo import Artifact, Checkpoint, Source, hookimpl

class Shelf(Source):
    """A zoo that states no sizes."""

    name = "shelf"

    def discover(self):
        for file in ("large.bin", "small.safetensors", "shards.safetensors.index.json"):
            yield Checkpoint(id=file, revision="1", licence="mit", artifacts=(Artifact(url="URL/" + file, name=file),))

@hookimpl
def filterzoo_sources():
    return [Shelf]
'''


@pytest.mark.parametrize("ranges", [True, False])
def test_the_limit_of_the_manifest_holds_where_the_zoo_states_no_size(tmp_path: Path, *, ranges: bool):
    layer = np.ones((8, 8, 3, 3), "<f4")
    names = {f"{name}.weight": layer for name in "ab"}
    index_of_shards = {"weight_map": {name: f"{name[0]}.safetensors" for name in names}}
    with WebServer() as server:
        server.add("/large.bin", bytes(200_000), ranges=ranges)
        server.add("/small.safetensors", save({"w.weight": layer}), ranges=ranges)
        server.add("/shards.safetensors.index.json", json.dumps(index_of_shards).encode(), ranges=ranges)
        for name in names:
            server.add(f"/{name[0]}.safetensors", save({name: layer}), ranges=ranges)
        (tmp_path / "shelf.py").write_text(SHELF.replace("URL", server.url))
        limits = {"checkpoint_bytes": 3000}
        found = take(tmp_path, limits, {"source": "shelf"}, (tmp_path / "shelf.py",))
    reasons = [outcome.reason if isinstance(outcome, LedgerEntry) else None for outcome in found]
    assert reasons == [Reason.TOO_LARGE, None, Reason.TOO_LARGE]
