"""Files in, files out: what the command line and Python callers use. Thin over `codec.Encoder` and `codec.Decoder`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np

from fvc._version import __version__
from fvc.codec.bitstream import MAX_FPS, Audio, Header, Kind, Packet
from fvc.codec.container import Damage, StreamReader, StreamWriter, read_index
from fvc.codec.crop import SIDE, choose_crop, cut, paste, to_crop
from fvc.codec.decoder import Decoder
from fvc.codec.errors import FvcError, InputError, OutputError, SourcesError, StreamError, UsageError
from fvc.codec.quantizer import PAPER
from fvc.codec.sample import Profile
from fvc.codec.sources import SourceSet, code_canvas, code_pictures
from fvc.models.presets import DEFAULT

Path_ = str | os.PathLike[str]
Note = Callable[[str], None]
Progress = Callable[[str, float, float | None], None]  # what is done, how much of it, of how much in all
SOURCE_CRF, CANVAS_CRF = 20, 36
_MAX_SOURCE_FILE = 1 << 24


def _silent(*_: object) -> None:
    """Neither notes nor progress are wanted."""


def parse_fps(text: str | float | Fraction) -> Fraction:
    """ "15", "29.97", "30000/1001" -> Fraction with 16-bit parts. Raises UsageError for what cannot be a frame rate."""
    try:
        value = Fraction(text) if not isinstance(text, float) else Fraction(repr(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"--fps {text}: not a frame rate") from None
    if not Fraction(1, 10) <= value <= MAX_FPS:
        raise UsageError(f"--fps {text}: must be between 0.1 and {MAX_FPS}")
    return value.limit_denominator(1001) if value.limit_denominator(1001).numerator < 1 << 16 else Fraction(round(value))


def encode(
    source: Path_,
    out: Path_,
    *,
    sources_out: Path_ | None = None,
    fps: str | float | Fraction = 15,
    profile: str = "sup+unsup+expr",
    keyframe_interval: float = 5.0,
    audio_bitrate: int | None = 6000,
    canvas: bool = True,
    preset: str = DEFAULT,
    note: Note = _silent,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Encodes a video of a talking face into `out` (.fvc) and its source frames into `sources_out` (default: OUT.fvs).

    Args:
        sources_out: a .fvs file, or a folder (existing, or a name without suffix), which gets PNG pictures instead.
        fps: frames per second of the stream.
        profile: what each frame carries: "sup", "sup+unsup", "sup+unsup+expr" or "unsup+jac".
        keyframe_interval: seconds from one keyframe packet to the next; 0: only the first frame is one.
        audio_bitrate: bit/s of the Opus track, 6000 to 256000; None: no sound.
        canvas: whether the source set carries the whole first source frame for `decode(canvas="full")`.
        note: called with one-line remarks (two faces, face lost ...); progress: called often with (stage, done, total).

    Returns:
        the report that `fvc encode --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; nothing is left at `out` or `sources_out` then.
    """
    from fvc.codec.audio import encode_opus
    from fvc.codec.encoder import Encoder, make_sample
    from fvc.codec.output import atomic_write
    from fvc.codec.sample import DrivingSample
    from fvc.codec.survey import survey
    from fvc.codec.tracking import FaceTracker
    from fvc.codec.video import VideoReader
    from fvc.models.runtime import MotionRuntime
    from fvc.models.weights import model_hash

    rate, kind = parse_fps(fps), Profile.named(profile)
    interval = _keyframe_frames(keyframe_interval, rate)
    out, name = Path(out), os.fspath(source)
    sources_path = Path(sources_out) if sources_out is not None else out.with_suffix(".fvs")
    if len({p.resolve() for p in (out, sources_path, Path(name))}) < 3:
        raise UsageError(f"{out}: input, stream and sources must be three different files")
    for target in (out, sources_path):
        if not target.parent.is_dir():
            raise OutputError(f"{target}: the folder {target.parent} does not exist")

    with VideoReader(source) as video, ExitStack() as stack:
        ticks = None if video.duration is None else video.duration * float(rate)
        done = 0

        def tick() -> None:
            nonlocal done
            done += 1
            progress("tracking", done, ticks)

        with FaceTracker() as tracker:
            seen = survey(video.frames(rate), tracker, tick)
        if not len(seen.index):
            raise InputError(f"{name}: no face found in any of its {seen.frames} frames")
        if seen.n_faces > 1:
            note(f"{name}: more than one face; following the largest")
        if missing := seen.frames - len(seen.index):
            note(f"{name}: no face in {missing} of {seen.frames} frames; the receiver holds its last picture there")
        crop = seen.crop(video.width, video.height)
        network = MotionRuntime(preset)

        chosen = seen.sources()
        progress("sources", 0, None)
        wanted = {f.index: f.rgb for f in video.frames(rate, only=set(chosen))}
        coded, pictures = code_pictures([cut(wanted[i], crop) for i in chosen], SOURCE_CRF)
        sup_of = seen.sup_of()
        samples = []
        for index, picture in zip(chosen, pictures, strict=True):
            sample = make_sample(picture, to_crop(sup_of[index], crop), network)
            samples.append(DrivingSample({part: sample.parts[part] for part in kind.parts}))
        whole, whole_size = code_canvas(wanted[chosen[0]], CANVAS_CRF) if canvas else (None, (0, 0))
        model = model_hash(preset)
        source_set = SourceSet(kind, model, coded, pictures, tuple(samples), whole, whole_size)
        full_frame = wanted[chosen[0]]
        del wanted

        sound = encode_opus(source, audio_bitrate) if audio_bitrate is not None else None
        audio = Audio(sound[0].frame_ms, sound[0].pre_skip) if sound else None
        if audio_bitrate is not None and sound is None:
            note(f"{name}: has no sound")
        header = Header(
            kind, {part: PAPER[part] for part in kind.parts}, rate, interval, crop, model,
            source_set.sources_hash, source_set.pixels_hash, audio,
        )  # fmt: skip
        file = stack.enter_context(atomic_write(out))
        writer = StreamWriter(file, header)
        encoder = Encoder(header, network)
        packets = enumerate(sound[1]) if sound else iter(())
        audio_bytes = keyframes = 0
        pending = next(packets, None)
        for frame in video.frames(rate):
            while pending is not None and audio and pending[0] * audio.frame_ms * rate <= 1000 * frame.index:
                writer.write(Packet(Kind.AUDIO, *pending))
                audio_bytes += len(pending[1])
                pending = next(packets, None)
            encoder.audio_packets = pending[0] if pending else writer.audio_packets
            packet = encoder.encode_tracked(frame, sup_of.get(frame.index))
            keyframes += packet.kind == Kind.KEY
            writer.write(packet)
            progress("encoding", frame.index + 1, seen.frames)
        while pending is not None:
            writer.write(Packet(Kind.AUDIO, *pending))
            audio_bytes += len(pending[1])
            pending = next(packets, None)
        writer.end()
        if not writer.frames:
            raise InputError(f"{name}: no frame could be read the second time")
        sources_bytes = _write_sources(source_set, sources_path, full_frame if canvas else None)
    return _report(writer, header, sources_path, sources_bytes, source_set, audio_bytes, keyframes, len(seen.index))


