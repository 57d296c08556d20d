"""Which tensors of a state dict are convolution weights: on real architectures, and where names and shapes mislead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from filterzoo.layers.selection import SECTIONS, select
from filterzoo.records import Context, Convolution, Evidence, Kind, Layout, Quantisation, Span, Tensor

DENSE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def tensor(name: str, *shape: int, **fields: Any) -> Tensor:
    plain: dict[str, Any] = {"name": name, "dtype": "F32", "shape": shape, "span": Span(0, 0)}
    return Tensor(**(plain | fields))


def table(model: nn.Module) -> list[Tensor]:
    """A model's state dict as a file lists it."""
    state = model.state_dict().items()
    return [tensor(name, *value.shape, dtype="I64" if value.dtype == torch.int64 else "F32") for name, value in state]


def truth(model: nn.Module) -> dict[str, tuple[Kind, int]]:
    """Every convolution weight with its kind and groups, tied modules under each of their names."""
    found = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if not isinstance(module, DENSE + TRANSPOSED):
            continue
        kind = Kind.CONV
        if isinstance(module, TRANSPOSED):
            kind = Kind.TRANSPOSED
        elif module.groups > 1:
            kind = Kind.DEPTHWISE if module.groups == module.in_channels else Kind.GROUPED
        found[f"{name}.weight"] = kind, module.groups
    return found


