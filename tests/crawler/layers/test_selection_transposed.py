"""Transposed convolutions: what may tell one, and in which order each framework writes its channels."""

from __future__ import annotations

from typing import Any

import pytest

from filterzoo.layers.selection import select
from filterzoo.records import Evidence, Kind, Layout, Span, Tensor


def tensor(name: str, *shape: int, **fields: Any) -> Tensor:
    plain: dict[str, Any] = {"name": name, "dtype": "F32", "shape": shape, "span": Span(0, 0)}
    return Tensor(**(plain | fields))


def norm(name: str, length: int) -> list[Tensor]:
    return [tensor(f"{name}.weight", length), tensor(f"{name}.bias", length)]


def told(listed: list[Tensor], framework: str | None = None) -> list[tuple[Kind, Layout, Evidence | None]]:
    chosen = select(listed, framework)
    return [(each.convolution.kind, each.layout, each.evidence) for each in chosen if each.convolution is not None]


@pytest.mark.parametrize("layout", [Layout.OI_K, Layout.OPEN])
@pytest.mark.parametrize("channels", [(4, 3), (64, 32), (32, 64)])
def test_two_equal_weights_in_a_row_are_no_evidence(layout, channels):
    listed = [tensor(f"{name}.weight", *channels, 2, 2, layout=layout) for name in "ab"]
    assert told(listed)[1] == (Kind.CONV, Layout.OI_K, Evidence.ASSUMED)


def test_an_even_kernel_alone_is_no_evidence():
    listed = [tensor("a.weight", 16, 3, 3, 3), tensor("b.weight", 48, 24, 2, 2)]
    assert told(listed)[1] == (Kind.CONV, Layout.OI_K, Evidence.ASSUMED)


def test_a_norm_behind_and_an_even_kernel_are():
    listed = [tensor("c.weight", 48, 3, 3, 3), tensor("b.weight", 48, 24, 2, 2), tensor("a.weight", 24)]
    assert told(listed)[1] == (Kind.TRANSPOSED, Layout.IO_K, Evidence.SHAPES)


def test_a_chain_of_transposed_layers_is():
    """nnU-Net 1 keeps its transposed convolutions in one list, without biases or norms."""
    sides = [(320, 256), (256, 128), (128, 64)]
    listed = [tensor("up.weight", 320, 320, 3, 3), *(tensor(f"tu.{n}.weight", *io, 2, 2) for n, io in enumerate(sides))]
    assert told(listed)[1:] == [(Kind.TRANSPOSED, Layout.IO_K, Evidence.SHAPES)] * 3


def test_a_generator_in_front_of_its_discriminator():
    """The last weight of one and the first of the other are alike: (64, 3, 4, 4)."""
    listed = [tensor("G.0.weight", 100, 128, 4, 4), *norm("G.1", 128)]
    listed += [tensor("G.3.weight", 128, 64, 4, 4), *norm("G.4", 64), tensor("G.6.weight", 64, 3, 4, 4)]
    listed += [tensor("D.0.weight", 64, 3, 4, 4), tensor("D.2.weight", 128, 64, 4, 4), *norm("D.3", 128)]
    found = told(listed)
    assert [kind for kind, _, _ in found] == [Kind.TRANSPOSED] * 3 + [Kind.CONV] * 2
    assert found[3][2] is Evidence.ASSUMED
    assert [found[place][2] for place in (2, 4)] == [Evidence.SHAPES, Evidence.FORMAT]


def test_a_generator_of_one_channel_has_no_stem():
    listed = [tensor("0.weight", 100, 128, 4, 4), *norm("1", 128)]
    listed += [tensor("3.weight", 128, 64, 4, 4), *norm("4", 64), tensor("6.weight", 64, 1, 4, 4)]
    assert told(listed)[2] == (Kind.TRANSPOSED, Layout.IO_K, Evidence.SHAPES)


def test_a_bias_of_one_number_shows_a_transposed_layer_with_one_output():
    listed = [tensor("a.weight", 64, 3, 3, 3), tensor("b.weight", 64, 1, 4, 4), tensor("b.bias", 1)]
    listed.append(tensor("c.weight", 8, 64, 1, 1))
    assert told(listed)[1] == (Kind.TRANSPOSED, Layout.IO_K, Evidence.SHAPES)


CALLED = ("decoder/up_1", "deconv", "Upsample_0/ConvTranspose_0", "conv2d_transpose_1")


@pytest.mark.parametrize("name", CALLED)
@pytest.mark.parametrize("bias", [None, 32])
def test_flax_keeps_the_order_whatever_the_name(name, bias):
    listed = [tensor("stem/kernel", 3, 3, 3, 64, layout=Layout.K_IO)]
    listed.append(tensor(f"{name}/kernel", 2, 2, 64, 32, layout=Layout.K_IO))
    listed += [] if bias is None else [tensor(f"{name}/bias", bias)]
    assert told(listed, "flax")[1] == (Kind.TRANSPOSED, Layout.K_IO, Evidence.NAME)


