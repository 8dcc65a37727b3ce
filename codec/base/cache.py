"""The user's cache folder: a cache for the results of slow work, and files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
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
        try:
            with written_whole(path) as part:
                save(result, part)
        except OSError as error:
            if not self._is_broken:
                self._note(f"{self.folder}: cannot keep results there ({error.strerror}); the next run starts anew")
            self._is_broken = True
        return result


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The name of a file for the block to write, which becomes `path` at its end; nothing is left where that fails.

    Raises OSError: the folder cannot be made, or the file not get its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def code_digest(*modules: object) -> str:
    """Digest of the sources of modules, for results that depend on them."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in modules)  # type: ignore[attr-defined]
    return hashlib.sha256(sources).hexdigest()[:16]
