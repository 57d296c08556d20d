"""Releases on a Hub: one guarded commit and a tag; nothing twice, nothing lost."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading

import pytest
from tests.hub_server import TOKEN, serve
from tests.program import PROGRAM
from tests.publish.work import ledger, write_work, zoo

from filterzoo.dataset.published import open_hub
from filterzoo.errors import StartError
from filterzoo_publish.plan.state import read_published
from filterzoo_publish.release import publish
from filterzoo_publish.targets.hub import HubTarget
from filterzoo_publish.verify.checks import verify_files

REPO = "alice/zoo"
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # its own upload


@pytest.fixture
def hub():
    with serve() as running:
        yield running


@pytest.fixture
def work(tmp_path):
    return write_work(tmp_path / "work", zoo(), ledger())


def target(hub, **options) -> HubTarget:
    return HubTarget(REPO, endpoint=hub.url, token=TOKEN, **options)


def opened(hub, revision=None):
    return open_hub(REPO, revision, endpoint=hub.url, token=TOKEN)


def test_a_release_is_one_commit_and_a_tag(hub, work):
    report = publish(work, target(hub))
    assert hub.history(REPO) == [f"FilterZoo release {report.tag}: 7 new models", "initial commit"]
    assert re.fullmatch(r"v\d{4}\.\d\d\.\d\d", report.tag)
    assert hub.repos[REPO].tags[report.tag] is hub.repos[REPO].refs["main"]
    assert report.url.startswith(f"{hub.url}/datasets/{REPO}/commit/")
    assert set(report.files) == {path for path in hub.files(REPO) if path.startswith(("data/", "cards/"))}
    assert verify_files(opened(hub)) == []
    assert f'load_dataset("{REPO}"' in hub.files(REPO)["README.md"].decode()


def test_the_files_are_those_of_a_folder(hub, work, tmp_path):
    from filterzoo_publish.release import target_for

    publish(work, target(hub))
    publish(work, target_for(str(tmp_path / "out")))
    for path in (tmp_path / "out/data").rglob("*.parquet"):
        assert hub.files(REPO)[path.relative_to(tmp_path / "out").as_posix()] == path.read_bytes()


def test_publishing_twice_makes_no_commit_and_sends_no_file(hub, work):
    publish(work, target(hub))
    state, sent = hub.repos[REPO].refs["main"], len(hub.requests)
    report = publish(work, target(hub))
    assert report.is_empty
    assert hub.repos[REPO].refs["main"] is state
    assert len(hub.repos[REPO].tags) == 1
    assert not [line for line in hub.requests[sent:] if line.startswith(("PUT", "POST")) and "paths-info" not in line]


def test_a_second_release_of_the_day_only_adds_and_has_its_own_tag(hub, tmp_path):
    first = publish(write_work(tmp_path / "first", zoo()[:2], ledger()), target(hub))
    before = hub.files(REPO)
    second = publish(write_work(tmp_path / "second", zoo()), target(hub))
    assert second.tag == f"{first.tag}.1"
    changed = {path for path, content in before.items() if hub.files(REPO).get(path) != content}
    assert {path for path in changed if path.startswith("data/")} == set(second.removed)
    assert {path.split("/")[1] for path in second.removed} == {"skipped", "status", "lineage"}
    assert verify_files(opened(hub)) == []
    ours = {path: content for path, content in before.items() if path != ".gitattributes"}
    assert {path: opened(hub, first.tag).open(path).read() for path in ours} == ours


def test_a_faster_publisher_is_merged_with(hub, tmp_path):
    """The second one's commit comes while the first uploads: 412, a new plan, the rows of both, each once."""
    theirs = write_work(tmp_path / "theirs", [model for model in zoo() if model.id in {"a-net", "d-shares"}])
    ours = write_work(tmp_path / "ours", [model for model in zoo() if model.id in {"a-net", "b-net", "c-copy"}])
    publish(write_work(tmp_path / "start", zoo()[-1:]), target(hub))
    hub.before_commit.append(lambda: publish(theirs, target(hub)))
    publish(ours, target(hub))
    titles = [title.partition(": ")[2] for title in hub.history(REPO)]
    assert titles[:3] == ["2 new models", "2 new models", "1 new model"]
    assert verify_files(opened(hub)) == []
    assert len(hub.repos[REPO].tags) == 3


