"""FilterZoo: convolution filters of the world's model zoos. The public API for plugins and users."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from filterzoo.archive import Archive, Member, Packing
    from filterzoo.computation import Step, Way
    from filterzoo.crawl.executor import Executor, ExecutorOptions
    from filterzoo.dataset.loading import load
    from filterzoo.dataset.measured import layers
    from filterzoo.dataset.merged import stats
    from filterzoo.dataset.query import EmptyQuery
    from filterzoo.dtypes import DTYPES, NumberClass
    from filterzoo.errors import Reason, Refused, StartError
    from filterzoo.files import LocalFile, RandomAccessFile, Window, check_plain_name, check_side_name
    from filterzoo.format import HEAD_BYTES, Format
    from filterzoo.hooks import API_VERSION, hookimpl
    from filterzoo.inflating import BrokenDataError, inflate
    from filterzoo.jail import Jail
    from filterzoo.layers.computations import computed, stored_tensors
    from filterzoo.licensing.licences import Licence, LicenceClass
    from filterzoo.network.addresses import is_http
    from filterzoo.network.authorisation import secret
    from filterzoo.network.door import Document, Door
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
        Evidence,
        FileFacts,
        Kind,
        Layout,
        LeftOut,
        Operation,
        Quantisation,
        SectionFacts,
        Span,
        StatedFact,
        StoredRange,
        Tensor,
    )
    from filterzoo.references import PluginReference
    from filterzoo.source import Source, SourceOptions
    from filterzoo.vocabularies import Modality, NetworkTask, ThreatModel, VisualCategory

__version__ = "0.2.0.dev0"

_EXPORTS = {
    "filterzoo.archive": ("Archive", "Member", "Packing"),
    "filterzoo.computation": ("Step", "Way"),
    "filterzoo.crawl.executor": ("Executor", "ExecutorOptions"),
    "filterzoo.dataset.loading": ("load",),
    "filterzoo.dataset.merged": ("stats",),
    "filterzoo.dataset.query": ("EmptyQuery",),
    "filterzoo.dtypes": ("DTYPES", "NumberClass"),
    "filterzoo.errors": ("Reason", "Refused", "StartError"),
    "filterzoo.files": ("LocalFile", "RandomAccessFile", "Window", "check_plain_name", "check_side_name"),
    "filterzoo.format": ("Format", "HEAD_BYTES"),
    "filterzoo.hooks": ("API_VERSION", "hookimpl"),
    "filterzoo.inflating": ("BrokenDataError", "inflate"),
    "filterzoo.jail": ("Jail",),
    "filterzoo.layers.computations": ("computed", "stored_tensors"),
    "filterzoo.licensing.licences": ("Licence", "LicenceClass"),
    "filterzoo.network.addresses": ("is_http",),
    "filterzoo.network.authorisation": ("secret",),
    "filterzoo.network.door": ("Document", "Door"),
    "filterzoo.outcome": ("Refusal",),
    "filterzoo.reader.model_file": ("ModelFile", "ModelLayer"),
    "filterzoo.reader.opening": ("Reader", "open"),
    "filterzoo.records": (
        "Artifact",
        "Checkpoint",
        "Codec",
        "Context",
        "Convolution",
        "Evidence",
        "FileFacts",
        "Kind",
        "Layout",
        "LeftOut",
        "Operation",
        "Quantisation",
        "SectionFacts",
        "Span",
        "StatedFact",
        "StoredRange",
        "Tensor",
    ),
    "filterzoo.references": ("PluginReference",),
    "filterzoo.source": ("Source", "SourceOptions"),
    "filterzoo.vocabularies": ("Modality", "NetworkTask", "ThreatModel", "VisualCategory"),
}
_PACKAGES = {"layers": "filterzoo.layers"}
"""`filterzoo.layers` is a package that is also callable: importing any of its modules sets the name."""
_MODULE_OF = _PACKAGES | {name: home for home, names in _EXPORTS.items() for name in names}
_NAMES_IN_MODULE = {"open": "open_file"}
"""Public functions named after a built-in have another name in their module."""

__all__ = [
    "API_VERSION",
    "DTYPES",
    "HEAD_BYTES",
    "Archive",
    "Artifact",
    "BrokenDataError",
    "Checkpoint",
    "Codec",
    "Context",
    "Convolution",
    "Document",
    "Door",
    "EmptyQuery",
    "Evidence",
    "Executor",
    "ExecutorOptions",
    "FileFacts",
    "Format",
    "Jail",
    "Kind",
    "Layout",
    "LeftOut",
    "Licence",
    "LicenceClass",
    "LocalFile",
    "Member",
    "Modality",
    "ModelFile",
    "ModelLayer",
    "NetworkTask",
    "NumberClass",
    "Operation",
    "Packing",
    "PluginReference",
    "Quantisation",
    "RandomAccessFile",
    "Reader",
    "Reason",
    "Refusal",
    "Refused",
    "SectionFacts",
    "Source",
    "SourceOptions",
    "Span",
    "StartError",
    "StatedFact",
    "Step",
    "StoredRange",
    "Tensor",
    "ThreatModel",
    "VisualCategory",
    "Way",
    "Window",
    "check_plain_name",
    "check_side_name",
    "computed",
    "hookimpl",
    "inflate",
    "is_http",
    "layers",
    "load",
    "open",
    "secret",
    "stats",
    "stored_tensors",
]


def __getattr__(name: str) -> Any:
    """Import on first use: the jail's children start in milliseconds because they load only the names they use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'filterzoo' has no attribute {name!r}")
    home = importlib.import_module(_MODULE_OF[name])
    return home if name in _PACKAGES else getattr(home, _NAMES_IN_MODULE.get(name, name))


def __dir__() -> list[str]:
    """All public names, including those that are not imported yet."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
