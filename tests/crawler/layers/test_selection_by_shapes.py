"""Convolutions told by shapes alone: names are random letters here, so that no list of words could help."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import Any

import pytest

from filterzoo.computation import Step, Way
from filterzoo.errors import Reason, Refused
from filterzoo.layers.depth import depths
from filterzoo.layers.selection import refuse_undecided, select, selection
from filterzoo.records import Context, Convolution, Evidence, Kind, Layout, Span, Tensor

DICE = random.Random(14)
DICTIONARY = "bcdfghjklmnpqrstvwxyz"


def word() -> str:
    return "".join(DICE.choices(DICTIONARY, k=7))


def tensor(name: str, *shape: int, **fields: Any) -> Tensor:
    plain: dict[str, Any] = {"name": name, "dtype": "F32", "shape": shape, "span": Span(0, 0)}
    return Tensor(**(plain | fields))


def layer(*shape: int, bias: tuple[int, ...] | None = None, last: str = "weight", **fields: Any) -> list[Tensor]:
    owner = f"{word()}.{word()}"
    made = [tensor(f"{owner}.{last}", *shape, **fields)]
    return made if bias is None else [*made, tensor(f"{owner}.bias", *bias)]


def shapes(*layers: list[Tensor]) -> list[tuple[int, ...]]:
    return [each.shape for each in select([each for made in layers for each in made])]


STEM = layer(16, 3, 3, 3, bias=(16,))


@pytest.mark.parametrize(
    "other",
    [
        layer(16, 28, 28, bias=(16, 28, 28)),
        layer(16, 7, 9, 9, bias=(16, 7, 9, 9)),
        layer(10, 64, 32, bias=(10, 1, 32)),
        layer(12, 64, 12, 64, bias=(12, 12, 64)),
        layer(8, 8, 8),
        layer(8, 64, 64),
        layer(1, 197, 768, last=word()),
        layer(1, 16, 14, 14, last=word()),
        layer(64, 1, 1, 1, last=word()),
        layer(16, 3, 3, 3, dtype="I8"),
    ],
    ids=lambda made: str(made[0].shape),
)
def test_what_is_none(other):
    assert shapes(STEM, other) == [(16, 3, 3, 3)]


@pytest.mark.parametrize("name", ["norm", "mask", "pos_embed", "query", "proj", "experts", "codebook", "optimal"])
def test_nothing_is_dropped_for_its_name(name):
    listed = [*STEM, tensor(f"{word()}.{name}.weight", 32, 16, 3, 3), tensor(f"{word()}.{name}.bias", 32)]
    assert shapes(listed) == [(16, 3, 3, 3), (32, 16, 3, 3)]


@pytest.mark.parametrize(
    ("order", "layout"), [((0, 2, 3, 4, 1), Layout.O_K_I), ((2, 3, 4, 1, 0), Layout.K_IO)], ids=["spconv2", "spconv1"]
)
def test_sparse_volumes(order, layout):
    made = [layer(*(canonical[axis] for axis in order)) for canonical in ((16, 4, 3, 3, 3), (32, 16, 3, 3, 3))]
    chosen = select([each for listed in made for each in listed])
    assert [(each.layout, each.evidence) for each in chosen] == [(layout, Evidence.SHAPES)] * 2


def test_volumes_of_torch_stay_as_they_are():
    made = [layer(16, 3, 1, 7, 7), layer(16, 16, 3, 1, 1), layer(8, 16, 3, 3, 3)]
    assert all(each.layout is Layout.OI_K for each in select([each for listed in made for each in listed]))


def test_modulated_convolutions_lose_the_axis_of_the_batch():
    assert shapes(layer(1, 512, 512, 3, 3), layer(1, 256, 512, 3, 3)) == [(512, 512, 3, 3), (256, 512, 3, 3)]


@pytest.mark.parametrize(
    ("made", "layout"),
    [
        ([(7, 7, 3, 64), (3, 3, 64, 64), (1, 1, 64, 128)], Layout.K_IO),
        ([(64, 7, 7, 3), (64, 3, 3, 64), (128, 1, 1, 64)], Layout.O_K_I),
        ([(64, 3, 7, 7), (64, 64, 3, 3), (128, 64, 1, 1)], Layout.OI_K),
    ],
)
def test_open_layouts_are_those_that_give_kernels(made, layout):
    chosen = select([each for shape in made for each in layer(*shape, last=word(), layout=Layout.OPEN)])
    assert {each.layout for each in chosen} <= {layout}
    assert {each.evidence for each in chosen} <= {Evidence.SHAPES}
    chosen = select([each for shape in made for each in layer(*shape, last="w", layout=Layout.OPEN)])
    assert [each.layout for each in chosen] == [layout] * 3


@pytest.mark.parametrize(
    ("torch_shapes", "keras_shapes", "layouts"),
    [
        ([(4, 3, 2, 2)], [], [Layout.OI_K]),
        ([(4, 3, 3, 3)], [(3, 3, 3, 4)], [Layout.OI_K, Layout.K_IO]),
        ([(4, 3, 2, 2)], [(2, 2, 4, 8)], [Layout.OI_K, Layout.K_IO]),
        ([(3, 3, 8, 8)], [(3, 3, 3, 8), (3, 3, 8, 16)], [Layout.K_IO] * 3),
        ([(16, 3, 3, 3)], [(32, 3, 3, 16), (64, 3, 3, 32)], [Layout.O_K_I] * 3),
    ],
)
def test_two_orders_in_a_file_only_where_no_single_one_fits(torch_shapes, keras_shapes, layouts):
    listed = [tensor(f"{word()}.weight", *shape, layout=Layout.OPEN) for shape in torch_shapes]
    listed += [tensor(f"{word()}/kernel", *shape, layout=Layout.OPEN) for shape in keras_shapes]
    chosen = select(listed)
    assert [each.layout for each in chosen] == layouts
    if len(set(layouts)) > 1:
        assert {each.evidence for each in chosen} == {Evidence.NAME}


def sorted_unet(channels: int) -> list[Tensor]:
    made = [layer(32, channels, 3, 3, bias=(32,)), layer(32, 32, 3, 3, bias=(32,)), layer(64, 32, 3, 3, bias=(64,))]
    made += [layer(32, 96, 3, 3, bias=(32,)), layer(2, 32, 1, 1, bias=(2,))]
    return sorted((each for listed in made for each in listed), key=lambda each: each.name)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_stem_is_no_depthwise_layer_whatever_the_order(channels):
    kinds = {each.convolution.kind for each in select(sorted_unet(channels))}
    assert kinds == {Kind.CONV}


@pytest.mark.parametrize("channels", [1, 3])
def test_depthwise_layers_of_separable_blocks(channels):
    listed = layer(32, channels, 3, 3)
    for inputs, outputs in ((32, 64), (64, 128), (128, 128)):
        block = word()
        listed.append(tensor(f"{block}.0.weight", inputs, 1, 3, 3))
        listed.append(tensor(f"{block}.1.weight", outputs, inputs, 1, 1))
    found = [each.convolution.kind for each in select(listed)]
    assert found == [Kind.CONV, *[Kind.DEPTHWISE, Kind.CONV] * 3]


def test_a_volume_of_one_channel_among_planes_is_assumed():
    """Lambda networks convolve a map of one channel with (16, 1, 1, 7, 7)."""
    block = word()
    listed = [*STEM, *layer(32, 16, 3, 3), tensor(f"{block}.a.weight", 16, 1, 1, 7, 7)]
    listed += [tensor(f"{block}.b.weight", 32, 16, 1, 1), *layer(16, 32, 3, 3)]
    (volume,) = [each for each in select(listed) if len(each.shape) == 5]
    assert volume.evidence is Evidence.ASSUMED


def test_what_nothing_decides_is_assumed():
    square = select([*STEM, *layer(16, 16, 2, 2, bias=(16,))])[1]
    assert (square.convolution.kind, square.evidence) == (Kind.CONV, Evidence.ASSUMED)


def test_moments_and_slots_are_copies():
    name = f"{word()}/{word()}"
    listed = [tensor(f"{name}/kernel", 3, 3, 3, 8, layout=Layout.OPEN)]
    listed += [tensor(f"{name}/kernel/{word()}", 3, 3, 3, 8, layout=Layout.OPEN)]
    listed += [tensor(f"adam_state/m/{name}/kernel", 3, 3, 3, 8, layout=Layout.OPEN)]
    listed[0] = tensor(f"{word()}/{name}/kernel", 3, 3, 3, 8, layout=Layout.OPEN)
    listed[1] = tensor(f"{listed[0].name}/{word()}", 3, 3, 3, 8, layout=Layout.OPEN)
    found = selection(listed)
    assert [each.name for each in found.convolutions] == [listed[0].name]
    assert found.words() == "2 copy"


def test_networks_of_the_same_shape_are_both_taken():
    assert shapes(layer(8, 3, 3, 3), layer(8, 3, 3, 3)) == [(8, 3, 3, 3)] * 2


PARTS = {
    "weight norm": (["weight_g", "weight_v"], [(8, 1, 1, 1), (8, 3, 3, 3)], Way.WEIGHT_NORM),
    "weight norm of all": (["weight_g", "weight_v"], [(), (8, 3, 3, 3)], Way.WEIGHT_NORM),
    "weight norm, parametrised": (
        ["parametrizations.weight.original0", "parametrizations.weight.original1"],
        [(8, 1, 1, 1), (8, 3, 3, 3)],
        Way.WEIGHT_NORM,
    ),
    "spectral norm": (["weight_orig", "weight_u", "weight_v"], [(8, 3, 3, 3), (8,), (27,)], Way.SPECTRAL_NORM),
    "spectral norm, transposed": (
        ["weight_orig", "weight_u", "weight_v"],
        [(8, 3, 2, 2), (3,), (32,)],
        Way.SPECTRAL_NORM,
    ),
    "spectral norm, parametrised": (
        ["parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"],
        [(8, 3, 3, 3), (8,), (27,)],
        Way.SPECTRAL_NORM,
    ),
    "pruned": (["weight_orig", "weight_mask"], [(8, 3, 3, 3)] * 2, Way.MASK),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_make_one_weight(case):
    names, sides, way = PARTS[case]
    owner = word()
    listed = [tensor(f"{owner}.{name}", *shape) for name, shape in zip(names, sides, strict=True)]  # type: ignore[call-overload]  # the argument is one of several words
    chosen = select([*listed, *layer(16, 8, 3, 3)])
    assert [each.computation and each.computation.way for each in chosen] == [way, None]
    assert chosen[0].name == f"{owner}.weight"


UNEXPLAINED: dict[str, dict[str, tuple[int, ...]]] = {
    "an equalised learning rate": {"weight_orig": (8, 16, 3, 3)},
    "no parts beside": {"parametrizations.weight.original": (8, 16, 3, 3)},
    "a class of its own": {"parametrizations.weight.original": (8, 16, 3, 3), "parametrizations.weight.0.gain": (8,)},
    "two parts, one of them a vector": {
        "parametrizations.weight.original0": (8, 16, 3, 3),
        "parametrizations.weight.original1": (8,),
    },
    "two parts of one shape": {
        "parametrizations.weight.original0": (8, 16, 3, 3),
        "parametrizations.weight.original1": (8, 16, 3, 3),
    },
    "a length of two axes": {"weight_g": (8, 16), "weight_v": (8, 16, 3, 3)},
    "a length of other sides": {"weight_g": (4, 1, 1, 1), "weight_v": (8, 16, 3, 3)},
    "a mask and vectors": {
        "weight_orig": (8, 16, 3, 3),
        "weight_mask": (8, 16, 3, 3),
        "weight_u": (8,),
        "weight_v": (144,),
    },
}


@pytest.mark.parametrize("case", UNEXPLAINED)
def test_unexplained_parts_affect_only_their_layer(case):
    owner = word()
    listed = [tensor(f"{owner}.{name}", *sides) for name, sides in UNEXPLAINED[case].items()]
    found = selection([*STEM, *listed, *layer(4, 8, 3, 3)])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3), (4, 8, 3, 3)]
    assert [(left.name, left.reason) for left in found.left_out] == [(f"{owner}.weight", "unsupported")]
    assert "in parts" in found.left_out[0].detail
    assert [depth for depth, _, _ in depths(found.convolutions)] == [0, 2]


def test_a_pruned_unknown_part_leaves_weight_norm_beside_it():
    names = {"k.weight_g": (8, 1, 1, 1), "k.weight_v": (8, 16, 3, 3), "q.weight_orig": (4, 8, 3, 3)}
    found = selection([*STEM, *(tensor(name, *sides) for name, sides in names.items())])
    assert [each.computation is not None for each in found.convolutions] == [False, True]
    assert [left.name for left in found.left_out] == ["q.weight"]


SPARSE: dict[str, list[tuple[int, ...]]] = {
    "three outputs": [(27, 3, 32), (27, 32, 3)],
    "kernels of 3 and 2": [(27, 4, 32), (27, 32, 4), (8, 4, 2)],
    "the last one first": [(8, 32, 3), (27, 32, 32), (125, 3, 32)],
}


@pytest.mark.parametrize("case", SPARSE)
def test_sparse_kernels_over_positions_are_no_1d_convolutions(case):
    found = selection([*STEM, *(tensor(f"{word()}.kernel", *sides) for sides in SPARSE[case])])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3)]
    assert found.words() == f"{len(SPARSE[case])} undecided"


def test_a_file_of_sparse_kernels_alone_is_refused():
    listed = [tensor(f"{word()}.kernel", *sides) for sides in SPARSE["three outputs"]]
    with pytest.raises(Refused, match="2 of its 2 arrays may be convolution weights or not"):
        refuse_undecided(selection(listed), len(listed))


def test_1d_convolutions_with_as_many_outputs_as_a_cube_stay():
    chain = [layer(27, 3, 3), layer(27, 27, 3), layer(8, 27, 3, bias=(8,)), layer(64, 8, 5)]
    assert shapes(*chain) == [(27, 3, 3), (27, 27, 3), (8, 27, 3), (64, 8, 5)]


DENSE = [layer(128, 64, 3, 3), layer(10, 128, 1, 1, bias=(10,))]
SPARSE_PLANES: dict[str, tuple[Layout, list[list[Tensor]]]] = {
    "spconv 2": (Layout.O_K_I, [layer(32, 3, 3, 32), layer(64, 1, 1, 32), layer(64, 3, 3, 64)]),
    "spconv 1": (Layout.K_IO, [layer(3, 3, 32, 32), layer(1, 1, 32, 64), layer(3, 3, 64, 64)]),
    "one that reads what another gives": (Layout.O_K_I, [layer(64, 3, 3, 10)]),
    "volumes": (Layout.O_K_I, [layer(16, 3, 3, 3, 4), layer(32, 1, 3, 3, 16), layer(32, 3, 3, 3, 32)]),
}


@pytest.mark.parametrize("case", SPARSE_PLANES)
def test_a_sparse_backbone_beside_dense_layers_has_its_own_order_of_axes(case):
    layout, sparse = SPARSE_PLANES[case]
    dense = [layer(64, 32, 3, 3, 3), *DENSE] if case == "volumes" else DENSE
    found = select([each for made in (*sparse, *dense) for each in made])
    assert [each.layout for each in found] == [layout] * len(sparse) + [Layout.OI_K] * len(dense)
    assert {each.evidence for each in found[: len(sparse)]} == {Evidence.SHAPES}


@pytest.mark.parametrize(
    "made",
    [
        layer(16, 3, 3, 4),
        layer(100, 1, 3, 300, bias=(100,)),
        layer(8, 1, 1, 64),
        layer(40, 40, 22, 1),
        layer(768, 3, 32, 32),
        layer(3, 3, 10, 4, strides=(120, 40, 1, 10)),
    ],
    ids=lambda made: str(made[0].shape),
)
def test_dense_kernels_of_odd_sides_stay_dense(made):
    """Words of 300 numbers, electrodes, spectrograms: long kernels over few inputs; views, which spconv never saves."""
    assert [each.layout for each in select([*made, *(each for one in DENSE for each in one)])] == [Layout.OI_K] * 3


BODY = [layer(32, 3, 3, 3, bias=(32,)), layer(64, 32, 3, 3, bias=(64,))]


@pytest.mark.parametrize(
    "other",
    [
        layer(32, 32, 16, 9, 2),
        layer(10, 1152, 8, 16),
        layer(36, 64, 32, 3, 3),
        layer(512, 2, 2),
        layer(64, 3, 3),
        layer(2, 5, 3, bias=(2,)),
    ],
    ids=["spectral weights", "capsules", "unshared", "a norm over 2x2", "a norm over 3x3", "bilinear"],
)
def test_odd_shapes_that_connect_to_nothing_are_undecided(other):
    found = selection([each for made in (*BODY, other) for each in made])
    assert [each.shape for each in found.convolutions] == [(32, 3, 3, 3), (64, 32, 3, 3)]
    assert found.words() == "1 undecided"


@pytest.mark.parametrize(
    "other",
    [
        layer(64, 1, 20, 8, bias=(64,)),
        [*layer(32, 1, 41, 11), tensor(f"{word()}.weight", 32)],
        layer(64, 64, 10, 4),
        layer(768, 3, 2, 16, 16, bias=(768,)),
        layer(64, 64, 3),
        layer(128, 96, 3),
        layer(16, 2, 5, bias=(16,)),
        layer(1, 1, 3),
    ],
    ids=["key words", "spectrogram", "reads 64", "tubes", "1-D", "1-D of 64 and 32", "1-D over two", "ECA"],
)
def test_odd_shapes_that_connect_are_layers(other):
    found = selection([each for made in (*BODY, other) for each in made])
    assert other[0].name in {each.name for each in found.convolutions}


def test_what_has_a_number_for_each_of_a_weights_beside_it_is_none():
    """The mask of PixelCNN's layers, scores of pruning."""
    made = layer(16, 32, 3, 3)
    beside = tensor(made[0].name.replace("weight", word()), 16, 32, 3, 3)
    found = selection([*BODY[0], *made, beside])
    assert [each.name for each in found.convolutions] == [BODY[0][0].name, made[0].name]
    assert found.words() == "1 no weight"


