"""Archives of torch.export (`.pt2`): weights as plain members, their shapes and the graph as JSON; nothing is run.

Layout of torch >= 2.8 (torch/export/pt2_archive): `data/weights/model_weights_config.json` names each weight's member,
dtype, sizes and strides; `models/model.json` holds the graph. Older archives are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from filterzoo import (
    DTYPES,
    Codec,
    Context,
    Convolution,
    Kind,
    Layout,
    RandomAccessFile,
    Reason,
    Refused,
    Span,
    Tensor,
)
from filterzoo_plugins.encodings.json import JSON_BYTES, is_natural, read_json
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.zip import ZipIndex
from filterzoo_plugins.formats.torch.names import kind, sizes

_JSON_DEPTH = 200
_MAX_NODES = 1_000_000
_CONFIG = "_weights_config.json"
_OLD = ("serialized_exported_program.json", "serialized_state_dict.pt", "serialized_state_dict.json")
_DTYPES = {1: "U8", 2: "I8", 3: "I16", 4: "I32", 5: "I64", 6: "F16", 7: "F32", 8: "F64", 10: "C64", 11: "C128"}
_DTYPES |= {12: "BOOL", 13: "BF16", 28: "U16", 29: "F8_E4M3", 30: "F8_E5M2"}
"""torch._export.serde.schema.ScalarType."""


def is_exported(archive: ZipIndex) -> bool:
    """Whether a zip is what torch.export wrote, old or new."""
    return any(name in _OLD or name.endswith((_CONFIG, "/models/model.json")) for name in archive.members)


def exported_tensors(file: RandomAccessFile, archive: ZipIndex) -> Iterator[Tensor]:
    """The weights, those that a convolution of the graph reads once for each that does."""
    if any(name in archive.members for name in _OLD):
        raise Refused(Reason.UNSUPPORTED, "an archive of torch.export before torch 2.8")
    configs = [name for name in archive.members if name.endswith(_CONFIG)]
    if len(configs) != 1:
        raise Refused(Reason.UNSUPPORTED, f"an archive of torch.export with {len(configs)} lists of weights")
    if not file.is_remote:
        archive.check_headers()
    folder = configs[0].rpartition("/")[0]
    listed = _json(archive, configs[0]).get("config")
    if not isinstance(listed, dict):
        raise Refused(Reason.MALFORMED, "a list of weights that is none", show(configs[0]))
    model = f"{folder.removesuffix('/data/weights')}/models/{configs[0].rpartition('/')[2].removesuffix(_CONFIG)}.json"
    if model not in archive.members:
        raise Refused(Reason.UNSUPPORTED, "an archive of torch.export without its graph", show(model))
    reads = _convolutions(_json(archive, model))
    for name, entry in listed.items():
        tensor = _tensor(archive, folder, name, entry)
        known = reads.get(name) if 3 <= len(tensor.shape) <= 5 else None
        if known is None:
            yield replace(tensor, layout=Layout.OTHER) if len(tensor.shape) > 2 else tensor
        for convolution in known or ():
            layout = Layout.IO_K if convolution.kind is Kind.TRANSPOSED else Layout.OI_K
            yield replace(tensor, convolution=_completed(convolution, tensor.shape), layout=layout)


def _completed(convolution: Convolution, shape: tuple[int, ...]) -> Convolution:
    """With what the weight's shape tells, and torch's defaults, which the graph leaves out."""
    ones = (1,) * (len(shape) - 2)
    is_depthwise = convolution.kind is Kind.GROUPED and shape[1] == 1
    return replace(
        convolution,
        kind=Kind.DEPTHWISE if is_depthwise else convolution.kind,
        stride=convolution.stride or ones,
        dilation=convolution.dilation or ones,
    )


def _json(archive: ZipIndex, name: str) -> dict[str, Any]:
    document = read_json(archive.read(archive.members[name], JSON_BYTES), show(name), depth=_JSON_DEPTH)
    if not isinstance(document, dict):
        raise Refused(Reason.MALFORMED, "JSON that is no object", show(name))
    return document


def _tensor(archive: ZipIndex, folder: str, name: str, entry: object) -> Tensor:
    match entry:
        case {"path_name": str(path), "use_pickle": False, "tensor_meta": dict(meta)}:
            pass
        case {"use_pickle": True}:
            raise Refused(Reason.UNSUPPORTED, "a weight that is pickled in the archive", show(name))
        case _:
            raise Refused(Reason.MALFORMED, "a weight without its member or its meaning", show(name))
    member = archive.members.get(f"{folder}/{path}")
    if member is None:
        raise Refused(Reason.MALFORMED, "a weight whose member is missing", show(f"{folder}/{path}"))
    dtype = _DTYPES.get(meta.get("dtype", -1)) if is_natural(meta.get("dtype")) else None
    if dtype is None:
        raise Refused(Reason.UNSUPPORTED, "a weight of an unknown dtype", show(name))
    shape, strides = _numbers(meta.get("sizes"), name), _numbers(meta.get("strides"), name)
    (first,) = _numbers([meta.get("storage_offset", {"as_int": 0})], name)
    if len(shape) != len(strides):
        raise Refused(Reason.MALFORMED, "as many strides as sizes are needed", show(name))
    reach = 0 if 0 in shape else 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    size = DTYPES[dtype].size
    if (first + reach) * size > member.size:
        raise Refused(Reason.MALFORMED, "a weight that reaches past the end of its member", show(name))
    record = archive.record(member, archive.offset(member))
    start = (record.offset if record.codec is Codec.RAW else 0) + first * size
    is_plain = strides == _c_strides(shape)
    return Tensor(
        name=name,
        dtype=dtype,
        shape=shape,
        span=Span(start, reach * size),
        strides=None if is_plain else strides,
        stored_in=(record,),
    )


def _c_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps = [1]
    for side in reversed(shape[1:]):
        steps.append(steps[-1] * side)
    return tuple(reversed(steps))[: len(shape)] if shape else ()


def _numbers(listed: object, name: str) -> tuple[int, ...]:
    """`[{"as_int": 8}, ...]`; what depends on an input is no weight."""
    entries: list[Any] = listed if isinstance(listed, list) else [None]
    numbers: tuple[Any, ...] = tuple(entry.get("as_int") for entry in entries if isinstance(entry, dict))
    if len(numbers) != len(entries) or not all(is_natural(number) and number < 1 << 48 for number in numbers):
        raise Refused(Reason.MALFORMED, "sizes, strides or an offset that are no numbers", show(name))
    return numbers


@dataclass(slots=True)
class _Graph:
    """What a walk over the nodes, which stand in the order of their run, has found."""

    weight_of: Mapping[str, str]
    """Value -> the weight's name in the state dict."""
    depth_of: dict[str, int] = field(default_factory=dict)
    found: dict[str, list[Convolution]] = field(default_factory=dict)

    def take(self, node: Mapping[str, Any]) -> None:
        """One node: how deep what it gives lies, and whether it is a convolution of a weight."""
        inputs = {entry.get("name"): entry.get("arg") for entry in _dicts(node.get("inputs"))}
        values = [name for argument in inputs.values() for name in _values(argument)]
        known = [self.depth_of[name] for name in values if name in self.depth_of]
        constant = [name for name in values if name not in self.depth_of and name not in self.weight_of]
        depth = 1 + max(known, default=0)
        if known or constant:
            for output in _dicts(node.get("outputs")):
                for name in _values(output):
                    self.depth_of[name] = depth
        parts = str(node.get("target")).split(".")
        operator = parts[3] if parts[:3] == ["torch", "ops", "aten"] and len(parts) > 3 else ""
        if operator in _OPERATORS:
            for name in _values(inputs.get("weight")):
                if name in self.weight_of:
                    told = _convolution(operator, inputs, depth)
                    self.found.setdefault(self.weight_of[name], []).append(told)


