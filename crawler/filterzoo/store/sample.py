"""The fixed draw of a checkpoint's filters for `filters_sample`, taken while its layers are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filterzoo.layers.layer import Floats, Layer

LARGEST_QUOTA = 8_192
"""Most filters of one checkpoint in the sample."""
KERNEL = "3x3"
"""The kernel size whose filters are sampled."""

Numbers = npt.NDArray[np.int64]
Sampled = tuple[Numbers, Floats]
"""Sorted indices of filters in a layer, and their weights, (n, 9)."""


def draw(model_id: str, layers: Sequence[tuple[str, int]], size: int) -> dict[str, Numbers]:
    """The filters of a checkpoint to sample, `layer_id` -> sorted indices: `size` of them, or all.

    `layers`: (layer_id, n_filters) of its published 3x3 layers, each once, in order. The draw depends on nothing else,
    so it is the same in every release; a smaller `size` gives a subset of a larger one.
    """
    ends = np.cumsum([0, *(count for _, count in layers)])
    chosen = _chosen(model_id, int(ends[-1]), size)
    places = np.searchsorted(chosen, ends)
    return {
        layer_id: chosen[places[number] : places[number + 1]] - ends[number]
        for number, (layer_id, _) in enumerate(layers)
    }


class SampleTaker:
    """Takes a checkpoint's largest draw from its unique 3x3 layers, one after the other.

    expected: their total number of filters. Tied layers make it wrong: then `taken` returns None, and the draw is taken
    from the filters file.
    """

    def __init__(self, model_id: str, expected: int) -> None:
        self._model_id = model_id
        self._expected = expected
        self._chosen = _chosen(model_id, expected, LARGEST_QUOTA)
        self._layers: dict[str, int] = {}
        self._found: dict[str, Sampled] = {}
        self._seen = 0

    def take(self, layer: Layer) -> None:
        """Add the next layer; other kernel sizes are ignored."""
        if layer.kernel != KERNEL:
            return
        self._layers[layer.layer_id] = layer.n_filters
        begin, end = np.searchsorted(self._chosen, [self._seen, self._seen + layer.n_filters])
        numbers = self._chosen[begin:end] - self._seen
        self._seen += layer.n_filters
        self._found[layer.layer_id] = numbers, layer.weights.reshape(-1, 9)[numbers]

    def taken(self) -> dict[str, Sampled] | None:
        """layer_id -> its sampled filters; None if the layers were not as expected."""
        return self._found if self._seen == self._expected else None

    def drawn(self, layers: Iterable[pa.Table]) -> dict[str, Sampled]:
        """The same, from tables of one layer each with the columns `layer_id` and `weights`."""
        chosen = draw(self._model_id, list(self._layers.items()), LARGEST_QUOTA)
        return {layer_id: (chosen[layer_id], weights) for layer_id, weights in pick(layers, chosen)}


def pick(layers: Iterable[pa.Table], chosen: dict[str, Numbers]) -> Iterator[tuple[str, Floats]]:
    """(layer_id, weights of its chosen filters, (n, 9)) for each layer that has any."""
    for table in layers:
        layer_id = table["layer_id"][0].as_py()
        if layer_id in chosen:
            yield layer_id, _rows(table["weights"], chosen[layer_id])


def _rows(weights: pa.ChunkedArray, numbers: Numbers) -> Floats:
    found = []
    first = 0
    for chunk in weights.chunks:
        filters = chunk.flatten().to_numpy().reshape(-1, 9)
        begin, end = np.searchsorted(numbers, [first, first + len(filters)])
        found.append(filters[numbers[begin:end] - first])
        first += len(filters)
    return np.concatenate(found)


def _chosen(seed: str, total: int, size: int) -> Numbers:
    """`size` of the numbers below `total`, sorted; all of them if there are no more."""
    return np.arange(total) if total <= size else _distinct(seed, total, size)


def _distinct(seed: str, total: int, size: int) -> Numbers:
    """The first `size` distinct numbers below `total` in the stream of SHAKE-256 over `seed`, sorted."""
    length = 2 * size
    while True:
        words = np.frombuffer(hashlib.shake_256(seed.encode()).digest(8 * length), "<u8")
        values, first_places = np.unique(words % np.uint64(total), return_index=True)
        if len(values) >= size:
            return np.sort(values[np.argsort(first_places)[:size]]).astype(np.int64)
        length *= 2
