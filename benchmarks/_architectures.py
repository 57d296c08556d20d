"""The labelled corpus of benchmarks.selection: state dicts of architectures built without weights, with ground truth.

The ground truth comes from the architecture: the weights of all convolution modules, and all other tensors that a
convolution reads when the network runs on the meta device. Nothing is downloaded. Packages that are not installed are
skipped with a message.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

import torch
from benchmarks._held_out import hand_written
from benchmarks._keras import networks
from torch import nn

from filterzoo.architectures.architecture import operations
from filterzoo.records import Kind

CHANNELS = (3, 1, 4)
DENSE = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
Build = Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Case:
    """A state dict. tensors: (name, shape, dtype), in its order. truth: name of a convolution -> (kind, groups)."""

    framework: str
    name: str
    channels: int
    tensors: list[tuple[str, tuple[int, ...], str]]
    truth: dict[str, tuple[Kind, int]]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Name -> canonical shape, if the order of the axes has to be inferred too."""

    @property
    def written_by(self) -> str:
        """The framework that its file would name."""
        return "keras" if self.framework == "keras" else "torch"


def corpus(every: int = 1, frameworks: tuple[str, ...] = ()) -> Iterator[Case]:
    """Every `every`-th architecture of each framework, without those that cannot be built."""
    if not frameworks or "keras" in frameworks:
        yield from _keras(every)
    for framework, offers in OFFERS.items():
        if frameworks and framework not in frameworks:
            continue
        try:
            listed = list(offers())
        except ImportError as error:
            print(f"{framework}: skipped, {error}")
            continue
        not_built = 0
        for name, channels, build in listed[::every]:
            case = _case(framework, name, channels, build)
            if case is None:
                not_built += 1
            else:
                yield case
        if not_built:
            print(f"{framework}: {not_built} of {len(listed[::every])} cannot be built this way or have no convolution")


def _case(framework: str, name: str, channels: int, build: Build) -> Case | None:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                model = build()
        except Exception:  # noqa: BLE001  # an architecture that cannot be built this way is no part of the corpus
            return None
        tensors = [(key, tuple(value.shape), _dtype(value)) for key, value in model.state_dict().items()]
        truth = modules(model)
        if any(_is_open(key, shape, truth) for key, shape, _ in tensors):
            truth |= _functional(model, channels, {key for key, _, _ in tensors} - truth.keys())
    return Case(framework, name, channels, tensors, truth) if truth else None


def modules(model: nn.Module) -> dict[str, tuple[Kind, int]]:
    """The weights of convolution modules. Tied weights have an entry for each of their names."""
    found = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, DENSE + TRANSPOSED) and "weight" in module._parameters:  # noqa: SLF001  # not a weight that a hook computes
            kind = Kind.CONV
            if isinstance(module, TRANSPOSED):
                kind = Kind.TRANSPOSED
            elif module.groups > 1:
                kind = Kind.DEPTHWISE if module.groups == module.in_channels else Kind.GROUPED
            found[f"{name}.weight".lstrip(".")] = kind, module.groups
    return found


def _is_open(name: str, shape: tuple[int, ...], truth: dict[str, Any]) -> bool:
    return name not in truth and 3 <= len(shape) <= 5 and shape[0] > 1


def _functional(model: nn.Module, channels: int, names: set[str]) -> dict[str, tuple[Kind, int]]:
    """Tensors that a convolution reads but that are no module's weight, if the network runs on the meta device."""
    size = getattr(model, "default_cfg", {}).get("input_size", (3, 224, 224))[1:]
    found = operations(lambda: model, (1, channels, *size))
    return {
        name: (each.convolution.kind, each.convolution.groups or 1) for name, each in found.items() if name in names
    }


def _keras(every: int) -> Iterator[Case]:
    try:
        for name, channels, tensors, found in islice(networks(), None, None, every):
            listed = [(path, shape, "F32") for path, shape in tensors]
            truth = {path: (kind, groups) for path, (kind, groups, _) in found.items()}
            yield Case("keras", name, channels, listed, truth, {path: shape for path, (_, _, shape) in found.items()})
    except ImportError as error:
        print(f"keras: skipped, {error}")


def _dtype(value: torch.Tensor) -> str:
    return "F32" if value.dtype.is_floating_point else "I64"


def _timm() -> Iterator[tuple[str, int, Build]]:
    timm = importlib.import_module("timm")
    for number, name in enumerate(timm.list_models()):
        for channels in CHANNELS if number % 4 == 0 else CHANNELS[:1]:
            yield name, channels, partial(timm.create_model, name, in_chans=channels)


def _torchvision() -> Iterator[tuple[str, int, Build]]:
    models = importlib.import_module("torchvision.models")
    for name in models.list_models():
        options: dict[str, Any] = {"weights": None}
        if {"weights_backbone"} & inspect.signature(models.get_model_builder(name)).parameters.keys():
            options["weights_backbone"] = None
        if name in {"googlenet", "inception_v3", "quantized_googlenet", "quantized_inception_v3"}:
            options["init_weights"] = False
        if not name.startswith("quantized"):
            yield name, 3, partial(models.get_model, name, **options)


