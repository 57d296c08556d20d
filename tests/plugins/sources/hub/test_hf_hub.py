"""The source `hf_hub` against a Hub on loopback, through the real client."""

from __future__ import annotations

import hashlib
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import distribution, version
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError
from tests.model_hub import TOKEN, ModelHub, Repo

from filterzoo import Artifact, Checkpoint, Reason, Refused
from filterzoo.licensing.licences import Licence
from filterzoo.network.door import Door
from filterzoo.network.time_limits import Clocks
from filterzoo.outcome import Refusal
from filterzoo_plugins.sources.hub.hf_hub import MAX_CONFIG, HfHubOptions, HfHubSource
from filterzoo_plugins.sources.hub.weights import left_out, sets_of_weights

WEIGHTS = b"weights " * 1000
TAGS = ["timm", "license:apache-2.0", "dataset:imagenet-1k", "dataset:cifar10", "base_model:a/base"]
FACTS = {
    "tags": [*TAGS, "base_model:finetune:a/base"],
    "pipeline_tag": "image-classification",
    "config": {"architectures": ["ResNetForImageClassification"]},
}


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.repos = {
            "a/plain": Repo(
                {"model.safetensors": WEIGHTS, "pytorch_model.bin": WEIGHTS, "README.md": b"x"}, dict(FACTS)
            ),
            "a/two": Repo({"one.pth": b"1" * 99, "two.pth": b"2" * 99}, {"cardData": {"license": "mit"}}),
            "a/gated": Repo({"model.safetensors": WEIGHTS}, {"gated": "manual", "tags": ["license:gemma"]}),
            "a/text": Repo({"README.md": b"words"}),
            "b/shards": Repo(
                {
                    "model.safetensors.index.json": b"{}",
                    "model-00001-of-00002.safetensors": b"1",
                    "model-00002-of-00002.safetensors": b"2",
                },
                {"downloads": 7, "tags": ["timm"]},
            ),
            "b/off": Repo({"model.safetensors": WEIGHTS}, {"disabled": True}),
        }
        yield server


@pytest.fixture
def source(tmp_path, hub):
    with Door(tmp_path / "cache", allow_private=True) as door:
        yield lambda **options: HfHubSource(HfHubOptions(**options), door, Path())


