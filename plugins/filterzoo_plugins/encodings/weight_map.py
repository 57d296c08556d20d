"""JSON indexes of models in shards: the side files that hold each tensor (safetensors) or group (Keras)."""

from __future__ import annotations

from collections.abc import Mapping

from filterzoo import RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.json import JSON_BYTES, read_json
from filterzoo_plugins.encodings.names import show

MAX_SHARDS = 10_000
_DEPTH = 32
_KERAS_SHARD = b'.weights.h5"'
_KERAS_INDEX = ".weights.json"


def is_index(head: bytes) -> bool:
    """Whether a file starts like JSON: as the length of a safetensors header, its first bytes are too large."""
    return head[:1] == b"{" and int.from_bytes(head[:8], "little") > 1 << 32


def is_keras_index(head: bytes, name: str) -> bool:
    """Whether it is an index of Keras shards, by its first bytes, or by its own name if these name no shard."""
    return is_index(head) and ((b'"weight_map"' in head and _KERAS_SHARD in head) or name.endswith(_KERAS_INDEX))


def read_weight_map(file: RandomAccessFile) -> Mapping[str, tuple[str, ...]]:
    """Tensor or group -> untrusted names of the shards that hold it.

    Refused (malformed, limit) unless each has a name, or a list of different names.
    """
    if file.size > JSON_BYTES:
        raise Refused(Reason.LIMIT, f"an index of {file.size} bytes; at most {JSON_BYTES} are read", "byte 0")
    index = read_json(file.read(0, file.size), "index", depth=_DEPTH)
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(listed, dict):
        raise Refused(Reason.MALFORMED, "the index has no weight_map of names to shards", "weight_map")
    shards_of = {name: _shards(name, shards) for name, shards in listed.items()}
    count = len({shard for shards in shards_of.values() for shard in shards})
    if count > MAX_SHARDS:
        raise Refused(Reason.LIMIT, f"{count} shards; at most {MAX_SHARDS} are read", "weight_map")
    return shards_of


def _shards(name: str, listed: object) -> tuple[str, ...]:
    listed_shards = listed if isinstance(listed, list) else [listed]
    shards = [shard for shard in listed_shards if isinstance(shard, str)]
    if not shards or len(shards) < len(listed_shards):
        raise Refused(Reason.MALFORMED, "the index has no weight_map of names to shards", f"weight_map, {show(name)}")
    if len(set(shards)) < len(shards):
        raise Refused(Reason.MALFORMED, "the index names a shard twice for one group", f"weight_map, {show(name)}")
    return tuple(shards)