def test_uneven_kernels_read_the_input_where_nothing_else_does():
    """DeepSpeech 2 without biases, sorted by name."""
    listed = [tensor("a.weight", 32, 1, 41, 11), tensor("b.weight", 32, 32, 21, 11), tensor("c.weight", 96, 32, 3, 3)]
    assert len(select(listed)) == 3


def test_stacked_attention_without_biases_is_no_kernel_of_12x768():
    """big_vision's layers under nn.scan: (layers, width, heads, head width)."""
    block = word()
    listed = [
        tensor("embedding/kernel", 16, 16, 3, 192, layout=Layout.OPEN),
        tensor(f"{block}/query/kernel", 12, 192, 3, 64, layout=Layout.OPEN),
        tensor(f"{block}/out/kernel", 12, 3, 64, 192, layout=Layout.OPEN),
    ]
    assert [(each.name, each.layout) for each in select(listed)] == [("embedding/kernel", Layout.K_IO)]


def test_attention_kernels_of_rank_3_do_not_outvote_a_convolution():
    heads = [tensor(f"{word()}/kernel", 64, 8, 8, layout=Layout.OPEN) for _ in range(4)]
    joined = tensor(f"{word()}/kernel", 64, 3, 3, 64, layout=Layout.OPEN)
    (found,) = select([tensor("conv/kernel", 3, 3, 64, 64, layout=Layout.OPEN), *heads, joined])
    assert (found.name, found.layout) == ("conv/kernel", Layout.K_IO)


