"""The source `torchvision` with the installed torchvision."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import pytest
from tests.servers import WebServer

from filterzoo import Artifact, Reason, Refused
from filterzoo.architectures.context import with_architecture
from filterzoo.layers.selection import select
from filterzoo.network.door import Door
from filterzoo.records import Context, Span, Tensor
from filterzoo.vocabularies import COLUMNS
from filterzoo_plugins import facts
from filterzoo_plugins.sources.libraries.torchvision import TorchvisionOptions, TorchvisionSource

VERSION = importlib.metadata.version("torchvision").partition("+")[0]


@pytest.fixture
def server():
    with WebServer() as server:
        yield server


@pytest.fixture
def source(tmp_path, server):
    with Door(tmp_path / "cache", allow_private=True) as door:
        yield lambda **options: TorchvisionSource(TorchvisionOptions(**options), door, Path())


def test_every_registered_weight_is_listed_once_without_a_network(source):
    from torchvision import models

    found = list(source().discover())
    urls = {weights.url for model in models.list_models() for weights in models.get_model_weights(model)}
    assert {checkpoint.artifacts[0].url for checkpoint in found} == urls
    assert len({checkpoint.id for checkpoint in found}) == len(found) == len(urls)
    if VERSION == "0.29.1":
        assert len(found) == 166
    for checkpoint in found:
        assert checkpoint.revision.startswith(("sha256:", "torchvision-"))
    assert sum(checkpoint.revision == f"torchvision-{VERSION}" for checkpoint in found) < 10


def test_the_facts_about_them(source):
    found = {checkpoint.id: checkpoint for checkpoint in source().discover()}
    resnet = found["resnet50.IMAGENET1K_V1"]
    assert (resnet.revision, resnet.task, resnet.architecture) == ("sha256:0676ba61", "classification", "resnet50")
    assert (resnet.training_dataset, resnet.visual_category, resnet.modality) == ("imagenet-1k", "natural", "rgb")
    assert (resnet.clean_accuracy, resnet.licence) == (pytest.approx(0.7613), None)
    assert found["vit_l_16.IMAGENET1K_SWAG_E2E_V1"].pretraining_dataset == "instagram-3.6b"
    tasks = {"fcn_resnet50": "segmentation", "r3d_18": "video-classification", "keypointrcnn_resnet50_fpn": None}
    tasks |= {"keypointrcnn_resnet50_fpn": "keypoint-detection", "retinanet_resnet50_fpn": "object-detection"}
    tasks |= {"raft_small": None}
    assert {c.architecture: c.task for c in found.values() if c.architecture in tasks} == tasks
    for column, words in COLUMNS.items():
        assert {getattr(checkpoint, column) for checkpoint in found.values()} <= {*words, None}


def test_every_fact_is_about_weights_there_are(source):
    names = {checkpoint.id.partition(".")[2] for checkpoint in source().discover()}
    assert set(facts.table("torchvision_weights")) <= names


def test_globs_choose(source):
    found = source(include=["resnet18.*", "resnet34.*"], exclude=["resnet34.*"]).discover()
    assert [checkpoint.id for checkpoint in found] == ["resnet18.IMAGENET1K_V1"]


def test_the_content_is_checked_against_the_name(server, source):
    body = b"weights " * 1000
    sha256 = hashlib.sha256(body).hexdigest()
    with source().open(Artifact(url=server.add(f"/models/net-{sha256[:8]}.pth", body))) as file:
        assert file.verified_sha256 == sha256
    with source().open(Artifact(url=server.add("/models/net_without.pth", body))) as file:
        assert file.verified_sha256 is None
    with pytest.raises(Refused) as refused:
        source().open(Artifact(url=server.add("/models/net-00000000.pth", body)))
    assert refused.value.reason is Reason.HASH_MISMATCH


@pytest.mark.parametrize(
    "name",
    ["resnet18", "regnet_y_400mf", "googlenet", "deeplabv3_mobilenet_v3_large", "r3d_18", "raft_small"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # googlenet warns of its initialisation
def test_architectures_fit_their_state_dicts(source, name):
    from torchvision import models

    zoo = source(include=[f"{name}.*"])
    checkpoint = next(iter(zoo.discover()))
    settings = {"weights_backbone": None, "aux_loss": True, "num_classes": 21} if "deeplab" in name else {}
    state = models.get_model(name, **settings).state_dict()
    tensors = select([Tensor(name=n, dtype="F32", shape=tuple(t.shape), span=Span(0, 1)) for n, t in state.items()])
    told = with_architecture(tensors, zoo.architectures(checkpoint)).tensors
    assert {tensor.convolution.context for tensor in told} == {Context.ARCHITECTURE}


def test_detectors_cannot_run_without_numbers(source):
    zoo = source(include=["ssdlite320_mobilenet_v3_large.*"])
    assert list(zoo.architectures(next(iter(zoo.discover())))) == [{}]
