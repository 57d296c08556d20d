"""Evidence from the names of tensors: it is the weakest and used last (docs/selection.md)."""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[./:]")
_WEIGHT = re.compile(r"(^|[./_])(weights?|kernel|w)(:0)?$|(^|/)(vars/0)$", re.IGNORECASE)
"""Frameworks' names for weights; Keras 3 numbers the variables of a layer, starting with the kernel."""
_PART = re.compile(r"(^|[./])(weight|kernel)[._][^./]*$", re.IGNORECASE)
_BIASES = ("bias", "biases", "b", "B", "bias:0", "vars/1", "bias_orig")
_TRANSPOSED = re.compile(
    r"transp|deconv|conv(olution)?_?t\d*d?([./_]|$)|(^|[./_])(conv_?)?up(conv|sample)?\d*([./_]|$)", re.IGNORECASE
)
_DEPTHWISE = re.compile(r"depth_?wise|(^|[./_])dw(_?conv)?\d*([./_]|$)|conv_dw", re.IGNORECASE)
_CONVOLUTION = re.compile(r"conv", re.IGNORECASE)
_OPTIMISER = re.compile(
    r"^(optim(izer|iser)?s?|opt|exp_avg(_sq)?|momentum(_buffer)?|velocity|moments?|adam\w*|slots?|grads?|gradients?|mu|nu)"
    r"(_?(states?|state_dicts?|m|v|buffers?|\d+))*$",
    re.IGNORECASE,
)
_ACCUMULATOR = re.compile(
    r"_(moment[12]?|velocity|beta[12]_pow_acc|mean_(square|grad)|inf_norm|avg_squared_(grad|update))(_\d+)?$"
)
"""Suffixes that Paddle appends to the name of a parameter for optimiser state."""
_AVERAGED = re.compile(r"(^|_)(ema|avg|averaged?|momentum|target|shadow|copy)(_|$)", re.IGNORECASE)


def parts(name: str) -> list[str]:
    """The components of a path with dots or slashes."""
    return _SEPARATORS.split(name)


def owner(name: str) -> str:
    """The module of a weight: its name without the word for weight, up to and including the separator."""
    found = _WEIGHT.search(name)
    if found is not None:
        return name[: found.start(2 if found[2] else 5)]
    cut = max(name.rfind("."), name.rfind("/"))
    return name[: cut + 1]


def parent(name: str) -> str:
    """The parent of the module that a weight belongs to."""
    module = owner(name).rstrip("./")
    return module[: max(module.rfind("."), module.rfind("/")) + 1]


def is_weight(name: str) -> bool:
    """Whether the name ends in a framework's word for weights."""
    return _WEIGHT.search(name) is not None


def is_part(name: str) -> bool:
    """Whether the name is that of a part of a weight: `weight_mask`."""
    return _PART.search(name) is not None


def weights_beside(name: str) -> tuple[str, ...]:
    """The names that the weight in the same module as a tensor may have."""
    return tuple(owner(name) + word for word in ("weight", "kernel", "w", "W", "weights"))


def biases(name: str) -> tuple[str, ...]:
    """The names that the bias of a weight may have."""
    return tuple(owner(name) + word for word in _BIASES)


def is_bias(name: str) -> bool:
    """Whether the name is that of a bias. A bias with several axes belongs to an elementwise or a stacked layer."""
    return not is_weight(name) and parts(name)[-1] in _BIASES


def says_transposed(name: str) -> bool:
    """Whether the name says transposed convolution."""
    return _TRANSPOSED.search(owner(name)) is not None


def says_depthwise(name: str) -> bool:
    """Whether the name says depthwise convolution."""
    return _DEPTHWISE.search(name) is not None


def says_convolution(name: str) -> bool:
    """Whether the name says convolution."""
    return _CONVOLUTION.search(name) is not None


def is_optimiser(part: str) -> bool:
    """Whether a component of a path is a name for optimiser state."""
    return _OPTIMISER.match(part) is not None


def is_accumulator(name: str) -> bool:
    """Whether the name is that of a parameter with Paddle's suffix for optimiser state."""
    return _ACCUMULATOR.search(name) is not None


def is_average(part: str) -> bool:
    """Whether a component of a path is a name for averaged weights or for optimiser state."""
    return _AVERAGED.search(part) is not None


def pattern(name: str) -> str:
    """The name with all numbers replaced, so that repeated blocks share it."""
    return re.sub(r"\d+", "#", name)