Parts = list[tuple[str, tuple[int, ...]]]
ALONE: dict[str, Parts] = {
    "PEFT": [("conv.lora_A.default.weight", (4, 8, 3, 3)), ("conv.lora_B.default.weight", (16, 4, 1, 1))],
    "diffusers": [("unet.conv.lora.down.weight", (4, 8, 3, 3)), ("unet.conv.lora.up.weight", (16, 4, 1, 1))],
    "kohya": [("lora_unet_conv.lora_down.weight", (4, 8, 3, 3)), ("lora_unet_conv.lora_up.weight", (16, 4, 1, 1))],
    "Tucker": [("lora_unet_conv.lora_mid.weight", (4, 4, 3, 3))],
    "LoHa": [("lora_unet_conv.hada_t1", (4, 4, 3, 3)), ("lora_unet_conv.hada_w1_a", (4, 16))],
    "LoKr": [("lora_unet_conv.lokr_w2", (4, 8, 3, 3)), ("lora_unet_conv.lokr_w1", (4, 4))],
    "a difference": [("lora_unet_conv.diff", (16, 8, 3, 3))],
    "IA3": [("conv.ia3_l.default", (1, 16, 1, 1))],
}
MATRICES: dict[str, Parts] = {
    "linear layers": [("q.lora_A.weight", (4, 64)), ("q.lora_B.weight", (64, 4))],
    "LoHa": [("lora_unet_conv.hada_w1_a", (16, 4)), ("lora_unet_conv.hada_w1_b", (4, 72))],
}
WITH_WEIGHT: dict[str, tuple[str, Parts]] = {
    "PEFT": ("net.conv.base_layer.weight", [("net.conv.lora_A.a.weight", (4, 8, 3, 3))]),
    "PEFT beside plain weights": ("conv.weight", [("base_model.model.conv.lora_A.weight", (4, 8, 3, 3))]),
    "IA3": ("conv.base_layer.weight", [("conv.ia3_l.default", (1, 16, 1, 1))]),
    "loralib": ("net.conv.conv.weight", [("net.conv.lora_A", (12, 24)), ("net.conv.lora_B", (48, 12))]),
    "loralib, itself the layer": ("conv.weight", [("conv.lora_A", (12, 24)), ("conv.lora_B", (48, 12))]),
    "kohya": ("model.diffusion.in.0.conv.weight", [("lora_unet_in_0_conv.lora_down.weight", (4, 8, 3, 3))]),
    "LoHa of matrices": ("conv.weight", [("conv.hada_w1_a", (16, 4)), ("conv.hada_w1_b", (4, 72))]),
    "OFT": ("conv.base_layer.weight", [("conv.oft_R.default.weight", (9, 8, 8))]),
}


