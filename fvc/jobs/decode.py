"""A .fvc and its sources -> a video. Imports neither torch nor, unless the sources are bare pictures, MediaPipe.

Three stages at a time: packets become samples, samples become pictures (one per core), pictures are coded and written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fvc.codec.base.constants import MIN_FPS
from fvc.codec.base.errors import OptionError, StreamError, UsageError
from fvc.codec.base.hashing import open_file_hash
from fvc.codec.base.reporting import Note, PathLike, Progress, silent
from fvc.codec.base.version import __version__
from fvc.codec.decoder import Decoder
from fvc.codec.face.crop import paste
from fvc.codec.media.opus import RATE
from fvc.codec.media.output import VIDEO, check_output
from fvc.codec.media.pipeline import ahead, parallel
from fvc.codec.media.provenance import Provenance
from fvc.codec.media.video import label
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.renderer import Layered, Renderer
from fvc.codec.wire.bitstream import Header
from fvc.jobs.paths import file_path, keep_apart, naming, open_file
from fvc.jobs.player import Item, Player, Sound
from fvc.jobs.source_files import LoadedSources, load_sources, source_paths
from fvc.models.inference.drawing import AT_A_TIME
from fvc.models.inference.installed import InstalledModel

_LARGE_FRAME = 1 << 24  # bytes
_MAX_CANVAS = (1 << 25, 8192)  # pixels of the frame, side of the crop: room for 8K


def decode(
    stream: PathLike,
    sources: PathLike | Sequence[PathLike] | None = None,
    out: PathLike | None = None,
    *,
    overwrite: bool = False,
    canvas: str = "crop",
    allow_foreign_sources: bool = False,
    relative_motion: bool = False,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Decodes a .fvc into a video.

    A damaged or cut-off stream is decoded as far as it is whole, with notes: frames that are lost show the last
    picture again until the next keyframe, lost sound is silence.

    Args:
        sources: the .fvs of the stream, or the source pictures, or a folder of them; None: the .fvs of the stream's
            name, beside it.
        out: its ending chooses the container: .mp4, .mov, .mkv (H.264, AAC) or .webm (VP9, Opus). None: the stream's
            name with .decoded.mp4, so talk.fvc becomes talk.decoded.mp4 and no recording talk.mp4 is touched.
        overwrite: whether a video that is there already is replaced; without it an existing file is an OutputError.
        canvas: "crop" gives the face, 256x256 or 512x512 as the sources are; "full" pastes it into the frontal source's
            whole frame.
        allow_foreign_sources: draw with sources that the stream was not made for.
        relative_motion: for foreign sources: move their face by what the stream's person has moved since the first
            frame, which keeps its shape (cross-reenactment, see `codec.motion.retarget`).
        note: called with one-line remarks; progress: called often with (stage, done, total).

    Returns:
        the report that `fvc decode --json` prints.

    Raises:
        FvcError: see `fvc.codec.base.errors`; nothing is left at `out` then.
    """
    if canvas not in ("crop", "full"):
        raise OptionError("canvas", canvas, "must be crop or full")
    target = _default_out(file_path(stream)) if out is None else file_path(out)
    paths = source_paths(_sources_beside(file_path(stream)) if sources is None else sources)
    keep_apart([target], [file_path(stream), *paths])
    check_output(target, VIDEO, overwrite)
    with open_file(stream) as opened:
        reader, header = opened.reader, opened.reader.header
        model = InstalledModel.of(header, label(stream), note)
        loaded = load_sources(paths, header, model.preset, note)
        loaded.check(header, allow_foreign_sources, note)
        if header.fps < MIN_FPS:
            raise StreamError("E07", f"{label(stream)}: {float(header.fps):g} frames per second cannot be written")
        whole = _canvas(loaded, header, label(stream)) if canvas == "full" else None
        renderer = _renderer(model, loaded, header, relative_motion)
        size = (renderer.side, renderer.side) if whole is None else (header.crop.width, header.crop.height)
        rate = RATE if header.audio else None
        with naming(stream):
            origin = _origin(loaded, header, open_file_hash(opened.file))
        tags = {"comment": str(origin)}
        with VideoWriter(target, *size, header.fps, rate, metadata=tags, overwrite=overwrite) as video:
            play = Player(opened, Decoder(header, renderer), stream, note)
            painter = Painter(renderer, whole, header)
            with closing(parallel(painter, ahead(play.items(), 32), AT_A_TIME)) as items:
                frames = write_items(video, items, painter, play.total, progress)
    return {
        "frames": frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(frames / header.fps), 3),
        "profile": header.profile.label,
        "size": list(video.size),
        "frames_held": play.decoder.held,
        "complete": reader.end is not None,
        "frames_with_layer": play.layer.pictures,
        "damaged_places": play.damaged_places,
        "audio": header.audio is not None,
        "out": str(target),
    }


