"""systemd units, the Actions workflow, the Job's command line and the Dockerfile, as far as offline goes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.tools import ROOT, lines_of, tool
from tests.hub_server import TOKEN, USER, serve

from filterzoo.jail.namespaces import way_in

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "systemd" / "filterzoo.service"
TIMER = DEPLOY / "systemd" / "filterzoo.timer"
FAILED = DEPLOY / "systemd" / "filterzoo-failed.service"
WORKFLOW = DEPLOY / "github" / "filterzoo.yml"
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"


def run(*command: Any, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **settings)


@pytest.fixture
def units(tmp_path: Path) -> list[Path]:
    """The units as they would be installed, with the repository in the place of /opt/filterzoo."""
    for unit in (SERVICE, TIMER, FAILED):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/filterzoo/", f"{ROOT}/"))
    return [tmp_path / SERVICE.name, tmp_path / TIMER.name, tmp_path / FAILED.name]


def test_systemd_takes_the_units(units: list[Path]) -> None:
    checked = run(tool("systemd-analyze"), "verify", "--man=no", *units)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_systemd_reports_an_unknown_setting(units: list[Path]) -> None:
    """What passes above does not pass because nothing is looked at."""
    units[0].write_text(units[0].read_text().replace("ProtectHome=", "ProtectHouse="))
    assert "ProtectHouse" in run(tool("systemd-analyze"), "verify", "--man=no", *units).stderr


def test_the_timer_runs_on_mondays() -> None:
    (calendar,) = [line.partition("=")[2] for line in lines_of(TIMER) if line.startswith("OnCalendar=")]
    checked = run(tool("systemd-analyze"), "calendar", calendar)
    assert checked.returncode == 0
    assert "Next elapse: Mon " in checked.stdout


def test_the_service_is_confined_and_lets_the_jail_confine_itself(units: list[Path]) -> None:
    checked = run(tool("systemd-analyze"), "security", "--offline=yes", "--threshold=20", units[0])
    if "unrecognized option" in checked.stderr or "Unknown" in checked.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not loaded")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "seccomp" in setting("SystemCallFilter")
    namespaces = {word.removeprefix("--") for word in way_in()[1:]} - {"", "map-current-user"}
    assert namespaces <= set(setting("RestrictNamespaces"))


def setting(name: str, unit: Path = SERVICE) -> list[str]:
    """The words of a setting of a unit."""
    (words,) = [line.partition("=")[2].split() for line in lines_of(unit) if line.startswith(f"{name}=")]
    return words


def test_a_run_that_lost_a_zoo_is_a_failed_service_and_is_reported() -> None:
    assert setting("SuccessExitStatus") == ["3"], "exit code 1 is a failure: a zoo may be missing"
    assert setting("OnFailure") == [FAILED.name]
    script, settings, *_ = setting("ExecStart", FAILED)
    assert script == "/opt/filterzoo/deploy/cron/filterzoo-notify.sh"
    assert settings == setting("ExecStart")[1]
    assert setting("User", FAILED) == setting("User")
    assert setting("StateDirectory", FAILED) == setting("StateDirectory")


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    return yaml.safe_load(WORKFLOW.read_text())


def linted(workflow: Path) -> str:
    """What actionlint finds, a line for each."""
    return run(tool("actionlint"), "-no-color", "-oneline", "-shellcheck", tool("shellcheck"), workflow).stdout


def test_actionlint_takes_the_workflow() -> None:
    assert linted(WORKFLOW) == ""


def test_actionlint_reports_a_missing_reference(tmp_path: Path) -> None:
    """What passes above does not pass because nothing is looked at."""
    text = WORKFLOW.read_text()
    for good, bad in (
        ("runs-on:", "runs-in:"),
        ("hashFiles(", "hashFile("),
        ('"$FILTERZOO_TARGET"', "$FILTERZOO_TARGET"),
    ):
        text = text.replace(good, bad)
    (tmp_path / WORKFLOW.name).write_text(text)
    found = linted(tmp_path / WORKFLOW.name)
    assert 'unexpected key "runs-in"' in found
    assert 'undefined function "hashFile"' in found
    assert "SC2086" in found


def test_the_workflow_runs_one_at_a_time_and_may_only_read(workflow: dict[Any, Any]) -> None:
    assert workflow[True]["schedule"] == [{"cron": "17 3 * * 1"}]  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"] == {"group": "filterzoo", "cancel-in-progress": False}


def test_only_the_step_that_publishes_is_given_the_token(workflow: dict[Any, Any]) -> None:
    steps = workflow["jobs"]["crawl"]["steps"]
    with_token = [step["name"] for step in steps if "secrets." in str(step)]
    assert with_token == ["Publish what is new"]
    assert "secrets." not in str({key: value for key, value in workflow.items() if key != "jobs"})


def test_no_expression_is_pasted_into_a_script(workflow: dict[Any, Any]) -> None:
    """`${{ }}` inside `run` would be text of somebody else in a shell."""
    for step in workflow["jobs"]["crawl"]["steps"]:
        assert "${{" not in step.get("run", "")


def test_the_cache_saved_is_the_cache_that_is_restored(workflow: dict[Any, Any]) -> None:
    steps = [step for step in workflow["jobs"]["crawl"]["steps"] if "uses" in step]
    (restored,) = [step["with"] for step in steps if step["uses"].startswith("actions/cache/restore@")]
    saving = [step for step in steps if step["uses"].startswith("actions/cache/save@")]
    assert {step["with"]["path"] for step in saving} == {restored["path"]} == {"filterzoo-work"}
    assert all(step["with"]["key"].startswith(restored["restore-keys"]) for step in saving)
    assert all("run_id" in step["with"]["key"] for step in saving), "a key that is there already is never saved again"
    assert len({step["with"]["key"] for step in saving}) == 3


def test_the_work_folder_is_kept_after_each_part_of_a_crawl(
    workflow: dict[Any, Any],
) -> None:
    steps = workflow["jobs"]["crawl"]["steps"]
    parts = [number for number, step in enumerate(steps) if step.get("id") in {"crawl", "more", "last"}]
    assert len({steps[number]["run"] for number in parts}) == 1
    behind = [next(step for step in steps[number:] if "cache/save@" in step.get("uses", "")) for number in parts]
    assert len({step["name"] for step in behind}) == 3
    assert all("always()" in step["if"] for step in behind)
    assert [steps[number].get("if", "").count("'124'") for number in parts] == [0, 1, 1]


def test_a_run_fails_at_its_end_where_something_failed(workflow: dict[Any, Any]) -> None:
    last = workflow["jobs"]["crawl"]["steps"][-1]
    assert last["if"] == "${{ contains(steps.*.outputs.code, '1') }}"
    assert last["run"].splitlines()[-1] == "exit 1"


def test_the_scripts_of_the_workflow_are_bash_and_know_the_exit_codes(workflow: dict[Any, Any], tmp_path: Path) -> None:
    scripts = {step["name"]: step["run"] for step in workflow["jobs"]["crawl"]["steps"] if "run" in step}
    for name, script in scripts.items():
        assert run("bash", "-n", "-c", script).returncode == 0, name
    (tmp_path / "filterzoo").write_text('#!/bin/sh\nexit "$CODE"\n')
    (tmp_path / "filterzoo").chmod(0o755)
    told = {}
    for code in (0, 1, 2, 3, 124, 137):
        output = tmp_path / f"output{code}"
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CODE": str(code)}
        environment |= {"GITHUB_OUTPUT": str(output)}
        # GitHub's own way to start bash: docs.github.com, workflow syntax, defaults.run.shell
        shell = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
        told[code] = run(*shell, scripts["Crawl"], env=environment).returncode
        assert output.read_text() == f"code={code}\n"
    assert told == {0: 0, 1: 0, 2: 2, 3: 3, 124: 0, 137: 137}


JOB_ARGUMENTS = ("registry.example.org/filterzoo:cpu", "me/state", "me/filters", "https://example.org/zoo.yaml")
JOB_COMMAND = ["filterzoo-job.sh", "/state", "me/filters", "https://example.org/zoo.yaml"]


def schedule(folder: Path, hf: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """schedule.sh with a program of this text in the place of `hf`."""
    (folder / "hf").write_text(hf)
    (folder / "hf").chmod(0o755)
    settings = {**os.environ, "HF": str(folder / "hf"), "HF_HOME": str(folder), "HF_TOKEN": TOKEN, **environment}
    return run(DEPLOY / "jobs" / "schedule.sh", *JOB_ARGUMENTS, *options, env=settings)


@pytest.fixture
def job_command(tmp_path: Path) -> list[str]:
    """The words that schedule.sh gives to `hf`."""
    ran = schedule(tmp_path, '#!/bin/sh\nprintf "%s\\n" "$@"\n', "--dry-run")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_the_clients_own_parser_takes_the_job(job_command: list[str]) -> None:
    """Read by the parser of the installed huggingface_hub, without anything being sent."""
    import typer
    from huggingface_hub.cli.hf import app

    group = typer.main.get_command(app) if isinstance(app, typer.Typer) else app
    context = group.make_context("hf", list(job_command), resilient_parsing=False)
    for word in job_command[:3]:
        group = group.get_command(context, word)  # type: ignore[assignment]  # another type on purpose
    parsed = group.make_context("run", job_command[3:]).params
    assert parsed["schedule"] == "17 3 * * 1"
    assert parsed["image"] == JOB_ARGUMENTS[0]
    assert list(parsed["command"]) == JOB_COMMAND
    assert parsed["concurrency"] is False
    assert list(parsed["secrets"]) == ["HF_TOKEN"]
    assert list(parsed["volume"]) == ["hf://buckets/me/state:/state"]
    assert parsed["timeout"] == "12h"
    assert parsed["dry_run"] is True


CLIENT = f"#!{sys.executable}\nfrom huggingface_hub.cli.hf import main\nmain()\n"


def test_the_client_shows_the_job_and_keeps_the_token_to_itself(tmp_path: Path) -> None:
    ran = schedule(tmp_path, CLIENT, "--dry-run", HF_ENDPOINT="http://127.0.0.1:9")
    assert ran.returncode == 0, ran.stderr
    assert " ".join(JOB_COMMAND) in ran.stdout
    assert TOKEN not in ran.stdout + ran.stderr


def test_the_client_asks_the_hub_for_the_job(tmp_path: Path) -> None:
    with serve() as hub:
        ran = schedule(tmp_path, CLIENT, **hub.environment)
        assert ran.returncode == 0, ran.stderr
    assert TOKEN not in ran.stdout + ran.stderr
    ((owner, asked),) = hub.scheduled
    job = asked.pop("jobSpec")
    assert (owner, asked) == (USER, {"schedule": "17 3 * * 1", "concurrency": False})
    assert job["dockerImage"] == JOB_ARGUMENTS[0]
    assert job["command"] == JOB_COMMAND
    assert job["secrets"] == {"HF_TOKEN": TOKEN}
    assert (job["flavor"], job["timeoutSeconds"]) == ("cpu-upgrade", 12 * 3600)
    assert job["volumes"] == [{"type": "bucket", "source": "me/state", "mountPath": "/state"}]


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    return [line.split(maxsplit=1) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def test_hadolint_takes_the_dockerfile() -> None:
    checked = run(tool("hadolint"), DOCKERFILE)
    assert checked.returncode == 0, checked.stdout


def test_the_image_runs_without_root_and_has_both_variants() -> None:
    last_stage = instructions()[max(i for i, (word, _) in enumerate(instructions()) if word == "FROM") :]
    (user,) = [rest for word, rest in last_stage if word == "USER"]
    assert user == "1000:1000"
    assert ["ARG", "TORCH=cpu"] in instructions()
    assert any("whl/${TORCH}" in rest for word, rest in instructions() if word == "RUN")


def test_the_docker_context_is_enough_to_build_and_run(tmp_path: Path) -> None:
    """The context that .dockerignore leaves holds every file that is copied, and a wheel is built from it."""
    context = tmp_path / "context"
    kept = [line[1:] for line in lines_of(DOCKERFILE.with_name("Dockerfile.dockerignore")) if line.startswith("!")]
    for name in kept:
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    copied = [shlex.split(rest) for word, rest in instructions() if word == "COPY" and "--from" not in rest]
    for *sources, _ in ([word for word in words if not word.startswith("--")] for words in copied):
        assert all((context / source).exists() for source in sources), sources
    program = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    built = run(sys.executable, "-c", program, cwd=context)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(tmp_path / built.stdout.split()[-1]) as wheel:
        names = wheel.namelist()
    for package in ("filterzoo", *(f"filterzoo_{room}" for room in ("plugins", "publish", "analysis", "evaluation"))):
        assert f"{package}/__init__.py" in names
