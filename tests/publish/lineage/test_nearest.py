"""The networks that one is compared with are those that all comparisons would have found."""

from __future__ import annotations

import time

import numpy as np
import pytest

from filterzoo.measures.descent import PROBES
from filterzoo_publish.lineage import inferred, nearest
from filterzoo_publish.lineage.nearest import Family


def family(networks: int, layers: int, *, probed: bool = True, descendants: int = 4) -> Family:
    """Every fifth network is an origin, those behind it are its descendants, each a little farther away."""
    dice = np.random.default_rng(networks)
    place = np.arange(networks)
    origin, step = place - place % (descendants + 1), 0.02 * (place % (descendants + 1))[:, None, None]
    shape = (networks, layers)
    probes = dice.normal(size=(*shape, PROBES))
    mean = dice.normal(size=(*shape, 9))
    return Family(
        names=[f"n{number:04}" for number in place],
        identity=np.arange(networks * layers).reshape(shape),
        probes=probes[origin] + step * probes if probed else np.zeros((*shape, PROBES)),
        known=np.full(shape, probed),
        sizes=np.full(layers, PROBES),
        kurtosis=dice.uniform(1, 2, size=shape),
        mean=mean[origin] + step * mean,
        noise=dice.uniform(1, 2, size=shape),
    )


@pytest.mark.parametrize("probed", [True, False])
def test_few_comparisons_find_the_same_as_all(monkeypatch: pytest.MonkeyPatch, probed: bool):  # noqa: FBT001  # a parameter
    made = family(300, 6, probed=probed)
    few = list(inferred.rows_of_families([made]))
    monkeypatch.setattr(nearest, "COMPARED", 300)
    assert few == list(inferred.rows_of_families([made]))
    assert len(few) == 600  # each origin with four descendants, all near each other


def test_equal_distances_keep_the_order_of_names():
    made = family(200, 4, descendants=199)
    made.probes[:] = made.probes[0]
    assert [list(others) for others in nearest.nearest(made)][100] == list(range(nearest.COMPARED))


@pytest.mark.slow
def test_the_largest_family_costs_little():
    start = time.process_time()
    assert sum(len(others) for others in nearest.nearest(family(2000, 60))) == 8000
    assert time.process_time() - start < 30
