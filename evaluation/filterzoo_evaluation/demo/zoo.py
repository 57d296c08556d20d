"""Writes the zoo of the demonstration: weight files, a manifest, facts about each network, and images."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from filterzoo.architectures.architecture import operations
from filterzoo_evaluation.demo import networks
from filterzoo_evaluation.demo.images import Images, images_of
from filterzoo_evaluation.demo.training import EPS, accuracy, trained

MANIFEST = "zoo.yaml"
FACTS = "facts.csv"
KINDS = (False, True)
"""Whether a network is robust, for both networks of a pair."""
FEWEST_RIGHT = 0.8
"""Least accuracy on clean images. A network below it counts as not trained."""
TESTED = 300
"""Number of test images of each set. They are not in the training set."""
_COLUMNS = (
    *("name", "architecture", "activation", "pooling", "task", "training_dataset", "visual_category"),
    *("robust", "threat_model", "eps", "pair_id"),
)


@dataclass(frozen=True, slots=True)
class DemoPair:
    """A normal and a robust network of one architecture, trained on the same images with the same seed."""

    image_set: str
    variant: str
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of the pair, and the prefix of both files' names."""
        return f"{self.image_set}_{self.variant}_{self.seed}"

    def file(self, *, robust: bool) -> str:
        """The file's name of one of the two networks."""
        return f"{self.name}_{'robust' if robust else 'normal'}.pt"

    @property
    def network(self) -> str:
        """The architecture, as `--network` names it."""
        return f"{networks.__name__}:{self.image_set}_{self.variant}"


SIX = tuple(DemoPair(image_set, variant) for image_set in ("digits", "mnist") for variant in networks.VARIANTS)
"""The pairs of `make confidence-demo`."""


def make_pair(folder: Path, pair: DemoPair, epochs: int | None = None) -> list[str]:
    """Train both networks of a pair and write them with their manifest; returns a message for each failed training.

    epochs: None for the default. A single thread is used: more would not be faster, and the bytes are reproducible.
    """
    torch.set_num_threads(1)
    data, failures = images_of(pair.image_set), []
    for robust in KINDS:
        torch.manual_seed(pair.seed)
        made = networks.small_cnn(pair.image_set, pair.variant)
        trained(made, pair.image_set, data, robust=robust, seed=pair.seed, epochs=epochs)
        torch.save(made.state_dict(), folder / pair.file(robust=robust))
        if (reached := accuracy(made, data)) < FEWEST_RIGHT:
            failures.append(f"{pair.file(robust=robust)}: is right on {reached:.0%} of clean images only: not trained")
    _write_manifest(manifest_of(folder, pair), pair.name.replace("_", "-"), f"{pair.name}_*.pt")
    return failures


def make_zoo(folder: Path, pairs: Iterable[DemoPair]) -> None:
    """Write what all pairs share: the images, the facts about networks, and the manifest of the crawl."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, known = [], dict[str, Images]()
    for pair in pairs:
        data = known.setdefault(pair.image_set, images_of(pair.image_set))
        facts = _facts(pair, data)
        rows += [{"name": pair.file(robust=robust), **facts, "robust": str(robust).lower()} for robust in KINDS]
    for image_set, data in known.items():
        rest = slice(data.trained, data.trained + TESTED)
        np.savez(folder / f"{image_set}.npz", images=data.images[rest], labels=data.labels[rest])
    with (folder / FACTS).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _write_manifest(folder / MANIFEST, "confidence-demo", "*.pt")


def manifest_of(folder: Path, pair: DemoPair) -> Path:
    """The manifest of a single pair, for `evaluate`: `--network` names one architecture for all its checkpoints."""
    return folder / f"{pair.name}.yaml"


def _write_manifest(place: Path, name: str, pattern: str) -> None:
    lines = (
        f"name: {name}",
        "sources:",
        f'  - {{source: local, paths: ["{pattern}"], license: apache-2.0, facts: {FACTS}}}',
        'kernels: ["3x3"]',
        "licenses: {allow: [apache-2.0]}",
    )
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _facts(pair: DemoPair, data: Images) -> dict[str, Any]:
    """The columns of `models` for both networks. Activation and pooling are read from the architecture."""
    shape = (1, 1, *data.images.shape[1:])
    found = operations(lambda: networks.small_cnn(pair.image_set, pair.variant), shape)
    return {
        "architecture": "small_cnn",
        "activation": found.activation,
        "pooling": found.pooling,
        "task": "classification",
        "training_dataset": pair.image_set,
        "visual_category": "handwriting",
        "threat_model": "Linf",
        "eps": EPS[pair.image_set],
        "pair_id": pair.name,
    }
