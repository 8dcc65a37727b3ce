"""Files out, each complete or absent. Knows nothing about faces, models or the `.fvc` format.

Every file that fvc writes comes from here, so that one rule holds for all: what exists is not replaced, unless the
caller says so and it is a file of the kind that is being written (`check_output`); and two writers never share a file
(`OutputGroup`).
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
import cv2
import numpy as np

from fvc.codec.base.errors import OutputError, UsageError
from fvc.codec.media.video import label, name_fault, reason

_HEAD = 64  # bytes at the start of a file that are enough to tell its kind
_MOST_FREE_NAMES = 1000  # that are tried for a result that cannot be made again: NAME-2.mp4, NAME-3.mp4 ...
_STEM_BYTES = 200  # how much of NAME the unfinished file's own name repeats; most file systems allow 255 in all


@dataclass(frozen=True)
class FileKind:
    """A kind of output: how its names end, and how its files begin.

    Attributes:
        name: with its article, for messages.
        endings: of its names, in lower case.
        starts: (offset, bytes); each such file has at least one of these.
    """

    name: str
    endings: tuple[str, ...]
    starts: tuple[tuple[int, bytes], ...]

    def check_name(self, path: str | os.PathLike[str]) -> None:
        """Raises UsageError where a name ends otherwise than those of this kind."""
        if Path(path).suffix.lower() not in self.endings:
            possible = " or ".join(filter(None, (", ".join(self.endings[:-1]), self.endings[-1])))
            raise UsageError(f"{label(path)}: {self.name} is written here; its name must end in {possible}")

    def holds(self, path: str | os.PathLike[str]) -> bool:
        """Whether the file at `path` begins as this kind does. Raises OSError."""
        with open(path, "rb") as file:
            head = file.read(_HEAD)
        return any(head[at : at + len(mark)] == mark for at, mark in self.starts)


PICTURE = FileKind("a PNG picture", (".png",), ((0, b"\x89PNG\r\n\x1a\n"),))
VIDEO = FileKind(
    "a video",
    (".mp4", ".mov", ".mkv", ".webm"),
    (*((4, box) for box in (b"ftyp", b"moov", b"mdat", b"wide", b"free")), (0, b"\x1a\x45\xdf\xa3")),
)


def write_image(path: str | os.PathLike[str], rgb: np.ndarray, overwrite: bool = False) -> None:
    """Writes uint8 `[height, width, 3]` RGB as PNG, whatever the name's ending. Raises OutputError."""
    with atomic_write(path, overwrite=overwrite) as file:
        file.write(encode_png(rgb))


def encode_png(rgb: np.ndarray) -> bytes:
    """The PNG file of uint8 `[height, width, 3]` RGB."""
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def check_output(path: str | os.PathLike[str], kind: FileKind | None = None, overwrite: bool = False) -> str:
    """Checks that an output may be written; returns `path` itself or, if it is a symbolic link, its target.

    A file that exists is replaced only where `overwrite` is set, the file is of `kind` (None: of any) or empty, and
    it is not read-only.

    Raises:
        UsageError: the name's ending is not one of `kind`.
        OutputError: there is something that is not replaced.
    """
    name, target = label(path), os.path.realpath(path)
    if os.path.isdir(target):
        raise OutputError(f"{name}: is a directory")
    if os.path.lexists(target) and not os.path.isfile(target):
        raise OutputError(f"{name}: not a regular file")  # /dev/null must not be replaced by a file
    if kind is not None:
        kind.check_name(path)
    if not os.path.exists(target):
        return target
    if kind is not None and os.path.getsize(target) and not _holds(kind, target):
        raise OutputError(f"{name}: exists and is not {kind.name}; it is never replaced, choose another name")
    if not overwrite:
        raise OutputError(f"{name}: exists; choose another name, or have it replaced (`overwrite`)")
    if not os.stat(target).st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH) or not os.access(target, os.W_OK):
        raise OutputError(f"{name}: exists and is read-only; it is not replaced")
    return target


def _holds(kind: FileKind, path: str) -> bool:
    try:
        return kind.holds(path)
    except OSError:  # what cannot be read cannot be known
        return False


def check_folder(path: str | os.PathLike[str], marker: str, overwrite: bool) -> None:
    """Checks that results may be written into a folder: a new or empty one, or one with earlier results.

    Args:
        marker: the file by which earlier results are recognised.
        overwrite: whether these are replaced.

    Raises:
        OutputError: not a folder, or earlier results and not `overwrite`.
        UsageError: the folder holds other things; or the name is empty, `-`, a URL or cannot be one.
    """
    name, folder = label(path), Path(path)
    if "\0" in os.fsdecode(path) or not folder.name:
        raise UsageError(f"{name!r}: not the name of a folder")
    if fault := name_fault(path):
        raise UsageError(fault)
    if not os.path.exists(folder):
        return
    if not os.path.isdir(folder):
        raise OutputError(f"{name}: not a folder")
    if not any(folder.iterdir()):
        return
    if not (folder / marker).is_file():
        raise UsageError(f"{name}: the folder holds other things; choose a new one")
    if not overwrite:
        raise OutputError(f"{name}: holds earlier results; choose another folder, or have them replaced (`overwrite`)")


