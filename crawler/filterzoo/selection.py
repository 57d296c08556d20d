"""Which tensors of a state dict are convolution weights, and whose; graph formats say it themselves and skip this.

A state dict gives names, shapes and order, nothing else. What can be read from them is read, what cannot is left open:
- one state dict of the file is taken, the first of `SECTIONS` that holds a convolution;
- a tensor of rank 3 to 5 named `weight` or `kernel` is a convolution weight, unless its name says otherwise;
- a bias as long as axis 1 and not as axis 0 shows a transposed convolution;
- (channels, 1, *kernel) after a convolution with as many outputs is depthwise.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.records import Context, Convolution, Kind, Layout, Tensor

SECTIONS = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "network_weights",
    "net",
    "model",
    "model_state_dict",
    "params_ema",
    "params",
    "last",
    "",
)
"""Of several state dicts in one file the first of these that holds a convolution is taken, then any other in order."""

_OPTIMISER = re.compile(r"optim|exp_avg|momentum|sched|scaler|grad", re.IGNORECASE)
_NOT_A_CONVOLUTION = re.compile(
    r"(?<!patch)(?<!patch_)embed(ding)?s?$|pos_emb|position|rel_pos|token|expert|norm\d*$|relative|lookup|codebook|mask",
    re.IGNORECASE,
)
_TRANSPOSED_NAME = re.compile(r"transp|deconv|convt\d*d?(\.|$)", re.IGNORECASE)
_DEPTHWISE_NAME = re.compile(r"depth_?wise|(^|[._])dw(conv)?\d*([._]|$)|conv_dw", re.IGNORECASE)
_WEIGHT_NAMES = {"weight", "kernel"}
_TWIN_SUFFIXES = ("_ema", "_avg")


def select(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The convolution weights of the state dict that is taken, each with its `convolution`, in the file's order."""
    sections: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        sections.setdefault(tensor.section, []).append(tensor)
    for name in sorted(sections, key=_preference):
        chosen = _convolutions(sections[name])
        if chosen:
            return chosen
    return ()


def _preference(section: str) -> int:
    """Sorting is stable, so unknown sections keep the order of the file behind the known ones; optimisers are last."""
    if _OPTIMISER.search(section):
        return len(SECTIONS) + 1
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _convolutions(section: Sequence[Tensor]) -> tuple[Tensor, ...]:
    if _OPTIMISER.search(section[0].section):
        return ()
    shapes = {tensor.name: tensor.shape for tensor in section}
    twins = _twins(section)
    chosen: list[Tensor] = []
    outputs: set[int] = set()
    for tensor in section:
        if not _is_weight(tensor) or tensor.name.partition(".")[0] in twins:
            continue
        if tensor.convolution is None:
            tensor = _described(tensor, shapes, outputs)  # noqa: PLW2901  # the tensor, now described
        chosen.append(tensor)
        outputs.add(_out_channels(tensor))
    return tuple(chosen)


def _is_weight(tensor: Tensor) -> bool:
    """Named and shaped like a convolution weight, and of numbers that can be one."""
    number_class = DTYPES[tensor.dtype].number_class
    is_number = number_class is NumberClass.FLOAT or (
        number_class is NumberClass.INTEGER and tensor.quantisation is not None
    )
    if not is_number or not 3 <= len(tensor.shape) <= 5 or 0 in tensor.shape:
        return False
    if tensor.convolution is not None:
        return True
    owner, _, last = tensor.name.rpartition(".")
    if last.rpartition("/")[2] not in _WEIGHT_NAMES or _OPTIMISER.match(tensor.name):
        return False
    return not _NOT_A_CONVOLUTION.search(owner.rpartition(".")[2])


def _twins(section: Sequence[Tensor]) -> set[str]:
    """Top-level parts of a flat file that are the plain twin of an averaged part with the same names inside."""
    inside: dict[str, set[str]] = {}
    for tensor in section:
        part, _, rest = tensor.name.partition(".")
        inside.setdefault(part, set()).add(rest)
    return {
        part
        for part, names in inside.items()
        if "" not in names and any(inside.get(part + suffix) == names for suffix in _TWIN_SUFFIXES)
    }


def _described(tensor: Tensor, shapes: dict[str, tuple[int, ...]], outputs: set[int]) -> Tensor:
    """The tensor with what its name, its bias and the layers before it tell of its operation."""
    if tensor.layout is not Layout.OI_K:
        kind = Kind.DEPTHWISE if tensor.layout in {Layout.K_IM, Layout.ONE_K_O} else Kind.CONV
        groups = tensor.shape[-2] if tensor.layout is Layout.K_IM else 1
        return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups))
    first, second = tensor.shape[:2]
    if _is_transposed(tensor, shapes):
        convolution = Convolution(kind=Kind.TRANSPOSED, context=Context.DECLARED, groups=1)
        return replace(tensor, convolution=convolution, layout=Layout.IO_K)
    is_depthwise = second == 1 and first > 1 and (first in outputs or bool(_DEPTHWISE_NAME.search(tensor.name)))
    kind, groups = (Kind.DEPTHWISE, first) if is_depthwise else (Kind.CONV, 1)
    return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups))


def _is_transposed(tensor: Tensor, shapes: dict[str, tuple[int, ...]]) -> bool:
    owner = tensor.name.rpartition(".")[0]
    bias = shapes.get(f"{owner}.bias" if owner else "bias")
    first, second = tensor.shape[:2]
    if bias is not None and len(bias) == 1 and first != second:
        if bias[0] == first:
            return False
        if bias[0] == second:
            return True
    return bool(_TRANSPOSED_NAME.search(owner))


def _out_channels(tensor: Tensor) -> int:
    match tensor.layout:
        case Layout.IO_K:
            return tensor.shape[1]
        case Layout.K_IO | Layout.ONE_K_O:
            return tensor.shape[-1]
        case Layout.K_OI:
            return tensor.shape[-2]
        case Layout.K_IM:
            return tensor.shape[-1] * tensor.shape[-2]
        case _:
            return tensor.shape[0]
