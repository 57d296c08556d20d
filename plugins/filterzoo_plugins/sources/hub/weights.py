"""Finds the files of a repository that hold weights, and groups those with the same weights: one of each is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from filterzoo_plugins.sources.files.weight_files import unlisted

_VARIANTS = ("fp16", "fp32", "bf16")
_INDEX = re.compile(r"\.safetensors\.index(\.(?P<variant>\w+))?\.json$|(?P<keras>\.weights)\.json$", re.IGNORECASE)
_PREFERENCE = (
    (".safetensors", ".safetensors.index.json", *(f".safetensors.index.{variant}.json" for variant in _VARIANTS)),
    (".bin", ".pt", ".pth", ".ckpt", ".pth.tar", ".pt.tar"),
    (".onnx",),
    (".keras", ".h5", ".hdf5", ".weights.h5", ".weights.json"),
    (".tflite",),
    (".xml",),
    (".npz",),
    ("saved_model.pb",),
    (".pb",),
    (".ckpt.index", ".index"),
    (".caffemodel",),
    (".weights",),
    (".msgpack",),
    (".mat",),
    (".mlmodel",),
)
"""Endings by preference: formats with headers to read by ranges, exact names, then formats that need more bytes."""

_ENDINGS = sorted(
    ((ending, rank) for rank, endings in enumerate(_PREFERENCE) for ending in endings), key=lambda pair: -len(pair[0])
)
_ANY_ENDING = tuple(ending for ending, _rank in _ENDINGS)
_PAIRS = {".xml": ".bin", ".weights": ".cfg"}
"""OpenVINO's network and its weights, Darknet's weights and their network: of the same name; they can only be read
together.
"""
_SAVED_MODEL, _VARIABLES, _CHECKPOINT = "saved_model.pb", "variables/variables", ".index"
_CORE_ML, _BLOBS = ".mlmodel", "weights/weight.bin"
"""A Core ML program, and its weights below it."""
_GRAPH = ".meta"
"""The graph of a checkpoint, without weights."""
_DATA = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
_NO_GRAPHS = frozenset({"keras_metadata.pb", "fingerprint.pb"})
"""Other files next to a SavedModel."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}$|_\d{5}(?=\.weights$)|(?<=^consolidated)\.\d\d$")
_LEFTOVER = re.compile(
    r"(^|/)(\.|optim(izer|iser)?[._-]|sched(uler)?[._-]|scaler[._-]|rng_state|random_states|training_args|trainer_state"
    r"|adapter_|pytorch_lora)",
    re.IGNORECASE,
)
_INTERMEDIATE = re.compile(r"(^|/)(checkpoint|step|epoch)[-_]?\d+/")
_VARIANT = re.compile(
    r"[._-](fp16|fp32|bf16|int8|uint8|quantized|qint8_quantized|q4|q4f16|q8|bnb4|non_ema|ema|merged)$", re.IGNORECASE
)
_WHOLE_INDEX = re.compile(r"\.(bin|safetensors|weights)\.index(\.\w+)?\.json$|\.weights\.json$", re.IGNORECASE)
_KERAS = ".weights"
"""The part of Keras's file names before the ending."""
_EXPORT_FOLDER = re.compile(r"(^|/)(onnx|tflite|openvino|coreml)$")
_PLAIN = {
    "consolidated",
    "model",
    "openvino_model",
    "pytorch_model",
    "tf_model",
    "flax_model",
    "open_clip_model",
    "open_clip_pytorch_model",
    "weights",
    "",
}


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights. name: "" if the repository has no other. files: the first is read, and names the others."""

    name: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may hold weights; `key` is equal for files with the same weights."""

    path: str
    key: tuple[str, str]
    order: tuple[int, int, int, str]
    is_shard: bool


def sets_of_weights(paths: Iterable[str]) -> list[Weights]:
    """The sets of weights in a repository, by name.

    Of files that differ only in format or precision (`model.safetensors`, `pytorch_model.bin`,
    `onnx/model_quantized.onnx`) the first of `_PREFERENCE` is taken, in full precision. Shards are read through their
    index and belong to it; shards without an index are not a set. Optimiser states, adapters and, if there are final
    weights, those of single training steps are omitted.
    """
    listed = _Listed(paths)
    found = [c for path in listed.paths if not listed.is_part(path) and (c := _candidate(path)) is not None]
    finished = [candidate for candidate in found if not _INTERMEDIATE.search(candidate.path)] or found
    groups: dict[tuple[str, str], list[_Candidate]] = {}
    for candidate in finished:
        groups.setdefault(candidate.key, []).append(candidate)
    sets = {key: files for key, group in groups.items() if (files := _files(group, listed))}
    return [Weights("" if len(sets) == 1 else _name(key), files) for key, files in sorted(sets.items())]


