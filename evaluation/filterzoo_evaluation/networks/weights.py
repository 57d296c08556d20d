"""The tensors of a crawled checkpoint as a state dict of a trusted architecture. They must match it exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from filterzoo.errors import Reason, Refused
from filterzoo.reader.model_file import ModelFile


def state_dict_of(file: ModelFile) -> dict[str, np.ndarray]:
    """All arrays of the file's network. Of several state dicts, the one with the convolutions is used.

    Refused (unsupported) for quantised arrays, because their numbers are not the weights.
    """
    sections = {tensor.section for tensor in file.tensors.values()}
    chosen = _main_section(file) if len(sections) > 1 else None
    found: dict[str, np.ndarray] = {}
    for key, tensor in file.tensors.items():
        if chosen is not None and tensor.section != chosen:
            continue
        if tensor.quantisation is not None:
            raise Refused(Reason.UNSUPPORTED, "a quantised network is not evaluated", tensor.name)
        found[tensor.name] = file[key]
    return found


def _main_section(file: ModelFile) -> str:
    by_name = {tensor.name: tensor.section for tensor in reversed(list(file.tensors.values()))}
    layers = [by_name[layer.name] for layer in file.layers if layer.name in by_name]
    if not layers:
        raise Refused(Reason.UNSUPPORTED, "which of several state dicts is the network is not known")
    return max(sorted(set(layers)), key=layers.count)


def load_strictly(network: torch.nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Load every parameter and buffer; Refused (unsupported) unless names, shapes and kinds match exactly.

    A prefix of all names that the network does not have (`module.`, `model.`) is removed.
    """
    wanted = network.state_dict()
    found = _without_prefix(arrays, wanted)
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing or unknown:
        detail = f"does not fit the architecture: lacks {missing[:2]}, has besides {unknown[:2]}"
        raise Refused(Reason.UNSUPPORTED, detail)
    for name, own in wanted.items():
        array = found[name]
        if tuple(array.shape) != tuple(own.shape):
            raise Refused(Reason.UNSUPPORTED, f"the architecture has shape {tuple(own.shape)}, not {array.shape}", name)
        if not own.dtype.is_floating_point and not np.issubdtype(array.dtype, np.integer):
            raise Refused(Reason.UNSUPPORTED, f"the architecture has {own.dtype}, not {array.dtype}", name)
    network.load_state_dict(
        {name: torch.from_numpy(np.array(found[name])).to(own.dtype) for name, own in wanted.items()}, strict=True
    )


def _without_prefix(arrays: Mapping[str, np.ndarray], wanted: Mapping[str, object]) -> Mapping[str, np.ndarray]:
    found = dict(arrays)
    while found and not found.keys() & wanted.keys():
        prefixes = {name.partition(".")[0] for name in found}
        if len(prefixes) != 1 or any("." not in name for name in found):
            break
        found = {name.partition(".")[2]: array for name, array in found.items()}
    return found
