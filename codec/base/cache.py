"""A disk cache for the results of slow work: tracked clips, coded anchors, metrics."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs

from fvc.codec.base.reporting import Note, silent

_T = TypeVar("_T")


class Cache:
    """A folder of results. Each file is named after everything that its result depends on.

    A folder that cannot be written to, or a damaged file in it, only costs time.

    Args:
        folder: None: the user's cache folder.
        note: called once if the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None, note: Note = silent) -> None:
        self.folder = folder or platformdirs.user_cache_path("fvc")
        self._note = note
        self._is_broken = False

    def get(
        self,
        name: tuple[str, ...],
        load: Callable[[Path], _T],
        make: Callable[[], _T],
        save: Callable[[_T, Path], None],
    ) -> _T:
        """Returns the result saved under this name or, if there is none, calls `make` and saves what it returns.

        Args:
            name: the kind of result, then everything else that it depends on.
            load, save: read a result from a file, and write one. Any exception from `load` counts as a miss.
        """
        path = self.folder / f"{name[0]}-{hashlib.sha256(repr(name).encode()).hexdigest()[:32]}.npz"
        with contextlib.suppress(Exception):  # absent, damaged or of another version: made again
            return load(path)
        result = make()
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save(result, part)
            part.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            if not self._is_broken:
                self._note(f"{self.folder}: cannot keep results there ({error.strerror}); the next run starts anew")
            self._is_broken = True
        return result


def code_digest(*modules: object) -> str:
    """Digest of the sources of modules, for results that depend on them."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)  # type: ignore[attr-defined]
    return hashlib.sha256(sources).hexdigest()[:16]
