"""Reads the XML of an OpenVINO network: its layers and edges. Document types and entities are refused, not expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.parsers import expat

from filterzoo import RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.names import show

MAX_BYTES = 64 << 20
"""Most bytes of the XML; the weights are in another file."""
MAX_LAYERS = 300_000
MAX_EDGES = 1_000_000
MAX_NESTING = 200
"""Most levels of elements: three nested bodies have about twenty."""
_VERSIONS = ("10", "11")
"""Versions of the IR. Older versions have other operators and no published reader."""
_PIECE = 1 << 20

_LAYER = ("net", "layers", "layer")
_DATA = (*_LAYER, "data")
_EDGE = ("net", "edges", "edge")


@dataclass(slots=True)
class LayerEntry:
    """An operation. inputs: port -> id of the layer it reads. inner: the types of the layers in its bodies."""

    id: str
    name: str
    type: str
    opset: str
    data: Mapping[str, str] = field(default_factory=dict)
    inputs: dict[int, str] = field(default_factory=dict)
    inner: list[str] = field(default_factory=list)

    def input(self, port: int) -> str | None:
        """The layer connected to a port."""
        return self.inputs.get(port)

    def integers(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """Integers, separated by commas."""
        text = self.data.get(key)
        if text is None and default is not None:
            return default
        try:
            numbers = whole_numbers(text or "")
        except ValueError:
            raise Refused(Reason.MALFORMED, f"{key} is no list of whole numbers", show(self.name)) from None
        return numbers


def whole_numbers(text: str) -> tuple[int, ...]:
    """Integers of a comma-separated list; ValueError for anything else."""
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if len(parts) > 64 or any(not re.fullmatch(r"-?[0-9]{1,18}", part) for part in parts):
        raise ValueError
    return tuple(map(int, parts))


def read_layers(file: RandomAccessFile) -> list[LayerEntry]:
    """The layers of the network, in file order, connected by its edges."""
    if file.size > MAX_BYTES:
        raise Refused(Reason.LIMIT, f"an XML of more than {MAX_BYTES} bytes")
    return _Document().read(file)


class _Document:
    """The event handlers of one parse."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._layers: dict[str, LayerEntry] = {}
        self._edges: list[tuple[str, str, str]] = []
        self._current: LayerEntry | None = None

    def read(self, file: RandomAccessFile) -> list[LayerEntry]:
        parser = expat.ParserCreate("UTF-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse_doctype
        parser.EntityDeclHandler = _refuse_doctype
        try:
            for offset in range(0, file.size, _PIECE):
                parser.Parse(file.read(offset, min(_PIECE, file.size - offset)), False)  # noqa: FBT003  # its only form
            parser.Parse(b"", True)  # noqa: FBT003  # its only form
        except expat.ExpatError as error:
            detail, where = f"XML that is not well-formed: {expat.ErrorString(error.code)}", f"line {error.lineno}"
            raise Refused(Reason.MALFORMED, detail, where) from error
        for origin, target, port in self._edges:
            self._join(origin, target, port)
        return list(self._layers.values())

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._path.append(tag)
        if len(self._path) > MAX_NESTING:
            raise Refused(Reason.LIMIT, f"XML elements more than {MAX_NESTING} deep", show(tag))
        path = tuple(self._path) if len(self._path) <= len(_DATA) else ()
        if path in {("net",), ()}:
            if path:
                _check_version(attributes)
        elif len(path) == 1:
            raise Refused(Reason.MALFORMED, "an XML file that is no network", show(tag))
        if path == _LAYER:
            self._layer(attributes)
        elif path == _DATA and self._current is not None:
            self._current.data = attributes
        elif path == _EDGE:
            self._edge(attributes)
        elif tag == "layer" and self._current is not None:
            self._current.inner.append(attributes.get("type", ""))

    def _end(self, _: str) -> None:
        if tuple(self._path) == _LAYER:
            self._current = None
        self._path.pop()

    def _layer(self, attributes: dict[str, str]) -> None:
        number, type_ = attributes.get("id"), attributes.get("type")
        if number is None or not type_:
            raise Refused(Reason.MALFORMED, "a layer without an id or a type", show(attributes.get("name", "")))
        if number in self._layers:
            raise Refused(Reason.MALFORMED, "two layers of the same id", show(number))
        if len(self._layers) >= MAX_LAYERS:
            raise Refused(Reason.LIMIT, f"more than {MAX_LAYERS} layers")
        name = attributes.get("name") or f"layer {number}"
        self._current = LayerEntry(number, name, type_, attributes.get("version", ""))
        self._layers[number] = self._current

    def _edge(self, attributes: dict[str, str]) -> None:
        if len(self._edges) >= MAX_EDGES:
            raise Refused(Reason.LIMIT, f"more than {MAX_EDGES} edges")
        try:
            self._edges.append((attributes["from-layer"], attributes["to-layer"], attributes["to-port"]))
        except KeyError as error:
            raise Refused(Reason.MALFORMED, f"an edge without {error.args[0]}") from error

    def _join(self, origin: str, target: str, port: str) -> None:
        if origin not in self._layers or target not in self._layers or not re.fullmatch(r"[0-9]{1,9}", port):
            raise Refused(Reason.MALFORMED, "an edge between layers that do not exist", show(f"{origin} -> {target}"))
        inputs = self._layers[target].inputs
        if int(port) in inputs:
            raise Refused(Reason.MALFORMED, "two edges to the same port", show(f"{target}:{port}"))
        inputs[int(port)] = origin


def _check_version(attributes: dict[str, str]) -> None:
    version = attributes.get("version", "")
    if version not in _VERSIONS:
        raise Refused(
            Reason.UNSUPPORTED, f"an OpenVINO network of version {show(version)!r}; {' and '.join(_VERSIONS)} are read"
        )


def _refuse_doctype(*_: object) -> None:
    raise Refused(Reason.UNSAFE, "XML with a document type or entities of its own", "before the network")
