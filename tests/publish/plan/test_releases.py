"""From release to release: names, days, checkpoints that change and that vanish."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.program import filterzoo
from tests.publish.folders import rows, tree
from tests.publish.work import Model, ledger, network, write_work, zoo
from tests.zoo import MANIFEST, write_good

from filterzoo.errors import StartError
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.plan.releases import Release, next_release, read_releases, releases_csv
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.verify.checks import verify

OLD, NEW = Model("net", network(1), revision="b"), Model("net", network(2), revision="a")


def release(work, out, day):
    return publish(work, target_for(str(out)), release=f"v{day.replace('-', '.')}")


def status(out) -> dict[str, tuple[str, str | None]]:
    return {row["model_id"]: (row["last_seen"], row["superseded_by"]) for row in rows(out, "status").to_pylist()}


def test_a_checkpoint_that_vanished_stays_and_says_when_it_was_seen(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    gone, stays = Model("gone", network(1)), Model("stays", network(2))
    release(write_work(work, [gone, stays], listed="2026-01-01"), out, "2026-01-02")
    write_work(work, [stays, Model("new", network(3))], listed="2026-02-01")
    release(work, out, "2026-02-02")
    assert status(out) == {
        "pypi/gone@1": ("2026-01-02", None),
        "pypi/new@1": ("2026-02-02", None),
        "pypi/stays@1": ("2026-02-01", None),
    }
    days = {row["id"]: (row["first_seen"], row["release"]) for row in rows(out, "models").to_pylist()}
    assert days["stays"] == ("2026-01-02", "v2026.01.02")
    assert days["new"] == ("2026-02-02", "v2026.02.02")
    assert verify(str(out)) == []


def test_a_new_revision_supersedes_the_old_one_which_stays(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    release(write_work(work, [OLD], listed="2026-01-01"), out, "2026-01-01")
    assert status(out)[OLD.model_id] == ("2026-01-01", None)
    release(write_work(work, [NEW], listed="2026-01-01"), out, "2026-01-01")
    assert status(out) == {OLD.model_id: ("2026-01-01", NEW.model_id), NEW.model_id: ("2026-01-01", None)}
    assert set(rows(out, "models")["release"].to_pylist()) == {"v2026.01.01", "v2026.01.01.1"}
    release(write_work(work, [Model("net", network(3), revision="0")]), out, "2026-01-03")
    assert {row[1] for row in status(out).values()} == {"pypi/net@0", None}
    assert verify(str(out)) == []


def test_of_two_revisions_in_one_release_the_one_listed_last_is_newer(tmp_path):
    work = write_work(tmp_path / "work", [OLD], listed="2026-01-01")
    release(write_work(work, [NEW], listed="2026-01-08"), tmp_path / "out", "2026-01-09")
    assert status(tmp_path / "out")[OLD.model_id][1] == NEW.model_id
    both = write_work(tmp_path / "both", [OLD, NEW], listed="2026-01-08")
    release(both, tmp_path / "other", "2026-01-09")
    assert {row[1] for row in status(tmp_path / "other").values()} == {None}, "the zoo offers both"
    release(write_work(work, [Model("x", network(3))]), tmp_path / "out", "2026-01-10")
    assert status(tmp_path / "out")[OLD.model_id][1] == NEW.model_id, "what was found out is kept"


def test_an_unchanged_listing_is_no_release(tmp_path):
    work, out = tmp_path / "work", tmp_path / "out"
    release(write_work(work, zoo(), ledger(), listed="2026-01-01"), out, "2026-01-01")
    before = tree(out)
    report = release(write_work(work, zoo(), listed="2026-03-01"), out, "2026-03-01")
    assert report.is_empty
    assert report.release is None
    assert tree(out) == before


def test_the_same_release_of_the_same_crawl_has_the_same_bytes(tmp_path):
    for name, day in (("a", "2026-01-01"), ("b", "2026-01-05")):
        work = write_work(tmp_path / f"work-{name}", zoo(), ledger(), listed=day)
        release(work, tmp_path / name, "2026-01-06")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_a_release_before_the_newest_is_refused(tmp_path):
    release(write_work(tmp_path / "work", [OLD]), tmp_path / "out", "2026-02-01")
    before = tree(tmp_path / "out")
    with pytest.raises(StartError, match=r"the newest release is v2026.02.01; choose its day or a later one"):
        release(write_work(tmp_path / "work", [NEW]), tmp_path / "out", "2026-01-31")
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("name", ["2026.01.01", "v2026.1.1", "v2026.02.30", "v2026.01.01.1", "latest", "v2026.01.01\n"])
def test_other_names_are_refused(name):
    with pytest.raises(StartError, match="named by its day"):
        next_release(name, (), set())


def test_names_that_are_taken_get_a_number():
    first = Release(name="v2026.01.01", day="2026-01-01")
    assert next_release("v2026.01.01", (first,), {"v2026.01.01.1"}).name == "v2026.01.01.2"
    assert next_release(None, (), set()).day == datetime.now(UTC).date().isoformat()
    ahead = Release(name="v9999.01.01", day="9999-01-01")
    assert next_release(None, (ahead,), set()).name == "v9999.01.01.1", "another's clock was ahead"


@given(st.lists(st.tuples(st.dates(date(2000, 1, 1)), st.integers(0, 10**15))))
def test_the_list_of_releases_comes_back(found):
    releases = tuple(Release(name=f"v{day:%Y.%m.%d}", day=day.isoformat(), models=n, filters=n) for day, n in found)
    assert read_releases(releases_csv(releases)) == releases


@pytest.mark.parametrize("text", ["name\nv1\n", releases_csv([Release(name="v", day="d")]).replace(",0", ",x")])
def test_a_damaged_list_of_releases_is_reported(text):
    with pytest.raises(StartError, match="is not as a release wrote it"):
        read_releases(text)
    assert read_releases("") == read_releases(None) == ()


@pytest.mark.slow
def test_a_crawl_notes_what_is_listed(tmp_path):
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    write_good(tmp_path / "zoo")
    assert filterzoo("crawl", "manifest.yaml", cwd=tmp_path).code == 0
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        listed = dict(journal.listed())
        keys = {(one.checkpoint.source, one.checkpoint.id, one.checkpoint.revision) for one in journal.done()}
    assert listed.keys() == keys
    assert len(set(listed.values())) == 1


def test_a_release_of_a_far_day_is_refused():
    with pytest.raises(StartError, match="lies in the future"):
        next_release("v9000.01.01", (), set())
