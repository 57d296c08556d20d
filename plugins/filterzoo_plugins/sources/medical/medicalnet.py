"""MedicalNet (arXiv:1904.00625): 3-D ResNets trained on 23 sets of CT and MR volumes."""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import Checkpoint, Refusal
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.medical._hub_repositories import described
from filterzoo_plugins.sources.medical._repository import MedicalRepository

ORGANISATION = "TencentMedicalNet"


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every repository of the organisation on the Hub; its tags name a data set on which they were not trained."""
    hub = Hub(repository.door)
    for info in hub.listing(f"the models of {ORGANISATION}", author=ORGANISATION):
        facts = repository.facts(info.id.partition("/")[2])
        yield from described(repository, hub, info, facts)