@pytest.mark.slow
def test_two_publishers_at_once_both_end_up_there(hub, tmp_path):
    """Two processes, one of which must be refused and plan again: the rows of both are there, each once."""
    ids = {"left": {"a-net", "b-net", "big"}, "right": {"a-net", "c-copy", "d-shares"}}
    for name, own in ids.items():
        write_work(tmp_path / name, [model for model in zoo() if model.id in own])
    publish(write_work(tmp_path / "start", zoo()[5:6]), target(hub))
    both = threading.Barrier(2)
    hub.before_commit += [both.wait, both.wait]
    command = [PROGRAM, "publish", REPO, "--json", "--workdir"]
    environment = {**os.environ, **hub.environment}
    running = [subprocess.Popen([*command, tmp_path / name], stdout=subprocess.PIPE, env=environment) for name in ids]  # type: ignore[list-item]  # one of several types
    reports = [json.loads(process.communicate(timeout=120)[0]) for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert not hub.before_commit
    assert len({report["tag"] for report in reports}) == len({report["release"] for report in reports}) == 2
    found = opened(hub)
    assert verify_files(found) == []
    names = [row["id"] for row in read_published(found).models.to_pylist()]
    assert sorted(names) == ["a-net", "b-net", "big", "c-copy", "d-shares", "f-flat"]
    commits = [line for line in hub.requests if line.endswith("/commit/main")]
    assert len(commits) == 4, "the start, both, and one of them again"


def test_an_answer_that_is_lost_does_not_publish_twice(hub, work):
    hub.lose_answers = 1
    report = publish(work, target(hub))
    assert hub.history(REPO) == [f"FilterZoo release {report.tag}: 7 new models", "initial commit"]
    assert report.tag in hub.repos[REPO].tags
    assert sum(report.models.values()) == 7, "it says what it added, once"
    assert report.url == f"{hub.url}/datasets/{REPO}/commit/{hub.repos[REPO].refs['main'].oid}"
    assert verify_files(opened(hub)) == []


def test_an_answer_that_is_lost_before_another_publishes_is_found_in_the_rows(hub, tmp_path, monkeypatch):
    """The newest commit is then another's, but every row is there: nothing new, and nothing twice."""
    first, other = write_work(tmp_path / "first", zoo()[:2]), write_work(tmp_path / "other", zoo()[2:])
    publish(write_work(tmp_path / "start", zoo()[-1:]), target(hub))
    look = HubTarget._newcomers

    def late(self, known):
        monkeypatch.setattr(HubTarget, "_newcomers", look)
        publish(other, target(hub))
        return look(self, known)

    monkeypatch.setattr(HubTarget, "_newcomers", late)
    hub.lose_answers = 1
    report = publish(first, target(hub))
    assert report.is_empty
    assert [title.partition(": ")[2] for title in hub.history(REPO)[:2]] == ["4 new models", "2 new models"]
    assert verify_files(opened(hub)) == []


def test_a_pull_request_leaves_the_main_branch_alone(hub, tmp_path):
    publish(write_work(tmp_path / "first", zoo()[:2]), target(hub))
    main = hub.repos[REPO].refs["main"]
    report = publish(write_work(tmp_path / "second", zoo()), target(hub, create_pr=True))
    assert report.url == f"{hub.url}/datasets/{REPO}/discussions/1"
    assert report.tag is None
    assert hub.repos[REPO].refs["main"] is main
    assert verify_files(opened(hub, "refs/pr/1")) == []


def test_a_pull_request_whose_answer_is_lost_is_not_proposed_twice(hub, tmp_path):
    publish(write_work(tmp_path / "first", zoo()[:2]), target(hub))
    theirs = write_work(tmp_path / "theirs", zoo()[:4])
    hub.before_commit.append(lambda: publish(theirs, target(hub, create_pr=True)))
    hub.before_commit.append(lambda: setattr(hub, "lose_answers", 2))
    report = publish(write_work(tmp_path / "second", zoo()), target(hub, create_pr=True))
    assert report.url == f"{hub.url}/datasets/{REPO}/discussions/2"
    assert [ref for ref in hub.repos[REPO].refs if ref.startswith("refs/pr/")] == ["refs/pr/1", "refs/pr/2"]
    assert verify_files(opened(hub, "refs/pr/2")) == []


def test_a_private_repository_is_made_private(hub, work):
    publish(work, target(hub, private=True))
    assert hub.repos[REPO].private
    with pytest.raises(StartError, match="not yours to read"):
        open_hub(REPO, endpoint=hub.url, token="hf_other")


@pytest.mark.parametrize(("name", "token"), [(REPO, "hf_wrong"), ("bob/zoo", TOKEN)])
def test_without_the_right_to_write_one_line_says_so(hub, work, name, token):
    with pytest.raises(StartError, match="HF_TOKEN") as refused:
        publish(work, HubTarget(name, endpoint=hub.url, token=token))
    assert "\n" not in str(refused.value)
    assert not hub.repos


def test_a_dry_run_asks_and_changes_nothing(hub, work):
    report = publish(work, target(hub), dry_run=True)
    assert report.models == {"pypi": 6, "local": 1}
    assert not hub.repos


def test_somebody_elses_repository_is_left_alone(hub, work):
    from tests.hub_server import File

    target(hub)._api.create_repo(REPO, repo_type="dataset")
    repo = hub.repos[REPO]
    repo.commit("main", "mine", {"train.csv": File(b"1,2", is_lfs=False)}, repo.refs["main"])
    with pytest.raises(StartError, match="holds other files"):
        publish(work, target(hub))


def test_an_unreachable_hub_is_one_line(work):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(StartError, match="cannot be reached") as refused:
            publish(work, HubTarget(REPO, endpoint=address, token=TOKEN))
        with pytest.raises(StartError, match="cannot be reached"):
            open_hub(REPO, endpoint=address, token=TOKEN)
    assert "\n" not in str(refused.value)