def test_a_repository_is_a_checkpoint_at_its_commit_with_the_hubs_facts(hub, source):
    (found,) = source(repos=["a/plain"]).discover()
    repo = hub.repos["a/plain"]
    assert isinstance(found, Checkpoint)
    assert (found.id, found.revision) == ("a/plain", repo.sha)
    assert found.url == f"{hub.url}/a/plain/tree/{repo.sha}"
    assert (found.licence, found.task) == ("apache-2.0", "classification")
    assert (found.training_dataset, found.base_model) == ("imagenet-1k, cifar10", "a/base")
    assert (found.architecture, found.tags) == ("ResNetForImageClassification", "timm")
    (artifact,) = found.artifacts
    assert artifact.url == f"{hub.url}/a/plain/resolve/{repo.sha}/model.safetensors"
    assert (artifact.name, artifact.size) == ("model.safetensors", len(WEIGHTS))
    assert artifact.sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert not hub.asked("/a/")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (b'{"architecture": "resnet18", "architectures": ["Other"], "num_classes": 10}', "resnet18"),
        (b'{"architectures": ["UNet2DModel", "Other"], "model_type": "unet"}', "UNet2DModel"),
        (b'{"model_type": "unet"}', None),
        (b'{"architecture": ["resnet18"]}', None),
        (b'{"architectures": [7]}', None),
        (b'{"architecture": "' + b"a" * 201 + b'"}', None),
        (b'{"architecture": "a\\nb"}', None),
        (b'{"architecture": "\\ud800"}', None),
        (b'["resnet18"]', None),
        (b"[" * 100_000, None),
        (b"\xff{", None),
        (b'{"architecture": "resnet18", "x": "' + b"x" * MAX_CONFIG + b'"}', None),
        (None, None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_architecture_that_only_the_configuration_names_is_read_as_data(hub, source, config, name):
    files = {"model.safetensors": WEIGHTS} | ({} if config is None else {"config.json": config})
    hub.repos["a/named"] = Repo(files)
    zoo = source(repos=["a/named"])
    (found,) = zoo.discover()
    assert found.architecture is None
    assert zoo.architecture_name(found) == name
    list(zoo.architectures(found))
    assert len(hub.asked("/a/named/")) == 1


@pytest.mark.slow
def test_a_configuration_that_does_not_come_is_a_failure_to_fetch(hub, source, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    zoo = source(repos=["a/plain"])
    (found,) = zoo.discover()
    gone = Artifact(url=found.artifacts[0].url.replace(hub.url, "http://127.0.0.1:9"))
    with pytest.raises(Refused) as refused:
        zoo.architecture_name(replace(found, artifacts=(gone,)))
    assert refused.value.reason is Reason.FETCH_FAILED


def test_files_are_read_through_the_door(source):
    zoo = source(repos=["a/plain"])
    (found,) = zoo.discover()
    with zoo.open(found.artifacts[0]) as file:
        assert file.size == len(WEIGHTS)
        assert file.read(8, 7) == b"weights"


def test_the_token_goes_to_the_hub_and_to_no_other_host(hub, source, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    zoo = source(repos=["a/gated"])
    (found,) = zoo.discover()
    assert isinstance(found, Checkpoint)
    with zoo.open(found.artifacts[0]) as file:
        assert file.read(0, 7) == b"weights"
    sent: dict[str, Any] = {}
    for path, _, headers in hub.requests:
        lower = {name.lower(): value for name, value in headers.items()}
        sent.setdefault(path.split("/")[1], lower.get("authorization"))
    assert sent == {"api": f"Bearer {TOKEN}", "a": f"Bearer {TOKEN}", "storage": None}


@pytest.mark.parametrize(
    ("named", "reason", "revision"),
    [
        ("a/gated", Reason.GATED, None),
        ("a/none", Reason.REMOVED, "main"),
        ("a/plain@v9", Reason.REMOVED, "v9"),
        ("a/text", Reason.UNKNOWN_FORMAT, None),
        ("b/off", Reason.REMOVED, None),
    ],
)
def test_only_repositories_that_cannot_be_fetched_are_refused(hub, source, named, reason, revision):
    refused, found = source(repos=[named, "a/plain"]).discover()
    assert isinstance(refused, Refusal)
    repo = named.partition("@")[0]
    assert (refused.id, refused.reason) == (repo, reason)
    assert refused.revision == (revision or hub.repos[repo].sha)
    assert found.id == "a/plain"


def test_a_private_repository_looks_removed_without_a_token(hub, source):
    hub.repos["a/plain"].facts["private"] = True
    (refused,) = source(repos=["a/plain"]).discover()
    assert refused.reason is Reason.REMOVED


def test_one_paged_listing_and_no_request_for_each_repository(hub, source):
    found = list(source(authors=["a", "b"]).discover())
    assert [(type(f).__name__, f.id) for f in found] == [
        ("Refusal", "a/gated"),
        ("Checkpoint", "a/plain"),
        ("Refusal", "a/text"),
        ("Checkpoint", "a/two/one"),
        ("Checkpoint", "a/two/two"),
        ("Refusal", "b/off"),
        ("Checkpoint", "b/shards"),
    ]
    assert len(hub.asked("/api/models?")) == 3
    assert len(hub.asked("/api/models/")) == 0
    assert found[1].artifacts[0].size is None
    assert found[3].licence == "mit"


def test_a_listing_ends_where_nothing_changed_since(hub, source):
    for day, name in enumerate(["a/plain", "a/text", "a/two", "a/gated", "b/off", "b/shards"], 1):
        hub.repos[name].facts["lastModified"] = f"2026-01-0{day}T12:00:00.000Z"
    found = [f.id for f in source(authors=["a", "b"], modified_since="2026-01-03").discover()]
    assert found == ["a/gated", "a/two/one", "a/two/two", "b/shards", "b/off"]
    assert len(hub.asked("/api/models?")) == 3
    assert [f.id for f in source(authors=["a"], modified_since="2026-01-04T12:00:00Z").discover()] == ["a/gated"]
    assert list(source(authors=["a"], modified_since="2026-01-04T12:00:01+00:00").discover()) == []


def test_sizes_are_asked_for_where_they_are_wanted(source):
    found = [f for f in source(authors=["b"], sizes=True).discover() if isinstance(f, Checkpoint)]
    assert [artifact.name for artifact in found[0].artifacts] == [
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert [artifact.size for artifact in found[0].artifacts] == [2, 1, 1]


def test_filters_libraries_tasks_and_downloads_narrow_a_listing(source):
    assert [f.id for f in source(libraries=["timm"]).discover()] == ["a/plain", "b/shards"]
    assert [f.id for f in source(libraries=["timm"], tasks=["image-classification"]).discover()] == ["a/plain"]
    assert [f.id for f in source(filters=["timm", "dataset:cifar10"]).discover()] == ["a/plain"]
    assert [f.id for f in source(libraries=["timm"], min_downloads=5).discover()] == ["b/shards"]


@pytest.mark.slow
def test_a_hub_that_is_not_there_is_a_failure_to_fetch(source, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits longer and longer
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Refused) as refused:
        list(source(authors=["a"]).discover())
    assert refused.value.reason is Reason.FETCH_FAILED


@pytest.mark.parametrize("options", [{}, {"repos": ["a b"]}, {"repos": ["../x/y"]}, {"tasks": ["x"], "sort": "likes"}])
def test_options_are_checked(options):
    with pytest.raises(ValidationError):
        HfHubOptions(**options)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["pytorch_model.bin", "model.safetensors", "tf_model.h5"], {"": "model.safetensors"}),
        (["model.fp16.safetensors", "model.safetensors"], {"": "model.safetensors"}),
        (["model.fp16.safetensors", "pytorch_model.bin"], {"": "model.fp16.safetensors"}),
        (["onnx/model.onnx", "onnx/model_quantized.onnx"], {"": "onnx/model.onnx"}),
        (["onnx/model.onnx", "pytorch_model.bin"], {"": "pytorch_model.bin"}),
        (["last.pt", "best.pt"], {"best": "best.pt", "last": "last.pt"}),
        (["unet/w.bin", "vae/w.bin"], {"unet/w": "unet/w.bin", "vae/w": "vae/w.bin"}),
        (["model.safetensors", "checkpoint-10/model.safetensors"], {"": "model.safetensors"}),
        (["optimizer.pt", "scheduler.bin", "training_args.bin", "adapter_model.safetensors"], {}),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"], {}),
        (["README.md", "config.json", "model.gguf"], {}),
        (["openvino_model.xml", "openvino_model.bin"], {"": "openvino_model.xml"}),
        (["a.xml", "a.bin", "b.bin"], {"a": "a.xml", "b": "b.bin"}),
        (
            ["openvino/openvino_model.xml", "openvino/openvino_model.bin", "model.safetensors"],
            {"": "model.safetensors"},
        ),
        (["annotations.xml", "alone.xml"], {}),
        (["yolo.weights", "yolo.cfg", "alone.weights"], {"": "yolo.weights"}),
        (["net.caffemodel", "net.prototxt"], {"": "net.caffemodel"}),
        (["m.ckpt.index", "m.ckpt.meta", "m.ckpt.data-00000-of-00001", "alone.index"], {"": "m.ckpt.index"}),
        (["flax_model.msgpack", "config.json"], {"": "flax_model.msgpack"}),
        (
            [
                "a/saved_model.pb",
                "a/keras_metadata.pb",
                "a/variables/variables.index",
                "a/variables/variables.data-00000-of-00001",
            ],
            {"": "a/saved_model.pb"},
        ),
    ],
)
def test_one_file_of_each_set_of_weights(paths, expected):
    assert {weights.name: weights.files[0] for weights in sets_of_weights(paths)} == expected
    assert sets_of_weights(reversed(paths)) == sets_of_weights(paths)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin", "model.gguf", "flax_model.msgpack", "optimizer.pt"], []),
        (["a.pth.lz4", "b.pth.tar", "c.gguf"], ["a.pth.lz4", "c.gguf"]),
        (["pytorch_model.bin.index.json", "pytorch_model-00001-of-00001.bin"], None),
        (["model-00001-of-00002.safetensors", "README.md"], ["model-00001-of-00002.safetensors"]),
        (["consolidated.00.pth", "consolidated.01.pth"], ["consolidated.00.pth", "consolidated.01.pth"]),
        (["net.weights.json", "net_00000.weights.h5"], []),
        (["net_00000.weights.h5", "net_00001.weights.h5"], None),
        (["net.onnx", "net.onnx.data", "net.onnx_data"], []),
        (["README.md", "data.bin", "x.npy"], []),
    ],
)
def test_what_looks_like_weights_and_is_in_no_set(paths, expected):
    assert left_out(paths, sets_of_weights(paths)) == (sorted(paths) if expected is None else expected)


