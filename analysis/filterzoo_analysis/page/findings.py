"""The findings on the report's first screen: three sentences, each with its uncertainty or why there is no result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, RATE, mean_interval
from filterzoo_analysis.exhibits import Exhibit, shown
from filterzoo_analysis.sections import quality
from filterzoo_analysis.sections.drifts import MOST_OF_A_GROUP
from filterzoo_analysis.zoo import Zoo

_GROUPINGS = {"task": "tasks", "visual_category": "kinds of images", "family": "families of architectures"}
"""Groupings whose drift may be reported. The first with two groups that can be compared is used."""
_THIRD = 1 / 3


def findings(zoo: Zoo, exhibits: Mapping[str, Exhibit]) -> list[str]:
    """Three sentences about all analysed networks. exhibits: those of the report, by name."""
    if not len(zoo.layers):
        return ["No layer has 3x3 filters with statistics, so that nothing can be said of their shapes."]
    return [_drift(exhibits), _by_depth(zoo), _degenerated(zoo)]


def _drift(exhibits: Mapping[str, Exhibit]) -> str:
    """The two groups with the largest drift, and the drift after exchanging their models at random."""
    for by, spelled in _GROUPINGS.items():
        exhibit = exhibits.get(f"drift_{by}")
        pairs = [] if exhibit is None else [row for row in exhibit.table.to_pylist() if row["q"] is not None]
        if pairs:
            return _drift_sentence(spelled, pairs)
    return (
        "How much networks of different tasks differ cannot be determined: no two groups have "
        f"{FEWEST_MODELS} networks or more each."
    )


def _drift_sentence(spelled: str, pairs: list[dict[str, Any]]) -> str:
    standing = [row for row in pairs if row["q"] <= RATE]
    most = max(standing or pairs, key=lambda row: row["drift"])
    low, high = (shown(most[end], 2) for end in ("low", "high"))
    drift, null, q = shown(most["drift"], 2), shown(most["null_mean"], 2), shown(most["q"])
    largest = (
        f"between “{most['first']}” and “{most['second']}” it is {drift} nats (95 % interval {low} to {high}), where "
        f"networks exchanged at random give {null} (q = {q}).{_of_one_network(most)}"
    )
    if standing:
        share = f"{len(standing)} of {counted(len(pairs), 'pair')} of {spelled}"
        return f"The distributions of filters differ by more than chance in {share}. The largest drift: {largest}"
    return f"No two {spelled} differ by more than chance would give. The largest drift: {largest}"


def _of_one_network(pair: dict[str, Any]) -> str:
    """Names groups whose filters are mostly those of one network: the drift may be specific to it."""
    ends = ((pair[f"{end}_largest_share"], pair[end]) for end in ("first", "second"))
    parts = [f"{100 * share:.0f} % of the filters of “{name}”" for share, name in ends if share > MOST_OF_A_GROUP]
    return f" One network supplies {' and one '.join(parts)}." if parts else ""


def _by_depth(zoo: Zoo) -> str:
    """Whether variance entropy differs between the last and the first third of a network's layers."""
    depth = zoo.layers.numbers("conv_depth_norm")
    first, last = (
        quality.model_means(zoo.layers, zoo.coefficients.entropy, rows)
        for rows in (depth <= _THIRD, depth >= 1 - _THIRD)
    )
    difference: Doubles = last - first
    mean, low, high = mean_interval(difference, bounds=(-np.inf, np.inf))
    models = int(np.isfinite(difference).sum())
    if not np.isfinite(low):
        return (
            f"Whether variance entropy changes with depth cannot be determined: {counted(models, 'network')} "
            f"{'has' if models == 1 else 'have'} it in the first and in the last third, and {FEWEST_MODELS} are needed."
        )
    over = f"{shown(mean)} (95 % interval {shown(low)} to {shown(high)}, over {counted(models, 'network')})"
    if low > 0 or high < 0:
        way, means = ("more", "more like random ones") if mean > 0 else ("less", "more alike")
        return f"Late layers vary {way} than early ones, their filters are {means}: variance entropy changes by {over}."
    return f"No change of variance entropy with depth can be told: the last third of layers differs by {over}."


def _degenerated(zoo: Zoo) -> str:
    """The mean share of a network's layers that are degenerated."""
    state = quality.is_degenerated(zoo.layers)
    shares = quality.model_means(zoo.layers, state, np.ones(len(state), bool))
    mean, low, high = mean_interval(shares)
    models, known = int(np.isfinite(shares).sum()), int(np.isfinite(state).sum())
    found = f"{int(np.nansum(state)):,} of {counted(known, 'layer')} are degenerated (close to random, or collapsed)"
    if not np.isfinite(low):
        return f"{found}; {counted(models, 'network')} are too few for an interval."
    of = f"{shown(100 * low, 1)} to {shown(100 * high, 1)} %"
    return f"{found}: {shown(100 * mean, 1)} % of a network's on average (95 % interval {of}, {models} networks)."
