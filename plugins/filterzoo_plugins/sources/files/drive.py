"""Addresses of files on Google Drive."""

from __future__ import annotations

HOST = "https://drive.google.com"


def download_address(file_id: str) -> str:
    """Where a shared file is downloaded; the door knows the pages that may come instead of it."""
    return f"{HOST}/uc?export=download&id={file_id}"
