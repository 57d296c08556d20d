"""What a reader sees of figures and tables: nothing is covered, lost, unlabelled or formatted by chance."""

from __future__ import annotations

from functools import partial

import numpy as np
import pyarrow as pa
import pytest

from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import WIDE, shown
from filterzoo_analysis.page.report import _column
from filterzoo_analysis.sections import cnn_filter_db, pairs, quality
from filterzoo_analysis.sections.robust import drift as robust_drift
from filterzoo_analysis.tables.statistics import DECILES
from filterzoo_analysis.zoo import read


@pytest.fixture
def figure():
    matplotlib = pytest.importorskip("matplotlib.figure")
    return matplotlib.Figure(figsize=(WIDE, 4), layout="constrained")


def drawn(figure):
    figure.canvas.draw()
    return figure.axes[0]


def drawing(exhibit):
    """What an exhibit's figure is drawn from."""
    assert isinstance(exhibit.draw, partial)
    return exhibit.draw.keywords


def test_the_legend_of_lines_lies_above_them(figure):
    full = np.stack([np.full(10, 0.9), np.zeros(10), np.ones(10)])
    figures.lines(figure, list("abcdefghij"), {f"series {i}": full for i in range(8)}, "share")
    axis = drawn(figure)
    assert not axis.get_legend().get_window_extent().overlaps(axis.get_window_extent())
    assert (axis.get_ylabel(), len(axis.get_legend().get_texts())) == ("share", 8)


def test_a_filter_with_light_edges_has_a_frame(figure):
    figures.kernels(figure, np.array([[1.0, 0, -1] * 3, [np.nan] * 9]), ("d1",), 2)
    drawn(figure)
    first, second = figure.axes[:2]
    assert all(spine.get_visible() for spine in first.spines.values())
    assert first.axison
    assert not second.axison
    assert not len(first.get_xticks())


def test_a_small_matrix_shows_the_interval_of_each_pair_beside_it(figure):
    values = np.array([[0, 2.0, 3.0], [2.0, 0, 1.0], [3.0, 1.0, 0]])
    found = np.array([[3.0, 2.0, 1.0], [2.5, np.nan, 0.5], [3.5, np.nan, 1.5]])
    pairs = ["a / c", "a / b", "b / c"], found, np.array([0.1, 0.2, 0.3])
    figures.heat_map(figure, ["a", "b", "c"], values, np.zeros((3, 3), bool), pairs)
    drawn(figure)
    beside = next(axis for axis in figure.axes if axis.get_xlabel() == "drift, nats")
    assert [text.get_text() for text in beside.get_yticklabels()] == ["a / c", "a / b", "b / c"]
    (marks,) = (line for line in beside.lines if line.get_marker() == "|")
    assert marks.get_xdata().tolist() == [0.1, 0.2, 0.3]
    assert not beside.get_legend().get_window_extent().overlaps(beside.get_window_extent())


def test_depths_stay_in_their_order_and_other_groups_are_sorted_by_drift(mixed):
    zoo = read(mixed)
    depth = [label.partition(" (")[0] for label in drawing(cnn_filter_db.drift(zoo, by="depth"))["labels"]]
    assert depth == [each for each in DECILES if each in depth]
    assert len(depth) > 2
    task = drawing(cnn_filter_db.drift(zoo, by="task"))["values"]
    means = task.sum(axis=1)
    assert (np.diff(means) <= 1e-12).all()


def test_drifts_of_robust_networks_stand_beside_what_as_few_filters_give(mixed):
    for exhibit in (robust_drift.drift(read(mixed)), pairs.each_pair(read(mixed))):
        expected = drawing(exhibit)["expected"]
        assert expected.tolist() == exhibit.table["expected"].to_pylist()
        assert (expected > 0).all()


def test_panels_of_measures_name_their_unit(mixed):
    panels = drawing(quality.by_depth(read(mixed)))["panels"]
    assert list(panels) == ["sparsity, share of filters", "variance entropy, 0 to .954", "orthogonality, 0 to 1"]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([0.0057, 1.0, None, 0.5], ["0.006", "1.000", "", "0.500"]),
        ([0.0004, 0.25, 1e-9, -1e-9], ["0.0004", "0.2500", "<0.0001", "0.0000"]),
        ([12345.678, 0.5, float("nan")], ["12,345.7", "0.5", "nan"]),
        ([7232, 3, None], ["7,232", "3", ""]),
        ([True, False], ["yes", "no"]),
        (["a", None], ["a", ""]),
        ([], []),
    ],
)
def test_numbers_of_a_column_are_formatted_alike(values, cells):
    assert _column(pa.chunked_array([pa.array(values)])) == cells


def test_zero_has_no_sign():
    assert [shown(-0.0002), shown(-0.0), shown(-0.0006)] == ["0.000", "0.000", "-0.001"]


def test_a_shortened_label_keeps_its_star_and_its_number_of_models():
    assert figures.short("orthogonality, visual category*").endswith("…*")
    assert figures.short("a" * 40 + "*") == "a" * 28 + "…*"
    assert figures.short("a" * 40 + " (12†)") == "a" * 23 + "… (12†)"
    assert figures.short("a" * 40 + " (7 / 1,200)*", 34) == "a" * 20 + "… (7 / 1,200)*"
    assert figures.short("b" * 40) == "b" * 29 + "…"
    assert figures.short("c" * 5 + "*") == "ccccc*"


def test_counts_have_no_decimals_and_shares_have_two():
    assert figures._alike([1, 1]) == ["1", "1"]
    assert figures._alike([1200, 0]) == ["1,200", "0"]
    assert figures._alike([1.0, 0.0]) == ["1.00", "0.00"]
