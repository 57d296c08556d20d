"""What a tag of timm says of the data: `augreg_in21k_ft_in1k_384` was trained on one set, then on another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data set a network was trained on last, and those before it, in order; None where the tag does not say."""

    training: str | None
    pretraining: str | None


def training_data(tag: str, datasets: Mapping[str, str]) -> TrainingData:
    """What the tokens of a tag stand for; the last data set named is the one it was trained on last.

    datasets: token, of one word or of several joined by `_`, -> the data set it stands for. Longer tokens win.
    """
    words = tag.split("_")
    found: list[str] = []
    place = 0
    while place < len(words):
        ends = range(len(words), place, -1)
        end = next((end for end in ends if "_".join(words[place:end]) in datasets), None)
        if end is not None:
            found.append(datasets["_".join(words[place:end])])
        place = end or place + 1
    if not found:
        return TrainingData(None, None)
    *before, training = found
    # `mae_in1k` names its one set twice; `in1k_ft_in1k` means two trainings.
    earlier = [name for name in dict.fromkeys(before) if name != training or "ft" in words]
    return TrainingData(training, ", ".join(earlier) or None)
