"""Honest torch files: each container with each kind of content, and TorchScript; torch itself says what is in them."""

from __future__ import annotations

import argparse
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

Layers = dict[str, np.ndarray]
Writer = Callable[[Path], Layers]

CONTAINERS: dict[str, dict[str, Any]] = {
    **{f"zip protocol {n}": {"pickle_protocol": n} for n in (2, 3, 4, 5)},
    **{f"legacy protocol {n}": {"pickle_protocol": n, "_use_new_zipfile_serialization": False} for n in (2, 3, 4, 5)},
}


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def views() -> dict[str, torch.Tensor]:
    base = normal(6, 4, 3, 3)
    return {
        "plain.weight": base,
        "permuted.weight": base.permute(2, 3, 0, 1),
        "channels_last.weight": base.to(memory_format=torch.channels_last),
        "part.weight": base[2:4, 1:3],
        "every_other.weight": base[::2, :, 1:, ::2],
        "tied.weight": base,
        "expanded.weight": normal(1, 4, 3, 3).expand(5, 4, 3, 3),
        "line.weight": normal(4, 4, 7),
        "volume.weight": normal(2, 3, 3, 3, 3).to(memory_format=torch.channels_last_3d),
        "parameter.weight": nn.Parameter(normal(4, 4, 3, 3)),
        "bias": normal(4),
    }


def numbers(*dtypes: torch.dtype) -> dict[str, torch.Tensor]:
    whole = normal(8, 4, 3, 3)
    return {f"{str(dtype).removeprefix('torch.')}.weight": whole.to(dtype) for dtype in dtypes}


def training_checkpoint() -> dict[str, Any]:
    """What Lightning writes: the state dict among settings, paths, callbacks and the optimizer's moments."""
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), second=nn.Conv2d(4, 4, 5)))
    optimizer = torch.optim.Adam(model.parameters())
    model(normal(2, 3, 9, 9)).sum().backward()
    optimizer.step()
    best = {"best_model_path": Path("checkpoints/best.ckpt"), "best_model_score": torch.tensor(0.5)}
    return {
        "epoch": 3,
        "global_step": 1200,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": OrderedDict((f"model.{name}", value) for name, value in model.state_dict().items()),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": best},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [{"base_lrs": [0.1], "last_epoch": 3}],
        "hparams_name": "kwargs",
        "hyper_parameters": argparse.Namespace(rate=np.float64(1e-3), sizes=np.arange(3), layers=(1, 2)),
    }


class Net(nn.Module):
    """Every kind of convolution, pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (3, 5), stride=2, padding=1, bias=False)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.up_grouped = nn.ConvTranspose2d(4, 4, 3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up_grouped(self.up(self.grouped(self.depthwise(torch.relu(self.stem(x))))))


def plain(state: dict[str, torch.Tensor]) -> Layers:
    """The convolutions of a state dict that holds no transposed ones, as float32."""
    return {name: floats(value) for name, value in state.items() if value.ndim > 2}


def floats(value: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(value.detach().float().contiguous().numpy())


def modules(model: nn.Module) -> Layers:
    """The convolutions of a module: transposed ones become (out, in/groups, *kernel) group by group."""
    found = {}
    for name, module in model.named_modules():
        if not hasattr(module, "kernel_size"):
            continue
        weight = module.weight.detach().float()
        if module.transposed:
            weight = torch.cat([part.transpose(0, 1) for part in weight.chunk(module.groups)])
        found[f"{name}.weight"] = floats(weight)
    return found


def saved(content: object, options: dict[str, Any]) -> Writer:
    def write(path: Path) -> Layers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # legacy files keep the source of classes, where torch finds it
            torch.save(content, path, **options)
            held = torch.load(path, weights_only=False)
        if isinstance(held, nn.Module):
            return modules(held)
        return plain(held.get("state_dict", held))

    return write


def checkpoints() -> Iterator[tuple[str, str, Writer]]:
    """(label, file name, writer) of containers x contents."""
    halves = numbers(torch.float64, torch.float32, torch.float16, torch.bfloat16)
    for container, options in CONTAINERS.items():
        suffix = "pth" if container.startswith("legacy") else "pt"
        yield f"torch {container}: views", f"x.{suffix}", saved(views(), options)
        yield f"torch {container}: dtypes", f"x.{suffix}", saved(halves, options)
        yield f"torch {container}: whole module", f"x.{suffix}", saved(Net(), options)
        yield f"torch {container}: training checkpoint", "x.ckpt", saved(training_checkpoint(), options)
    eights = numbers(torch.float8_e4m3fn, torch.float8_e5m2)
    yield "torch zip: 8-bit floats", "x.pt", saved(eights, {})
    yield "torch zip: a state dict of a subclass", "x.pt", saved(OrderedDict(views()), {})


class Line(nn.Module):
    """Convolutions of one rank for TorchScript."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
        up = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}[rank]
        self.first = conv(2, 4, 3, stride=2, padding=1)
        self.grouped = conv(4, 4, 3, groups=2, padding=1)
        self.up = up(4, 6, 2, stride=2, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.grouped(self.first(x))))


def scripted(rank: int, how: str) -> Writer:
    def write(path: Path) -> Layers:
        model = Line(rank).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; its files stay
            made = torch.jit.trace(model, (normal(1, 2, *[8] * rank),)) if how == "traced" else torch.jit.script(model)
            torch.jit.save(made, path)
            model.load_state_dict(torch.jit.load(path).state_dict())
        return modules(model)

    return write


def scripts() -> Iterator[tuple[str, str, Writer]]:
    for rank in (1, 2, 3):
        for how in ("scripted", "traced"):
            yield f"TorchScript {how}, rank {rank}", "x.pt", scripted(rank, how)
