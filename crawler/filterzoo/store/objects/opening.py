"""Opens the storage of fragments that a path or URL names."""

from __future__ import annotations

from filterzoo.store.objects.base import Objects, local_folder
from filterzoo.store.objects.local import LocalObjects


def open_objects(url: str) -> Objects:
    """The files below a local folder, a `file:` URL, or any other URL that fsspec knows; StartError for other ones."""
    if (local := local_folder(url)) is not None:
        return LocalObjects(local)
    from filterzoo.store.objects.remote import RemoteObjects  # noqa: PLC0415  # few crawls need it

    return RemoteObjects(url)
