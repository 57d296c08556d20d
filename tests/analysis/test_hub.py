"""`filterzoo report user/name` against a Hub on loopback: tables and filters by ranges, and a tag as earlier state."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.analysis import synthetic
from tests.hub_server import File, Repo, serve
from tests.program import filterzoo
from tests.servers import WebServer

NAME = "alice/zoo"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A repository whose tag v1 holds eight models and whose main branch four more, that look different."""
    rng = np.random.default_rng(0)
    models = [synthetic.random_model(f"m{n}", rng, shift=0.8 * (n > 7)) for n in range(12)]
    with WebServer() as storage, serve(storage) as server:
        repo = server.repos[NAME] = Repo(private=True)
        commit = None
        for tag, known in (("v1", models[:8]), ("v2", models)):
            folder = synthetic.publish(tmp_path_factory.mktemp("release") / tag, known)
            paths = [path for path in folder.rglob("*") if path.is_file()]
            files = {path.relative_to(folder).as_posix(): File(path.read_bytes(), is_lfs=True) for path in paths}
            server.blobs |= {file.oid: file.content for file in files.values()}
            commit = repo.tags[tag] = repo.commit("main", tag, files, commit)
        yield server


def report(hub, folder, *arguments: Any):
    return filterzoo("report", NAME, "-o", folder, *arguments, env={**hub.environment, "HF_HOME": str(folder / "hf")})


@pytest.mark.slow
def test_growth_since_a_tag_without_a_byte_of_filters(hub, tmp_path):
    hub.requests.clear()
    ran = report(hub, tmp_path, "--since", "v1")
    assert ran.code == 0, ran.err
    assert ran.out.strip() == str(tmp_path / "index.html")
    added = pq.read_table(tmp_path / "figures/growth_added.parquet").to_pylist()
    assert added == [{"source": "made", "models": 4, "layers": 12, "filters_3x3": 768}]
    drift = pq.read_table(tmp_path / "figures/growth_drift.parquet").to_pylist()[0]
    assert drift["low"] > drift["null_mean"]
    assert f"Commit <code>{hub.repos[NAME].tags['v2'].oid[:12]}</code>" in (tmp_path / "index.html").read_text()
    assert not [line for line in hub.requests if "/data/filters/" in line and "/resolve/" in line]

    # The query beside a table makes the table again, by the same names.
    query = (tmp_path / "figures/growth_drift.py").read_text()
    made = tmp_path / "figures/growth_drift.parquet"
    checks = f"import pyarrow.parquet as pq\nassert table.equals(pq.read_table({str(made)!r}))"
    environment = {**os.environ, **hub.environment, "HF_HOME": str(tmp_path / "hf")}
    subprocess.run([sys.executable, "-c", f"{query}\n{checks}"], check=True, env=environment, timeout=200)


@pytest.mark.slow
def test_a_variant_reads_the_filters_of_the_hub(hub, tmp_path):
    ran = report(hub, tmp_path, "--variant", "cvpr22")
    assert ran.code == 0, ran.err
    bins = pq.read_table(tmp_path / "figures/ridge_depth.parquet")
    assert sum(bins.filter(np.array(bins["component"]) == 0)["filters"].to_pylist()) == 12 * 3 * 64


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (["alice/nothing"], {}, "alice/nothing: not on the Hub"),
        ([NAME, "--since", "v9"], {}, "has no tag, branch or commit v9"),
        ([NAME], {"HF_TOKEN": "hf_wrong"}, "not yours to read"),
    ],
)
def test_what_the_hub_does_not_give_is_refused_in_a_line(hub, tmp_path, arguments, environment, told):
    environment = {**hub.environment, "HF_HOME": str(tmp_path / "hf"), **environment}
    ran = filterzoo("report", *arguments, "-o", tmp_path / "report", env=environment)
    assert ran.code == 2
    assert told in ran.err
    assert len(ran.err.strip().splitlines()) <= 2
    assert not (tmp_path / "report").exists()
