"""Files by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from io import BufferedReader


def file_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with open(path, "rb") as file:
        return open_file_hash(file)


def open_file_hash(file: BufferedReader) -> str:
    """SHA-256 of all of a seekable open file, in hexadecimal; its position stays. Raises OSError."""
    position = file.tell()
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    file.seek(position)
    return digest
