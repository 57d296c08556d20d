"""MatConvNet networks (.mat): chains of layers (SimpleNN) and graphs (DagNN), in MATLAB level 5 files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.matlab import MAGIC, StructArray, Value, variables
from filterzoo_plugins.formats.matconvnet import chain, dag
from filterzoo_plugins.formats.matconvnet.arrays import listed


class MatConvNet(Format):
    """A `.mat` file with `layers`, or with a `net` that has them. Other MATLAB files are refused by name."""

    name: ClassVar[str] = "matconvnet"
    framework: ClassVar[str | None] = "matconvnet"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By the first words of the header."""
        del name
        return head.startswith(MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The filters of convolutions, in layer order; then the other arrays."""
        network = _network(file)
        found = Convolutions()
        reader = dag if dag.is_dag(network) else chain
        read = set(reader.convolutions(network, found))
        yield from found.found()
        yield from (tensor for name, tensor in listed(network) if name not in read)

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every array of more than a few elements, named by its path."""
        return (tensor for _, tensor in listed(dict(variables(file))))


def _network(file: RandomAccessFile) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, value in variables(file):
        found.setdefault(name, value)
    net = found.get("net")
    if "layers" not in found and isinstance(net, StructArray) and len(net.items) == 1:
        found = net.items[0]
    if "layers" not in found:
        raise Refused(Reason.UNSUPPORTED, "a MATLAB file that is no network of MatConvNet: it has no layers")
    return found


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The MatConvNet format."""
    return [MatConvNet()]