def _smp() -> Iterator[tuple[str, int, Build]]:
    smp = importlib.import_module("segmentation_models_pytorch")
    decoders = ("Unet", "UnetPlusPlus", "Linknet", "FPN", "PSPNet", "PAN", "DeepLabV3", "DeepLabV3Plus", "MAnet")
    encoders = ("resnet18", "vgg11_bn", "mobilenet_v2", "efficientnet-b0", "timm-regnety_002", "se_resnext50_32x4d")
    encoders = (*encoders, "densenet121", "xception", "mit_b0", "mobileone_s0", "timm-gernet_s", "dpn68", "inceptionv4")  # type: ignore[assignment]  # another type on purpose
    for decoder in (*decoders, "UPerNet", "Segformer"):
        for encoder in encoders:
            for channels in CHANNELS:
                options = {"encoder_weights": None, "in_channels": channels, "classes": 2}
                yield (
                    f"{decoder}/{encoder}",
                    channels,
                    partial(getattr(smp, decoder), encoder, **options),
                )


def _monai() -> Iterator[tuple[str, int, Build]]:
    nets = importlib.import_module("monai.networks.nets")
    plain = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2)}
    settings: dict[str, dict[str, Any]] = {
        "UNet": plain | {"out_channels": 2},
        "AttentionUnet": plain | {"out_channels": 2},
        "BasicUNet": {"out_channels": 2},
        "BasicUNetPlusPlus": {"out_channels": 2},
        "DynUNet": {
            "out_channels": 2,
            "kernel_size": [3, 3, 3, 3],
            "strides": [1, 2, 2, 2],
            "upsample_kernel_size": [2, 2, 2],
        },
        "SegResNet": {"out_channels": 2},
        "SegResNetDS": {"out_channels": 2},
        "VNet": {"out_channels": 2},
        "DenseNet121": {"out_channels": 2},
        "SEResNet50": {"num_classes": 2},
        "SEResNext50": {"num_classes": 2},
        "SENet154": {"num_classes": 2},
        "HighResNet": {"out_channels": 2},
        "FlexibleUNet": {"out_channels": 2, "backbone": "efficientnet-b0"},
        "AHNet": {"out_channels": 2},
        "UNETR": {"out_channels": 2, "img_size": 96},
        "SwinUNETR": {"out_channels": 2, "feature_size": 24},
        "RegUNet": {"num_channel_initial": 16, "depth": 3, "out_channels": 3},
        "AutoEncoder": plain | {"out_channels": 2},
        "Discriminator": {"in_shape": (1, 64, 64), "channels": (16, 32), "strides": (2, 2)},
        "EfficientNetBN": {"model_name": "efficientnet-b0"},
        "resnet18": {"n_input_channels": 1},
        "ViT": {"img_size": 96, "patch_size": 16},
        "Quicknat": {"num_classes": 2},
        "MedNeXt": {"out_channels": 2},
        "DiffusionModelUNet": {"out_channels": 2},
        "AutoencoderKL": {
            "out_channels": 1,
            "channels": (32, 64, 64),
            "latent_channels": 3,
            "num_res_blocks": 1,
            "norm_num_groups": 16,
            "attention_levels": (False, False, True),
        },
    }
    for name, options in settings.items():
        network = getattr(nets, name, None)
        if network is None:
            continue
        for sides in (2, 3):
            for channels in CHANNELS:
                given = dict(options)
                taken = inspect.signature(network).parameters
                given |= {key: sides for key in ("spatial_dims", "dimensions") if key in taken}
                given |= {key: channels for key in ("in_channels", "n_input_channels") if key in taken}
                if "img_size" in given:
                    given["img_size"] = (96,) * sides
                yield f"{name}{sides}d", channels, partial(network, **given)


def _nnunet() -> Iterator[tuple[str, int, Build]]:
    unet = importlib.import_module("dynamic_network_architectures.architectures.unet")
    for name in ("PlainConvUNet", "ResidualEncoderUNet", "ResidualUNet"):
        network = getattr(unet, name)
        for conv in (nn.Conv2d, nn.Conv3d):
            for channels in CHANNELS:
                sides = 2 if conv is nn.Conv2d else 3
                repeats = {"n_conv_per_stage": 2} if name.startswith("Plain") else {"n_blocks_per_stage": 2}
                options = {
                    "input_channels": channels,
                    "n_stages": 5,
                    "features_per_stage": (32, 64, 128, 256, 320),
                    "conv_op": conv,
                    "kernel_sizes": 3,
                    "strides": (1, 2, 2, 2, 2),
                    "num_classes": 3,
                    "n_conv_per_stage_decoder": 2,
                    "conv_bias": True,
                    "norm_op": nn.InstanceNorm2d if sides == 2 else nn.InstanceNorm3d,
                    "norm_op_kwargs": {"affine": True},
                    **repeats,
                }
                yield f"{name}{sides}d", channels, partial(network, **options)


def _hub() -> Iterator[tuple[str, int, Build]]:
    """Packages with the networks of torch.hub and of older checkpoints."""
    pretrained = importlib.import_module("pretrainedmodels")
    for name in pretrained.model_names:
        yield name, 3, partial(pretrained.__dict__[name], num_classes=1000, pretrained=None)
    efficient = importlib.import_module("efficientnet_pytorch").EfficientNet
    for number in range(8):
        for channels in CHANNELS:
            yield (
                f"efficientnet-b{number}",
                channels,
                partial(efficient.from_name, f"efficientnet-b{number}", in_channels=channels),
            )


OFFERS: dict[str, Callable[[], Iterator[tuple[str, int, Build]]]] = {
    "torchvision": _torchvision,
    "smp": _smp,
    "monai": _monai,
    "nnunet": _nnunet,
    "hub": _hub,
    "timm": _timm,
    "hand": hand_written,
}
FRAMEWORKS = (*OFFERS, "keras")