def _keyframe_frames(seconds: float, rate: Fraction) -> int:
    if not math.isfinite(seconds) or seconds < 0:
        raise UsageError(f"--keyframe-interval {seconds}: must be 0 or more seconds")
    frames = round(seconds * rate)
    if frames > 0xFFFF:
        raise UsageError(f"--keyframe-interval {seconds}: too long; 0 means that only the first frame is a keyframe")
    return max(frames, 1) if seconds > 0 else 0


def _write_sources(source_set: SourceSet, path: Path, full_frame: np.ndarray | None) -> int:
    from fvc.codec.output import atomic_write, write_image

    if path.is_dir() or not path.suffix:
        made = not path.exists()
        files: list[Path] = []
        try:
            path.mkdir(exist_ok=True)
            pictures = [(f"source{n}.png", p) for n, p in enumerate(source_set.pictures)]
            for name, picture in pictures + ([("canvas.png", full_frame)] if full_frame is not None else []):
                write_image(path / name, picture)
                files.append(path / name)
        except (FvcError, OSError) as error:
            for file in files:
                file.unlink(missing_ok=True)
            if made:
                with suppress(OSError):
                    path.rmdir()
            raise error if isinstance(error, FvcError) else OutputError(f"{path}: cannot be written") from error
        return sum(file.stat().st_size for file in files)
    with atomic_write(path) as file:
        file.write(bytes(source_set))
    return len(bytes(source_set))


