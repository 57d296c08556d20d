from __future__ import annotations

import random
from math import inf

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, NodeProto, helper
from onnx.inliner import inline_local_functions
from tests.plugins.formats.onnx_files import WEIGHT, layers_of, model_of, stored, value

IMPORTS = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]


def found(model: ModelProto) -> list[tuple[str, int]]:
    """(weight, depth) of each layer."""
    return [(tensor.name, tensor.convolution.depth) for tensor in layers_of(model.SerializeToString())]


def longest_paths(model: ModelProto) -> list[tuple[str, int]]:
    """The same for a model without bodies, from the end to the inputs and not from the inputs to the end."""
    producers = {name: node for node in model.graph.node for name in node.output}
    inputs = {entry.name for entry in model.graph.input} - {array.name for array in model.graph.initializer}
    known = dict.fromkeys(inputs, 0)

    def depth(name: str) -> float:
        if name not in known:
            node = producers.get(name)
            known[name] = 1 + max((depth(n) for n in node.input if n), default=-inf) if node else -inf  # type: ignore[assignment]  # another type on purpose
        return known[name]

    return [(node.input[1], int(depth(node.output[0]))) for node in model.graph.node if node.op_type == "Conv"]


def conv(source: str, target: str, weight: str = "w") -> NodeProto:
    return helper.make_node("Conv", [source, weight], [target])


def random_model(seed: int) -> ModelProto:
    """Chains, branches, joins, constants on the way and convolutions, as they come."""
    numbers = random.Random(seed)
    names, nodes = ["x", "second input"], []
    for place in range(40):
        sources = numbers.sample(names, k=min(len(names), numbers.randint(1, 3)))
        kind = numbers.choice(["conv", "join", "join with a constant", "Constant"])
        if kind == "conv":
            nodes.append(conv(sources[0], f"v{place}"))
        elif kind == "Constant":
            nodes.append(helper.make_node("Constant", [], [f"v{place}"], value_float=1.0))
            continue
        else:
            constants = [n.output[0] for n in nodes if n.op_type == "Constant"][-1:] if "constant" in kind else []
            nodes.append(helper.make_node("Sum", [*sources, *constants], [f"v{place}"]))
        names.append(f"v{place}")
    return model_of(nodes, [stored("w", WEIGHT)], inputs=("x", "second input"), outputs=(names[-1],))


@pytest.mark.parametrize("seed", range(20))
def test_depth_is_the_longest_path_from_an_input(seed):
    model = random_model(seed)
    assert found(model) == longest_paths(model) != []


def test_a_residual_block_is_as_deep_as_its_longer_arm():
    nodes = [
        conv("x", "a", "stem"),
        conv("a", "b", "arm 1"),
        conv("b", "c", "arm 2"),
        conv("a", "s", "shortcut"),
        helper.make_node("Add", ["c", "s"], ["d"]),
        conv("d", "y", "head"),
    ]
    model = model_of(nodes, [stored(name, WEIGHT) for name in ("stem", "arm 1", "arm 2", "shortcut", "head")])
    expected = [("stem", 1), ("arm 1", 2), ("arm 2", 3), ("shortcut", 2), ("head", 5)]
    assert found(model) == longest_paths(model) == expected


def test_a_convolution_that_no_input_reaches_counts_from_its_constant():
    nodes = [helper.make_node("Relu", ["w"], ["a"]), conv("a", "b"), helper.make_node("Add", ["b", "x"], ["y"])]
    assert found(model_of(nodes, [stored("w", WEIGHT)])) == [("w", 2)]


def body(nodes: list[NodeProto], inputs: list[str], outputs: list[str], arrays: list | None = None):
    return helper.make_graph(nodes, "body", [value(n) for n in inputs], [value(n) for n in outputs], arrays or [])


def test_bodies_of_if_stand_in_the_place_of_their_node():
    inner = body([conv("a", "i1", "inner"), conv("i1", "i2", "outer")], [], ["i2"], [stored("inner", WEIGHT)])
    other = body([helper.make_node("Identity", ["a"], ["o"])], [], ["o"])
    nodes = [
        conv("x", "a", "first"),
        helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=other),
        conv("b", "y", "last"),
    ]
    model = model_of(nodes, [stored(n, WEIGHT) for n in ("first", "outer", "last")], inputs=("x", "c"))
    assert found(model) == [("first", 1), ("inner", 2), ("outer", 3), ("last", 4)]


def test_a_body_starts_no_higher_than_its_node():
    condition = [helper.make_node("Not", ["c"], ["c1"]), helper.make_node("Not", ["c1"], ["c2"])]
    branch = body([conv("x", "i")], [], ["i"])
    nodes = [*condition, helper.make_node("If", ["c2"], ["y"], then_branch=branch, else_branch=branch)]
    assert found(model_of(nodes, [stored("w", WEIGHT)], inputs=("x", "c"))) == [("w", 3), ("w", 3)]


