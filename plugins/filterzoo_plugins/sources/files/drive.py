"""Addresses of files on Google Drive."""

from __future__ import annotations

HOST = "https://drive.google.com"


def download_address(file_id: str) -> str:
    """The download address of a shared file; the door handles the pages that may be sent instead of it."""
    return f"{HOST}/uc?export=download&id={file_id}"
