"""One convolution that cannot be read costs itself: the others are rows, the model says `partial`, the ledger why."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from onnx import helper
from tests.plugins.formats.onnx_files import WEIGHT, model_of, stored
from tests.program import filterzoo
from tests.untrusted_files.reading import BytesFile, index

from filterzoo.errors import Reason, Refused
from filterzoo.layers.depth import depths


def chain(readable: str) -> bytes:
    """A convolution for each letter; the weight of one that is not `+` passes a sine."""
    nodes, arrays, previous = [], [], "x"
    for number, letter in enumerate(readable):
        weight = f"w{number}"
        arrays.append(stored(weight, WEIGHT[:3] * (number + 1)))
        if letter != "+":
            nodes.append(helper.make_node("Sin", [weight], [f"s{number}"]))
            weight = f"s{number}"
        nodes.append(helper.make_node("Conv", [previous, weight], [f"y{number}"], name=f"conv{number}"))
        previous = f"y{number}"
    return model_of(nodes, arrays, outputs=(previous,)).SerializeToString()


def test_the_others_are_read_at_their_own_depth():
    found = index(BytesFile(chain("+-+")), "m.onnx")
    assert [tensor.name for tensor in found.convolutions] == ["w0", "w2"]
    assert [(left.name, left.reason) for left in found.left_out] == [("'conv1'", "unsupported")]
    assert [(depth, norm) for depth, norm, _ in depths(found.convolutions)] == [(0, 0.0), (2, 1.0)]
    assert index(BytesFile(chain("+++")), "m.onnx").left_out == ()


def test_where_none_can_be_read_the_file_is_refused():
    with pytest.raises(Refused) as refused:
        index(BytesFile(chain("---")), "m.onnx")
    assert (refused.value.reason, refused.value.where) == (Reason.UNSUPPORTED, "'conv0'")


@pytest.mark.slow
def test_the_model_and_the_ledger_say_so(tmp_path):
    (tmp_path / "part.onnx").write_bytes(chain("+-+"))
    (tmp_path / "whole.onnx").write_bytes(chain("+++"))
    manifest = {"name": "n", "sources": [{"source": "local", "paths": ["*.onnx"], "license": "mit"}]}
    (tmp_path / "m.yaml").write_text(json.dumps(manifest))
    assert filterzoo("crawl", "m.yaml", "--workdir", "w", cwd=tmp_path).code == 0
    assert filterzoo("publish", "out", "--workdir", "w", cwd=tmp_path).code == 0
    assert filterzoo("verify", "out", cwd=tmp_path).code == 0
    models = [row for path in tmp_path.glob("out/data/models/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["id"]: (row["partial"], row["n_layers"]) for row in models} == {
        "part.onnx": (True, 2),
        "whole.onnx": (False, 3),
    }
    (path,) = tmp_path.glob("out/data/skipped/**/*.parquet")
    (row,) = pq.read_table(path).to_pylist()
    assert (row["id"], row["reason"], row["stage"]) == ("part.onnx", "unsupported", "index")
    assert "conv1" in row["where"]
    assert row["detail"].startswith("partial: ")
    layers = [row for path in tmp_path.glob("out/data/layers/**/*.parquet") for row in pq.read_table(path).to_pylist()]
    part = sorted((row["name"], row["conv_depth"]) for row in layers if "part.onnx" in row["model_id"])
    assert part == [("w0", 0), ("w2", 2)]
    assert np.isclose(max(row["conv_depth_norm"] for row in layers), 1)
    assert filterzoo("takedown", "out", "--model", "local/part.onnx", "--yes", cwd=tmp_path).code == 0
    (path,) = tmp_path.glob("out/data/skipped/**/*.parquet")
    assert [row["reason"] for row in pq.read_table(path).to_pylist()] == ["taken_down"]