def _report(
    writer: StreamWriter, header: Header, sources_path: Path, sources_bytes: int, source_set: SourceSet,
    audio_bytes: int, keyframes: int, faces: int,
) -> dict[str, Any]:  # fmt: skip
    frames = writer.frames
    seconds = frames / header.fps
    total = sum(writer.bytes_of.values())
    motion = 8 * writer.payload_bytes

    def kbps(size: int) -> float:
        return round(float(8 * size / seconds / 1000), 3)

    return {
        "frames": frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(seconds), 3),
        "profile": header.profile.label,
        "motion_bits_per_frame": round(motion / frames, 1),
        "motion_kbps": kbps(writer.payload_bytes),
        "packet_kbps": kbps(writer.bytes_of["motion"]),
        "audio_kbps": kbps(audio_bytes),
        "file_kbps": kbps(total),
        "file_bytes": total,
        "sources_bytes": sources_bytes,
        "sources": str(sources_path),
        "source_pictures_bytes": [len(picture) for picture in source_set.coded],
        "canvas_bytes": len(source_set.canvas or b""),
        "keyframes": keyframes,
        "frames_without_face": frames - faces,
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "size": [header.crop.width, header.crop.height],
    }


def load_sources(paths: Sequence[Path_], header: Header, preset: str) -> tuple[SourceSet, np.ndarray | None]:
    """Source set from one .fvs file, or from pictures (tracked here); with it the canvas picture, where there is one."""
    if not paths:
        raise UsageError("--sources: name a .fvs file or up to eight pictures")
    if len(paths) == 1 and Path(paths[0]).is_dir():
        paths = sorted(Path(paths[0]).glob("*.png"))
        if not paths:
            raise InputError(f"{paths}: no PNG picture in the folder")
    if len(paths) == 1:
        data = _read_limited(paths[0], _MAX_SOURCE_FILE)
        if data[:1] == b"\xab":
            try:
                source_set = SourceSet.parse(data)
                return source_set, source_set.canvas_picture()
            except StreamError as error:
                raise StreamError(error.rule, f"{paths[0]}: {str(error).rsplit(' [', 1)[0]}") from None
    return _track_pictures(paths, header, preset)


def _track_pictures(paths: Sequence[Path_], header: Header, preset: str) -> tuple[SourceSet, np.ndarray | None]:
    from fvc.codec.encoder import make_sample
    from fvc.codec.tracking import FaceTracker
    from fvc.codec.video import read_image
    from fvc.models.runtime import MotionRuntime
    from fvc.models.weights import model_hash

    network, found, canvas = MotionRuntime(preset), [], None
    with FaceTracker(still=True) as tracker:
        for path in paths:
            rgb = read_image(path)
            if Path(path).name == "canvas.png":
                canvas = rgb
                continue
            face = tracker.track(rgb)
            if face is None:
                raise InputError(f"{os.fspath(path)}: no face found")
            sup = face.sup
            if rgb.shape[:2] != (SIDE, SIDE):  # a photo: the stream's own crop if it is a frame of that video
                size, crop = (header.crop.width, header.crop.height), header.crop
                if rgb.shape[1::-1] != size:
                    crop = choose_crop(np.array([face.box]), rgb.shape[1], rgb.shape[0])
                elif canvas is None:
                    canvas = rgb
                rgb, sup = cut(rgb, crop), to_crop(sup, crop)
            else:
                sup = (sup * (2 / SIDE) - 1).astype(np.float32)
            found.append((abs(face.pose[0]), rgb, make_sample(rgb, sup, network)))
    if not 1 <= len(found) <= 8:
        raise UsageError("--sources: name a .fvs file or up to eight pictures")
    found.sort(key=lambda item: item[0])
    pictures = tuple(rgb for _, rgb, _ in found)
    samples = tuple(sample for *_, sample in found)
    return SourceSet(header.profile, model_hash(preset), (), pictures, samples), canvas


def _check_sources(source_set: SourceSet, header: Header, where: str, allow_foreign: bool, note: Note) -> None:
    own = source_set.coded and source_set.sources_hash == header.sources_hash
    if own or source_set.pixels_hash == header.pixels_hash:
        return
    if not allow_foreign:
        raise SourcesError(
            f"{where}: not the sources that this stream was made for; "
            "--allow-foreign-sources draws it with them nevertheless"
        )
    note(f"{where}: foreign sources; the picture shows somebody who never made these movements")
    if source_set.coded and source_set.profile != header.profile:
        raise SourcesError(f"{where}: carries {source_set.profile.label}, the stream needs {header.profile.label}")


