"""The source `onnx_zoo` against a Hub on loopback, through the real client."""

import json

import pytest
from tests.model_hub import ModelHub, Repo
from tests.servers import WebServer

from filterzoo.errors import Reason, StartError
from filterzoo.network.door import Door
from filterzoo.outcome import Refusal
from filterzoo_plugins.sources.hub.onnx_zoo import OnnxZooOptions, OnnxZooSource

APACHE = {"tags": ["onnx", "license:apache-2.0"], "cardData": {"license": "apache-2.0"}}
EXPORTS = [*(f"resnet18_Opset{opset}_timm" for opset in (16, 18, 17)), "vgg11_Opset17_torch_hub", "net-opset"]
VALIDATED = ["resnet18-v1-7", "MaskRCNN-12", "bertsquad-12"]


def entry(model, path, *tags, opset=12):
    metadata = {"model_sha": "0" * 64, "model_bytes": 5, "tags": list(tags), "io_ports": {"inputs": []}}
    return {
        "model": model, "model_path": path, "onnx_version": "1.7", "opset_version": opset, "metadata": metadata
    }  # fmt: skip


MANIFEST = [
    entry("ResNet-18", "validated/resnet/model/resnet18-v1-7.onnx", "vision", "classification", "resnet"),
    entry("Mask R-CNN", "x/MaskRCNN-12.onnx", "vision", "object detection segmentation", "mask-rcnn"),
    entry("BERT-Squad", "text/bertsquad-12.onnx", "text", "machine comprehension", "bert-squad"),
    {"model": "no path"},
    "not an object",
]  # fmt: skip


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        files = {f"onnxmodelzoo/{name}": f"{name}.onnx" for name in [*EXPORTS, *VALIDATED]}
        server.repos = {
            name: Repo({file: name.encode() * 50, "README.md": b"x"}, dict(APACHE)) for name, file in files.items()
        }
        server.repos["onnxmodelzoo/legacy_models"] = Repo({"a/b.onnx": b"b" * 99, "c.onnx": b"c" * 99}, dict(APACHE))
        server.repos["onnxmodelzoo/empty"] = Repo({"README.md": b"x"})
        server.repos["somebody/else"] = Repo({"model.onnx": b"x"})
        yield server


@pytest.fixture
def web():
    with WebServer() as server:
        server.add("/MANIFEST.json", json.dumps(MANIFEST).encode(), content_type="application/json")
        yield server.url


@pytest.fixture
def discover(hub, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    with Door(tmp_path / "cache", allow_private=True) as door:
        yield lambda **options: {
            found.id.removeprefix("onnxmodelzoo/"): found
            for found in OnnxZooSource(OnnxZooOptions(**options), door, tmp_path).discover()
        }


def test_the_organisation_is_listed_once_and_the_latest_opset_taken(hub, discover):
    found = discover()
    assert set(found) == {
        "resnet18_Opset18_timm", "vgg11_Opset17_torch_hub", "net-opset", "resnet18-v1-7", "MaskRCNN-12", "bertsquad-12",
        "empty",
    }  # fmt: skip
    one = found["resnet18_Opset18_timm"]
    repo = hub.repos["onnxmodelzoo/resnet18_Opset18_timm"]
    assert (one.revision, one.licence, one.architecture, one.task) == (
        repo.sha,
        "apache-2.0",
        "resnet18",
        "classification",
    )
    assert (
        one.artifacts[0].url
        == f"{hub.url}/onnxmodelzoo/resnet18_Opset18_timm/resolve/{repo.sha}/{one.artifacts[0].name}"
    )
    assert isinstance(found["empty"], Refusal)
    assert found["empty"].reason is Reason.UNKNOWN_FORMAT
    pages = -(-(len(hub.repos) - 1) // hub.page_size)
    assert len(hub.asked("/api/models")) == pages


def test_the_stricter_licence_of_an_export_and_its_original_governs_and_the_task_is_known(hub, discover):
    exports = ["swsl_resnet18", "mobilevit_s", "resnet18", "vgg11", "nobody_knows_it"]
    names = [f"{name}_Opset18_timm" for name in exports]
    hub.repos = {f"onnxmodelzoo/{name}": Repo({f"{name}.onnx": b"x" * 99}, dict(APACHE)) for name in names}
    hub.repos["onnxmodelzoo/age_googlenet"] = Repo(
        {"age_googlenet.onnx": b"x" * 99}, APACHE | {"tags": [*APACHE["tags"], "validated", "vision", "age_gender"]}
    )
    found = discover()
    assert {name.partition("_Opset")[0]: (one.licence, one.licence_from, one.task) for name, one in found.items()} == {
        "swsl_resnet18": ("cc-by-nc-4.0", "zoo+original", "classification"),
        "mobilevit_s": ("cvnets-license", "zoo+original", "classification"),
        "resnet18": ("apache-2.0", "zoo+original", "classification"),
        "vgg11": ("apache-2.0 and bsd-3-clause", "zoo+original", "classification"),
        "nobody_knows_it": ("apache-2.0", "zoo", None),
        "age_googlenet": ("apache-2.0", "zoo", "classification"),
    }


def test_all_opsets_and_a_choice_of_names(discover):
    assert {"resnet18_Opset16_timm", "resnet18_Opset17_timm"} < set(discover(all_opsets=True))
    assert set(discover(include=("resnet*", "onnxmodelzoo/vgg*"), exclude=("*v1*",))) == {
        "resnet18_Opset18_timm",
        "vgg11_Opset17_torch_hub",
    }
    assert "legacy_models/c" in discover(exclude=())


@pytest.mark.parametrize("place", ["manifest.json", "{hub}/MANIFEST.json"])
def test_the_manifest_of_the_git_repository_has_names_and_tasks(web, discover, place):
    found = discover(manifest=place.format(hub=web))
    assert (found["resnet18-v1-7"].task, found["resnet18-v1-7"].architecture) == ("classification", "ResNet-18")
    assert (found["MaskRCNN-12"].task, found["MaskRCNN-12"].architecture) == ("segmentation", "Mask R-CNN")
    assert (found["bertsquad-12"].task, found["bertsquad-12"].architecture) == (None, "BERT-Squad")
    assert (found["net-opset"].task, found["net-opset"].architecture) == (None, None)


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"7", None])
def test_a_manifest_that_cannot_be_read_stops_the_start(discover, tmp_path, content):
    place = tmp_path / "manifest.json"
    place.unlink()
    if content is not None:
        place.write_bytes(content)
    with pytest.raises(StartError, match=r"manifest\.json"):
        discover(manifest="manifest.json")


def test_a_model_is_opened_at_its_commit(hub, discover, tmp_path):
    found = discover()["resnet18-v1-7"]
    with Door(tmp_path / "other", allow_private=True) as door:
        source = OnnxZooSource(OnnxZooOptions(), door, tmp_path)
        with source.open(found.artifacts[0]) as file:
            assert file.read(0, file.size) == b"onnxmodelzoo/resnet18-v1-7" * 50
