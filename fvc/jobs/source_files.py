"""Source pictures on disk: a .fvs file, or PNG and JPEG pictures, out of the encoder and into the decoder.

A .fvs carries the pictures' samples, so a receiver needs no tracker. Pictures have none: they are tracked here, which
imports MediaPipe. Copies of a stream's own pictures are recognised by their pixels, in any order
and under any name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fvc.codec.base.constants import MAX_SOURCES, SIDE
from fvc.codec.base.errors import InputError, OutputError, SourcesError, StreamError, UsageError
from fvc.codec.base.reporting import Note, PathLike
from fvc.codec.face.crop import choose_crop, cut, to_crop
from fvc.codec.media.output import PICTURE, OutputGroup, encode_png
from fvc.codec.media.resizing import resized
from fvc.codec.media.video import label, read_image, reason
from fvc.codec.wire.bitstream import MAGIC as STREAM_MAGIC
from fvc.codec.wire.bitstream import Crop, Header
from fvc.codec.wire.source_set import SourceSet, pixels_hash
from fvc.jobs.paths import SOURCES, file_path, is_source_set, naming, read_limited, read_source_set
from fvc.models.inference.installed import InstalledModel
from fvc.models.weights import model_hash

CANVAS = "canvas.png"  # of a folder: the whole first source frame
_PICTURES = (".png", ".jpg", ".jpeg")
_WANTED = f"`sources`: name a .fvs file, or 1 to {MAX_SOURCES} pictures, or a folder of them"


def _is_folder(path: Path) -> bool:
    """Whether sources written to `path` become PNG pictures in a folder rather than a .fvs file."""
    return os.path.isdir(path) or not path.suffix


class SourcesWriter:
    """Writes an encoder's source set to files of `group`, which appear when its block ends."""

    def __init__(self, path: Path, group: OutputGroup, overwrite: bool) -> None:
        self._path, self._group, self._overwrite = path, group, overwrite
        if not _is_folder(path) and path.suffix.lower() not in SOURCES.endings and not os.path.exists(path):
            raise UsageError(f"{label(path)}: sources go to a file that ends in .fvs, or to a folder (no ending)")
        self._file = None if _is_folder(path) else group.open(path, SOURCES, overwrite)

    def save(self, source_set: SourceSet, whole: np.ndarray | None) -> int:
        """Writes the set, in a folder also the whole frame, unless None; returns the bytes. Raises OutputError."""
        try:
            if self._file is not None:
                self._file.write(bytes(source_set))
                self._file.flush()  # a full disk must show before minutes of encoding
                return len(bytes(source_set))
            return self._save_pictures(source_set, whole)
        except OSError as error:
            raise OutputError(f"{label(self._path)}: cannot be written ({reason(error)})") from error

    def _save_pictures(self, source_set: SourceSet, whole: np.ndarray | None) -> int:
        pictures = {f"source{n}.png": picture for n, picture in enumerate(source_set.pictures)}
        if whole is not None:
            pictures[CANVAS] = whole
        if others := sorted({path.name for path in _set_in(self._path)} - pictures.keys()):
            fault = "of other sources; remove it or choose another folder"
            raise OutputError(f"{label(self._path / others[0])}: {fault}")
        size = 0
        for name, picture in pictures.items():
            data = encode_png(picture)
            file = self._group.open(self._path / name, PICTURE, self._overwrite)
            file.write(data)
            file.flush()
            size += len(data)
        return size


def files_of(path: Path) -> list[Path]:
    """The files that a source set of this name may write: itself, or the pictures in a folder."""
    names = [f"source{n}.png" for n in range(MAX_SOURCES)] + [CANVAS]
    return [path / name for name in names] if _is_folder(path) else [path]


def _set_in(folder: Path) -> list[Path]:
    """The pictures in a folder that an encoder may have written."""
    return sorted(p for p in folder.iterdir() if p.name == CANVAS or p.match("source[0-9].png"))


@contextmanager
def write_sources(path: Path, group: OutputGroup, overwrite: bool = False) -> Iterator[SourcesWriter]:
    """Adds a source set to the outputs of `group`: a .fvs file, or a folder of PNG pictures.

    A folder is made if there is none, and removed again if the block raises. An existing source set is replaced only
    if `overwrite` is set, picture by picture: an old picture that the new set would not replace is an error.

    Raises:
        UsageError: `path` is neither a folder nor called .fvs. OutputError: it cannot be written, or holds a set.
    """
    made = _is_folder(path) and not os.path.exists(path)
    try:
        if _is_folder(path):
            path.mkdir(exist_ok=True)
            if not overwrite and (found := _set_in(path)):
                fault = "exists; choose another folder, or have it replaced (`overwrite`)"
                raise OutputError(f"{label(found[0])}: {fault}")
        yield SourcesWriter(path, group, overwrite)
    except BaseException as error:
        if made:
            with suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise OutputError(f"{label(path)}: cannot be written ({reason(error)})") from error
        raise


