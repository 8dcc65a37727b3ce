"""Paths and bytes: what encoding, decoding and inspection ask of the file system. Every fault names the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fvc.codec.container import StreamReader
from fvc.codec.errors import InputError, StreamError, UsageError
from fvc.codec.sources import MAGIC as SOURCES_MAGIC
from fvc.codec.sources import SourceSet
from fvc.codec.video import label

PathLike = str | os.PathLike[str]
Note = Callable[[str], None]
Progress = Callable[[str, float, float | None], None]  # what is done, how much of it, of how much in all
_MAX_SOURCES = 1 << 24  # bytes of a .fvs file


def silent(*_: object) -> None:
    """Neither notes nor progress are wanted."""


def file_path(path: PathLike) -> Path:
    """The path of a file to read or write. Raises UsageError where the name is empty or cannot be one."""
    text = os.fsdecode(path)
    if "\0" in text or not Path(text).name:
        raise UsageError(f"{label(path)!r}: not the name of a file")
    return Path(text)


def keep_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises UsageError where a file would overwrite another: outputs differ from each other and from all inputs.

    An output is written under its name with `.part` added until it is complete, so that name is taken too.
    """
    taken = {path.resolve() for path in inputs}
    for path in outputs:
        names = {path.resolve(), path.resolve().with_name(path.resolve().name + ".part")}
        if names & taken:
            raise UsageError(f"{label(path)}: would overwrite another file of this command; choose another name")
        taken |= names


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Adds the file's name to what the block says of its bytes. Raises StreamError, InputError."""
    try:
        yield
    except StreamError as error:
        raise error.within(label(path)) from None
    except OSError as error:
        raise InputError(f"{label(path)}: cannot be read ({error.strerror})") from None


def read_limited(path: PathLike, limit: int) -> bytes:
    """The first `limit` bytes of a regular file that is not empty. Raises InputError."""
    name = label(path)
    if not os.path.exists(path):
        raise InputError(f"{name}: no such file")
    if not os.path.isfile(path):
        raise InputError(f"{name}: is a directory" if os.path.isdir(path) else f"{name}: not a regular file")
    with naming(path), open(path, "rb") as file:
        data = file.read(limit)
    if not data:
        raise InputError(f"{name}: the file is empty")
    return data


def is_source_set(path: PathLike) -> bool:
    """Whether the file starts as a .fvs does. Raises InputError."""
    return read_limited(path, len(SOURCES_MAGIC)) == SOURCES_MAGIC


@contextmanager
def open_stream(path: PathLike) -> Iterator[StreamReader]:
    """A reader behind the header of a .fvc file. Raises InputError, StreamError."""
    if is_source_set(path):
        raise StreamError("E01", f"{label(path)}: a .fvs source set, not a .fvc stream")
    with ExitStack() as stack:
        with naming(path):
            reader = StreamReader(stack.enter_context(open(path, "rb")))
        yield reader


def read_source_set(path: PathLike) -> SourceSet:
    """A .fvs file, as far as it has arrived (`missing`). Raises InputError, StreamError."""
    with naming(path):
        return SourceSet.parse(read_limited(path, _MAX_SOURCES), partial=True)
