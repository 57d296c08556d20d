"""Opens ONNX graphs in onnxruntime: only with ONNX's own operators, and without opening files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from filterzoo.errors import Reason, Refused, StartError

OWN_DOMAINS = frozenset({"", "ai.onnx"})
_EXTERNAL = 1
"""`TensorProto.EXTERNAL`."""


def parsed(content: bytes) -> Any:
    """The file as an `onnx.ModelProto`; Refused (malformed, unsupported) if it must not be run.

    Operators that ONNX does not define, functions in the file and weights in other files are refused: their paths are
    untrusted. StartError if onnx is missing.
    """
    try:
        import onnx  # noqa: PLC0415  # an extra
        from google.protobuf.message import DecodeError  # noqa: PLC0415  # comes with onnx
    except ImportError:
        raise _missing("onnx") from None
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise Refused(Reason.MALFORMED, f"onnx cannot parse it: {_one_line(error)}") from error
    for node in _nodes(model.graph):
        if node.domain not in OWN_DOMAINS:
            detail = f"the operator {ascii(node.op_type)[:60]} of {ascii(node.domain)[:60]} is not one of ONNX; not run"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(node.name)[:100])
    for tensor in _tensors(model.graph):
        if tensor.data_location == _EXTERNAL:
            detail = "weights lie in another file, which onnxruntime would open by a path of the graph's; not run"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:100])
    return model


def session(model: Any, device: str = "cpu") -> Any:
    """An `onnxruntime.InferenceSession` of a parsed model; Refused (unsupported) if onnxruntime rejects it."""
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
    except ImportError:
        raise _missing("onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"] if device == "cuda" else ["CPUExecutionProvider"]
    providers = [provider for provider in wanted if provider in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    except Exception as error:  # onnxruntime has many exception classes
        raise Refused(Reason.UNSUPPORTED, f"onnxruntime: {_one_line(error)}") from error


def _missing(package: str) -> StartError:
    return StartError(f"running an ONNX graph needs {package}: pip install 'filterzoo[evaluate]'")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _nodes(graph: Any) -> Iterator[Any]:
    """Nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Stored tensors: initializers, the parts of sparse ones, and constants in nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