def test_bodies_of_loop_and_scan_continue_from_their_inputs():
    loop = body(
        [conv("state", "next"), helper.make_node("Identity", ["go"], ["go on"])],
        ["n", "go", "state"],
        ["go on", "next"],
    )
    scan = body([conv("slice", "out", "w")], ["slice"], ["out"])
    nodes = [
        conv("x", "a", "first"),
        helper.make_node("Loop", ["", "", "a"], ["b"], body=loop),
        conv("b", "c", "middle"),
        helper.make_node("Scan", ["c"], ["d"], body=scan, num_scan_inputs=1),
        conv("d", "y", "last"),
    ]
    model = model_of(nodes, [stored(n, WEIGHT) for n in ("first", "w", "middle", "last")])
    assert found(model) == [("first", 1), ("w", 2), ("middle", 3), ("w", 4), ("last", 5)]


def test_bodies_in_bodies_see_the_names_around_them():
    innermost = body([conv("a", "deep", "v")], [], ["deep"])
    outer = body(
        [helper.make_node("If", ["c"], ["d"], then_branch=innermost, else_branch=innermost)],
        [],
        ["d"],
        [stored("v", WEIGHT)],
    )
    nodes = [conv("x", "a"), helper.make_node("If", ["c"], ["y"], then_branch=outer, else_branch=outer)]
    model = model_of(nodes, [stored("w", WEIGHT)], inputs=("x", "c"))
    assert found(model) == [("w", 1), ("v", 2), ("v", 2), ("v", 2), ("v", 2)]


def functions() -> ModelProto:
    """A block of two convolutions and a shortcut that calls another function, used twice with other weights."""
    double = helper.make_function(
        "own", "Double", ["a", "k"], ["b"], [conv("a", "m", "k"), helper.make_node("Relu", ["m"], ["b"])], IMPORTS
    )
    block = helper.make_function(
        "own",
        "Block",
        ["a", "k1", "k2"],
        ["out"],
        [
            helper.make_node("Double", ["a", "k1"], ["h"], domain="own"),
            conv("h", "g", "k2"),
            helper.make_node("Add", ["g", "a"], ["out"]),
        ],
        IMPORTS,
    )
    nodes = [
        helper.make_node("Block", ["x", "w1", "w2"], ["p"], domain="own"),
        conv("p", "q", "w3"),
        helper.make_node("Block", ["q", "w3", "w1"], ["y"], domain="own"),
    ]
    arrays = [stored(f"w{n}", WEIGHT * n) for n in (1, 2, 3)]
    return model_of(nodes, arrays, functions=[block, double], opset_imports=IMPORTS)


def test_functions_count_as_if_they_stood_in_the_graph():
    model = functions()
    flat = inline_local_functions(model)
    assert not flat.functions
    assert found(model) == longest_paths(flat)
    assert [name for name, _ in found(model)] == ["w1", "w2", "w3", "w3", "w1"]


def test_attributes_of_a_call_reach_the_convolution():
    node = helper.make_node("Conv", ["a", "k"], ["b"])
    for mine, its in (("strides", "step"), ("dilations", "gap"), ("pads", "never given")):
        kind = AttributeProto.INTS
        node.attribute.append(AttributeProto(name=mine, ref_attr_name=its, type=kind))
    function = helper.make_function(
        "own", "F", ["a", "k"], ["b"], [node], IMPORTS, ["step", "never given"], [helper.make_attribute("gap", [3, 3])]
    )
    call = helper.make_node("F", ["x", "w"], ["y"], domain="own", step=[2, 5])
    model = model_of([call], [stored("w", WEIGHT)], functions=[function], opset_imports=IMPORTS)
    (layer,) = layers_of(model.SerializeToString())
    found_ = layer.convolution
    assert (found_.stride, found_.dilation, found_.padding) == ((2, 5), (3, 3), (0, 0, 0, 0))


def test_weights_inside_functions_are_listed_once_and_read_at_each_call():
    constant = helper.make_node("Constant", [], ["k"], value=stored("", WEIGHT))
    function = helper.make_function("own", "F", ["a"], ["b"], [constant, conv("a", "b", "k")], IMPORTS)
    calls = [helper.make_node("F", [a], [b], domain="own") for a, b in (("x", "m"), ("m", "y"))]
    model = model_of(calls, functions=[function], opset_imports=IMPORTS)
    assert found(model) == [("k", 1), ("k", 2)]


def test_layers_keep_the_order_of_the_nodes():
    arrays = [stored(f"w{n}", np.full((1, 1, 1, 1), n, "f4")) for n in range(20)]
    order = random.Random(0).sample(range(20), 20)
    nodes = [conv("x", f"y{n}", f"w{n}") for n in order]
    model = model_of(nodes, arrays, outputs=tuple(f"y{n}" for n in order))
    assert [name for name, _ in found(model)] == [f"w{n}" for n in order]