def test_a_repository_reports_skipped_files(hub, source):
    hub.repos["a/plain"].files |= {"other.pth.lz4": b"x", "c.gguf": b"x"}
    found, told = source(repos=["a/plain"]).discover()
    assert isinstance(told, Refusal)
    assert (found.id, told.id, told.reason) == ("a/plain", "a/plain/c.gguf", Reason.UNSUPPORTED)
    assert told.detail.endswith(": c.gguf, other.pth.lz4")
    assert told.revision == found.revision


FP16 = "net.safetensors.index.fp16.json"
FP16_SHARDS = ("net.fp16-00001-of-00002.safetensors", "net.fp16-00002-of-00002.safetensors")
KERAS = "a/model.weights.json"
KERAS_SHARDS = ("a/model_00000.weights.h5", "a/model_00001.weights.h5")


@pytest.mark.parametrize(
    ("paths", "files"),
    [
        ([FP16, *FP16_SHARDS], (FP16, *FP16_SHARDS)),
        ([FP16, *FP16_SHARDS, "net.safetensors"], ("net.safetensors",)),
        ([KERAS, *KERAS_SHARDS, "a/config.json"], (KERAS, *KERAS_SHARDS)),
        ([KERAS, *KERAS_SHARDS, "a/model.weights.h5"], ("a/model.weights.h5",)),
        (["consolidated.safetensors", "model.safetensors.index.json"], ("model.safetensors.index.json",)),
        (["consolidated.00.pth", "params.json"], ("consolidated.00.pth",)),
    ],
)
def test_shards_of_a_precision_and_weights_that_are_there_twice(paths, files):
    (only,) = sets_of_weights(paths)
    assert only.files == files


