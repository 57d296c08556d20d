"""RadImageNet (doi:10.1148/ryai.210315): networks trained on 1.35 million CT, MR and ultrasound images."""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import Checkpoint, Refusal
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.medical._hub_repositories import described
from filterzoo_plugins.sources.medical._repository import MedicalRepository

REPOSITORY = "Lab-Rasool/RadImageNet"
"""A copy: the authors' own files are in a Google Drive folder, whose listing cannot be read."""


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every network of the copy. The authors' licence is unclear, so the copy's statement is not used."""
    hub = Hub(repository.door)
    info = hub.repository(REPOSITORY)
    yield from described(repository, hub, info, repository.facts("RadImageNet"))
