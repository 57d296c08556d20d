"""Executors of plugins: found by the name that `--executor` takes, and trusted with nothing but tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.program import Ran, filterzoo

PLUGIN = """
from filterzoo import Executor, hookimpl
from filterzoo.crawl.worker.worker import Worker


class InTurn(Executor):
    "Takes each checkpoint in the crawl's own process."
    name = "in-turn"

    def __init__(self, options):
        print("made for", options.workers)

    def __enter__(self):
        print("entered")
        return self

    def __exit__(self, *exception):
        print("left")

    def run(self, setup, tasks):
        worker = Worker(setup)
        for task in tasks:
            yield {outcome}
        worker.close()


@hookimpl
def filterzoo_executors():
    return [InTurn]
"""
TAKEN = "task, worker.take(task)"


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "zoo").mkdir()
    for number in range(2):
        save_file({"w.weight": np.full((2, 2, 3, 3), number + 1, "<f4")}, folder / "zoo" / f"{number}.safetensors")
    sources = [{"source": "local", "paths": ["zoo/*"], "license": "mit"}]
    (folder / "manifest.yaml").write_text(json.dumps({"name": "zoo", "sources": sources}))
    return folder


def crawl(zoo: Path, work: Path, *options: Any, outcome: str = TAKEN, name: str = "in-turn") -> Ran:
    (work / "mine.py").write_text(PLUGIN.replace("{outcome}", outcome))
    plugin = ("--plugin", work / "mine.py")
    return filterzoo("crawl", "manifest.yaml", *plugin, "--executor", name, "--workdir", work, *options, cwd=zoo)


def test_a_plugin_runs_the_tasks(zoo: Path, tmp_path: Path) -> None:
    ran = crawl(zoo, tmp_path, "--workers", 7)
    assert ran.code == 0, ran.err
    assert ran.out.splitlines()[:3] == ["made for 7", "entered", "left"]
    assert "2 new" in ran.out


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("task, 'done'", "--executor in-turn: gave a str, which is no outcome"),
        ("task, worker.take(next(iter(tasks)))", "--executor in-turn: 1 outcomes for 2 tasks"),
    ],
    ids=["no outcome", "a task is lost"],
)
def test_an_executor_that_fails_is_named(outcome: str, told: str, zoo: Path, tmp_path: Path) -> None:
    ran = crawl(zoo, tmp_path, outcome=outcome)
    assert ran.code == 2
    assert told in ran.err
    assert "left" in ran.out


def test_a_missing_executor_is_reported_before_the_work_begins(zoo: Path, tmp_path: Path) -> None:
    ran = crawl(zoo, tmp_path, name="in-tern")
    assert ran.code == 2
    assert "--executor in-tern: there are in-turn, local, ray" in ran.err
    assert "did you mean 'in-turn'?" in ran.err
    assert "did you mean 'ray'?" in crawl(zoo, tmp_path, name="rey").err


def test_nobody_takes_the_name_of_the_local_executor(zoo: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(PLUGIN.replace("{outcome}", TAKEN).replace('"in-turn"', '"local"'))
    ran = filterzoo("crawl", "manifest.yaml", "--plugin", tmp_path / "mine.py", "--workdir", tmp_path, cwd=zoo)
    assert ran.code == 2
    assert "'filterzoo' and 'mine' both offer the executor 'local'" in ran.err
