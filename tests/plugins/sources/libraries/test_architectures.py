"""Files of zoos that only name their networks: timm's or torchvision's of that name, where it fits exactly."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from filterzoo import Artifact, Checkpoint
from filterzoo.architectures.context import with_architecture
from filterzoo.layers.selection import select
from filterzoo.network.door import Door
from filterzoo.records import Context, Span, Tensor
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.medical import MedicalSource
from filterzoo_plugins.sources.robustbench.source import RobustBenchSource


def convolutions(state: dict[str, torch.Tensor], prefix: str = "") -> tuple[Tensor, ...]:
    named = ((prefix + name, tuple(tensor.shape)) for name, tensor in state.items())
    return select([Tensor(name=name, dtype="F32", shape=shape, span=Span(0, 1)) for name, shape in named])


def contexts(source, name: str | None, tensors: Sequence[Tensor]) -> set[Context]:
    checkpoint = Checkpoint(id="a", revision="1", artifacts=(Artifact(url="https://zoo/a"),), architecture=name)
    told = with_architecture(tensors, source.architectures(checkpoint)).tensors
    return {tensor.convolution.context for tensor in told}


def torchvision_state(name: str, **settings) -> dict[str, torch.Tensor]:
    from torchvision import models

    with torch.device("meta"):
        return models.get_model(name, weights=None, **settings).state_dict()


@pytest.fixture
def source(tmp_path):
    with Door(tmp_path / "cache") as door:
        yield lambda kind: kind(kind.Options(), door, tmp_path)


@pytest.mark.parametrize("name", ["resnet18", "ResNet-18"])
def test_a_robust_network_that_torchvision_builds(source, name):
    tensors = convolutions(torchvision_state("resnet18"), "module.model.")
    assert contexts(source(RobustBenchSource), name, tensors) == {Context.ARCHITECTURE}


def test_only_torchvisions_of_a_name_that_timm_has_too(source):
    tensors = convolutions(torchvision_state("convnext_tiny"))
    assert contexts(source(RobustBenchSource), "convnext_tiny", tensors) == {Context.ARCHITECTURE}


def test_a_radiograph_has_one_channel(source):
    state = torchvision_state("densenet121")
    state["features.conv0.weight"] = torch.empty(64, 1, 7, 7, device="meta")
    assert contexts(source(MedicalSource), "densenet121", convolutions(state)) == {Context.ARCHITECTURE}


@pytest.mark.parametrize("name", ["resnet34", "WideResNet-28-10", "hf-hub:a/b", "resnet18.a1_in1k", "", None])
def test_another_name_is_no_evidence(source, name):
    assert contexts(source(RobustBenchSource), name, convolutions(torchvision_state("resnet18"))) == {Context.DECLARED}


def test_a_network_for_small_images_is_another_one(source):
    state = torchvision_state("resnet18")
    state["conv1.weight"] = torch.empty(64, 3, 3, 3, device="meta")
    assert contexts(source(MedicalSource), "resnet18", convolutions(state)) == {Context.DECLARED}


@pytest.mark.parametrize(("classes", "channels"), [(10**18, 3), (-1, 3), (7, 10**12), (7, -3), (7, 0)])
def test_numbers_that_no_network_has_are_not_tried(classes, channels):
    found = list(Architectures().of("test_resnet", classes, (channels,)))
    assert len(found) == (1 if channels == 3 else 0)
