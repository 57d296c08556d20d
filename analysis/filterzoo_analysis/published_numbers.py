"""Numbers published in the papers, for comparison, with their sources."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class NumberSource(StrEnum):
    """Where a published number was found."""

    CODE = "authors' code or a notebook's stored output"
    FIGURE = "decoded from a published figure's colours, +-0.01"
    ABSTRACT = "the paper's abstract, in words"
    THIRD = "a third party's recount of the release"


@dataclass(frozen=True, slots=True)
class PublishedNumber:
    """A number as published. paper: arXiv id. variant: the definition of drift it was computed with, "" if none."""

    what: str
    value: str
    evidence: NumberSource
    paper: str
    variant: str = ""


_DB, _LENS, _MEDICAL, _CONFIDENCE = "2203.15331", "2204.02481", "2210.13799", "2210.05938"

MODELS = PublishedNumber("models in the release", "647", NumberSource.FIGURE, _DB)
FILTERS = PublishedNumber("3x3 filters in the release", "1,464,797,156", NumberSource.THIRD, _DB)
LAYERS = PublishedNumber("3x3 layers in the release", "21,436", NumberSource.THIRD, _DB)
EVR = PublishedNumber(
    "explained variance ratio of all scaled filters",
    ".39815 .18326 .11704 .09853 .06576 .05522 .03008 .02823 .02374",
    NumberSource.THIRD,
    _DB,
    "cvpr22",
)
DRIFT = {
    "task": PublishedNumber("drift by task, 11x11: mean; largest", ".17; .70", NumberSource.FIGURE, _DB, "cvpr22"),
    "visual_category": PublishedNumber(
        "drift by visual category, 16x16: mean; largest", ".43; 1.36", NumberSource.FIGURE, _DB, "cvpr22"
    ),
    "depth": PublishedNumber(
        "drift by depth decile, 10x10: mean; largest", ".049; .20", NumberSource.FIGURE, _DB, "cvpr22"
    ),
}
ORDER = PublishedNumber("order of mean drift", "visual category > task > depth", NumberSource.FIGURE, _DB, "cvpr22")
_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
ROBUST_DRIFT = {
    name: PublishedNumber(
        f"drift robust - normal, {spelt}, a normal network once for each robust one",
        value,
        NumberSource.CODE,
        _LENS,
        "robust22",
    )
    for (name, spelt), value in zip(_SETS.items(), (".6217", ".1742", ".0181"), strict=True)
}
ROBUST_DRIFT_ONCE = {
    name: PublishedNumber(
        f"drift robust - normal, {spelt}, each network once", value, NumberSource.CODE, _LENS, "robust22"
    )
    for (name, spelt), value in zip(_SETS.items(), (".5533", ".1628", ".0161"), strict=True)
}
ACCURACIES = {
    name: PublishedNumber(
        f"mean accuracy of pairs, {spelt}: normal clean / robust clean / robust attacked",
        value,
        NumberSource.CODE,
        _LENS,
    )
    for (name, spelt), value in zip(
        _SETS.items(), (".9217 / .8692 / .5671", ".7268 / .6224 / .2903", ".7846 / .6072 / .3078"), strict=True
    )
}
FIRST_LAYER_DRIFT = {
    "cifar10": PublishedNumber("drift of first layers, CIFAR-10", ".4724", NumberSource.CODE, _LENS, "robust22"),
    "cifar100": PublishedNumber("drift of first layers, CIFAR-100", ".6258", NumberSource.CODE, _LENS, "robust22"),
}
DEEP_DRIFT = {
    "cifar10": PublishedNumber(
        "drift in (.8, .9] and (.9, 1], CIFAR-10", "1.10 / 1.54", NumberSource.FIGURE, _LENS, "robust22"
    ),
    "cifar100": PublishedNumber(
        "drift in (.8, .9] and (.9, 1], CIFAR-100", ".29 / .79", NumberSource.FIGURE, _LENS, "robust22"
    ),
}
ROBUST_EVR = PublishedNumber(
    "explained variance ratio, first three: robust; normal",
    ".392 .210 .138; .670 .122 .082",
    NumberSource.CODE,
    _LENS,
    "robust22",
)
SPARSE_SHARE = PublishedNumber(
    "share of sparse filters: robust; normal", ".0945; .3948", NumberSource.CODE, _LENS, "robust22"
)
SPEARMAN = {
    "clean_accuracy": PublishedNumber(
        "Spearman of robust with clean accuracy, CIFAR-10 / CIFAR-100 / ImageNet",
        ".708 / .461 / 1.0",
        NumberSource.CODE,
        _LENS,
    ),
    "variance_entropy": PublishedNumber(
        "Spearman of robust accuracy with H, CIFAR-10 / CIFAR-100 / ImageNet",
        ".438 / .130 / -.6",
        NumberSource.CODE,
        _LENS,
        "robust22",
    ),
    "sparsity": PublishedNumber(
        "Spearman of robust accuracy with S, CIFAR-10 / CIFAR-100 / ImageNet",
        "-.274 / -.203 / -.1",
        NumberSource.CODE,
        _LENS,
        "robust22",
    ),
}
FAMILY_DRIFT = {
    "unet": PublishedNumber(
        "drift among 6 U-Nets: mean; largest", ".15; .44", NumberSource.FIGURE, _MEDICAL, "medical22"
    ),
    "densenet": PublishedNumber(
        "drift among 9 DenseNet-121: mean; largest", ".13; .48", NumberSource.FIGURE, _MEDICAL, "medical22"
    ),
}
LESS_OVER_CONFIDENT = PublishedNumber(
    "over-confidence of adversarially trained networks, less that of normal ones",
    "significantly less over-confident, on clean data as well",
    NumberSource.ABSTRACT,
    _CONFIDENCE,
)
FUNCTIONS_MATTER = PublishedNumber(
    "activation functions and pooling", "matter for confidence", NumberSource.ABSTRACT, _CONFIDENCE
)
