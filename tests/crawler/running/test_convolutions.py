"""`inspect --verify-onnx`: graphs are run where the user asks, beside the weights that are read, and only safe ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from filterzoo import cli
from filterzoo.commands import inspect as command
from filterzoo.commands import inspect_file
from filterzoo.commands.status import status
from filterzoo.errors import Reason, Refused
from filterzoo.layers.normalise import canonical
from filterzoo.running.convolutions import compare

RANDOM = np.random.default_rng(0)
WEIGHTS = {
    "first": RANDOM.normal(size=(8, 3, 3, 3)).astype(np.float32),
    "second": RANDOM.normal(size=(12, 4, 3, 3)).astype(np.float32),
    "third": RANDOM.normal(size=(6, 12, 1, 5)).astype(np.float32),
}


def graph(side: object = 17, domain: str = "", **changed) -> onnx.ModelProto:
    """Three convolutions: with a stride and a bias, in groups and dilated, padded as the input asks for."""
    arrays = [numpy_helper.from_array(array, name) for name, array in (WEIGHTS | changed).items()]
    arrays.append(numpy_helper.from_array(np.arange(8, dtype=np.float32), "bias"))
    nodes = [
        helper.make_node("Conv", ["x", "first", "bias"], ["a"], strides=[2, 2], pads=[1, 0, 1, 2]),
        helper.make_node("Relu", ["a"], ["b"], domain=domain),
        helper.make_node("Conv", ["b", "second"], ["c"], group=2, dilations=[2, 1], pads=[2, 1, 2, 1]),
        helper.make_node("Conv", ["c", "third"], ["d"], strides=[1, 2], auto_pad="SAME_UPPER"),
        helper.make_node("GlobalAveragePool", ["d"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, side, side])]  # type: ignore[list-item]  # one of several types
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_graph(nodes, "g", inputs, outputs, arrays)
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def run(path: Path, *arguments: str) -> tuple[int, list[dict], str]:
    ran = CliRunner().invoke(cli.build([command.inspect, status]), ["inspect", str(path), *arguments])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    documents = [json.loads(line) for line in ran.stdout.splitlines()] if "--json" in arguments else []
    return ran.exit_code, documents, ran.stdout


@pytest.mark.parametrize("side", [17, "height"])
def test_the_weights_that_are_read_are_those_the_graph_computes_with(side: object) -> None:
    found = compare(graph(side).SerializeToString(), WEIGHTS)
    assert [one.name for one in found] == ["first", "second", "third"]
    assert all(one.agrees for one in found)
    assert max(one.difference for one in found) < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda weights: weights[:, :, ::-1].copy(),
        lambda weights: weights.transpose(0, 1, 3, 2).copy(),
        lambda weights: weights[::-1].copy(),
        lambda weights: np.concatenate([weights[:-1], 1.05 * weights[-1:]]),
        lambda weights: weights * np.float32(0.97),
        lambda weights: weights[:, :2].copy(),
    ],
    ids=["turned", "transposed", "channels in another order", "one filter", "a scale", "another shape"],
)
def test_wrong_weights_are_found(wrong) -> None:
    found = compare(graph().SerializeToString(), WEIGHTS | {"first": wrong(WEIGHTS["first"])})
    assert [one.agrees for one in found] == [False, True, True]


def test_a_quantised_weight_is_compared_as_it_is_dequantised() -> None:
    whole = np.clip(np.round(WEIGHTS["first"] * 40), -127, 127).astype(np.int8)
    model = graph()
    del model.graph.initializer[0]
    scale, zero = np.float32(1 / 40), np.int8(0)
    for name, array in (("stored", whole), ("scale", scale), ("zero", zero)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
    node = helper.make_node("DequantizeLinear", ["stored", "scale", "zero"], ["first"])
    model.graph.node.insert(0, node)
    found = compare(model.SerializeToString(), {"stored": whole.astype(np.float32) / 40})  # type: ignore[dict-item]  # one of several types
    assert [(one.name, one.agrees) for one in found] == [("stored", True)]


def test_inspect_runs_a_graph_only_where_it_is_asked_to(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(graph(), path)
    with monkeypatch.context() as patch:
        patch.setattr("filterzoo.running.convolutions.session", lambda *_: pytest.fail("the graph was run"))
        code, (document,), _ = run(path, "--json")
        assert (code, "verified" in document) == (0, False)
        with pytest.raises(pytest.fail.Exception):
            run(path, "--json", "--verify-onnx")
    code, (document,), _ = run(path, "--json", "--verify-onnx")
    assert code == 0
    assert [one["agrees"] for one in document["verified"]] == [True] * 3
    _, _, shown = run(path, "--verify-onnx")
    assert "run in onnxruntime: first: as the graph computes" in shown
    _, _, told = run(path, "--help")
    assert "runs the file's graph in this process" in " ".join(told.replace("│", " ").split())


def test_inspect_ends_with_2_where_the_graph_computes_with_other_weights(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(graph(), path)
    monkeypatch.setattr(inspect_file, "canonical", lambda array, tensor: canonical(array, tensor)[::-1].copy())
    code, (document,), _ = run(path, "--json", "--verify-onnx")
    assert code == 2
    assert not any(one["agrees"] for one in document["verified"])
    assert "NOT WHAT THE GRAPH COMPUTES" in run(path, "--verify-onnx")[2]


def test_custom_operators_and_weights_in_other_files_are_never_run(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not one of ONNX") as refused:
        compare(graph(domain="their.domain").SerializeToString(), WEIGHTS)
    assert refused.value.reason is Reason.UNSUPPORTED
    model = graph()
    (tmp_path / "beside").write_bytes(WEIGHTS["first"].tobytes())
    stored = model.graph.initializer[0]
    stored.ClearField("raw_data")
    stored.data_location = TensorProto.EXTERNAL
    stored.external_data.add(key="location", value=str(tmp_path / "beside"))
    with pytest.raises(Refused, match="weights lie in another file"):
        compare(model.SerializeToString(), WEIGHTS)


@pytest.mark.parametrize(
    ("content", "detail"), [(b"\xff" * 40, "cannot parse"), (graph().SerializeToString(), "none was compared")]
)
def test_what_cannot_be_compared_is_refused(content: bytes, detail: str) -> None:
    with pytest.raises(Refused, match=detail):
        compare(content, {"other": WEIGHTS["first"]})
