"""What `--images` may name: each kind is opened, its images and classes are those that are there."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from filterzoo.errors import StartError
from filterzoo_evaluation.images.opening import open_images
from filterzoo_evaluation.progress import progress_columns

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 7, 3), dtype=np.uint8)
LABELS = np.array([1, 0, 2, 2, 1, 0])


def assert_is_those(images, name: str) -> None:
    assert (images.name, len(images), list(images.labels)) == (name, 6, LABELS.tolist())
    assert len(set(images.sample_ids)) == 6
    for number in range(6):
        np.testing.assert_array_equal(np.asarray(images.load(number)), PIXELS[number])


def test_a_folder_has_a_folder_a_class_in_the_order_of_names(tmp_path: Path) -> None:
    for number, label in enumerate(LABELS):
        folder = tmp_path / "pets" / ("cat", "dog", "emu")[label] / "deeper"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(folder / f"{number}.png")
    (tmp_path / "pets/cat/notes.txt").write_text("no image")
    images = open_images(str(tmp_path / "pets"))
    assert images.name == "pets"
    assert list(images.sample_ids) == [f"{('cat', 'dog', 'emu')[label]}/deeper/{number}.png" for label in range(3)
                                       for number in np.flatnonzero(label == LABELS)]  # fmt: skip
    assert list(images.labels) == sorted(LABELS)
    np.testing.assert_array_equal(np.asarray(images.load(2)), PIXELS[0])
    (tmp_path / "pets/emu/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and nothing")
    broken = open_images(str(tmp_path / "pets"))
    with pytest.raises(StartError, match="cannot be read as an image"):
        broken.load(list(broken.sample_ids).index("emu/broken.png"))


def test_arrays_and_corruption_sets_are_opened_by_their_path(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", images=PIXELS, labels=LABELS)
    assert_is_those(open_images(str(tmp_path / "all.npz")), "all")
    # As CIFAR-10-C comes: a file a corruption, and one file of classes beside them.
    np.save(tmp_path / "gaussian_noise.npy", PIXELS)
    np.save(tmp_path / "labels.npy", LABELS)
    assert_is_those(open_images(str(tmp_path / "gaussian_noise.npy")), "gaussian_noise")
    assert len(open_images(str(tmp_path / "gaussian_noise.npy"), "noise").first(4)) == 4
    np.save(tmp_path / "labels.npy", LABELS[:5])
    with pytest.raises(StartError, match="images must be"):
        open_images(str(tmp_path / "gaussian_noise.npy"))
    np.savez(tmp_path / "floats.npz", images=PIXELS / 255, labels=LABELS)
    with pytest.raises(StartError, match="must be uint8"):
        open_images(str(tmp_path / "floats.npz"))


def parquet() -> bytes:
    """A file of the data sets library, with an image and a class column."""
    import datasets

    features = datasets.Features({"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["a", "b", "c"])})
    encoded = []
    for pixels in PIXELS:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    schema = features.arrow_schema
    sink = io.BytesIO()
    pq.write_table(pa.table({"picture": encoded, "kind": LABELS}).cast(schema), sink)
    return sink.getvalue()


def test_a_local_data_set_of_datasets(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/test-00000-of-00001.parquet").write_bytes(parquet())
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    assert_is_those(open_images(f"datasets:{tmp_path / 'pets'}"), "pets")
    with pytest.raises(StartError, match=r"datasets:.*nothing"):
        open_images(f"datasets:{tmp_path / 'pets'}:nothing")


@pytest.mark.slow
def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    from tests.hub_server import File, Repo, serve
    from tests.servers import WebServer

    with WebServer() as storage, serve(storage) as hub:
        repo = hub.repos["alice/pets"] = Repo(private=False)
        file = File(parquet(), is_lfs=True)
        hub.blobs[file.oid] = file.content
        repo.commit("main", "images", {"data/test-00000-of-00001.parquet": file}, None)
        program = (
            "from filterzoo_evaluation.images.opening import open_images\n"
            "images = open_images('datasets:alice/pets')\n"
            "print(images.name, list(images.labels), images.load(0).size)"
        )
        environment = {**os.environ, **hub.environment, "HF_HOME": str(tmp_path / "hf")}
        ran = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
        )
    assert ran.stdout.strip() == f"pets {LABELS.tolist()} (7, 9)", ran.stderr


def idx(array: np.ndarray) -> bytes:
    """The format of MNIST's files."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def test_a_data_set_of_torchvision_in_a_folder(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    grey = PIXELS[..., 0]
    for name in ("train", "t10k"):
        (raw / f"{name}-images-idx3-ubyte").write_bytes(idx(grey))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(idx(LABELS))
    images = open_images(f"torchvision:MNIST:{tmp_path}")
    assert (images.name, list(images.labels)) == ("MNIST", LABELS.tolist())
    np.testing.assert_array_equal(np.asarray(images.load(3)), grey[3])


def test_a_data_set_of_torchvision_that_has_splits_and_other_names(tmp_path: Path, monkeypatch) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    scipy_io.savemat(tmp_path / "test_32x32.mat", {"X": PIXELS.transpose(1, 2, 3, 0), "y": LABELS[:, None]})
    monkeypatch.setattr("torchvision.datasets.SVHN._check_integrity", lambda _: True)
    assert_is_those(open_images(f"torchvision:SVHN:{tmp_path}"), "SVHN")
    with pytest.raises(StartError, match="torchvision:CelebA"):
        open_images(f"torchvision:CelebA:{tmp_path}")


def test_progress_shows_images_per_second_from_the_first_line_on() -> None:
    out = io.StringIO()
    with Progress(*progress_columns(), console=Console(file=out, force_terminal=True, width=80)) as bar:
        task = bar.add_task("images", total=None)
        bar.refresh()
        for _ in range(3):
            bar.advance(task, 1000)
        bar.refresh()
    assert "- images/s" in out.getvalue()
    assert "3,000 images" in out.getvalue()