def of_parts(parts: Parts) -> list[Tensor]:
    return [tensor(name, *shape) for name, shape in parts]


@pytest.mark.parametrize("case", ALONE)
def test_an_adapter_without_its_weight_in_the_file_is_left_out(case):
    found = selection([*STEM, *of_parts(ALONE[case])])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3)]
    assert [(left.name, left.reason) for left in found.left_out] == [(ALONE[case][0][0], "unsupported")]
    assert "whose weight is in another file" in found.left_out[0].detail
    assert found.words() == f"{sum(len(shape) == 4 for _, shape in ALONE[case])} adapter"
    alone = selection(of_parts(ALONE[case]))
    assert (alone.convolutions, alone.left_out) == ((), found.left_out)


@pytest.mark.parametrize("case", MATRICES)
def test_an_adapter_of_matrices_alone_is_refused_by_name(case):
    with pytest.raises(Refused, match="an adapter") as caught:
        select(of_parts(MATRICES[case]))
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("case", WITH_WEIGHT)
def test_the_weight_that_an_adapter_changes_is_left_out_and_no_other(case):
    name, parts = WITH_WEIGHT[case]
    found = selection([*STEM, tensor(name, 16, 16, 3, 3), *of_parts(parts), tensor("head.weight", 8, 16, 3, 3)])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3), (8, 16, 3, 3)]
    assert [left.name for left in found.left_out] == [name]
    assert "that an adapter in the file changes" in found.left_out[0].detail
    assert [place for place, _, _ in depths(found.convolutions)] == [0, 2]


