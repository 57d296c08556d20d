"""Real networks: the counts that were found in them before, and every weight as the onnx package reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, numpy_helper
from tests.index_packages import wheel_member

from filterzoo.files import LocalFile
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Kind, Tensor
from filterzoo_plugins.formats.onnx import Onnx

RAPIDOCR, SILERO = ("rapidocr-onnxruntime", "1.4.4"), ("silero-vad", "6.2.3")
FILES = [
    # package and version, member, convolutions, of these depthwise and transposed, 3x3 filters
    (*RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", 64, 14, 2, 11904),
    (*RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx", 38, 14, 0, 480),
    (*RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", 53, 11, 0, 88),
    ("nudenet", "3.4.2", "nudenet/320n.onnx", 64, 0, 0, 250928),
    (*SILERO, "silero_vad/data/silero_vad.onnx", 12, 0, 0, 0),
    (*SILERO, "silero_vad/data/silero_vad_16k_op15.onnx", 6, 0, 0, 0),
    (*SILERO, "silero_vad/data/silero_vad_16k_sequence.onnx", 6, 0, 0, 0),
    (*SILERO, "silero_vad/data/silero_vad_half.onnx", 6, 0, 0, 0),
    (*SILERO, "silero_vad/data/silero_vad_op18_ifless.onnx", 12, 0, 0, 0),
    (*SILERO, "silero_vad/data/silero_vad_openvino_16k.onnx", 6, 0, 0, 0),
    ("basic-pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx", 32, 0, 0, 33),
]


def convolutions(graph: GraphProto, outer: dict[str, TensorProto]) -> Iterator[tuple[NodeProto, TensorProto]]:
    """Each convolution with the array it reads, bodies in the place of their node."""
    known = outer | {array.name: array for array in graph.initializer}
    known |= {n.output[0]: a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"}
    for node in graph.node:
        if node.op_type in {"Conv", "ConvTranspose"}:
            yield node, known[node.input[1]]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from convolutions(attribute.g, known)


@pytest.mark.index
@pytest.mark.parametrize("network", FILES, ids=[member.rpartition("/")[2] for _, _, member, *_ in FILES])
def test_a_real_network(network):
    package, version, member, count, depthwise, transposed, filters = network
    path = wheel_member(package, version, member)
    with LocalFile(path) as file, TensorReader(file) as reader:
        assert Onnx().accepts(file.read(0, 4096), "")
        tensors = [tensor for tensor in Onnx().index(file) if isinstance(tensor, Tensor) and tensor.convolution]
        expected = list(convolutions(onnx.load(path).graph, {}))
        for tensor, (_, array) in zip(tensors, expected, strict=True):
            assert reader.read(tensor).tobytes() == np.ascontiguousarray(numpy_helper.to_array(array)).tobytes()
            assert tensor.shape == tuple(array.dims)
    kinds = Counter(tensor.convolution.kind for tensor in tensors)
    assert len(tensors) == count
    assert (kinds[Kind.DEPTHWISE], kinds[Kind.TRANSPOSED]) == (depthwise, transposed)
    assert sum(prod(tensor.shape[:2]) for tensor in tensors if tensor.shape[2:] == (3, 3)) == filters


@pytest.mark.index
def test_attributes_and_licence_of_a_real_network():
    path = wheel_member("nudenet", "3.4.2", "nudenet/320n.onnx")
    with LocalFile(path) as file:
        assert "AGPL-3.0" in (Onnx().facts(file).licence or "")
        tensors = [tensor for tensor in Onnx().index(file) if isinstance(tensor, Tensor) and tensor.convolution]
    for tensor, (node, _) in zip(tensors, convolutions(onnx.load(path).graph, {}), strict=True):
        stated = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        found = tensor.convolution
        assert (list(found.stride), list(found.dilation)) == (stated["strides"], stated["dilations"])
        assert (list(found.padding), found.groups) == (stated["pads"], stated["group"])
    depths = [tensor.convolution.depth for tensor in tensors]
    assert depths[0] == 1
    assert len(set(depths)) > 30