def test_a_network_of_openvino_comes_with_its_weights():
    (network,) = sets_of_weights(["net.bin", "net.xml", "net.json"])
    assert network.files == ("net.xml", "net.bin")


def test_a_saved_model_and_a_checkpoint_come_with_their_data():
    variables = ["variables/variables.index", "variables/variables.data-00000-of-00001"]
    (model,) = sets_of_weights(["saved_model.pb", "fingerprint.pb", *variables])
    assert model.files == ("saved_model.pb", *variables)
    folder = "net.mlpackage/Data/com.apple.CoreML/"
    (package,) = sets_of_weights(
        [f"{folder}model.mlmodel", f"{folder}weights/weight.bin", "net.mlpackage/Manifest.json"]
    )
    assert package.files == (f"{folder}model.mlmodel", f"{folder}weights/weight.bin")
    data = [f"m.ckpt.data-0000{shard}-of-00002" for shard in range(2)]
    (checkpoint,) = sets_of_weights(["m.ckpt.index", *data, "m.ckpt.meta"])
    assert checkpoint.files == ("m.ckpt.index", *data)
    paths = ["m.ckpt.index", *data, "m.ckpt.meta"]
    assert left_out(paths, sets_of_weights(paths)) == []


# Licences


APACHE = Path(distribution("timm").locate_file(f"timm-{version('timm')}.dist-info/licenses/LICENSE")).read_bytes()  # type: ignore[arg-type]  # of a type that the test knows
WEIGHT = {"model.safetensors": WEIGHTS}


