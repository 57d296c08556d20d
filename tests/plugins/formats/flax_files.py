"""Writes good and hostile msgpack files as Flax does, value by value and without msgpack."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from filterzoo.errors import Reason

WEIGHT = np.random.default_rng(6).normal(size=(3, 3, 4, 8)).astype("f4")
MARKER = "__msgpack_chunked_array__"


def text(content: str | bytes) -> bytes:
    raw = content if isinstance(content, bytes) else content.encode()
    return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else struct.pack(">BI", 0xDB, len(raw))) + raw


def integer(value: int) -> bytes:
    return bytes([value]) if 0 <= value < 128 else struct.pack(">Bq", 0xD3, value)


def mapping(entries: Mapping[str, bytes] | list[tuple[bytes, bytes]], count: int | None = None) -> bytes:
    """A map; `count` may be a lie."""
    pairs = [(text(key), value) for key, value in entries.items()] if isinstance(entries, Mapping) else entries
    count = len(pairs) if count is None else count
    head = bytes([0x80 | count]) if count < 16 else struct.pack(">BI", 0xDF, count)
    return head + b"".join(key + value for key, value in pairs)


def array(numbers: np.ndarray = WEIGHT, code: int = 1, behind: bytes = b"", **lies: Any) -> bytes:
    """An array. lies: shape, dtype or length that it is said to have, the length of the extension."""
    shape, raw = lies.get("shape", numbers.shape), numbers.tobytes()
    body = b"\x93" + bytes([0x90 | len(shape)]) if len(shape) < 16 else b"\x93" + struct.pack(">BH", 0xDC, len(shape))
    body += b"".join(map(integer, shape)) + text(lies.get("dtype", str(numbers.dtype)))
    body += struct.pack(">BI", 0xC6, lies.get("length", len(raw))) + raw + behind
    return struct.pack(">BIb", 0xC9, lies.get("extension", len(body)), code) + body


def in_parts(numbers: np.ndarray, size: int, **lies: Any) -> bytes:
    """A large array. lies: marker, shape, keys, parts."""
    flat = numbers.reshape(-1)
    parts = lies.get("parts", [array(flat[at : at + size]) for at in range(0, flat.size, size)])
    shape = mapping({str(place): integer(side) for place, side in enumerate(lies.get("shape", numbers.shape))})
    chunks = mapping([(text(lies.get("key", str(place))), part) for place, part in enumerate(parts)])
    return mapping({MARKER: lies.get("marker", b"\xc3"), "shape": shape, "chunks": chunks})


def params(*arrays: bytes) -> bytes:
    return mapping(
        {"params": mapping({f"Conv_{place}": mapping({"kernel": each}) for place, each in enumerate(arrays)})}
    )


GOOD = params(array())
_HALF = array(WEIGHT.reshape(-1)[:100])

HOSTILE: dict[str, tuple[bytes, Reason]] = {
    "nothing behind a key": (b"\x81\xa6params\x81", Reason.MALFORMED),
    "cut in an array": (GOOD[:200], Reason.MALFORMED),
    "cut by one byte": (GOOD[:-1], Reason.MALFORMED),
    "bytes behind the end": (GOOD + b"PK\3\4", Reason.MALFORMED),
    "2^32 - 1 entries": (b"\xdf\xff\xff\xff\xff\xa1a\x81\xa1b\1", Reason.MALFORMED),
    "2^32 - 1 bytes": (params(b"\xc6\xff\xff\xff\xff"), Reason.MALFORMED),
    "an array of 2^32 - 1 bytes": (params(struct.pack(">BIb", 0xC9, (1 << 32) - 1, 1)), Reason.MALFORMED),
    "a byte that starts nothing": (params(b"\xc1"), Reason.MALFORMED),
    "a key that is a number": (mapping({"params": mapping([(integer(1), array())])}), Reason.MALFORMED),
    "a key that is no text": (mapping({"params": mapping([(text(b"\xff\xfe"), array())])}), Reason.MALFORMED),
    "a key of 100,000 bytes": (mapping({"params": mapping({"k" * 100_000: array()})}), Reason.LIMIT),
    "maps 100,000 deep in each other": (b"\x81\xa1a" * 100_000 + array(), Reason.LIMIT),
    "lists 100,000 deep in each other": (b"\x81\xa1a" + b"\x91" * 100_000 + b"\1", Reason.LIMIT),
    "400,000 values": (mapping({"a": struct.pack(">BI", 0xDD, 400_000) + bytes(400_000)}), Reason.LIMIT),
    "one key twice": (mapping({"params": mapping([(text("k"), array())] * 2)}), Reason.MALFORMED),
    "two paths that are one": (mapping({"a": mapping({"b": array()}), "a/b": array()}), Reason.MALFORMED),
    "no arrays": (mapping({"a": mapping({"b": b"\xc4\x04abcd"})}), Reason.UNSUPPORTED),
    "an extension shorter than its array": (params(array(extension=20)), Reason.MALFORMED),
    "an extension longer than its array": (params(array(behind=b"\0\0")), Reason.MALFORMED),
    "an array of more bytes than the file": (params(array(length=1 << 31)), Reason.MALFORMED),
    "a shape of more numbers": (params(array(shape=(3, 3, 4, 9))), Reason.MALFORMED),
    "sides that multiply past 2^64": (params(array(shape=(1 << 62,) * 4)), Reason.MALFORMED),
    "a side of -3": (params(array(shape=(-3, -3, 4, 8))), Reason.MALFORMED),
    "65 axes": (params(array(shape=(1,) * 65)), Reason.LIMIT),
    "an array that is a text": (params(struct.pack(">BBb", 0xC7, 4, 1) + text("abc")), Reason.MALFORMED),
    "an array of two things": (params(struct.pack(">BBb", 0xC7, 3, 1) + b"\x92\1\1"), Reason.MALFORMED),
    "parts that are not as many numbers": (params(in_parts(WEIGHT, 100, parts=[_HALF, _HALF])), Reason.MALFORMED),
    "parts of two types": (
        params(in_parts(WEIGHT[:1, :1], 16, parts=[array(np.ones(16, "f4")), array(np.ones(16, "f2"))])),
        Reason.MALFORMED,
    ),
    "no parts": (params(in_parts(WEIGHT, 100, parts=[])), Reason.MALFORMED),
    "a part that is none": (params(in_parts(WEIGHT, 100, parts=[b"\1"])), Reason.MALFORMED),
    "parts in no order": (params(in_parts(WEIGHT, 100, key="1")), Reason.MALFORMED),
    "61 parts": (params(in_parts(WEIGHT, 4)), Reason.LIMIT),
    "parts that are said to be none": (params(in_parts(WEIGHT, 100, marker=b"\xc2")), Reason.MALFORMED),
    "parts among other entries": (params(mapping({"a": b"\1", MARKER: b"\xc3", "b": b"\1"})), Reason.MALFORMED),
    "a part's shape of 2^62": (params(in_parts(WEIGHT, 100, shape=(1 << 62, 1 << 62))), Reason.MALFORMED),
}
"""What is wrong -> (the file, why it is refused)."""

WRITTEN_BY_FLAX = zlib.decompress(
    bytes.fromhex(
        "78daedd5796893771cc7f15f9aa855abd6fbd67adf9ab6de3afbfc52ed991edeb7e993f6e9614e93a86dbd9e1ed65ab5ad6d2732"
        "c668665acb18a38c31dc18239bdd52a61b32c69031461963c81029630c1963ec9d1a1d8cc1fe1e2ce4950fe4791e7e4ff2fd3edf"
        "5f53b757f5a92e7f5dc81fd05cb5dd0ecde7d69cfd868f0ced1d46a3d174bbd4e95103a9299f187ac5d04b4fe343e10d1d9d0863"
        "00420a91882498a1a01045f04247235a71139de8412fee208c7e3cc0430ce01106f114c2228409f148402226611a6621090bb114"
        "2b61c65a6cc45628d88e2c5851883d388023284209cae184170154e22c74d4a21e0d684413aea219ad6843076ee0265ec1ab780d"
        "9d781d2174a3076fe04dbc855ebc8d77f02eeee07d7c800f11c6c7e8c3a7e8c767b88f2ff0005fe22b7c6d09d92b547f64b6a1fd"
        "fa8b2af625febd88dd76a7a7d8e1af0d9a6b62b58f1c1c2abdc1d4631fba2a797d5fd6d0158aa2e84aa7125628b54c9449d22c15"
        "59288ba457eab251b6ca9bb253f6c85e79478665bf7c201fca01f9480e4a4a673159e22d099660f28b550a59c56030c5df7ebe48"
        "b47fb6725316b15dec1019225364e959225bcf16397a8ec8d5738555b1ead6b055e429797a5e384fe42bf97a7e385f1428057a41"
        "b8a0cba9facab4e70bd4bd67b3b9fc655eb5d8612b2e3fe976682536d5e753ab6cb6bb5dfe72d5abd507cdc660b23198620aa6c6"
        "770f9de3af0b9afb0d4ff8cb2aff6afc81ff1bffbfd5f8fc87f806dfe23b0ce07bfc801ff1083fe1319ed095ff54f3418efd8c5f"
        "f02b9ee237fc8e3f20d28530200e4698300cc33102f1188951188d048cc1588c4322c6630226621226630aa6621aa66306666216"
        "66630ee62209f3301f0bb0108bb0184bb014cbb01c2bb012abb01a6b60463252908ab55887f5d8808dd884cdd882ad7809db9006"
        "051216a4633b76200399c8423672900b2bf2908f02146227766137f6602ff6613f0ee0200ee1308ee0288ec18622a8b0a31825d0"
        "508a3294a302c7e180132eb8e1490fa6443ea7e4e61793314cd773e4047cf02380933885d3a84415aa710667710ee771017abad0"
        "216a48885a12a28e84a827212e92100d24c42512a29184b84c42349110574888ab24c43512a2998468215bd2a31bb83732d6d8de"
        "da55e18efe22d3089a34e45303dabdb4d80c0bb9559776cbad05426e8f5b0b07ab2313e3daeea50d3e3b7a4f11b1d34a9d6ad9dd"
        "5b3ef5749fb1b2aaba2ba0da9ddabf0fd49aa0f9fe8dd820ad8d0ed2c7d187ead9ddc4c6a8017130c28461188ee8adc663244661"
        "3412300663310ed1bd6b3c266022266132a6602aa6613a666026666136e6602e92300ff3b1000bb1088bb1044bb10ccbb1022bb1"
        "0aabb10666242305a9588b75588f0dd8884dd88c2d439b190f0cb621b67788d82c8fce0eb6391e18642013ecb2221b39c8851579"
        "c847010ab113bbb01b7bb017fbb01f077010877018477014c760431154d8518c1268284519ca5181e370c00917dcf0c08b13f0c1"
        "8f004ee2144e23981ca9a3e07362ed5759c97755a8c6199cc5399cc785e8868a1ad4a20ef5b888065c42232ea309577015d7d08c"
        "16b4e23adad08e0ebc1ced5e97ea774412b895b890dde371f6c5190c7f0283d22e41"
    )
)
"""`golden.msgpack` of the script below, run once with Flax 0.12.8, so that the tests need no JAX:

    def a(dtype, *shape):
        return np.asarray(jnp.arange(math.prod(shape), dtype=dtype).reshape(shape))

    tree = {
        "params": {
            "stem": {"kernel": a("float32", 3, 3, 3, 4), "bias": a("float32", 4)},
            "blocks": [{"kernel": a("bfloat16", 3, 3, 1, 4)}, {"kernel": a("float16", 1, 1, 4, 8)}],
            "large": {"kernel": a("float32", 3, 3, 4, 8)},
        },
        "step": np.int32(7), "rate": 0.5, "name": "net", "none": None, "z": 1 + 2j, "flag": True, "raw": b"xyz",
        "table": a("int32", 150), "mask": np.ones(2, bool),
    }
    flax.serialization.MAX_CHUNK_SIZE = 4 * 120
    open("golden.msgpack", "wb").write(flax.serialization.to_bytes(tree))
"""
