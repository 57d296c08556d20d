"""Known pairs of a robust and a normal network, and how often each model is counted."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa

from filterzoo.layers.layer import Doubles
from filterzoo_analysis.tables.statistics import Bools


def times_paired(models: pa.Table, analysed: Bools) -> Doubles:
    """(models,) how often a model is counted: a normal network once for each robust network of its pair.

    As in the paper (arXiv:2204.02481, `robust_vs_normal_pairings.csv`): a robust network has one row, a normal network
    has a row for each robust network that shares it. Several normal networks of a pair share these rows equally. 0 for
    models without a pair of both kinds, and for models that are not `analysed`.
    """
    members: defaultdict[str, dict[bool, list[int]]] = defaultdict(lambda: {False: [], True: []})
    columns = (models[name].to_pylist() for name in ("pair_id", "robust"))
    for place, (pair, robust) in enumerate(zip(*columns, strict=True)):
        if pair is not None and robust is not None and analysed[place]:
            members[pair][robust].append(place)
    times = np.zeros(len(models))
    for kinds in members.values():
        if kinds[True] and kinds[False]:
            times[kinds[True]] = 1.0
            times[kinds[False]] = len(kinds[True]) / len(kinds[False])
    return times
