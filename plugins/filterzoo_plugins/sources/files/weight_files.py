"""Files that look like weights and are not listed by a source: the source records them in the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from filterzoo import Reason, Refusal

_WEIGHTS = re.compile(
    r"\.(pth?|ckpt|safetensors|onnx|h5|hdf5|keras|tflite|jit|torchscript|ptl|msgpack|pdparams|caffemodel|mlmodel|gguf|ggml"
    r"|t7|nemo)(\.(tar|index|data|meta|part)[\w-]*)*$|[-_.]\d{5}(-of-\d{5})?\.(bin|h5)$|(^|/)pytorch_model[^/]*\.bin$"
    r"|\.(bin|safetensors|weights)\.index(\.\w+)?\.json$|\.weights\.(h5|json)$",
    re.IGNORECASE,
)
"""Endings that are rarely used for anything but weights; `.bin`, `.npy` and `.pkl` are not among them."""
_PACKED = re.compile(r"\.(gz|xz|bz2|zst|lz4|zip|7z|tar|tgz|br)$", re.IGNORECASE)
_SHOWN = 3


def looks_like_weights(name: str) -> bool:
    """Whether a file has a name of weights, compressed or not."""
    while (packed := _PACKED.search(name)) is not None and _WEIGHTS.search(name) is None:
        name = name[: packed.start()]
    return _WEIGHTS.search(name) is not None


def passed_over(owner: str, revision: str, files: Sequence[str], why: str, url: str | None = None) -> Refusal:
    """The ledger entry for unlisted files of one checkpoint, package or repository; it names the first few.

    owner: the name of what contains them; "" if their own names suffice.
    """
    rest = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    listed = ", ".join(ascii(file)[1:-1][:80] for file in files[:_SHOWN])
    return Refusal(
        id=f"{owner}/{files[0]}".lstrip("/"),
        revision=revision,
        reason=Reason.UNSUPPORTED,
        detail=f"{why}: {listed}{rest}",
        url=url,
    )


def unlisted(names: Iterable[str], listed: Iterable[str]) -> list[str]:
    """The names that look like weights, are not listed, and are not data of a listed file (`net.onnx.data`), sorted."""
    known = set(listed)
    rest = (name for name in set(names) - known if looks_like_weights(name))
    return sorted(name for name in rest if name.removesuffix(".data") not in known)
