"""Good and hostile HDF5 and Keras files for the battery: links, bombs, lies about layers, code in a configuration."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from tests.plugins.formats.numpy_files import twice
from tests.untrusted_files import honest_keras

from filterzoo.errors import Reason

Verdict = Reason | str
KERNEL = np.random.default_rng(4).normal(size=(3, 3, 2, 4)).astype("f4")


def hdf5(write: Callable[[h5py.File], object], **options: Any) -> bytes:
    stream = io.BytesIO()
    with h5py.File(stream, "w", **options) as file:
        write(file)
    return stream.getvalue()


def keras(**members: bytes) -> bytes:
    """A `.keras` archive, with members replaced, added or (None) left out; `__` stands for a dot."""
    contents: dict[str, bytes | None] = {
        "metadata.json": json.dumps({"keras_version": "3.15.0"}).encode(),
        "config.json": json.dumps({"module": "keras"} | honest_keras.config(honest_keras.CLASSES)).encode(),
        "model.weights.h5": weights_3(),
    }
    contents |= {name.replace("__", "."): content for name, content in members.items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


def weights_3(write: Callable[[h5py.File], object] | None = None) -> bytes:
    stream = io.BytesIO()
    if write is not None:
        return hdf5(write)
    honest_keras.keras_3_weights(stream)
    return stream.getvalue()


def made(writer: honest_keras.Writer) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        writer(Path(folder) / "x")
        return (Path(folder) / "x").read_bytes()


def keras_2_file(
    layers: Mapping[str, list[str]] | None = None, config: str | None = None, version: bytes = b"2.15.0"
) -> bytes:
    """One layer `conv` with a kernel, whose lists of layers and weights may lie."""
    layers = {"conv": ["conv/kernel:0"]} if layers is None else layers

    def write(file: h5py.File) -> None:
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = [name.encode() for name in layers]
        top.attrs["keras_version"] = version
        top.create_dataset("conv/conv/kernel:0", data=KERNEL)
        for name, weights in layers.items():
            if name in top:
                top[name].attrs["weight_names"] = [weight.encode() for weight in weights]
        if config is not None:
            file.attrs["model_config"] = np.bytes_(config)

    return hdf5(write)


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3, 2, 4), "f4")
    layout[...] = h5py.VirtualSource("/etc/secret.h5", "k", (3, 3, 2, 4))
    file.create_virtual_dataset("conv/kernel", layout)


def _deep(file: h5py.File) -> None:
    group: h5py.Group = file
    for _ in range(3000):
        group = group.create_group("g")
    group.create_dataset("conv/kernel", data=KERNEL)


def _cycle(file: h5py.File) -> None:
    file.create_dataset("conv/kernel", data=KERNEL)
    file["conv/again"] = file["conv"]


def _compact(file: h5py.File) -> None:
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(KERNEL.shape)
    made_ = h5py.h5d.create(file.create_group("conv").id, b"kernel", h5py.h5t.IEEE_F32LE, space, creation)
    made_.write(space, space, KERNEL)


def _bomb(shape: tuple[int, ...], **more: Any) -> Callable[[h5py.File], object]:
    chunks = tuple(min(side, 256) for side in shape)
    return lambda file: file.create_dataset("conv/kernel", shape, "f4", chunks=chunks, compression="gzip", **more)


def hdf5_cases() -> dict[str, tuple[bytes, Verdict]]:
    """Weights without Keras's marks, and what any HDF5 file may do."""
    plain = hdf5(lambda file: file.create_dataset("conv/kernel", data=KERNEL))
    zeros = np.zeros((3, 3, 2048, 1024), "f4")
    reference = h5py.special_dtype(ref=h5py.Reference)
    return {
        "data sets": (plain, "accept"),
        "chunks": (hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL, chunks=(2, 2, 2, 3))), "accept"),
        "a soft link": (hdf5(lambda f: (_cycle(f), f.__setitem__("soft", h5py.SoftLink("/conv")))), "accept"),  # type: ignore[func-returns-value]  # run for its effect
        "a group that holds itself": (hdf5(_cycle), "accept"),
        "text beside the weights": (hdf5(lambda f: (_cycle(f), f.create_dataset("t", data=["a"] * 3))), "accept"),  # type: ignore[func-returns-value]  # run for its effect
        "newest layout": (hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL), libver="latest"), "accept"),
        "150 MB of zeros": (
            hdf5(lambda f: f.create_dataset("conv/kernel", data=zeros, chunks=(3, 3, 512, 512), compression=9)),
            Reason.LIMIT,
        ),
        "an external link": (
            hdf5(lambda f: f.__setitem__("conv", h5py.ExternalLink("/etc/secret.h5", "/k"))),
            Reason.UNSAFE,
        ),
        "bytes in another file": (
            hdf5(lambda f: f.create_dataset("conv/kernel", (3, 3, 1, 1), "f4", external=[("/etc/passwd", 0, 36)])),
            Reason.UNSAFE,
        ),
        "a virtual data set": (hdf5(_virtual), Reason.UNSAFE),
        "a dangling soft link": (hdf5(lambda f: f.__setitem__("conv", h5py.SoftLink("/nowhere"))), Reason.MALFORMED),
        "180 GB of nothing": (hdf5(_bomb((3, 3, 100_000, 50_000))), Reason.LIMIT),
        "2^60 numbers": (hdf5(_bomb((1 << 20, 1 << 20, 1 << 10, 1 << 10))), Reason.LIMIT),
        "a fill value for chunks never written": (hdf5(_bomb((3, 3, 4, 4), fillvalue=1.5)), Reason.UNSUPPORTED),
        "3,000 groups in one another": (hdf5(_deep), Reason.LIMIT),
        "numbers in the header": (hdf5(_compact), Reason.UNSUPPORTED),
        "big-endian": (hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL.astype(">f4"))), "accept"),
        "LZF": (
            hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL, compression="lzf")),
            "accept",
        ),
        "checksums of Fletcher": (
            hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL, fletcher32=True)),
            "accept",
        ),
        "references": (hdf5(lambda f: f.create_dataset("conv/kernel", (2,), reference)), Reason.UNSUPPORTED),
        "long doubles": (
            hdf5(lambda f: f.create_dataset("conv/kernel", data=KERNEL.astype(np.longdouble))),
            Reason.UNSUPPORTED,
        ),
        "cut in half": (plain[: len(plain) // 2], Reason.MALFORMED),
        "cut by a byte": (plain[:-1], Reason.MALFORMED),
        "a broken superblock": (plain[:40] + b"\xff" + plain[41:], Reason.MALFORMED),
        "the magic and noise": (plain[:8] + b"\xff" * 500, Reason.MALFORMED),
    }


def keras_2_cases() -> dict[str, tuple[bytes, Verdict]]:
    """Models and weights of Keras 2."""
    marshalled = "4wEAAAAAAAAAAQAAAAQAAABDAAAAcw=="
    code = {"class_name": "Lambda", "config": {"name": "evil", "function": [marshalled, None, None]}}
    lambdas = {"class_name": "Sequential", "config": {"name": "m", "layers": [code]}}
    foreign = {"class_name": "os.system", "config": {"name": "conv", "command": "touch CANARY"}}
    made_2 = made(honest_keras.keras_2(whole=True))
    return {
        "a model": (made_2, "accept"),
        "weights": (made(honest_keras.keras_2(whole=False)), "accept"),
        "weights, compressed": (made(honest_keras.keras_2(whole=False, compression="gzip")), "accept"),
        "a Lambda layer with code": (keras_2_file(config=json.dumps(lambdas)), "accept"),
        "a class called os.system": (keras_2_file(config=json.dumps(foreign)), "accept"),
        "a layer that is not there": (keras_2_file({"conv": ["conv/kernel:0"], "ghost": []}), Reason.MALFORMED),
        "a weight that is not there": (keras_2_file({"conv": ["conv/ghost:0"]}), Reason.MALFORMED),
        "a weight outside its layer": (keras_2_file({"conv": ["../../conv/conv/kernel:0"]}), Reason.MALFORMED),
        "Keras 1": (keras_2_file(version=b"1.2.2"), Reason.UNSUPPORTED),
        "a configuration that is no JSON": (keras_2_file(config="{'class_name': eval}"), Reason.MALFORMED),
        "a configuration nested 5,000 deep": (keras_2_file(config="[" * 5000 + "]" * 5000), Reason.LIMIT),
        "cut in half": (made_2[: len(made_2) // 2], Reason.MALFORMED),
    }


def keras_3_cases() -> dict[str, tuple[bytes, Verdict]]:
    """`.keras` archives."""
    good = keras()
    at = good.index(b"\x89HDF") + 3000
    lambdas = {"module": "keras", "class_name": "Lambda", "config": {"function": {"class_name": "__lambda__"}}}
    external = weights_3(lambda f: f.__setitem__("layers/conv2d/vars/0", h5py.ExternalLink("/etc/x.h5", "/k")))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            with zipfile.ZipFile(io.BytesIO(good)) as stored:
                archive.writestr(name, stored.read(name))
    return {
        "a model": (good, "accept"),
        "a Lambda layer": (keras(config__json=json.dumps(lambdas).encode()), "accept"),
        "assets beside it": (keras(**{"assets/vocabulary__txt": b"a\nb\n"}), "accept"),
        "without weights": (keras(model__weights__h5=None), Reason.MALFORMED),
        "without a configuration": (keras(config__json=None), Reason.MALFORMED),
        "a configuration that is no JSON": (keras(config__json=b"{keras"), Reason.MALFORMED),
        "weights that are none": (keras(model__weights__h5=b"HDF"), Reason.MALFORMED),
        "an external link in the weights": (keras(model__weights__h5=external), Reason.UNSAFE),
        "two files of weights": (twice("model.weights.h5", weights_3(), weights_3()), Reason.UNSAFE),
        "compressed, as Keras never writes it": (stream.getvalue(), "accept"),
        "a bit of the weights flipped": (good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], "refuse"),
        "a member outside": (keras(**{"../evil": b"x"}), Reason.UNSAFE),
        "cut in half": (good[: len(good) // 2], Reason.MALFORMED),
        "cut by a byte": (good[:-1], Reason.MALFORMED),
    }
