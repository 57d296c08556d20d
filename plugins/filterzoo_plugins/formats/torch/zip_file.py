"""Torch files in the zip format (torch >= 1.6) and TorchScript archives.

One folder contains `data.pkl`, the object; `data/KEY`, one per storage; in TorchScript also `constants.pkl` with
`constants/KEY`, and the code (torch/serialization.py `_save`, caffe2/serialize/inline_container.cc).
"""

from __future__ import annotations

from collections.abc import Iterator

from filterzoo import RandomAccessFile, Reason, Refused, StoredRange, Tensor
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.array import MIN_BLOB
from filterzoo_plugins.encodings.pickle.machine import read_pickle
from filterzoo_plugins.encodings.pickle.stack import Truncated
from filterzoo_plugins.encodings.zip import STORED, ZipIndex, ZipMember
from filterzoo_plugins.formats.torch.names import NamedTensor, named_tensors
from filterzoo_plugins.formats.torch.tensor import tensors_of, with_convolution
from filterzoo_plugins.formats.torch.torchscript.walk import convolutions
from filterzoo_plugins.formats.torch.values import Storage, TorchMeaning

MAX_READ_BYTES = 64 << 20
"""Most bytes of pickles and code together."""
MAX_CODE_BYTES = 2 << 20
"""Most bytes of code that are parsed."""


class TorchArchive:
    """One zip file, with its parsed members: the pickles, the byte order and, if present, the code."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file
        self.zip = ZipIndex(file)
        if not file.is_remote:
            self.zip.check_headers()
        self.folder = self._folder()
        self.code: dict[str, bytes] = {}
        """Path below `code/` -> source text."""
        contents = self._read()
        if contents.get("byteorder", b"little") != b"little":
            raise Refused(Reason.UNSUPPORTED, "a big-endian torch file", "byteorder")
        self.root = self._unpickled("data", contents["data.pkl"])
        self.constants = (
            self._unpickled("constants", contents["constants.pkl"]) if "constants.pkl" in contents else None
        )

    def tensors(self) -> Iterator[Tensor]:
        """The tensors of the object, then the code's constants under their names in the code.

        Weights in the code are listed once for each convolution that reads them.
        """
        reads = convolutions(self.root, self.constants, self.code)
        for tensor in self._all():
            known = reads.get(tensor.name)
            if known is None:
                yield tensor
            else:
                yield from (with_convolution(tensor, convolution) for convolution in known)

    def _all(self) -> Iterator[Tensor]:
        yield from self._located("data", named_tensors(self.root))
        if type(self.constants) is tuple:
            constants = {f"c{position}": value for position, value in enumerate(self.constants)}
            yield from self._located("constants", named_tensors({"CONSTANTS": constants}))

    def _located(self, part: str, named_tensors: Iterator[NamedTensor]) -> Iterator[Tensor]:
        records: dict[str, StoredRange] = {}

        def locate(storage: Storage) -> StoredRange:
            if storage.key not in records:
                records[storage.key] = self._record(f"{self.folder}/{part}/{storage.key}", storage)
            elif records[storage.key].size < storage.nbytes:
                raise Refused(Reason.MALFORMED, "a storage of two sizes", f"storage {show(storage.key)}")
            return records[storage.key]

        member = self.zip.members[f"{self.folder}/{part}.pkl"]
        yield from tensors_of(self.file, named_tensors, locate, self.zip.record(member, self.zip.offset(member)))

    def _record(self, name: str, storage: Storage) -> StoredRange:
        member = self.zip.members.get(name)
        if member is None:
            raise Refused(Reason.MALFORMED, "a tensor whose storage is missing", show(name))
        if member.method != STORED and self.zip.members[f"{self.folder}/data.pkl"].method == STORED:
            # A repacked archive has a compressed pickle too; no writer compresses storages alone.
            raise Refused(Reason.UNSUPPORTED, "a compressed storage beside a plain pickle", show(name))
        if member.size != storage.nbytes:
            detail = f"a storage of {member.size} bytes that the pickle says has {storage.nbytes}"
            raise Refused(Reason.MALFORMED, detail, show(name))
        offset = self.zip.likely_offset(member) if self.file.is_remote else self.zip.offset(member)
        return self.zip.record(member, offset)

    def _folder(self) -> str:
        """The single folder with a `data.pkl`."""
        folders = [name.rpartition("/")[0] for name in self.zip.members if name.endswith("/data.pkl")]
        folders = [folder for folder in folders if "/" not in folder]
        if len(folders) > 1:
            raise Refused(Reason.UNSAFE, "a torch file with two data.pkl", show(folders[1]))
        if not folders:
            detail = "a zip without data.pkl: not written by torch.save or torch.jit.save of torch >= 1.4"
            raise Refused(Reason.UNSUPPORTED, detail)
        return folders[0]

    def _read(self) -> dict[str, bytes]:
        """The small members by their name below the folder; neighbouring ones are read together."""
        wanted = []
        for name in ("data.pkl", "constants.pkl", "byteorder"):
            member = self.zip.members.get(f"{self.folder}/{name}")
            if member is not None:
                wanted.append(member)
        code = f"{self.folder}/code/"
        sources = [m for m in self.zip.members.values() if m.name.startswith(code) and m.name.endswith(".py")]
        if sum(source.size for source in sources) <= MAX_CODE_BYTES:
            wanted += sources
        else:
            for source in sources:
                self.zip.check(source)  # damaged code must not change the context
        contents = self.zip.read_all(wanted, MAX_READ_BYTES)
        by_name = {self._below(member): content for member, content in zip(wanted, contents, strict=True)}
        self.code = {name[5:]: content for name, content in by_name.items() if name.startswith("code/")}
        return by_name

    def _below(self, member: ZipMember) -> str:
        return member.name[len(self.folder) + 1 :]

    def _unpickled(self, part: str, content: bytes) -> object:
        try:
            return read_pickle(content, TorchMeaning(), blobs_from=MIN_BLOB)[0]
        except Truncated as error:
            raise Refused(Reason.MALFORMED, "a pickle that ends before it is done", f"{part}.pkl") from error
        except Refused as refusal:
            raise Refused(refusal.reason, refusal.detail, f"{part}.pkl, {refusal.where or ''}") from refusal


def zip_tensors(file: RandomAccessFile) -> Iterator[Tensor]:
    """The tensors of a zip file; see `Format.index`."""
    yield from TorchArchive(file).tensors()
