"""The members of a torch.export archive: the program's JSON, and the location of each parameter, buffer and constant.

Current archives (torch >= 2.8) have a member for each tensor and a JSON that describes them; older ones have the
pickled state dict in a separate zip (torch/export/pt2_archive/_package.py, torch/_export/serde/serialize.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from filterzoo import DTYPES, RandomAccessFile, Reason, Refused, Span, StoredRange, Tensor
from filterzoo_plugins.encodings.json import read_json
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.zip import STORED, ZipIndex, ZipMember
from filterzoo_plugins.formats.pt2.state_dict import StoredView, state_dict

MAX_JSON_BYTES = 64 << 20
JSON_DEPTH = 64
MAX_RANK = 64

DTYPES_OF_TORCH = {
    1: "U8",
    2: "I8",
    3: "I16",
    4: "I32",
    5: "I64",
    6: "F16",
    7: "F32",
    8: "F64",
    10: "C64",
    11: "C128",
    12: "BOOL",
    13: "BF16",
    28: "U16",
    29: "F8_E4M3",
    30: "F8_E5M2",
    31: "F8_E4M3FNUZ",
    32: "F8_E5M2FNUZ",
    33: "F8_E8M0",
    34: "U32",
    35: "U64",
}
"""ScalarType of torch/_export/serde/schema.py."""


def dtype_of(meta: Any) -> str | None:
    """The type of a tensor by the JSON; None if it is missing or unsupported."""
    number = meta.get("dtype") if isinstance(meta, dict) else None
    return DTYPES_OF_TORCH.get(number) if type(number) is int else None


@dataclass(frozen=True, slots=True)
class Meta:
    """A tensor as described by the JSON; offset and strides in elements."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int


@dataclass(slots=True)
class Program:
    """A program and its tensors. stored: name -> location and layout; None if it is not supported."""

    document: dict[str, Any]
    file: RandomAccessFile
    stored: dict[str, tuple[StoredRange, Meta] | None] = field(default_factory=dict)

    def tensor(self, name: str) -> Tensor | None:
        """The tensor of that name; None if its storage is not supported.

        Refused if it contradicts the program.
        """
        found = self.stored.get(name)
        if found is None:
            return None
        record, meta = found
        size = DTYPES[meta.dtype].size
        reach = 0 if 0 in meta.shape else 1 + sum((n - 1) * s for n, s in zip(meta.shape, meta.strides, strict=True))
        if (meta.offset + reach) * size > record.size:
            raise Refused(Reason.MALFORMED, "a tensor that reaches past the end of its member", show(name))
        return Tensor(
            name=name,
            dtype=meta.dtype,
            shape=meta.shape,
            span=Span(record.offset + meta.offset * size, reach * size),
            strides=None if _is_contiguous(meta) else meta.strides,
            stored_in=(record,),
        )


def read_program(file: RandomAccessFile) -> Program:
    """The single program of the archive, and its tensors; Refused if there is none, or several."""
    archive = ZipIndex(file)
    if not file.is_remote:
        archive.check_headers()
    if "serialized_exported_program.json" in archive.members:
        return _old(file, archive)
    folder = next(iter(archive.members), "").partition("/")[0]
    programs = [name for name in archive.members if name.startswith(f"{folder}/models/") and name.endswith(".json")]
    if len(programs) != 1:
        what = f"{len(programs)} programs" if programs else "no program's graph: a compiled package"
        raise Refused(Reason.UNSUPPORTED, f"a torch.export archive with {what}")
    order = archive.members.get(f"{folder}/byteorder")
    if order is not None and archive.read(order, 16).strip() != b"little":
        raise Refused(Reason.UNSUPPORTED, "a big-endian torch.export archive", "byteorder")
    program = Program(_document(archive, programs[0]), file)
    model = programs[0].rpartition("/")[2].removesuffix(".json")
    for part in ("weights", "constants"):
        _take(program, archive, f"{folder}/data/{part}/", f"{model}_{part}_config.json", f"{model}.pt")
    return program


