"""A short overview of a published data set: `python -m filterzoo_analysis.overview TARGET --picture FILE.png`."""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import matplotlib as mpl
import numpy as np

from filterzoo.measures.entropy import is_degenerated, principal_components
from filterzoo.measures.statistics import Moments, merge_moments, unpack
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import cell, console, table

LAYERS_SHOWN = 12


def main() -> None:
    """Print the content of the data set and draw the principal components of its 3x3 filters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="a published data set: a folder, or user/name on the Hub")
    parser.add_argument("--picture", type=Path, required=True, help="where to draw the picture (PNG or SVG)")
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    models = rows(arguments.target, "models")
    layers = rows(arguments.target, "layers")
    skipped = rows(arguments.target, "skipped")
    _show_models(models)
    _show_skipped(skipped)
    _show_layers(layers)
    moments = scaled_moments(layers)
    _show_components(moments)
    draw_components(moments, arguments.picture)
    out = console()
    out.print(f"\nA picture of the principal components: {arguments.picture}")
    out.print("Load the filters yourself:")
    out.print(f'  import filterzoo; filters = filterzoo.load("{arguments.target}")   # (n, 3, 3) float32')
    out.print(f'  import datasets; blocks = datasets.load_dataset("{arguments.target}", "filters", split="train")')


def rows(target: str, config: str) -> list[dict[str, Any]]:
    """All rows of a config of a published data set, through `datasets.load_dataset`."""
    return list(datasets.load_dataset(target, config, split="train").with_format(None))


def scaled_moments(layers: list[dict[str, Any]]) -> Moments:
    """Moments of the scaled 3x3 filters of all distinct layers, computed from the table alone."""
    distinct = {layer["layer_id"]: layer for layer in layers if layer["scaled_m2"] is not None}
    parts = [distinct[layer_id] for layer_id in sorted(distinct)]
    if not parts:
        return Moments.empty()
    means = np.array([part["scaled_mean"] for part in parts])
    m2s = unpack(np.array([part["scaled_m2"] for part in parts]))
    return merge_moments([part["n_finite"] for part in parts], means, m2s)


def draw_components(moments: Moments, path: Path) -> None:
    """Draw the nine principal components as 3x3 images with their shares of variance. Needs at least two filters."""
    components = principal_components(moments)
    if components is None:
        return
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  # after the backend is chosen

    figure, axes = plt.subplots(1, 9, figsize=(13, 2.2), layout="constrained")
    for number, axis in enumerate(axes):
        axis.imshow(components.components[number].reshape(3, 3), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"{components.ratio[number]:.1%}", fontsize=11)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_xlabel(f"$v_{number}$")
    figure.suptitle(f"Principal components of {moments.count:,} scaled 3x3 filters, with their shares of variance")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _show_models(models: list[dict[str, Any]]) -> None:
    out = console()
    n_filters = sum(model["filters_3x3"] for model in models)
    out.print(f"\nRead: {counted(len(models), 'checkpoint')}, {counted(n_filters, '3x3 filter')}")
    made = table(
        "checkpoint", "format", "licence", "layers", "3x3 filters", "same as", numbers=("layers", "3x3 filters")
    )
    for model in models:
        same = "-" if model["duplicate_of"] is None else model["duplicate_of"].partition("@")[0]
        made.add_row(
            cell(model["id"], longest=56),
            cell(model["format"]),
            cell(model["licence"] or "unknown", longest=24),
            str(model["n_layers"]),
            f"{model['filters_3x3']:,}",
            cell(same, longest=40),
        )
    out.print(made)


def _show_skipped(skipped: list[dict[str, Any]]) -> None:
    out = console()
    reasons = Counter(entry["reason"] for entry in skipped)
    summary = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()) or "nothing"
    out.print(f"\nNot taken: {summary}")
    for entry in skipped:
        made = table("", "")
        made.show_header = False
        made.add_row(cell(entry["id"] or entry["source"], longest=56), cell(entry["detail"], longest=80))
        out.print(made)


def _show_layers(layers: list[dict[str, Any]]) -> None:
    """Print the largest 3x3 layers, by relative depth."""
    out = console()
    named = [layer for layer in layers if layer["kernel"] == "3x3"]
    largest = sorted(named, key=lambda layer: -layer["n_filters"])[:LAYERS_SHOWN]
    out.print(f"\nThe {len(largest)} largest 3x3 layers, by depth:")
    numbers = ("depth", "filters", "sparsity", "entropy", "threshold", "orthogonality")
    measured = ("filters", "sparsity", "entropy", "threshold", "orthogonality")
    made = table("depth", "network", "layer", *measured, "", numbers=numbers)
    for layer in sorted(largest, key=lambda layer: layer["conv_depth_norm"]):
        degenerated = is_degenerated(layer["variance_entropy"], layer["variance_entropy_threshold"], layer["sparsity"])
        measures = ("sparsity", "variance_entropy", "variance_entropy_threshold", "orthogonality")
        made.add_row(
            f"{layer['conv_depth_norm']:.2f}",
            cell(layer["model_id"].partition("@")[0].rpartition("/")[2], longest=32),
            cell(layer["name"], longest=40),
            f"{layer['n_filters']:,}",
            *("-" if layer[name] is None else f"{layer[name]:.3f}" for name in measures),
            "degenerated" if degenerated else "",
        )
    out.print(made)


def _show_components(moments: Moments) -> None:
    components = principal_components(moments)
    if components is not None:
        shares = " ".join(f"{share:.3f}" for share in components.ratio)
        console().print(f"\nExplained variance of the scaled 3x3 filters: {shares}")


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=FutureWarning)  # raised by dependencies of `datasets`
        main()
