"""MONAI's model zoo (arXiv:2211.02701): bundles on the Hub, whose configurations are read as data, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from filterzoo import Checkpoint, Modality, NetworkTask, Refusal, Refused, VisualCategory
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.medical._bundles import config_of, network_of
from filterzoo_plugins.sources.medical._hub_repositories import described
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.tables.zoo import task_of

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
"""Modalities in `network_data_format` of bundles; `regular` and `None` mean nothing."""
_CATEGORIES = {
    Modality.CT.value: VisualCategory.MEDICAL_CT.value,
    Modality.MR.value: VisualCategory.MEDICAL_MRI.value,
    Modality.MAMMOGRAPHY.value: VisualCategory.MEDICAL_XRAY.value,
    Modality.ULTRASOUND.value: VisualCategory.MEDICAL_ULTRASOUND.value,
}
MAX_CONFIG = 1_000_000
MAX_CONFIGS = 12
_CONFIG = re.compile(r"configs/(inference|train)[\w-]*\.(json|ya?ml)")
"""Configurations that define networks; variants for several devices or other runtimes define the same ones."""


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every repository of the organisation, except the templates, which are toys."""
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
            for found in described(repository, hub, info, columns.shared):
                yield found if isinstance(found, Refusal) else columns.of(found)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Facts from a bundle's configurations, about all of its weights and about each."""

    shared: dict[str, Any]
    architecture: str | None
    """The curated architecture, if the configurations state none."""
    configs: tuple[Any, ...]

    def of(self, found: Checkpoint) -> Checkpoint:
        """The checkpoint with the network of its file; further auto-encoders of a bundle get that task."""
        network = network_of(found.artifacts[0].name, self.configs)
        if network is None:
            return replace(found, architecture=self.architecture)
        key, name = network
        task = NetworkTask.AUTOENCODER.value if "autoencoder" in key else found.task
        return replace(found, architecture=name, task=task)


def _columns(repository: MedicalRepository, hub: Hub, info: ModelInfo) -> _Columns:
    """Facts from the bundle's configurations, or else curated facts."""
    columns = repository.facts(info.id.partition("/")[2])
    paths = sorted(sibling.rfilename for sibling in info.siblings or ())
    metadata = _config(hub, info, "configs/metadata.json") if "configs/metadata.json" in paths else None
    used = [path for path in paths if _CONFIG.fullmatch(path)][:MAX_CONFIGS]
    modality = _modality(metadata) or columns.get("modality")
    stated = metadata.get("task") if isinstance(metadata, dict) else None
    shared = columns | {
        "task": task_of(stated if isinstance(stated, str) else None, info.id) or columns.get("task"),
        "modality": modality,
        "visual_category": _CATEGORIES.get(modality or "") or columns.get("visual_category"),
    }
    if shared.get("licence") is None:
        del shared["licence"]  # the repository's licence file states it
    configs = tuple(_config(hub, info, path) for path in used)
    return _Columns(shared, shared.pop("architecture", None), configs)


def _config(hub: Hub, info: ModelInfo, path: str) -> Any:
    """A configuration as plain data; None if it is invalid, which leaves its columns empty."""
    content = hub.door.get_pinned(hub.address(info.id, info.sha or "main", path), limit=MAX_CONFIG)
    return config_of(content.decode("utf-8", "replace"))


def _modality(metadata: Any) -> str | None:
    """The common modality of all inputs: `{"network_data_format": {"inputs": {"image": {"modality": "CT"}}}}`."""
    match metadata:
        case {"network_data_format": {"inputs": dict(inputs)}}:
            stated = {entry.get("modality") for entry in inputs.values() if isinstance(entry, dict)}
            found = {_MODALITIES.get(str(modality).lower()) for modality in stated}
            if len(found) == 1 and (modality := found.pop()) is not None:
                return modality.value
    return None
