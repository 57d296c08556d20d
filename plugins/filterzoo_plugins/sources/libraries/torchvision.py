"""The weights that the installed torchvision registers, without downloading any."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from filterzoo import Artifact, Checkpoint, NetworkTask, Operation, RandomAccessFile, Source, SourceOptions, hookimpl
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, open_checked, revision

if TYPE_CHECKING:
    from filterzoo import Door

_TASKS = {
    "segmentation": NetworkTask.SEGMENTATION,
    "detection": NetworkTask.DETECTION,
    "detection.keypoint_rcnn": NetworkTask.KEYPOINTS,
    "video": NetworkTask.VIDEO,
    "optical_flow": None,
}
"""Subpackage of `torchvision.models` -> task; models in no subpackage classify images."""

_INPUTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "video": ((1, 3, 16, 224, 224),),
    "optical_flow": ((1, 3, 128, 128), (1, 3, 128, 128)),
    "inception": ((2, 3, 299, 299),),
}
_INPUT = ((2, 3, 224, 224),)
_AUXILIARY = frozenset({"googlenet", "inception"})
"""Models whose files have auxiliary heads, which run only in training."""


class TorchvisionOptions(SourceOptions):
    """`include`, `exclude`: globs over `model.WEIGHTS`, as in `resnet50.IMAGENET1K_V2`."""

    include: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    exclude: tuple[str, ...] = ()


class TorchvisionSource(Source[TorchvisionOptions]):
    """Every registered weight is a checkpoint; the id is `model.WEIGHTS`, the revision the sha256 in its file's name.

    The revision of the few files without one is the release of torchvision. torchvision states no licence for its
    weights, so there is none unless their authors state one.
    """

    name: ClassVar[str] = "torchvision"

    def __init__(self, options: TorchvisionOptions, door: Door, folder: Path) -> None:
        super().__init__(options, door, folder)
        self._known_operations: dict[str, Mapping[str, Operation]] = {}

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`."""
        stated, categories = facts.table("torchvision_weights"), facts.table("datasets")
        for model, weights in _registered():
            fact = stated.get(weights.name, {})
            kind = categories.get(fact.get("training_dataset") or "", {})
            if self._wants(f"{model}.{weights.name}"):
                yield _checkpoint(model, weights, fact, kind)

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`: a hash in the name is checked over the whole file."""
        return open_checked(self.door, artifact) if hash_prefix(artifact.url) else self.door.open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: torchvision builds the network, without any weights."""
        model = checkpoint.architecture or ""
        if model not in self._known_operations:
            self._known_operations[model] = operations_of(model)
        yield self._known_operations[model]

    def _wants(self, name: str) -> bool:
        options = self.options
        included = any(fnmatchcase(name, pattern) for pattern in options.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in options.exclude)


def operations_of(model: str) -> Mapping[str, Operation]:
    """The convolutions of a registered model (`architecture.operations`); empty for other names."""
    from filterzoo.architectures import architecture  # noqa: PLC0415  # loads torch, which only a worker needs

    weights = next((weights for name, weights in _registered() if name == model), None)
    if weights is None:
        return {}
    parts = _module_of(weights).split(".")
    inputs = next((_INPUTS[part] for part in parts if part in _INPUTS), _INPUT)
    return architecture.operations(_builder(model, weights), *inputs, training=not _AUXILIARY.isdisjoint(parts))


def task_of(model: str) -> str | None:
    """The task of a registered model; None for other names and other tasks."""
    weights = next((weights for name, weights in _registered() if name == model), None)
    return None if weights is None else _task(weights)


def _registered() -> Iterator[tuple[str, Any]]:
    """(model, weights) of all that torchvision offers, by name."""
    from torchvision import models  # noqa: PLC0415  # loads torch, which commands that list plugins do without

    for model in models.list_models():
        for weights in models.get_model_weights(model):
            yield model, weights


def _checkpoint(model: str, weights: Any, fact: Mapping[str, str | None], kind: Mapping[str, str | None]) -> Checkpoint:
    url = str(weights.url)
    accuracy = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return Checkpoint(
        id=f"{model}.{weights.name}",
        revision=revision(url) or f"torchvision-{importlib.metadata.version('torchvision').partition('+')[0]}",
        artifacts=(Artifact(url=url, name=url.rpartition("/")[2]),),
        url=url,
        licence=fact.get("licence"),
        architecture=model,
        task=_task(weights),
        training_dataset=fact.get("training_dataset"),
        pretraining_dataset=fact.get("pretraining_dataset"),
        visual_category=kind.get("visual_category"),
        modality=kind.get("modality"),
        clean_accuracy=accuracy / 100 if accuracy is not None else None,
    )


def _task(weights: Any) -> str | None:
    named = [task for key, task in _TASKS.items() if f"{_module_of(weights)}.".startswith(f"{key}.")]
    return named[-1] if named else NetworkTask.CLASSIFICATION


def _module_of(weights: Any) -> str:
    """The module of a model, below `torchvision.models`."""
    return str(type(weights).__module__).removeprefix("torchvision.models.")


def _builder(model: str, weights: Any) -> Callable[[], Any]:
    """A function that builds the model as its weights require, without downloads."""
    from torchvision import models  # noqa: PLC0415  # see above

    known = inspect.signature(models.get_model_builder(model)).parameters
    categories = weights.meta.get("categories")
    wanted: dict[str, Any] = {"weights": None, "weights_backbone": None, "aux_loss": True}
    wanted |= {"num_classes": len(categories)} if categories else {}
    accepted = {key: value for key, value in wanted.items() if key in known}
    return lambda: models.get_model(model, **accepted)


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [TorchvisionSource]
