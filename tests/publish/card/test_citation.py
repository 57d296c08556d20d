"""A data set says how it is cited, in the formats that tools read; its DOI stays until another is given."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests.program import filterzoo
from tests.publish.folders import publish_models
from tests.publish.work import Model, network, write_work, zoo

import filterzoo as package
from filterzoo.errors import StartError
from filterzoo_publish.card.citation import Identity, bibtex, checked_doi, citation
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.release import target_for
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TakedownKind

REQUIRED = {"cff-version", "message", "title", "authors"}
"""Of version 1.2.0: https://github.com/citation-file-format/citation-file-format/blob/1.2.0/schema-guide.md"""


def cited(folder: Path) -> dict:
    document = yaml.safe_load((folder / "CITATION.cff").read_text())
    assert document.keys() >= REQUIRED
    return document


def test_a_release_is_cited_by_its_name_and_day(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [Model("net", network(1))], release="v2026.01.02")
    document = cited(tmp_path / "out")
    assert (document["type"], document["version"], str(document["date-released"])) == (
        "dataset",
        "v2026.01.02",
        "2026-01-02",
    )
    assert not document.keys() & {"url", "doi"}
    page = (tmp_path / "out/README.md").read_text()
    assert "year   = {2026},\n  note   = {Data set, release v2026.01.02}\n}" in page


def test_the_doi_is_kept_by_releases_and_takedowns(tmp_path):
    write_work(tmp_path / "work", zoo()[:2])
    doi = "https://doi.org/10.57967/hf/1234"
    ran = filterzoo(
        "publish", tmp_path / "out", "--workdir", tmp_path / "work", "--doi", doi, "--release", "v2026.01.02"
    )
    assert ran.code == 0, ran.err
    assert cited(tmp_path / "out")["doi"] == "10.57967/hf/1234"
    publish_models(tmp_path / "more", tmp_path / "out", zoo()[2:3], release="v2026.01.03")
    assert cited(tmp_path / "out")["doi"] == "10.57967/hf/1234"
    assert "doi    = {10.57967/hf/1234}" in (tmp_path / "out/README.md").read_text()
    take_down(target_for(str(tmp_path / "out")), [(TakedownKind.MODEL, f"pypi/{zoo()[0].id}@1")])
    assert cited(tmp_path / "out")["doi"] == "10.57967/hf/1234"


@pytest.mark.parametrize(
    "doi", ["", "10.1/x", "https://example.org/10.1234/x", "10.1234/a\nurl: evil", "10.1234/}", "x" * 999]
)
def test_what_is_no_doi_is_refused(doi):
    with pytest.raises(StartError, match="is no DOI"):
        checked_doi(doi)


def test_content_that_others_wrote_into_a_received_folder_is_not_kept(tmp_path):
    publish_models(tmp_path / "work", tmp_path / "out", [Model("net", network(1))], release="v2026.01.02")
    file = tmp_path / "out/CITATION.cff"
    file.write_text(file.read_text() + "doi: 10.1234/x} \\input{evil}\n")
    publish_models(tmp_path / "more", tmp_path / "out", [Model("other", network(2))], release="v2026.01.03")
    assert "evil" not in file.read_text() + (tmp_path / "out/README.md").read_text()


def test_on_the_hub_it_has_an_address():
    identity = Identity(target_for("somebody/filters").url, "10.57967/hf/1234")
    releases = [Release(name="v2026.01.02", day="2026-01-02")]
    assert yaml.safe_load(citation(identity, releases))["url"] == "https://huggingface.co/datasets/somebody/filters"
    assert "url    = {https://huggingface.co/datasets/somebody/filters}" in bibtex(identity, releases)


def test_the_repository_is_cited_too():
    root = Path(__file__).parents[3]
    document = yaml.safe_load((root / "CITATION.cff").read_text())
    assert document.keys() >= REQUIRED
    assert document["type"] == "software"
    released = package.__version__.split(".dev")[0]
    assert tuple(map(int, document["version"].split("."))) <= tuple(map(int, released.split(".")))
