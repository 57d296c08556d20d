"""Accuracies of timm's networks on ImageNet: `results/results-imagenet.csv` of its repository."""

from __future__ import annotations

import csv

from filterzoo import Reason, Refused


def accuracies(text: str) -> dict[str, dict[int, float]]:
    """Name -> side of the images -> accuracy in [0, 1]; Refused (malformed) for another table.

    A network has a row for each image size that it was tested with, the best first.
    """
    found: dict[str, dict[int, float]] = {}
    try:
        for row in csv.DictReader(text.splitlines(), strict=True):
            top1 = min(max(round(float(row["top1"]) / 100, 6), 0.0), 1.0)
            found.setdefault(row["model"], {}).setdefault(int(row["img_size"]), top1)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise Refused(Reason.MALFORMED, f"not timm's table of results: {error!r}", "results-imagenet.csv") from error
    return found


def accuracy(of_sizes: dict[int, float], side: int) -> float | None:
    """The accuracy for images of that side, which the network was trained with; else the best one."""
    return of_sizes.get(side, max(of_sizes.values(), default=None))
