"""Takedowns: what is named is gone everywhere, what others share stays, and it never comes back."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hub_server import TOKEN, serve
from tests.program import filterzoo
from tests.publish.folders import publish_models, rows, tree
from tests.publish.work import Model, ledger, network, weights, write_work, zoo

from filterzoo.dataset.published import open_hub
from filterzoo.errors import StartError
from filterzoo.layers.normalise import layer_id
from filterzoo_publish.release import publish, target_for
from filterzoo_publish.shards import sample
from filterzoo_publish.takedown.requests import resolved
from filterzoo_publish.takedown.takedown import take_down
from filterzoo_publish.takedown.takedowns import TAKEDOWNS, Takedown, TakedownKind, read_takedowns, takedowns_csv
from filterzoo_publish.targets.hub import HubTarget
from filterzoo_publish.verify.checks import verify, verify_files

RELEASE = "v2026.01.03"
A, B, C, D = (f"pypi/{name}@1" for name in ("a-net", "b-net", "c-copy", "d-shares"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    publish_models(folder / "work", folder / "out", zoo(), ledger())
    return folder


@pytest.fixture
def out(sound, tmp_path) -> Path:
    return Path(shutil.copytree(sound / "out", tmp_path / "out"))


def remove(out: Path, *requests: tuple[TakedownKind, str], **options):
    return take_down(target_for(str(out)), requests, release=RELEASE, **options)


def names(out: Path, config: str) -> set[str]:
    return set(rows(out, config)["model_id"].to_pylist())


def blocks(out: Path) -> dict[tuple[str, int], tuple[str, list[float]]]:
    found = rows(out, "filters").to_pylist()
    return {(row["layer_id"], row["first_filter"]): (row["model_id"], row["weights"]) for row in found}


@pytest.mark.parametrize("model", [model.model_id for model in zoo()])
def test_any_model_can_go_and_what_others_share_stays(out, model):
    before, was = blocks(out), names(out, "models")
    report = remove(out, (TakedownKind.MODEL, model))
    assert report.models == (model,)
    assert verify(str(out)) == []
    for config in ("models", "layers", "filters", "filters_sample", "status"):
        assert model not in names(out, config)
    assert names(out, "models") == was - {model}
    shown = {
        layer_id(array)
        for other in zoo()
        if other.model_id != model and other.publish_weights
        for array in other.layers.values()
    }
    assert {key: block[1] for key, block in blocks(out).items()} == {
        key: block[1] for key, block in before.items() if key[0] in shown
    }
    assert [row["id"] for row in rows(out, "skipped").to_pylist() if row["reason"] == "taken_down"] == [
        model.split("/")[1][:-2]
    ]


def test_shared_layers_and_duplicates_get_the_next_model_as_owner(out):
    report = remove(out, (TakedownKind.MODEL, A))
    body, stem = (layer_id(zoo()[0].layers[name]) for name in ("body", "stem"))
    owners = {key[0]: block[0] for key, block in blocks(out).items()}
    assert (owners[body], owners[stem]) == (C, C)
    assert report.moved_layers == 2
    twins = {row["model_id"]: row["duplicate_of"] for row in rows(out, "models").to_pylist()}
    assert twins[C] is None
    remove(out, (TakedownKind.MODEL, C))
    owners = {key[0]: block[0] for key, block in blocks(out).items()}
    assert owners[body] == D
    assert stem not in owners
    row = next(row for row in rows(out, "filters").to_pylist() if row["layer_id"] == body)
    assert (row["licence_class"], row["conv_depth_norm"]) == ("share-alike", 1.0)
    assert [path.parts[-2] for path in (out / "data/filters/pypi").rglob("*.parquet") if body in layers_in(path)] == [
        "share-alike"
    ]
    assert verify(str(out)) == []


def layers_in(path: Path) -> set[str]:
    return set(pq.read_table(path, partitioning=None)["layer_id"].to_pylist())


def test_only_files_that_hold_it_or_point_there_are_rewritten(out):
    before = tree(out)
    report = remove(out, (TakedownKind.MODEL, "local/big@1"))
    after = tree(out)
    touched = {path for path in before if after.get(path) != before[path] and path.startswith(("data/", "cards/"))}
    assert touched == set(report.removed)
    assert {path for path in touched if not path.startswith(("data/status/", "data/skipped/"))} == {
        path for path in before if "/local/" in path
    }


def test_it_is_refused_from_then_on(out, sound):
    remove(out, (TakedownKind.MODEL, B))
    before = tree(out)
    again = publish(sound / "work", target_for(str(out)), release=RELEASE)
    assert again.is_empty
    assert tree(out) == before
    fresh = write_work(out.parent / "fresh", [zoo()[1], Model("b-net", network(90), revision="2")])
    report = publish(fresh, target_for(str(out)), release=RELEASE)
    assert names(out, "models") >= {"pypi/b-net@2"}, "only that revision was named"
    assert B not in names(out, "models")
    assert report.models == {"pypi": 1}
    reasons = {row["id"]: row["reason"] for row in rows(out, "skipped").to_pylist()}
    assert reasons["b-net"] == "taken_down"
    assert verify(str(out)) == []


def test_one_that_never_came_is_refused_as_well(tmp_path):
    publish_models(tmp_path / "first", tmp_path / "out", zoo()[:1])
    report = remove(tmp_path / "out", (TakedownKind.REPO, "hf_hub/alice/net"), in_advance=True)
    assert (report.models, report.release) == ((), RELEASE)
    models = [Model(name, network(n), source="hf_hub") for n, name in enumerate(["alice/net", "alice/net-2"])]
    work = write_work(tmp_path / "work", models)
    publish(work, target_for(str(tmp_path / "out")), release=RELEASE)
    assert names(tmp_path / "out", "models") == {A, "hf_hub/alice/net-2@1"}
    assert rows(tmp_path / "out", "skipped")["reason"].to_pylist() == ["taken_down"]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (TakedownKind.MODEL, "pypi/a-nte", "near: pypi/a-net"),
        (TakedownKind.MODEL, "a-net", "near: pypi/a-net"),
        (TakedownKind.MODEL, "pypi/z*", "matches no model"),
        (TakedownKind.MODEL, "pypi/a-nett*", "near: pypi/a-net"),
        (TakedownKind.REPO, "pypy", "near: pypi"),
        (TakedownKind.REPO, "pyp*", "globs are for --model"),
        (TakedownKind.LICENCE, "permisive", "near: permissive"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_request_that_matches_nothing_is_refused_and_changes_nothing(out, kind, value, told, dry_run):
    before = tree(out)
    with pytest.raises(StartError, match=re.escape(told)):
        remove(out, (kind, value), dry_run=dry_run)
    assert tree(out) == before


def test_a_glob_means_the_models_that_are_there(out):
    wanted = {model.model_id for model in zoo() if model.source == "pypi" and model.id[0] in "ab"}
    report = remove(out, (TakedownKind.MODEL, "pypi/[ab]-*"))
    assert set(report.models) == wanted
    assert names(out, "models").isdisjoint(wanted)
    kept = {one.value for one in read_takedowns((out / TAKEDOWNS).read_text())}
    assert kept == {name.partition("@")[0] for name in wanted}
    assert verify(str(out)) == []


def test_a_glob_in_a_name_is_that_name():
    row = {"source": "local", "id": "a[1]", "model_id": "local/a[1]@1", "revision": "1", "licence": None}
    model = row | {"licence_class": "unknown"}
    assert resolved([(TakedownKind.MODEL, "local/a[1]")], [model], []) == [(TakedownKind.MODEL, "local/a[1]")]


def test_a_withdrawn_request_lets_the_model_come_back(out, sound):
    with pytest.raises(StartError, match=r"was not requested, so nothing was changed; takedowns\.csv has no request"):
        remove(out, (TakedownKind.MODEL, B), withdraw=True)
    remove(out, (TakedownKind.MODEL, B), (TakedownKind.MODEL, A))
    with pytest.raises(StartError, match=r"was not requested, .*; the requests in takedowns\.csv are: --model"):
        remove(out, (TakedownKind.MODEL, C), withdraw=True)
    report = remove(out, (TakedownKind.MODEL, f"{B[:-2]}*"), withdraw=True)
    assert (report.models, report.withdrawn) == ((), (f"model {B}",))
    assert verify(str(out)) == []
    assert [row["id"] for row in rows(out, "skipped").to_pylist() if row["reason"] == "taken_down"] == ["a-net"]
    publish(sound / "work", target_for(str(out)), release=RELEASE)
    assert B in names(out, "models")
    assert A not in names(out, "models")
    assert verify(str(out)) == []


def test_nothing_is_removed_before_confirmation(out):
    before = tree(out)
    asked = filterzoo("takedown", "out", "--model", "pypi/[ab]-*", cwd=out.parent)
    assert asked.code == 2
    assert f"would remove  {A}" in asked.err
    assert "--yes" in asked.err
    assert tree(out) == before


@pytest.mark.parametrize(
    ("kind", "value", "covered"),
    [
        (TakedownKind.MODEL, "hub/a/b@1", {"a/b@1"}),
        (TakedownKind.MODEL, "hub/a/b", {"a/b@1", "a/b@2"}),
        (TakedownKind.MODEL, "hub/a", set()),
        (TakedownKind.REPO, "hub/a", {"a/b@1", "a/b@2", "a/bc@1"}),
        (TakedownKind.REPO, "hub/a/", {"a/b@1", "a/b@2", "a/bc@1"}),
        (TakedownKind.REPO, "hub/a/b", {"a/b@1", "a/b@2"}),
        (TakedownKind.REPO, "a", set()),
        (TakedownKind.LICENCE, "MIT", {"a/b@1"}),
        (TakedownKind.LICENCE, "gpl-3.0-only", {"a/b@2"}),
        (TakedownKind.LICENCE, "share-alike", {"a/b@2"}),
        (TakedownKind.LICENCE, "unknown", {"a/bc@1"}),
        (TakedownKind.LICENCE, "apache-2.0", set()),
    ],
)
def test_what_a_request_covers(kind, value, covered):
    licences = {
        "a/b@1": ("mit", "permissive"),
        "a/b@2": ("mit and gpl-3.0-only", "share-alike"),
        "a/bc@1": (None, "unknown"),
    }
    if value == "MIT":
        licences["a/b@2"] = ("gpl-3.0-only", "share-alike")
    found = set()
    for name, (licence, licence_class) in licences.items():
        ident, _, revision = name.partition("@")
        model = {"source": "hub", "id": ident, "revision": revision, "licence": licence, "licence_class": licence_class}
        if Takedown(kind, value, "2026-01-01").covers(model):
            found.add(name)
    assert found == covered


@given(
    st.lists(st.tuples(st.sampled_from(TakedownKind), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)))
)
def test_the_list_comes_back_and_no_spreadsheet_runs_it(requests):
    takedowns = tuple(Takedown(kind, value, "2026-01-01") for kind, value in requests)
    text = takedowns_csv(takedowns)
    assert read_takedowns(text) == takedowns
    assert not any(f'"{sign}' in text.replace('""', "") for sign in "=@") or any('"' in value for _, value in requests)


@pytest.mark.parametrize(
    "text", ["", "kind,value\n", '"kind","value","day"\n"thing","x","d"\n', '"kind","value","day"\n"']
)
def test_a_damaged_list_stops_everyone(out, sound, text):
    (out / TAKEDOWNS).write_text(text)
    with pytest.raises(StartError, match=r"takedowns.csv: is not as a takedown wrote it"):
        publish(sound / "work", target_for(str(out)), release=RELEASE)
    assert "takedown" in {problem.check for problem in verify(str(out))}


def test_verify_finds_what_is_back(out):
    (out / TAKEDOWNS).write_text(takedowns_csv([Takedown(TakedownKind.LICENCE, "share-alike", "2026-01-01")]))
    assert [(problem.check, problem.where) for problem in verify(str(out))] == [("takedown", D)]


def test_a_dry_run_changes_nothing_and_a_second_time_is_none(out):
    before = tree(out)
    report = remove(out, (TakedownKind.MODEL, A), dry_run=True)
    assert (report.models, report.moved_layers, report.files) == ((A,), 2, {})
    assert tree(out) == before
    assert remove(out, (TakedownKind.MODEL, A)).release == RELEASE
    before = tree(out)
    assert remove(out, (TakedownKind.MODEL, A)).release is None
    assert tree(out) == before


def test_everything_can_go(out, sound):
    remove(out, (TakedownKind.REPO, "pypi/"), (TakedownKind.REPO, "local"))
    assert verify(str(out)) == []
    assert len(rows(out, "models")) == len(rows(out, "filters")) == 0
    assert publish(sound / "work", target_for(str(out)), release=RELEASE).is_empty


@pytest.mark.slow
def test_the_sample_stays_as_small_as_it_is(tmp_path, monkeypatch):
    """Fewer models could show more filters each; that would rewrite every file."""
    monkeypatch.setattr(sample, "TOTAL", 300)
    models = [Model(f"m{number}", {"w": weights(number, 20, 10, 3, 3)}) for number in range(6)]
    publish_models(tmp_path / "first", tmp_path / "out", models)
    for number in range(1, 6):
        remove(tmp_path / "out", (TakedownKind.MODEL, models[number].model_id))
    assert len(rows(tmp_path / "out", "filters_sample")) == 32
    new = write_work(tmp_path / "new", [Model("new", {"w": weights(9, 20, 10, 3, 3)})])
    publish(new, target_for(str(tmp_path / "out")), release=RELEASE)
    assert len(rows(tmp_path / "out", "filters_sample")) == 64
    assert verify(str(tmp_path / "out")) == []


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_on_the_hub_it_is_one_commit_that_merges_with_a_faster_publisher(tmp_path):
    with serve() as hub:
        first, second = write_work(tmp_path / "a", zoo()[:3]), write_work(tmp_path / "b", zoo())
        target = HubTarget("alice/zoo", endpoint=hub.url, token=TOKEN)
        publish(first, target)
        hub.before_commit.append(lambda: publish(second, HubTarget("alice/zoo", endpoint=hub.url, token=TOKEN)))
        report = take_down(target, [(TakedownKind.MODEL, A)])
        assert hub.history("alice/zoo")[0] == f"FilterZoo release {report.tag}: 1 model taken down"
        files = open_hub("alice/zoo", endpoint=hub.url, token=TOKEN)
        assert verify_files(files) == []
        assert not any(A.encode() in content for path, content in hub.files("alice/zoo").items() if "models/" in path)


def test_the_command(out):
    place = out.parent
    assert "name what is to go" in filterzoo("takedown", "out", cwd=place).err
    assert "holds no data set" in filterzoo("takedown", "none", "--model", "x", cwd=place).err
    assert not (place / "none").exists()
    dry = filterzoo("takedown", "out", "--model", A, "--dry-run", cwd=place)
    assert dry.out.splitlines() == [
        "out: would remove 1 model; 2 layers stay under other models",
        f"would remove  {A}",
    ]
    done = filterzoo("takedown", "out", "--licence", "share-alike", "--model", A, "--yes", "--json", cwd=place).document
    assert done["models"] == [A, D]
    assert set(done["removed"]).isdisjoint(tree(out))
    assert filterzoo("verify", "out", cwd=place).out == "out: sound\n"
    again = filterzoo("takedown", "out", "--model", A, cwd=place)
    assert (again.code, again.out) == (0, "out: nothing new: it is refused already, and nothing of it is there\n")