class _Output:
    """One file of an `OutputGroup`."""

    def __init__(self, path: str | os.PathLike[str], kind: FileKind | None, overwrite: bool) -> None:
        self.name, self._path, self._kind, self._overwrite = label(path), path, kind, overwrite
        self._target = check_output(path, kind, overwrite)
        self._published: tuple[int, int] | None = None
        with self.faults_named():
            self._part, self.file = _open_part(self._target)

    def close(self) -> None:
        """Writes all bytes to the unfinished file: a full disk shows here at the latest."""
        with self.faults_named():
            self.file.close()

    def publish(self) -> None:
        """Gives the file its name. Raises OutputError, also where another file has got that name meanwhile."""
        with self.faults_named():
            found = os.lstat(self._part)
            if self._overwrite:
                check_output(self._path, self._kind, overwrite=True)
                os.replace(self._part, self._target)
            else:
                try:
                    _rename_to_new(self._part, self._target)
                except FileExistsError:
                    fault = "has appeared while this command was running, from another one perhaps, and is kept"
                    raise OutputError(f"{self.name}: {fault}") from None
            self._published = found.st_dev, found.st_ino

    def take_free_name(self) -> str:
        """Gives the file a name beside the one that it should have had; returns where it is, for a message."""
        stem, ending = os.path.splitext(os.fsdecode(self._target))
        for number in range(2, _MOST_FREE_NAMES):
            free = f"{stem}-{number}{ending}"
            try:
                _rename_to_new(self._part, free)
            except FileExistsError:
                continue
            except OSError:
                break
            return label(free)
        if os.path.lexists(self._part):
            return label(self._part)
        return f"{label(os.path.basename(self._part))}, wherever its folder is now"

    def drop(self) -> None:
        """Removes the file, whether it has its name already or not."""
        with suppress(Exception):
            self.file.close()
        with suppress(OSError):
            os.unlink(self._part)
        with suppress(OSError):
            found = os.lstat(self._target)
            if self._published == (found.st_dev, found.st_ino):
                os.unlink(self._target)

    @contextmanager
    def faults_named(self) -> Iterator[None]:
        """Errors of the system and of ffmpeg become OutputErrors that name the file."""
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise OutputError(f"{self.name}: cannot be written ({reason(error)})") from error


def _open_part(target: str) -> tuple[str, BinaryIO]:
    """Creates the unfinished file of an output, beside it: `.NAME.XXXXXXXX.part`.

    Exclusive creation follows no link and opens nothing that exists; so it belongs to this writer alone.
    """
    folder, name = os.path.split(os.fsdecode(target))
    stem = os.fsencode(name)[:_STEM_BYTES].decode("utf-8", "ignore") if len(os.fsencode(name)) > _STEM_BYTES else name
    while True:
        part = os.path.join(folder, f".{stem}.{secrets.token_hex(4)}.part")
        with suppress(FileExistsError):
            return part, open(part, "x+b")


def _rename_to_new(part: str, target: str) -> None:
    """Gives a file a name that no other has. Raises FileExistsError where there is one, which stays as it is."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here (FAT, some network file systems): an empty file reserves the name
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            os.replace(part, target)
        except BaseException:
            os.unlink(target)
            raise
    else:
        os.unlink(part)


class OutputGroup:
    """Files that appear together when its block ends, or not at all if the block raises or one cannot appear.

    Until then the bytes of each are in a file of its own, `.NAME.XXXXXXXX.part`, with eight random hexadecimal
    digits, beside the place where it will be; if the process is killed, that file stays. Where NAME is a symbolic link,
    the file that it leads to is written, and the link stays a link. A file that appears under NAME meanwhile is kept,
    and OutputError is raised, unless `overwrite` was set.

    Use as a context manager, or end it with `publish` or `drop`.

    Raises:
        OutputError: for any OSError or ffmpeg error, also one that the block itself raises; the message names the file
            that was opened last.
    """

    def __init__(self) -> None:
        self._outputs: list[_Output] = []

    def open(self, path: str | os.PathLike[str], kind: FileKind | None = None, overwrite: bool = False) -> BinaryIO:
        """Opens another file for binary data. Raises UsageError, OutputError: see `check_output`."""
        self._outputs.append(_Output(path, kind, overwrite))
        return self._outputs[-1].file

    def close(self) -> None:
        """Ends writing. Raises OutputError if some data could not be written."""
        for output in self._outputs:
            output.close()

    def publish(self) -> None:
        """Gives all files their names. Raises OutputError; then none of them appears."""
        try:
            self.close()
            for output in self._outputs:
                output.publish()
        except BaseException:
            self.drop()
            raise

    def publish_or_keep(self) -> None:
        """As `publish`, for results that cannot be made again: what cannot get its name is kept all the same.

        It gets a free name beside it, `NAME-2.mp4`, or stays the unfinished file if that cannot be either.

        Raises OutputError, which says why and where it is. Nothing is removed.
        """
        faults = list[str]()
        for output in self._outputs:
            try:
                output.close()
            except OutputError as error:
                faults.append(str(error))
            try:
                output.publish()
            except OutputError as error:
                faults.append(f"{error}; the result is kept as {output.take_free_name()}")
        if faults:
            raise OutputError("; ".join(faults))

    def drop(self) -> None:
        """Removes all files."""
        for output in self._outputs:
            output.drop()

    @contextmanager
    def faults_named(self) -> Iterator[None]:
        """Errors of the system and of ffmpeg become OutputErrors that name the file that was opened last."""
        if not self._outputs:
            yield
            return
        with self._outputs[-1].faults_named():
            yield

    def __enter__(self) -> OutputGroup:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.publish()
            return
        self.drop()
        with self.faults_named():
            raise error


@contextmanager
def atomic_write(
    path: str | os.PathLike[str], kind: FileKind | None = None, overwrite: bool = False
) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends, and never does if the block raises: see `OutputGroup`.

    Raises:
        UsageError, OutputError: see `check_output` and `OutputGroup`.
    """
    with OutputGroup() as group:
        yield group.open(path, kind, overwrite)
