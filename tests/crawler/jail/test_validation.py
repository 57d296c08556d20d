"""What the parent accepts of a table: nothing that does not fit the file, whatever the numbers."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.jail.expansion import MAX_EXPANSION, UNSUSPECTED
from filterzoo.jail.validation import MAX_NUMBERS, validate
from filterzoo.layers.shapes import canonical_shape
from filterzoo.records import (
    Codec,
    Context,
    Convolution,
    FileFacts,
    Index,
    Kind,
    Layout,
    Quantisation,
    Span,
    StoredRange,
    Tensor,
)

SIZE = 10_000
CONV = Convolution(kind=Kind.CONV, context=Context.GRAPH, groups=1)
INT8 = {"dtype": "I8", "span": Span(0, 72)}
CHUNKED = {"chunk_shape": (4, 2, 3, 3), "span": Span(0, 0)}
HUGE = 10**4000


def conv(**fields) -> Tensor:
    """A 4x2x3x3 weight of float32 at the start of the file, but for what is asked for."""
    plain: dict[str, Any] = {
        "name": "w",
        "dtype": "F32",
        "shape": (4, 2, 3, 3),
        "span": Span(0, 288),
        "convolution": CONV,
    }
    return Tensor(**(plain | {"convolution": CONV} | fields))


def index(*tensors: Tensor, **fields) -> Index:
    plain: dict[str, Any] = {
        "format": "probe",
        "facts": FileFacts(),
        "tensor_count": len(tensors),
        "convolutions": tensors,
    }
    return Index(**(plain | {"convolutions": tensors} | fields))


def described(**fields) -> Convolution:
    return replace(CONV, **fields)


GOOD = {
    "plain": conv(),
    "at the end": conv(span=Span(SIZE - 288, 288)),
    "in a record": conv(span=Span(64, 288), stored_in=(StoredRange(0, 1000, 1000, crc32=1),)),
    "deflated": conv(span=Span(100, 288), stored_in=(StoredRange(0, 50, 1000, Codec.DEFLATE),)),
    "well compressed and small": conv(span=Span(100, 288), stored_in=(StoredRange(0, 50, UNSUSPECTED, Codec.DEFLATE),)),
    "in a side file": conv(span=Span(SIZE * 9, 288, "side.bin")),
    "in a record of a side file": conv(span=Span(0, 288, "s"), stored_in=(StoredRange(0, SIZE * 9, SIZE * 9),)),
    "strided": conv(strides=(18, 9, 3, 1)),
    "channels last": conv(strides=(18, 1, 6, 2)),
    "expanded": conv(span=Span(0, 36), strides=(0, 0, 3, 1)),
    "a chunk": conv(**CHUNKED, stored_in=(StoredRange(0, 50, 288, Codec.SHUFFLE_ZLIB),)),
    "an unwritten chunk": conv(**CHUNKED, stored_in=(StoredRange(0, 0, 288, Codec.ZLIB),)),
    "chunks with edges": conv(
        chunk_shape=(3, 2, 2, 3), span=Span(0, 0), stored_in=tuple(StoredRange(144 * n, 144, 144) for n in range(4))
    ),
    "grouped": conv(convolution=described(kind=Kind.GROUPED, groups=2)),
    "transposed and grouped": conv(layout=Layout.IO_K, convolution=described(kind=Kind.TRANSPOSED, groups=4)),
    "keras depthwise": conv(layout=Layout.K_IM, shape=(3, 3, 4, 2), convolution=described(groups=4)),
    "tflite depthwise": conv(layout=Layout.ONE_K_O, shape=(1, 3, 3, 8), convolution=described(groups=8)),
    "a stated depth": conv(convolution=described(stated_depth=(3, 1.0))),
    "all of it known": conv(convolution=described(stride=(1, 2), dilation=(1, 1), padding=(-1, 0, 1, 2), depth=7)),
    "quantised": conv(**INT8, quantisation=Quantisation((0.5,), (3,))),
    "quantised along an axis": conv(**INT8, quantisation=Quantisation((0.5,) * 3, (0,) * 3, 2)),
    "a float quantised": conv(dtype="F8_E4M3", span=Span(0, 72), quantisation=Quantisation((0.5,), (0,))),
    "a hostile name": conv(name="\0\x1b[2J\u202e" + "x" * 100_000),
}

MALFORMED = {
    "behind the end": conv(span=Span(SIZE - 287, 288)),
    "negative offset": conv(span=Span(-1, 288)),
    "huge offset": conv(span=Span(HUGE, 288)),
    "offset that wraps": conv(span=Span((1 << 64) - 1, 288)),
    "short": conv(span=Span(0, 284)),
    "long": conv(span=Span(0, 292)),
    "negative length": conv(span=Span(0, -288)),
    "side file at a negative offset": conv(span=Span(-1, 288, "s")),
    "rank 2": conv(shape=(8, 9)),
    "rank 6": conv(shape=(4, 2, 3, 3, 1, 1)),
    "no channel": conv(shape=(0, 2, 3, 3), span=Span(0, 0)),
    "negative side": conv(shape=(-4, -2, 3, 3)),
    "unknown dtype": conv(dtype="F" * 10_000),
    "no layout": conv(layout=Layout.OTHER),
    "no convolution": conv(convolution=None),
    "numbers that cannot be read": conv(obstacle="sparse"),
    "tflite depthwise of two": conv(layout=Layout.ONE_K_O, shape=(2, 3, 3, 4)),
    "groups that do not divide": conv(convolution=described(groups=3)),
    "no groups": conv(convolution=described(groups=0)),
    "negative groups": conv(convolution=described(groups=-4)),
    "huge groups": conv(convolution=described(groups=HUGE)),
    "huge stride": conv(convolution=described(stride=(HUGE, 1))),
    "long padding": conv(convolution=described(padding=(1,) * 1000)),
    "negative stated depth": conv(convolution=described(stated_depth=(-1, 0.5))),
    "huge stated depth": conv(convolution=described(stated_depth=(HUGE, 0.5))),
    "a stated depth beyond one": conv(convolution=described(stated_depth=(3, 1.5))),
    "a stated depth that is no number": conv(convolution=described(stated_depth=(3, float("nan")))),
    "negative depth": conv(convolution=described(depth=-1)),
    "huge depth": conv(convolution=described(depth=HUGE)),
    "strides too few": conv(strides=(1, 1)),
    "negative stride": conv(strides=(18, 9, 3, -1)),
    "strides beyond the span": conv(strides=(18, 9, 3, 2)),
    "huge strides": conv(strides=(HUGE, 9, 3, 1)),
    "span outside its record": conv(span=Span(800, 288), stored_in=(StoredRange(0, 1000, 1000),)),
    "span before its record": conv(span=Span(0, 288), stored_in=(StoredRange(10, 1000, 1000),)),
    "span outside its decoded record": conv(span=Span(800, 288), stored_in=(StoredRange(0, 10, 1000, Codec.DEFLATE),)),
    "record behind the end": conv(stored_in=(StoredRange(0, SIZE + 1, SIZE + 1),)),
    "negative record": conv(stored_in=(StoredRange(-1, 1000, 1000),)),
    "record of a negative size": conv(stored_in=(StoredRange(0, 1000, -1, Codec.DEFLATE),)),
    "record of a negative length in a side file": conv(
        span=Span(0, 288, "s"), stored_in=(StoredRange(0, -1, 1000, Codec.DEFLATE),)
    ),
    "raw record of two sizes": conv(stored_in=(StoredRange(0, 500, 1000),)),
    "two records": conv(stored_in=(StoredRange(0, 1000, 1000),) * 2),
    "shuffled without chunks": conv(stored_in=(StoredRange(0, 1000, 1000, Codec.SHUFFLE),)),
    "chunk of another size": conv(**CHUNKED, stored_in=(StoredRange(0, 50, 289, Codec.ZLIB),)),
    "chunks too few": conv(chunk_shape=(1, 2, 3, 3), span=Span(0, 0), stored_in=(StoredRange(0, 72, 72),)),
    "chunk of rank 1": conv(chunk_shape=(72,), span=Span(0, 0), stored_in=(StoredRange(0, 288, 288),)),
    "empty chunk": conv(chunk_shape=(0, 2, 3, 3), span=Span(0, 0)),
    "huge chunk": conv(chunk_shape=(HUGE, 2, 3, 3), span=Span(0, 0), stored_in=(StoredRange(0, 1, 1),)),
    "chunk behind the end": conv(**CHUNKED, stored_in=(StoredRange(SIZE - 10, 288, 288),)),
    "strided chunks": conv(**CHUNKED, strides=(18, 9, 3, 1), stored_in=(StoredRange(0, 288, 288),)),
    "chunks before a side file": conv(
        chunk_shape=(4, 2, 3, 3), span=Span(0, 0, "s"), stored_in=(StoredRange(-8, 288, 288),)
    ),
    "scales too few": conv(**INT8, quantisation=Quantisation((1.0,), (0,), 0)),
    "zero points too few": conv(**INT8, quantisation=Quantisation((1.0,), ())),
    "axis it has not": conv(**INT8, quantisation=Quantisation((1.0,), (0,), 4)),
    "negative axis": conv(**INT8, quantisation=Quantisation((1.0,) * 3, (0,) * 3, -1)),
    "NaN scale": conv(**INT8, quantisation=Quantisation((float("nan"),), (0,))),
    "infinite scale": conv(**INT8, quantisation=Quantisation((float("inf"),), (0,))),
    "scale beyond float32": conv(**INT8, quantisation=Quantisation((1e39,), (0,))),
    "huge zero point": conv(**INT8, quantisation=Quantisation((1.0,), (HUGE,))),
}

LIMIT = {
    "a huge layer": conv(shape=(1 << 16, 1 << 16, 3, 3), span=Span(0, 36 << 32)),
    "huge sides": conv(shape=(HUGE, HUGE, HUGE, HUGE, HUGE), span=Span(0, 1)),
    "a view of nothing": conv(shape=(1 << 14, 1 << 11, 1), span=Span(0, 4), strides=(0, 0, 0)),
    "a view over everything": conv(strides=(MAX_NUMBERS, 1, 1, 1)),
    "a zip bomb": conv(stored_in=(StoredRange(0, 5000, 1 << 32, Codec.DEFLATE),)),
    "a chunk bomb": conv(
        shape=(1 << 12, 1 << 12, 1),
        chunk_shape=(1 << 12, 1 << 13, 1),
        span=Span(0, 0),
        stored_in=(StoredRange(0, 5000, 1 << 27, Codec.ZLIB),),
    ),
    "never written": conv(
        shape=(1 << 13, 1 << 12, 1),
        chunk_shape=(1 << 13, 1 << 12, 1),
        span=Span(0, 0),
        stored_in=(StoredRange(0, 0, 1 << 27, Codec.ZLIB),),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_fits_is_accepted(case):
    validate(index(GOOD[case]), SIZE)


@pytest.mark.parametrize(
    ("reason", "case"), [(Reason.MALFORMED, n) for n in MALFORMED] + [(Reason.LIMIT, n) for n in LIMIT]
)
def test_what_does_not_fit_is_refused(reason, case):
    with pytest.raises(Refused) as raised:
        validate(index((MALFORMED | LIMIT)[case]), SIZE)
    assert raised.value.reason is reason
    assert raised.value.where == "w"
    assert len(str(raised.value)) < 3000


@pytest.mark.parametrize("dtype", [name for name, dtype in DTYPES.items() if dtype.number_class == "other"])
def test_types_that_are_never_weights(dtype):
    for quantisation in (None, Quantisation((1.0,), (0,))):
        tensor = conv(dtype=dtype, span=Span(0, 72 * DTYPES[dtype].size), quantisation=quantisation)
        with pytest.raises(Refused) as raised:
            validate(index(tensor), SIZE)
        assert raised.value.reason is Reason.UNSUPPORTED


OVERLAPS = {
    "by one byte": [conv(), conv(span=Span(287, 288))],
    "inside": [conv(span=Span(0, 8000), shape=(4, 500, 1)), conv(span=Span(400, 288))],
    "the same start": [conv(), conv(shape=(4, 1, 3, 3), span=Span(0, 144))],
    "in a side file": [conv(span=Span(0, 288, "s")), conv(span=Span(4, 288, "s"))],
    "two records": [
        conv(stored_in=(StoredRange(0, 1000, 1000),)),
        conv(span=Span(900, 288), stored_in=(StoredRange(900, 1000, 1000),)),
    ],
    "a record and a span": [conv(), conv(span=Span(100, 288), stored_in=(StoredRange(100, 1000, 1000),))],
    "two chunks": [
        conv(
            chunk_shape=(2, 2, 3, 3), span=Span(0, 0), stored_in=(StoredRange(0, 144, 144), StoredRange(100, 144, 144))
        )
    ],
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_bytes_belong_to_one_tensor(case):
    for tensors in (OVERLAPS[case], OVERLAPS[case][::-1]):
        with pytest.raises(Refused, match="overlap") as raised:
            validate(index(*tensors), SIZE)
        assert raised.value.reason is Reason.MALFORMED


def test_tied_tensors_neighbours_and_other_files_do_not_overlap():
    record = (StoredRange(1000, 2000, 2000),)
    validate(
        index(
            conv(),
            conv(name="tied"),
            conv(span=Span(288, 288)),
            conv(span=Span(100, 288, "s")),
            conv(span=Span(150, 288, "t")),
            conv(span=Span(1000, 288), stored_in=record),
            conv(span=Span(1100, 288), stored_in=record),
            conv(shape=(2, 4, 3, 3)),
        ),
        SIZE,
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"tensor_count": -1}, Reason.MALFORMED),
        ({"tensor_count": HUGE}, Reason.MALFORMED),
        ({"facts": FileFacts(licence="x" * (1 << 21))}, Reason.LIMIT),
        ({"facts": FileFacts(opset=-1)}, Reason.MALFORMED),
        ({"facts": FileFacts(opset=HUGE)}, Reason.MALFORMED),
        ({"containers": (StoredRange(-1, 5, 5),)}, Reason.MALFORMED),
        ({"containers": (StoredRange(SIZE, 1, 1),)}, Reason.MALFORMED),
        ({"containers": (StoredRange(0, HUGE, HUGE),)}, Reason.MALFORMED),
        ({"containers": (StoredRange(0, SIZE, SIZE),) * 1000}, Reason.LIMIT),
    ],
)
def test_the_file_as_a_whole(fields, reason):
    with pytest.raises(Refused) as raised:
        validate(index(**fields), SIZE)
    assert raised.value.reason is reason


def test_tied_layers_cost_time_and_no_bytes_so_they_are_limited():
    wide = conv(shape=(1 << 10, 1 << 10, 9), span=Span(0, 36 << 20))
    validate(index(*[wide] * 100), 36 << 20)
    with pytest.raises(Refused) as raised:
        validate(index(*[wide] * 5000), 36 << 20)
    assert raised.value.reason is Reason.LIMIT


NUMBERS = st.one_of(
    st.integers(-3, 12),
    st.sampled_from(
        [288, 72, 144, SIZE, SIZE + 1, 1 << 24, 1 << 31, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, HUGE, -HUGE]
    ),
)
SHAPES = st.lists(NUMBERS, max_size=6).map(tuple) | st.just((4, 2, 3, 3))
OPTIONAL_SHAPES = st.none() | SHAPES
RECORDS = st.builds(StoredRange, NUMBERS, NUMBERS, NUMBERS, st.sampled_from(Codec), st.none() | NUMBERS)
SPANS = st.builds(Span, NUMBERS, NUMBERS, st.sampled_from([None, None, "s", "../x", ""]))
QUANTISATIONS = st.builds(
    Quantisation,
    st.lists(st.floats(), max_size=5).map(tuple),
    st.lists(NUMBERS, max_size=5).map(tuple),
    st.none() | NUMBERS,
)
CONVOLUTIONS = st.builds(
    Convolution,
    kind=st.sampled_from(Kind),
    context=st.sampled_from(Context),
    groups=st.none() | NUMBERS,
    stride=OPTIONAL_SHAPES,
    dilation=OPTIONAL_SHAPES,
    padding=OPTIONAL_SHAPES,
    depth=st.none() | NUMBERS,
)
TENSORS = st.builds(
    Tensor,
    name=st.text(max_size=5),
    dtype=st.sampled_from([*DTYPES, "F33", ""]),
    shape=SHAPES,
    span=SPANS | st.just(Span(0, 288)),
    layout=st.sampled_from(Layout),
    strides=OPTIONAL_SHAPES,
    stored_in=st.lists(RECORDS, max_size=2).map(tuple),
    chunk_shape=OPTIONAL_SHAPES,
    quantisation=st.none() | QUANTISATIONS,
    convolution=st.none() | CONVOLUTIONS,
    section=st.just(""),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "..", "/etc/passwd", "a//b", "a/../b"])
def test_a_side_file_elsewhere_is_refused_before_it_is_opened(name):
    with pytest.raises(Refused) as refusal:
        validate(index(conv(span=Span(0, 288, name))), SIZE)
    assert refusal.value.reason is Reason.UNSAFE


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tensors=st.lists(TENSORS, max_size=2), count=NUMBERS, size=st.integers(0, SIZE))
def test_any_numbers_are_accepted_or_refused(tensors, count, size):
    check(index(*tensors, tensor_count=count), size)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    case=st.sampled_from(sorted(GOOD)),
    name=st.sampled_from(
        ["shape", "span", "layout", "strides", "stored_in", "chunk_shape", "quantisation", "convolution"]
    ),
    other=TENSORS,
)
def test_one_wrong_field_is_accepted_or_refused(case, name, other):
    check(index(replace(GOOD[case], **{name: getattr(other, name)})), SIZE)


@pytest.mark.parametrize(
    "fields",
    [
        {"span": Span(SIZE - 287, 288)},
        {"span": Span(0, 287)},
        {"span": Span(-1, 288)},
        {"dtype": "X9"},
        {"shape": (-4, -18)},
        {"shape": (1,) * 65, "span": Span(0, 4)},
        {"shape": (1 << 40,), "strides": (0,), "span": Span(0, 4)},
        {"stored_in": (StoredRange(0, 100, 100),)},
        {"stored_in": (StoredRange(0, 50, 1 << 40, Codec.DEFLATE),)},
        {"convolution": CONV},
        {"quantisation": Quantisation((float("inf"),), (0,))},
    ],
)
def test_an_array_that_is_only_listed_is_checked_as_well(fields):
    validate(index(tensors=(conv(convolution=None), conv(shape=(72,), convolution=None))), SIZE)
    with pytest.raises(Refused):
        validate(index(tensors=(conv(**({"convolution": None} | fields)),)), SIZE)


def check(table: Index, size: int) -> None:
    """Nothing but Refused; and what is accepted has bounded numbers."""
    listed = tuple(replace(tensor, convolution=None) for tensor in table.convolutions)
    with contextlib.suppress(Refused):
        validate(replace(table, convolutions=(), tensors=listed), size)
    try:
        validate(table, size)
    except Refused as refusal:
        assert len(str(refusal)) < 3000  # noqa: PT017  # accepting the table is the other good end
        return
    for tensor in table.convolutions:
        numbers = 1
        for side in canonical_shape(tensor):
            numbers *= side
        assert 0 < numbers <= MAX_NUMBERS
        assert tensor.span.side or tensor.stored_in or tensor.span.offset + tensor.span.length <= size
        assert all(r.offset + r.length <= size for r in tensor.stored_in if r.length and tensor.span.side is None)
        unread = numbers * DTYPES[tensor.dtype].size - tensor.span.length
        assert tensor.chunk_shape or unread <= MAX_EXPANSION * DTYPES[tensor.dtype].size