def on_meta(build: Any, *arguments: Any, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build(*arguments, **options)


TIMM = [
    "resnet18",
    "resnext50_32x4d",
    "mobilenetv3_small_100",
    "convnext_tiny",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "regnety_002",
    "hrnet_w18",
    "densenet121",
    "repvgg_a0",
    "swin_tiny_patch4_window7_224",
    "coat_lite_mini",
    "edgenext_xx_small",
    "fastvit_t8",
    "pit_ti_224",
    "xcit_nano_12_p16_224",
    "inception_v3",
    "rdnet_tiny",
]
TORCHVISION = [
    "segmentation.fcn_resnet50",
    "segmentation.deeplabv3_mobilenet_v3_large",
    "segmentation.lraspp_mobilenet_v3_large",
    "detection.maskrcnn_resnet50_fpn",
    "detection.ssdlite320_mobilenet_v3_large",
    "detection.retinanet_resnet50_fpn",
    "video.r3d_18",
    "video.r2plus1d_18",
    "googlenet",
    "squeezenet1_0",
    "shufflenet_v2_x1_0",
]


UNDECIDABLE = {
    "roi_heads.mask_predictor.conv5_mask.weight": "transposed, with as many inputs as outputs and an ordinary name",
    "final_conv.conv_kxk.0.conv.weight": "depthwise with two outputs a channel, behind as many outputs as it has",
    "final_conv.conv_scale.conv.weight": "its twin",
}
"""Where a state dict does not hold the truth; the graph or the architecture does."""


def check(model: nn.Module) -> None:
    expected = truth(model)
    chosen = select(table(model))
    assert [each.name for each in chosen] == [name for name in model.state_dict() if name in expected]
    for each in chosen:
        if each.name in UNDECIDABLE:
            continue
        kind, groups = expected[each.name]
        # A state dict cannot tell a grouped convolution from a dense one, and then does not say how many groups.
        told = each.convolution
        assert told.kind is kind or (kind is Kind.GROUPED and told.kind is Kind.CONV and told.groups is None), each.name
        assert told.context is Context.DECLARED
        assert told.groups in {None, groups}, each.name
        assert (each.layout is Layout.IO_K) == (kind is Kind.TRANSPOSED)


@pytest.mark.parametrize("architecture", TIMM)
def test_real_classifiers(architecture):
    import timm

    check(on_meta(timm.create_model, architecture))


@pytest.mark.parametrize("architecture", TORCHVISION)
def test_real_networks_for_segmentation_detection_and_video(architecture):
    import torchvision

    build = torchvision.models
    for part in architecture.split("."):
        build = getattr(build, part)
    options = {"weights": None, "weights_backbone": None} if "." in architecture and "video" not in architecture else {}
    options |= {"init_weights": False} if architecture == "googlenet" else {}  # type: ignore[dict-item]  # one of several types
    check(on_meta(build, **options))


def test_groups_are_known_for_most_layers_of_a_residual_network():
    import timm

    chosen = select(table(on_meta(timm.create_model, "resnet50")))
    groups = [each.convolution.groups for each in chosen]
    assert set(groups) == {1, None}  # a shortcut may read groups of what stands before it in the file
    assert groups.count(1) > 0.9 * len(groups)


def unet() -> nn.Module:
    class UNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Conv2d(1, 16, 3)
            self.bottom = nn.Conv2d(16, 32, 3)
            self.up = nn.ConvTranspose2d(32, 16, 2, stride=2)
            self.halves = nn.ConvTranspose2d(16, 12, 2, groups=2)
            self.deconv_without_bias = nn.ConvTranspose2d(32, 16, 2, bias=False)
            self.upconv_square = nn.Conv2d(16, 16, 3)
            self.transp_square = nn.ConvTranspose2d(16, 16, 2)
            self.volume = nn.Conv3d(16, 8, 3)
            self.signal = nn.ConvTranspose1d(8, 4, 3)

    return UNet()


def test_transposed_convolutions_by_their_bias_or_their_name():
    check(unet())
    halves = next(each for each in select(table(unet())) if each.name == "halves.weight")
    assert halves.convolution.groups == 2


def names(*tensors: Tensor) -> list[str]:
    return [each.name for each in select(tensors)]


@pytest.mark.parametrize("section", SECTIONS)
def test_any_section_is_taken(section):
    assert names(tensor("conv.weight", 8, 3, 3, 3, section=section)) == ["conv.weight"]


def test_sections_are_taken_in_order_and_one_alone():
    listed = [tensor(f"{section}.weight", 8, 3, 3, 3, section=section) for section in reversed(SECTIONS)]
    for position in range(len(SECTIONS)):
        remaining = [each for each in listed if each.section in SECTIONS[position:]]
        assert names(*remaining) == [f"{SECTIONS[position]}.weight"]


def test_a_section_without_convolutions_is_passed_over():
    assert names(
        tensor("fc.weight", 10, 5, section="state_dict_ema"),
        tensor("conv.weight", 8, 3, 3, 3, section="generator"),
        tensor("conv.weight", 8, 3, 3, 3, section="discriminator"),
    ) == ["conv.weight"]


@pytest.mark.parametrize("section", ["optimizer", "optim_state", "lr_scheduler", "scaler", "optimizer_states"])
def test_optimiser_sections_are_never_taken(section):
    assert names(tensor("conv.weight", 8, 3, 3, 3, section=section)) == []


NOT_CONVOLUTIONS = {
    "optimizer.state.0.weight": (8, 3, 3, 3),
    "exp_avg.conv.weight": (8, 3, 3, 3),
    "momentum_buffer.conv.weight": (8, 3, 3, 3),
    "optimizer.state.0.exp_avg": (8, 3, 3, 3),
    "conv.weight_mask": (8, 3, 3, 3),
    "conv.bias": (1, 8, 1, 1),
    "pos_embed": (1, 8, 14, 14),
    "pos_embed.weight": (1, 8, 14, 14),
    "cls_token": (1, 1, 384),
    "layer.relative_position_bias_table.weight": (8, 7, 7),
    "conv.gain": (64, 1, 1, 1),
    "layer_norm.weight": (64, 14, 14),
    "norm1.weight": (64, 1, 1),
    "experts.weight": (8, 64, 64),
    "embedding.weight": (100, 8, 8),
    "fc.weight": (10, 512),
    "bn.weight": (64,),
    "six.weight": (1, 1, 1, 1, 1, 1),
    "conv.weight_g": (8, 1, 1, 1),
}


@pytest.mark.parametrize("name", NOT_CONVOLUTIONS)
def test_what_is_shaped_like_a_convolution_and_is_none(name):
    assert names(tensor(name, *NOT_CONVOLUTIONS[name])) == []


CONVOLUTIONS = [
    "weight",
    "conv.weight",
    "features.0.weight",
    "patch_embed.proj.weight",
    "patch_embedding.weight",
    "patch_embed.weight",
    "module.backbone.layer1.0.conv1.weight",
    "token_projection.weight",
    "upscaler.weight",
    "gradual.conv.weight",
    "upgrade.optimal.weight",
    "scheduled/conv/kernel",
    "conv1d_1.kernel",
    "Δ.weight",
    "\0\x1b[31m.weight",
]


@pytest.mark.parametrize("name", CONVOLUTIONS, ids=ascii)
def test_what_is_called_like_something_else_and_is_a_convolution(name):
    assert names(tensor(name, 8, 3, 3, 3)) == [name]


def test_numbers_that_cannot_be_weights():
    int8 = {"dtype": "I8"}
    assert names(tensor("a.weight", 8, 3, 3, 3, **int8), tensor("b.weight", 8, 3, 3, 3, dtype="C64")) == []
    assert names(tensor("a.weight", 8, 3, 3, 3, dtype="BOOL"), tensor("b.weight", 8, 0, 3, 3)) == []
    scaled = tensor("a.weight", 8, 3, 3, 3, **int8, quantisation=Quantisation((0.1,), (0,)))
    assert names(scaled, tensor("b.weight", 8, 3, 3, 3, dtype="BF16")) == ["a.weight", "b.weight"]


@pytest.mark.parametrize("suffix", ["_ema", "_avg"])
def test_plain_twins_of_averaged_weights_are_left_out(suffix):
    listed = [tensor(f"{part}.conv.weight", 8, 3, 3, 3) for part in ("net", f"net{suffix}")]
    assert names(*listed) == [f"net{suffix}.conv.weight"]
    other = tensor(f"net{suffix}.more.weight", 8, 3, 3, 3)
    assert names(*listed, other) == [each.name for each in (*listed, other)]


def kinds(*tensors: Tensor) -> list[tuple[Kind, int | None]]:
    return [(each.convolution.kind, each.convolution.groups) for each in select(tensors)]


def test_one_input_channel():
    first = tensor("stem.weight", 32, 1, 3, 3)
    pointwise = tensor("b.weight", 64, 32, 1, 1)
    assert kinds(first) == [(Kind.CONV, 1)]
    assert kinds(first, tensor("a.weight", 32, 1, 3, 3), pointwise)[:2] == [(Kind.CONV, 1), (Kind.DEPTHWISE, 32)]
    beside = select([first, tensor("a.weight", 32, 1, 3, 3)])
    assert [each.evidence for each in beside] == [
        Evidence.SHAPES,
        Evidence.ASSUMED,
    ]
    psi = tensor("psi.weight", 1, 32, 1, 1)
    assert kinds(first, psi, tensor("a.weight", 16, 1, 3, 3))[2] == (Kind.CONV, 1)
    assert kinds(first, psi, tensor("a.depthwise.weight", 16, 1, 3, 3))[2] == (Kind.DEPTHWISE, None)


def test_groups_are_not_guessed():
    first = tensor("stem.weight", 64, 3, 7, 7)
    assert kinds(first, tensor("a.weight", 128, 4, 3, 3))[1] == (Kind.CONV, None)
    assert kinds(first, tensor("a.weight", 128, 64, 3, 3))[1] == (Kind.CONV, 1)
    between = tensor("b.weight", 16, 64, 1, 1)
    assert kinds(first, between, tensor("a.weight", 128, 64, 3, 3))[2] == (Kind.CONV, None)
    assert kinds(first, between, tensor("a.weight", 128, 64, 1, 1))[2] == (Kind.CONV, 1)


@pytest.mark.parametrize(
    ("layout", "shape", "expected"),
    [
        (Layout.K_IO, (3, 3, 4, 8), (Kind.CONV, 1)),
        (Layout.O_K_I, (8, 3, 3, 4), (Kind.CONV, 1)),
        (Layout.K_IM, (3, 3, 4, 2), (Kind.DEPTHWISE, 4)),
        (Layout.ONE_K_O, (1, 3, 3, 8), (Kind.DEPTHWISE, None)),
        (Layout.K_OI, (3, 3, 4, 8), (Kind.TRANSPOSED, None)),
    ],
)
def test_layouts_that_show_the_kind(layout, shape, expected):
    assert kinds(tensor("conv/kernel", *shape, layout=layout)) == [expected]


def test_what_the_format_knows_is_kept():
    known = Convolution(kind=Kind.GROUPED, context=Context.GRAPH, groups=4, stride=(2, 2))
    (chosen,) = select([tensor("anything at all", 8, 3, 3, 3, convolution=known)])
    assert chosen.convolution is known


def test_nothing_to_choose_from():
    assert select([]) == ()
    assert select([tensor("fc.weight", 10, 5)]) == ()
