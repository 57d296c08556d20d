"""deploy/ray: the cluster file by Ray's own schema, the commands in it by ours, and no secret in any of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from functools import reduce
from pathlib import Path

import pytest
import yaml
from tests.deploy.kuberay_schema import SCHEMA
from tests.deploy.tools import ROOT

FOLDER = ROOT / "deploy" / "ray"
CLUSTER = FOLDER / "cluster.yaml"
KUBERAY = FOLDER / "kuberay.yaml"
SUBMIT = FOLDER / "submit.sh"
OPTION = re.compile(r"--[a-z-]+")


def crawl_options() -> set[str]:
    section = (ROOT / "docs" / "commands.md").read_text().partition("\n## crawl")[2].partition("\n## ")[0]
    return set(OPTION.findall(section))


def test_the_job_of_kuberay_uses_options_that_exist() -> None:
    job = yaml.safe_load(KUBERAY.read_text())
    used = set(OPTION.findall(job["spec"]["entrypoint"]))
    assert {"--executor", "--store"} <= used <= crawl_options()


def test_all_pods_have_one_image_and_their_secrets_from_kubernetes() -> None:
    """Another Python or Ray on a node would not do; and what stands in the manifest can be read by many."""
    spec = yaml.safe_load(KUBERAY.read_text())["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    containers = [container for group in groups for container in group["template"]["spec"]["containers"]]
    assert len({container["image"] for container in containers}) == 1
    assert all(container["envFrom"] == [{"secretRef": {"name": "filterzoo-env"}}] for container in containers)
    stated = {one["name"] for container in containers for one in container.get("env", ())}
    assert stated == {"FILTERZOO_CACHE"}


BREAKS = {
    "a word that is none": (("spec", "shutdownAfterJobFinish"), True),
    "a text for a number": (("spec", "backoffLimit"), "3"),
    "a word in a worker group": (("spec", "rayClusterSpec", "workerGroupSpecs", 0, "maxReplica"), 50),
    "a word in a container": (
        ("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0, "env_from"),
        [],
    ),
    "a number for a start parameter": (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
}


def test_kuberay_takes_the_job() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    checker = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [error.message for error in checker.iter_errors(yaml.safe_load(KUBERAY.read_text()))] == []


@pytest.mark.parametrize(("place", "value"), BREAKS.values(), ids=BREAKS)
def test_kuberay_refuses_what_is_no_job(place: tuple[str | int, ...], value: object) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = yaml.safe_load(KUBERAY.read_text())
    *way, last = place
    reduce(lambda found, step: found[step], way, document)[last] = value
    assert list(jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(document))


def test_kuberay_wants_a_head() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    document = yaml.safe_load(KUBERAY.read_text())
    del document["spec"]["rayClusterSpec"]["headGroupSpec"]
    (error,) = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).iter_errors(document)
    assert "headGroupSpec" in error.message


@pytest.mark.cluster
def test_ray_takes_the_cluster_file() -> None:
    ray = pytest.importorskip("ray", reason="needs the extra `cluster`")
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    document = yaml.safe_load(CLUSTER.read_text())
    checker = jsonschema.Draft7Validator(schema)
    assert [error.message for error in checker.iter_errors(document)] == []
    assert list(checker.iter_errors({**document, "max_worker": 1}))


def test_the_line_that_submits_a_job(tmp_path: Path) -> None:
    """The manifest travels under a name of ours, and what else was given is handed on."""
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; cat "$4/zoo.yaml"\n')
    ray.chmod(0o755)
    (tmp_path / "my zoo.yaml").write_text("name: zoo\n")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [SUBMIT, tmp_path / "my zoo.yaml", "s3://bucket/prefix", "--max-hours", "20"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    job, submit, _, folder, dashes, *command, manifest = ran.stdout.splitlines()
    assert (job, submit, dashes, manifest) == ("job", "submit", "--", "name: zoo")
    assert not Path(folder).exists(), "it is removed when the job has it"
    assert set(OPTION.findall(" ".join(command))) <= crawl_options()
    assert command[-2:] == ["--max-hours", "20"]
    assert command[command.index("--store") + 1] == "s3://bucket/prefix"


def test_the_script_that_submits_a_job_prints_its_usage() -> None:
    ran = subprocess.run([SUBMIT], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "submit.sh MANIFEST STORE" in ran.stderr