def test_flax_with_transpose_kernel_is_recognised_by_its_bias():
    listed = [tensor("a/kernel", 2, 2, 32, 64, layout=Layout.K_IO), tensor("a/bias", 32)]
    assert told(listed, "flax") == [(Kind.TRANSPOSED, Layout.K_OI, Evidence.SHAPES)]


def test_flax_without_a_descriptive_name_is_assumed():
    listed = [tensor("a/kernel", 2, 2, 64, 32, layout=Layout.K_IO), tensor("a/bias", 32)]
    assert told(listed, "flax") == [(Kind.CONV, Layout.K_IO, Evidence.ASSUMED)]


@pytest.mark.parametrize("framework", ["keras", "tensorflow"])
@pytest.mark.parametrize("name", ["deconv", "decoder/up_1", "conv2d_transpose_1"])
@pytest.mark.parametrize("sides", [(32, 64), (64, 64)])
def test_keras_and_tensorflow_have_the_outputs_first(framework, name, sides):
    listed = [tensor(f"{name}/kernel", 2, 2, *sides, layout=Layout.K_IO), tensor(f"{name}/bias", sides[0])]
    kind, layout, _ = told(listed, framework)[0]
    assert (kind, layout) == (Kind.TRANSPOSED, Layout.K_OI)


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("generator/~/conv2_d_transpose/w", Evidence.NAME),
        ("conv2d_transpose/kernel:0", Evidence.NAME),
        ("up_1/kernel", Evidence.ASSUMED),
        ("deconv/w", Evidence.ASSUMED),
    ],
)
def test_without_a_framework_only_its_name_of_the_class_decides_the_order(name, evidence):
    stem = tensor("conv/w", 3, 3, 3, 16, layout=Layout.OPEN)
    listed = [stem, tensor(name, 2, 2, 32, 64, layout=Layout.OPEN)]
    assert told(listed, "numpy")[1] == (Kind.TRANSPOSED, Layout.K_OI, evidence)


def test_without_a_framework_the_class_name_of_flax_decides_its_order():
    stem = tensor("Conv_0/kernel", 3, 3, 3, 64, layout=Layout.OPEN)
    listed = [stem, tensor("ConvTranspose_0/kernel", 2, 2, 64, 32, layout=Layout.OPEN)]
    assert told(listed, "numpy")[1] == (Kind.TRANSPOSED, Layout.K_IO, Evidence.NAME)


def test_without_a_framework_a_bias_decides_the_order_and_the_name_the_kind():
    listed = [tensor("up/kernel", 2, 2, 64, 32, layout=Layout.OPEN), tensor("up/bias", 32)]
    assert told(listed, "numpy") == [(Kind.TRANSPOSED, Layout.K_IO, Evidence.NAME)]


@pytest.mark.parametrize("name", ["deconv", "up_1", "conv_transpose"])
def test_mlx_keeps_the_order(name):
    listed = [tensor(f"{name}.weight", 32, 2, 2, 64, layout=Layout.O_K_I), tensor(f"{name}.bias", 32)]
    assert told(listed, "mlx") == [(Kind.TRANSPOSED, Layout.O_K_I, Evidence.NAME)]


def decoder(last: str = "final.0") -> list[Tensor]:
    """The end of a VAE: transposed 3x3 layers by their biases, one that keeps its channels, one to colours."""
    widths = [("decoder.0", 128, 64), ("decoder.1", 64, 32)]
    listed = [t for name, i, o in widths for t in (tensor(f"{name}.weight", i, o, 3, 3), tensor(f"{name}.bias", o))]
    listed += [tensor(f"{last}.weight", 32, 32, 3, 3), tensor(f"{last}.bias", 32), *norm("final.1", 32)]
    return [*listed, tensor("final.3.weight", 3, 32, 3, 3), tensor("final.3.bias", 3)]


@pytest.mark.parametrize("is_sorted", [False, True])
def test_a_square_kernel_behind_transposed_ones_of_its_size_is_assumed(is_sorted):
    listed = sorted(decoder(), key=lambda each: each.name) if is_sorted else decoder()
    found = {each.name: (each.convolution.kind, each.evidence) for each in select(listed) if each.convolution}
    assert found["decoder.1.weight"] == (Kind.TRANSPOSED, Evidence.SHAPES)
    assert found["final.0.weight"] == (Kind.CONV, Evidence.ASSUMED)
    assert found["final.3.weight"][1] is not Evidence.ASSUMED


def test_its_name_decides_where_it_says_transposed():
    kinds = {
        each.name: (each.convolution.kind, each.evidence) for each in select(decoder("deconv")) if each.convolution
    }
    assert kinds["deconv.weight"] == (Kind.TRANSPOSED, Evidence.NAME)
