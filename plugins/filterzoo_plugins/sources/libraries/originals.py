"""Networks that other zoos export from timm or torchvision: what their original is called, and what is said of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from filterzoo import NetworkTask
from filterzoo_plugins.sources.libraries.torchvision import task_of


@dataclass(frozen=True, slots=True)
class Original:
    """What the original zoo says of a network. licence: as it is written there, None where it states none."""

    name: str
    licence: str | None
    task: str | None


@lru_cache(4096)
def of_timm(name: str) -> Original | None:
    """The network that timm builds under a name of today or of old, with its default weights; None for another name.

    An export does not say which weights it holds, so it is the default ones of the name that it was made by.
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
    """The network that torchvision builds under a name; it states no licence for weights."""
    task = task_of(name)
    return Original(name, None, task) if task is not None else None


@lru_cache(1)
def _names_of_old() -> dict[str, str]:
    """Names that timm has replaced -> those of today, with the tag of the weights they meant."""
    import timm  # noqa: PLC0415  # see above
    from timm.models import _registry  # noqa: PLC0415  # there is no public list

    del timm
    return {
        old: new for old, new in getattr(_registry, "_deprecated_models", {}).items() if isinstance(new, str) and new
    }
