"""In the jail: determines a file's format, its tensors, and which of them are convolution weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import pluggy

from filterzoo import hooks
from filterzoo.archive import Archive, Member, Packing
from filterzoo.errors import Reason, Refused, plugin_error, storable
from filterzoo.files import RandomAccessFile
from filterzoo.format import HEAD_BYTES, Format
from filterzoo.jail.messages import MAX_BODY, MAX_VALUES, ConnectionClosed, Message, encode
from filterzoo.jail.unpacking import MemberFile, find_model
from filterzoo.layers.computations import stored_tensors
from filterzoo.layers.selection import Selection, refuse_undecided, selection
from filterzoo.layers.shapes import is_convolution_shape
from filterzoo.records import Codec, FileFacts, Index, Layout, LeftOut, StoredRange, Tensor
from filterzoo.references import PluginReference

MAX_TENSORS = 1_000_000
"""Most named arrays of one file."""
MAX_LEFT_OUT = 100
"""Most unreadable convolutions that are listed."""
MAX_DEPTH = 3
"""Most levels of archives inside archives."""

PLUGIN_ERRORS = (Exception, SystemExit)
"""Exceptions that a plugin may raise: all but the parent's request to end."""


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """A request to index a file.

    name: the file's name in its zoo. member: the model in an archive, if one is named. all_tensors: list every named
    array, not only convolutions.
    """

    name: str
    member: str | None = None
    all_tensors: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """A format or a kind of archive, and the name of the plugin that offers it."""

    plugin: str
    reader: Format | Archive
    is_prepared: bool = True
    """Whether `Format.prepare` was called, or does nothing."""

    @property
    def is_last_resort(self) -> bool:
        """Whether it is tried after all others."""
        return isinstance(self.reader, Format) and self.reader.is_last_resort

    def failed(self, error: BaseException) -> Refused:
        """The refusal for an exception of the reader."""
        kind = "format" if isinstance(self.reader, Format) else "archive"
        return plugin_error(self.plugin, f"the {kind} {self.reader.name!r}", error, type(self.reader))


class Unprepared(Exception):
    """Raised for a file whose format was not prepared, which takes a while and which few files need.

    The confined child can no longer prepare it, because it opens no files.
    """

    def __init__(self, format_: str) -> None:
        super().__init__(format_)
        self.format = format_


def load_readers(
    references: Iterable[PluginReference], prepared: Collection[str] = ()
) -> tuple[list[Loaded], list[Refused]]:
    """Formats, then archives, of the plugins that the parent names, and the failures of plugins to load in the jail.

    prepared: names of formats to prepare.
    """
    formats: list[Loaded] = []
    archives: list[Loaded] = []
    failures: list[Refused] = []
    for reference in references:
        manager = pluggy.PluginManager(hooks.PROJECT)
        manager.add_hookspecs(hooks)
        try:
            manager.register(reference.load(), reference.name)
            offered_formats = [format_ for group in manager.hook.filterzoo_formats() for format_ in group]
            for format_ in offered_formats:
                if format_.name in prepared:
                    format_.prepare()
            offered_archives = [archive for group in manager.hook.filterzoo_archives() for archive in group]
        except PLUGIN_ERRORS as error:
            failures.append(plugin_error(reference.name, f"the plugin {reference.name!r}", error))
        else:
            formats += [
                Loaded(reference.name, one, one.name in prepared or type(one).prepare is Format.prepare)
                for one in offered_formats
            ]
            archives += [Loaded(reference.name, archive) for archive in offered_archives]
    return formats + archives, failures


