"""Real trained networks out of packages: the counts that were counted by hand, and every layer's bytes."""

from __future__ import annotations

import contextlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.index_packages import wheel_member
from tests.program import filterzoo

from filterzoo.layers.shapes import kernel_name
from filterzoo.outcome import Done
from filterzoo.store.fragments import FragmentStore
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.plan.facts import facts_of_layers

MANIFEST = """
name: real
sources:
  - source: pypi
    packages:
      - facenet-pytorch==2.6.0
      - rapidocr-onnxruntime==1.4.4
      - nudenet==3.4.2
      - digit-recognizer-py==0.1.0
      - silero-vad==6.2.3
      - basic-pitch==0.4.0
      - deepbet==1.0.2
      - pymicro-wakeword==2.5.0
    files: ["*.pt", "*.pth", "*.jit", "*.safetensors", "*.onnx", "*.tflite"]
kernels: ["1", "3", "5", "7", "1x1", "1x3", "3x3", "2x2", "5x5", "3x3x3"]
licenses: {allow: [apache-2.0, mit, agpl-3.0-only], unknown: publish}
"""

# (package, member): (format, convolutions, 3x3 filters)
COUNTED = {
    ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"): ("onnx", 64, 11904),
    ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"): ("onnx", 38, 480),
    ("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"): ("onnx", 53, 88),
    ("nudenet", "nudenet/320n.onnx"): ("onnx", 64, 250928),
    ("facenet-pytorch", "facenet_pytorch/data/onet.pt"): ("torch", 4, 6240),
    ("facenet-pytorch", "facenet_pytorch/data/rnet.pt"): ("torch", 3, 1428),
    ("facenet-pytorch", "facenet_pytorch/data/pnet.pt"): ("torch", 5, 702),
    ("digit-recognizer-py", "digit_recognizer/models/handwriting_model.pth"): ("torch", 3, 10272),
    ("silero-vad", "silero_vad/data/silero_vad.jit"): ("torch", 12, 0),
    ("silero-vad", "silero_vad/data/silero_vad_16k.safetensors"): ("safetensors", 6, 0),
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.onnx"): ("onnx", 32, 33),
    ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.tflite"): ("tflite", 32, 33),
    ("deepbet", "data/models/model.pt"): ("torch", 35, 0),
    ("deepbet", "data/models/bbox_model.pt"): ("torch", 35, 0),
}
VERSIONS = {line.split("==")[0].strip(" -"): line.split("==")[1] for line in MANIFEST.splitlines() if "==" in line}

pytestmark = pytest.mark.index


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> tuple[FragmentStore, dict[str, Done]]:
    folder = tmp_path_factory.mktemp("real")
    (folder / "manifest.yaml").write_text(MANIFEST)
    ran = filterzoo("crawl", "manifest.yaml", "--json", cwd=folder)
    work = WorkFolder(folder / "filterzoo-work")
    with work.existing_journal() as journal:
        assert [entry for entry in journal.ledger() if entry.reason != "unknown_format"] == [], ran.err
        return work.store(), {done.checkpoint.id: done for done in journal.done()}


@pytest.mark.parametrize("package_and_member", COUNTED, ids=lambda pair: Path(pair[1]).name)
def test_counts(crawled: Any, package_and_member: tuple[str, str]) -> None:
    _store, found = crawled
    done = found["/".join(package_and_member)]
    counts = (done.format, done.n_layers, done.filters_by_kernel.get("3x3", 0))
    assert counts == COUNTED[package_and_member]


def test_the_counts_of_many_files_at_once(crawled: Any) -> None:
    _store, found = crawled
    speech = sorted(done.n_layers for name, done in found.items() if name.startswith("silero-vad/") and "onnx" in name)
    assert speech == [6, 6, 6, 6, 12, 12]
    words = sorted(done.n_layers for name, done in found.items() if name.startswith("pymicro-wakeword/"))
    assert words == [9, 9, 9, 14]
    brains = [done for name, done in found.items() if name.startswith("deepbet/")]
    assert sum(done.filters_by_kernel["3x3x3"] for done in brains) == 2 * 77840