def left_out(paths: Iterable[str], sets: Sequence[Weights]) -> list[str]:
    """Files that look like weights, but are in none of the `sets`, nor in another form in any."""
    listed = frozenset(paths)
    taken = {(_home(files.files[0]), files.name.rpartition("/")[2]) for files in sets}
    keys = {candidate.key for path in listed if (candidate := _candidate(path)) and not candidate.is_shard}
    chosen = {path for files in sets for path in files.files}
    rest = unlisted((path for path in listed if not _LEFTOVER.search(path) and not _INTERMEDIATE.search(path)), chosen)
    graphs = {path.removesuffix(_CHECKPOINT) + _GRAPH for path in chosen if path.endswith(_CHECKPOINT)}
    return [path for path in rest if _key(path) not in taken | keys and path not in graphs]


def _key(path: str) -> tuple[str, str]:
    """The key of a candidate, for a file with any ending."""
    stem = _WHOLE_INDEX.sub("", path.rpartition("/")[2])
    plain, _ = _plain(stem if stem != path.rpartition("/")[2] else stem.rpartition(".")[0])
    return _home(path), "" if plain.lower() in _PLAIN else plain


def _home(path: str) -> str:
    """The folder of a file, without the folder of an export."""
    folder = path.rpartition("/")[0]
    is_export = _EXPORT_FOLDER.search(folder)
    return folder[: is_export.start()] if is_export else folder


class _Listed:
    """All files of a repository, and which of them are parts of a model in several files."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self._data: dict[str, list[str]] = {}
        for path in sorted(self.paths):
            found = _DATA.fullmatch(path)
            if found:
                self._data.setdefault(found[1], []).append(path)

    def is_part(self, path: str) -> bool:
        """Whether a file is only a part of a model, or a model that lacks required parts."""
        stem, _, ending = path.rpartition(".")
        if f".{ending}" in _PAIRS:
            return stem + _PAIRS[f".{ending}"] not in self.paths
        if any(f".{ending}" == side and stem + first in self.paths for first, side in _PAIRS.items()):
            return True
        if path.endswith(_CHECKPOINT):
            model = path.removesuffix(_VARIABLES + _CHECKPOINT) + _SAVED_MODEL
            return stem not in self._data or (model != path + _SAVED_MODEL and model in self.paths)
        if path.endswith("/" + _BLOBS):
            return any(each.startswith(path[: -len(_BLOBS)]) and each.endswith(_CORE_ML) for each in self.paths)
        return path.rpartition("/")[2] in _NO_GRAPHS

    def sides(self, path: str) -> tuple[str, ...]:
        """The side files that this file requires."""
        stem, _, ending = path.rpartition(".")
        folder = path[: -len(_SAVED_MODEL)] if path.endswith(_SAVED_MODEL) else None
        if f".{ending}" in _PAIRS:
            return (stem + _PAIRS[f".{ending}"],)
        if path.endswith(_CHECKPOINT):
            return tuple(self._data.get(stem, ()))
        weights = path[: path.rfind("/") + 1] + _BLOBS
        if path.lower().endswith(_CORE_ML) and weights in self.paths:
            return (weights,)
        if folder is not None and folder + _VARIABLES + _CHECKPOINT in self.paths:
            return (folder + _VARIABLES + _CHECKPOINT, *self._data.get(folder + _VARIABLES, ()))
        return ()


def _plain(stem: str) -> tuple[str, bool]:
    """A file's name without ending, shard and precision, and whether it had a precision."""
    whole = _SHARD.sub("", stem).removesuffix(_KERAS)
    plain = _VARIANT.sub("", whole)
    return plain, plain != whole


def _candidate(path: str) -> _Candidate | None:
    file = path.rpartition("/")[2]
    lower = file.lower()
    if not lower.endswith(_ANY_ENDING) or _LEFTOVER.search(path):
        return None
    for ending, rank in _ENDINGS:
        if lower.endswith(ending):
            stem = file[: -len(ending)] + _KERAS * ending.startswith(f"{_KERAS}.")
            is_shard = _SHARD.search(stem) is not None
            plain, is_variant = _plain(stem)
            variant = int(is_variant or ".index." in ending.removesuffix(".index.json"))
            usual = int(plain.lower() != "model")
            name = "" if plain.lower() in _PLAIN else plain
            return _Candidate(path, (_home(path), name), (rank, variant, usual, path), is_shard)
    return None


def _files(group: list[_Candidate], listed: _Listed) -> tuple[str, ...]:
    """The best file that is not a shard, and its shards if it is an index."""
    is_alone = len(group) == 1 and group[0].path.rpartition("/")[2].startswith("consolidated.00.")
    whole = sorted((each for each in group if is_alone or not each.is_shard), key=lambda each: each.order)
    if not whole:
        return ()
    best = whole[0].path
    index = _INDEX.search(best)
    if index is None:
        return (best, *listed.sides(best))
    named = re.escape(best[: index.start()]) + (re.escape(f".{index['variant']}") if index["variant"] else "")
    is_its_shard = re.compile(named + (r"_\d{5}\.weights\.h5" if index["keras"] else r"-\d{5}-of-\d{5}\.safetensors"))
    return (best, *sorted(candidate.path for candidate in group if is_its_shard.fullmatch(candidate.path)))


def _name(key: tuple[str, str]) -> str:
    return "/".join(part for part in key if part)
