"""Activations of a pair's first layers on a picture and on its attacked version (arXiv:2204.02481)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.errors import StartError
from filterzoo.layers.layer import Floats
from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import Exhibit, query_of, table_of
from filterzoo_analysis.filters.kept import Kept
from filterzoo_analysis.filters.passes import run
from filterzoo_analysis.filters.steps import reading_steps
from filterzoo_analysis.zoo import Zoo

_SHOWN = 8
"""Number of filters shown of each network: those of largest norm."""
_HOW = (
    f"relu(convolution) of the {_SHOWN} filters of largest norm, without bias and norm layers, which are not "
    "published; the picture in [0, 1] less its mean colour, since the networks' own normalisation is not known."
)
_LONGEST = 512
"""Largest length of a picture's longer side, in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class _First:
    """The first layer of a network: weights float32 (out, in, 3, 3), in = 1 or 3."""

    network: str
    weights: Floats


def activations(zoo: Zoo, images: tuple[str, ...]) -> Exhibit | None:
    """relu(conv(picture)) of both networks of a pair; None if no pair has 3x3 first layers for pictures.

    images: paths of a picture and, optionally, of its attacked version. StartError unless they are pictures of equal
    size.
    """
    layers = _first_layers(zoo)
    if layers is None:
        return None
    pictures = [_picture(Path(path)) for path in images[:2]]
    if len({picture.shape for picture in pictures}) > 1:
        raise StartError(f"{images[1]}: not of the size of {images[0]}; an attacked twin has the same pixels")
    rows: list[dict[str, Any]] = []
    panels: list[npt.NDArray[np.floating[Any]]] = []
    for layer in layers:
        order = np.argsort(-np.square(layer.weights).sum(axis=(1, 2, 3)), kind="stable")[:_SHOWN]
        answers = [_relu_convolution(layer.weights[order], picture) for picture in pictures]
        rows += _rows(layer.network, order, answers)
        panels += [np.stack([_as_picture(kernel) for kernel in layer.weights[order]]), *answers]
        panels += [np.abs(answers[0] - answers[1])] if len(answers) == 2 else []
    names = ["filter", "picture", "attacked", "difference"] if len(pictures) == 2 else ["filter", "picture"]
    labels = [f"{layer.network}: {name}" for layer in layers for name in names]
    return Exhibit(
        name="first_layer_thresholding",
        title="First layers on the given picture",
        summary=_summary(rows) + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.thresholding.activations", images=images),
        draw=partial(figures.pictures, rows=panels, labels=labels),
        size=(11, 1.25 * len(panels)),
        notes=(_HOW,),
    )


def _first_layers(zoo: Zoo) -> list[_First] | None:
    """The first layers of the first pair in which both have 1 or 3 input channels."""
    models, layers = zoo.dataset.models, zoo.layers
    columns = [models[name].to_pylist() for name in ("pair_id", "robust")]
    found: dict[str, dict[bool, int]] = {}
    for row in np.flatnonzero((layers.numbers("conv_depth") == 0) & (layers.numbers("filters_rows") > 0)):
        pair, robust = (column[layers.model[row]] for column in columns)
        shape = layers.table["shape"][int(row)].as_py()
        if pair is not None and robust is not None and shape[1] in {1, 3}:
            found.setdefault(pair, {}).setdefault(robust, int(row))
    pair = min((name for name, members in found.items() if len(members) == 2), default=None)
    if pair is None or zoo.dataset.files is None:
        return None
    return [_First(name, _weights(zoo, found[pair][robust])) for robust, name in ((False, "normal"), (True, "robust"))]


def _weights(zoo: Zoo, row: int) -> Floats:
    table = zoo.layers.table.slice(row, 1)
    if zoo.dataset.files is None:
        raise StartError("this data set has no files")
    steps = reading_steps(zoo.dataset.files, table)
    (_, filters), *_ = run(zoo.dataset.files, steps, lambda pieces: np.concatenate(list(pieces)), Kept(0))
    weights: Floats = np.nan_to_num(filters.reshape(table["shape"][0].as_py()), posinf=0, neginf=0)
    return weights


def _picture(path: Path) -> Floats:
    """Float32 (3, height, width), with its mean colour subtracted."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # only where pictures are given

    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (_LONGEST, _LONGEST))
            image = opened.convert("RGB")
            image.thumbnail((_LONGEST, _LONGEST))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise StartError(f"{path}: not a picture that can be read ({type(error).__name__})") from error
    pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / 255
    centred: Floats = pixels - pixels.mean(axis=(1, 2), keepdims=True)
    return centred


def _relu_convolution(weights: Floats, picture: Floats) -> Floats:
    """(out, height, width), with zero padding. A layer with one input channel gets the mean of the colours."""
    import torch  # noqa: PLC0415  # only where pictures are given

    seen = picture if weights.shape[1] == 3 else picture.mean(axis=0, keepdims=True)
    answer = torch.nn.functional.conv2d(
        torch.from_numpy(seen.copy())[None], torch.from_numpy(weights.copy()), padding=1
    )
    found: Floats = torch.relu(answer[0]).numpy()
    return found


def _rows(network: str, order: npt.NDArray[np.int64], answers: list[Floats]) -> list[dict[str, Any]]:
    rows = []
    for place, number in enumerate(order):
        clean = answers[0][place]
        row: dict[str, Any] = {"network": network, "filter": int(number), "mean_activation": float(clean.mean())}
        row["share_zero"] = float((clean == 0).mean())
        row["mean_difference"] = float(np.abs(answers[1][place] - clean).mean()) if len(answers) == 2 else None
        rows.append(row)
    return rows


def _summary(rows: list[dict[str, Any]]) -> str:
    sentences = []
    for network in ("normal", "robust"):
        mine = [row for row in rows if row["network"] == network]
        text = f"{network}: {np.mean([row['share_zero'] for row in mine]):.0%} of activations are zero"
        if mine[0]["mean_difference"] is not None:
            text += f", mean difference {np.mean([row['mean_difference'] for row in mine]):.4f}"
        sentences.append(text)
    return "; ".join(sentences)


def _as_picture(kernel: Floats) -> Floats:
    """(3, 3, 3) or (3, 3): a filter as an image in [0, 1]."""
    limit = np.float32(np.abs(kernel).max() or 1.0)
    image: Floats = ((kernel / limit + 1) / 2).astype(np.float32)
    return image.transpose(1, 2, 0) if len(kernel) == 3 else image[0]
