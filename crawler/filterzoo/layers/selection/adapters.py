"""Adapters: small factors that change the weights of another file. None of their tensors is a filter."""

from __future__ import annotations

import re
from collections.abc import Sequence

from filterzoo.errors import Reason, Refused
from filterzoo.records import Tensor

_PARTS = {
    "LoRA": re.compile(r"(^|[._])lora[._]?(A|B|up|down|mid|embedding_A|embedding_B|magnitude_vector)(?=[._]|$)"),
    "LoHa": re.compile(r"(^|[._])hada_[wt]\d(_[ab])?(?=[._]|$)"),
    "LoKr": re.compile(r"(^|[._])lokr_[wt]\d(_[ab])?(?=[._]|$)"),
    "OFT": re.compile(r"(^|[._])oft_(blocks|diag|[RrS])(?=[._]|$)"),
    "a difference of weights": re.compile(r"^(lora_|lycoris_).*[._]diff(_b)?$"),
}
"""PEFT, diffusers, kohya-ss and LyCORIS."""


def refuse_adapters(section: Sequence[Tensor]) -> None:
    """Refused (unsupported) where a convolution is adapted: its factor is in no file. Linear layers do not matter."""
    for tensor in section:
        kind = _kind(tensor.name) if len(tensor.shape) >= 3 else None
        if kind is not None:
            detail = f"an adapter of convolutions ({kind}): its parts are no filters"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def refuse_adapter_alone(section: Sequence[Tensor]) -> None:
    """Refused (unsupported) where a file without a convolution is an adapter: the network is another file."""
    for tensor in section:
        kind = _kind(tensor.name)
        if kind is not None:
            detail = f"an adapter ({kind}) without the network that it changes"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(tensor.name)[:200])


def _kind(name: str) -> str | None:
    return next((kind for kind, part in _PARTS.items() if part.search(name)), None)