@pytest.mark.parametrize(
    "case",
    [
        ({"LICENSE": APACHE}, {}, "apache-2.0", "licence-file"),
        ({"LICENSE.md": APACHE}, {"license": "apache-2.0"}, "apache-2.0", "zoo+licence-file"),
        ({"LICENSE": APACHE}, {"license": "cc-by-nc-4.0"}, "cc-by-nc-4.0", "zoo+licence-file"),
        ({"LICENSE": b"Ask us first."}, {"license": "mit"}, None, "zoo+licence-file"),
        ({"terms.txt": APACHE}, {"license": "other", "license_link": "terms.txt"}, "apache-2.0", "licence-link"),
        (
            {"T.md": APACHE},
            {
                "license": "other",
                "license_name": "my-own",
                "license_link": "https://huggingface.co/c/net/blob/main/T.md",
            },
            "apache-2.0",
            "licence-link",
        ),
        (
            {},
            {"license": "other", "license_link": "https://creativecommons.org/licenses/by-nc/4.0/"},
            "cc-by-nc-4.0",
            "licence-link",
        ),
        ({}, {"license": "other", "license_link": "https://evil.example/LICENSE"}, None, "zoo"),
        ({}, {"license": "other", "license_link": "../../other/repo/LICENSE"}, None, "zoo"),
        ({"docs/LICENSE": APACHE}, {}, None, None),
    ],
)
def test_licences_are_read_where_they_are_stated(hub, source, case):
    files, card, licence, origin = case
    hub.repos["c/net"] = Repo(WEIGHT | files, {"cardData": card, "tags": []})
    (found,) = source(repos=["c/net"]).discover()
    assert (Licence.parse(found.licence).expression, found.licence_from) == (licence, origin)


def test_a_licence_file_is_asked_for_once_in_all_runs(hub, source):
    hub.repos["c/net"] = Repo(WEIGHT | {"LICENSE": APACHE})
    for _ in range(3):
        list(source(repos=["c/net"]).discover())
    assert len(hub.asked("/c/net/resolve/")) == 1


def test_a_licence_file_that_cannot_be_fetched_affects_only_that_repository(hub, source, monkeypatch):
    monkeypatch.setattr("filterzoo.network.transport.ATTEMPTS", 1)
    hub.repos = {"c/net": Repo(WEIGHT | {"LICENSE": APACHE}), "d/net": Repo(dict(WEIGHT))}
    monkeypatch.setattr(hub, "ails", lambda _: "/LICENSE" in hub.requests[-1][0])
    first, second = source(repos=["c/net", "d/net"]).discover()
    assert (first.id, first.reason) == ("c/net", Reason.FETCH_FAILED)
    assert isinstance(second, Checkpoint)


# What live hosts do


def test_a_hub_that_fails_every_third_request_gives_the_same_listing(hub, tmp_path):
    hub.repos |= {f"e/{n}": Repo(WEIGHT | {"LICENSE": APACHE}, {"tags": ["timm"]}) for n in range(9)}
    listings = []
    for number, ails in enumerate((lambda _: False, lambda request: request % 3 == 0)):
        hub.ails = ails
        clocks = Clocks(sleep=lambda _: None)
        with Door(tmp_path / f"cache{number}", allow_private=True, clocks=clocks) as door:
            options = HfHubOptions(repos=("a/plain", "a/two"), authors=("e",), sizes=True)
            listings.append(list(HfHubSource(options, door, Path()).discover()))
    assert listings[0] == listings[1]
    assert len(listings[0]) == 12


@pytest.mark.parametrize("leads_to", [0, 2])
def test_a_listing_that_repeats_itself_is_aborted_and_reported(hub, source, leads_to):
    hub.repos = {f"e/{n}": Repo(dict(WEIGHT)) for n in range(9)}
    hub.after = lambda start: leads_to if start == 4 else start
    found: list[Any] = []
    listed = (one.id for one in islice(source(authors=["e"]).discover(), 20))
    with pytest.raises(Refused) as caught:
        found.extend(listed)
    assert caught.value.reason is Reason.FETCH_FAILED
    assert "repeat" in caught.value.detail
    assert found[:2] == ["e/0", "e/1"]
    assert len(found) == len(set(found))


class _Killed(BaseException):
    """What ends a run in its middle."""


def listed_by(folder: Path, most: int | None = None, clocks: Clocks | None = None) -> list[str]:
    """Ids that one run lists, until the listing fails; it is stopped after `most`."""
    found: list[str] = []
    with suppress(_Killed), Door(folder, allow_private=True, clocks=clocks) as door, suppress(Refused):
        for one in HfHubSource(HfHubOptions(authors=("e",)), door, Path()).discover():
            found.append(one.id)
            if len(found) == most:
                raise _Killed
    return found


