"""Zoos whose lists are tables: small files of their layout, listed and crawled over loopback."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import zipfile
from collections import Counter
from importlib.metadata import distribution, version
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import numpy as np
import pytest
import torch
from tests import index_packages
from tests.plugins.sources.package_files import offer, wheel
from tests.program import filterzoo
from tests.servers import WebServer, status

from filterzoo.errors import Reason, Refused
from filterzoo.network.door import Door
from filterzoo.network.time_limits import Clocks
from filterzoo.outcome import Refusal
from filterzoo.records import Checkpoint
from filterzoo.store.workfolder import WorkFolder
from filterzoo_plugins.sources.tables import keras_applications, openmmlab
from filterzoo_plugins.sources.tables.augreg import AugRegSource
from filterzoo_plugins.sources.tables.bioimage_io import BioImageSource
from filterzoo_plugins.sources.tables.detectron2 import Detectron2Source
from filterzoo_plugins.sources.tables.keras_applications import KerasApplicationsOptions, KerasApplicationsSource
from filterzoo_plugins.sources.tables.open_model_zoo import OpenModelZooSource
from filterzoo_plugins.sources.tables.openmmlab import OpenMmLabSource
from filterzoo_plugins.sources.tables.paddle import PaddleSource
from filterzoo_plugins.sources.tables.zoo import share_of, task_of, text_of

APACHE = Path(str(distribution("timm").locate_file(f"timm-{version('timm')}.dist-info/licenses/LICENSE"))).read_bytes()
WEIGHT = np.arange(54, dtype="f4").reshape(2, 3, 3, 3)
PICKLED = np.arange(216, dtype="f4").reshape(8, 3, 3, 3)
COMMIT = "0" * 40
LICENCES = ["apache-2.0", "cc-by-4.0", "cc-by-sa-3.0"]


def torch_file():
    buffer = io.BytesIO()
    torch.save({"state_dict": {"backbone.conv.weight": torch.from_numpy(WEIGHT)}}, buffer)
    return buffer.getvalue()


def keras_file():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("conv1")
        group.attrs["weight_names"] = [b"conv1/kernel:0"]
        group.create_dataset("conv1/kernel:0", data=WEIGHT.transpose(2, 3, 1, 0))
        file.attrs["layer_names"], file.attrs["backend"] = [b"conv1"], b"tensorflow"
    return buffer.getvalue()


def npz_file():
    buffer = io.BytesIO()
    np.savez(buffer, **{"conv_root/kernel": WEIGHT.transpose(2, 3, 1, 0)})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    return buffer.getvalue()


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def listing(server, tmp_path):
    """Discovery of a source with an index of packages and a web on loopback."""
    with Door(tmp_path / "cache", allow_private=True, clocks=Clocks(sleep=lambda _: None)) as door:

        def discover(kind, **options):
            found = kind(kind.Options(**options), door, tmp_path).discover()
            return {one.id: one for one in found}

        yield discover


# OpenMMLab

METAFILE = """
Collections:
  - Name: ResNet
    Metadata: {{Training Data: ImageNet-1k, Architecture: &layers [ResNet]}}
