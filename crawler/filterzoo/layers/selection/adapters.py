"""Adapters: small factors that change the weights of a network. None of their tensors is a filter.

The scale of an adapter is in no file, or in another file (adapter_config.json), and some writers store the weight with
the adapter already merged. So a weight with an adapter is left out by its name, and the others are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from filterzoo.errors import Reason, Refused
from filterzoo.layers.selection import names
from filterzoo.layers.selection.obstacles import blocked
from filterzoo.records import LeftOut, Tensor

_PARTS = {
    "LoRA": re.compile(r"(^|[._/])lora[._]?(A|B|up|down|mid|embedding_A|embedding_B|magnitude_vector)(?=[._/]|$)"),
    "LoHa": re.compile(r"(^|[._/])hada_[wt]\d(_[ab])?(?=[._/]|$)"),
    "LoKr": re.compile(r"(^|[._/])lokr_[wt]\d(_[ab])?(?=[._/]|$)"),
    "OFT": re.compile(r"(^|[._/])b?oft_(blocks|diag|[RrSs])(?=[._/]|$)"),
    "IA3": re.compile(r"(^|[._/])ia3_l(?=[._/]|$)"),
    "a difference of weights": re.compile(r"^(lora_|lycoris_).*(?P<word>[._/]diff(_b)?)$"),
}
"""Names in PEFT, diffusers, kohya-ss, LyCORIS and loralib."""
_BEFORE = re.compile(r"^(base_model_model|unet|(lora|lycoris)(_(unet|prior|controlnet))?)_")
"""Prefixes that PEFT, diffusers, kohya-ss and LyCORIS add to a module's path, with underscores for dots."""


@dataclass(slots=True)
class Adapter:
    """An adapter of one module: its kind and its parts."""

    kind: str
    parts: list[Tensor] = field(default_factory=list)

    @property
    def has_kernel(self) -> bool:
        """Whether a part has a convolution's rank, which is the only evidence if the weight is in another file."""
        return any(len(part.shape) >= 3 for part in self.parts)


def adapters(section: Sequence[Tensor]) -> dict[str, Adapter]:
    """The adapters in a state dict, by the path of the adapted module."""
    found: dict[str, Adapter] = {}
    for tensor in section:
        part = _part(tensor.name)
        if part is not None:
            kind, module = part
            found.setdefault(module, Adapter(kind)).parts.append(tensor)
    return found


def adapted(tensors: Sequence[Tensor], found: Mapping[str, Adapter]) -> tuple[list[Tensor], list[LeftOut]]:
    """The tensors, with an obstacle on adapted convolution weights; and the adapters without a weight.

    tensors: without the adapters' parts.
    """
    if not found:
        return list(tensors), []
    flat = {path: module for module in found if (path := _BEFORE.sub("", _flat(module))) != _flat(module)}
    met: set[str] = set()
    result: list[Tensor] = []
    for tensor in tensors:
        module = _changed_by(tensor, found, flat) if len(tensor.shape) >= 2 else None
        if module is not None:
            met.add(module)
        if module is None or len(tensor.shape) == 2:
            result.append(tensor)
        else:
            result.append(blocked(tensor, f"a weight that an adapter in the file changes ({found[module].kind})"))
    alone = [each for module, each in found.items() if module not in met and each.has_kernel]
    return result, [_without_weight(adapter) for adapter in alone]


def refuse_adapter_alone(section: Sequence[Tensor]) -> None:
    """Refused (unsupported) if a file without convolutions is an adapter: the network is in another file."""
    for tensor in section:
        part = _part(tensor.name)
        if part is not None:
            detail = f"an adapter ({part[0]}) without the network that it changes"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def _without_weight(adapter: Adapter) -> LeftOut:
    part = next(part for part in adapter.parts if len(part.shape) >= 3)
    detail = f"an adapter of a convolution ({adapter.kind}) whose weight is in another file"
    return LeftOut(part.name, str(Reason.UNSUPPORTED), detail)


def _changed_by(tensor: Tensor, found: Mapping[str, Adapter], flat: Mapping[str, str]) -> str | None:
    """The adapted module of a weight: its module, or the parent (for `base_layer`, `conv`)."""
    module, parent = names.owner(tensor.name).rstrip("./"), names.parent(tensor.name).rstrip("./")
    for path in (module, parent):
        if path in found:
            return path
    path = _flat(module)
    while path and path not in flat:
        path = path.partition("_")[2]
    return flat.get(path)


def _flat(module: str) -> str:
    return re.sub(r"[./]", "_", module)


def _part(name: str) -> tuple[str, str] | None:
    """The kind of adapter that a tensor is a part of, and the path of the adapted module."""
    for kind, pattern in _PARTS.items():
        part = pattern.search(name)
        if part is not None:
            return kind, name[: part.start("word") if "word" in pattern.groupindex else part.start()]
    return None
