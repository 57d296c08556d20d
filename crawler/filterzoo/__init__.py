"""FilterZoo: convolution filters of the world's model zoos. Everything a plugin author or a reader needs is here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filterzoo.dataset.loading import load
    from filterzoo.dataset.merged import stats
    from filterzoo.errors import Reason, Refused
    from filterzoo.files import LocalFile, RandomAccessFile
    from filterzoo.format import Format
    from filterzoo.hooks import API_VERSION, hookimpl
    from filterzoo.outcome import Refusal
    from filterzoo.reader.model_file import ModelFile, ModelLayer
    from filterzoo.reader.opening import Reader
    from filterzoo.reader.opening import open_file as open  # noqa: A004  # its public name is filterzoo.open
    from filterzoo.records import (
        Artifact,
        Checkpoint,
        Codec,
        Context,
        Convolution,
        FileFacts,
        Kind,
        Layout,
        Operation,
        Quantisation,
        Span,
        StoredRange,
        Tensor,
    )
    from filterzoo.source import Source, SourceOptions

__version__ = "0.1.0"

_HOMES = {
    "filterzoo.errors": ("Reason", "Refused"),
    "filterzoo.files": ("LocalFile", "RandomAccessFile"),
    "filterzoo.format": ("Format",),
    "filterzoo.hooks": ("API_VERSION", "hookimpl"),
    "filterzoo.dataset.loading": ("load",),
    "filterzoo.dataset.merged": ("stats",),
    "filterzoo.outcome": ("Refusal",),
    "filterzoo.reader.model_file": ("ModelFile", "ModelLayer"),
    "filterzoo.reader.opening": ("Reader", "open"),
    "filterzoo.records": (
        "Artifact",
        "Checkpoint",
        "Codec",
        "Context",
        "Convolution",
        "FileFacts",
        "Kind",
        "Layout",
        "Operation",
        "Quantisation",
        "StoredRange",
        "Span",
        "Tensor",
    ),
    "filterzoo.source": ("Source", "SourceOptions"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_WRITTEN_AS = {"open": "open_file"}
"""What would hide a built-in name is called something else at home."""

__all__ = [
    "API_VERSION",
    "Artifact",
    "Checkpoint",
    "Codec",
    "Context",
    "Convolution",
    "FileFacts",
    "Format",
    "Kind",
    "Layout",
    "LocalFile",
    "ModelFile",
    "ModelLayer",
    "Operation",
    "Quantisation",
    "RandomAccessFile",
    "Reader",
    "Reason",
    "Refusal",
    "Refused",
    "Source",
    "SourceOptions",
    "Span",
    "StoredRange",
    "Tensor",
    "hookimpl",
    "load",
    "open",
    "stats",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the jail's children start in milliseconds because they load only what they name."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'filterzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), _WRITTEN_AS.get(name, name))
