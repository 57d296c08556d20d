"""TensorFlow's own files: checkpoints, SavedModels and frozen graphs."""

from __future__ import annotations

from filterzoo import Format, hookimpl
from filterzoo_plugins.formats.tensorflow.checkpoint import TensorFlowCheckpoint
from filterzoo_plugins.formats.tensorflow.model import TensorFlowGraph


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The formats of TensorFlow."""
    return [TensorFlowCheckpoint(), TensorFlowGraph()]
