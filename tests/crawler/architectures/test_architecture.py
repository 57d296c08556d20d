"""Depths found by one run without weights are those of the exported graph; every convolution is named."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from filterzoo.architectures.architecture import operations, trace
from filterzoo.records import Context, Kind

TIMM = {
    # name: (input size, what it stands for)
    "resnet18": (64, "residual"),
    "resnet50d": (64, "a pooled shortcut: the branches of a block differ in length"),
    "legacy_seresnet18": (64, "squeeze and excite"),
    "densenet121": (64, "dense, batch norm before the convolution"),
    "selecsls42": (64, "selective long and short skips"),
    "efficientnet_b0": (64, "inverted residuals, SiLU"),
    "tf_efficientnet_b0": (64, "padding that depends on the input"),
    "mobilenetv3_small_050": (64, "depthwise, hard swish"),
    "mixnet_s": (64, "kernels of many sizes side by side"),
    "ghostnet_100": (64, "cheap branches"),
    "hrnet_w18_small": (64, "branches of several resolutions that meet again and again"),
    "dla34": (64, "trees"),
    "res2net50_26w_4s": (64, "hierarchical splits"),
    "resnest14d": (64, "split attention"),
    "skresnet18": (64, "selective kernels"),
    "regnety_002": (64, "grouped"),
    "repvgg_a0": (64, "parallel branches of one block"),
    "cspresnet50": (64, "cross-stage partial"),
    "convnext_atto": (64, "ConvNeXt"),
    "resnetv2_50": (64, "pre-activation"),
    "inception_v3": (96, "inception"),
    "mobilevit_xxs": (64, "convolutions and attention"),
    "edgenext_xx_small": (64, "split depthwise and attention over channels"),
    "coat_lite_tiny": (224, "one module in many blocks"),
    "fastvit_t8": (64, "large kernels, token mixers"),
    "lambda_resnet26t": (128, "a 3-D convolution inside a 2-D network"),
    "poolformer_s12": (64, "pooling in the place of attention"),
    "eca_nfnet_l0": (64, "scaled standardised weights, no norms"),
}
TORCHVISION = {
    "googlenet": ((1, 3, 64, 64), {"init_weights": False}),
    "shufflenet_v2_x0_5": ((1, 3, 64, 64), {}),
    "squeezenet1_1": ((1, 3, 64, 64), {}),
    "mnasnet0_5": ((1, 3, 64, 64), {}),
    "r3d_18": ((1, 3, 4, 32, 32), {}),
    "r2plus1d_18": ((1, 3, 4, 32, 32), {}),
}
QUICK = {"resnet18", "mobilenetv3_small_050", "convnext_atto", "squeezenet1_1"}


def tiered(names: Iterable[str]) -> list[Any]:
    """Each name as a parameter, all but the quick ones in the slow tier."""
    return [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in names]


class UNet(nn.Module):
    """Down, up by transposed convolutions, skips across; in 2-D or 3-D."""

    def __init__(self, convolution: type[nn.Module], transposed: type[nn.Module], pool: type[nn.Module]) -> None:
        super().__init__()
        self.down = nn.ModuleList(convolution(a, b, 3, padding=1) for a, b in [(1, 4), (4, 8), (8, 16)])
        self.pool = pool(2)
        self.up = nn.ModuleList(transposed(a, b, 2, stride=2) for a, b in [(16, 8), (8, 4)])
        self.merge = nn.ModuleList(convolution(2 * a, a, 3, padding="same", dilation=2) for a in (8, 4))
        self.shortcut = convolution(1, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut, skips = self.shortcut(x), []
        for place, layer in enumerate(self.down):
            x = functional.relu(layer(self.pool(x) if place else x), inplace=True)
            skips.append(x)
        for up, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            x = functional.gelu(merge(torch.cat([up(x), skip], 1)))
        return x + shortcut


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself
@pytest.mark.parametrize("name", tiered(TIMM))
def test_timm_depths_are_those_of_the_exported_graph(name):
    import timm

    size = TIMM[name][0]
    settings: dict[str, Any] = {"img_size": size} if name.startswith(("coat", "lambda")) else {}
    check(lambda: timm.create_model(name, **settings), (1, 3, size, size))


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself
@pytest.mark.parametrize("name", tiered(TORCHVISION))
def test_torchvision_depths_are_those_of_the_exported_graph(name):
    import torchvision

    shape, settings = TORCHVISION[name]
    check(lambda: torchvision.models.get_model(name, weights=None, **settings), shape)


@pytest.mark.filterwarnings("ignore")  # the exporter warns of itself
@pytest.mark.parametrize("dimensions", [2, 3])
def test_u_net_depths_are_those_of_the_exported_graph(dimensions):
    layers = [getattr(nn, f"{kind}{dimensions}d") for kind in ("Conv", "ConvTranspose", "MaxPool")]
    check(lambda: UNet(*layers), (1, 1, *[16] * dimensions))


def check(build, shape) -> None:
    with torch.device("meta"):
        readings = trace(build().eval(), torch.empty(*shape)).readings
    found = [reading.operation for reading in readings]
    expected = exported(build().eval(), shape)
    assert len(found) == len(expected) > 1
    assert [operation.convolution.kind is Kind.TRANSPOSED for operation in found] == [node[0] for node in expected]
    assert ranks([operation.convolution.depth for operation in found]) == ranks([node[1] for node in expected])
    for operation, (_, _, strides, groups) in zip(found, expected, strict=True):
        assert operation.convolution.context is Context.ARCHITECTURE
        assert (operation.convolution.stride, operation.convolution.groups) == (strides, groups)


def exported(model, shape) -> list[tuple[bool, int, tuple[int, ...], int]]:
    """(is it transposed, edges of the longest path from an input, strides, groups) of each convolution node."""
    file = io.BytesIO()
    torch.onnx.export(model, (torch.rand(*shape),), file, dynamo=False, opset_version=18)  # type: ignore[arg-type]  # as much of it as is used
    graph = onnx.load_from_string(file.getvalue()).graph
    depths = {value.name: 0 for value in graph.input}
    found = []
    for node in graph.node:
        above = [depths[name] for name in node.input if name in depths]
        depth = max(above, default=0) + 1
        if above:  # what is made of constants is no deeper than they are
            depths |= dict.fromkeys(node.output, depth)
        if node.op_type in {"Conv", "ConvTranspose"}:
            values = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            found.append((node.op_type == "ConvTranspose", depth, tuple(values["strides"]), values["group"]))
    return found


def ranks(depths) -> list[int]:
    rank = {depth: place for place, depth in enumerate(sorted(set(depths)))}
    return [rank[depth] for depth in depths]


def test_every_convolution_has_its_name_in_the_state_dict():
    import timm

    found = operations(lambda: timm.create_model("resnet18"), (1, 3, 64, 64))
    shapes = {name: tuple(p.shape) for name, p in timm.create_model("resnet18").state_dict().items() if p.ndim == 4}
    assert {name: operation.shape for name, operation in found.items()} == shapes
    assert found["conv1.weight"].convolution.stride == (2, 2)
    assert found["conv1.weight"].convolution.padding == (3, 3, 3, 3)
    assert found["layer2.0.conv1.weight"].convolution.depth == found["layer2.0.downsample.0.weight"].convolution.depth


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")  # that is what is tested
def test_kinds():
    class Kinds(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(4, 8, 3, groups=4, padding="same")
            self.grouped = nn.Conv2d(8, 8, (3, 1), groups=2, dilation=2)
            self.transposed = nn.ConvTranspose2d(8, 6, 2, 2, groups=2)
            self.flat = nn.Conv1d(6, 2, 4, padding="same")
            self.unused = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.flat(self.transposed(self.grouped(self.depthwise(x))).flatten(2))

    found = operations(Kinds, (1, 4, 16, 16))
    told = {name.partition(".")[0]: operation for name, operation in found.items()}
    assert [o.convolution.kind for o in told.values()] == [Kind.DEPTHWISE, Kind.GROUPED, Kind.TRANSPOSED, Kind.CONV]
    assert told["transposed"].shape == (8, 3, 2, 2)
    assert told["grouped"].convolution.dilation == (2, 2)
    assert told["flat"].convolution.padding == (1, 2)
    assert "unused" not in told


def test_a_weight_made_of_a_parameter_keeps_its_name_and_one_made_of_the_input_is_none():
    class Derived(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 3, 3, 3))
            self.gain = nn.Parameter(torch.empty(4, 1, 1, 1))
            self.experts = nn.Parameter(torch.empty(2, 4 * 4 * 9))

        def forward(self, x):
            flat = self.weight.reshape(1, 4, -1)
            x = functional.conv2d(x, (flat - flat.mean(2, keepdim=True)).reshape_as(self.weight) * self.gain)
            routing = x.mean((2, 3)) @ torch.empty(4, 2)
            return functional.conv2d(x, weight=(routing @ self.experts).view(4, 4, 3, 3))

    assert list(operations(Derived, (1, 3, 16, 16))) == ["weight"]


def test_a_convolution_of_constants_is_one():
    import timm

    found = operations(lambda: timm.create_model("xcit_nano_12_p16_224"), (1, 3, 224, 224))
    assert found["pos_embed.token_projection.weight"].convolution.depth == 1
    assert found["patch_embed.proj.0.0.weight"].convolution.depth == 1


@pytest.mark.parametrize("name", ["vitamin_small_224", "regnet_y_400mf"])
def test_constructors_may_run_a_part_of_the_model_or_compute_its_widths(name):
    import timm
    import torchvision

    build = {
        "vitamin_small_224": lambda: timm.create_model("vitamin_small_224"),
        "regnet_y_400mf": lambda: torchvision.models.get_model("regnet_y_400mf"),
    }[name]
    assert len(operations(build, (1, 3, 224, 224))) > 10


def test_a_module_with_two_names_gives_both_and_is_as_deep_as_its_first_reading():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3)
            self.second = self.first

        def forward(self, x):
            return self.second(functional.relu(self.first(x)))

    with torch.device("meta"):
        assert [reading.operation.convolution.depth for reading in trace(Tied(), torch.empty(1, 3, 9, 9)).readings] == [
            1,
            3,
        ]
    found = operations(Tied, (1, 3, 9, 9))
    assert {name: operation.convolution.depth for name, operation in found.items()} == {
        "first.weight": 1,
        "second.weight": 1,
    }


def test_an_architecture_that_needs_numbers_is_unknown():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 3)

        def forward(self, x):
            return self.layer(x) if x.sum().item() > 0 else x

    assert operations(Counting, (1, 3, 9, 9)) == {}


@pytest.mark.parametrize(
    ("name", "activation", "pooling"),
    [
        ("resnet18", "relu", "stride, max"),
        ("densenet121", "relu", "average, max, stride"),
        ("efficientnet_b0", "silu, sigmoid", "stride"),
        ("mobilenetv3_small_050", "hardswish, relu, hardsigmoid", "stride"),
        ("convnext_atto", "gelu", "stride"),
        ("resnetblur50", "relu", "blur, stride"),
        ("mobilenetv2_100", "relu6", "stride"),
    ],
)
def test_activation_and_pooling_of_known_architectures(name: str, activation: str, pooling: str):
    import timm

    found = operations(lambda: timm.create_model(name), (1, 3, 64, 64))
    assert (found.activation, found.pooling) == (activation, pooling)


def test_pooling_by_low_frequencies_is_distinguished_from_a_filter_in_the_frequency_domain():
    """FrequencyLowCut pooling (arXiv:2204.00491): transform, keep the low half of each axis, transform back."""

    class Pool(nn.Module):
        def __init__(self, *, cut: bool) -> None:
            super().__init__()
            self.first, self.second, self.cut = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), cut

        def forward(self, x):
            spectrum = torch.fft.fftshift(torch.fft.fft2(functional.mish(self.first(x)), norm="forward"))
            if self.cut:
                spectrum = spectrum[:, :, 8:24, 8:24]
            return self.second(torch.fft.ifft2(torch.fft.ifftshift(spectrum), norm="forward").real).mean((2, 3))

    assert operations(lambda: Pool(cut=True), (1, 3, 32, 32)).pooling == "flc"
    found = operations(lambda: Pool(cut=False), (1, 3, 32, 32))
    assert (found.activation, found.pooling) == ("mish", None)


def test_a_mean_over_all_places_is_no_pooling_and_networks_without_activation_have_none():
    class Plain(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    found = operations(Plain, (1, 3, 16, 16))
    assert (found.activation, found.pooling) == (None, None)
    assert list(found) == ["0.weight"]