def _take(program: Program, archive: ZipIndex, folder: str, config: str, pickled: str) -> None:
    """Add the tensors of a folder: from their description, or from a pickled state dict."""
    if folder + config in archive.members:
        described = _document(archive, folder + config).get("config")
        for name, entry in (described if isinstance(described, dict) else {}).items():
            program.stored[name] = _described(program.file, archive, folder, name, entry)
    elif folder + pickled in archive.members:
        _take_pickled(program, archive, archive.members[folder + pickled])


def _described(
    file: RandomAccessFile, archive: ZipIndex, folder: str, name: str, entry: Any
) -> tuple[StoredRange, Meta] | None:
    path = entry.get("path_name") if isinstance(entry, dict) else None
    member = archive.members.get(f"{folder}{path}")
    if member is None:
        raise Refused(Reason.MALFORMED, "a tensor whose member is missing", show(name))
    if entry.get("use_pickle"):
        return None
    meta = meta_of(entry.get("tensor_meta"), name)
    return None if meta is None else (_record(file, archive, member), meta)


def _record(file: RandomAccessFile, archive: ZipIndex, member: ZipMember) -> StoredRange:
    if member.method != STORED:
        raise Refused(Reason.UNSUPPORTED, "a compressed tensor", show(member.name))
    offset = archive.likely_offset(member) if file.is_remote else archive.offset(member)
    return archive.record(member, offset)


def _old(file: RandomAccessFile, archive: ZipIndex) -> Program:
    program = Program(_document(archive, "serialized_exported_program.json"), file)
    for part in ("state_dict", "constants"):
        member = archive.members.get(f"serialized_{part}.pt")
        if member is not None:
            _take_pickled(program, archive, member)
    return program


def _take_pickled(program: Program, archive: ZipIndex, member: ZipMember) -> None:
    """Add the tensors of a pickled state dict, a torch zip inside the archive."""
    record = _record(program.file, archive, member)
    for name, view in state_dict(program.file, record, show(member.name)).items():
        program.stored[name] = None if view is None else _of_view(view)


def _of_view(view: StoredView) -> tuple[StoredRange, Meta]:
    return view.record, Meta(view.dtype, view.shape, view.strides, view.offset)


def meta_of(document: Any, name: str) -> Meta | None:
    """The description of a tensor; None for an unsupported type. Refused (malformed) for anything but a tensor."""
    if not isinstance(document, dict):
        raise Refused(Reason.MALFORMED, "a tensor without its description", show(name))
    dtype = dtype_of(document)
    shape, strides = (_numbers(document.get(key), name) for key in ("sizes", "strides"))
    (offset,) = _numbers([document.get("storage_offset")], name)
    if len(shape) != len(strides) or len(shape) > MAX_RANK:
        raise Refused(Reason.MALFORMED, "a tensor whose shape and strides do not fit", show(name))
    return None if dtype is None else Meta(dtype, shape, strides, offset)


def _numbers(listed: Any, name: str) -> tuple[int, ...]:
    plain = (
        [one.get("as_int") if isinstance(one, dict) else one for one in listed] if isinstance(listed, list) else [-1]
    )
    numbers = tuple(one for one in plain if type(one) is int and 0 <= one < 1 << 48)
    if len(numbers) != len(plain):
        raise Refused(Reason.MALFORMED, "a tensor whose shape, strides or offset are no numbers", show(name))
    return numbers


def _document(archive: ZipIndex, name: str) -> dict[str, Any]:
    document = read_json(archive.read(archive.members[name], MAX_JSON_BYTES), show(name), depth=JSON_DEPTH)
    if not isinstance(document, dict):
        raise Refused(Reason.MALFORMED, "a description that is no JSON object", show(name))
    return document


def _is_contiguous(meta: Meta) -> bool:
    expected = 1
    for side, stride in zip(reversed(meta.shape), reversed(meta.strides), strict=True):
        if side != 1 and stride != expected:
            return 0 in meta.shape
        expected *= side
    return True