def _renderer(model: InstalledModel, loaded: LoadedSources, header: Header, relative_motion: bool) -> Renderer:
    """Foreign sources know nothing of the stream's scenes, and its video layer shows the stream's own person."""
    sources, is_own = loaded.source_set, loaded.is_own(header)
    scenes = header.scenes if is_own else None
    about = header.profile, header.fps, AT_A_TIME
    return model.renderer(sources, *about, relative_motion=relative_motion, scenes=scenes, shows_layers=is_own)


def _default_out(stream: Path) -> Path:
    return stream.with_name(f"{stream.stem}.decoded.mp4")


def _sources_beside(stream: Path) -> Path:
    """The source set that `encode` writes beside a stream. Raises UsageError where there is none.

    Raises InputError, StreamError (E01) for what is no stream: its sources are not what is missing.
    """
    beside = stream.with_suffix(".fvs")
    if os.path.exists(stream) and not os.path.exists(beside):
        with open_file(stream):
            pass
        raise UsageError(f"{label(stream)}: there is no {label(beside.name)} beside it; name its `sources`")
    return beside


def _origin(loaded: LoadedSources, header: Header, stream: str) -> Provenance:
    source_set = loaded.source_set
    named = source_set.sources_hash if source_set.coded else source_set.pixels_hash
    return Provenance(__version__, stream, named.hex(), not loaded.is_own(header), header.model_hash.hex())


def _canvas(loaded: LoadedSources, header: Header, name: str) -> np.ndarray:
    """The whole frame at the input's size. Raises SourcesError, StreamError."""
    crop, (pixels, side) = header.crop, _MAX_CANVAS
    if crop.width * crop.height > pixels or crop.side > side:
        raise StreamError("E07", f"{name}: frames of {crop.width}x{crop.height} are too large; use `canvas` crop")
    return cv2.resize(loaded.canvas(header), (crop.width, crop.height), interpolation=cv2.INTER_CUBIC)


class Painter:
    """Draws frames; called from several threads. Items other than frames to draw are returned unchanged.

    Large frames are put together by `finish`, one at a time: several of them waiting would take gigabytes.
    """

    def __init__(self, renderer: Renderer, whole: np.ndarray | None, header: Header) -> None:
        self._renderer, self._whole, self._crop = renderer, whole, header.crop
        self._is_large = whole is not None and whole.nbytes > _LARGE_FRAME

    def __call__(self, item: Item) -> np.ndarray | Sound | None:
        if not isinstance(item, DrawInputs | Layered):
            return item
        rgb = self._renderer.draw(item) if isinstance(item, DrawInputs) else self._renderer.show(item)
        return rgb if self._is_large else self._pasted(rgb)

    def finish(self, rgb: np.ndarray) -> np.ndarray:
        """Turns a drawn picture into the frame to write."""
        return self._pasted(rgb) if self._is_large else rgb

    def _pasted(self, rgb: np.ndarray) -> np.ndarray:
        return rgb if self._whole is None else paste(self._whole, rgb, self._crop)


def write_items(
    video: VideoWriter,
    items: Iterator[np.ndarray | Sound | None],
    painter: Painter,
    total: int | None,
    progress: Progress,
) -> int:
    """Writes all items; returns the number of frames."""
    frames, last = 0, None
    for item in items:
        if isinstance(item, Sound):
            video.write_audio(item.samples)
            continue
        last = last if item is None else painter.finish(item)
        assert last is not None  # a decoder's first frame is never held
        video.write(last)
        frames += 1
        progress("decoding", frames, total)
    return frames