@dataclass(frozen=True)
class LoadedSources:
    """A source set and where it came from.

    Attributes:
        source_set: pictures and samples, frontal first.
        name: of the files, for messages.
        whole: the file of the whole first source frame, where there is one; a .fvs has it coded.
    """

    source_set: SourceSet
    name: str
    whole: Path | None = None

    def canvas(self, header: Header) -> np.ndarray:
        """The whole frame to paste faces into, of any size. Raises SourcesError where there is none."""
        if self.whole is not None:
            return read_image(self.whole)
        with naming(self.name):
            coded = self.source_set.canvas_picture()
        if coded is None:
            size = f"{header.crop.width}x{header.crop.height}"
            hint = f"use `canvas` crop, or add the clip's canvas.png or a photo of {size}"
            if self.source_set.coded:
                hint = "use `canvas` crop, or encode with one"
            raise SourcesError(f"{self.name}: no whole frame for `canvas` full; {hint}")
        return coded

    def is_own(self, header: Header) -> bool:
        """Whether the stream was made for this set: its header has the hash of the set's file or pixels."""
        source_set = self.source_set
        is_own_file = source_set.coded and source_set.sources_hash == header.sources_hash
        return bool(is_own_file or source_set.pixels_hash == header.pixels_hash)

    def check(self, header: Header, allow_foreign: bool, note: Note) -> None:
        """Raises SourcesError unless the stream can be drawn from the set: its own one, or any if that is allowed."""
        source_set = self.source_set
        if missing := [part for part in header.profile.parts if part not in source_set.profile.parts]:
            raise SourcesError(f"{self.name}: lacks {'+'.join(missing)}, which the stream's profile needs")
        if header.profile.is_learned and source_set.model_hash != header.model_hash:
            raise SourcesError(
                f"{self.name}: made for weights {source_set.model_hash.hex()}, the stream for {header.model_hash.hex()}"
            )
        if self.is_own(header):
            return
        if not allow_foreign:
            raise SourcesError(
                f"{self.name}: not the sources that this stream was made for; "
                "`allow_foreign_sources` draws it with them nevertheless"
            )
        note(f"{self.name}: foreign sources; the picture shows somebody who never made these movements")


def source_paths(sources: PathLike | Sequence[PathLike]) -> list[Path]:
    """The files that `sources` names; a folder stands for the pictures in it. Raises UsageError, InputError."""
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    paths: list[Path] = []
    for source in given:
        if not os.path.isdir(source):
            paths.append(file_path(source))
            continue
        pictures = sorted(path for path in Path(source).iterdir() if path.suffix.lower() in _PICTURES)
        if not pictures:
            raise InputError(f"{label(source)}: no PNG or JPEG picture in the folder")
        own = [path for path in pictures if path.name == CANVAS or path.match("source[0-9].png")]
        paths += own if any(path.name == "source0.png" for path in own) else pictures
    if not 1 <= sum(path.name != CANVAS for path in paths) <= MAX_SOURCES:
        raise UsageError(_WANTED)
    return paths


def load_sources(paths: Sequence[Path], header: Header, preset: str, note: Note) -> LoadedSources:
    """The source set in one .fvs file, or in pictures, which are tracked. Raises FvcError."""
    for path in paths:
        if is_source_set(path):
            if len(paths) > 1:
                raise UsageError(f"{label(path)}: a .fvs is a whole source set; give no other file with it but -o OUT")
            source_set = read_source_set(path)
            if source_set.missing:
                there, missing = len(source_set.samples), source_set.missing
                note(f"{label(path)}: cut off; drawing from its first {there}, {missing} more pictures are missing")
            return LoadedSources(source_set, label(path))
        if read_limited(path, len(STREAM_MAGIC)) == STREAM_MAGIC:
            raise StreamError("E20", f"{label(path)}: a .fvc stream, not a .fvs source set")
    return _track_pictures(paths, header, preset, note)


def _track_pictures(paths: Sequence[Path], header: Header, preset: str, note: Note) -> LoadedSources:
    """A source set of tracked pictures. Loads one at a time: they may be large."""
    from fvc.codec.encoder import make_sample  # a receiver of a .fvs starts sooner without these
    from fvc.codec.face.tracker import FaceTracker

    canvas = next((path for path in paths if path.name == CANVAS), None)
    paths = [path for path in paths if path.name != CANVAS]
    is_own = pixels_hash(read_image(path) for path in paths) == header.pixels_hash
    network, found = InstalledModel(preset).motion(header.profile), []
    with FaceTracker(still=True) as tracker:
        for path in paths:
            rgb = read_image(path)
            face = tracker.track(rgb)
            if face is None:
                raise InputError(f"{label(path)}: no face found")
            if face.count > 1:
                note(f"{label(path)}: more than one face; taking the largest")
            crop = _crop_of(rgb, np.array([face.box]), header, is_own)
            square = cut(rgb, crop, header.side if crop.side >= header.side else SIDE)
            sample = make_sample(square, to_crop(face.sup, crop), network).only(header.profile.parts)
            found.append((abs(face.pose[0]), square, sample, path if crop == header.crop else None))
    found.sort(key=lambda item: item[0])  # frontal first
    canvas = canvas or next((path for *_, path in found if path is not None), None)
    _, squares, samples, _ = zip(*found, strict=True)
    side = min(map(len, squares))  # all have the size of the least of them
    pictures = tuple(resized(square, side) for square in squares)
    source_set = SourceSet(header.profile, model_hash(preset), (), pictures, samples)
    return LoadedSources(source_set, ", ".join(map(label, paths)), canvas)


def _crop_of(rgb: np.ndarray, boxes: np.ndarray, header: Header, is_own: bool) -> Crop:
    """The crop of a picture: the stream's for a frame of its size, all of one as large as a source, else its own."""
    size, stream = (rgb.shape[1], rgb.shape[0]), header.crop
    if size == (stream.width, stream.height) and not is_own:
        return stream
    is_square = size in {(SIDE, SIDE), (header.side, header.side)}
    return Crop(*size, 0, 0, size[0]) if is_square else choose_crop(boxes, *size)
