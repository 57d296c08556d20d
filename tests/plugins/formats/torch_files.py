"""Writes torch files byte by byte, good and hostile ones, without torch: pickles from opcodes, zips from members."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from dataclasses import dataclass, field
from typing import Any

from filterzoo.errors import Reason

VALUES = struct.pack("<36f", *range(36))
"""The storage of the one good tensor: 36 floats."""


def text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def call(maker: bytes, *arguments: bytes) -> bytes:
    return maker + tuple_of(*arguments) + b"R"


def mapping(*pairs: bytes) -> bytes:
    return b"}(" + b"".join(pairs) + b"u"


def storage(key: str = "0", numel: int = 36, kind: str = "FloatStorage", module: str = "torch", *more: bytes) -> bytes:
    return tuple_of(text("storage"), name(module, kind), text(key), text("cpu"), integer(numel), *more) + b"Q"


def tensor(
    stored: bytes | None = None,
    offset: int = 0,
    shape: tuple[int, ...] = (1, 4, 3, 3),
    strides: tuple[int, ...] = (36, 9, 3, 1),
) -> bytes:
    arguments = [stored or storage(), integer(offset), tuple_of(*map(integer, shape)), tuple_of(*map(integer, strides))]
    hooks = name("collections", "OrderedDict") + b")R"
    return call(name("torch._utils", "_rebuild_tensor_v2"), *arguments, b"\x89", hooks)


def program(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def state_dict(*more: bytes) -> bytes:
    return program(mapping(text("conv.weight"), tensor(), *more))


@dataclass
class TorchZip:
    """A torch zip file to be written, with everything a hostile one may get wrong."""

    pickle: bytes = field(default_factory=state_dict)
    storages: dict[str, bytes] = field(default_factory=lambda: {"0": VALUES})
    folder: str = "archive"
    byteorder: bytes | None = b"little"
    more: list[tuple[str, bytes]] = field(default_factory=list)
    method: int = zipfile.ZIP_STORED
    pickle_method: int = zipfile.ZIP_STORED
    comment: bytes = b""

    def bytes(self) -> bytes:
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.comment = self.comment
            self._add(archive, "data.pkl", self.pickle, self.pickle_method)
            if self.byteorder is not None:
                self._add(archive, "byteorder", self.byteorder, zipfile.ZIP_STORED)
            for key, content in self.storages.items():
                self._add(archive, f"data/{key}", content, self.method)
            self._add(archive, "version", b"3\n", zipfile.ZIP_STORED)
            for member, content in self.more:
                archive.writestr(zipfile.ZipInfo(member), content)
        return stream.getvalue()

    def _add(self, archive: zipfile.ZipFile, member: str, content: bytes, method: int) -> None:  # type: ignore[valid-type]  # the class has a method of this name
        entry = zipfile.ZipInfo(f"{self.folder}/{member}")
        entry.compress_type = method
        archive.writestr(entry, content)


MAGIC = program(integer(0x1950A86A20F9469CFC6C))
SYSTEM = program(mapping(text("protocol_version"), integer(1001), text("little_endian"), b"\x88"))


def legacy(
    *,
    pickle: bytes | None = None,
    keys: bytes | None = None,
    count: int = 36,
    values: bytes = VALUES,
    system: bytes = SYSTEM,
    magic: bytes = MAGIC,
    protocol: int = 1001,
) -> bytes:
    if pickle is None:
        pickle = program(mapping(text("conv.weight"), tensor(storage("0", 36, "FloatStorage", "torch", b"N"))))
    if keys is None:
        keys = program(b"](" + text("0") + b"e")
    return magic + program(integer(protocol)) + system + pickle + keys + struct.pack("<q", count) + values


def legacy_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(member)
            entry.size = 4
            archive.addfile(entry, io.BytesIO(b"\x80\x02N."))
    return stream.getvalue()


def payload(command: str) -> bytes:
    """Opcodes that run a command in a reader that runs pickles."""
    return call(name("os", "system"), text(command))


def evil_bodies(command: str) -> dict[str, bytes]:
    """Ways to run a command while a pickle is read."""
    system, argument = name("os", "system"), text(command)
    return {
        "reduce": payload(command),
        "instance": b"(" + argument + b"ios\nsystem\n",
        "object": b"(" + system + argument + b"o",
        "stack_global": text("os") + text("system") + b"\x93" + tuple_of(argument) + b"R",
        "new_object": name("subprocess", "Popen") + tuple_of(argument) + b"\x81",
        "new_object_keywords": name("subprocess", "Popen") + tuple_of(argument) + b"}\x92",
        "eval": call(name("builtins", "eval"), text(f"__import__('os').system({command!r})")),
        "resolve_name": call(name("pkgutil", "resolve_name"), text("os:system")) + tuple_of(argument) + b"R",
        "dotted": text("os") + text("path.os.system") + b"\x93" + tuple_of(argument) + b"R",
        "set_state": name("argparse", "Namespace") + b")\x81" + mapping(text("__setstate__"), system) + b"b",
        "popped": payload(command) + b"0N",
        "as_key": mapping(payload(command), b"N"),
        "as_storage_location": call(name("torch", "load"), text(command)),
        "pip": call(name("pip", "main"), b"](" + text("install") + argument + b"e"),
    }


def _replaced(data: bytes, old: bytes, new: bytes, count: int = 1) -> bytes:
    assert data.count(old) >= count, old
    return data.replace(old, new, count)


def _patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def _end_of_zip(data: bytes) -> int:
    return data.rindex(b"PK\5\6")


def _tensor_zip(**arguments: Any) -> bytes:
    return TorchZip(program(mapping(text("w"), tensor(**arguments)))).bytes()  # type: ignore[arg-type]  # by keyword


def _body(body: bytes, protocol: int = 2) -> bytes:
    return TorchZip(program(body, protocol)).bytes()


def _zip_with_zip64_end(wide_count: int, small_count: int) -> bytes:
    """A good file with a ZIP64 end record in front of the plain one."""
    data = TorchZip().bytes()
    end = _end_of_zip(data)
    count, size, at = struct.unpack_from("<HLL", data, end + 10)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, wide_count or count, wide_count or count, size, at)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    small = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, small_count or count, small_count or count, size, at, 0)
    return data[:end] + wide + locator + small


def good_files() -> dict[str, bytes]:
    """Files that must be read, with the one tensor `conv.weight` (or none, where the name says so)."""
    data = TorchZip().bytes()
    return {
        "zip": data,
        "zip_without_byteorder": TorchZip(byteorder=None).bytes(),
        "zip_folder_with_odd_name": TorchZip(folder="a b.ü").bytes(),
        "zip_deflated_pickle": TorchZip(pickle_method=zipfile.ZIP_DEFLATED).bytes(),
        "zip_comment": TorchZip(comment=b"a comment").bytes(),
        "zip_zip64_end": _zip_with_zip64_end(0, 0),
        "zip_zip64_end_only": _zip_with_zip64_end(0, 0xFFFF),
        "zip_torchscript_constants": TorchZip(more=[("archive/constants.pkl", program(b")"))]).bytes(),
        "zip_other_members": TorchZip(more=[("archive/extra/readme", b"hello"), ("__MACOSX/x", b"")]).bytes(),
        "legacy": legacy(),
        "legacy_protocol_0_magic": legacy(magic=b"L119547037146038801333356L\n."),
        "legacy_protocol_4_magic": legacy(magic=_framed(integer(0x1950A86A20F9469CFC6C))),
    }


def _framed(body: bytes) -> bytes:
    return b"\x80\x04\x95" + struct.pack("<Q", len(body) + 1) + body + b"."


def hostile_files() -> dict[str, tuple[bytes, Reason]]:
    """Files that must be refused, each with the reason."""
    files: dict[str, tuple[bytes, Reason]] = {}
    for reason, group in (
        (Reason.MALFORMED, _malformed()),
        (Reason.UNSAFE, _unsafe()),
        (Reason.LIMIT, _limits()),
        (Reason.UNSUPPORTED, _unsupported()),
        (Reason.DAMAGED, _damaged()),
    ):
        files |= {label: (data, reason) for label, data in group.items()}
    return files


def _malformed() -> dict[str, bytes]:
    good = TorchZip().bytes()
    end = _end_of_zip(good)
    central = good.index(b"PK\1\2")
    twice = VALUES + struct.pack("<q", 36) + VALUES
    two_sizes = mapping(text("a"), tensor(), text("b"), tensor(storage("0", 12), shape=(12,), strides=(1,)))
    return {
        "storage_shorter_than_declared": TorchZip(storages={"0": VALUES[:100]}).bytes(),
        "storage_longer_than_declared": TorchZip(storages={"0": VALUES * 2}).bytes(),
        "storage_missing": TorchZip(storages={}).bytes(),
        "storage_of_two_sizes": _body(two_sizes),
        "storage_of_negative_size": _tensor_zip(stored=storage(numel=-36)),
        "storage_of_2_to_61": _tensor_zip(stored=storage(numel=1 << 61)),
        "view_past_the_end": _tensor_zip(offset=1),
        "view_past_the_end_by_stride": _tensor_zip(strides=(36, 9, 3, 2)),
        "negative_offset": _tensor_zip(offset=-1),
        "negative_size": _tensor_zip(shape=(-1, 4, 3, 3)),
        "negative_stride": _tensor_zip(strides=(36, 9, 3, -1), offset=10),
        "more_strides_than_sizes": _tensor_zip(strides=(36, 9, 3, 1, 1)),
        "item_of_a_tensor": _body(tensor() + text("a") + b"Ns"),
        "append_to_a_dictionary": _body(b"}Na"),
        "state_of_a_number": _body(b"K\1}b"),
        "call_without_a_tuple": _body(name("torch._utils", "_rebuild_tensor_v2") + b"]R"),
        "tensor_without_arguments": _body(call(name("torch._utils", "_rebuild_tensor_v2"))),
        "tensor_of_a_name": _tensor_zip(stored=name("torch", "FloatStorage")),
        "persistent_id_that_is_text": _body(text("storage") + b"Q"),
        "view_of_a_storage_past_its_end": _tensor_zip(stored=storage("0", 36, "FloatStorage", "torch", tuple_of(text("1"), b"K\1", b"K\x24"))),  # noqa: E501
        "empty_pickle": TorchZip(b"").bytes(),
        "pickle_without_stop": TorchZip(b"\x80\x02}").bytes(),
        "pickle_with_an_unknown_opcode": TorchZip(b"\x80\x02\xff.").bytes(),
        "pickle_from_an_empty_stack": _body(b"0"),
        "pickle_of_two_values": _body(b"NN"),
        "pickle_with_an_open_mark": _body(b"N("),
        "pickle_without_a_mark": _body(b"t"),
        "pickle_of_an_unknown_memo": _body(b"h\5"),
        "pickle_text_of_2_to_60": TorchZip(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60)).bytes(),
        "pickle_text_that_is_none": _body(b"U\1aX\2\0\0\0\xff\xfe\x86"),
        "pickle_number_that_is_none": _body(b"Ifour\n"),
        "pickle_negative_length": _body(b"T\xff\xff\xff\xff"),
        "pickle_key_without_value": _body(b"}(Nu"),
        "pickle_class_path_of_numbers": _body(b"NN\x93"),
        "zip_cut_in_half": good[: len(good) // 2],
        "zip_cut_by_a_byte": good[:-1],
        "zip_without_directory": good[:central],
        "zip_with_bytes_behind": good + b"\0",
        "zip_member_past_the_end": _patched(good, central + 20, b"\xfe" * 8),
        "zip_stored_member_of_two_sizes": _patched(good, central + 24, b"\1"),
        "zip_directory_entry_damaged": _patched(good, central, b"PKxx"),
        "zip_header_beyond_the_file": _patched(good, good.rindex(b"PK\1\2") + 42, b"\xf0\xff\xff\x7f"),
        "zip_zip64_without_its_sizes": _patched(good, central + 20, b"\xff" * 8),
        "zip_fewer_entries_than_said": _patched(good, end + 8, struct.pack("<HH", 99, 99)),
        "legacy_cut": legacy(values=VALUES[:100]),
        "legacy_cut_in_pickle": legacy()[:120],
        "legacy_count_disagrees": legacy(count=35),
        "legacy_bytes_behind": legacy(values=VALUES + b"\0"),
        "legacy_other_protocol": legacy(protocol=1002),
        "legacy_without_byte_order": legacy(system=program(b"}")),
        "legacy_byte_order_computed": legacy(system=program(mapping(text("little_endian"), payload("false")))),
        "legacy_keys_missing": legacy(keys=program(b"]")),
        "legacy_keys_twice": legacy(keys=program(b"](" + text("0") * 2 + b"e"), values=twice),
        "legacy_unknown_key": legacy(keys=program(b"](" + text("0") + text("1") + b"e")),
        "legacy_keys_are_no_list": legacy(keys=program(b"N")),
    }  # fmt: skip


def _unsafe() -> dict[str, bytes]:
    good = TorchZip().bytes()
    last = good.rindex(b"PK\1\2")
    version = good.index(b"archive/version")
    central = good.index(b"PK\1\2")
    emptied = good[:central] + good[_end_of_zip(good) :]
    two_members = TorchZip(more=[("archive/data.pkX", state_dict())]).bytes()
    return {
        "storage_key_leaves_the_folder": _tensor_zip(stored=storage("../version")),
        "storage_key_is_a_path": _tensor_zip(stored=storage("a/0")),
        "storage_key_with_nul": _tensor_zip(stored=storage("0\0")),
        "two_pickles": TorchZip(more=[("other/data.pkl", state_dict())]).bytes(),
        "zip_member_twice": _replaced(two_members, b"data.pkX", b"data.pkl", 2),
        "zip_local_name_disagrees": _replaced(good, b"archive/data/0", b"archive/data/1"),
        "zip_local_size_disagrees": _patched(good, version - 8, struct.pack("<L", 1)),
        "zip_local_crc_disagrees": _patched(good, version - 16, b"\0\0\0\0"),
        "zip_local_method_disagrees": _patched(good, version - 22, b"\x08"),
        "zip_local_encryption_disagrees": _patched(good, version - 24, b"\x01"),
        "zip_members_share_a_header": _patched(good, last + 42, struct.pack("<L", 0)),
        "zip_members_overlap": _patched(good, central + 20, struct.pack("<LL", 300, 300)),
        "zip_local_extra_reaches_into_the_next": _patched(good, version - 2, b"\xff\x00"),
        "zip_member_named_outside": TorchZip(more=[("archive/../../x", b"")]).bytes(),
        "zip_member_named_absolute": TorchZip(more=[("/etc/x", b"")]).bytes(),
        "zip_member_named_for_a_drive": TorchZip(more=[("c:/x", b"")]).bytes(),
        "zip_member_named_with_backslashes": TorchZip(more=[("archive\\..\\..\\x", b"")]).bytes(),
        "zip_bytes_in_front_of_the_directory": good[:central] + b"\0" * 7 + good[central:],
        "zip_directory_emptied": _patched(emptied, central + 8, struct.pack("<HHLL", 0, 0, 0, central)),
        "zip_two_ends_disagree": _zip_with_zip64_end(3, 4),
    }  # fmt: skip


def _limits() -> dict[str, bytes]:
    nested = b"".join([b"]"] * 5000 + [tensor()] + [b"a"] * 5000)
    stride_0 = {"shape": (1 << 40, 1 << 40, 3, 3), "strides": (0, 0, 0, 0)}
    # 2^60 paths to one tensor: a list of twice the list below it, sixty times.
    doubled = (
        tensor()
        + b"q\0"
        + b"".join(b"]q" + bytes([n]) + b"(h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"e" for n in range(1, 61))
    )
    return {
        "expanded_to_2_to_80": _tensor_zip(**stride_0),
        "dimensions": _tensor_zip(shape=(1,) * 65, strides=(1,) * 65),
        "nested_lists": _body(nested),
        "doubled_lists": _body(_kept_last(doubled)),
        "integer_of_255_bytes": _body(b"\x8a\xff" + b"\1" * 255),
        "integer_of_a_megabyte": _body(b"\x8b" + struct.pack("<i", 1 << 20) + b"\1" * (1 << 20)),
        "integer_of_many_digits": _body(b"I" + b"9" * 5000 + b"\n"),
        "line_without_end": _body(b"V" + b"a" * (1 << 20) + b"\n"),
        "name_too_long": _body(mapping(text("a" * 300_000), tensor())),
        "pickle_bomb": TorchZip(program(b"\0" * (65 << 20)), pickle_method=zipfile.ZIP_DEFLATED).bytes(),
    }


def _kept_last(body: bytes) -> bytes:
    """The top of the stack alone: a tuple of everything is made and its last element is what counts."""
    return b"(" + body + b"t"


def _unsupported() -> dict[str, bytes]:
    good = TorchZip().bytes()
    central = good.index(b"PK\1\2")
    unknown_dtype = call(
        name("torch._utils", "_rebuild_tensor_v3"),
        storage("0", 144, "UntypedStorage", "torch.storage"), b"K\0", tuple_of(b"K\1"), tuple_of(b"K\1"), b"\x89", b"}", name("torch", "float4"),  # noqa: E501
    )  # fmt: skip
    negated = call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage(), b"K\0", tuple_of(b"K\1"), tuple_of(b"K\1"), b"\x89", b"}", mapping(text("neg"), b"\x88"),
    )  # fmt: skip
    return {
        "storage_compressed": TorchZip(method=zipfile.ZIP_DEFLATED).bytes(),
        "storage_of_a_foreign_class": _tensor_zip(stored=storage(module="evil")),
        "tensor_of_unknown_dtype": _body(unknown_dtype),
        "tensor_stored_negated": _body(negated),
        "big_endian": TorchZip(byteorder=b"big").bytes(),
        "legacy_big_endian": legacy(system=program(mapping(text("little_endian"), b"\x89"))),
        "extension_code": _body(b"\x82\1"),
        "buffer_outside": _body(b"\x97", 5),
        "persistent_id_in_text": _body(b"P0\n"),
        "zip_without_pickle": TorchZip().bytes().replace(b"data.pkl", b"data.pk1"),
        "zip_encrypted": _patched(good, central + 8, b"\1"),
        "zip_patched": _patched(good, central + 8, b"\x20"),
        "zip_of_two_volumes": _patched(good, _end_of_zip(good) + 4, b"\1"),
        "legacy_tar": legacy_tar(),
    }


def _damaged() -> dict[str, bytes]:
    good = TorchZip().bytes()
    deflated = bytearray(TorchZip(pickle_method=zipfile.ZIP_DEFLATED).bytes())
    deflated[60] ^= 0xFF
    scales = struct.pack("<1d", 0.5)
    return {
        "pickle_renames_a_tensor": _replaced(good, b"conv.weight", b"conv.weighs"),
        "pickle_deflate_stream": bytes(deflated),
        "byteorder_altered": _replaced(good, b"little", b"LITTLE"),
        "scales_altered": _replaced(quantised_zip(scales), scales, struct.pack("<1d", 0.75)),
    }


def quantised_zip(scales: bytes) -> bytes:
    """A tensor of int8, quantised per channel with one channel."""
    quantiser = tuple_of(
        name("torch", "per_channel_affine"),
        tensor(storage("1", 1, "DoubleStorage"), 0, (1,), (1,)),
        tensor(storage("2", 1, "LongStorage"), 0, (1,), (1,)),
        b"K\0",
    )
    shape, strides = tuple_of(*map(integer, (1, 4, 3, 3))), tuple_of(*map(integer, (36, 9, 3, 1)))
    quantised = call(
        name("torch._utils", "_rebuild_qtensor"), storage("0", 36, "QInt8Storage"), b"K\0", shape, strides, quantiser
    )
    storages = {"0": bytes(range(36)), "1": scales, "2": struct.pack("<q", 3)}
    return TorchZip(program(mapping(text("conv.weight"), quantised)), storages).bytes()
