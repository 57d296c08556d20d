"""docs/papers.md names every figure that a report can hold, and no other."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image
from tests.analysis import synthetic
from tests.analysis.evaluated import evaluated

from filterzoo.store.confidences import CONFIDENCE_SCHEMA
from filterzoo_analysis import zoo
from filterzoo_analysis.page import report

PAGE = Path(__file__).parents[2] / "docs/papers.md"
CELL = re.compile(r"^\|[^|]*\|([^|]*)\|", re.MULTILINE)
"""The second cell of a row: our figures, where the table is one of figures."""
FIGURE = re.compile(
    r"`([a-z0-9_]+_(?:\*|FAMILY)|[a-z0-9]+(?:_[a-z0-9]+)+|coverage|skipped|phenotypes|degenerated|confounding|lineage|reliability)`"
)


def names_in_a_full_report(tmp_path: Path) -> set[str]:
    rng = np.random.default_rng(0)
    models = synthetic.mixed_zoo()
    for number, model in enumerate(models):
        model.facts["release"] = f"v2026.10.0{1 + number % 2}"
        model.facts.setdefault("training_dataset", f"set {number % 3}")
        model.facts["activation"] = ("relu", "silu")[number // 2 % 2]
    for name in ("normal", "robust"):
        first, later = (rng.normal(size=(4, inputs, 3, 3)).astype(np.float32) for inputs in (3, 4))
        models.append(synthetic.Model(name, [first, later], {"pair_id": "a pair", "robust": name == "robust"}))
    models.append(synthetic.random_model("robust_extra", rng, robust=True, release="v2026.10.01"))
    narrow = rng.normal(size=(40, 1, 7, 7)).astype(np.float32)
    models.append(synthetic.Model("depthwise", [narrow], depthwise=True))
    Image.fromarray(rng.integers(255, size=(16, 16, 3), dtype=np.uint8)).save(tmp_path / "picture.png")
    whole = zoo.read(str(synthetic.publish(tmp_path / "zoo", models, synthetic.SKIPPED)))
    asked = replace(whole, images=(str(tmp_path / "picture.png"),), master_keys="ideal")
    return {each.name for each in report.exhibits(replace(asked, dataset=with_evaluations(whole.dataset)))}


def with_evaluations(dataset):
    """Clean images for the members of pairs."""
    rng = np.random.default_rng(1)
    paired = dataset.models.filter(pc.is_valid(dataset.models["pair_id"]))["model_id"].to_pylist()
    rows = [evaluated(name, rng) for name in paired]
    return replace(dataset, confidences=pa.Table.from_pylist(rows, schema=CONFIDENCE_SCHEMA))


def test_the_page_names_every_figure_and_no_other(tmp_path):
    made = names_in_a_full_report(tmp_path)
    text = PAGE.read_text()
    sections = text[text.index("## Lineage") : text.index("## What was checked")]
    told = {name for cell in CELL.findall(text) for name in FIGURE.findall(cell)}
    told |= {name for name in FIGURE.findall(sections) if name.startswith(("growth_", "lineage"))}
    patterns = {name: re.compile(name.replace("*", ".+").replace("FAMILY", ".+")) for name in told}
    assert [name for name in made if not any(each.fullmatch(name) for each in patterns.values())] == []
    assert [name for name, each in patterns.items() if not any(map(each.fullmatch, made))] == []
    assert len(made) > 35