def cursors(hub: ModelHub) -> list[str]:
    """Those asked for since the last call; empty for the first page."""
    asked = [parse_qs(urlsplit(path).query).get("cursor", [""])[0] for path in hub.asked("/api/models?")]
    hub.requests.clear()
    return asked


def test_a_listing_that_was_stopped_goes_on_from_its_cursor(hub, tmp_path):
    hub.repos = {f"e/{n}": Repo(dict(WEIGHT)) for n in range(9)}
    assert listed_by(tmp_path, most=5) == [f"e/{n}" for n in range(5)]
    assert cursors(hub) == ["", "2", "4"]
    assert listed_by(tmp_path, most=7) == [f"e/{n}" for n in range(7)]
    assert cursors(hub) == ["6"]
    assert listed_by(tmp_path) == [f"e/{n}" for n in range(9)]
    assert cursors(hub) == ["8"]
    listed_by(tmp_path, most=1)
    assert cursors(hub) == [""], "a listing that came to its end is not taken from the disk"


def test_pages_of_a_stopped_listing_are_not_taken_after_a_day_nor_for_another_user(hub, tmp_path, monkeypatch):
    hub.repos = {f"e/{n}": Repo(dict(WEIGHT)) for n in range(5)}
    listed_by(tmp_path, most=3)
    cursors(hub)
    later = Clocks(now=lambda: time.time() + 86_400)
    assert listed_by(tmp_path, most=3, clocks=later) == ["e/0", "e/1", "e/2"]
    assert cursors(hub) == ["", "2"]
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    listed_by(tmp_path, most=3)
    assert cursors(hub) == ["", "2"]


def test_a_cursor_that_the_hub_forgot_begins_the_listing_again(hub, tmp_path):
    hub.repos = {f"e/{n}": Repo(dict(WEIGHT)) for n in range(5)}
    listed_by(tmp_path, most=3)
    cursors(hub)
    hub.forgotten = {"4"}
    assert set(listed_by(tmp_path)) == {f"e/{n}" for n in range(4)}
    assert cursors(hub) == ["4", "", "2", "4"]
    hub.forgotten = set()
    assert listed_by(tmp_path) == [f"e/{n}" for n in range(5)]
    assert cursors(hub) == ["4"], "pages before the failure are kept"


def test_damaged_pages_are_asked_for(hub, tmp_path):
    hub.repos = {f"e/{n}": Repo(dict(WEIGHT)) for n in range(5)}
    listed_by(tmp_path, most=3)
    (file,) = (tmp_path / "listings").iterdir()
    file.write_bytes(b"no database" * 1000)
    cursors(hub)
    assert listed_by(tmp_path) == [f"e/{n}" for n in range(5)]
    assert cursors(hub) == ["", "2", "4"]


def test_the_next_run_asks_only_for_what_may_have_changed(hub, source):
    hub.repos = {f"e/{n}": Repo(WEIGHT | {"LICENSE": APACHE}) for n in range(4)}
    first = list(source(authors=["e"], sizes=True).discover())
    before = len(hub.requests)
    assert list(source(authors=["e"], sizes=True).discover()) == first
    assert {path.partition("?")[0] for path, _, _ in hub.requests[before:]} == {"/api/models"}


def test_repositories_whose_parameters_the_hub_does_not_count_are_kept(hub, source):
    small, large = ({"safetensors": {"parameters": {"F32": n}, "total": n}} for n in (10**6, 3 * 10**9))
    hub.repos = {
        "f/keras": Repo({"model.h5": WEIGHTS}),
        "f/small": Repo(dict(WEIGHT), small),
        "f/large": Repo(dict(WEIGHT), large),
        "f/wrong": Repo(dict(WEIGHT), {"safetensors": {"parameters": {"BF16": 7 * 10**9}, "total": 333_312}}),
    }
    assert [c.id for c in source(authors=("f",), num_parameters="max:2B").discover()] == ["f/keras", "f/small"]
    assert [c.id for c in source(authors=("f",), num_parameters="min:2M").discover()] == [
        "f/keras",
        "f/large",
        "f/wrong",
    ]
    with pytest.raises(ValidationError, match="min:1M"):
        HfHubOptions(authors=("f",), num_parameters="under 2B")
