"""`filterzoo.open`: opens a model file by path or URL, through the jail, without torch."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from filterzoo import plugins as plugin_loading
from filterzoo.crawl.worker.opening import opened
from filterzoo.files import LocalFile, RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.reader.locations import Location, hub_endpoint, location_of
from filterzoo.reader.model_file import ModelFile
from filterzoo.records import Artifact
from filterzoo.references import PluginReference

if TYPE_CHECKING:
    from filterzoo.network.door import Door


def open_file(
    where: str | os.PathLike[str],
    *,
    member: str | None = None,
    plugins: Sequence[Path] = (),
    allow_private: bool = False,
) -> ModelFile:
    """Open a model file of any format and list its tensors; nothing in it is executed. Use as a context manager.

    where: a path, an http(s) URL, or `hf://user/name[@revision]/file`; `archive.whl!path/inside` for a model in a zip,
    wheel or tar. member: the path inside the archive as an argument; required if an archive holds several models.
    plugins: Python files with further formats. allow_private: also addresses of this machine and private networks.

    Raises `filterzoo.Refused` with a reason: unknown_format, malformed, unsafe, unsupported, limit, ... To open many
    files with one running jail use `filterzoo.Reader`.
    """
    with Reader(plugins=plugins, allow_private=allow_private) as reader:
        return reader.open(where, member=member)


class Reader:
    """Opens several files with one running jail. Files stay open when it is closed. Not thread-safe."""

    def __init__(self, *, plugins: Sequence[Path] = (), allow_private: bool = False) -> None:
        loaded = plugin_loading.load(plugin_loading.references(plugins), plugin_loading.only_formats)
        self._formats: Sequence[PluginReference] = loaded.format_references
        self._jail = Jail(self._formats)
        self._allow_private = allow_private

    def open(self, where: str | os.PathLike[str], *, member: str | None = None) -> ModelFile:
        """See `filterzoo.open`."""
        place = location_of(where, member)
        with contextlib.ExitStack() as stack:
            whole = stack.enter_context(whole_copy(place, allow_private=self._allow_private))
            scratch = Path(tempfile.gettempdir())
            found = opened(whole, place.name, self._jail, scratch, place.member, all_tensors=True)
            file, index = stack.enter_context(found)
            return ModelFile(place.name, file, index, stack.pop_all())

    def close(self) -> None:
        """End the jail."""
        self._jail.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextlib.contextmanager
def whole_copy(place: Location, *, allow_private: bool) -> Iterator[RandomAccessFile]:
    """The file at the location, open in the block; a remote file has its own connection."""
    if place.path is not None:
        with LocalFile(place.path) as local:
            yield local
        return
    with _door(place, allow_private=allow_private) as door, door.open(Artifact(url=place.url)) as remote:
        yield remote


def _door(place: Location, *, allow_private: bool) -> Door:
    from filterzoo.network.door import Door  # noqa: PLC0415  # as above
    from filterzoo.network.files.cache import default_folder  # noqa: PLC0415  # a local file needs no network

    door = Door(default_folder(), allow_private=allow_private)
    if not place.is_hub:
        return door
    from huggingface_hub import get_token  # noqa: PLC0415  # as above

    endpoint = hub_endpoint()
    return door.trusting(endpoint).with_token(endpoint, get_token())
