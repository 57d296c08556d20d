"""Which tensors of a state dict are convolution weights, and whose; graph formats say it themselves and skip this.

A state dict gives names, shapes and order, nothing else. What can be read from them is read, what cannot is left open:
- one state dict of the file is taken, the first of `SECTIONS` that holds a convolution;
- a tensor of rank 3 to 5 named `weight` or `kernel` is a convolution weight, unless its name says otherwise;
- a bias that is not as long as axis 0 shows a transposed convolution;
- (channels, 1, *kernel) is depthwise, but for the first convolution of a file or one behind a single channel;
- as many inputs as the convolution before has outputs make one group, as does a 1x1 kernel with as many inputs as any
  has outputs before; of all others the groups stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.layers.shapes import canonical_shape
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

_OPTIMISER = re.compile(
    r"(^|[._])(optim|exp_avg|momentum|((lr_?)?sched(uler)?s?|(grad_?)?scalers?|grads?)([._]|$))", re.IGNORECASE
)
_NOT_A_CONVOLUTION = re.compile(
    r"(?<!patch)(?<!patch_)embed(ding)?s?$|pos_emb|position|rel_pos|tokens?$|expert|norm\d*$|relative|lookup|codebook|^masks?$",
    re.IGNORECASE,
)
_TRANSPOSED_NAME = re.compile(r"transp|deconv|convt\d*d?(\.|$)", re.IGNORECASE)
_DEPTHWISE_NAME = re.compile(r"depth_?wise|(^|[._])dw(conv)?\d*([._]|$)|conv_dw", re.IGNORECASE)
_WEIGHT_NAMES = {"weight", "kernel"}
_TWIN_SUFFIXES = ("_ema", "_avg")


@dataclass(slots=True)
class _Before:
    """What the convolutions before a tensor, in the order of the file, tell of it."""

    outputs: set[int] = field(default_factory=set)
    last_output: int | None = None
    last_groups: int | None = None

    def add(self, tensor: Tensor) -> None:
        """A convolution, described."""
        self.last_output = canonical_shape(tensor)[0]
        self.last_groups = tensor.convolution.groups if tensor.convolution else None
        self.outputs.add(self.last_output)

    def gives(self, channels: int) -> bool:
        """Whether (channels, 1, *kernel) must be depthwise: so many channels come in, or never a single one does."""
        return channels in self.outputs or (bool(self.outputs) and 1 not in self.outputs)

    def depthwise_groups(self, channels: int) -> int | None:
        """Where there are more outputs than inputs there are fewer groups; only the layer before shows that not."""
        return channels if self.last_output == channels and self.last_groups is not None else None

    def groups(self, shape: Sequence[int]) -> int | None:
        """One where (out, in, *kernel) tells it, as the module says; None where it may be any."""
        inputs, is_pointwise = shape[1], set(shape[2:]) == {1}
        is_one = not self.outputs or inputs == self.last_output or (is_pointwise and inputs in self.outputs)
        return 1 if is_one else None


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
    before = _Before()
    for tensor in section:
        if not _is_weight(tensor) or tensor.name.partition(".")[0] in twins:
            continue
        if tensor.convolution is None:
            tensor = _described(tensor, shapes, before)  # noqa: PLW2901  # the tensor, now described
        chosen.append(tensor)
        before.add(tensor)
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
    if last.rpartition("/")[2] not in _WEIGHT_NAMES or _OPTIMISER.search(tensor.name.partition(".")[0]):
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


def _described(tensor: Tensor, shapes: dict[str, tuple[int, ...]], before: _Before) -> Tensor:
    """The tensor with what its name, its bias and the layers before it tell of its operation."""
    match tensor.layout:
        case Layout.K_IM:
            return _declared(tensor, Kind.DEPTHWISE, tensor.shape[-2])
        case Layout.ONE_K_O:
            return _declared(tensor, Kind.DEPTHWISE, None)
        case Layout.K_OI:
            return _declared(tensor, Kind.TRANSPOSED, None)
        case Layout.K_IO | Layout.O_K_I:
            return _declared(tensor, Kind.CONV, before.groups(canonical_shape(tensor)))
    first, second = tensor.shape[:2]
    transposed_groups = _transposed_groups(tensor, shapes)
    if transposed_groups is not None:
        return _declared(replace(tensor, layout=Layout.IO_K), Kind.TRANSPOSED, transposed_groups)
    if second == 1 and first > 1 and (before.gives(first) or _DEPTHWISE_NAME.search(tensor.name)):
        return _declared(tensor, Kind.DEPTHWISE, before.depthwise_groups(first))
    return _declared(tensor, Kind.CONV, before.groups(tensor.shape))


def _declared(tensor: Tensor, kind: Kind, groups: int | None) -> Tensor:
    return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups))


def _transposed_groups(tensor: Tensor, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """The groups of a transposed convolution, (in, out/groups, *kernel); None for any other."""
    owner = tensor.name.rpartition(".")[0]
    bias = shapes.get(f"{owner}.bias" if owner else "bias")
    first, second = tensor.shape[:2]
    if bias is not None and len(bias) == 1 and bias[0] != first:
        groups, rest = divmod(bias[0], second)
        return groups if rest == 0 and groups > 0 and first % groups == 0 else None
    is_told = bias is None or first == second
    return 1 if is_told and _TRANSPOSED_NAME.search(owner) else None