class Indexer:
    """Finds a file's format by its first bytes, lists its tensors and keeps the convolutions."""

    def __init__(self, readers: list[Loaded], failures: list[Refused]) -> None:
        self._readers = sorted(readers, key=lambda loaded: loaded.is_last_resort)
        self._failures = failures

    def answer(self, file: RandomAccessFile, wanted: IndexRequest) -> tuple[Message, bytes]:
        """The result of `look`, as a message to the parent."""
        found = self.look(file, wanted)
        try:
            body = encode(found)
        except (TypeError, ValueError) as error:
            # An Index that cannot be encoded has fields of wrong types, from the plugin.
            reader = found.format if isinstance(found, Index) else None
            raise next(loaded for loaded in self._readers if reader in {None, loaded.reader.name}).failed(
                error
            ) from error
        _check_length(body)
        return Message.TABLE if isinstance(found, Index) else Message.PACKED, body

    def look(self, file: RandomAccessFile, wanted: IndexRequest, depth: int = 0) -> Index | Member:
        """The file's Index, or that of the model in it; a Member if the model has to be unpacked first.

        Raises Refused, MemoryError or RecursionError otherwise.
        """
        loaded = self._find(file.read(0, min(HEAD_BYTES, file.size)), wanted.name)
        file.name = wanted.name
        if not loaded.is_prepared:
            raise Unprepared(loaded.reader.name)
        try:
            if isinstance(loaded.reader, Format):
                return _index(loaded.reader, file, all_tensors=wanted.all_tensors)
            found = find_model(file, loaded.reader, (other.reader for other in self._readers), wanted.member)
        except (Refused, MemoryError, RecursionError, ConnectionClosed):
            raise
        except PLUGIN_ERRORS as error:  # a plugin may raise anything; it is named in the refusal and the run goes on
            raise loaded.failed(error) from error
        if found.packing is not Packing.STORED:
            return found
        if depth == MAX_DEPTH:
            raise Refused(Reason.LIMIT, f"archives more than {MAX_DEPTH} deep in each other")
        inner = replace(wanted, name=found.name, member=None)
        window = MemberFile(file, found, loaded.reader)
        return _shifted(self.look(window, inner, depth + 1), found, window.sides)

    def _find(self, head: bytes, name: str) -> Loaded:
        failures = list(self._failures)
        for loaded in self._readers:
            try:
                if loaded.reader.accepts(head, name):
                    return loaded
            except PLUGIN_ERRORS as error:  # a plugin may raise anything; the others are still tried
                failures.append(loaded.failed(error))
        if failures:
            raise failures[0]
        raise Refused(Reason.UNKNOWN_FORMAT, _describe_head(head))


def _index(format_: Format, file: RandomAccessFile, *, all_tensors: bool) -> Index:
    if all_tensors:
        return _index_all(format_, file)
    tensors, left_out = _bounded(format_.index(file))
    facts = format_.facts(file)
    chosen, passed_over, unread = _chosen(format_, tensors, left_out, facts)
    left_out = _first_of(left_out + unread)
    _refuse_nothing(chosen, left_out)
    return Index(
        format=format_.name,
        facts=facts,
        tensor_count=len(tensors),
        convolutions=chosen,
        passed_over=passed_over,
        left_out=left_out,
    )


def _refuse_nothing(chosen: tuple[Tensor, ...], left_out: tuple[LeftOut, ...]) -> None:
    """Refused with the reason of the first unreadable convolution, if no convolution can be read."""
    if left_out and not chosen:
        raise Refused(Reason(left_out[0].reason), left_out[0].detail, left_out[0].name)


def _chosen(
    format_: Format, tensors: list[Tensor], left_out: tuple[LeftOut, ...], facts: FileFacts
) -> tuple[tuple[Tensor, ...], str | None, tuple[LeftOut, ...]]:
    """The convolutions, marked by the format or selected by shape; arrays passed over; convolutions left out."""
    if format_.is_graph:
        found = Selection(tuple(t for t in tensors if t.convolution is not None), {})
    elif not tensors and not left_out:
        raise Refused(Reason.UNSUPPORTED, "no array of numbers in the file: no checkpoint")
    else:
        found = selection(tensors, facts.framework)
        refuse_undecided(found, len(tensors))
    for tensor in found.convolutions:
        _check_name(tensor)
    return found.convolutions, found.words(), found.left_out


def _index_all(format_: Format, file: RandomAccessFile) -> Index:
    """The index with every array; an unsupported convolution does not refuse the other arrays."""
    listed, left_out = _bounded(format_.tensors(file) if format_.is_graph else format_.index(file))
    facts = format_.facts(file)
    chosen: tuple[Tensor, ...] = ()
    obstacle = None
    try:
        tensors, left_out = _bounded(format_.index(file)) if format_.is_graph else (listed, left_out)
        chosen, _, unread = _chosen(format_, tensors, left_out, facts)
        left_out = _first_of(left_out + unread)
        _refuse_nothing(chosen, left_out)
    except Refused as refusal:
        if refusal.reason is not Reason.UNSUPPORTED:
            raise
        obstacle = f"{refusal.detail} (at {refusal.where})" if refusal.where else refusal.detail
    for tensor in listed:
        _check_name(tensor)
    return Index(
        format=format_.name,
        facts=facts,
        tensor_count=len(listed),
        convolutions=chosen,
        tensors=tuple(dict.fromkeys(_listed(tensor) for tensor in listed)),
        obstacle=obstacle,
        left_out=left_out if obstacle is None else (),
    )


