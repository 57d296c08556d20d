"""The numbers of the papers that figures here answer to, and how far each can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Evidence(StrEnum):
    """Where a published number was read."""

    CODE = "authors' code or a notebook's stored output"
    FIGURE = "decoded from a published figure's colours, +-0.01"
    ABSTRACT = "the paper's abstract, in words"
    THIRD = "a third party's recount of the release"


@dataclass(frozen=True, slots=True)
class Published:
    """A number as published. `paper`: arXiv id; `variant`: the definition it was computed with, "" if none."""

    what: str
    value: str
    evidence: Evidence
    paper: str
    variant: str = ""


_DB, _LENS, _MEDICAL, _CONFIDENCE = "2203.15331", "2204.02481", "2210.13799", "2210.05938"

MODELS = Published("models in the release", "647", Evidence.FIGURE, _DB)
FILTERS = Published("3x3 filters in the release", "1,464,797,156", Evidence.THIRD, _DB)
LAYERS = Published("3x3 layers in the release", "21,436", Evidence.THIRD, _DB)
EVR = Published(
    "explained variance ratio of all scaled filters",
    ".39815 .18326 .11704 .09853 .06576 .05522 .03008 .02823 .02374",
    Evidence.THIRD,
    _DB,
    "cvpr22",
)
DRIFT = {
    "task": Published("drift by task, 11x11: mean; largest", ".17; .70", Evidence.FIGURE, _DB, "cvpr22"),
    "visual_category": Published(
        "drift by visual category, 16x16: mean; largest", ".43; 1.36", Evidence.FIGURE, _DB, "cvpr22"
    ),
    "depth": Published("drift by depth decile, 10x10: mean; largest", ".049; .20", Evidence.FIGURE, _DB, "cvpr22"),
}
ORDER = Published("order of mean drift", "visual category > task > depth", Evidence.FIGURE, _DB, "cvpr22")
_SETS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet": "ImageNet"}
ROBUST_DRIFT = {
    name: Published(
        f"drift robust - normal, {spelt}, a normal network once for each robust one",
        value,
        Evidence.CODE,
        _LENS,
        "robust22",
    )
    for (name, spelt), value in zip(_SETS.items(), (".6217", ".1742", ".0181"), strict=True)
}
ROBUST_DRIFT_ONCE = {
    name: Published(f"drift robust - normal, {spelt}, each network once", value, Evidence.CODE, _LENS, "robust22")
    for (name, spelt), value in zip(_SETS.items(), (".5533", ".1628", ".0161"), strict=True)
}
ACCURACIES = {
    name: Published(
        f"mean accuracy of pairs, {spelt}: normal clean / robust clean / robust attacked", value, Evidence.CODE, _LENS
    )
    for (name, spelt), value in zip(
        _SETS.items(), (".9217 / .8692 / .5671", ".7268 / .6224 / .2903", ".7846 / .6072 / .3078"), strict=True
    )
}
FIRST_LAYER_DRIFT = {
    "cifar10": Published("drift of first layers, CIFAR-10", ".4724", Evidence.CODE, _LENS, "robust22"),
    "cifar100": Published("drift of first layers, CIFAR-100", ".6258", Evidence.CODE, _LENS, "robust22"),
}
DEEP_DRIFT = {
    "cifar10": Published("drift in (.8, .9] and (.9, 1], CIFAR-10", "1.10 / 1.54", Evidence.FIGURE, _LENS, "robust22"),
    "cifar100": Published("drift in (.8, .9] and (.9, 1], CIFAR-100", ".29 / .79", Evidence.FIGURE, _LENS, "robust22"),
}
ROBUST_EVR = Published(
    "explained variance ratio, first three: robust; normal",
    ".392 .210 .138; .670 .122 .082",
    Evidence.CODE,
    _LENS,
    "robust22",
)
SPARSE_SHARE = Published("share of sparse filters: robust; normal", ".0945; .3948", Evidence.CODE, _LENS, "robust22")
SPEARMAN = {
    "clean_accuracy": Published(
        "Spearman of robust with clean accuracy, CIFAR-10 / CIFAR-100 / ImageNet",
        ".708 / .461 / 1.0",
        Evidence.CODE,
        _LENS,
    ),
    "variance_entropy": Published(
        "Spearman of robust accuracy with H, CIFAR-10 / CIFAR-100 / ImageNet",
        ".438 / .130 / -.6",
        Evidence.CODE,
        _LENS,
        "robust22",
    ),
    "sparsity": Published(
        "Spearman of robust accuracy with S, CIFAR-10 / CIFAR-100 / ImageNet",
        "-.274 / -.203 / -.1",
        Evidence.CODE,
        _LENS,
        "robust22",
    ),
}
FAMILY_DRIFT = {
    "unet": Published("drift among 6 U-Nets: mean; largest", ".15; .44", Evidence.FIGURE, _MEDICAL, "medical22"),
    "densenet": Published(
        "drift among 9 DenseNet-121: mean; largest", ".13; .48", Evidence.FIGURE, _MEDICAL, "medical22"
    ),
}
LESS_OVER_CONFIDENT = Published(
    "over-confidence of adversarially trained networks, less that of normal ones",
    "significantly less over-confident, on clean data as well",
    Evidence.ABSTRACT,
    _CONFIDENCE,
)
FUNCTIONS_MATTER = Published(
    "activation functions and pooling", "matter for confidence", Evidence.ABSTRACT, _CONFIDENCE
)
