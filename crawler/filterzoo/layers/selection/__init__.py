"""Which tensors of a file are convolution weights, and of which kind, if no graph states it (docs/selection.md).

Evidence, the strongest first: statements of a graph, an architecture or the framework's configuration; the file's
stated order of axes; the shapes in the file, which must fit each other; names, to break ties.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from filterzoo.errors import Reason, Refused
from filterzoo.layers.computations import stored_tensors
from filterzoo.layers.depth import depths
from filterzoo.layers.selection import names
from filterzoo.layers.selection.adapters import adapted, adapters, refuse_adapter_alone
from filterzoo.layers.selection.candidates import Candidate, PassedOver, is_reached, judged
from filterzoo.layers.selection.connected import unconnected
from filterzoo.layers.selection.copies import Path, copies
from filterzoo.layers.selection.kinds import described
from filterzoo.layers.selection.layouts import read_layouts
from filterzoo.layers.selection.positions import over_positions
from filterzoo.layers.selection.reparametrised import assembled
from filterzoo.layers.selection.scales import without_blocks
from filterzoo.layers.selection.sections import SECTIONS, of_network, sections, states_of_training, without_slots
from filterzoo.layers.selection.state_dict import StateDict
from filterzoo.records import Context, Evidence, Layout, LeftOut, Tensor

__all__ = ["SECTIONS", "PassedOver", "Selection", "select", "selection"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The convolution weights of the selected state dict, and the number of other arrays of rank 3 to 5, by cause.

    left_out: its convolution weights whose elements cannot be read, or are changed by an adapter.
    """

    convolutions: tuple[Tensor, ...]
    passed_over: dict[PassedOver, int]
    left_out: tuple[LeftOut, ...] = ()

    def words(self) -> str | None:
        """Arrays that were passed over, in the column's form: `3 copy, 1 elementwise`."""
        return ", ".join(f"{self.passed_over[why]} {why}" for why in PassedOver if why in self.passed_over) or None


def select(tensors: Sequence[Tensor], framework: str | None = None) -> tuple[Tensor, ...]:
    """The convolution weights of the selected state dict, each with its `convolution`, in file order."""
    return selection(tensors, framework).convolutions


def selection(tensors: Sequence[Tensor], framework: str | None = None) -> Selection:
    """As `select`. Refused (unsupported) for an adapter without a network.

    framework: as in `FileFacts`; None if the file does not state it.
    """
    found: list[Selection] = []
    copied = copies(without_slots(tensors))
    for section in sections(tensors):
        found.append(_of_section(section, copied, framework))
        if found[-1].convolutions and not found[-1].left_out:
            return found[-1]
    in_part = [each for each in found if each.convolutions]
    if in_part:
        return in_part[0]
    if not any(each.left_out for each in found):
        refuse_adapter_alone(tensors)
    passed_over = Counter[PassedOver]()
    for each in found:
        passed_over.update(each.passed_over)
    states = sum(map(_count, states_of_training(tensors)))
    passed_over.update({PassedOver.COPY: states} if states else {})
    return Selection((), dict(passed_over), tuple(left for each in found for left in each.left_out))


def _of_section(section: Sequence[Tensor], copied: set[Path], framework: str | None) -> Selection:
    network = of_network(section, copied)
    found = adapters(network)
    parts = {part.name for adapter in found.values() for part in adapter.parts}
    unblocked, in_blocks = without_blocks([tensor for tensor in network if tensor.name not in parts])
    whole, without_weight = adapted(assembled(unblocked), found)
    tensors = read_layouts(whole)
    shapes = {tensor.name: tensor.shape for tensor in section}
    verdicts = {tensor.name: judged(tensor, shapes) for tensor in tensors}
    state_dict = _connected(tensors, verdicts, shapes, framework)
    passed_over = Counter(verdict for verdict in verdicts.values() if isinstance(verdict, PassedOver))
    passed_over[PassedOver.COPY] += _count(section) - _count(network)
    passed_over[PassedOver.ADAPTER] += _count([tensor for tensor in network if tensor.name in parts])
    convolutions, unread = _readable([_kept(each, state_dict) for each in state_dict.candidates])
    left_out = (*unread, *in_blocks, *without_weight)
    return Selection(convolutions, {why: count for why, count in passed_over.items() if count}, left_out)


def _count(tensors: Sequence[Tensor]) -> int:
    """The number of arrays with a rank of convolution weights."""
    return sum(3 <= len(tensor.shape) <= 5 for tensor in tensors)


def _connected(
    tensors: Sequence[Tensor],
    verdicts: dict[str, Candidate | PassedOver | None],
    shapes: dict[str, tuple[int, ...]],
    framework: str | None,
) -> StateDict:
    """The state dict of all candidates; an odd shape that fits no other layer changes the verdict to `undecided`."""
    state_dict = _state_dict(_with_reached(tensors, verdicts), tensors, shapes, framework)
    odd = unconnected(state_dict)
    if not odd:
        return state_dict
    verdicts.update(dict.fromkeys(odd, PassedOver.UNDECIDED))
    return _state_dict([each for each in state_dict.candidates if each.name not in odd], tensors, shapes, framework)


