"""The formulas of the three papers' notebooks, reimplemented in NumPy, pandas and scikit-learn on small zoos.

Each is named after what it computes: 70 bins over the range of all coefficients, empty bins at float32's epsilon,
KL both ways, sparse filters where no number exceeds a hundredth of the largest of their layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.stats
from sklearn.decomposition import PCA

DEPTHS = ["0", *(f"({i / 10:.1f}, {(i + 1) / 10:.1f}]" for i in range(10))]


@dataclass(frozen=True)
class Rows:
    """The notebooks' table, a row a layer, and its filters one after the other, (n, 9) as the file has them."""

    meta: pd.DataFrame
    filters: np.ndarray

    @property
    def ids(self) -> pd.Series:
        return self.meta["filter_ids"]


def rows(models: Sequence) -> Rows:
    """`models`: of tests.analysis.synthetic, their layers in order of depth."""
    table, parts, start = [], [], 0
    for model in models:
        for place, weights in enumerate(model.layers):
            filters = weights.reshape(-1, 9)
            table.append(
                {
                    **model.facts,
                    "Name": model.id,
                    "conv_depth": place,
                    "conv_depth_norm": place / max(1, len(model.layers) - 1),
                    "out_channels": weights.shape[0],
                    "filter_ids": np.arange(start, start + len(filters)),
                }
            )
            parts.append(filters)
            start += len(filters)
    return Rows(pd.DataFrame(table), np.concatenate(parts))


def scaled(filters: np.ndarray) -> np.ndarray:
    peak = np.abs(filters).max(axis=1)
    return filters / np.where(peak == 0, 1, peak)[:, None]


def shares(coefficients: np.ndarray, low: float, high: float) -> np.ndarray:
    density = np.histogram(coefficients, bins=70, range=(low, high), density=True)[0].astype(np.float64)
    density[density == 0] = np.finfo(np.float32).eps
    return density / density.sum()


def divergence(first: np.ndarray, second: np.ndarray, weights: np.ndarray, low: float, high: float) -> float:
    total = 0.0
    for axis, weight in enumerate(weights):
        p, q = shares(first[:, axis], low, high), shares(second[:, axis], low, high)
        total += weight * (scipy.stats.entropy(p, q) + scipy.stats.entropy(q, p))
    return total


