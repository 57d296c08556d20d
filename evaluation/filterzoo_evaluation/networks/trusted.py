"""Installed architectures: those of timm and torchvision, or a class that the user names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from filterzoo.errors import Reason, Refused, StartError
from filterzoo_evaluation.networks.classifier import Classifier, normalised
from filterzoo_evaluation.networks.weights import load_strictly

Arrays = Mapping[str, np.ndarray]
Build = Callable[[Arrays, str], Classifier]
"""(arrays of a checkpoint, device) -> the network with these weights; Refused if they do not fit."""


def trusted(name: str) -> Build:
    """The architecture `timm:NAME`, `torchvision:NAME` or `MODULE:CALLABLE`; StartError if there is none.

    CALLABLE is called without arguments and returns the module. Images are not resized for it. If its attributes `mean`
    and `std` are tuples of numbers, they normalise the input. If they are tensors, they are ignored: the networks of
    RobustBench apply them themselves.
    """
    room, _, own = name.partition(":")
    if not own:
        raise StartError(f"--network {name}: name timm:ARCHITECTURE, torchvision:ARCHITECTURE or MODULE:CALLABLE")
    if room == "timm":
        return _timm(own)
    if room == "torchvision":
        return _torchvision(own)
    return _callable(room, own)


def _timm(name: str) -> Build:
    import timm  # noqa: PLC0415  # seconds that other networks do not need
    from timm.data.config import resolve_data_config  # noqa: PLC0415
    from timm.data.transforms_factory import create_transform  # noqa: PLC0415

    if not timm.is_model(name.partition(".")[0]):
        raise StartError(f"--network timm:{name}: timm {timm.__version__} has no such architecture")

    def build(arrays: Arrays, device: str) -> Classifier:
        config: Any = timm.get_pretrained_cfg(name)
        settings: dict[str, Any] = {}
        if config is not None and (classes := _outputs(arrays, config.classifier)) is not None:
            settings["num_classes"] = classes
        if config is not None and (channels := _inputs(arrays, config.first_conv)) is not None:
            settings["in_chans"] = channels
        network = timm.create_model(name, pretrained=False, **settings)
        data: dict[str, Any] = resolve_data_config({}, model=network)  # type: ignore[no-untyped-call]  # timm's
        prepare: Any = create_transform(**{**data, "mean": (0.0,), "std": (1.0,)}, is_training=False)
        return _ready(network, arrays, device, prepare, data["mean"], data["std"], f"timm {_words(data)}")

    return build


def _torchvision(name: str) -> Build:
    from torchvision import models  # noqa: PLC0415  # as above

    if name not in models.list_models():
        raise StartError(f"--network torchvision:{name}: torchvision has no such architecture")

    def build(arrays: Arrays, device: str) -> Classifier:
        preset: Any = next(iter(models.get_model_weights(name))).transforms()
        classes = _outputs(
            arrays, "fc", "classifier", "classifier.1", "classifier.3", "classifier.6", "heads.head", "head"
        )
        settings = {} if classes is None else {"num_classes": classes}
        network = models.get_model(name, weights=None, **settings)
        mean, std = tuple(preset.mean), tuple(preset.std)
        preset.mean, preset.std = [0.0] * len(mean), [1.0] * len(std)
        words = f"torchvision resize {preset.resize_size} crop {preset.crop_size} mean {mean} std {std}"
        return _ready(network, arrays, device, preset, mean, std, words)

    return build


def _callable(module: str, name: str) -> Build:
    try:
        made: Any = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StartError(f"--network {module}:{name}: {error}") from error

    def build(arrays: Arrays, device: str) -> Classifier:
        network = made()
        if not isinstance(network, torch.nn.Module):
            raise StartError(f"--network {module}:{name}: gives {type(network).__name__}, no torch.nn.Module")
        mean, std = _stated(network, "mean", 0.0), _stated(network, "std", 1.0)
        return _ready(network, arrays, device, pixels, mean, std, f"as it is, mean {mean} std {std}")

    return build


def _stated(network: torch.nn.Module, name: str, otherwise: float) -> tuple[float, ...]:
    value = getattr(network, name, None)
    return tuple(map(float, value)) if isinstance(value, tuple | list) and value else (otherwise,)


def pixels(image: Image.Image) -> torch.Tensor:
    """(c, h, w) in [0, 1], in the image's size, with one channel for a grey image, else three."""
    own = image if image.mode in {"L", "RGB"} else image.convert("RGB")
    array = np.asarray(own, np.float32) / np.float32(255)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def _ready(  # noqa: PLR0917  # each is named where it is called
    network: torch.nn.Module,
    arrays: Arrays,
    device: str,
    prepare: Callable[[Image.Image], torch.Tensor],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    words: str,
) -> Classifier:
    load_strictly(network, arrays)
    network.eval().requires_grad_(requires_grad=False).to(device)
    return Classifier(normalised(network, mean, std, device), prepare, words)


MAX_CLASSES = 1 << 16
"""Largest number of outputs of a classifier, three times that of ImageNet-21k.

The network is built before all weights are checked, so a file must not choose any number.
"""
MAX_CHANNELS = 1 << 10


def _outputs(arrays: Arrays, *layers: str | None) -> int | None:
    for layer in layers:
        for name, array in arrays.items():
            if layer and (name == f"{layer}.weight" or name.endswith(f".{layer}.weight")):
                outputs = array.shape[0] if array.ndim else 0
                return _bounded(outputs, MAX_CLASSES, f"a classifier with {outputs} outputs", name)
    return None


def _inputs(arrays: Arrays, layer: str | None) -> int | None:
    for name, array in arrays.items():
        if layer and (name == f"{layer}.weight" or name.endswith(f".{layer}.weight")) and array.ndim == 4:
            return _bounded(array.shape[1], MAX_CHANNELS, f"a first layer with {array.shape[1]} inputs", name)
    return None


def _bounded(number: int, most: int, detail: str, name: str) -> int:
    """The number; Refused (limit) unless it is from 1 to `most`, because a file of a few bytes can claim any shape."""
    if not 1 <= number <= most:
        raise Refused(Reason.LIMIT, f"{detail}; 1 to {most:,} are built", name)
    return int(number)


def _words(data: Mapping[str, Any]) -> str:
    return " ".join(f"{key} {data[key]}" for key in sorted(data))


def architecture_of(source: str, architecture: str | None) -> str:
    """The trusted architecture that the checkpoint's zoo states; Refused (unsupported) if it is not installed."""
    if architecture:
        import timm  # noqa: PLC0415  # as above
        from torchvision import models  # noqa: PLC0415  # as above

        if source != "torchvision" and timm.is_model(architecture):
            return f"timm:{architecture}"
        if architecture in models.list_models():
            return f"torchvision:{architecture}"
    detail = f"no installed architecture is called {architecture!r}; name one with --network"
    raise Refused(Reason.UNSUPPORTED, detail)
