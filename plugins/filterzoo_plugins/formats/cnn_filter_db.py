"""The format of one network of CNN Filter DB, as the source `cnn_filter_db` writes it (`encodings.cnn_filter_db`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from filterzoo import DTYPES, Context, Convolution, FileFacts, Format, Kind, RandomAccessFile, Span, Tensor, hookimpl
from filterzoo_plugins.encodings.cnn_filter_db import FILTER, MAGIC, FilterRows, read_head


class CnnFilterDb(Format):
    """One network of CNN Filter DB."""

    name = "cnn_filter_db"
    framework: ClassVar[str | None] = None
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes."""
        del name
        return head.startswith(MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The layers.

        If the channels are unknown, all filters are inputs of one output, so that no channel pairs are invented. The
        table contains only operators `Conv`, without groups and stride.
        """
        found, position = read_head(file)
        item = DTYPES[found.dtype].size
        depths = [_stated_depth(layer) for layer in found.layers]
        is_stated = None not in depths
        for layer, depth in zip(found.layers, depths, strict=True):
            convolution = Convolution(
                kind=Kind.CONV, context=Context.DECLARED, stated_depth=depth if is_stated else None
            )
            yield Tensor(
                name=layer.name,
                dtype=found.dtype,
                shape=(layer.outputs or 1, layer.inputs or layer.count, 3, 3),
                span=Span(position + layer.start * FILTER * item, layer.count * FILTER * item),
                convolution=convolution,
            )

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The framework and the ONNX opset version that the table states."""
        found, _ = read_head(file)
        return FileFacts(framework=found.framework, opset=found.opset)


def _stated_depth(layer: FilterRows) -> tuple[int, float] | None:
    """Both depths of the table; None if it lacks one."""
    if layer.depth is None or layer.depth_norm is None:
        return None
    return layer.depth, layer.depth_norm


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [CnnFilterDb()]
