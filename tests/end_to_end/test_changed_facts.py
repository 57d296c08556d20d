"""A table of facts that changes changes rows of what is done, and no weight is asked for again."""

from __future__ import annotations

import datasets
import pytest
from tests.crawler.checkpoints import checkpoint, done
from tests.plugins.sources.own_files.test_urls import network
from tests.program import filterzoo
from tests.servers import WebServer

from filterzoo.crawl.discovery import OpenSource
from filterzoo.crawl.refreshing import settled
from filterzoo.crawl.task import Settings, Task
from filterzoo.licensing.licences import Policy
from filterzoo.source import Source
from filterzoo.store.journal import Journal
from filterzoo.store.workfolder import WorkFolder


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


def stored(folder):
    with WorkFolder(folder / "filterzoo-work").existing_journal() as journal:
        return {one.checkpoint.id: one for one in journal.done()}


@pytest.mark.slow
def test_a_changed_table_changes_rows_and_downloads_nothing(server, tmp_path):
    url = server.add("/net.pt", network())
    (tmp_path / "zoo.yaml").write_text(
        "name: zoo\nsources:\n- source: urls\n  facts: facts.csv\n"
        f"  files: [{{url: '{url}', name: net, license: mit}}]\n"
    )
    (tmp_path / "facts.csv").write_text("name,task,robust,training_dataset\nnet,classification,false,mine\n")
    command = ("crawl", "zoo.yaml", "--allow-private", "--workers", "1")
    first = filterzoo(*command, cwd=tmp_path)
    assert first.code == 0, first.err
    before, asked = stored(tmp_path)["net"], len(server.requests)
    assert filterzoo("publish", "out", cwd=tmp_path).code == 0
    (tmp_path / "facts.csv").write_text("name,task,robust\nnet,segmentation,true\n")
    second = filterzoo(*command, cwd=tmp_path)
    assert (second.code, len(server.requests)) == (0, asked), second.err
    assert "changed  urls/net: task, training_dataset, robust" in second.err
    after = stored(tmp_path)["net"]
    facts = after.checkpoint.task, after.checkpoint.robust, after.checkpoint.training_dataset
    assert facts == ("segmentation", True, None)
    assert after.layers_fragment == before.layers_fragment
    told = filterzoo("publish", "out", "--json", cwd=tmp_path).document
    assert (told["is_empty"], len(told["changed"])) == (True, 1)
    filterzoo("publish", "new", cwd=tmp_path)
    (row,) = datasets.load_dataset(str(tmp_path / "new"), split="train")
    assert (row["task"], row["robust"], row["training_dataset"]) == ("segmentation", True, None)


class Plain(Source):
    name = "zoo"

    def discover(self):
        return iter(())


class Building(Plain):
    def architectures(self, checkpoint):
        yield {}


@pytest.fixture
def journal(tmp_path):
    with Journal(tmp_path / "journal.sqlite") as opened:
        yield opened


def outcome(journal, listed, kind=Plain, **stored_as):
    settings = Settings(frozenset({"3x3"}), Policy(), None, None)
    journal.record_done(done(checkpoint(**stored_as.pop("facts", {})), **stored_as), settings.key)
    opened = OpenSource(object.__new__(kind), None, settings)
    return settled(journal, Task(checkpoint(**listed), 0, settings), opened)


def test_a_licence_that_changed_is_read_again(journal):
    assert outcome(journal, {"licence": "mit"}, facts={"licence": "apache-2.0"}) is None


@pytest.mark.parametrize(("kind", "is_read"), [(Plain, False), (Building, True)])
def test_an_architecture_is_read_again_where_layers_follow_from_it(journal, kind, is_read):
    found = outcome(journal, {"architecture": "resnet50"}, kind, facts={"architecture": "resnet18"})
    assert (found is None) is is_read
    if not is_read:
        assert journal.done_of(checkpoint()).checkpoint.architecture == "resnet50"


@pytest.mark.parametrize("found", [True, None])
def test_a_name_that_was_found_in_the_file_stays(journal, found):
    kept = outcome(journal, {"task": "classification"}, Building, facts={"architecture": "x"}, architecture_found=found)
    assert kept.changed == ("task",)
    assert journal.done_of(checkpoint()).checkpoint.architecture == "x"


def test_a_name_that_is_listed_no_more_goes(journal):
    assert outcome(journal, {}, Plain, facts={"architecture": "x"}, architecture_found=False).changed == (
        "architecture",
    )
    assert journal.done_of(checkpoint()).checkpoint.architecture is None


def test_another_address_of_the_same_revision_is_no_fact(journal):
    assert outcome(journal, {"artifacts": ()}).changed == ()
