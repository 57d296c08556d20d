"""The torch format: checkpoints of torch.save, old and new, and TorchScript, read without executing anything."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterable, Iterator

from filterzoo import HEAD_BYTES, FileFacts, Format, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.zip_head import member_names
from filterzoo_plugins.formats.torch.legacy import legacy_tensors
from filterzoo_plugins.formats.torch.plain_pickle import plain_tensors
from filterzoo_plugins.formats.torch.zip_file import TorchArchive

_ZIP = b"PK\3\4"
_MEMBER = re.compile(
    rb"[^/\0]+/(data\.pkl|constants\.pkl|byteorder|version|attributes\.pkl|\.format_version|\.storage_alignment"
    rb"|\.data/(serialization_id|version)|(data|constants|tensors)/\d+|code/.*|extra/.*)"
)
"""The first members of zip files written by torch, in one folder."""
_TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".pth.tar", ".pt.tar", ".torchscript", ".jit", ".ptl")
_LEGACY = re.compile(
    rb"(\x80[\2-\xff](\x95.{8})?)?(\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19|L119547037146038801333356L?\n)(\x94)?\.",
    re.DOTALL,
)
"""The pickled magic number, in any pickle protocol."""
_PICKLE = re.compile(rb"\x80[\2-\5][\x95c\x8c\x8d(\]})\x80X\x8a\x8bKMJU]")
_OLD_PICKLE = re.compile(rb"[\]}]q\x00|\([dl]q\x00|c[\w.]+\n\w+\n(q\x00|\(|\))")
"""Protocol 1: a list, a dictionary or a class that is memoised immediately, or called."""
_TEXT_PICKLE = re.compile(rb"\([dl]p\d+\n|c[\w.]+\n\w+\np\d+\n")
"""Protocol 0."""
_NEXT_ZIP = re.compile(rb"PK\x05\x06.{16}\x00\x00PK\x03\x04", re.DOTALL)
_CHAIN_BYTES = 64 << 20
_CHAIN_PIECE = 1 << 20
_TAR_MEMBERS = (b"sys_info", b"pickle", b"storages", b"tensors")


class TorchFormat(Format):
    """Zip and legacy checkpoints, and TorchScript; tars of torch < 0.4 are recognised and refused by name."""

    name = "torch"
    framework = "torch"

    def accepts(self, head: bytes, name: str) -> bool:
        """See `Format.accepts`. Other formats are zip files too: the names of the first members decide."""
        if head.startswith(_ZIP):
            first = list(member_names(head))
            if any(_MEMBER.fullmatch(member) for member in first):
                return True
            return name.lower().endswith(_TORCH_SUFFIXES) and not any(_is_foreign(member) for member in first)
        return bool(_LEGACY.match(head)) or _is_torch_tar(head)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """See `Format.index`."""
        head = file.read(0, min(HEAD_BYTES, file.size))
        if head.startswith(_ZIP):
            try:
                archive = TorchArchive(file)
            except Refused as refusal:
                if refusal.reason is Reason.UNSUPPORTED or not _is_chain(file):
                    raise
                detail = "several zips one behind the other: several saves, or a shard of torch.distributed.checkpoint"
                raise Refused(Reason.UNSUPPORTED, detail, "byte 0") from refusal
            yield from archive.tensors()
        elif _LEGACY.match(head):
            yield from legacy_tensors(file)
        else:
            raise Refused(Reason.UNSUPPORTED, "a torch before 0.4 tar", "byte 0")


def _is_chain(file: RandomAccessFile) -> bool:
    """Whether another zip follows the end of a zip, near the start of the file."""
    for start in range(0, min(file.size, _CHAIN_BYTES), _CHAIN_PIECE):
        piece = file.read(start, min(_CHAIN_PIECE + 64, file.size - start))
        if _NEXT_ZIP.search(piece):
            return True
    return False


def _is_foreign(member: bytes) -> bool:
    """Whether a zip that starts with this member belongs to another format."""
    return member.endswith((b".npy", b".json", b".h5", b".pt", b".pth", b".onnx", b".safetensors"))


def _is_torch_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" and head[:100].rstrip(b"\0") in _TAR_MEMBERS


class PickleFormat(Format):
    """A bare pickle of arrays (PaddlePaddle's `.pdparams`, Detectron2's `.pkl`) or of torch tensors (StyleGAN's)."""

    name = "pickle"

    def __init__(self) -> None:
        self._seen: weakref.ref[RandomAccessFile] | None = None
        """The last file with torch tensors."""

    def accepts(self, head: bytes, name: str) -> bool:
        """See `Format.accepts`."""
        del name
        is_pickle = _PICKLE.match(head) or _OLD_PICKLE.match(head) or _TEXT_PICKLE.match(head)
        return bool(is_pickle) and not _LEGACY.match(head)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """See `Format.index`."""
        if _TEXT_PICKLE.match(file.read(0, min(HEAD_BYTES, file.size))):
            raise Refused(Reason.UNSUPPORTED, "a pickle of protocol 0, which writes numbers as text", "byte 0")
        tensors, is_torch = plain_tensors(file)
        self._seen = weakref.ref(file) if is_torch else None
        return tensors

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The framework torch, if the tensors are torch's."""
        is_torch = self._seen is not None and self._seen() is file
        return FileFacts(framework="torch" if is_torch else None)


@hookimpl
def filterzoo_formats() -> Iterable[Format]:
    """The torch format, and bare pickles, which the same pickle machine reads."""
    return [TorchFormat(), PickleFormat()]
