"""File access of encoding, decoding and inspection. Every error names the file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from fvc.codec.base.errors import InputError, StreamError, UsageError
from fvc.codec.base.reporting import PathLike
from fvc.codec.media.output import FileKind
from fvc.codec.media.video import absence, label, name_fault
from fvc.codec.wire.bitstream import MAGIC as STREAM_MAGIC
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import MAGIC as SOURCES_MAGIC
from fvc.codec.wire.source_set import SourceSet

STREAM = FileKind("a .fvc stream", (".fvc",), ((0, STREAM_MAGIC),))
SOURCES = FileKind("a .fvs source set", (".fvs",), ((0, SOURCES_MAGIC),))
_MAX_SOURCES = 1 << 24  # bytes of a .fvs file


def file_path(path: PathLike) -> Path:
    """The path of a file to read or write. Raises UsageError where the name is empty, `-`, a URL or cannot be one."""
    text = os.fsdecode(path)
    if "\0" in text or not Path(text).name:
        raise UsageError(f"{label(path)!r}: not the name of a file")
    if fault := name_fault(path):
        raise UsageError(fault)
    return Path(text)


def keep_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises UsageError where a file would overwrite another: outputs differ from each other and from all inputs."""
    taken = {os.path.realpath(path) for path in inputs}  # realpath: unlike `Path.resolve` it takes loops of links
    for path in outputs:
        if os.path.realpath(path) in taken:
            raise UsageError(f"{label(path)}: would overwrite another file of this command; choose another name")
        taken.add(os.path.realpath(path))


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Adds the file's name to errors that the block raises about its bytes. Raises StreamError, InputError."""
    try:
        yield
    except StreamError as error:
        raise error.within(label(path)) from None
    except OSError as error:
        raise InputError(f"{label(path)}: cannot be read ({error.strerror})") from None


def read_limited(path: PathLike, limit: int) -> bytes:
    """The first `limit` bytes of a regular file that is not empty. Raises InputError."""
    with naming(path), _open_regular(path) as file:
        return file.read(limit)


def _open_regular(path: PathLike) -> BufferedReader:
    """A regular file that is not empty, at its start. Raises InputError, OSError."""
    name = label(path)
    if not os.path.exists(path):
        raise InputError(name_fault(path) or absence(path) + _unfinished(path))
    if not os.path.isfile(path):
        raise InputError(f"{name}: is a directory" if os.path.isdir(path) else f"{name}: not a regular file")
    file = open(path, "rb")  # noqa: SIM115 - the caller closes it
    if not os.fstat(file.fileno()).st_size:
        file.close()
        raise InputError(f"{name}: the file is empty")
    return file


def _unfinished(path: PathLike) -> str:
    """A remark that names the unfinished file of a killed or running command beside `path`; empty if there is none."""
    path = Path(os.fsdecode(path))
    try:
        found = sorted(p.name for p in path.parent.iterdir() if _is_part_of(p.name, path.name))
    except OSError:
        return ""
    return f"; an unfinished one lies beside it: {label(found[0])}" if found else ""


def _is_part_of(part: str, name: str) -> bool:
    start, end = f".{name}.", ".part"
    return part.startswith(start) and part.endswith(end) and len(part) == len(start) + 8 + len(end)


def is_source_set(path: PathLike) -> bool:
    """Whether the file starts as a .fvs does. Raises InputError."""
    return read_limited(path, len(SOURCES_MAGIC)) == SOURCES_MAGIC


@dataclass(frozen=True)
class OpenStream:
    """A .fvc file that is being read.

    Attributes:
        reader: positioned after the header.
        file: the open file: its size and bytes stay those of this stream, whatever happens to its name.
    """

    reader: StreamReader
    file: BufferedReader

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.file.fileno()).st_size


@contextmanager
def open_file(path: PathLike) -> Iterator[OpenStream]:
    """A .fvc file, its header read. Raises InputError, StreamError."""
    with ExitStack() as stack:
        with naming(path):
            file = stack.enter_context(_open_regular(path))
            if file.read(len(SOURCES_MAGIC)) == SOURCES_MAGIC:
                raise StreamError("E01", "a .fvs source set, not a .fvc stream")
            file.seek(0)
            reader = StreamReader(file)
        yield OpenStream(reader, file)


@contextmanager
def open_stream(path: PathLike) -> Iterator[StreamReader]:
    """The reader of `open_file` alone. Raises InputError, StreamError."""
    with open_file(path) as opened:
        yield opened.reader


def read_source_set(path: PathLike) -> SourceSet:
    """A .fvs file, as far as it has arrived (`missing`). Raises InputError, StreamError."""
    with naming(path):
        return SourceSet.parse(read_limited(path, _MAX_SOURCES), partial=True)
