"""Training data by timm's tags: `augreg_in21k_ft_in1k_384` was pretrained on one set, fine-tuned on another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The last data set a network was trained on, and those before it, in order; None if the tag does not tell."""

    training: str | None
    pretraining: str | None


def training_data(tag: str, datasets: Mapping[str, str]) -> TrainingData:
    """The data sets in a tag; the last one named is the last one it was trained on.

    datasets: token (one word, or several joined by `_`) -> data set. Longer tokens take precedence.
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
    # `mae_in1k` names its only set twice; `in1k_ft_in1k` means two trainings.
    earlier = [name for name in dict.fromkeys(before) if name != training or "ft" in words]
    return TrainingData(training, ", ".join(earlier) or None)
