"""One network of CNN Filter DB as a file: what its head may say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
from filterzoo.records import FileFacts
from filterzoo_plugins.encodings.cnn_filter_db import MAGIC, FilterRows
from filterzoo_plugins.encodings.cnn_filter_db import write_head as head
from filterzoo_plugins.formats.cnn_filter_db import CnnFilterDb

FILTERS = np.arange(54, dtype=np.float32).tobytes()
LAYER = FilterRows(start=0, count=6, inputs=3, outputs=2, depth=0, depth_norm=0.0, name="conv1")
DOCUMENT = json.loads(head("F32", FileFacts(framework="pytorch", opset=11), [LAYER])[len(MAGIC) :])


def file_of(document: object) -> MemoryFile:
    return MemoryFile(MAGIC + json.dumps(document).encode() + b"\n" + FILTERS)


def test_a_head_says_where_the_layers_are():
    unpaired = replace(LAYER, start=6, count=1, inputs=None, outputs=None, depth=None, depth_norm=None, name="conv2")
    file = MemoryFile(head("F32", FileFacts(framework=None, opset=None), [LAYER, unpaired]) + FILTERS + bytes(36))
    first, second = CnnFilterDb().index(file)
    assert (first.name, first.shape, second.name, second.shape) == ("conv1", (2, 3, 3, 3), "conv2", (1, 1, 3, 3))
    assert file.read(first.span.offset, first.span.length) == FILTERS
    assert second.span.offset == first.span.offset + len(FILTERS)


@pytest.mark.parametrize("dtype", ["F8", "", 32, None])
def test_a_dtype_that_is_none_is_refused(dtype):
    refused(DOCUMENT | {"dtype": dtype})


@pytest.mark.parametrize(
    "change", [{"framework": 1}, {"opset": "11"}, {"opset": True}, {"layers": None}, {"layers": [1]}]
)
def test_a_head_of_other_types_is_refused(change):
    refused(DOCUMENT | change)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("start", value) for value in (-1, None, 1.5, True, 1 << 63)],
        *[("count", value) for value in (0, -6, "6", True)],
        *[(key, value) for key in ("inputs", "outputs", "depth") for value in (-1, 1.0, "1", True)],
        *[("depth_norm", value) for value in ("0", True)],
        *[("name", value) for value in (None, 1)],
    ],
)
def test_an_impossible_layer_is_refused(key, value):
    refused(DOCUMENT | {"layers": [DOCUMENT["layers"][0] | {key: value}]})


@pytest.mark.parametrize("key", list(DOCUMENT["layers"][0]))
def test_a_layer_that_does_not_say_all_is_refused(key):
    refused(DOCUMENT | {"layers": [{k: v for k, v in DOCUMENT["layers"][0].items() if k != key}]})


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100 + b"]" * 100])
def test_what_is_no_head_is_refused(text):
    with pytest.raises(Refused) as refusal:
        list(CnnFilterDb().index(MemoryFile(MAGIC + text + b"\n" + FILTERS)))
    assert refusal.value.reason in {Reason.MALFORMED, Reason.LIMIT}


def refused(document: object) -> None:
    with pytest.raises(Refused) as refusal:
        list(CnnFilterDb().index(file_of(document)))
    assert refusal.value.reason is Reason.MALFORMED
