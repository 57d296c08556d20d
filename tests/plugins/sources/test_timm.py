"""The source `timm` with the installed timm, and a Hub on loopback for what it asks of one."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path

import pytest
from tests.model_hub import ModelHub, Repo

from filterzoo import Artifact, Checkpoint, Reason, Refused
from filterzoo.architectures.context import with_architecture
from filterzoo.layers.selection import select
from filterzoo.licensing.licences import Licence
from filterzoo.network.door import Door
from filterzoo.outcome import Refusal
from filterzoo.records import Context, Kind, Span, Tensor
from filterzoo.vocabularies import COLUMNS
from filterzoo_plugins import facts
from filterzoo_plugins.sources.timm import source as timm_source
from filterzoo_plugins.sources.timm.repositories import UNPINNED
from filterzoo_plugins.sources.timm.source import TimmOptions, TimmSource
from filterzoo_plugins.sources.timm.tags import TrainingData, training_data

WEIGHTS = b"weights " * 1000
VERSION = importlib.metadata.version("timm")


@pytest.fixture
def hub(monkeypatch):
    with ModelHub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server


@pytest.fixture
def source(tmp_path):
    with Door(tmp_path / "cache", allow_private=True) as door:
        yield lambda **options: TimmSource(TimmOptions(**options), door, Path())


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    with Door(tmp_path_factory.mktemp("cache")) as door:
        return list(TimmSource(TimmOptions(pin=False), door, Path()).discover())


@pytest.fixture(scope="module")
def everything(listed):
    """The checkpoints."""
    return [found for found in listed if isinstance(found, Checkpoint)]


def test_every_pretrained_weight_is_listed_without_a_network(listed, everything):
    import timm

    assert [found.id for found in listed] == sorted(timm.list_pretrained())
    if VERSION == "1.0.31":
        assert len(listed) == 1826
        assert len(everything) == 1809
    assert all(c.revision and c.architecture and c.artifacts[0].url for c in everything)


def test_a_file_that_timm_names_twice_is_one_checkpoint_under_the_name_of_its_repository(listed, everything):
    import timm

    files = [checkpoint.artifacts[0].url for checkpoint in everything]
    assert len(set(files)) == len(files)
    twins = {found.id: found for found in listed if isinstance(found, Refusal)}
    assert len(twins) + len(everything) == len(listed)
    assert {twin.reason for twin in twins.values()} == {Reason.DUPLICATE}
    for name, twin in twins.items():
        kept = twin.detail.rpartition(" ")[2]
        repos = {timm.get_pretrained_cfg(one).hf_hub_id for one in (name, kept)}
        assert repos == {f"timm/{kept}"}
    twin = twins["vit_base_patch16_clip_quickgelu_224.openai"]
    assert twin.detail == "timm's second name for the file of vit_base_patch16_clip_224.openai"


def test_a_name_whose_twin_is_not_asked_for_is_no_duplicate(source):
    options = {"include": ["vit_base_patch16_clip*_224.openai"], "pin": False}
    assert [type(found) for found in source(**options).discover()] == [Checkpoint, Refusal]
    (found,) = source(**options, exclude=["vit_base_patch16_clip_224.*"]).discover()
    assert isinstance(found, Checkpoint)
    assert found.id == "vit_base_patch16_clip_quickgelu_224.openai"


def test_a_duplicate_has_the_commit_of_the_file_and_its_repository_is_asked_once(hub, source):
    hub.repos["timm/vit_base_patch16_clip_224.openai"] = Repo({"open_clip_model.safetensors": WEIGHTS})
    kept, twin = source(include=["vit_base_patch16_clip*_224.openai"]).discover()
    assert isinstance(kept, Checkpoint)
    assert (twin.reason, twin.revision, twin.licence) == (Reason.DUPLICATE, kept.revision, kept.licence)
    assert len(hub.asked("/api/models")) == 1


def test_a_revision_and_a_file_that_timm_names_are_those_that_are_read(hub, source, monkeypatch):
    import timm

    old, new = Repo({"model.safetensors": WEIGHTS, "ema.bin": b"e" * 9}), Repo({"model.safetensors": b"new"})
    hub.repos = {"timm/zoo": new, "timm/old": old}
    monkeypatch.setattr(timm_source, "_FEW", 1)
    configs = {
        name: dataclasses.replace(timm.get_pretrained_cfg("resnet18.a1_in1k"), hf_hub_id=repo, hf_hub_filename=file)
        for name, repo, file in [
            ("a.of_main", "timm/old", None),
            ("b.of_commit", f"timm/old@{old.sha}", "ema.bin"),
            ("c.of_nothing", "timm/old@v9", None),
            ("d.of_another_file", "timm/old", "ema.bin"),
            ("e.of_the_same", "timm/old", "ema.bin"),
            ("f.of_the_commit_of_main", f"timm/old@{old.sha}", None),
        ]
    }
    monkeypatch.setattr(timm_source, "_configurations", lambda: configs)
    found = {one.id: one for one in source().discover()}
    refusals = {name: one.reason for name, one in found.items() if isinstance(one, Refusal)}
    assert refusals == {
        "c.of_nothing": Reason.REMOVED,
        "d.of_another_file": Reason.DUPLICATE,
        "e.of_the_same": Reason.DUPLICATE,
        "f.of_the_commit_of_main": Reason.DUPLICATE,
    }
    assert {name: one.artifacts[0].name for name, one in found.items() if isinstance(one, Checkpoint)} == {
        "a.of_main": "model.safetensors",
        "b.of_commit": "ema.bin",
    }
    assert found["d.of_another_file"].detail.endswith(" b.of_commit")
    assert f"/timm/old/resolve/{old.sha}/ema.bin" in found["b.of_commit"].artifacts[0].url


def test_a_hub_that_names_no_commit_pins_nothing(hub, source):
    hub.repos["timm/resnet18.a1_in1k"] = Repo({"model.safetensors": WEIGHTS}, {"sha": None})
    (refused,) = source(include=["resnet18.a1_in1k"]).discover()
    assert (refused.reason, refused.detail) == (Reason.FETCH_FAILED, "the Hub names no commit")


def test_duplicates_that_cannot_be_fetched_are_reported_as_such(hub, source):
    found = list(source(include=["vit_base_patch16_clip*_224.openai"]).discover())
    assert [one.reason for one in found] == [Reason.REMOVED, Reason.REMOVED]


def test_the_facts_about_them_are_in_the_vocabularies(everything):
    for column, words in COLUMNS.items():
        assert {getattr(c, column) for c in everything} <= {*words, None}
    known = {row["dataset"] for row in facts.table("timm_tags").values()}
    assert {c.training_dataset for c in everything} <= {*known, None}
    assert sum(c.training_dataset is None for c in everything) < len(everything) / 10
    assert sum(str(Licence.parse(c.licence).licence_class) == "permissive" for c in everything) > 1500


def test_those_that_papers_compared_robust_networks_with_are_normal_ones_of_a_pair(everything):
    paired = {f"timm/{c.id}": c.pair_id for c in everything if c.pair_id}
    assert paired == {name: row["pair_id"] for name, row in facts.table("pairs").items()}
    assert {(c.robust, c.pair_id is None) for c in everything} == {(None, True), (False, False)}


def test_networks_that_are_on_no_hub_are_at_their_url(everything):
    elsewhere = {c.id: c for c in everything if c.revision != UNPINNED}
    assert elsewhere["legacy_seresnet18.in1k"].revision == "sha256:4bb0ce65"
    assert elsewhere["legacy_seresnet18.in1k"].artifacts[0].name == "seresnet18-4bb0ce65.pth"
    assert elsewhere["vit_huge_patch14_gap_224.in1k_ijepa"].revision == f"timm-{VERSION}"


def test_globs_choose(source):
    options = {"include": ["resnet18.*", "resnet34.*"], "exclude": ["*.gluon_*"], "pin": False}
    found = [c.id for c in source(**options).discover()]
    assert "resnet18.a1_in1k" in found
    assert not [name for name in found if "gluon" in name or not name.startswith(("resnet18.", "resnet34."))]


def test_the_commit_sizes_and_hashes_are_asked_of_the_hub(hub, source):
    hub.repos["timm/resnet18.a1_in1k"] = Repo({"model.safetensors": WEIGHTS, "pytorch_model.bin": b"x"})
    zoo = source(include=["resnet18.a1_in1k"])
    (found,) = zoo.discover()
    assert found.revision == hub.repos["timm/resnet18.a1_in1k"].sha
    assert found.artifacts[0].url == f"{hub.url}/timm/resnet18.a1_in1k/resolve/{found.revision}/model.safetensors"
    assert found.artifacts[0].size == len(WEIGHTS)
    assert (found.licence, found.training_dataset, found.task) == ("apache-2.0", "imagenet-1k", "classification")
    with zoo.open(found.artifacts[0]) as file:
        assert file.read(0, 7) == b"weights"


@pytest.mark.parametrize(
    ("name", "facts", "licence"),
    [
        ("resnet18.a1_in1k", {}, "apache-2.0"),
        ("resnet18.a1_in1k", {"tags": ["license:apache-2.0"]}, "apache-2.0"),
        ("resnet18.a1_in1k", {"tags": ["license:cc-by-nc-4.0"]}, "cc-by-nc-4.0"),
        ("resnet18.a1_in1k", {"cardData": {"license": "other", "license_name": "my-own"}}, "my-own"),
        ("resnet50.fb_swsl_ig1b_ft_in1k", {"tags": ["license:mit"]}, "cc-by-nc-4.0"),
    ],
)
def test_the_stricter_licence_of_the_configuration_and_the_hub_governs(hub, source, name, facts, licence):
    hub.repos[f"timm/{name}"] = Repo({"model.safetensors": WEIGHTS}, facts)
    (found,) = source(include=[name]).discover()
    assert found.licence == licence


@pytest.mark.parametrize(("facts", "licence"), [({"tags": ["license:mit"]}, "mit"), ({}, None)])
def test_where_the_configuration_states_no_licence_the_hubs_holds(hub, source, monkeypatch, facts, licence):
    import timm

    config = dataclasses.replace(timm.get_pretrained_cfg("resnet18.a1_in1k"), license=None)
    monkeypatch.setattr(timm_source, "_configurations", lambda: {"resnet18.a1_in1k": config})
    hub.repos["timm/resnet18.a1_in1k"] = Repo({"model.safetensors": WEIGHTS}, facts)
    (found,) = source().discover()
    assert found.licence == licence


def test_a_listing_is_asked_for_where_many_are_wanted(hub, source, monkeypatch):
    monkeypatch.setattr(timm_source, "_FEW", 1)
    hub.repos = {
        "timm/resnet18.a1_in1k": Repo({"pytorch_model.bin": WEIGHTS}),
        "timm/resnet18.a2_in1k": Repo({"model.safetensors": WEIGHTS}, {"gated": "auto"}),
        "timm/resnet18.a3_in1k": Repo({"README.md": b""}),
    }
    found = {f.id: f for f in source(include=["resnet18.a?_in1k", "resnet34.a1_in1k"]).discover()}
    assert found["resnet18.a1_in1k"].artifacts[0].name == "pytorch_model.bin"
    reasons = {name: f.reason for name, f in found.items() if isinstance(f, Refusal)}
    assert reasons == {
        "resnet18.a2_in1k": Reason.GATED,
        "resnet18.a3_in1k": Reason.UNKNOWN_FORMAT,
        "resnet34.a1_in1k": Reason.REMOVED,
    }
    assert found["resnet18.a1_in1k"].artifacts[0].size is None
    assert len(hub.asked("/api/models?")) == 2
    assert len(hub.asked("/api/models/")) == 2  # the first, and the one that is not listed


def test_a_repository_that_was_renamed_is_found_under_its_old_name(hub, source, monkeypatch):
    monkeypatch.setattr(timm_source, "_FEW", 1)
    hub.repos = {f"timm/{name}": Repo({"model.safetensors": WEIGHTS}) for name in ("resnet18.a1_in1k", "new_name")}
    hub.renamed["timm/resnet18.a2_in1k"] = "timm/new_name"
    found = {f.id: f for f in source(include=["resnet18.a[12]_in1k"]).discover()}
    assert found["resnet18.a2_in1k"].revision == hub.repos["timm/new_name"].sha


def test_sizes_and_hashes_of_many_are_asked_for_one_by_one_where_they_are_wanted(hub, source, monkeypatch):
    monkeypatch.setattr(timm_source, "_FEW", 1)
    hub.repos = {f"timm/resnet18.a{n}_in1k": Repo({"model.safetensors": WEIGHTS * n}) for n in (1, 2, 3)}
    discovery = source(include=["resnet18.a?_in1k"], sizes=True).discover()
    first = next(discovery)
    assert len(hub.asked("/api/models/")) == 1, "the others wait for their turn"
    found = [first, *discovery]
    assert [one.artifacts[0].size for one in found] == [len(WEIGHTS) * n for n in (1, 2, 3)]
    assert found[1].artifacts[0].sha256 == hashlib.sha256(WEIGHTS * 2).hexdigest()
    assert hub.asked("/api/models?") == []


@pytest.mark.slow
def test_without_a_hub_the_list_is_for_plans_only(source, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    zoo = source(include=["resnet18.a1_in1k"])
    (found,) = zoo.discover()
    assert found.revision == UNPINNED
    with pytest.raises(Refused) as refused:
        zoo.open(found.artifacts[0])
    assert refused.value.reason is Reason.FETCH_FAILED


def test_the_content_of_a_url_is_checked_against_its_name(hub, source):
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    zoo = source(pin=False)
    good, bad = (hub.add(f"/storage/seresnet18-{prefix}.pth", WEIGHTS) for prefix in (sha256[:8], "4bb0ce65"))
    with zoo.open(Artifact(url=good.replace("127.0.0.1", "localhost"))) as file:
        assert file.verified_sha256 == sha256
        assert file.read(0, 7) == b"weights"
    with pytest.raises(Refused) as refused:
        zoo.open(Artifact(url=bad.replace("127.0.0.1", "localhost")))
    assert refused.value.reason is Reason.HASH_MISMATCH


def test_an_architecture_is_built_once_and_fits_its_state_dict(source, monkeypatch):
    import timm
    import torch

    built = []
    monkeypatch.setattr(
        timm,
        "create_model",
        lambda *a, _make=timm.create_model, **k: built.append(a) or _make(*a, **k),  # type: ignore[func-returns-value]  # run for its effect
    )
    zoo = source(include=["repghostnet_050.*", "resnet18.a[12]_in1k"], pin=False)
    for checkpoint in zoo.discover():
        with torch.device("meta"):
            state = timm.models.create_model(checkpoint.architecture).state_dict()
        tensors = select([Tensor(name=n, dtype="F32", shape=tuple(t.shape), span=Span(0, 1)) for n, t in state.items()])
        told = with_architecture(tensors, zoo.architectures(checkpoint)).tensors
        assert {tensor.convolution.context for tensor in told} == {Context.ARCHITECTURE}
        assert {tensor.convolution.kind for tensor in told} <= {Kind.CONV, Kind.DEPTHWISE}
    assert len(built) == 2


@pytest.mark.parametrize(
    ("tag", "training", "pretraining"),
    [
        ("a1_in1k", "imagenet-1k", None),
        ("augreg_in21k_ft_in1k_384", "imagenet-1k", "imagenet-21k"),
        ("openai_ft_in12k_in1k", "imagenet-1k", "openai-wit-400m, imagenet-12k"),
        ("ft_in1k", "imagenet-1k", None),
        ("miil_in21k", "imagenet-21k-p", None),
        ("mae", "imagenet-1k", None),
        ("fcmae_ft_in1k", "imagenet-1k", "imagenet-1k"),
        ("fb_swsl_ig1b_ft_in1k", "imagenet-1k", "instagram-1b"),
        ("qwen3_vl_8b", None, None),
        ("", None, None),
    ],
)
def test_data_sets_are_read_from_the_tag(tag, training, pretraining):
    datasets = {token: row["dataset"] for token, row in facts.table("timm_tags").items()}
    assert training_data(tag, datasets) == TrainingData(training, pretraining)


def test_accuracies_are_those_of_timms_table_with_images_of_the_networks_size(tmp_path):
    table = "model,img_size,top1\nresnet18.a1_in1k,288,73.2\nresnet18.a1_in1k,224,71.5\nresnet34.a1_in1k,999,77.9\n"
    (tmp_path / "results.csv").write_text(table)
    with Door(tmp_path / "cache") as door:
        options = TimmOptions(
            include=("resnet18.a1_in1k", "resnet34.a1_in1k", "resnet50.a1_in1k"), pin=False, results="results.csv"
        )
        found = {
            one.id: one.clean_accuracy
            for one in TimmSource(options, door, tmp_path).discover()
            if isinstance(one, Checkpoint)
        }
    assert found == {"resnet18.a1_in1k": 0.715, "resnet34.a1_in1k": 0.779, "resnet50.a1_in1k": None}
