"""MedicalNet (arXiv:1904.00625): 3-D ResNets trained on 23 sets of CT and MR volumes."""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import Checkpoint, Refusal
from filterzoo_plugins.sources._hub import Hub
from filterzoo_plugins.sources.medical._desk import Desk
from filterzoo_plugins.sources.medical._hub_repositories import described

ORGANISATION = "TencentMedicalNet"


def checkpoints(desk: Desk) -> Iterator[Checkpoint | Refusal]:
    """Every repository of the organisation on the Hub; its tags name a data set that they were not trained on."""
    hub = Hub(desk.door)
    for info in hub.listing(f"the models of {ORGANISATION}", author=ORGANISATION):
        facts = desk.facts(info.id.partition("/")[2])
        yield from described(desk, hub, info, facts)
