"""What readers do, in a process of their own: load_dataset on a folder and on a Hub, whole and streaming."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.hub_server import TOKEN, serve
from tests.program import filterzoo
from tests.publish.work import Model, ledger, weights, write_work, zoo
from tests.servers import WebServer

from filterzoo.layers.normalise import layer_id
from filterzoo.store import filters as layout
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.targets.hub import HubTarget

SCRIPT = """
import hashlib, json, sys
import numpy as np
from datasets import load_dataset

X, cache = sys.argv[1:]
models = load_dataset(X, split="train", cache_dir=cache)
layers = load_dataset(X, "layers", split="train", cache_dir=cache)
blocks = load_dataset(X, "filters", split="train", cache_dir=cache, filters=[("source", "==", "pypi")])
streamed = load_dataset(X, "filters", split="train", streaming=True)
sample = load_dataset(X, "filters_sample", split="train", cache_dir=cache)
skipped = load_dataset(X, "skipped", split="train", cache_dir=cache)

def read(rows):
    found = {}
    for row in rows.with_format("numpy"):
        filters = row["weights"].reshape(-1, 3, 3)
        assert filters.dtype == np.float32 and len(filters) == row["n_filters"]
        found.setdefault(str(row["layer_id"]), []).append((int(row["first_filter"]), filters))
    joined = {layer: np.concatenate([f for _, f in sorted(p, key=lambda p: p[0])]) for layer, p in found.items()}
    return {layer: hashlib.sha256(filters.tobytes()).hexdigest() for layer, filters in joined.items()}

print(json.dumps({
    "models": sorted(models["model_id"]),
    "layers": len(layers),
    "statistics": len(layers.with_format("numpy")[0]["dct_histogram"]),
    "pypi": read(blocks),
    "streamed": read(streamed),
    "sample": [len(sample), len(sample[0]["weights"])],
    "skipped": sorted(skipped["reason"]),
}))
"""


@pytest.fixture(scope="module", params=["folder", "hub"])
def place(request, tmp_path_factory):
    """(what readers write, the environment they need) of the zoo, published by the command."""
    folder = tmp_path_factory.mktemp("place")
    work = write_work(folder / "work", zoo(), ledger())
    if request.param == "folder":
        publish(work, target_for(str(folder / "out")))
        yield str(folder / "out"), {}
        return
    with WebServer() as storage, serve(storage) as hub:
        ran = filterzoo("publish", "alice/zoo", "--workdir", work, "--json", cwd=folder, env=hub.environment)
        assert ran.code == 0, ran.err
        yield "alice/zoo", hub.environment


def python(folder, environment, *arguments):
    environment = {**os.environ, "HF_HOME": str(folder / "home"), **environment}
    command = [sys.executable, "-c", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def hashes(source: str | None = None) -> dict[str, str]:
    """layer_id -> sha256 of the bytes of its published filters, from the arrays that went in."""
    import hashlib

    return {
        layer_id(array): hashlib.sha256(array.tobytes()).hexdigest()
        for model in zoo()
        for array in model.layers.values()
        if model.publish_weights and array.shape[2:] == (3, 3) and source in {None, model.source}
    }


def test_readers_get_what_went_in(place, tmp_path):
    name, environment = place
    found = json.loads(python(tmp_path, environment, SCRIPT, name, tmp_path / "cache"))
    assert found["models"] == sorted(model.model_id for model in zoo())
    assert found["layers"] == sum(len(model.layers) for model in zoo())
    assert found["statistics"] == 630
    assert found["pypi"] == hashes("pypi")
    assert found["streamed"] == hashes()
    assert found["sample"][1] == 9
    assert found["skipped"] == ["malformed", "plugin_error"]


def test_load_gives_a_query_as_an_array(place, tmp_path):
    name, environment = place
    script = "import sys, numpy, filterzoo; numpy.save(sys.argv[2], filterzoo.load(sys.argv[1], models='pypi/d-*'))"
    python(tmp_path, environment, script, name, tmp_path / "filters.npy")
    own, shared = zoo()[3].layers.values()
    expected = np.concatenate([own.reshape(-1, 3, 3), shared.reshape(-1, 3, 3)])
    assert np.load(tmp_path / "filters.npy").tobytes() == expected.tobytes()


FETCHED = """
import json, sys, filterzoo, numpy
from huggingface_hub.hf_file_system import HfFileSystemFile

fetched = []
honest = HfFileSystemFile._fetch_range

def watched(file, start, end):
    if "/data/filters/" in file.path:
        fetched.append(end - start)
    return honest(file, start, end)

HfFileSystemFile._fetch_range = watched
first, second = sys.argv[1:3]
before = filterzoo.load("alice/zoo", models="pypi/m2@*", revision=first)
after = filterzoo.load("alice/zoo", models=["pypi/m2@1", "pypi/new@1"], revision=second)
whole = filterzoo.load("alice/zoo", revision=first)
print(json.dumps([sum(fetched), len(before), len(after), len(whole)]))
numpy.save(sys.argv[3], after)
"""


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own upload
def test_from_a_hub_load_fetches_only_the_row_groups_of_the_query(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 1_000)
    models = [Model(f"m{number}", {"w": weights(number, 300, 100, 3, 3)}) for number in range(8)]
    new = Model("new", {"w": weights(8, 10, 10, 3, 3)})
    with serve() as hub:
        target = HubTarget("alice/zoo", endpoint=hub.url, token=TOKEN)
        first = publish(write_work(tmp_path / "first", models), target).tag
        second = publish(write_work(tmp_path / "second", [new]), target).tag
        (size,) = (len(content) for path, content in hub.files("alice/zoo", first).items() if "/filters/" in path)
        out = python(tmp_path, hub.environment, FETCHED, first, second, tmp_path / "filters.npy")
    expected = [model.layers["w"].reshape(-1, 3, 3) for model in (models[2], new)]
    assert np.load(tmp_path / "filters.npy").tobytes() == np.concatenate(expected).tobytes()
    moved, *counts = json.loads(out)
    assert counts == [30_000, 30_100, 240_000]
    assert moved < 1.4 * size, "an eighth of the file, an eighth and a little, and all of it"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's own upload
def test_from_a_hub_a_query_fetches_only_its_columns_of_layers(tmp_path):
    layers = {f"l{number}": weights(number, 2, 2, 3, 3) for number in range(3_000)}
    with serve() as hub:
        publish(
            write_work(tmp_path / "work", [Model("m", layers)]), HubTarget("alice/zoo", endpoint=hub.url, token=TOKEN)
        )
        (size,) = (len(content) for path, content in hub.files("alice/zoo").items() if "/layers/" in path)
        script = FETCHED.replace("/data/filters/", "/data/layers/").split("first, second")[0]
        script += "filters = filterzoo.load('alice/zoo', layers='l7')\nprint(json.dumps([sum(fetched), len(filters)]))"
        moved, count = json.loads(python(tmp_path, hub.environment, script))
    assert count == 4
    assert moved < 0.7 * size, "two ends of the file, and a few columns"


def test_verify_finds_it_sound(place, tmp_path):
    name, environment = place
    ran = filterzoo("verify", name, cwd=tmp_path, env=environment)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, f"{name}: sound"), ran.err
