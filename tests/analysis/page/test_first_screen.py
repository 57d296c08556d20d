"""What the report says first: planted effects are told with their interval, and no effect is not made one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analysis import synthetic

from filterzoo_analysis import zoo
from filterzoo_analysis.page import first_screen
from filterzoo_analysis.page.findings import findings
from filterzoo_analysis.sections import cnn_filter_db


def told(models: list[synthetic.Model]) -> list[str]:
    read = zoo.prepare(synthetic.dataset(models))
    drift = cnn_filter_db.drift(read, "task")
    return findings(read, {drift.name: drift})


def of_tasks(shift: float, count: int) -> list[synthetic.Model]:
    rng = np.random.default_rng(3)
    return [
        synthetic.random_model(f"{task}-{n}", rng, shift=moved, width=16, task=task)
        for task, moved in (("segmentation", 0.0), ("classification", shift))
        for n in range(count)
    ]


def test_a_planted_drift_is_reported_with_interval_and_chance():
    drift, _, degenerated = told(of_tasks(0.8, 6))
    assert drift.startswith("The distributions of filters differ by more than chance in 1 of 1 pair of tasks.")
    assert "“classification”" in drift
    assert "“segmentation”" in drift
    assert "95 % interval" in drift
    assert "networks exchanged at random give" in drift
    assert degenerated.startswith("36 of 36 layers are degenerated"), "all are random"


def test_a_group_that_is_mostly_one_network_is_reported():
    rng = np.random.default_rng(3)
    large = synthetic.random_model("large", rng, shift=0.8, width=40, task="classification")
    drift = told([*of_tasks(0.8, 6), large])[0]
    assert "One network supplies 51 % of the filters of “classification”." in drift


def test_no_drift_is_reported_as_none():
    assert told(of_tasks(0.0, 6))[0].startswith("No two tasks differ by more than chance would give.")


def test_too_few_networks_are_reported():
    drift, depth, degenerated = told(of_tasks(0.8, 1))
    assert drift.startswith("How much networks of different tasks differ cannot be determined")
    assert "cannot be determined: 2 networks have it" in depth
    assert degenerated.endswith("2 networks are too few for an interval.")


@pytest.mark.parametrize(("early", "start"), [(True, "Late layers vary more"), (False, "Late layers vary less")])
def test_a_planted_change_with_depth_is_reported(early, start):
    """One half of each network is of one pattern and a little noise."""
    rng = np.random.default_rng(1)

    def layer(*, is_flat: bool) -> np.ndarray:
        noise = rng.normal(size=(16, 16, 3, 3))
        flat = rng.normal(size=(16, 16, 1, 1)) * rng.normal(size=(3, 3)) + 0.1 * noise
        return (flat if is_flat else noise).astype(np.float32)

    models = [
        synthetic.Model(f"m{n}", [layer(is_flat=early), layer(is_flat=not early)], {"task": "classification"})
        for n in range(5)
    ]
    assert told(models)[1].startswith(start)


def test_a_data_set_without_3x3_filters_says_so():
    flat = synthetic.Model("flat", [np.ones((4, 4, 1, 1), np.float32)])
    read = zoo.prepare(synthetic.dataset([flat]))
    assert findings(read, {}) == [
        "No layer has 3x3 filters with statistics, so that nothing can be said of their shapes."
    ]
    assert first_screen.mosaic(read) is None


def test_the_mosaic_has_as_many_filters_of_each_network():
    codes = np.array([1] * 90 + [2] * 5 + [3] * 40)
    order = first_screen._round_robin(codes)
    assert sorted(order) == list(range(len(codes)))
    assert np.bincount(codes[order[:15]]).tolist() == [0, 5, 5, 5]
    assert np.bincount(codes[order[:25]]).tolist() == [0, 10, 5, 10]


def test_what_the_data_set_is_comes_in_a_sentence():
    rng = np.random.default_rng(0)
    facts = {"release": "v2026.01.02", "first_seen": "2026-01-02"}
    models = [
        synthetic.Model(f"m{n}", synthetic.random_model("m", rng).layers, facts, source=f"zoo{n % 2}") for n in range(3)
    ]
    about = first_screen.about(zoo.prepare(synthetic.dataset(models)))
    assert about.startswith("The convolution layers of 3 trained networks from 2 zoos: zoo0, zoo1.")
    assert about.endswith(" Newest release v2026.01.02, of 2026-01-02.")