def _read_limited(path: Path_, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        raise InputError(f"{os.fspath(path)}: no such file") from None
    except OSError as error:
        raise InputError(f"{os.fspath(path)}: cannot be read ({error.strerror})") from None
    if not data:
        raise InputError(f"{os.fspath(path)}: the file is empty")
    return data[:limit]


def _open_stream(path: Path_) -> BinaryIO:
    _read_limited(path, 1)
    return open(path, "rb")


def _parse_stream(file: BinaryIO, path: Path_) -> StreamReader:
    try:
        return StreamReader(file)
    except StreamError as error:
        raise StreamError(error.rule, f"{os.fspath(path)}: {str(error).rsplit(' [', 1)[0]}") from None


def decode(
    stream: Path_,
    sources: Path_ | Sequence[Path_],
    out: Path_ | None = None,
    *,
    canvas: str = "crop",
    allow_foreign_sources: bool = False,
    note: Note = _silent,
    progress: Progress = _silent,
) -> dict[str, Any]:
    """Decodes a .fvc into an MP4 (H.264, AAC).

    Args:
        sources: the .fvs of the stream, or the source pictures, or a folder of them.
        out: default is the stream's name with the suffix .mp4.
        canvas: "crop" gives the 256x256 face, "full" pastes it into the frontal source's whole frame.
        allow_foreign_sources: draw with sources that the stream was not made for.

    Returns:
        the report that `fvc decode --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; nothing is left at `out` then.
    """
    from fvc.codec.output import VideoWriter
    from fvc.models.runtime import DrawRuntime
    from fvc.models.weights import preset_of

    if canvas not in ("crop", "full"):
        raise UsageError(f"--canvas {canvas}: must be crop or full")
    out = Path(out) if out is not None else Path(stream).with_suffix(".mp4")
    paths = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    if out.resolve() in {Path(p).resolve() for p in (stream, *paths)}:
        raise UsageError(f"{out}: would overwrite an input")
    with _open_stream(stream) as file:
        reader = _parse_stream(file, stream)
        header = reader.header
        preset = preset_of(header.model_hash)
        if preset is None:
            raise SourcesError(f"{os.fspath(stream)}: made for weights {header.model_hash.hex()}, not installed here")
        source_set, whole = load_sources(paths, header, preset)
        _check_sources(source_set, header, ", ".join(map(os.fspath, paths)), allow_foreign_sources, note)
        if canvas == "full" and whole is None:
            raise SourcesError(f"{os.fspath(paths[0])}: holds no whole frame (encoded with --no-canvas); use --canvas crop")
        draw = DrawRuntime(preset, source_set.pictures, [s.parts for s in source_set.samples])
        decoder = Decoder(header, draw, source_set.samples[0])
        size = (header.crop.width, header.crop.height) if canvas == "full" else (SIDE, SIDE)
        if whole is not None and canvas == "full":
            whole = cv2.resize(whole, size, interpolation=cv2.INTER_CUBIC)
        comment = f"Synthesised by fvc {__version__} from a motion stream (weights {header.model_hash.hex()})."
        rate = 48000 if header.audio else None
        ticks = _frames_in(stream)
        with VideoWriter(out, *size, header.fps, rate, metadata={"comment": comment}) as video:
            sink = _Sink(video, decoder, header, whole if canvas == "full" else None)
            for item in reader.packets():
                if isinstance(item, Damage):
                    what = item.reason.rsplit(" [", 1)[0]
                    note(f"{os.fspath(stream)}: {what} at bytes {item.start}-{item.stop}; holding to the next keyframe")
                else:
                    sink.take(item)
                    progress("decoding", sink.frames, ticks)
            if reader.end is None:
                note(f"{os.fspath(stream)}: cut off after {sink.frames} frames; decoded what is whole")
            sink.finish(reader.end.frames if reader.end else None)
            if not sink.frames:
                raise StreamError("E04", f"{os.fspath(stream)}: holds no whole frame")
    return {
        "frames": sink.frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(sink.frames / header.fps), 3),
        "profile": header.profile.label,
        "size": list(size),
        "frames_held": decoder.held,
        "damaged": sink.frames and reader.end is None,
        "audio": header.audio is not None,
        "out": str(out),
    }


