"""The convolution operators of TorchScript, by their schemas in aten/src/ATen/native/native_functions.yaml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from filterzoo import Context, Convolution, Kind
from filterzoo_plugins.formats.torch.names import kind

_ANY = ("input", "weight", "bias", "stride", "padding", "dilation", "transposed", "output_padding", "groups")
_FORWARD = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_SCHEMAS = {
    "torch._convolution": _ANY,
    "torch.convolution": _ANY,
    "torch._convolution_mode": _FORWARD,
    **{f"torch.conv{n}d": _FORWARD for n in (1, 2, 3)},
    **{f"torch.conv_transpose{n}d": _TRANSPOSED for n in (1, 2, 3)},
}
_DEFAULTS: dict[str, object] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def convolution(
    operator: str, arguments: Sequence[object], keywords: Mapping[str, object], shape: tuple[int, ...]
) -> Convolution | None:
    """The convolution of the operator with a weight of that shape; None if it does not fit.

    `arguments` are numbers and tuples of numbers, None if they are known only at run time.
    """
    parameters = _SCHEMAS.get(operator)
    if parameters is None or not 3 <= len(shape) <= 5:
        return None
    given = {**dict(zip(parameters, arguments, strict=False)), **keywords}
    values = {**_DEFAULTS, **given}
    is_transposed = operator.startswith("torch.conv_transpose") or values.get("transposed") is True
    groups = values["groups"]
    if type(groups) is not int or groups < 1:
        groups = None
    rank = len(shape) - 2
    return Convolution(
        kind=_kind(shape, groups, is_transposed=is_transposed),
        context=Context.GRAPH,
        groups=groups,
        stride=_per_axis(values["stride"], rank),
        dilation=_per_axis(values["dilation"], rank),
        padding=_per_axis(values["padding"], rank),
    )


def _kind(shape: tuple[int, ...], groups: int | None, *, is_transposed: bool) -> Kind:
    """The kind of a convolution with a weight (out, in/groups, *kernel), by its groups."""
    return kind(transposed=is_transposed, groups=groups or 1, channels=shape[1] * (groups or 1))


def _per_axis(value: object, rank: int) -> tuple[int, ...] | None:
    """One number per axis of the kernel; a single number applies to all."""
    numbers = value if isinstance(value, tuple) else (value,)
    if not all(type(number) is int and 0 <= number < 1 << 31 for number in numbers) or len(numbers) not in {1, rank}:
        return None
    known = tuple(number for number in numbers if type(number) is int)
    return known * rank if len(known) == 1 else known