def matrix(groups: Sequence[np.ndarray], weights: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.array([[divergence(a, b, weights, low, high) for b in groups] for a in groups])


def cvpr22(data: Rows, by: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(groups, drift between them, explained variance) of main.ipynb; `by`: a column, or `depth`."""
    filters = scaled(data.filters.astype(np.float16).astype(np.float32)).astype(np.float64)
    pca = PCA(9, svd_solver="full").fit(filters)
    found = pca.transform(filters)
    edges = np.arange(0, 1.1, 0.1)
    keys = pd.cut(data.meta["conv_depth_norm"], edges, include_lowest=True) if by == "depth" else data.meta[by]
    groups = data.ids.groupby(keys, observed=True).apply(np.hstack)
    parts = [found[ids] for ids in groups]
    ratio = pca.explained_variance_ratio_
    return [str(key) for key in groups.index], matrix(parts, ratio, found.min(), found.max()), ratio


def medical22(data: Rows, architecture: str) -> tuple[list[str], np.ndarray]:
    """(networks of an architecture, drift between them), nine equal weights over [-3, 3], in the basis of all."""
    filters = scaled(data.filters).astype(np.float64)
    found = PCA(9, svd_solver="full").fit(filters).transform(filters)
    chosen = data.meta["architecture"] == architecture
    groups = data.ids[chosen].groupby(data.meta["Name"]).apply(np.hstack)
    return list(groups.index), matrix([found[ids] for ids in groups], np.ones(9) / 9, -3, 3)


class Robust22:
    """pca.ipynb, sparsity.ipynb, orthogonality.ipynb, metric_comparison.ipynb and correlation.ipynb."""

    def __init__(self, data: Rows, pairings: pd.DataFrame) -> None:
        self.pairings = pairings
        self.meta = data.meta.copy()
        raw = data.filters.astype(np.float64)
        filters = scaled(raw)
        sparse = np.zeros(len(raw), bool)
        for ids in data.ids:
            layer = np.abs(raw[ids])
            sparse[ids] = layer.max(axis=1) <= layer.max() / 100
        self.meta["clean"] = [ids[~sparse[ids]] for ids in data.ids]
        self.meta["n"] = data.ids.apply(len)
        self.meta["n_clean"] = self.meta["clean"].apply(len)
        self.meta["entropy"] = [_entropy(filters[ids]) for ids in self.meta["clean"]]
        self.meta["ortho"] = [
            _orthogonality(raw[ids].reshape(out, -1))
            for ids, out in zip(data.ids, self.meta["out_channels"], strict=True)
        ]
        used = pd.concat([pairings["Robust"], pairings["Normal"]]).unique()
        self.pcas = {
            name: PCA(9, svd_solver="full").fit(filters[self._clean(self.meta["Name"].isin(names))])
            for name, names in (("full", used), ("robust", pairings["Robust"]), ("normal", pairings["Normal"]))
        }
        self.found = self.pcas["full"].transform(filters)

    def _clean(self, rows: pd.Series) -> np.ndarray:
        return np.hstack(self.meta.loc[rows, "clean"])

    def drift(self, dataset: str, depth: str | None = None, *, once: bool = False) -> float:
        """Robust from normal networks of a data set; a normal one in as many rows as pairs, or `once`."""
        chosen = self.pairings[self.pairings["Dataset"] == dataset]
        sides = []
        for kind in ("Robust", "Normal"):
            names = chosen[kind].drop_duplicates() if once else chosen[kind]
            layers = self.meta.set_index("Name").loc[list(names)]
            if depth is not None:
                layers = layers[_bin(layers) == depth]
            sides.append(self.found[np.hstack(layers["clean"])])
        weights = self.pcas["full"].explained_variance_ratio_
        return divergence(sides[0], sides[1], weights, self.found.min(), self.found.max())

    def measures(self, dataset: str, kind: str, measure: str, *, once: bool = False) -> pd.Series:
        """depth -> values of the boxes: one a row of the pairings, or one a network (`once`)."""
        chosen = self.pairings[self.pairings["Dataset"] == dataset][kind]
        chosen = chosen.drop_duplicates() if once else chosen
        found: dict[str, list[float]] = {}
        for name in chosen:
            layers = self.meta[self.meta["Name"] == name]
            for depth, here in layers.groupby(_bin(layers)):
                found.setdefault(str(depth), []).append(self.mean(here, measure))
        return pd.Series(found)

    @staticmethod
    def mean(layers: pd.DataFrame, measure: str) -> float:
        if measure == "sparsity":
            return (layers["n"] - layers["n_clean"]).sum() / layers["n"].sum()
        value, weight = {"entropy": ("entropy", "n_clean"), "ortho": ("ortho", "out_channels")}[measure]
        return (layers[value] * layers[weight]).sum() / layers[weight].sum()

    def spearman(self, dataset: str, measure: str, *, first: bool = False) -> float:
        """Of robust networks of the pairings with their robust accuracy; `clean_accuracy` or a measure."""
        chosen = self.pairings[self.pairings["Dataset"] == dataset]["Robust"]
        values, accuracy = [], []
        for name in chosen:
            layers = self.meta[self.meta["Name"] == name]
            accuracy.append(layers["robust_accuracy"].iloc[0])
            here = layers[layers["conv_depth"] == 0] if first else layers
            values.append(layers["clean_accuracy"].iloc[0] if measure == "clean_accuracy" else self.mean(here, measure))
        return float(scipy.stats.spearmanr(values, accuracy).statistic)


def _bin(layers: pd.DataFrame) -> pd.Series:
    """The first layer, then tenths of relative depth without it."""
    tenths = pd.cut(layers["conv_depth_norm"], np.linspace(0, 1, 11), labels=DEPTHS[1:]).astype(object)
    return tenths.where(layers["conv_depth"] > 0, DEPTHS[0])


def _entropy(filters: np.ndarray) -> float:
    singular = np.linalg.svd(filters - filters.mean(axis=0), compute_uv=False)
    return float(scipy.stats.entropy(singular**2 / (len(filters) - 1), base=10))


def _orthogonality(matrix: np.ndarray) -> float:
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    rows = matrix / np.where(norms == 0, 1, norms)
    n = len(rows)
    return 1 - np.abs(rows @ rows.T - np.eye(n)).sum() / (n * (n - 1))
