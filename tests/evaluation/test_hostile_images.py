"""Image sets from anybody: nothing is run, nothing hangs, what is broken or far too large is one line."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from filterzoo.errors import StartError
from filterzoo_evaluation.images.opening import open_images

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path: Path, monkeypatch) -> Path:
    """A program `gs` on the path that leaves a file behind when it is run."""
    witness = tmp_path / "was-run"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\necho 10.0\ntouch {witness}\n")
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return witness


def folder_with(tmp_path: Path, name: str) -> Path:
    place = tmp_path / "images/a" / name
    place.parent.mkdir(parents=True)
    return place


def refused(where: Path | str, *, loading: bool = True) -> str:
    """What is said of the image set, or of its first image."""
    with pytest.raises(StartError) as error:  # noqa: PT012  # either may be what is refused
        images = open_images(str(where))
        assert loading, "opening it is refused"
        images.load(0)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_postscript_under_another_name_is_not_run(tmp_path, ghostscript):
    folder_with(tmp_path, "one.png").write_bytes(POSTSCRIPT)
    assert "cannot be read as an image" in refused(tmp_path / "images")
    assert not ghostscript.exists()


def test_postscript_in_a_data_set_of_torchvision_is_not_run(tmp_path, ghostscript):
    """The loaders of torchvision and datasets open every kind of file that Pillow knows."""
    place = folder_with(tmp_path, "one.png")
    place.write_bytes(POSTSCRIPT)
    Image.new("RGB", (2, 2)).save(tmp_path / "images/a/two.png")
    with pytest.raises(StartError):
        open_images("nowhere")
    with place.open("rb") as file, pytest.raises(OSError, match="Ghostscript"), Image.open(file) as image:
        image.load()
    assert not ghostscript.exists()


def fifo(place: Path) -> None:
    os.mkfifo(place)


def endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def link_loop(place: Path) -> None:
    place.symlink_to(place.name)


def a_folder(place: Path) -> None:
    place.mkdir()


def bomb(place: Path) -> None:
    """Twelve thousand pixels square in 140 KB; Pillow only warns of it."""
    Image.new("1", (12_000, 12_000)).save(place, "PNG")


def cut(place: Path) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (1, 2, 3)).save(out, "PNG")
    place.write_bytes(out.getvalue()[:60])


def garbage(place: Path) -> None:
    place.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))


def tiff_of_nothing(place: Path) -> None:
    place.write_bytes(b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 200)


@pytest.mark.parametrize("plant", [fifo, endless, link_loop, a_folder, bomb, cut, garbage, tiff_of_nothing])
def test_an_invalid_or_large_picture_is_one_line(tmp_path, plant: Callable[[Path], None]):
    plant(folder_with(tmp_path, "one.png"))
    assert "one.png" in refused(tmp_path / "images")


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    folder_with(tmp_path, "x").parent.joinpath(os.fsdecode(b"\xff.png")).touch()
    assert "is not UTF-8" in refused(tmp_path / "images", loading=False)


def npz_bomb(place: Path) -> None:
    """128 MB of zeros in 130 KB."""
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, shape, kind in (("images", (128, 1 << 10, 1 << 10), "|u1"), ("labels", (128,), "<i8")):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
                for _ in range(np.prod(shape) >> 20):
                    file.write(bytes(1 << 20))


def npz_of_objects(place: Path) -> None:
    np.savez(place, images=np.array([{}], dtype=object), labels=np.array([0]))


def npz_of_something_else(place: Path) -> None:
    place.write_bytes(b"PK\3\4" + bytes(100))


def npz_without_labels(place: Path) -> None:
    np.savez(place, images=np.zeros((1, 2, 2), np.uint8))


@pytest.mark.parametrize("plant", [npz_bomb, npz_of_objects, npz_of_something_else, npz_without_labels])
def test_arrays_that_are_no_image_set_are_one_line(tmp_path, plant: Callable[[Path], None]):
    plant(tmp_path / "x.npz")
    assert "x.npz" in refused(tmp_path / "x.npz", loading=False)


def test_labels_that_are_a_fifo_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2), np.uint8))
    os.mkfifo(tmp_path / "labels.npy")
    assert "is not a regular file" in refused(tmp_path / "x.npy", loading=False)