def test_the_first_convolution_of_all_speech_networks_is_one_layer(crawled: Any) -> None:
    store, found = crawled
    occurrences: dict[str, set[str]] = {}
    for name, done in found.items():
        if name.startswith("silero-vad/"):
            for row in store.layers(done.layers_fragment).to_pylist():
                occurrences.setdefault(row["layer_id"], set()).add(name)
    assert max(len(names) for names in occurrences.values()) >= 6


@pytest.fixture(scope="module")
def facts(crawled: Any) -> dict[str, dict[str, Any]]:
    store, found = crawled
    return {name: facts_of_layers(store.layers(done.layers_fragment).to_pylist()) for name, done in found.items()}


def test_none_of_these_trained_networks_is_suspected_to_be_random(facts: dict[str, dict[str, Any]]) -> None:
    verdicts = {name: fact["suspected_random"] for name, fact in facts.items()}
    assert [name for name, verdict in verdicts.items() if verdict] == []
    assert list(verdicts.values()).count(False) == 4


def test_sequences_images_and_volumes_are_distinguished(facts: dict[str, dict[str, Any]]) -> None:
    dims: dict[str, set[int]] = {}
    for name, fact in facts.items():
        dims.setdefault(name.split("/")[0], set()).add(fact["spatial_dims"])
    others = {"silero-vad": {1}, "deepbet": {3}}
    assert dims == {package: {2} for package in VERSIONS} | others


WITH_REFERENCE = [pair for pair, (format_, *_counts) in COUNTED.items() if format_ != "tflite"]


@pytest.mark.parametrize("package_and_member", WITH_REFERENCE, ids=lambda pair: Path(pair[1]).name)
def test_every_layer_is_what_the_framework_reads(crawled: Any, package_and_member: tuple[str, str]) -> None:
    store, found = crawled
    package, member = package_and_member
    done = found["/".join(package_and_member)]
    expected = reference(wheel_member(package, VERSIONS[package], member), done.format)
    kept: dict[str, list[np.ndarray]] = {}
    for batch in store.filters(done.filters_fragment):
        for block in batch.to_pylist():
            kept.setdefault(block["layer_id"], []).append(np.array(block["weights"], np.float32))
    rows = store.layers(done.layers_fragment).to_pylist()
    as_stored = [
        r for r in rows if r["layer_id"] in kept and r["kind"] != "transposed" and "CONSTANTS" not in r["name"]
    ]
    assert as_stored
    for row in as_stored:
        weight = expected[row["name"]]
        assert kernel_name(weight.shape[2:]) == row["kernel"]
        assert np.concatenate(kept[row["layer_id"]]).tobytes() == weight.astype(np.float32).tobytes()


def reference(path: Path, format_: str) -> dict[str, np.ndarray]:
    """Named arrays as the format's own library reads them; these packages are trusted."""
    if format_ == "onnx":
        import onnx
        from onnx import numpy_helper

        arrays: dict[str, np.ndarray] = {}
        graphs = [onnx.load(path).graph]
        for graph in graphs:
            arrays |= {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
            for node in graph.node:
                for attribute in node.attribute:
                    if attribute.name == "value" and node.op_type == "Constant":
                        arrays[node.output[0]] = numpy_helper.to_array(attribute.t)
                    if attribute.HasField("g"):
                        graphs.append(attribute.g)
        return arrays
    if format_ == "safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    return {name: tensor.numpy() for name, tensor in torch_state(path).items()}


def torch_state(path: Path) -> dict[str, Any]:
    """Of a state dict or a TorchScript archive."""
    import torch

    with zipfile.ZipFile(path) if zipfile.is_zipfile(path) else contextlib.nullcontext() as archive:
        is_script = archive is not None and any("/code/" in name for name in archive.namelist())
    if is_script:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch.jit as a whole
            return torch.jit.load(path, map_location="cpu").state_dict()
    return torch.load(path, weights_only=True)
