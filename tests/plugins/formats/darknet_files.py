"""Darknet's networks, good ones and hostile ones, written without Darknet."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np

DICE = np.random.default_rng(4)
CONFIG = """
[net]
# a comment
height = 32
width=32
channels=3

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1

[maxpool]
size=2
stride=2

[convolutional]
filters=6
size=1
groups=2
pad=1

[route]
layers=-1,-3

[shortcut]
from=-1

[convolutional]
filters=4
size=3
dilation=2
padding=2
[upsample]
stride=2
[avgpool]
[connected]
output=5
batch_normalize=1
[softmax]
"""
SHAPES = (8, 8, 8, 8, (8, 3, 3, 3), 6, (6, 4, 1, 1), 4, (4, 14, 3, 3), 5, (5, 4), 5, 5, 5)
"""Of the numbers of that network, in the order of the file."""
ARRAYS = [DICE.normal(size=shape).astype("f4") for shape in SHAPES]


def weights(*arrays: np.ndarray, minor: int = 2) -> bytes:
    """A file of weights."""
    seen = struct.pack("<Q", 7) if minor >= 2 else struct.pack("<i", 7)
    return struct.pack("<3i", 0, minor, 0) + seen + b"".join(array.tobytes() for array in arrays)


def hostile() -> Iterator[tuple[str, bytes, str | None, str, str]]:
    """Label, weights, description, the reason of the refusal, and part of its text."""
    good = weights(*ARRAYS)
    head = "[net]\nheight=8\nwidth=8\nchannels=3\n"

    def described(label: str, layers: str, reason: str, what: str, start: str = head):
        return label, good, start + layers, reason, what

    yield "no description", good, None, "unsupported", "without the .cfg"
    yield "cut short", good[:-4], CONFIG, "malformed", "are left"
    yield "a byte too many", good + b"\0", CONFIG, "malformed", "1 bytes are left behind"
    yield "of another network", good, CONFIG.replace("filters=4", "filters=3"), "malformed", "left"
    yield "an empty description", good, "", "malformed", "[net]"
    yield "no network", good, "[convolutional]\nfilters=1\n", "malformed", "[net]"
    yield described("words", "hello\n", "malformed", "neither a section nor an option")
    yield described("filters of 0", "[convolutional]\nfilters=0\n", "malformed", "filters=0")
    yield described("filters of -1", "[convolutional]\nfilters=-1\n", "malformed", "filters=-1")
    yield described("a billion filters", "[convolutional]\nfilters=999999999\nsize=99999\n", "malformed", "are left")
    yield described("filters of 2^60", "[convolutional]\nfilters=1152921504606846976\n", "malformed", "no whole")
    yield described("a stride of 0", "[convolutional]\nstride=0\n", "malformed", "stride=0")
    yield described("two groups of three", "[convolutional]\nfilters=4\ngroups=2\n", "malformed", "2 groups of 3")
    yield described("a way from nowhere", "[route]\nlayers=-9\n", "malformed", "which is none before it")
    yield described("a way from the future", "[route]\nlayers=4\n", "malformed", "which is none before it")
    yield described("a way of no layers", "[route]\n", "malformed", "layers is no list")
    yield described("a third of channels", "[maxpool]\n[route]\nlayers=0\ngroups=2\n", "malformed", "do not split")
    yield described("an unknown layer", "[lstm]\noutput=4\n", "unsupported", "type lstm")
    yield described("a shortcut with weights", "[maxpool]\n[shortcut]\nfrom=-1\nweights_type=per_feature\n",
                    "unsupported", "with weights")  # fmt: skip
    yield described("shared weights", "[convolutional]\nshare_index=0\n[convolutional]\nshare_index=1\n",
                    "unsupported", "share_index")  # fmt: skip
    yield described("an image without channels", "[convolutional]\n", "malformed", "0 channels", "[net]\nheight=8\n")
    yield described("layers beyond number", "[dropout]\n" * 30_000, "limit", "layers")
    yield described("an enlargement beyond number", "[upsample]\nstride=99999\n" * 9, "malformed", "impossible size")