Models:
  - Name: resnet18_cifar10
    Metadata: {{Training Data: CIFAR-10, Architecture: *layers}}
    In Collection: ResNet
    Results: [{{Dataset: CIFAR-10, Metrics: {{Top 1 Accuracy: 94.82}}, Task: Image Classification}}]
    Weights: {url}/mm/resnet18_20210528-{digits}.pth
  - Name: converted
    In Collection: ResNet
    Results: [{{Dataset: ImageNet-1k, Metrics: {{Top 1 Accuracy: 0.8}}, Task: Image Classification}}]
    Weights: {url}/mm/converted-20231122.pth
    Converted From: {{Weights: https://elsewhere.example/x.pth}}
  - Name: again
    Weights: {url}/mm/converted-20231122.pth
  - Name: without
  - Name: evil
    Weights: !!python/object/apply:os.system [false]
"""


def mm_wheel(text):
    files = {"mmpretrain/.mim/configs/resnet/metafile.yml": text.encode(), "mmpretrain/.mim/configs/x.py": b"raise"}
    return wheel(files | {"mmpretrain-1.0.dist-info/LICENSE": APACHE}, "mmpretrain")


def mm_options(server, text):
    index = offer(server, "mmpretrain", {"mmpretrain-1.0-py3-none-any.whl": mm_wheel(text)})
    return {"repositories": ["mmpretrain"], "packages": {"mmpretrain": "mmpretrain==1.0"}, "index_url": index}


def test_metafiles_of_openmmlab_are_data(server, listing):
    text = METAFILE.partition("  - Name: evil")[0].format(url="https://download.openmmlab.com", digits="bd6371c8")
    found = listing(OpenMmLabSource, **mm_options(server, text))
    one, other = found["mmpretrain/resnet18_cifar10"], found["mmpretrain/converted"]
    assert (one.licence, one.licence_from, one.revision) == ("apache-2.0", "licence-file", "sha256:bd6371c8")
    assert (one.task, one.training_dataset, one.clean_accuracy) == ("classification", "CIFAR-10", 0.9482)
    assert (other.licence, other.licence_from) == ("other", "licence-file+original")
    assert other.revision == "1.0"  # 20231122 is a day, not a hash
    assert (other.training_dataset, other.clean_accuracy) == ("ImageNet-1k", 0.8)
    assert found["mmpretrain/again"].reason is Reason.DUPLICATE
    assert found["mmpretrain/without"].reason is Reason.REMOVED
    assert len(found) == 4


def test_only_a_metafile_that_is_no_data_is_left_out(server, listing):
    text = METAFILE.format(url="https://download.openmmlab.com", digits="bd6371c8")
    found = listing(OpenMmLabSource, **mm_options(server, text))
    assert {one.reason for one in found.values()} == {Reason.MALFORMED}


# BioImage.IO

RDF = {
    "name": "net", "license": "CC-BY-4.0", "tags": ["fluorescence-light-microscopy", "instance-segmentation", "2d"],
    "training_data": {"id": "ilastik/x"},
    "weights": {
        "pytorch_state_dict": {"source": "weights.pt", "sha256": "ab" * 32, "architecture": "https://x/unet.py:UNet2d"},
        "tensorflow_saved_model_bundle": {"source": "tf.zip"},
    },
}  # fmt: skip


def bio_options(server, *descriptions):
    entries = [{"type": "dataset", "id": "data", "rdf_source": "x/1/rdf.yaml"}]
    for number, description in enumerate(descriptions):
        place = f"/{COMMIT}/rdfs/{number}/7/rdf.yaml"
        server.add(place, json.dumps(description).encode(), content_type="text/yaml")
        entries.append({"type": "model", "id": f"zenodo/{number}", "rdf_source": server.url + place})
    server.add(
        f"/{COMMIT}/collection.json", json.dumps({"collection": entries}).encode(), content_type="application/json"
    )
    return {"collection": f"{server.url}/{COMMIT}/collection.json"}


def test_descriptions_of_bioimage_io_state_hashes_licences_and_what_is_shown(server, listing):
    only_tf = RDF | {"weights": {"tensorflow_saved_model_bundle": {"source": "tf.zip"}}}
    at_zenodo = {"onnx": {"source": "https://zenodo.org/api/records/66/files/w.onnx/content", "sha256": "cd" * 32}}
    found = listing(BioImageSource, **bio_options(server, RDF, only_tf, RDF | {"weights": at_zenodo}, ["no"]))
    one, onnx = found["zenodo/0"], found["zenodo/2"]
    assert (one.licence, one.task, one.modality, one.architecture) == (
        "CC-BY-4.0",
        "segmentation",
        "microscopy",
        "UNet2d",
    )
    assert (one.revision, one.training_dataset) == (f"sha256:{'ab' * 8}", "ilastik/x")
    assert one.artifacts[0].url == f"{server.url}/{COMMIT}/rdfs/0/7/weights.pt"
    assert onnx.artifacts[0].url == "https://zenodo.org/records/66/files/w.onnx?download=1"
    assert (found["zenodo/1"].reason, found["zenodo/3"].reason) == (Reason.UNSUPPORTED, Reason.MALFORMED)
    before = len(server.requests)
    assert len(listing(BioImageSource, collection=f"{server.url}/{COMMIT}/collection.json")) == 4
    assert len(server.requests) == before  # the documents of a commit never change


def test_a_description_that_cannot_be_fetched_affects_only_that_model(server, listing):
    options = bio_options(server, RDF, RDF)
    server.resources[f"/{COMMIT}/rdfs/0/7/rdf.yaml"].faults += [status(503)] * 5
    found = listing(BioImageSource, **options)
    assert found["zenodo/0"].reason is Reason.FETCH_FAILED
    assert isinstance(found["zenodo/1"], Checkpoint)


# Open Model Zoo

OMZ = """
description: >-
  A network.
task_type: object_attributes
files:
  - {{name: config.json, size: 3, source: {url}/omz/config.json}}
  - {{name: net.pth, size: {size}, original_source: {url}/omz/net.pth, source: {url}/gone/net.pth}}
framework: pytorch
license: {licence}
"""
INTEL = """
task_type: detection
files:
  - {{name: FP32/net.xml, size: 10, source: {url}/omz/FP32/net.xml}}
  - {{name: FP32/net.bin, size: 20, source: {url}/omz/FP32/net.bin}}
  - {{name: FP16/net.xml, size: 10, source: {url}/omz/FP16/net.xml}}
  - {{name: FP16/net.bin, size: 10, source: {url}/omz/FP16/net.bin}}
framework: dldt
"""
CAFFE = (
    "task_type: detection\nfiles: [{name: a.prototxt, source: 'https://x.example/a.prototxt'},"
    " {name: a.caffemodel, source: 'https://x.example/a.caffemodel'}]\nframework: caffe\n"
)
PACKED = """
task_type: detection
files: [{name: net.tar.gz, source: 'https://x.example/net_2018.tar.gz'}]
postprocessing: [{$type: unpack_archive, format: gztar, file: net.tar.gz}]
model_optimizer_args: [--reverse_input_channels, ARGUMENT]
framework: tf
"""


def omz_options(server, size=5):
    server.add("/licences/LICENSE", APACHE)
    texts = {
        "public/net": OMZ.format(url=server.url, size=size, licence=f"{server.url}/licences/LICENSE"),
        "public/nc": OMZ.format(url=server.url, size=size, licence="https://creativecommons.org/licenses/by-nc/4.0/"),
        "public/own": OMZ.format(url=server.url, size=size, licence=f"{server.url}/gone"),
        "public/caffe": CAFFE,
        "public/graph": PACKED.replace("ARGUMENT", "--input_model=$dl_dir/net_2018/frozen.pb"),
        "public/saved": PACKED.replace("ARGUMENT", "--saved_model_dir=$dl_dir/net_2018/saved"),
        "public/above": PACKED.replace("ARGUMENT", "--input_model=$dl_dir/../frozen.pb"),
        "public/made": PACKED.replace("ARGUMENT", "--input_model=$conv_dir/made.pb"),
        "intel/net": INTEL.format(url=server.url),
        "intel/half": INTEL.format(url=server.url).replace("net.bin", "other.bin"),
        "intel/bad": "[",
    }
    files = {f"omz_tools/models/{name}/model.yml": text.encode() for name, text in texts.items()}
    index = offer(server, "openvino-dev", {"openvino_dev-1.0-py3-none-any.whl": wheel(files, "openvino_dev")})
    return {"package": "openvino-dev==1.0", "index_url": index}


def test_models_of_the_open_model_zoo_come_from_their_authors(server, listing):
    found = listing(OpenModelZooSource, **omz_options(server))
    one = found["public/net"]
    assert one.artifacts[0].url == f"{server.url}/omz/net.pth"
    assert (one.licence, one.licence_from, found["public/nc"].licence) == ("apache-2.0", "licence-link", "cc-by-nc-4.0")
    assert found["public/own"].licence == "other"
    assert found["public/caffe"].artifacts[0].url == "https://x.example/a.caffemodel"
    assert [(each.url, each.member) for name in ("graph", "saved") for each in found[f"public/{name}"].artifacts] == [
        ("https://x.example/net_2018.tar.gz", "net_2018/frozen.pb"),
        ("https://x.example/net_2018.tar.gz", "net_2018/saved/saved_model.pb"),
    ]
    assert {found[f"public/{name}"].reason for name in ("above", "made")} == {Reason.UNSUPPORTED}
    assert found["intel/bad"].reason is Reason.MALFORMED
    assert len([path for path, _, _ in server.requests if path == "/licences/LICENSE"]) == 1


def test_networks_of_openvino_come_with_the_weights_beside_them(server, listing):
    found = listing(OpenModelZooSource, **omz_options(server))
    assert [(each.url, each.size) for each in found["intel/net"].artifacts] == [
        (f"{server.url}/omz/FP32/net.xml", 10),
        (f"{server.url}/omz/FP32/net.bin", 20),
    ]
    assert found["intel/half"].reason is Reason.UNSUPPORTED


# Keras Applications

KERAS_RESNET = """
BASE_WEIGHTS_PATH = "{url}/keras/resnet/"
WEIGHTS_HASHES = {{"resnet50": ("{md5}", "{other}"), "resnet101": ("{sha256}",), "bad": (1, 2), "odd": ("0f",)}}
import nowhere
"""
KERAS_VGG = """
WEIGHTS_PATH = "{url}/keras/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5"
WEIGHTS_PATH_NO_TOP = "{url}/keras/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
"""


def keras_options(server, md5):
    values = {"url": server.url, "md5": md5, "other": "0" * 32, "sha256": "ab" * 32}
    files = {
        "keras/src/applications/resnet.py": KERAS_RESNET.format(**values).encode(),
        "keras/src/applications/vgg16.py": KERAS_VGG.format(**values).encode(),
    }
    index = offer(server, "keras", {"keras-1.0-py3-none-any.whl": wheel(files, "keras")})
    return {"package": "keras==1.0", "index_url": index}


def test_keras_tables_name_files_and_their_hashes(server, listing, tmp_path):
    body = keras_file()
    md5 = hashlib.md5(body).hexdigest()
    found = listing(KerasApplicationsSource, **keras_options(server, md5))
    assert set(found) == {"resnet50", "resnet101", "vgg16"}
    one = found["resnet50"]
    assert (found["resnet101"].revision, found["resnet101"].artifacts[0].sha256) == (
        "sha256:abababababababab",
        "ab" * 32,
    )
    assert (one.revision, one.licence) == (f"md5:{md5[:16]}", None)
    server.add("/keras/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", body)
    with Door(tmp_path / "other", allow_private=True) as door:
        source = KerasApplicationsSource(KerasApplicationsOptions(), door, tmp_path)
        with source.open(one.artifacts[0]) as file:
            assert file.read(0, 8) == body[:8]
    server.add("/keras/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", body + b"!")
    with Door(tmp_path / "third", allow_private=True) as door, pytest.raises(Refused) as caught:
        KerasApplicationsSource(KerasApplicationsOptions(), door, tmp_path).open(one.artifacts[0])
    assert caught.value.reason is Reason.HASH_MISMATCH


def published(server, name, package):
    """Options that read the real package from an index on loopback."""
    file = index_packages.wheel(name, package.partition("==")[2])
    return {"index_url": offer(server, name, {file.name: file.read_bytes()})}


@pytest.mark.index
def test_the_published_metafiles_of_mmpretrain(server, listing):
    """Counted in the repository's copy at v1.2.0: 548 models, 527 addresses of 522 files, 21 without any."""
    options = published(server, "mmpretrain", openmmlab.PACKAGES["mmpretrain"])
    found = listing(OpenMmLabSource, repositories=["mmpretrain"], **options)
    listed = [one for one in found.values() if isinstance(one, Checkpoint)]
    reasons = Counter(one.reason for one in found.values() if isinstance(one, Refusal))
    assert (len(listed), reasons) == (522, {Reason.DUPLICATE: 5, Reason.REMOVED: 21})
    assert {urlsplit(one.url).hostname for one in listed} == {"download.openmmlab.com"}
    assert Counter(one.licence for one in listed) == {"apache-2.0": 171, "other": 351}
    one = found["mmpretrain/resnet18_8xb32_in1k"]
    assert (one.training_dataset, one.clean_accuracy, one.task) == ("ImageNet-1k", 0.699, "classification")


@pytest.mark.index
def test_the_published_tables_of_keras(server, listing):
    """Counted in the repository's copy at v3.15.1: 34 rows of five tables of hashes, and nine networks without one."""
    package = keras_applications.PACKAGE
    found = listing(KerasApplicationsSource, **published(server, "keras", package))
    with zipfile.ZipFile(index_packages.wheel("keras", package.partition("==")[2])) as archive:
        modules = [name for name in archive.namelist() if name.startswith("keras/src/applications/")]
        code = "\n".join(archive.read(name).decode() for name in modules)
    hashes = re.findall(r"""^ {4}['"][\w./-]+['"]: \(\s*['"]([0-9a-f]+)['"]""", code, re.MULTILINE)
    assert Counter(map(len, hashes)) == {32: 29, 64: 5}
    stated = [one.revision.partition(":")[2] for one in found.values() if ":" in one.revision]
    assert Counter(stated) == Counter(digest[:16] for digest in hashes)
    assert found["convnext_tiny"].artifacts[0].sha256 in hashes
    assert len(found) == 43
    assert {urlsplit(one.url).hostname for one in found.values()} == {"storage.googleapis.com"}


# Detectron2, Paddle, AugReg

MODEL_ZOO = b"""
raise SystemExit("run")
class _Urls:
    S3_PREFIX = "https://dl.example/detectron2/"
    CONFIG_PATH_TO_URL_SUFFIX = {
        "COCO-InstanceSegmentation/mask_rcnn_R_50": "137/model_final_a.pkl",
        "Misc/odd": "../../etc/passwd",
        "PascalVOC-Detection/faster_rcnn": "9/model_final_b.pkl",
    }
"""
LICENSED = b"""All models available for download through this document are licensed under the
[Creative Commons Attribution-ShareAlike 3.0 license](https://creativecommons.org/licenses/by-sa/3.0/)."""
INDEX = """\
name,ds,lr,aug,wd,do,sd,final_test,adapt_ds,adapt_lr,adapt_steps,adapt_resolution,adapt_final_test,filename,adapt_filename
R+Ti/16,i21k,0.001,none,0.03,0.0,0.0,0.42,imagenet2012,0.03,20000,224,0.7395,R_Ti_16-i21k,R_Ti_16-i21k--imagenet2012
R+Ti/16,i21k,0.001,none,0.03,0.0,0.0,0.42,cifar10,0.01,500,224,0.95,R_Ti_16-i21k,R_Ti_16-i21k--cifar10
B/16,i1k,0.001,light1,0.1,0.0,0.0,0.8,pets37,0.01,500,224,0.9,B_16-i1k,../../x
"""


def detectron_options(server):
    server.add(f"/{COMMIT}/detectron2/model_zoo/model_zoo.py", MODEL_ZOO)
    server.add(f"/{COMMIT}/MODEL_ZOO.md", LICENSED)
    return {"repository": f"{server.url}/{COMMIT}", "files": f"{server.url}/d2"}


def paddle_options(server):
    text = f'URLS = {{"ResNet18": "{server.url}/dygraph/ResNet18_pretrained.pdparams"}}'.encode()
    files = {"paddleclas/ppcls/resnet.py": text, "paddleclas/LICENSE": APACHE, "paddleclas/ppcls/again.py": text}
    index = offer(server, "paddleclas", {"paddleclas-1.0-py3-none-any.whl": wheel(files, "paddleclas")})
    packages = {"paddleclas": "paddleclas==1.0"}
    return {"repositories": ["paddleclas"], "packages": packages, "index_url": index, "documents": False}


def augreg_options(server):
    server.add("/augreg/index.csv", INDEX.encode(), content_type="text/csv")
    return {"base": f"{server.url}/augreg", "include": ["R*"]}


def test_the_table_of_detectron2_is_data(server, listing):
    found = listing(Detectron2Source, **detectron_options(server))
    assert {name: (one.task, one.training_dataset, one.licence) for name, one in found.items()} == {
        "COCO-InstanceSegmentation/mask_rcnn_R_50": ("segmentation", "coco-2017", "cc-by-sa-3.0"),
        "PascalVOC-Detection/faster_rcnn": ("object-detection", "pascal-voc", "cc-by-sa-3.0"),
    }
    assert (
        found["PascalVOC-Detection/faster_rcnn"]
        .artifacts[0]
        .url.endswith("/d2/PascalVOC-Detection/faster_rcnn/9/model_final_b.pkl")
    )


def test_addresses_in_paddles_packages_are_listed_once(server, listing):
    found = listing(PaddleSource, **paddle_options(server))
    (one,) = found.values()
    assert (one.id, one.architecture) == ("paddleclas/dygraph/ResNet18_pretrained", "ResNet18")
    assert (one.licence, one.licence_from, one.task) == ("apache-2.0", "licence-file", "classification")


def test_only_a_document_of_paddle_that_is_gone_is_left_out(server, listing):
    found = listing(PaddleSource, **(paddle_options(server) | {"documents": True, "raw": server.url}))
    reasons = {one.reason for one in found.values() if isinstance(one, Refusal)}
    assert reasons == {Reason.REMOVED}
    assert isinstance(found["paddleclas/dygraph/ResNet18_pretrained"], Checkpoint)


def test_augregs_index_lists_files_with_how_they_were_trained(server, listing):
    found = listing(AugRegSource, **augreg_options(server))
    assert list(found) == ["R_Ti_16-i21k", "R_Ti_16-i21k--imagenet2012", "R_Ti_16-i21k--cifar10"]
    parent, tuned = found["R_Ti_16-i21k"], found["R_Ti_16-i21k--imagenet2012"]
    assert (parent.base_model, parent.clean_accuracy, parent.training_dataset) == (None, 0.42, "imagenet-21k")
    assert (tuned.base_model, tuned.clean_accuracy, tuned.training_dataset) == ("R_Ti_16-i21k", 0.7395, "imagenet-1k")
    assert (tuned.pretraining_dataset, "adapt_lr=0.03" in tuned.tags) == ("imagenet-21k", True)


def test_what_is_no_index_of_augreg_is_refused(server, listing):
    options = augreg_options(server)
    server.add("/augreg/index.csv", b"a,b\n1,2\n")
    with pytest.raises(Refused) as caught:
        listing(AugRegSource, **options)
    assert caught.value.reason is Reason.MALFORMED


# All of them


@pytest.mark.slow
def test_all_are_crawled_and_a_host_that_was_down_is_tried_by_the_next_run(server, tmp_path):
    body, keras = torch_file(), keras_file()
    digits = hashlib.sha256(body).hexdigest()[:8]
    away = [status(403)]
    server.add(f"/mm/resnet18_20210528-{digits}.pth", body, *away)
    server.add("/mm/converted-20231122.pth", body)
    server.add(f"/{COMMIT}/rdfs/0/7/weights.pt", body)
    server.add("/omz/net.pth", body)
    server.add("/keras/resnet/resnet50_weights_tf_dim_ordering_tf_kernels.h5", keras)
    server.add("/keras/vgg16/vgg16_weights_tf_dim_ordering_tf_kernels.h5", keras)
    for name in ("R_Ti_16-i21k", "R_Ti_16-i21k--imagenet2012", "R_Ti_16-i21k--cifar10"):
        server.add(f"/augreg/{name}.npz", npz_file())
    state = {"backbone.bottom_up.stem.conv1.weight": PICKLED, "pixel_mean": np.zeros(3, "f4")}
    arrays = pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"}, protocol=3)
    for place in (
        "COCO-InstanceSegmentation/mask_rcnn_R_50/137/model_final_a.pkl",
        "PascalVOC-Detection/faster_rcnn/9/model_final_b.pkl",
    ):
        server.add(f"/d2/{place}", arrays)
    named = {"conv1._conv.weight": PICKLED, "StructuredToParameterName@@": {"conv1._conv.weight": "conv2d_0.w_0"}}
    server.add("/dygraph/ResNet18_pretrained.pdparams", pickle.dumps(named, protocol=4))
    text = METAFILE.partition("  - Name: evil")[0].format(url=server.url, digits=digits)
    rdf = RDF | {
        "weights": {"pytorch_state_dict": {"source": "weights.pt", "sha256": hashlib.sha256(body).hexdigest()}}
    }
    sources = [
        {"source": "openmmlab", **mm_options(server, text)},
        {"source": "bioimage_io", **bio_options(server, rdf)},
        {"source": "open_model_zoo", "include": ["public/net"], **omz_options(server, len(body))},
        {
            "source": "keras_applications",
            "exclude": ["resnet101"],
            **keras_options(server, hashlib.md5(keras).hexdigest()),
        },
        {"source": "augreg", **augreg_options(server)},
        {"source": "detectron2", **detectron_options(server)},
        {"source": "paddle", **paddle_options(server)},
    ]
    (tmp_path / "zoos.yaml").write_text(
        json.dumps({"name": "zoos", "sources": sources, "licenses": {"allow": LICENCES}})
    )
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ("crawl", "zoos.yaml", "--allow-private", "--json", "--workers", "1")
    first = filterzoo(*command, cwd=tmp_path, env=environment)
    counts = first.document["sources"]["openmmlab"]
    assert [counts[column] for column in ("done", "skipped", "failed")] == [1, 2, 1]
    second = filterzoo(*command, cwd=tmp_path, env=environment)
    sources = second.document["sources"]
    done = {name: counts["done"] for name, counts in sources.items()}
    wanted = {"openmmlab": 2, "bioimage_io": 1, "open_model_zoo": 1, "keras_applications": 2, "augreg": 3}
    assert done == wanted | {"detectron2": 2, "paddle": 1}, (second.document, second.err)
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        filters = {(one.checkpoint.source, one.filters_by_kernel["3x3"]) for one in journal.done()}
    assert filters == {(source, 6) for source in wanted} | {("detectron2", 24), ("paddle", 24)}


# Words


def test_words_of_zoos_become_ours_or_none():
    assert task_of("Image Classification") == "classification"
    assert task_of("Wholebody 2D Keypoint") == "keypoint-detection"
    assert task_of(None, "semantic_segmentation") == "segmentation"
    assert task_of("cooking") is None
    assert [share_of(value) for value in (94.82, 0.5, 101, "x", None)] == [0.9482, 0.5, None, None, None]
    assert (text_of(["a", 1]), text_of("-"), text_of({"a": 1}), text_of("x\n")) == ("a, 1", None, None, "x")
