"""The paths of a data set's files: no other path in it is opened, written, moved or removed."""

from __future__ import annotations

import re
from typing import NamedTuple

CONFIGS = ("models", "layers", "filters", "filters_sample", "lineage", "confidences", "status", "skipped")
"""Every config for which a release may have a folder `data/<config>`."""
DOCUMENTS = frozenset(
    {
        "README.md",
        "NOTICE",
        "CITATION.cff",
        "croissant.json",
        "releases.csv",
        "takedowns.csv",
        "figures/overview.png",
    }
)
"""The small files of a data set besides its tables."""
DECIDED = ".decided"
"""The folder inside a data set with the files of a committed release that are not moved yet."""
LONGEST = {"README.md": 4 << 20, "releases.csv": 1 << 20, "takedowns.csv": 4 << 20}
"""Most bytes of the documents that are parsed: enough for ten thousand releases and forty thousand takedowns."""
NAME_DIGITS = 32
"""Length of a file's name: hex digits of the sha256 of its bytes."""
DEPTH = 4
"""Folders above the deepest file: `data/<config>/<source>/<licence class>`."""

SOURCE_NAME = re.compile(r"[a-z0-9_]{1,64}")
CLASS_NAME = re.compile(r"[a-z0-9-]{1,32}")
_FOLDERS = rf"(?P<source>{SOURCE_NAME.pattern})/(?P<licence_class>{CLASS_NAME.pattern})/"
_HASH = rf"[0-9a-f]{{{NAME_DIGITS}}}"
_DATA = re.compile(rf"data/(?P<config>{'|'.join(CONFIGS)})/({_FOLDERS})?{_HASH}\.parquet")
_CARDS = re.compile(rf"cards/({_FOLDERS})?{_HASH}\.jsonl")


class DataPath(NamedTuple):
    """The parts of a table's path. source, licence_class: None if the config has no such folders."""

    config: str
    source: str | None
    licence_class: str | None


def data_path(path: str) -> DataPath | None:
    """The parts of `data/<config>/[<source>/<licence class>/]<hash>.parquet`; None for any other path."""
    match = _DATA.fullmatch(path)
    return DataPath(match["config"], match["source"], match["licence_class"]) if match else None


def is_published_path(path: str) -> bool:
    """Whether a release could have written a file there."""
    return path in DOCUMENTS or data_path(path) is not None or _CARDS.fullmatch(path) is not None
