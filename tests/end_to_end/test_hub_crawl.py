"""Networks of a Hub on loopback, from a manifest to the work folder, with the depths of their architecture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tests.model_hub import ModelHub, Repo
from tests.program import filterzoo

from filterzoo.store.workfolder import WorkFolder

MANIFEST = """
name: hub
sources:
  - source: timm
    include: ["test_resnet.r160_in1k"]
  - source: hf_hub
    repos: ["somebody/else", "somebody/gated", "somebody/tuned", "somebody/wrong"]
"""


@pytest.fixture
def zoo(tmp_path):
    import timm

    weights = timm.create_model("test_resnet").state_dict()
    other = {f"encoder.{name}": tensor for name, tensor in weights.items()}
    tuned = timm.create_model("test_resnet", num_classes=7, in_chans=1).state_dict()
    tuned = {f"module.{name}": tensor * 0.5 if tensor.is_floating_point() else tensor for name, tensor in tuned.items()}
    config = {"architecture": "test_resnet", "num_classes": 7, "pretrained_cfg": {"input_size": [1, 160, 160]}}
    with ModelHub() as hub:
        hub.repos = {
            "timm/test_resnet.r160_in1k": Repo({"model.safetensors": safetensors.torch.save(weights)}),
            "somebody/else": Repo({"best.safetensors": safetensors.torch.save(other)}, {"tags": ["license:mit"]}),
            "somebody/tuned": Repo(
                {"model.safetensors": safetensors.torch.save(tuned), "config.json": json.dumps(config).encode()}
            ),
            "somebody/wrong": Repo(
                {"model.safetensors": safetensors.torch.save(weights)}, {"config": {"architecture": "resnet10t"}}
            ),
            "somebody/gated": Repo({"model.safetensors": b""}, {"gated": "auto"}),
        }
        yield hub


@pytest.mark.slow
def test_layers_know_their_architecture_where_it_is_known(zoo: ModelHub, tmp_path: Path):
    (tmp_path / "hub.yaml").write_text(MANIFEST)
    environment = {"HF_ENDPOINT": zoo.url, "HF_TOKEN": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = filterzoo("crawl", "hub.yaml", "--allow-private", "--json", "--workers", "1", cwd=tmp_path, env=environment)
    assert ran.document["checkpoints"] == {"done": 4, "skipped": 1, "failed": 0}, ran.err
    assert ran.document["reasons"] == {"gated": 1}
    work = WorkFolder(tmp_path / "filterzoo-work")
    with work.existing_journal() as journal:
        found = {done.checkpoint.id: done for done in journal.done()}
    told = work.store().layers(found["test_resnet.r160_in1k"].layers_fragment).to_pylist()
    guessed = work.store().layers(found["somebody/else"].layers_fragment).to_pylist()
    assert {row["context"] for row in told} == {"architecture"}
    assert {row["context"] for row in guessed} == {"declared"}
    assert [row["layer_id"] for row in told] == [row["layer_id"] for row in guessed]
    tuned, wrong = (
        work.store().layers(found[f"somebody/{name}"].layers_fragment).to_pylist() for name in ("tuned", "wrong")
    )
    assert {row["context"] for row in tuned} == {"architecture"}
    assert [row["conv_depth"] for row in tuned] == [row["conv_depth"] for row in told]
    assert {row["context"] for row in wrong} == {"declared"}
    functions = {name: (done.checkpoint.activation, done.checkpoint.pooling) for name, done in found.items()}
    assert functions["test_resnet.r160_in1k"] == functions["somebody/tuned"] == ("relu", "stride, average, max")
    assert functions["somebody/else"] == functions["somebody/wrong"] == (None, None)
    rows = {row["name"]: row for row in told}
    # A shortcut stands behind the block it bridges in the file, and beside it in the network.
    in_file = [row["conv_depth"] for row in told]
    assert sorted(in_file) != in_file
    assert rows["conv1.0.weight"]["stride"] == [2, 2]
    assert found["test_resnet.r160_in1k"].checkpoint.training_dataset == "imagenet-1k"
    assert {name: done.checkpoint.architecture for name, done in found.items()} == {
        "test_resnet.r160_in1k": "test_resnet",
        "somebody/else": None,
        "somebody/tuned": "test_resnet",
        "somebody/wrong": "resnet10t",
    }
    assert len(zoo.asked(f"/somebody/tuned/resolve/{zoo.repos['somebody/tuned'].sha}/config.json")) == 1


@pytest.mark.slow
def test_a_second_name_of_a_file_is_a_duplicate_for_the_plan_the_crawl_and_the_data_set(tmp_path: Path):
    import datasets

    names = "vit_base_patch16_clip*_224.openai"
    (tmp_path / "twins.yaml").write_text(f"name: twins\nsources:\n  - {{source: timm, include: ['{names}']}}\n")
    with ModelHub() as hub:
        weights = safetensors.torch.save({"conv.weight": torch.ones(2, 3, 3, 3)})
        hub.repos = {"timm/vit_base_patch16_clip_224.openai": Repo({"open_clip_model.safetensors": weights})}
        environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = ("crawl", "twins.yaml", "--allow-private", "--json", "--workers", "1")
        planned = filterzoo(*command, "--dry-run", cwd=tmp_path, env=environment)
        ran = filterzoo(*command, cwd=tmp_path, env=environment)
    plan = planned.document["sources"]["timm"]
    assert (plan["checkpoints"], plan["bytes"], plan["left_out"]) == (1, len(weights), {"duplicate": 1})
    assert (planned.code, ran.code) == (0, 0), ran.err
    counts = ran.document
    assert (counts["checkpoints"], counts["reasons"]) == ({"done": 1, "skipped": 1, "failed": 0}, {"duplicate": 1})
    status = filterzoo("status", "--json", cwd=tmp_path).document
    assert [entry["reason"] for entry in status.pop("ledger")] == ["duplicate"]
    assert {**status, "run": counts["run"]} == {**counts, "ledger_left_out": 0}
    assert filterzoo("publish", "out", cwd=tmp_path).code == 0
    (skipped,) = datasets.load_dataset(str(tmp_path / "out"), "skipped", split="train")
    (model,) = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert (skipped["id"], skipped["reason"]) == ("vit_base_patch16_clip_quickgelu_224.openai", "duplicate")
    assert skipped["detail"].endswith(f" {model['id']}")
    assert (skipped["revision"], model["duplicate_of"]) == (model["revision"], None)
