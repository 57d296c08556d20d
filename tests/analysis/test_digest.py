"""The report as Markdown: untrusted names are text, and a file without the marks is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from tests.analysis import synthetic

from filterzoo.errors import StartError
from filterzoo_analysis import digest, zoo
from filterzoo_analysis.sections import each_model


def test_a_row_says_what_the_layers_say():
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"a/b/m{n}", rng, shift=(n == 5), depth=n + 1) for n in range(6)]
    models.append(synthetic.Model("copy", models[0].layers, {"duplicate_of": models[0].model_id}))
    made = zoo.prepare(synthetic.dataset(models))
    table = each_model.at_a_glance(made).table.to_pylist()
    assert [row["model_id"] for row in table] == [f"made/a/b/m{n}@1" for n in range(6)]
    assert [row["layers_3x3"] for row in table] == [1, 2, 3, 4, 5, 6]
    assert [row["filters_3x3"] for row in table] == [64 * (n + 1) for n in range(6)]
    layers = made.dataset.layers.to_pylist()
    own = [layer["orthogonality"] for layer in layers if layer["model_id"] == "made/a/b/m3@1"]
    assert table[3]["orthogonality"] == pytest.approx(np.mean(own))
    assert max(table, key=lambda row: row["drift"])["model_id"] == "made/a/b/m5@1"
    assert "| a: m3 | 4 | 256 |" in "\n".join(digest.block(made))


def test_untrusted_names_are_text(mixed):
    page = "\n".join(digest.page(zoo.read(str(mixed))))
    assert "<img" not in page.replace("\\<img", "")
    assert "\u202e" not in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 36
    assert {line.replace("\\|", "").count("|") for line in rows} == {11}


def test_the_block_needs_both_marks():
    text = f"before\n{digest.BEGIN}\nold\n{digest.END}\nafter"
    assert digest.with_block(text, "new") == f"before\n{digest.BEGIN}\n\nnew\n\n{digest.END}\nafter"
    with pytest.raises(StartError, match="marks"):
        digest.with_block(f"{digest.BEGIN} only", "new")


def test_what_has_no_models_has_an_empty_table(tmp_path):
    empty = zoo.read(str(synthetic.publish(tmp_path / "zoo", [])))
    assert [line for line in digest.block(empty) if line.startswith("| ")][2:] == []
    assert "## Overview" in list(digest.page(empty))
