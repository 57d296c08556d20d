"""An image set: labelled images by number, loaded when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True, slots=True)
class ImageSet:
    """name: as the column `image_set` has it. sample_ids, labels: of each image. load: number -> the image."""

    name: str
    sample_ids: Sequence[str]
    labels: Sequence[int]
    load: Callable[[int], Image.Image]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> ImageSet:
        """The same set with its first images only."""
        return self if count is None else ImageSet(self.name, self.sample_ids[:count], self.labels[:count], self.load)
