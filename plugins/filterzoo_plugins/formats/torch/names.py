"""The tensors of a torch pickle, with their names in the state dict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from filterzoo import Context, Convolution, Kind, Reason, Refused
from filterzoo_plugins.encodings.names import show, without_surrogates
from filterzoo_plugins.encodings.pickle.array import is_array, objects_in
from filterzoo_plugins.encodings.pickle.inert import Instance, Name
from filterzoo_plugins.formats.torch.values import StoredTensor

MAX_NODES = 3_000_000
"""Most visits of containers."""
MAX_REVISITS = 20_000
"""Most repeated visits of containers; tied modules cause a few."""
MAX_DEPTH = 200
MAX_TENSORS = 200_000
MAX_NAME = 200_000
"""Most characters of one name."""
MAX_NAMES = 64 << 20
"""Most characters of all names together."""

SECTIONS = frozenset(
    {
        "best",
        "best_state_dict",
        "ema",
        "ema_state_dict",
        "last",
        "model",
        "model_ema",
        "model_state",
        "model_state_dict",
        "net",
        "network_weights",
        "optim",
        "optim_state",
        "optim_state_dict",
        "optimizer",
        "optimizer_state",
        "optimizer_state_dict",
        "optimizer_states",
        "optimizers",
        "params",
        "params_ema",
        "state_dict",
        "state_dict_ema",
        "student",
        "teacher",
        "weights",
    }
)
"""Top-level keys under which training code stores complete state dicts."""

_QUANTISED = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "transposed",
    "output_padding",
    "groups",
    "padding_mode",
    "weight",
    "bias",
)
_REGISTERED = ("_parameters", "_buffers", "_modules")
_CONTAINERS = frozenset({dict, list, tuple, Instance})
_INTERESTING = _CONTAINERS | {StoredTensor}


@dataclass(frozen=True, slots=True)
class NamedTensor:
    """A tensor with its name in the state dict; `convolution`: from its pickled module."""

    section: str
    name: str
    tensor: StoredTensor | Instance
    """An instance is a NumPy array (`array.is_array`)."""
    convolution: Convolution | None


@dataclass(frozen=True, slots=True)
class _Child:
    """An object inside another. `component` None adds nothing to the name; `is_loose`: not in the state dict."""

    component: str | None
    value: object
    convolution: Convolution | None = None
    is_loose: bool = False


@dataclass(slots=True)
class _Frame:
    """A container whose children are being visited."""

    name: str | None
    children: Iterator[_Child]
    identity: int
    is_loose: bool = False
    has_tensors: bool = False


def named_tensors(root: object) -> Iterator[NamedTensor]:
    """Every tensor below `root`, in file order; top-level keys in SECTIONS become sections."""
    walk = _Walk()
    if type(root) is StoredTensor or is_array(root):
        detail = "a tensor by itself, without a name: saved data, or a shard of torch.distributed.checkpoint"
        raise Refused(Reason.UNSUPPORTED, detail)
    if type(root) is not dict:
        yield from walk.run("", None, root)
        return
    for key, value in root.items():
        if key in SECTIONS and type(value) in _CONTAINERS:
            yield from walk.run(key, None, value)
        else:
            yield from walk.run("", key, value)


@dataclass(slots=True)
class _Walk:
    """A traversal without recursion, and its limits.

    Registered members of modules and items of dictionaries are visited at each occurrence, because tied weights have
    several names. Other attributes of objects are visited once, because they may refer back to anything.
    """

    nodes: int = 0
    revisits: int = 0
    tensors: int = 0
    characters: int = 0
    barren: set[int] = field(default_factory=set)
    """Ids of containers without tensors; the root keeps them alive."""
    visited: set[int] = field(default_factory=set)

    def run(self, section: str, name: str | None, root: object) -> Iterator[NamedTensor]:
        """The tensors below `root`, which is called `name`."""
        if type(root) not in _INTERESTING:
            return
        frames = [_Frame(None, iter((_Child(name, root),)), 0)]
        open_ids: set[int] = set()
        while frames:
            frame = frames[-1]
            child = next(frame.children, None)
            if child is None:
                self._leave(frames, open_ids)
                continue
            is_loose = frame.is_loose or child.is_loose
            identity = id(child.value)
            if isinstance(child.value, StoredTensor | Instance) and (
                type(child.value) is StoredTensor or is_array(child.value)
            ):
                frame.has_tensors = True
                if not (is_loose and identity in self.visited):
                    self.visited.add(identity)
                    name = _join(frame.name, child.component) or ""
                    yield NamedTensor(section, self._counted(name), child.value, child.convolution)
            elif self._enters(identity, open_ids, is_loose=is_loose):
                if len(frames) > MAX_DEPTH:
                    raise Refused(Reason.LIMIT, f"objects nested deeper than {MAX_DEPTH}", show(frame.name or ""))
                open_ids.add(identity)
                self.visited.add(identity)
                name = _join(frame.name, child.component)
                frames.append(_Frame(name, _children(child.value), identity, is_loose))

    def _enters(self, identity: int, open_ids: set[int], *, is_loose: bool) -> bool:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise Refused(Reason.LIMIT, f"more than {MAX_NODES} objects")
        if identity in open_ids or identity in self.barren:
            return False
        if identity in self.visited:
            self.revisits += 1
            if self.revisits > MAX_REVISITS:
                raise Refused(Reason.LIMIT, f"objects that occur in more than {MAX_REVISITS} places")
            return not is_loose
        return True

    def _leave(self, frames: list[_Frame], open_ids: set[int]) -> None:
        frame = frames.pop()
        open_ids.discard(frame.identity)
        if not frame.has_tensors:
            self.barren.add(frame.identity)
        elif frames:
            frames[-1].has_tensors = True

    def _counted(self, name: str) -> str:
        self.tensors += 1
        self.characters += len(name)
        if self.tensors > MAX_TENSORS or self.characters > MAX_NAMES:
            raise Refused(Reason.LIMIT, f"more than {MAX_TENSORS} tensors, or {MAX_NAMES} characters of names")
        return without_surrogates(name)


def _join(name: str | None, component: str | None) -> str | None:
    if component is None:
        return name
    joined = component if name is None else f"{name}.{component}"
    if len(joined) > MAX_NAME:
        raise Refused(Reason.LIMIT, f"a name of {len(joined)} characters", show(joined))
    return joined


def _children(value: object) -> Iterator[_Child]:
    if type(value) is dict:
        for key, child in value.items():
            if type(child) in _INTERESTING:
                yield _Child(key, child)
    elif type(value) is list or type(value) is tuple:
        for position, child in enumerate(value):
            if type(child) in _INTERESTING:
                yield _Child(str(position), child)
    elif type(value) is Instance:
        yield from _instance_children(value)


def _instance_children(instance: Instance) -> Iterator[_Child]:
    if objects := objects_in(instance):
        yield from _children(objects)
        return
    yield from _children(instance.arguments)
    is_script = type(instance.maker) is Name and instance.maker.module.startswith("__torch__")
    state = instance.state
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:  # (__dict__, slots)
        yield from _attributes(state[0], is_script=is_script)
        state = state[1]
    if type(state) is dict:
        yield from _attributes(state, is_script=is_script)
    quantised = _quantised_state(instance)
    if quantised is not None:
        yield _Child("weight", quantised["weight"], module_convolution(quantised))
        if type(quantised["bias"]) is StoredTensor:
            yield _Child("bias", quantised["bias"])
        return
    for part in (None if type(state) is dict else state, instance.entries, instance.elements):
        if type(part) in _INTERESTING:
            yield _Child(None, part)


def _quantised_state(instance: Instance) -> dict[str, object] | None:
    """The attributes of a quantised convolution, which is pickled as a tuple of them (torch.ao.nn.quantized)."""
    maker, state = instance.maker, instance.state
    if type(maker) is not Name or ".quantized." not in maker.module or type(state) is not tuple:
        return None
    attributes: dict[str, object] = dict(zip(_QUANTISED, state, strict=False))
    return attributes if type(attributes.get("weight")) is StoredTensor and "bias" in attributes else None


def _attributes(state: object, *, is_script: bool) -> Iterator[_Child]:
    """The children of a module: registered members by name; other attributes may be anything."""
    if type(state) is not dict:
        return
    for attribute, value in state.items():
        if attribute in _REGISTERED and type(value) is dict:
            convolution = module_convolution(state) if attribute == "_parameters" else None
            for key, child in value.items():
                if type(child) in _INTERESTING:
                    yield _Child(key, child, convolution if key == "weight" else None)
        elif type(value) in _INTERESTING:
            yield _Child(attribute, value, is_loose=not is_script)


def module_convolution(state: dict[str, object]) -> Convolution | None:
    """The convolution of a pickled torch.nn module; None for other modules."""
    transposed, groups, channels = state.get("transposed"), state.get("groups"), state.get("in_channels")
    kernel = sizes(state.get("kernel_size"))
    if type(transposed) is not bool or type(groups) is not int or groups < 1 or kernel is None:
        return None
    return Convolution(
        kind=kind(transposed=transposed, groups=groups, channels=channels),
        context=Context.DECLARED,
        groups=groups,
        stride=sizes(state.get("stride")),
        dilation=sizes(state.get("dilation")),
        padding=sizes(state.get("padding")),
    )


def kind(*, transposed: bool, groups: int, channels: object) -> Kind:
    """The kind of a convolution with `channels` input channels."""
    if transposed:
        return Kind.TRANSPOSED
    if groups == 1:
        return Kind.CONV
    return Kind.DEPTHWISE if groups == channels else Kind.GROUPED


def sizes(value: object) -> tuple[int, ...] | None:
    """A tuple or list of small numbers, such as strides; None for anything else, such as 'same'."""
    if type(value) not in {tuple, list} or not isinstance(value, tuple | list) or not 1 <= len(value) <= 3:
        return None
    numbers = tuple(number for number in value if type(number) is int and 0 <= number < 1 << 31)
    return numbers if len(numbers) == len(value) else None
