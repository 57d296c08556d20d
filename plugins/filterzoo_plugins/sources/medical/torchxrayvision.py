"""TorchXRayVision (arXiv:2111.00595): networks for chest X-rays, and those of other papers that it redistributes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from filterzoo import Artifact, Checkpoint
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.packages.python_tables import assignments, literal, parse

BASELINES = ("chestx_anatomy", "chestx_det", "emory_hiti", "ieee8023", "jfhealthcare", "mira", "riken", "xinario")
FILES = (
    "torchxrayvision/models.py",
    "torchxrayvision/autoencoders.py",
    *(f"torchxrayvision/baseline_models/{name}/__init__.py" for name in BASELINES),
)
_ENDINGS = (".pt", ".pth", ".ckpt")
_PAGE = "https://github.com/mlmed/torchxrayvision"


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint]:
    """Every URL of weights assigned in the package's code, once; aliases are the same entry under another name."""
    seen = set()
    for file, text in repository.tables.texts(FILES).items():
        parent = file.split("/")[-2]
        folder = "" if parent == "torchxrayvision" else parent
        for name, url in _addresses(parse(text, file), folder):
            if url not in seen:
                seen.add(url)
                artifact = Artifact(url=url, name=url.rpartition("/")[2])
                # Only the release's tag pins the file: its assets can be replaced, and have no hash.
                yield repository.checkpoint(
                    name, url.split("/")[-2], [artifact], url=_PAGE, **repository.facts(name, folder)
                )


def _addresses(tree: ast.Module, folder: str) -> Iterator[tuple[str, str]]:
    """(name, address) of `model_urls[name] = {"weights_url": ...}` and of `url = "..."` in a folder of one network."""
    for target, value in assignments(tree):
        match target, literal(value):
            case ast.Subscript(slice=ast.Constant(value=str(key))), {"weights_url": str(url)} if _is_weights(url):
                yield f"{folder}/{key}".strip("/"), url
            case ast.Name(), str(url) if folder and _is_weights(url):
                yield folder, url


def _is_weights(url: str) -> bool:
    return url.startswith("https://") and url.endswith(_ENDINGS)
