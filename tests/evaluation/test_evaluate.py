"""`filterzoo evaluate`, end to end: logits of trusted architectures with the weights of crawled files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tests.evaluation.small_network import network
from typer.testing import CliRunner

from filterzoo.cli import build
from filterzoo.errors import Reason, Refused, StartError
from filterzoo_evaluation.commands import confidence, evaluate
from filterzoo_evaluation.logits import read_evaluations
from filterzoo_evaluation.networks.trusted import trusted

NETWORK = "tests.evaluation.small_network:network"


def run(*arguments: Any, command: str = "evaluate") -> tuple[int, list[dict]]:
    ran = CliRunner().invoke(build([evaluate, confidence]), [command, *map(str, arguments), "--json"])
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran.exit_code, [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> Path:
    """A trained network, a copy of it in a checkpoint with an optimizer, one that does not fit, and images."""
    from sklearn.datasets import load_digits

    folder = tmp_path_factory.mktemp("zoo")
    digits = load_digits()
    images = np.round(digits.images / 16 * 255).astype(np.uint8)
    np.savez(folder / "digits.npz", images=images[1500:1620], labels=digits.target[1500:1620])
    torch.manual_seed(0)
    trained = network()
    optimizer = torch.optim.Adam(trained.parameters(), 0.01)
    inputs, labels = torch.from_numpy(images[:1500]).float()[:, None] / 255, torch.from_numpy(digits.target[:1500])
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(trained(inputs), labels).backward()
        optimizer.step()
    trained.eval()
    state = trained.state_dict()
    torch.save(state, folder / "a-plain.pt")
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": own for name, own in state.items()}}
    torch.save({**wrapped, "optimizer": optimizer.state_dict()}, folder / "b-wrapped.pt")
    torch.save({name: own for name, own in state.items() if "running" not in name}, folder / "c-lacking.pt")
    torch.save(trained, folder / "whole.bin")
    manifest = "name: small\nsources:\n  - {source: local, paths: ['*.pt'], license: mit}\n"
    (folder / "zoo.yaml").write_text(manifest)
    return folder


def forward(zoo: Path) -> np.ndarray:
    trained = network()
    trained.load_state_dict(torch.load(zoo / "a-plain.pt", weights_only=True))
    with np.load(zoo / "digits.npz") as arrays, torch.no_grad():
        return trained.eval()(torch.from_numpy(arrays["images"]).float()[:, None] / 255).numpy()


def test_logits_are_those_of_the_network(zoo: Path, tmp_path: Path) -> None:
    code, lines = run(zoo / "zoo.yaml", "--images", zoo / "digits.npz", "--network", NETWORK, "-o", tmp_path / "out")
    assert code == 1, "one checkpoint lacks its buffers"
    assert [line.get("reason") for line in lines] == [None, None, "unsupported"]
    assert "running_mean" in lines[2]["detail"]
    tables = [pq.read_table(line["logits"]) for line in lines[:2]]
    for table in tables:
        logits = np.array(table["logits"].to_pylist(), np.float32)
        np.testing.assert_allclose(logits, forward(zoo), atol=1e-5)
        assert set(table["image_set"].to_pylist()) == {"digits"}
        assert "mean (0.0,)" in table["transform"][0].as_py()
    _, measured = run(lines[0]["logits"], "--dry-run", command="confidence")
    assert measured[0]["accuracy"] > 0.8


def test_finished_evaluations_are_not_repeated_and_workers_do_not_matter(zoo: Path, tmp_path: Path) -> None:
    arguments = (zoo / "zoo.yaml", "--images", zoo / "digits.npz", "--network", NETWORK, "--batch", 50)
    _, lines = run(*arguments, "-o", tmp_path / "out")
    _, again = run(*arguments, "-o", tmp_path / "out")
    assert [line["new"] for line in lines[:2]] == [True, True]
    assert [line["new"] for line in again[:2]] == [False, False]
    _, more = run(*arguments, "-o", tmp_path / "more", "--workers", 2)
    assert [Path(line["logits"]).read_bytes() for line in lines[:2]] == [
        Path(line["logits"]).read_bytes() for line in more[:2]
    ]
    assert not list((tmp_path / "out").glob(".*"))


def test_an_attack_makes_the_network_err(zoo: Path, tmp_path: Path) -> None:
    common = (zoo / "zoo.yaml", "--images", zoo / "digits.npz", "--network", NETWORK, "--first", 40, "-o", tmp_path)
    accuracies = {}
    for attack, settings in {"none": (), "pgd": ("--steps", 5), "square": ("--queries", 40)}.items():
        _, lines = run(*common, "--attack", attack, "--eps", 0.2, *settings)
        (found, *_) = read_evaluations([Path(lines[0]["logits"])])
        assert len(found.labels) == 40
        assert found.key["stop_rule"] == (None if attack == "none" else "fixed_budget")
        assert found.key["eps"] == (None if attack == "none" else 0.2)
        accuracies[attack] = (found.logits.argmax(axis=1) == found.labels).mean()
    assert accuracies["pgd"] < accuracies["none"] - 0.3
    assert accuracies["square"] < accuracies["none"]


class Payload:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.place),)


def test_a_payload_in_a_checkpoint_does_not_run(zoo: Path, tmp_path: Path) -> None:
    state = dict(torch.load(zoo / "a-plain.pt", weights_only=True))
    torch.save({"state_dict": state, "extra": Payload(tmp_path / "PWNED")}, tmp_path / "hostile.pt")
    torch.load(tmp_path / "hostile.pt", weights_only=False)
    assert (tmp_path / "PWNED").is_dir(), "the payload works where a file is unpickled"
    (tmp_path / "PWNED").rmdir()
    (tmp_path / "zoo.yaml").write_text((zoo / "zoo.yaml").read_text())
    arguments = (tmp_path / "zoo.yaml", "--images", zoo / "digits.npz", "--network", NETWORK, "-o", tmp_path / "out")
    code, lines = run(*arguments)
    assert code == 0
    np.testing.assert_allclose(pq.read_table(lines[0]["logits"])["logits"].to_pylist(), forward(zoo), atol=1e-5)
    assert not (tmp_path / "PWNED").exists()


def test_without_an_architecture_a_checkpoint_is_left_out(zoo: Path, tmp_path: Path) -> None:
    code, lines = run(zoo / "zoo.yaml", "--images", zoo / "digits.npz", "-o", tmp_path)
    assert code == 1
    assert all("name one with --network" in line["detail"] for line in lines)


def test_an_onnx_graph_runs_only_where_it_is_asked_for(zoo: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = np.random.default_rng(0).normal(size=(10, 1, 8, 8)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Flatten", ["y"], ["z"])]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])
    z = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "g", [x], [z], [numpy_helper.from_array(weights, "w")])
    opsets = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "net.onnx")
    (tmp_path / "zoo.yaml").write_text("name: z\nsources:\n  - {source: local, paths: ['*.onnx'], license: mit}\n")
    arguments = (tmp_path / "zoo.yaml", "--images", zoo / "digits.npz", "-o", tmp_path / "out")
    assert run(*arguments)[0] == 1
    code, lines = run(*arguments, "--run-onnx")
    assert code == 0
    with np.load(zoo / "digits.npz") as arrays:
        images = arrays["images"].reshape(-1, 64) / np.float32(255)
    logits = np.array(pq.read_table(lines[0]["logits"])["logits"].to_pylist())
    np.testing.assert_allclose(logits, images @ weights.reshape(10, 64).T, atol=1e-4)
    assert "needs gradients" in run(*arguments, "--run-onnx", "--attack", "pgd")[1][0]["detail"]


def test_a_timm_architecture_takes_the_weights_and_says_its_transform(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from PIL import Image

    torch.manual_seed(1)
    made = timm.create_model("test_resnet", num_classes=3)
    torch.save(made.state_dict(), tmp_path / "net.pt")
    (tmp_path / "zoo.yaml").write_text("name: z\nsources:\n  - {source: local, paths: ['*.pt'], license: mit}\n")
    for label in "abc":
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (200, 180), (20, 90, 200)).save(tmp_path / "images" / label / "one.png")
    arguments = (tmp_path / "zoo.yaml", "--images", tmp_path / "images", "--network", "timm:test_resnet")
    code, lines = run(*arguments, "-o", tmp_path / "out")
    assert code == 0
    table = pq.read_table(lines[0]["logits"])
    assert table["sample_id"].to_pylist() == ["a/one.png", "b/one.png", "c/one.png"]
    assert table["label"].to_pylist() == [0, 1, 2]
    data = timm.data.resolve_data_config({}, model=made)
    prepared = timm.data.create_transform(**data, is_training=False)(Image.open(tmp_path / "images/a/one.png"))
    with torch.no_grad():
        expected = made.eval()(prepared[None])[0].numpy()
    np.testing.assert_allclose(table["logits"][0].as_py(), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("nowhere", "no such image set"),
        ("torchvision:Nothing", "has no data set"),
        ("empty", "holds no images"),
        ("datasets:", "names no data set"),
    ],
)
def test_images_that_are_not_there_are_refused(
    zoo: Path, tmp_path: Path, monkeypatch, images: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StartError, match=reason):
        run(zoo / "zoo.yaml", "--images", images, "--network", NETWORK)


@pytest.mark.parametrize("attack", ["none", "pgd"])
def test_networks_whose_input_the_images_do_not_fit_are_refused(zoo: Path, tmp_path: Path, attack: str) -> None:
    np.savez(tmp_path / "colour.npz", images=np.zeros((2, 8, 8, 3), np.uint8), labels=np.zeros(2, np.int64))
    given = ("--images", tmp_path / "colour.npz", "--network", NETWORK, "--attack", attack, "--steps", 1)
    code, lines = run(zoo / "zoo.yaml", *given, "-o", tmp_path / "out")
    assert code == 1
    told = {line["id"]: line["detail"] for line in lines}
    assert told["a-plain.pt"].startswith("it cannot run on these images (as it is")
    assert "expected input[2, 3, 8, 8] to have 1 channels" in told["a-plain.pt"]
    assert not list((tmp_path / "out").iterdir())


def test_a_network_that_is_not_there_is_refused(zoo: Path) -> None:
    for name in ("timm:nothing", "torchvision:nothing", "no.such.module:network", "plain", "os:getcwd"):
        with pytest.raises(StartError, match="--network"):
            run(zoo / "zoo.yaml", "--images", zoo / "digits.npz", "--network", name)


@pytest.mark.parametrize("shape", [(1 << 24, 1), (0, 64), ()])
@pytest.mark.parametrize("name", ["timm:test_resnet", "torchvision:resnet18"])
def test_a_classifier_of_any_size_is_not_built(name: str, shape: tuple[int, ...]) -> None:
    """A weight that repeats one number states sixteen million classes in a few bytes: 34 GB of a network."""
    weight = np.broadcast_to(np.float32(0), shape)
    with pytest.raises(Refused, match="outputs") as refused:
        trusted(name)({"fc.weight": weight, "head.fc.weight": weight}, "cpu")
    assert refused.value.reason is Reason.LIMIT
