"""Linear mixed models: differences of measures along an axis, at equal architecture and data set."""

from __future__ import annotations

import importlib.util
import warnings
from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, RATE, adjusted_list
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections import confounding, quality
from filterzoo_analysis.zoo import Zoo

_AXES = ("task", "visual_category", "training_dataset", "robust")
_SHORT = {
    **{name: name for name in ("task", "robust", "sparsity", "orthogonality")},
    "variance_entropy": "entropy",
    "visual_category": "visual category",
    "training_dataset": "training set",
}
"""Labels of a figure."""
_FACTORS = {"architecture": "architecture family", "data": "training_dataset"}
"""Random effect -> its axis."""
_UNSTATED = "(not stated)"
_MOST_MODELS = 1000
"""Largest number of models in a fit. More would take minutes, so a reproducible sample is drawn."""
_FEWEST_FREE = 3
"""Least degrees of freedom: models minus groups and levels of random effects."""


def axis_effects(zoo: Zoo) -> Exhibit | str:
    """Spread of group means along each axis, raw and at equal architecture and data set; or a sentence why not.

    Model: y = group + architecture + data set + rest, where group is a fixed effect and the next two are random effects
    (statsmodels' MixedLM, REML). y: the mean of a measure over a network's layers, in units of its standard deviation
    over networks.
    """
    if importlib.util.find_spec("statsmodels") is None:
        return "No mixed models: statsmodels is missing (pip install 'filterzoo[report]')."
    rows = []
    for axis in _AXES:
        for measure in quality.MEASURES:
            row = _row(zoo, axis, measure)
            rows += [] if row is None else [row]
    if not rows:
        return f"No mixed models: no axis has two groups of {FEWEST_MODELS} models that state their architecture."
    q = adjusted_list(np.array([row["p"] for row in rows], dtype=float))
    rows = [row | {"q": each} for row, each in zip(rows, q, strict=True)]
    left = [row for row in rows if row["q"] <= RATE]
    summary = "; ".join(f"{row['measure']} by {row['axis']} {shown(row['spread'], 2)}" for row in left[:8])
    labels = [f"{_SHORT[row['measure']]}, {_SHORT[row['axis']]}{'*' if row['q'] <= RATE else ''}" for row in rows]
    series = {
        "as they are, SD of groups / SD of networks": [row["raw_spread"] for row in rows],
        "at equal architecture and data set": [0.0 if np.isnan(row["spread"]) else row["spread"] for row in rows],
    }
    return Exhibit(
        name="axis_effects",
        title="Differences along each axis at equal architecture and data set",
        summary=f"{len(left)} of {counted(len(rows), 'difference')} left{': ' if summary else ''}{summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "mixed_models.axis_effects"),
        draw=partial(figures.bars, labels=labels, series=series),
        size=(WIDE, 0.9 + 0.27 * max(3, len(rows))),
        notes=(
            f"Standard deviation of group means, in those over networks. Groups of {FEWEST_MODELS} models or more.",
            "Architecture families and training sets are random effects of a linear mixed model; `p` is of an F test.",
            f"*: q <= {RATE}, Benjamini-Hochberg over the rows.",
            "Where an axis coincides with architectures or data sets, no model can tell them apart: little is left.",
            _stated(rows),
        ),
    )


def _stated(rows: list[dict[str, Any]]) -> str:
    """What is adjusted for: data sets that are not stated are taken for one."""
    models, known = max(row["models"] for row in rows), max(row["data_stated"] for row in rows)
    return (
        f"Networks that state no architecture are left out. Of at most {models} networks {known} state a training set; "
        "the others count as trained on one and the same."
    )


