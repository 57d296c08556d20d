from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from tests.analysis import synthetic
from typer.testing import CliRunner

from filterzoo.cli import build
from filterzoo.commands.status import status
from filterzoo.errors import StartError
from filterzoo_analysis import commands, zoo
from filterzoo_analysis.page import report
from filterzoo_analysis.page.embedding import embedded
from filterzoo_analysis.sections import robustness
from filterzoo_publish.schema import COLUMNS


def run(*arguments: str):
    return CliRunner().invoke(build([commands.report, status]), ["report", *arguments])


class Elements(HTMLParser):
    """Counts elements, collects script texts and attributes that would fetch or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.outside: list[str] = []
        self.tags: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_script = tag == "script"
        for name, value in attrs:
            if name.startswith("on") or (
                name in {"src", "href"} and re.match(r"(https?:|//|javascript:)", value or "")
            ):
                self.outside.append(f"{tag} {name}={value}")

    def handle_data(self, data):
        if self._in_script:
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self._in_script = False


@pytest.mark.slow
def test_every_figure_is_saved_with_its_table_and_query(mixed, report_of_mixed):
    made = list(report.exhibits(zoo.read(str(mixed))))
    assert {exhibit.name for exhibit in made} >= {
        "counts_source", "coverage", "skipped", "dct_basis", "pca_basis", "ridge_task", "drift_boxes",
        "drift_visual_category", "quality_by_depth", "degenerated", "phenotypes", "robust_drift", "robust_pairs",
        "robust_measures", "robust_filters", "accuracy_correlation", "medical_ridge", "medical_drift_unet",
        "medical_natural", "medical_outliers", "medical_filters", "frequency_content", "spectra_by_depth",
        "axis_effects",
    }  # fmt: skip
    without = [exhibit.name for exhibit in made if exhibit.draw is None]
    assert without == ["lineage", "confounding", "models_at_a_glance", "robust_accuracies"]
    for exhibit in made:
        stem = report_of_mixed / "figures" / exhibit.name
        if exhibit.draw:
            assert stem.with_suffix(".svg").read_text().startswith("<?xml")
            assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert pq.read_table(stem.with_suffix(".parquet")).equals(exhibit.table)
        assert pyarrow.csv.read_csv(stem.with_suffix(".csv")).num_rows == len(exhibit.table)
        assert exhibit.summary.strip()
        assert exhibit.summary.endswith(".")


def remade(figures, pattern="*") -> list[str]:
    """The names of the tables that their queries make again; any other table fails."""
    names = []
    for path in sorted(figures.glob(f"{pattern}.py")):
        found: dict[str, pa.Table] = {}
        exec(path.read_text(), found)
        assert found["table"].equals(pq.read_table(path.with_suffix(".parquet"))), path.name
        names.append(path.stem)
    return names


@pytest.mark.slow
def test_each_query_makes_its_table_again(mixed, report_of_mixed):
    assert len(remade(report_of_mixed / "figures")) == len(list((report_of_mixed / "figures").glob("*.parquet"))) > 30


def test_grids_of_every_pair_are_drawn_on_demand(mixed):
    read = zoo.read(str(mixed))
    for grids, drawn in (((), 1), (("all",), 6), (("cifar-net-3", "cifar-net-1"), 2), (("nowhere",), 0)):
        asked = replace(read, grids=grids)
        names = robustness.pairs_drawn(asked)
        found = [robustness.first_and_last(asked, name) for name in names]
        assert len({exhibit.name for exhibit in found}) == drawn
        assert all(name in exhibit.title for name, exhibit in zip(names, found, strict=True))


@pytest.mark.slow
def test_groups_of_few_models_are_marked(report_of_mixed):
    """The task of one hostile name is shown with its drift, a dagger and no interval."""
    few = [
        row for row in pq.read_table(report_of_mixed / "figures/drift_task.parquet").to_pylist() if row["few_models"]
    ]
    assert few
    assert all(row["drift"] > 0 and row["low"] is None and row["q"] is None for row in few)
    assert "(1†)" in (report_of_mixed / "figures/drift_task.svg").read_text()
    assert "(1†)" in (report_of_mixed / "figures/ridge_task.svg").read_text()
    assert "† fewer than 3, no interval" in (report_of_mixed / "index.html").read_text()


@pytest.mark.slow
def test_the_overview_covers_every_column_and_counts_models_by_kernel_size(mixed, report_of_mixed):
    columns = {column.name for column in COLUMNS["models"] if column.null != "never"} - {"duplicate_of"}
    covered = {row["column"]: row for row in pq.read_table(report_of_mixed / "figures/coverage.parquet").to_pylist()}
    assert set(covered) == columns
    assert covered["pair_id"]["known"] == 12
    kernels = pq.read_table(report_of_mixed / "figures/counts_kernel.parquet").to_pylist()
    layers = pq.read_table(next((mixed / "data/layers").rglob("*.parquet")))
    assert kernels == [
        {"kernel": "3x3", "models": len(set(layers["model_id"].to_pylist())), "layers": len(layers)}
        | {"filters": sum(layers["n_filters"].to_pylist())}
    ]


@pytest.mark.slow
def test_the_page_holds_no_untrusted_markup_and_fetches_nothing(report_of_mixed):
    elements = Elements()
    elements.feed((report_of_mixed / "index.html").read_text())
    assert elements.tags.count("script") == 2
    assert elements.outside == []
    assert elements.tags.count("img") == 2, "the mosaic and its scale"
    data = json.loads(elements.scripts[0])
    assert f"made/{synthetic.HOSTILE}@1" in data["models"]["model_id"]
    assert data["layers"]["start"][-1] == len(data["layers"]["name"])


@pytest.mark.slow
def test_the_same_data_give_the_same_report(mixed, report_of_mixed, tmp_path):
    report.write(zoo.read(str(mixed)), tmp_path)
    for path in report_of_mixed.rglob("*"):
        if path.suffix in {".svg", ".html", ".csv", ".py"}:
            assert path.read_bytes() == (tmp_path / path.relative_to(report_of_mixed)).read_bytes(), path.name


def test_json_in_a_script_element_cannot_end_it():
    hostile = {"</script><!--": "<script>\u2028\u2029&amp;"}
    text = embedded(hostile)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == hostile


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("`pair_id` and `robust` <b>", "<code>pair_id</code> and <code>robust</code> &lt;b&gt;"),
        ("`<i>`", "<code>&lt;i&gt;</code>"),
        ("one ` alone", "one ` alone"),
        ("`a` and `b", "<code>a</code> and `b"),
        ("", ""),
    ],
)
def test_words_between_backticks_are_code_and_nothing_else_is_markup(text, markup):
    assert str(report.with_code(text)) == markup


def test_a_data_set_without_anything_gives_a_report_that_says_so(tmp_path):
    folder = synthetic.publish(tmp_path / "zoo", [])
    result = run(str(folder), "-o", str(tmp_path / "report"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report" / "index.html").read_text()
    for sentence in ("There is no 3x3 layer", "No pair of a robust", "No model is known to be trained on medical"):
        assert sentence in page


@pytest.mark.usefixtures("undrawn")
def test_one_model_is_enough(tmp_path):
    folder = synthetic.publish(tmp_path / "zoo", [synthetic.random_model("only", np.random.default_rng(0), task="a")])
    assert run(str(folder), "-o", str(tmp_path / "report")).exit_code == 0
    assert "fewer than two groups are known" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_growth_since_an_earlier_state(tmp_path):
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"m{n}", rng, shift=0.8 * (n > 7)) for n in range(12)]
    before = synthetic.publish(tmp_path / "before", models[:8])
    now = synthetic.publish(tmp_path / "now", models)
    result = run(str(now), "-o", str(tmp_path / "report"), "--since", str(before))
    assert result.exit_code == 0, result.output
    added = pq.read_table(tmp_path / "report/figures/growth_added.parquet").to_pylist()
    assert added == [{"source": "made", "models": 4, "layers": 12, "filters_3x3": 768}]
    drift = pq.read_table(tmp_path / "report/figures/growth_drift.parquet").to_pylist()[0]
    assert drift["low"] > drift["null_mean"]
    assert drift["p"] < 0.01
    assert remade(tmp_path / "report/figures", "growth_*") == ["growth_added", "growth_drift", "growth_outliers"]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_growth_by_the_newest_release_where_no_earlier_state_is_given(tmp_path):
    rng = np.random.default_rng(0)
    releases = ["v2026.09.30"] * 4 + ["v2026.10.01.9"] * 4 + ["v2026.10.01.10"] * 4
    models = [synthetic.random_model(f"m{n}", rng, 0.2 * (n > 7), 20, release=name) for n, name in enumerate(releases)]
    far = np.sign(rng.normal(size=(32, 32, 3, 3))).astype(np.float32)
    models.append(synthetic.Model("far", [far], {"release": "v2026.10.01.10"}))
    now = synthetic.publish(tmp_path / "now", models)
    result = run(str(now), "-o", str(tmp_path / "report"))
    assert result.exit_code == 0, result.output
    page = (tmp_path / "report/index.html").read_text()
    assert "came with the newest release, <code>v2026.10.01.10</code>" in page
    added = pq.read_table(tmp_path / "report/figures/growth_added.parquet").to_pylist()
    assert added == [{"source": "made", "models": 5, "layers": 13, "filters_3x3": 5824}]
    new = pq.read_table(tmp_path / "report/figures/growth_outliers.parquet").to_pylist()
    assert len(new) == 5
    assert [row["model_id"] for row in new if row["outlier"]] == ["made/far@1"]
    assert new[0]["because"].startswith("spiky")
    assert remade(tmp_path / "report/figures", "growth_*") == ["growth_added", "growth_drift", "growth_outliers"]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_models_are_chosen_and_left_out_by_the_command(tmp_path):
    """`--where` leaves what it names, `--exclude none` keeps what looks untrained, `--master-keys` reads filters."""
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"m{number}", rng, task="ab"[number % 2]) for number in range(6)]
    models.append(synthetic.random_model("raw", rng, task="a", suspected_random=True))
    narrow = rng.normal(size=(40, 1, 7, 7)).astype(np.float32)
    models.append(synthetic.Model("narrow", [narrow], {"task": "a"}, depthwise=True))
    folder = str(synthetic.publish(tmp_path / "zoo", models))
    kept = {}
    for name, more in (("left", ()), ("kept", ("--exclude", "none"))):
        out = tmp_path / name
        result = run(folder, "-o", str(out), "--where", "task == 'a'", "--master-keys", "ideal", *more)
        assert result.exit_code == 0, result.output
        page = (out / "index.html").read_text()
        assert "Only models where" in page
        assert ("Left out of all figures" in page) == (name == "left")
        kept[name] = pq.read_table(out / "figures/models_at_a_glance.parquet")["model_id"].to_pylist()
        assert remade(out / "figures", "ma*") == ["master_keys"]
    assert sorted(kept["left"]) == ["made/m0@1", "made/m2@1", "made/m4@1"]
    assert sorted(kept["kept"]) == [*sorted(kept["left"]), "made/raw@1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--where", "tasks == 'a'"), "did you mean task"),
        (("--where", "task == 'nothing'"), "no model of"),
        (("--exclude", "suspicious"), "known are suspected_random, none"),
    ],
)
def test_a_choice_of_nothing_or_of_unknown_words_is_refused(mixed, tmp_path, arguments, said):
    result = run(str(mixed), "-o", str(tmp_path), *arguments)
    assert isinstance(result.exception, StartError)
    assert said in str(result.exception)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_one_release_has_no_growth(tmp_path):
    models = [synthetic.random_model("only", np.random.default_rng(0), release="v2026.09.30")]
    assert run(str(synthetic.publish(tmp_path / "zoo", models)), "-o", str(tmp_path / "report")).exit_code == 0
    assert "came with one release" in (tmp_path / "report/index.html").read_text()
    assert not list((tmp_path / "report/figures").glob("growth*"))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("variant", ["cvpr22", "robust22", "medical22"])
def test_variants_by_the_command(mixed, tmp_path, variant):
    result = run(str(mixed), "-o", str(tmp_path), "--variant", variant)
    assert result.exit_code == 0, result.output
    assert f"<code>{variant}</code>" in (tmp_path / "index.html").read_text()


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(StartError, match="no data/models"):
        zoo.read(str(tmp_path))
    with pytest.raises(StartError, match="no such folder"):
        zoo.read(str(tmp_path / "nothing" / "here"))


@pytest.mark.parametrize("missing", ["matplotlib", "jinja2"])
def test_a_missing_library_is_said_with_the_extra_that_brings_it(mixed, tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    result = run(str(mixed), "-o", str(tmp_path))
    assert isinstance(result.exception, StartError)
    assert str(result.exception) == f"report needs {missing}: pip install 'filterzoo[report]'"


def picture(path, pixels: np.ndarray) -> str:
    from PIL import Image

    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_first_layers_on_a_picture_and_its_attacked_twin(tmp_path):
    """A robust first layer that sees no fine stripes does not see an attack of fine stripes; a normal one does."""
    smooth = np.full((4, 3, 3, 3), 1 / 27, np.float32)
    edges = np.tile(np.array([[1, -1, 0]] * 3, np.float32), (4, 3, 1, 1))
    later = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    models = [
        synthetic.Model(name, [first, later], {"pair_id": "p", "robust": name == "robust"})
        for name, first in (("normal", edges), ("robust", smooth))
    ]
    folder = synthetic.publish(tmp_path / "zoo", models)
    pixels = np.repeat(np.linspace(40, 200, 32).astype(np.uint8)[:, None], 32, axis=1)[:, :, None].repeat(3, axis=2)
    stripes = (np.arange(32) % 3 == 0).astype(np.uint8)[None, :, None] * 24
    clean, attacked = picture(tmp_path / "clean.png", pixels), picture(tmp_path / "attacked.png", pixels + stripes)
    result = run(str(folder), "-o", str(tmp_path / "report"), "--images", clean, "--images", attacked)
    assert result.exit_code == 0, result.output
    table = pq.read_table(tmp_path / "report/figures/first_layer_thresholding.parquet").to_pylist()
    difference = {
        name: np.mean([row["mean_difference"] for row in table if row["network"] == name])
        for name in ("normal", "robust")
    }
    assert difference["robust"] < difference["normal"] / 10
    assert remade(tmp_path / "report/figures", "first_layer*") == ["first_layer_thresholding"]

    short = picture(tmp_path / "short.png", pixels[:20])
    assert "not of the size" in str(
        run(str(folder), "-o", str(tmp_path), "--images", clean, "--images", short).exception
    )
    (tmp_path / "text.png").write_text("no picture")
    refused = run(str(folder), "-o", str(tmp_path), "--images", str(tmp_path / "text.png")).exception
    assert "not a picture" in str(refused)


def test_cells_break_between_the_parts_of_long_names_only():
    assert str(report.breakable("shared_layers <b>")) == (
        "<span class=whole>shared_layers</span> <span class=whole>&lt;b&gt;</span>"
    )
    long = str(report.breakable("pypi/a-package/a_folder/<i>.onnx@0.4.0+sha256:738adb503aae"))
    assert (
        long
        == "pypi/<wbr>a-<wbr>package/<wbr>a_<wbr>folder/<wbr>&lt;i&gt;.<wbr>onnx@<wbr>0.4.0+sha256:<wbr>738adb503aae"
    )
