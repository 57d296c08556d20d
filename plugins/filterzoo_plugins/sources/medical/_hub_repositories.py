"""Medical networks on the Hugging Face Hub, as the source `hf_hub` lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from filterzoo import Checkpoint, Refusal
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.hub.hf_hub import Repository
from filterzoo_plugins.sources.medical._repository import MedicalRepository

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo


def described(
    repository: MedicalRepository, hub: Hub, info: ModelInfo, columns: dict[str, Any]
) -> Iterator[Checkpoint | Refusal]:
    """The sets of weights of a repository, under this repository's name, with `columns` replacing the Hub's."""
    for found in Repository(hub, info).checkpoints():
        identity = f"{repository.name}/{found.id.partition('/')[2]}"
        if isinstance(found, Refusal):
            yield replace(found, id=identity)
        else:
            named = replace(found, id=identity, **columns)
            # Curated facts replace those that the repository states.
            yield replace(named, licence_from=None) if "licence" in columns else named