def _row(zoo: Zoo, axis: str, measure: str) -> dict[str, Any] | None:
    values = zoo.coefficients.entropy if measure == "variance_entropy" else zoo.layers.numbers(measure)
    means = quality.model_means(zoo.layers, values, np.ones(len(zoo.layers), bool))
    groups = np.array([name or "" for name in confounding.values_of(zoo, axis)], dtype=object)
    stated = {
        name: np.array([value is not None for value in confounding.values_of(zoo, of)], bool)
        for name, of in _FACTORS.items()
    }
    # Unknown architectures are not equal ones.
    chosen = np.isfinite(means) & (groups != "") & stated["architecture"]
    names, counts = np.unique(groups[chosen].astype(str), return_counts=True)
    chosen &= np.isin(groups.astype(str), names[counts >= FEWEST_MODELS])
    places = np.flatnonzero(chosen)
    if len(places) > _MOST_MODELS:
        places = np.sort(np.random.default_rng(0).choice(places, _MOST_MODELS, replace=False))
    y, group = means[places], groups[places].astype(str)
    if len(set(group)) < 2 or np.std(y) == 0:
        return None
    y = (y - y.mean()) / y.std()
    factors = {
        name: np.array([value or _UNSTATED for value in confounding.values_of(zoo, of)])[places]
        for name, of in _FACTORS.items()
        if of != axis
    }
    factors = {name: levels for name, levels in factors.items() if 1 < len(set(levels)) < len(levels)}
    return {
        "axis": axis,
        "measure": measure,
        "models": len(y),
        "data_stated": int(stated["data"][places].sum()),
        "groups": len(set(group)),
        "raw_spread": _spread(np.array([y[group == each].mean() for each in group])),
        **_fitted(y, group, factors),
    }


def _spread(effects: Doubles) -> float:
    """Standard deviation, over models, of the effects of their groups."""
    return float(effects.std())


def _fitted(y: Doubles, group: Any, factors: dict[str, Any]) -> dict[str, Any]:
    """Spread of the fixed effects, p of an F test of them, and shares of variance; NaN if there is no fit."""
    unknown: dict[str, Any] = dict.fromkeys(
        ("spread", "p", "architecture_share", "data_share", "rest_share"), float("nan")
    )
    names = sorted(set(group))
    design = np.column_stack([np.ones(len(y)), *[(group == name).astype(np.float64) for name in names[1:]]])
    free = len(y) - design.shape[1] - sum(len(set(levels)) - 1 for levels in factors.values())
    if free < _FEWEST_FREE:
        return unknown
    try:
        estimates, covariance, shares = _reml(y, design, factors)
        effects, own = estimates[1:], covariance[1:, 1:]
        statistic = float(effects @ np.linalg.solve(own, effects)) / len(effects)
    except (np.linalg.LinAlgError, ValueError):
        return unknown
    from scipy.stats import f as distribution  # noqa: PLC0415  # comes with statsmodels

    return {
        "spread": _spread(design[:, 1:] @ effects),
        "p": float(distribution.sf(statistic, len(effects), free)) if np.isfinite(statistic) else float("nan"),
        "architecture_share": shares.get("architecture", float("nan")),
        "data_share": shares.get("data", float("nan")),
        "rest_share": shares["rest"],
    }


def _reml(y: Doubles, design: Doubles, factors: dict[str, Any]) -> tuple[Doubles, Doubles, dict[str, float]]:
    """Estimates and covariance of the fixed effects, and the variance of each random effect as a share of their sum."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec  # noqa: PLC0415  # seconds to load

    levels = {name: sorted(set(values)) for name, values in factors.items()}
    columns = {
        name: np.column_stack([(factors[name] == level).astype(np.float64) for level in levels[name]])
        for name in factors
    }
    with warnings.catch_warnings():
        # A variance of zero, at the boundary, is a valid fit.
        warnings.simplefilter("ignore")
        if not factors:
            from statsmodels.api import OLS  # noqa: PLC0415  # as above

            plain = OLS(y, design).fit()
            return np.asarray(plain.params), np.asarray(plain.cov_params()), {"rest": 1.0}
        random = VCSpec(
            list(factors),
            [[[str(level) for level in levels[name]]] for name in factors],
            [[columns[name]] for name in factors],
        )
        fit = MixedLM(y, design, groups=np.zeros(len(y)), exog_vc=random).fit(reml=True, method=["lbfgs", "powell"])
    size = design.shape[1]
    variances = dict(zip(factors, map(float, fit.vcomp), strict=True)) | {"rest": float(fit.scale)}
    total = sum(variances.values())
    return (
        np.asarray(fit.fe_params),
        np.asarray(fit.cov_params())[:size, :size],
        {name: value / total for name, value in variances.items()},
    )