_OPERATORS = {"conv1d", "conv2d", "conv3d", "convolution"}
_OPERATORS |= {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}


def _convolutions(document: Mapping[str, Any]) -> dict[str, list[Convolution]]:
    """Weight -> the convolutions that read it."""
    module = document.get("graph_module")
    graph = module.get("graph") if isinstance(module, dict) else None
    signature = module.get("signature") if isinstance(module, dict) else None
    if not isinstance(graph, dict) or not isinstance(signature, dict):
        raise Refused(Reason.MALFORMED, "a graph of torch.export without its nodes or signature")
    weight_of: dict[str, str] = {}
    for spec in _dicts(signature.get("input_specs")):
        for given, key in (("parameter", "parameter_name"), ("buffer", "buffer_name")):
            match spec.get(given):
                case {"arg": {"name": str(value)}, **rest}:
                    name = rest.get(key)
                    if isinstance(name, str):
                        weight_of[value] = name
    walk = _Graph(weight_of)
    nodes = _dicts(graph.get("nodes"))
    if len(nodes) > _MAX_NODES:
        raise Refused(Reason.LIMIT, f"a graph of {len(nodes)} nodes")
    for entry in _dicts(graph.get("inputs")):
        walk.depth_of |= {name: 0 for name in _values(entry) if name not in weight_of}
    for node in nodes:
        walk.take(node)
    return walk.found


def _dicts(listed: object) -> list[dict[str, Any]]:
    return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []


def _values(argument: object) -> Iterator[str]:
    """The names of the tensors in an argument."""
    match argument:
        case {"as_tensor": {"name": str(name)}}:
            yield name
        case {"as_tensors": list(entries)}:
            yield from (entry["name"] for entry in _dicts(entries) if isinstance(entry.get("name"), str))
        case {"as_optional_tensors": list(entries)}:
            for entry in entries:
                yield from _values(entry)


def _convolution(operator: str, inputs: Mapping[Any, Any], depth: int) -> Convolution:
    def given(name: str, default: Any) -> Any:
        match inputs.get(name):
            case {"as_int": int(number)}:
                return number
            case {"as_ints": list(numbers)}:
                return numbers
            case {"as_bool": bool(value)}:
                return value
        return default

    groups = given("groups", 1)
    is_transposed = "transpose" in operator or given("transposed", None) is True
    groups = groups if type(groups) is int and groups > 0 else None
    told = kind(transposed=is_transposed, groups=groups or 1, channels=None)
    return Convolution(
        kind=told,
        context=Context.GRAPH,
        groups=groups,
        stride=sizes(given("stride", None)),
        dilation=sizes(given("dilation", None)),
        depth=depth,
    )
