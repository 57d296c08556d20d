"""lungmask (doi:10.1186/s41747-020-00173-2): U-Nets that segment lungs in CT."""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import Artifact, Checkpoint
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, revision
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.packages.python_tables import assigned, items, literal, parse

FILE = "lungmask/mask.py"
_PLACE = "/JoHof/lungmask/releases/"


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint]:
    """Every entry of `MODEL_URLS`: name -> (address, classes)."""
    tree = parse(repository.tables.texts([FILE])[FILE], FILE)
    for name, entry in items(assigned(tree, "MODEL_URLS", FILE)):
        match name, literal(entry):
            case str(), [str(url), *_]:
                file = url.rpartition("/")[2]
                artifact = Artifact(url=url, name=file)
                page = "https://github.com/JoHof/lungmask"
                yield repository.checkpoint(name, revision(url) or file, [artifact], url=page, **repository.facts(name))


def is_named_by_hash(url: str) -> bool:
    """Whether the name of this repository's file contains the first digits of its sha256, as torch.hub checks them."""
    return _PLACE in url and hash_prefix(url) is not None
