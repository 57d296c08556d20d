"""An image set: labelled images by index, loaded on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class ImageSet:
    """name: the value of the column `image_set`. sample_ids, labels: one for each image. load: index -> image."""

    name: str
    sample_ids: Sequence[str]
    labels: Sequence[int]
    load: Callable[[int], Image.Image]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> ImageSet:
        """The set reduced to its first `count` images; None for all."""
        return self if count is None else ImageSet(self.name, self.sample_ids[:count], self.labels[:count], self.load)