class _Sink:
    """Puts decoded packets in their place in time and fills gaps; a hostile gap cannot balloon the output."""

    _MAX_GAP_SECONDS = 600

    def __init__(self, video: Any, decoder: Decoder, header: Header, whole: np.ndarray | None) -> None:
        self._video, self._decoder, self._header, self._whole = video, decoder, header, whole
        self.frames = self._audio_packets = 0
        self._opus: Any = None
        if header.audio:
            from fvc.codec.audio import OpusDecoder, OpusParams

            self._opus = OpusDecoder(OpusParams(frame_ms=header.audio.frame_ms, pre_skip=header.audio.pre_skip))

    def take(self, packet: Packet) -> None:
        """Decodes a packet; frames or sounds that are missing before it are held or silent."""
        if packet.kind == Kind.AUDIO:
            if self._opus is None:
                return
            self._limit((packet.number - self._audio_packets) * self._header.audio.frame_ms / 1000)  # type: ignore[union-attr]
            while self._audio_packets < packet.number:
                self._sound(None)
            self._sound(packet.payload)
            return
        self._fill(packet.number)
        self._show(self._decoder.decode(packet).rgb)

    def finish(self, frames: int | None) -> None:
        """Holds the last picture up to the stream's stated length (None: unknown)."""
        if frames is not None and self.frames:
            self._fill(frames)

    def _limit(self, seconds: float) -> None:
        if seconds > self._MAX_GAP_SECONDS:
            raise StreamError("E14", f"a gap of {seconds:.0f} seconds; at most {self._MAX_GAP_SECONDS} are allowed")

    def _fill(self, index: int) -> None:
        self._limit(float((index - self.frames) / self._header.fps))
        while self.frames < index:
            self._show(self._decoder.hold(self.frames).rgb)

    def _show(self, rgb: np.ndarray) -> None:
        self._video.write(rgb if self._whole is None else paste(self._whole, rgb, self._header.crop))
        self.frames += 1

    def _sound(self, packet: bytes | None) -> None:
        self._video.write_audio(self._opus.decode(packet))
        self._audio_packets += 1


def _frames_in(path: Path_) -> int | None:
    with open(path, "rb") as file:
        end = read_index(file)
    return end.frames if end else None


def info(path: Path_) -> dict[str, Any]:
    """What a .fvc or .fvs file says of itself; reads all of it. Raises FvcError."""
    data = _read_limited(path, 8)
    if data[:4] == b"\xabFVS":
        try:
            return _sources_info(SourceSet.parse(_read_limited(path, _MAX_SOURCE_FILE)))
        except StreamError as error:
            raise StreamError(error.rule, f"{os.fspath(path)}: {str(error).rsplit(' [', 1)[0]}") from None
    with _open_stream(path) as file:
        return _stream_info(_parse_stream(file, path), os.path.getsize(path))


def _sources_info(source_set: SourceSet) -> dict[str, Any]:
    return {
        "type": "fvs",
        "profile": source_set.profile.label,
        "pictures": len(source_set.coded),
        "picture_bytes": [len(coded) for coded in source_set.coded],
        "canvas_bytes": len(source_set.canvas or b""),
        "bytes": len(bytes(source_set)),
        "weights": source_set.model_hash.hex(),
        "sources_hash": source_set.sources_hash.hex(),
        "pixels_hash": source_set.pixels_hash.hex(),
    }


def _stream_info(reader: StreamReader, size: int) -> dict[str, Any]:
    header, frames = reader.header, 0
    count = {"keyframes": 0, "frames_without_face": 0, "audio_packets": 0, "damaged_places": 0}
    motion = audio = 0
    for item in reader.packets():
        if isinstance(item, Damage):
            count["damaged_places"] += 1
        elif item.kind == Kind.AUDIO:
            count["audio_packets"] += 1
            audio += len(item.payload)
        else:
            frames = item.number + 1
            motion += len(item.payload)
            count["keyframes"] += item.kind == Kind.KEY
            count["frames_without_face"] += not item.payload
    frames = reader.end.frames if reader.end else frames
    seconds = float(frames / header.fps)

    def kbps(size: int) -> float | None:
        return round(8 * size / seconds / 1000, 3) if seconds else None

    return {
        "type": "fvc",
        "version": 1,
        "profile": header.profile.label,
        "fps": round(float(header.fps), 3),
        "frames": frames,
        "duration_s": round(seconds, 3),
        "complete": reader.end is not None,
        **count,
        "motion_bits_per_frame": round(8 * motion / frames, 1) if frames else None,
        "motion_kbps": kbps(motion),
        "audio_kbps": kbps(audio),
        "file_kbps": kbps(size),
        "bytes": size,
        "size": [header.crop.width, header.crop.height],
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "quantizers": {p: {"bits": q.bits, "low": q.low, "high": q.high} for p, q in header.quantizers.items()},
        "keyframe_interval": header.keyframe_interval,
        "weights": header.model_hash.hex(),
        "sources_hash": header.sources_hash.hex(),
        "pixels_hash": header.pixels_hash.hex(),
    }
