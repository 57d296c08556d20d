"""OpenVINO networks, good ones and hostile ones, written without OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import quoteattr

import numpy as np

_ELEMENTS = {"f4": "f32", "f2": "f16", "i1": "i8", "u1": "u8", "i8": "i64", "i4": "i32", "f8": "f64"}


@dataclass
class Network:
    """`layers` are XML; the methods add one and give its id. Numbers of constants go to `bin`."""

    layers: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    bin: bytearray = field(default_factory=bytearray)

    def add(self, type_: str, *inputs: int, opset: str = "opset1", name: str = "", body: str = "", **data) -> int:
        number = len(self.layers)
        words = " ".join(f"{key}={quoteattr(str(value))}" for key, value in data.items())
        named = quoteattr(name or f"{type_}_{number}")
        self.layers.append(
            f'<layer id="{number}" name={named} type="{type_}" version="{opset}"><data {words}/>{body}</layer>'
        )
        self.edges += [
            f'<edge from-layer="{origin}" from-port="0" to-layer="{number}" to-port="{port}"/>'
            for port, origin in enumerate(inputs)
        ]
        return number

    def const(self, array: np.ndarray, name: str = "", **changed) -> int:
        offset = len(self.bin)
        self.bin += array.tobytes()
        shape = ", ".join(map(str, array.shape))
        stated = {
            "element_type": _ELEMENTS[array.dtype.str[1:]],
            "shape": shape,
            "offset": offset,
            "size": array.nbytes,
        }
        return self.add("Const", name=name, **{**stated, **changed})

    def conv(self, data: int, weight: int, type_: str = "Convolution", rank: int = 2, **changed) -> int:
        ones, zeros = ",".join("1" * rank), ",".join("0" * rank)
        stated = {"strides": ones, "dilations": ones, "pads_begin": zeros, "pads_end": zeros, "auto_pad": "explicit"}
        return self.add(type_, data, weight, **{**stated, **changed})

    def xml(self, version: str = "11", head: str = '<?xml version="1.0"?>\n') -> bytes:
        layers, edges = "".join(self.layers), "".join(self.edges)
        text = f'{head}<net name="n" version="{version}"><layers>{layers}</layers><edges>{edges}</edges></net>'
        return text.encode()


WEIGHT = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype("f4")


def one_conv(**changed) -> Network:
    """A network of one convolution."""
    network = Network()
    data = network.add("Parameter", shape="1,3,8,8", element_type="f32")
    network.conv(data, network.const(WEIGHT, "conv.weight"), **changed)
    return network


def hostile() -> Iterator[tuple[str, bytes, bytes, str, str]]:
    """Label, XML, weights, the reason of the refusal, and part of its text."""
    good = one_conv()
    xml, numbers = good.xml(), bytes(good.bin)
    bomb = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>\n'
    yield "entities", good.xml(head=bomb).replace(b'name="n"', b'name="&b;"'), numbers, "unsafe", "document type"
    outside = '<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n'
    yield "an entity outside", good.xml(head=outside), numbers, "unsafe", "document type"
    yield "a document type", good.xml(head='<!DOCTYPE net SYSTEM "a.dtd">\n'), numbers, "unsafe", "document type"
    yield "an entity it lacks", xml.replace(b'"conv.weight"', b'"&c;"'), numbers, "malformed", "not well-formed"
    yield "cut short", xml[:-20], numbers, "malformed", "not well-formed"
    yield "weights cut short", xml, numbers[:-1], "malformed", "outside the file of weights"
    yield "a negative offset", xml.replace(b'offset="0"', b'offset="-4"'), numbers, "malformed", "outside the file"
    yield (
        "a far offset",
        xml.replace(b'offset="0"', b'offset="99999999999999999"'),
        numbers,
        "malformed",
        "outside",
    )
    yield "an offset in words", xml.replace(b'offset="0"', b'offset="one"'), numbers, "malformed", "where it is"
    yield "another shape", xml.replace(b"4, 3, 3, 3", b"4, 3, 3, 4"), numbers, "malformed", "bytes for"
    yield "an enormous shape", xml.replace(b"4, 3, 3, 3", b"999999999, 999999999, 3, 3"), numbers, "malformed", "bytes"
    yield "old", good.xml(version="7"), numbers, "unsupported", "of version"
    yield "no version", xml.replace(b'version="11"', b""), numbers, "unsupported", "of version"
    yield "deep", good.xml(head="<a>" * 300), numbers, "malformed", "no network"
    yield "deeper", xml.replace(b"<layers>", b"<layers>" + b"<a>" * 300), numbers, "limit", "deep"
    yield "two layers of an id", xml.replace(b'layer id="1"', b'layer id="0"'), numbers, "malformed", "same id"
    yield (
        "an edge of nothing",
        xml.replace(b'from-layer="0"', b'from-layer="7"'),
        numbers,
        "malformed",
        "not exist",
    )
    yield "two edges to a port", xml.replace(b'to-port="1"', b'to-port="0"'), numbers, "malformed", "same port"
    yield "a circle", xml.replace(b'from-layer="0"', b'from-layer="2"'), numbers, "malformed", "circle"
    yield "strides of 0", one_conv(strides="0,0").xml(), numbers, "malformed", "strides"
    yield "one stride", one_conv(strides="1").xml(), numbers, "malformed", "strides"
    yield "strides in words", one_conv(strides="a").xml(), numbers, "malformed", "strides is no list"
    yield "odd padding", one_conv(auto_pad="what").xml(), numbers, "malformed", "auto_pad"
    foreign = xml.replace(b'"Convolution" version="opset1"', b'"Convolution" version="mine"')
    yield "an unknown opset", foreign, numbers, "unsupported", "not known"