def _with_reached(tensors: Sequence[Tensor], verdicts: dict[str, Candidate | PassedOver | None]) -> list[Candidate]:
    """The candidates in file order, including undecided ones whose channels connect to 1-D convolutions."""
    undecided = [tensor for tensor in tensors if verdicts[tensor.name] is PassedOver.UNDECIDED]
    candidates = [each for each in verdicts.values() if isinstance(each, Candidate)]
    verdicts.update(dict.fromkeys(over_positions(candidates, undecided), PassedOver.UNDECIDED))
    sequences = [each for each in verdicts.values() if isinstance(each, Candidate) and len(each.kernel) == 1]
    for tensor in tensors:
        if verdicts[tensor.name] is PassedOver.UNDECIDED:
            as_one = Candidate(tensor, tensor.shape[0], tensor.shape[1], tensor.shape[2:], None)
            if tensor.shape[1] != tensor.shape[2] and is_reached(as_one, sequences):
                verdicts[tensor.name] = as_one
    _drop_heads(verdicts, {tensor.name: tensor.shape for tensor in tensors})
    return [each for tensor in tensors if isinstance(each := verdicts[tensor.name], Candidate)]


def _drop_heads(verdicts: dict[str, Candidate | PassedOver | None], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Remove output projections of attention layers, (heads, width, outputs), which look like 1-D kernels.

    Input projections have the shape (inputs, heads, width), or the number of outputs equals heads times width.
    """
    none = [name for name, why in verdicts.items() if why in {PassedOver.UNDECIDED, PassedOver.STACKED}]
    modules = {names.parent(name) for name in none}
    heads = {(names.parent(name), shapes[name][1:]) for name in none if len(shapes[name]) == 3}
    for name, each in verdicts.items():
        if not isinstance(each, Candidate) or len(each.kernel) != 1 or each.tensor.convolution is not None:
            continue
        if each.tensor.layout is Layout.OI_K and each.bias == each.first != each.kernel[0]:
            continue  # the bias of an attention layer is as long as its last axis
        module = names.parent(name)
        is_product = module in modules and each.kernel[0] * each.second == each.first
        if is_product or (module, shapes[name][:2]) in heads:
            verdicts[name] = PassedOver.STACKED


def _state_dict(
    chosen: Sequence[Candidate], tensors: Sequence[Tensor], shapes: dict[str, tuple[int, ...]], framework: str | None
) -> StateDict:
    places = {tensor.name: place for place, tensor in enumerate(tensors)}
    own = {each.name for each in chosen}
    vectors = [
        (place, tensor.shape[0])
        for place, tensor in enumerate(tensors)
        if len(tensor.shape) == 1 and not _is_bias_of(tensor.name, own)
    ]
    matrices = [(name, *shape) for name, shape in shapes.items() if len(shape) == 2]
    return StateDict(chosen, vectors, places, matrices, framework)


def _is_bias_of(name: str, own: set[str]) -> bool:
    return name.endswith("bias") and f"{name[:-4]}weight" in own


def _kept(candidate: Candidate, state_dict: StateDict) -> Tensor:
    """The weight's tensor, with what a module, configuration or graph stated."""
    tensor = candidate.tensor
    if tensor.convolution is None:
        return described(candidate, state_dict)
    state_dict.note(candidate, tensor)
    if tensor.evidence is not None or tensor.convolution.context is not Context.DECLARED:
        return tensor
    return replace(tensor, evidence=Evidence.CONFIG)


def _readable(convolutions: Sequence[Tensor]) -> tuple[tuple[Tensor, ...], tuple[LeftOut, ...]]:
    """The readable convolutions, with their depth among all convolutions, and the unreadable ones."""
    obstacles = [next((part.obstacle for part in stored_tensors(each) if part.obstacle), None) for each in convolutions]
    if not any(obstacles):
        return tuple(convolutions), ()
    kept: list[Tensor] = []
    left_out: list[LeftOut] = []
    for each, obstacle, (depth, norm, _) in zip(convolutions, obstacles, depths(convolutions), strict=True):
        if obstacle is not None:
            left_out.append(LeftOut(each.name, str(Reason.UNSUPPORTED), obstacle))
        elif each.convolution is not None:
            kept.append(replace(each, convolution=replace(each.convolution, stated_depth=(depth, norm))))
    return tuple(kept), tuple(left_out)


def refuse_undecided(found: Selection, arrays: int) -> None:
    """Refused if arrays may be convolution weights but none is certain, or if all belong to an optimiser."""
    undecided = found.passed_over.get(PassedOver.UNDECIDED, 0)
    if not found.convolutions and undecided:
        detail = f"{undecided} of its {arrays} arrays may be convolution weights or not: nothing in the file decides"
        raise Refused(Reason.UNSUPPORTED, detail)
    copied = found.passed_over.get(PassedOver.COPY, 0)
    if not found.convolutions and copied:
        detail = f"no network: {copied} of its {arrays} arrays are what an optimiser keeps, or copies"
        raise Refused(Reason.UNSUPPORTED, detail)