def test_a_stack_of_rotations_of_a_linear_layer_costs_no_convolution():
    listed = [tensor("q.base_layer.weight", 64, 64), tensor("q.oft_R.default.weight", 8, 8, 8)]
    found = selection([*STEM, *listed])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3)]
    assert (found.left_out, found.words()) == ((), "1 adapter")


def test_adapters_of_linear_layers_do_not_cost_the_convolutions():
    assert shapes(STEM, [tensor("q.lora_A.weight", 4, 64), tensor("q.lora_B.weight", 64, 4)]) == [(16, 3, 3, 3)]


def test_spectral_norm_along_the_second_axis_shows_a_transposed_layer():
    names = {"weight_orig": (8, 3, 2, 2), "weight_u": (3,), "weight_v": (32,)}
    (chosen,) = select([tensor(f"zq.{name}", *sides) for name, sides in names.items()])
    assert (chosen.convolution.kind, chosen.layout) == (Kind.TRANSPOSED, Layout.IO_K)


@pytest.mark.parametrize("dtype", ["I8", "F8_E4M3"])
@pytest.mark.parametrize("name", ["weight_scale", "weight_scale_inv", "scale_weight", "scale", "weight.scale", "SCB"])
@pytest.mark.parametrize("shape", [(), (1,), (8,), (8, 1, 1, 1), (4, 3, 3, 3)])
def test_scales_beside_8_bit_weights(dtype, name, shape):
    owner = word()
    (chosen,) = select([tensor(f"{owner}.weight", 8, 3, 3, 3, dtype=dtype), tensor(f"{owner}.{name}", *shape)])
    assert chosen.computation.way is Way.SCALE
    assert chosen.computation.step is Step.MULTIPLY


