"""A match with an architecture is exact in names and shapes, or there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from filterzoo.architectures.architecture import Architecture
from filterzoo.architectures.context import is_known, with_architecture
from filterzoo.records import Context, Convolution, Kind, Layout, Operation, Span, Tensor

GUESS = Convolution(kind=Kind.CONV, context=Context.DECLARED)
TRUTH = Convolution(kind=Kind.CONV, context=Context.ARCHITECTURE, groups=1, stride=(2, 2), depth=1)
UP = Convolution(kind=Kind.TRANSPOSED, context=Context.ARCHITECTURE, groups=1, stride=(2, 2), depth=3)
OPERATIONS = {"a.weight": Operation((4, 3, 3, 3), TRUTH), "up.weight": Operation((4, 4, 2, 2), UP)}


def file(prefix: str = "", **shapes: tuple[int, ...]) -> list[Tensor]:
    named = {"a": (4, 3, 3, 3), "up": (4, 4, 2, 2)} | shapes
    return [
        Tensor(name=f"{prefix}{name}.weight", dtype="F32", shape=shape, span=Span(0, 1), convolution=GUESS)
        for name, shape in named.items()
    ]


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module.model.", "net.backbone.module."])
def test_metadata_of_a_known_architecture_replace_inferred_metadata(prefix):
    told = with_architecture(file(prefix), [OPERATIONS]).tensors
    assert [tensor.convolution for tensor in told] == [TRUTH, UP]
    assert [tensor.layout for tensor in told] == [Layout.OI_K, Layout.IO_K]
    assert [tensor.name for tensor in told] == [tensor.name for tensor in file(prefix)]


def test_an_inferred_transposed_convolution_is_corrected():
    tensors = [replace(tensor, layout=Layout.IO_K) for tensor in file()]
    assert with_architecture(tensors, [OPERATIONS]).tensors[0].layout is Layout.OI_K


def test_a_prefix_that_belongs_to_the_names_stays():
    operations = {f"model.{name}": operation for name, operation in OPERATIONS.items()}
    assert with_architecture(file("module.model."), [operations]).tensors[0].convolution == TRUTH


@pytest.mark.parametrize(
    "tensors",
    [
        file(a=(4, 3, 3, 1)),
        file(other=(4, 3, 3, 3)),
        file()[:1],
        file("encoder."),
        [replace(file()[0], name="module.a.weight"), file()[1]],
        [replace(tensor, layout=Layout.K_IO) for tensor in file()],
        [*file(), file()[0]],
        [],
    ],
    ids=["shape", "one more", "one less", "prefix", "a prefix of one", "another framework", "twice", "nothing"],
)
def test_anything_else_is_left_as_it_is(tensors):
    assert with_architecture(tensors, [OPERATIONS]).tensors == tuple(tensors)
    assert with_architecture(tensors, [{}]).tensors == tuple(tensors)
    assert with_architecture(tensors, []).tensors == tuple(tensors)


def test_of_several_architectures_the_first_that_fits_counts():
    def architectures():
        yield {"other.weight": OPERATIONS["a.weight"]}
        yield OPERATIONS
        pytest.fail("one that is not needed was built")

    assert [tensor.convolution for tensor in with_architecture(file(), architectures()).tensors] == [TRUTH, UP]


def test_files_with_a_graph_need_no_architecture():
    graph = [replace(tensor, convolution=replace(GUESS, context=Context.GRAPH)) for tensor in file()]
    assert is_known(graph)
    assert is_known([])
    assert not is_known(file())


def test_functions_of_an_architecture_are_used_only_if_it_fits():
    known = Architecture(OPERATIONS)
    known.activation, known.pooling = "silu, sigmoid", "flc"
    described = with_architecture(file(), [known])
    assert (described.activation, described.pooling) == ("silu, sigmoid", "flc")
    other = with_architecture(file(a=(4, 3, 3, 1)), [known])
    assert (other.activation, other.pooling) == (None, None)
