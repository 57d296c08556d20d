"""MONAI's model zoo (arXiv:2211.02701): bundles on the Hub, whose configurations are read as data, never evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from filterzoo import Checkpoint, Modality, Refusal, Refused, VisualCategory
from filterzoo_plugins.sources._hub import Hub, licence
from filterzoo_plugins.sources.medical._hub_repositories import described
from filterzoo_plugins.sources.medical._repository import MedicalRepository

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

ORGANISATION = "MONAI"
_MODALITIES = {
    "ct": Modality.CT,
    "mr": Modality.MR,
    "mri": Modality.MR,
    "mammogram": Modality.MAMMOGRAPHY,
    "ultrasound": Modality.ULTRASOUND,
}
"""What bundles write in `network_data_format`; `regular` and `None` say nothing."""
_CATEGORIES = {
    Modality.CT.value: VisualCategory.MEDICAL_CT.value,
    Modality.MR.value: VisualCategory.MEDICAL_MRI.value,
    Modality.MAMMOGRAPHY.value: VisualCategory.MEDICAL_XRAY.value,
    Modality.ULTRASOUND.value: VisualCategory.MEDICAL_ULTRASOUND.value,
}
MAX_CONFIG = 1_000_000


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every repository of the organisation but the templates, which are toys."""
    hub = Hub(repository.door)
    for info in hub.listing(f"the models of {ORGANISATION}", author=ORGANISATION):
        name = info.id.partition("/")[2]
        if name.endswith("_template"):
            continue
        try:
            columns = _columns(repository, hub, info)
        except Refused as refusal:
            detail = f"its configuration cannot be had: {refusal.detail}"
            identity, url = f"{repository.name}/{name}", hub.page(info.id)
            yield Refusal(id=identity, revision=info.sha or "main", reason=refusal.reason, detail=detail, url=url)
        else:
            yield from described(repository, hub, info, columns)


def _columns(repository: MedicalRepository, hub: Hub, info: ModelInfo) -> dict[str, Any]:
    """What the bundle's configurations say, and where they say nothing, what is known of it."""
    columns = repository.facts(info.id.partition("/")[2])
    paths = {sibling.rfilename for sibling in info.siblings or ()}

    def config(path: str) -> Any:
        return _json(repository, hub.address(info.id, info.sha or "main", path)) if path in paths else None

    modality = _modality(config("configs/metadata.json")) or columns.get("modality")
    return columns | {
        "licence": columns.get("licence") or licence(info),
        "modality": modality,
        "visual_category": _CATEGORIES.get(modality or "") or columns.get("visual_category"),
        "architecture": _architecture(config("configs/inference.json")) or columns.get("architecture"),
    }


def _json(repository: MedicalRepository, url: str) -> Any:
    """A configuration as plain data; None for what is no JSON, which leaves its columns empty."""
    try:
        return json.loads(repository.door.get_bytes(url, limit=MAX_CONFIG))
    except (ValueError, RecursionError):
        return None


def _modality(metadata: Any) -> str | None:
    """The one modality of all inputs: `{"network_data_format": {"inputs": {"image": {"modality": "CT"}}}}`."""
    match metadata:
        case {"network_data_format": {"inputs": dict(inputs)}}:
            stated = {entry.get("modality") for entry in inputs.values() if isinstance(entry, dict)}
            found = {_MODALITIES.get(str(modality).lower()) for modality in stated}
            if len(found) == 1 and (modality := found.pop()) is not None:
                return modality.value
    return None


def _architecture(inference: Any) -> str | None:
    """`SegResNet` of `{"network_def": {"_target_": "SegResNet", ...}}`, whatever package it is named in."""
    match inference:
        case {"network_def": {"_target_": str(target)}} if target.replace(".", "").replace("_", "").isalnum():
            return target.rpartition(".")[2]
    return None
