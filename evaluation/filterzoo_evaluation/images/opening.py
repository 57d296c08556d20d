"""Opens the image set that `--images` names.

Images are untrusted input. Pillow passes PostScript files, whatever their names, to Ghostscript: this is disabled, and
files in folders are only decoded as common image formats.
"""

from __future__ import annotations

import inspect
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import EpsImagePlugin, Image

from filterzoo.errors import StartError
from filterzoo.files import open_regular
from filterzoo_evaluation.images.image_set import ImageSet

_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".ppm", ".pgm", ".webp", ".tif", ".tiff"})
_DECODERS = ("PNG", "JPEG", "BMP", "DIB", "PPM", "WEBP", "TIFF")
_MOST_PIXELS = 1 << 26
"""Largest number of pixels of an image: 256 MB when decoded."""
_MOST_ARRAYS = 100
"""Largest ratio of the bytes of the arrays to the bytes of their .npz file."""
_FREE = 64 << 20
"""Arrays of at most so many bytes are read at any ratio."""
_BROKEN = (
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Image.DecompressionBombError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What Pillow and NumPy raise for files that are damaged or of another format."""
_LABELS = ("targets", "labels", "_labels")
"""Attributes in which torchvision's data sets hold the labels."""
FORMS = (
    "a folder with one folder of images a class, FILE.npz with arrays `images` and `labels`, FILE.npy with labels.npy "
    "beside it, datasets:NAME[:SPLIT], or torchvision:NAME[:FOLDER]"
)


def open_images(where: str, name: str | None = None) -> ImageSet:
    """The images that `where` names (FORMS); StartError if there are none. name: the set's name, else from `where`."""
    EpsImagePlugin.gs_binary = False  # in this process, also for the loaders of datasets and torchvision
    kind, _, rest = where.partition(":")
    if kind == "datasets":
        return _of_datasets(rest, name)
    if kind == "torchvision":
        return _of_torchvision(rest, name)
    path = Path(where)
    if path.is_dir():
        return _of_folder(path, name or path.resolve().name)
    if path.suffix in {".npz", ".npy"} and path.is_file():
        return _of_arrays(path, name or path.stem)
    raise StartError(f"--images {where}: there is no such image set; name {FORMS}")


def _of_folder(folder: Path, name: str) -> ImageSet:
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    found = [
        (file.relative_to(folder).as_posix(), label)
        for label, own in enumerate(classes)
        for file in sorted((folder / own).rglob("*"))
        if file.suffix.lower() in _ENDINGS
    ]
    if not found:
        raise StartError(f"--images {folder}: holds no images; each class is a folder with its images")
    ids = [sample for sample, _ in found]
    for sample in ids:
        try:
            sample.encode()
        except UnicodeEncodeError as error:
            raise StartError(f"--images {folder}: {ascii(sample)[:200]} is a name that is not UTF-8") from error
    return ImageSet(name, ids, [label for _, label in found], lambda number: _read(folder / ids[number]))


def _read(file: Path) -> Image.Image:
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            open_regular(file) as source,
            Image.open(source, formats=_DECODERS) as image,
        ):
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, {_MOST_PIXELS} are read")
            image.load()
            return image.copy()
    except _BROKEN as error:
        raise StartError(f"{file}: cannot be read as an image: {_one_line(error)}") from error


def _of_arrays(path: Path, name: str) -> ImageSet:
    try:
        images, labels = _packed(path) if path.suffix == ".npz" else _beside(path)
    except _BROKEN as error:
        raise StartError(f"--images {path}: {_one_line(error)}; needed is {FORMS}") from error
    _check_arrays(path, images, labels)
    digits = len(str(len(labels)))
    ids = [f"{number:0{digits}}" for number in range(len(labels))]
    return ImageSet(name, ids, labels.tolist(), lambda number: Image.fromarray(_pixels(images[number])))


def _packed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_regular(path) as file:
        with zipfile.ZipFile(file) as archive:
            size = sum(archive.getinfo(f"{each}.npy").file_size for each in ("images", "labels"))
        file.seek(0)
        if size > max(_FREE, _MOST_ARRAYS * path.stat().st_size):
            raise ValueError(f"its arrays would take {size:,} bytes, more than {_MOST_ARRAYS} times its own")
        with np.load(file, allow_pickle=False) as arrays:
            return arrays["images"], arrays["labels"]


def _beside(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with open_regular(path.with_name("labels.npy")) as file:
        labels = np.load(file, allow_pickle=False)
    return np.load(path, mmap_mode="r", allow_pickle=False), labels


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _check_arrays(path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise StartError(f"--images {path}: labels must be a list of integers, not {labels.dtype} {labels.shape}")
    is_colour = images.ndim == 4 and images.shape[3] in {1, 3}
    if len(images) != len(labels) or not (images.ndim == 3 or is_colour):
        raise StartError(f"--images {path}: images must be (n, height, width[, 1 or 3]), not {images.shape}")
    if images.dtype != np.uint8:
        raise StartError(f"--images {path}: images must be uint8, 0 to 255, not {images.dtype}")


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image)


def _of_datasets(where: str, name: str | None) -> ImageSet:
    import datasets  # noqa: PLC0415  # seconds that no other image set needs

    place, _, split = where.partition(":")
    if not place:
        raise StartError("--images datasets: names no data set; write datasets:NAME[:SPLIT]")
    try:
        found = datasets.load_dataset(place, split=split or "test")
    except (*_BROKEN, datasets.exceptions.DatasetsError) as error:
        raise StartError(f"--images datasets:{where}: {_one_line(error)}") from error
    images = [key for key, kind in found.features.items() if isinstance(kind, datasets.Image)]
    labels = [key for key, kind in found.features.items() if isinstance(kind, datasets.ClassLabel)]
    if len(images) != 1 or len(labels) != 1:
        raise StartError(f"--images datasets:{where}: has {len(images)} image and {len(labels)} label columns, not one")

    def load(number: int) -> Image.Image:
        image: Image.Image = found[number][images[0]]
        return image

    ids = [str(number) for number in range(len(found))]
    return ImageSet(name or Path(place).name, ids, list(found[labels[0]]), load)


def _of_torchvision(where: str, name: str | None) -> ImageSet:
    from torchvision import datasets  # noqa: PLC0415  # as above

    wanted, _, folder = where.partition(":")
    kind: Any = getattr(datasets, wanted, None)
    if wanted not in datasets.__all__ or kind is None:
        raise StartError(f"--images torchvision:{where}: torchvision has no data set {wanted!r}")
    known = inspect.signature(kind).parameters
    settings: dict[str, Any] = {name: value for name, value in (("train", False), ("split", "test")) if name in known}
    if wanted == "ImageNet":
        settings = {"split": "val"}  # it has no test images with classes
    if "download" in known:
        settings["download"] = not folder
    try:
        found = kind(folder or Path.home() / ".cache" / "torchvision", **settings)
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise StartError(f"--images torchvision:{where}: {' '.join(str(error).split())[:200]}") from error

    def load(number: int) -> Image.Image:
        image: Image.Image = found[number][0]
        return image

    labels = next((getattr(found, each) for each in _LABELS if hasattr(found, each)), None)
    if labels is None or any(np.ndim(label) for label in labels):
        raise StartError(f"--images torchvision:{where}: its images do not have one class each")
    ids = [str(number) for number in range(len(found))]
    return ImageSet(name or wanted, ids, [int(label) for label in labels], load)