def test_two_scales_affect_only_their_layer():
    owner = word()
    listed = [tensor(f"{owner}.{name}", 8) for name in ("weight_scale", "scale_b")]
    found = selection([*STEM, tensor(f"{owner}.weight", 8, 16, 3, 3, dtype="I8"), *listed])
    assert [each.shape for each in found.convolutions] == [(16, 3, 3, 3)]
    assert [(left.name, left.detail) for left in found.left_out] == [
        (f"{owner}.weight", "an 8-bit weight with more than one scale")
    ]


@pytest.mark.parametrize(("heads", "width", "outputs"), [(4, 8, 32), (4, 8, 16), (2, 3, 5)])
def test_attention_whose_heads_are_wider_than_its_outputs(heads, width, outputs):
    block = word()
    inner = {"kernel": (outputs, heads, width), "bias": (heads, width)}
    listed = [
        tensor(f"{block}.{part}.{name}", *sides, layout=Layout.K_IO)
        for part in (word(), word())
        for name, sides in inner.items()
    ]
    last = word()
    listed += [tensor(f"{block}.{last}.kernel", heads, width, outputs, layout=Layout.K_IO)]
    listed += [tensor(f"{block}.{last}.bias", outputs), tensor("stem.kernel", 3, 3, 3, outputs, layout=Layout.K_IO)]
    found = selection(listed, "flax")
    assert [each.name for each in found.convolutions] == ["stem.kernel"]
    assert found.words() == "3 stacked"


