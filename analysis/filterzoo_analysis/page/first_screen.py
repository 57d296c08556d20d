"""The report's first screen: a description of the data set, and a picture of its filters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Floats
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import printable
from filterzoo_analysis.page import model_pictures
from filterzoo_analysis.tables.statistics import Ints
from filterzoo_analysis.zoo import Zoo

WIDE, NARROW = (36, 6), (14, 10)
"""Columns and rows of the mosaic, on a wide screen and on a phone."""
_SOURCES = 8
"""Largest number of zoos that are named."""


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Two pictures of the same sample as PNG in base64, their sizes in pixels, and a caption."""

    wide: str
    wide_size: tuple[int, int]
    narrow: str
    narrow_size: tuple[int, int]
    scale: str
    caption: str


def about(zoo: Zoo) -> str:
    """A description of the data set: networks, zoos, newest release and its day."""
    models = zoo.dataset.models
    counts = Counter(models["source"].to_pylist())
    named = ", ".join(printable(name, 60) for name, _ in counts.most_common(_SOURCES))
    more = f" and {len(counts) - _SOURCES} more" if len(counts) > _SOURCES else ""
    zoos = "the zoo" if len(counts) == 1 else f"{len(counts)} zoos:"
    summary = f"The convolution layers of {counted(len(models), 'trained network')} from {zoos} {named}{more}."
    days = models["first_seen"].drop_null()
    if not len(days):
        return summary
    newest = printable(str(pc.max(models["release"].drop_null())), 40)
    return f"{summary} Newest release {newest}, {_days(days)}."


def _days(days: pa.ChunkedArray) -> str:
    first, last = (printable(str(each), 10) for each in (pc.min(days), pc.max(days)))
    return f"of {last}" if first == last else f"of {last}; the first networks came on {first}"


def mosaic(zoo: Zoo) -> Mosaic | None:
    """Sampled filters, the same number from each network; None if there is no sample."""
    sample = zoo.sample()
    if not len(sample):
        return None
    weights = np.nan_to_num(sample["weights"].combine_chunks().flatten().to_numpy().reshape(-1, 9), posinf=0, neginf=0)
    codes = pc.rank(sample["model_id"], sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    order = _round_robin(codes)
    shown, pictures = [], []
    for across, down in (WIDE, NARROW):
        chosen: Floats = weights[np.sort(order[: across * down])]
        pictures.append(model_pictures.filter_grid(chosen, across))
        rows, columns = -(-len(chosen) // across), min(across, len(chosen))
        shown.append((len(chosen), (4 * columns - 1, 4 * rows - 1)))
    networks = counted(int(codes.max()), "network")
    caption = (
        f"3x3 filters of {networks} ({shown[0][0]:,} of the {len(sample):,} in the sample; {shown[1][0]:,} on a narrow "
        "screen), as many of one as of another where they have them. Each is divided by its largest absolute weight."
    )
    scale = model_pictures.scale()
    return Mosaic(pictures[0], shown[0][1], pictures[1], shown[1][1], scale, caption)


def _round_robin(codes: Ints) -> Ints:
    """An order of rows that takes a random row of each model in turn. codes: (n,), the model of each row."""
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(codes))
    by_model = shuffled[np.argsort(codes[shuffled], kind="stable")]
    starts = np.searchsorted(codes[by_model], codes[by_model])
    found: Ints = by_model[np.lexsort((codes[by_model], np.arange(len(codes)) - starts))]
    return found
