"""Wheels and source archives made for tests, and a package index on loopback that offers them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile

from tests.servers import WebServer

METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}\n\nA description.\n"


def metadata(name: str, version: str, more: str = "License: MIT") -> bytes:
    return METADATA.format(name=name, version=version, more=more).encode()


def wheel(files: dict[str, bytes], name: str = "zoo", version: str = "1.0", more: str = "License: MIT") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata(name, version, more))
    return buffer.getvalue()


def sdist(files: dict[str, bytes], name: str = "zoo", version: str = "1.0", more: str = "License: MIT") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in {"PKG-INFO": metadata(name, version, more), **files}.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo(f"{name}-{version}/link.pt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def offer(server: WebServer, package: str, files: dict[str, bytes], *, html: bool = False, hashes: bool = True) -> str:
    """Put archives on the index; gives the index's address."""
    entries = []
    for filename, content in files.items():
        url = server.add(f"/files/{filename}", content)
        entries.append((filename, url, hashlib.sha256(content).hexdigest()))
    if html:
        links = [f'<a href="{url}{f"#sha256={digest}" if hashes else ""}">{name}</a>' for name, url, digest in entries]
        server.add(f"/simple/{package}/", "".join(links).encode(), content_type="text/html")
    else:
        page = {
            "meta": {"api-version": "1.1"},
            "name": package,
            "files": [
                {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": digest} if hashes else {}}
                for name, _, digest in entries
            ],
        }
        server.add(f"/simple/{package}/", json.dumps(page).encode(), content_type="application/vnd.pypi.simple.v1+json")
    return server.url + "/simple"