def test_a_file_of_undecided_arrays_is_no_silent_zero():
    listed = layer(27, 3, 32)
    with pytest.raises(Refused, match="nothing in the file decides"):
        refuse_undecided(selection(listed), len(listed))
    refuse_undecided(selection([*listed, *STEM]), 3)


def test_what_a_graph_or_a_module_says_is_kept():
    known = Convolution(kind=Kind.GROUPED, context=Context.GRAPH, groups=4)
    (chosen,) = select(layer(8, 3, 3, 3, convolution=known))
    assert (chosen.convolution, chosen.evidence) == (known, None)
    (chosen,) = select(layer(8, 3, 3, 3, convolution=Convolution(kind=Kind.CONV, context=Context.DECLARED)))
    assert chosen.evidence is Evidence.CONFIG


def test_many_8_bit_weights_cost_little():
    listed = [tensor(f"a{number}.weight", 2, 2, 3, 3, dtype="I8") for number in range(20_000)]
    started = time.process_time()
    assert selection(listed).words() == "20000 numbers"
    assert time.process_time() - started < 5


@pytest.mark.parametrize("reverse", [False, True])
def test_a_depthwise_layer_between_linear_layers_of_one_module(reverse):
    """State space models have no convolution that reads the input; the order of the file does not matter."""
    block, parts = word(), {"b": (64, 1, 4), "c": (128, 32), "d": (32, 64)}
    listed = [tensor(f"{block}.{number}.{part}.weight", *parts[part]) for number in range(3) for part in parts]
    found = selection(listed[::-1] if reverse else listed).convolutions
    told = [(each.convolution.kind, each.evidence) for each in found if each.convolution]
    assert told == [(Kind.DEPTHWISE, Evidence.SHAPES)] * 3


