"""`report --where` and `--exclude`: which models they leave, and what they say of words they do not know."""

from __future__ import annotations

import pyarrow as pa
import pytest

from filterzoo.errors import StartError
from filterzoo_analysis.tables.selection import left_out, matching

MODELS = pa.table(
    {
        "model_id": ["a", "b", "c", "d"],
        "task": ["segmentation", "classification", None, "segmentation"],
        "filters_3x3": [10, 2000, 5, 5000],
        "robust": [True, False, None, None],
        "suspected_random": [None, True, False, None],
    }
)


@pytest.mark.parametrize(
    ("expression", "chosen"),
    [
        ('task == "segmentation"', "ad"),
        ("task != 'segmentation'", "b"),
        ("task == 'segmentation' and filters_3x3 > 1000", "d"),
        ("not robust and filters_3x3 >= 5 or task is None", "bcd"),
        ("robust", "a"),
        ("robust == False", "b"),
        ("task in ['classification', 'x'] or model_id not in ('b', 'c', 'd')", "ab"),
        ("5 < filters_3x3 <= 2000", "ab"),
        ("filters_3x3 > -1", "abcd"),
    ],
)
def test_an_expression_chooses_models(expression, chosen):
    found = matching(MODELS, expression)
    assert "".join(name for name, keep in zip("abcd", found, strict=True) if keep) == chosen


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("tasks == 'x'", "did you mean task"),
        ("task = 'x'", "not an expression"),
        ("task > 5", "not supported between"),
        ("__import__('os').system('true')", "no column"),
        ("task.upper() == 'X'", "only columns"),
        ("task == f'{robust}'", "only columns"),
        ("5", "unknown"),
        ("(" * 300 + "1" + ")" * 300, "not an expression"),
        ("robust and " * 300 + "robust", "longer"),
    ],
)
def test_what_is_no_comparison_is_refused_and_never_run(expression, said):
    if expression == "5":
        assert not matching(MODELS, expression).any()
        return
    with pytest.raises(StartError, match=said):
        matching(MODELS, expression)


def test_kinds_that_are_left_out():
    assert left_out(MODELS, ["suspected_random"])["suspected_random"].tolist() == [False, True, False, False]
    with pytest.raises(StartError, match="known are suspected_random"):
        left_out(MODELS, ["suspicious"])
