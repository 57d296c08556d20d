"""Metadata cards: a JSON Lines file for each file of `models`. Each line has what is needed to find a network again.

A file for each model would be too many files for a repository. `cards/<source>/<licence class>/<hash>.jsonl` has the
name of the file in `data/models` whose rows it describes, in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo.records import Artifact
from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.rows import clean
from filterzoo_publish.shards.parquet import Shard

CONFIG = "cards"
Card = dict[str, Any]
_FACTS = (
    "url",
    "architecture",
    "activation",
    "pooling",
    "task",
    "training_dataset",
    "pretraining_dataset",
    "base_model",
    "visual_category",
    "modality",
    "anatomy",
    "robust",
    "threat_model",
    "eps",
    "pair_id",
    "tags",
)
_READ = ("format", "framework", "opset", "section", "member", "sha256", "size", "integrity", "n_tensors")
_FILES: TypeAdapter[tuple[Artifact, ...]] = TypeAdapter(tuple[Artifact, ...])
_FILTERS: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])


def card_path(models_path: str) -> str:
    """The path of the cards that belong to a file of `models`."""
    return f"{CONFIG}/{models_path.removeprefix('data/models/').removesuffix('.parquet')}.jsonl"


def card_shard(cards: Iterable[Card | str], models: Shard | str, folder: Path) -> Shard:
    """Write the cards of a file of `models`. cards: new documents, or lines that are copied unchanged."""
    path = card_path(models if isinstance(models, str) else models.path)
    local = folder / path.replace("/", "-")
    lines = [card if isinstance(card, str) else json.dumps(card, ensure_ascii=True, sort_keys=True) for card in cards]
    local.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return Shard(CONFIG, path, local, len(lines), local.stat().st_size)


def card_of(entry: PlanEntry) -> Card:
    """The card of a new model."""
    done, checkpoint = entry.done, entry.done.checkpoint
    of_layers = entry.facts_of_layers()
    named = {"model_id": entry.model_id, "source": checkpoint.source, "id": checkpoint.id}
    licence = {name: getattr(done, name) for name in ("licence", "licence_class", "licence_from")}
    clean_one, robust_one = checkpoint.clean_accuracy, checkpoint.robust_accuracy
    stated_by = None if clean_one is None and robust_one is None else checkpoint.source
    document = {
        **named,
        "revision": checkpoint.revision,
        **{name: getattr(checkpoint, name) for name in _FACTS},
        **licence,
        "accuracy": {"clean": clean_one, "robust": robust_one, "stated_by": stated_by},
        "files": [_file(artifact) for artifact in checkpoint.artifacts],
        "read": {name: getattr(done, name) for name in _READ},
        "layers": done.n_layers,
        "filters": done.filters_by_kernel,
        **of_layers,
        "weights_id": entry.weights_id,
        "warnings": _warnings(entry, suspected_random=of_layers["suspected_random"]),
    }
    return {name: _cleaned(value) for name, value in document.items()}


def read_cards(files: PublishedFiles, models_path: str) -> Iterator[tuple[str, Card]]:
    """(line, card) of each model of a file of `models`, nothing if it has no cards; StartError for invalid cards."""
    for line in (files.text(card_path(models_path)) or "").splitlines():
        try:
            card = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise StartError(f"{card_path(models_path)}: a line is no JSON document; run filterzoo verify") from error
        if not isinstance(card, dict) or not isinstance(card.get("model_id"), str):
            raise StartError(f"{card_path(models_path)}: a line is no card; run filterzoo verify")
        yield line, card


def facts_of(card: Mapping[str, Any]) -> tuple[tuple[Artifact, ...], dict[str, int]]:
    """(files, filters by kernel size), which only the card has; StartError for invalid values."""
    try:
        files = _FILES.validate_python(card["files"])
        filters = _FILTERS.validate_python(card["filters"])
    except (KeyError, ValidationError) as error:
        raise StartError(f"the card of {ascii(card['model_id'])[:160]} is not as we write them") from error
    if not files:
        raise StartError(f"the card of {ascii(card['model_id'])[:160]} names no file")
    return files, filters


def _file(artifact: Artifact) -> Card:
    names = ("name", "size", "sha256", "member")
    return {"url": _without_password(artifact.url)} | {name: getattr(artifact, name) for name in names}


def _without_password(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url
    except ValueError:
        return url


def _warnings(entry: PlanEntry, *, suspected_random: bool | None) -> list[str]:
    """Warnings for those who use the network's filters."""
    done, layers = entry.done, entry.layers()
    found = {
        "its file could not be checked against a hash or checksum": done.integrity == "none",
        "no licence is known": done.licence is None,
        "none of its filters are published": not entry.published,
        "some of its numbers are NaN or infinite": any(map(any, _columns(layers, "nan_count", "inf_count"))),
        "its filters look as if it was never trained": suspected_random is True,
        "some depths are only the order in the file": "declared" in next(_columns(layers, "context")),
    }
    return [warning for warning, holds in found.items() if holds]


def _columns(layers: pa.Table, *names: str) -> Iterator[list[Any]]:
    return (layers[name].to_pylist() for name in names)


def _cleaned(value: Any) -> Any:
    """The value with all strings `clean`, as in the tables."""
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list | tuple) else clean(value)