def test_a_single_layer_of_one_input_that_a_matrix_reads_is_assumed():
    """With its bytes, as every real file has them."""
    only = tensor(f"{word()}.weight", 16, 1, 3, span=Span(0, 192))
    (found,) = selection([only, tensor(f"{word()}.weight", 8, 16, span=Span(192, 512))]).convolutions
    assert found.evidence is Evidence.ASSUMED
    (found,) = selection([only, tensor(f"{word()}.weight", 8, 12, span=Span(192, 384))]).convolutions
    assert found.evidence is not Evidence.ASSUMED


def test_doubts_about_one_input_do_not_depend_on_bytes():
    """In the order of names either of two layers of one input may read the input, whether they have bytes or not."""
    parts = {"a": (8, 1, 3, 3), "b": (8, 1, 5, 5), "c": (16, 8, 3, 3)}
    without = [tensor(f"{name}.weight", *sides) for name, sides in parts.items()]
    with_bytes = [replace(one, span=Span(10_000 * place, 9)) for place, one in enumerate(without)]
    told = [[each.evidence for each in selection(listed).convolutions] for listed in (without, with_bytes)]
    assert told[0] == told[1]
    assert Evidence.ASSUMED in told[1]


def test_a_transposed_layer_of_rank_3_as_long_as_it_gives():
    """Its bias tells it from matrices, and its neighbour is no result of attention."""
    listed = [*layer(8, 3, 3, bias=(8,)), tensor("1.weight", 8, 4, 4), tensor("1.bias", 4)]
    listed += [tensor("2.weight", 4, 4, 3), tensor("2.bias", 4)]
    found = selection(listed).convolutions
    assert [each.shape for each in found] == [(8, 3, 3), (8, 4, 4), (4, 4, 3)]
    assert found[1].convolution is not None
    assert found[1].convolution.kind is Kind.TRANSPOSED
