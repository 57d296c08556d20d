"""Networks that other zoos export from timm or torchvision: the original's name, licence and task."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from filterzoo import NetworkTask
from filterzoo_plugins.sources.libraries.torchvision import task_of


@dataclass(frozen=True, slots=True)
class Original:
    """What the original zoo states about a network. licence: as written there, None if it states none."""

    name: str
    licence: str | None
    task: str | None


@lru_cache(4096)
def of_timm(name: str) -> Original | None:
    """The network that timm builds for a current or former name, with its default weights; None for other names.

    An export does not state its weights, so the default weights of its name are assumed.
    """
    import timm  # noqa: PLC0415  # loads torch, which commands that list plugins do without

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config: Any = timm.get_pretrained_cfg(_names_of_old().get(name, name))
    if config is None:
        return None
    task = NetworkTask.CLASSIFICATION if config.num_classes else NetworkTask.FEATURE_EXTRACTION
    return Original(name, config.license or None, task.value)


@lru_cache(4096)
def of_torchvision(name: str) -> Original | None:
    """The network that torchvision builds for a name; it states no licence for weights."""
    task = task_of(name)
    return Original(name, None, task) if task is not None else None


@lru_cache(1)
def _names_of_old() -> dict[str, str]:
    """Former names in timm -> current names, with the tag of their weights."""
    import timm  # noqa: PLC0415  # see above
    from timm.models import _registry  # noqa: PLC0415  # there is no public list

    del timm
    return {
        old: new for old, new in getattr(_registry, "_deprecated_models", {}).items() if isinstance(new, str) and new
    }
