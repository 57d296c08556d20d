"""Configurations of MONAI bundles, JSON or YAML, as plain data: they tell the network of a weight file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from filterzoo import Refused
from filterzoo_plugins.sources.tables.zoo import yaml_of

_TARGET = re.compile(r"[A-Za-z_][\w.]{0,200}")
_DEFINES = re.compile(r"(_def|_net|network)$")
_FILE = re.compile(r"[\w.-]+\.(?:pt|pth|ts)(?=\W|$)")
_FILLER = frozenset(
    {"trained", "load", "path", "file", "ckpt", "checkpoint", "model", "models", "def", "network", "net"}
)
"""Words of keys and file names that do not identify a network."""


def config_of(text: str) -> Any:
    """A configuration as plain data, None if it is invalid; JSON is YAML too."""
    try:
        return yaml_of(text, "")
    except Refused:
        return None


def networks(configs: Iterable[Any]) -> dict[str, str]:
    """`autoencoder_def` -> `AutoencoderKL` for all configurations; a key with two networks is omitted."""
    found: dict[str, set[str]] = {}
    for config in configs:
        for key, value in _items(config):
            match value:
                case {"_target_": str(target)} if key.endswith(("_def", "_net", "network")) and _TARGET.fullmatch(
                    target
                ):
                    found.setdefault(key, set()).add(target.rpartition(".")[2])
    return {key: names.pop() for key, names in found.items() if len(names) == 1}


def network_of(file: str, configs: Iterable[Any]) -> tuple[str, str] | None:
    """(key, network) of a weight file, None if the configurations do not tell.

    By the key that names the file (`trained_autoencoder_path`), else by the words of the file's name; of several
    definitions with all of these words, the one with the fewest others.
    """
    configs = list(configs)
    known = networks(configs)
    keys = [key for config in configs for key, value in _items(config) if _names(value, file)]
    for words in (*map(_words, keys), _words(file.rpartition(".")[0])):
        fitting = sorted((len(_words(key)), key) for key in known if words and words <= _words(key))
        if fitting and (len(fitting) == 1 or fitting[0][0] < fitting[1][0]):
            return fitting[0][1], known[fitting[0][1]]
    main = [key for key in ("network_def", "network", "net") if key in known]
    if main and not _words(file.rpartition(".")[0]):
        return main[0], known[main[0]]
    return None


def _names(value: Any, file: str) -> bool:
    return isinstance(value, str) and len(value) < 1000 and file in _FILE.findall(value)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[\W_]+", re.sub(r"epoch\d+|v\d+", "", name.lower()))) - _FILLER - {""}


def _items(config: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(config, Mapping):
        yield from ((str(key), value) for key, value in config.items())