def _listed(tensor: Tensor) -> Tensor:
    """The array without its operation; with the layout OTHER if no convolution has its rank."""
    layout = tensor.layout if is_convolution_shape(tensor.shape) else Layout.OTHER
    return replace(tensor, convolution=None, layout=layout)


def _shifted(inside: Index | Member, member: Member, sides: Mapping[str, Member]) -> Index | Member:
    """The index of a stored member, with offsets in the whole file; sides: its side files in the archive, by name."""
    by = member.offset
    if isinstance(inside, Member):
        return replace(inside, offset=inside.offset + by)
    tensors = (*inside.convolutions, *inside.tensors)
    used = {stored.span.side for tensor in tensors for stored in stored_tensors(tensor)} - {None}
    if not used <= sides.keys():
        raise Refused(Reason.UNSUPPORTED, "a model in an archive whose weights lie in other files")
    checked = [sides[name] for name in sides if name in used and sides[name].crc32 is not None]
    containers = (
        _record(member),
        *map(_record, checked),
        *(replace(inner, offset=inner.offset + by) for inner in inside.containers),
    )
    places: dict[str | None, int] = {name: side.offset for name, side in sides.items()}
    places[None] = by
    name = member.name if inside.member is None else f"{member.name}!{inside.member}"
    return replace(
        inside,
        convolutions=tuple(_moved(tensor, places) for tensor in inside.convolutions),
        tensors=tuple(_moved(tensor, places) for tensor in inside.tensors),
        containers=containers,
        member=name,
    )


def _record(member: Member) -> StoredRange:
    return StoredRange(member.offset, member.length, member.length, crc32=member.crc32)


def _moved(tensor: Tensor, places: Mapping[str | None, int]) -> Tensor:
    """The tensor, and those it is computed from, moved by the offset of its file in the archive."""
    if tensor.computation is not None:
        inputs = tuple(_moved(each, places) for each in tensor.computation.inputs)
        return replace(tensor, computation=replace(tensor.computation, inputs=inputs))
    if tensor.obstacle is not None:
        return tensor
    by = places[tensor.span.side]
    offset = tensor.span.offset + (0 if _is_decoded(tensor) else by)
    return replace(
        tensor,
        span=replace(tensor.span, offset=offset, side=None),
        stored_in=tuple(replace(record, offset=record.offset + by) for record in tensor.stored_in),
    )


def _is_decoded(tensor: Tensor) -> bool:
    """Whether the tensor's span counts from the start of a decoded record, not of the file."""
    return tensor.chunk_shape is not None or any(record.codec is not Codec.RAW for record in tensor.stored_in)


def _check_length(body: bytes) -> None:
    if len(body) > MAX_BODY:
        raise Refused(Reason.LIMIT, f"a table of {len(body)} bytes")
    if body.count(b",") > MAX_VALUES:
        raise Refused(Reason.LIMIT, f"a table of more than {MAX_VALUES} values")


def _describe_head(head: bytes) -> str:
    if not head:
        return "the file is empty"
    if head.lstrip()[:1] == b"<":
        return "the file is an HTML or XML page, no model"
    if head.startswith(b"version https://git-lfs"):
        return "the file is a git-LFS pointer, not the model it points to"
    return f"no format knows a file that starts with {head[:8].hex(' ')}"


def _bounded(found: Iterable[Tensor | LeftOut]) -> tuple[list[Tensor], tuple[LeftOut, ...]]:
    """The tensors, and the first convolutions that cannot be read."""
    listed: list[Tensor] = []
    left_out: list[LeftOut] = []
    for each in found:
        if len(listed) >= MAX_TENSORS:
            raise Refused(Reason.LIMIT, f"more than {MAX_TENSORS} tensors")
        if not isinstance(each, LeftOut):
            listed.append(each)
        elif len(left_out) < MAX_LEFT_OUT:
            left_out.append(each)
    return listed, _first_of(tuple(left_out))


def _first_of(left_out: tuple[LeftOut, ...]) -> tuple[LeftOut, ...]:
    return tuple(LeftOut(storable(each.name), each.reason, storable(each.detail)) for each in left_out[:MAX_LEFT_OUT])


def _check_name(tensor: Tensor) -> None:
    try:
        (tensor.name + tensor.section).encode()
    except UnicodeEncodeError:
        raise Refused(Reason.MALFORMED, "a tensor's name is not valid Unicode", ascii(tensor.name)[:80]) from None
