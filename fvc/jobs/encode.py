"""A video -> .fvc and its source pictures. Two passes: the first tracks the face and chooses crop and sources."""

from __future__ import annotations

import math
from collections.abc import Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from fvc.codec.encoder import Encoder, MotionNetwork, make_sample
from fvc.codec.errors import InputError, UsageError
from fvc.codec.face.crop import cut, to_crop
from fvc.codec.face.patching import with_patched
from fvc.codec.face.survey import Survey, survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.keyframes import check_refresh
from fvc.codec.media.opus import BITRATES, encode_opus
from fvc.codec.media.output import OutputGroup, check_output
from fvc.codec.media.pipeline import ahead
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.motion.quantizer import QUANTIZERS, Quantizer, for_parts
from fvc.codec.motion.ratecontrol import ConstantQuality, ConstantRate, Plan
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import MAX_FPS, Audio, Crop, Header, Kind, Packet
from fvc.codec.wire.container import StreamWriter, begins_keyframe
from fvc.codec.wire.source_set import MAX_SOURCES, Coded, SourceSet, code_canvas, code_pictures, code_pictures_within
from fvc.jobs.paths import STREAM, Note, PathLike, Progress, file_path, keep_apart, silent
from fvc.jobs.source_files import SourcesWriter, write_sources
from fvc.models.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.weights import blends_parts, model_hash, require_shipped

SOURCE_CRF, CANVAS_CRF = 21, 36
_NO_PIXELS = np.empty((0, 0, 3), np.uint8)


def encode(
    source: PathLike,
    out: PathLike,
    *,
    sources_out: PathLike | None = None,
    overwrite: bool = False,
    fps: str | float | Fraction = 15,
    profile: str = "sup",
    quantizer: str = "default",
    quality: float | None = None,
    kbps: float | None = None,
    keyframe_interval: float = 5.0,
    refresh: int = 0,
    audio_bitrate: int | None = 6000,
    canvas: bool = True,
    source_frames: int | None = None,
    source_bytes: int | None = None,
    preset: str = DEFAULT,
    note: Note = silent,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Encodes a video of a talking face into `out` (.fvc) and its source frames into `sources_out` (default: OUT.fvs).

    Until both are complete their bytes are in `.NAME.XXXXXXXX.part` (random digits) beside them. If the process is
    killed, these stay, and can be decoded up to the last whole packet (`repair` gives them an end and an index).

    Args:
        out: must end in .fvc.
        sources_out: a .fvs file, or a folder (existing, or a name without suffix), which gets PNG pictures instead.
        overwrite: whether a stream and a source set that are there already are replaced; without it each existing file
            is an OutputError. Files of another kind are never replaced.
        fps: frames per second of the stream, 0.1 to 240.
        profile: what each frame carries: "sup", "sup+unsup", "sup+unsup+expr" or "unsup+jac".
        quantizer: "default", or "paper": that of Oquab et al., and the nearest integers, whatever they cost.
        quality: constant quality, 0 (smallest) to 100 (best); None: 80.
        kbps: constant rate instead: kbit/s of motion in any two seconds, 0.5 or more.
        keyframe_interval: seconds from one keyframe to the next; 0: only the first frame is one.
        refresh: 0, or the number of slices (2 to 16) of each keyframe but the first: so many packets carry one each,
            and none is large.
        audio_bitrate: bit/s of the Opus track, 6000 to 256000; None: no sound.
        canvas: whether the source set carries the whole first source frame for `decode(canvas="full")`.
        source_frames: how many source pictures, 1 to 8: more cost about 3 kB each and draw better; None: 3 to 6, more
            where the head moves about (`codec.face.source_choice`). One more is made of the first, with shut eyes or
            another mouth, where the clip has such and the preset can use it.
        source_bytes: how many bytes all source pictures may take; None: as many as they need to look well.
        preset: the networks, one of those whose weights are installed.
        note: called with one-line remarks (two faces, face lost ...); progress: called often with (stage, done, total).

    Returns:
        the report that `fvc encode --json` prints.

    Raises:
        FvcError: see `fvc.codec.errors`; nothing is left at `out` or `sources_out` then.
    """
    rate, kind = parse_fps(fps), Profile.named(profile)
    interval = keyframe_frames(keyframe_interval, rate)
    check_refresh(refresh, interval)
    plan = plan_for(quantizer, quality, kbps, rate)
    check_source_frames(source_frames)
    _check_sound_and_networks(audio_bitrate, preset)
    stream = file_path(out)
    sources = file_path(sources_out) if sources_out is not None else stream.with_suffix(".fvs")
    keep_apart([stream, sources], [file_path(source)])
    with VideoReader(source) as video, _both_or_none(stream, sources, overwrite) as (file, sources_writer):
        clip = _track(video, rate, note, progress)
        network = InstalledModel(preset).motion(kind)
        progress("sources", 0, None)
        source_set, whole = choose_sources(video, clip, kind, network, preset, canvas, source_frames, source_bytes)
        progress("sources", 1, 1)
        sound = Sound(source, audio_bitrate)
        if audio_bitrate is not None and sound.audio is None:
            note(f"{video.name}: has no sound")
        header = stream_header(source_set, clip, interval, QUANTIZERS[quantizer], sound.audio)
        sources_bytes = sources_writer.save(source_set, whole if canvas else None)  # first: no packet is of use without
        writer, encoder = StreamWriter(file, header), Encoder(header, network, refresh=refresh, plan=plan)
        counts = _write_packets(writer, encoder, video, clip, sound, progress)
    return {**_rates(writer, header, counts), **_sizes(writer, header, counts, source_set, str(sources), sources_bytes)}


def parse_fps(text: str | float | Fraction) -> Fraction:
    """ "15", "29.97", "30000/1001" -> Fraction with 16-bit parts. Raises UsageError for what cannot be a frame rate."""
    try:
        if len(str(text)) > 40 or "e" in str(text).lower():  # Fraction("1e999999999") would compute all its digits
            raise ValueError
        value = Fraction(text if isinstance(text, str | Fraction) else str(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"--fps {str(text)[:40]}: not a frame rate; say 15 or 29.97 or 30000/1001") from None
    if not Fraction(1, 10) <= value <= MAX_FPS:
        raise UsageError(f"--fps {text}: must be between 0.1 and {MAX_FPS}")
    short = value.limit_denominator(1001)
    return short if short.numerator < 1 << 16 else Fraction(round(value))


def keyframe_frames(seconds: float, rate: Fraction) -> int:
    """The keyframe interval in frames; 0 for 0 seconds. Raises UsageError."""
    if not math.isfinite(seconds) or seconds < 0:
        raise UsageError(f"--keyframe-interval {seconds}: must be 0 or more seconds")
    if seconds * rate > 0xFFFF:
        raise UsageError(f"--keyframe-interval {seconds}: too long; 0 means that only the first frame is a keyframe")
    return max(round(seconds * rate), 1) if seconds > 0 else 0


def check_source_frames(count: int | None) -> None:
    """Raises UsageError for a number of source pictures that no source set can have."""
    if count is not None and not 1 <= count <= MAX_SOURCES:
        raise UsageError(f"--source-frames {count}: must be 1 to {MAX_SOURCES}")


def plan_for(quantizer: str, quality: float | None, kbps: float | None, rate: Fraction) -> Plan:
    """How finely frames are coded. Raises UsageError for options that make no sense together."""
    if quantizer not in QUANTIZERS:
        raise UsageError(f"--quantizer {quantizer[:40]}: must be {' or '.join(QUANTIZERS)}")
    if quantizer == "paper" and (quality is not None or kbps is not None):
        raise UsageError("--quantizer paper codes the nearest integers; --quality and --kbps do not go with it")
    if quality is not None and kbps is not None:
        raise UsageError("--quality and --kbps: choose one")
    if kbps is not None:
        return ConstantRate(kbps, float(rate))
    if quantizer == "paper":
        return ConstantQuality(None)
    return ConstantQuality() if quality is None else ConstantQuality(quality)


def _check_sound_and_networks(audio_bitrate: int | None, preset: str) -> None:
    """Raises UsageError; a minute of tracking later is too late for it."""
    if audio_bitrate is not None and not BITRATES[0] <= audio_bitrate <= BITRATES[1]:
        low, high = (f"{rate // 1000}k" for rate in BITRATES)
        raise UsageError(f"--audio-bitrate {audio_bitrate}: must be {low} to {high}; --no-audio leaves the sound out")
    require_shipped(preset)


@contextmanager
def _both_or_none(stream: Path, sources: Path, overwrite: bool) -> Iterator[tuple[BinaryIO, SourcesWriter]]:
    """Stream and sources get their names when the block ends; neither does if anything fails. Raises OutputError."""
    check_output(stream, STREAM, overwrite)
    group = OutputGroup()
    with write_sources(sources, group, overwrite) as writer, group:
        yield group.open(stream, STREAM, overwrite), writer


@dataclass(frozen=True)
class TrackedClip:
    """What the first pass found: the frames that show the face, and the crop for all of them."""

    seen: Survey
    rate: Fraction
    crop: Crop

    def cut_sources(
        self, frames: Mapping[int, np.ndarray], chosen: Sequence[int], donors: Mapping[str, int]
    ) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Crops and landmarks of the chosen frames, and of the picture that `donors` are for (`Survey.donors`)."""
        sup_of = self.seen.sup_of()
        shown = {i: (cut(frames[i], self.crop), to_crop(sup_of[i], self.crop)) for i in {*chosen, *donors.values()}}
        sources = with_patched([shown[i] for i in chosen], {part: shown[i] for part, i in donors.items()})
        crops, landmarks = zip(*sources, strict=True)
        return crops, landmarks


def _track(video: VideoReader, rate: Fraction, note: Note, progress: Progress) -> TrackedClip:
    total = None if video.duration is None else video.duration * float(rate)
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress("tracking", done, total)

    with FaceTracker() as tracker, closing(ahead(video.frames(rate))) as frames:
        seen = survey(frames, tracker, tick)
    if not len(seen.index):
        raise InputError(f"{video.name}: no face found in any of its {seen.frames} frames")
    if seen.n_faces > 1:
        note(f"{video.name}: more than one face; following the largest")
    if missing := seen.frames - len(seen.index):
        note(f"{video.name}: no face in {missing} of {seen.frames} frames; the receiver holds its last picture there")
    return TrackedClip(seen, rate, seen.crop(video.width, video.height))


def choose_sources(
    video: FrameSource,
    clip: TrackedClip,
    kind: Profile,
    network: MotionNetwork | None,
    preset: str,
    canvas: bool,
    count: int | None = None,
    most_bytes: int | None = None,
) -> tuple[SourceSet, np.ndarray]:
    """The source set, and the whole frame that its first picture was cut from. Raises InputError, and UsageError where
    its pictures cannot be had in `most_bytes`.

    One more picture than `count` where networks blend parts: the first with the eyes and mouth that are not among them.
    """
    chosen = clip.seen.sources(count)
    donors = clip.seen.donors(chosen) if len(chosen) < MAX_SOURCES and blends_parts(preset) else {}
    wanted = {*chosen, *donors.values()}
    frames = {frame.index: frame.rgb for frame in video.frames(clip.rate, only=wanted)}
    if missing := wanted - set(frames):
        raise InputError(f"{video.name}: frame {min(missing)} could not be read a second time")
    whole = frames[chosen[0]]
    crops, landmarks = clip.cut_sources(frames, chosen, donors)
    if most_bytes is None:
        coded = code_pictures(crops, SOURCE_CRF)
    else:
        coded = code_pictures_within(crops, SOURCE_CRF, most_bytes)
    return source_set_of(coded, landmarks, kind, network, preset, whole if canvas else None), whole


def source_set_of(
    coded: Coded,
    landmarks: Sequence[np.ndarray],
    kind: Profile,
    network: MotionNetwork | None,
    preset: str,
    whole: np.ndarray | None = None,
) -> SourceSet:
    """Pictures as `code_pictures` gives them, with their landmarks ([33, 2] of the crop) and perhaps a canvas."""
    data, pictures = coded
    samples = (make_sample(*pair, network).only(kind.parts) for pair in zip(pictures, landmarks, strict=True))
    canvas, size = code_canvas(whole, CANVAS_CRF) if whole is not None else (None, (0, 0))
    return SourceSet(kind, model_hash(preset), data, pictures, tuple(samples), canvas, size)


def stream_header(
    source_set: SourceSet,
    clip: TrackedClip,
    interval: int,
    quantizers: Mapping[str, Quantizer] = QUANTIZERS["default"],
    audio: Audio | None = None,
) -> Header:
    """What a stream of the clip says of itself; `interval` is in frames, 0: only the first is a keyframe."""
    kind = source_set.profile
    return Header(
        kind,
        for_parts(quantizers, kind.parts),
        clip.rate,
        interval,
        clip.crop,
        source_set.model_hash,
        source_set.sources_hash,
        source_set.pixels_hash,
        audio,
    )


class FrameSource(Protocol):
    """A VideoReader, or frames that were kept."""

    @property
    def name(self) -> str: ...
    def frames(self, fps: Fraction, only: Container[int] | None = None) -> Iterable[Frame]: ...


class Sound:
    """The Opus packets of a clip, handed out as they fall due. `audio` is None where there are none."""

    def __init__(self, source: PathLike | None, bitrate: int | None) -> None:
        coded = encode_opus(source, bitrate) if source is not None and bitrate is not None else None
        self.audio = Audio(coded[0].frame_ms, coded[0].pre_skip) if coded else None
        self._packets = enumerate(coded[1] if coded else ())
        self._next = next(self._packets, None)

    def due(self, seconds: Fraction | None) -> Iterator[Packet]:
        """The packets whose sound starts at `seconds` or before (None: all that are left)."""
        while self._next is not None and self.audio is not None:
            if seconds is not None and self._next[0] * self.audio.frame_ms > 1000 * seconds:
                return
            yield Packet(Kind.AUDIO, *self._next)
            self._next = next(self._packets, None)


@dataclass
class _Counts:
    """What was written, beyond what a StreamWriter counts."""

    audio_bytes: int = 0  # without packet heads
    keyframes: int = 0
    without_face: int = 0
    skipped: int = 0  # frames that the rate had no room for


def _write_packets(
    writer: StreamWriter, encoder: Encoder, video: VideoReader, clip: TrackedClip, sound: Sound, progress: Progress
) -> _Counts:
    counts, sup_of = _Counts(), clip.seen.sup_of()

    def write_sound(seconds: Fraction | None) -> None:
        for packet in sound.due(seconds):
            writer.write(packet)
            counts.audio_bytes += len(packet.payload)

    with closing(_second_look(video, clip, encoder)) as frames:
        for frame in frames:
            write_sound(frame.index / clip.rate)
            sup = sup_of.get(frame.index)
            packet = encoder.encode_tracked(frame, sup, audio_packets=writer.audio_packets)
            writer.write(packet)
            counts.keyframes += begins_keyframe(packet)
            counts.without_face += sup is None
            progress("encoding", frame.index + 1, clip.seen.frames)
    counts.skipped = encoder.skipped
    write_sound(None)
    if not writer.frames:
        raise InputError(f"{video.name}: no frame could be read a second time")
    writer.end()
    return counts


def _second_look(video: VideoReader, clip: TrackedClip, encoder: Encoder) -> Generator[Frame, None, None]:
    """The frames once more, for networks to look at; without pixels where the landmarks of the first look suffice."""
    if encoder.looks:
        return ahead(video.frames(clip.rate))
    return (Frame(_NO_PIXELS, index) for index in range(clip.seen.frames))


def _rates(writer: StreamWriter, header: Header, counts: _Counts) -> dict[str, Any]:
    seconds = writer.frames / header.fps

    def kbps(size: int) -> float:
        return round(float(8 * size / seconds / 1000), 3)

    return {
        "frames": writer.frames,
        "fps": round(float(header.fps), 3),
        "duration_s": round(float(seconds), 3),
        "profile": header.profile.label,
        "motion_bits_per_frame": round(8 * writer.payload_bytes / writer.frames, 1),
        "motion_kbps": kbps(writer.payload_bytes),
        "packet_kbps": kbps(writer.bytes_of["motion"]),
        "audio_kbps": kbps(counts.audio_bytes),
        "file_kbps": kbps(sum(writer.bytes_of.values())),
    }


def _sizes(
    writer: StreamWriter, header: Header, counts: _Counts, source_set: SourceSet, sources: str, sources_bytes: int
) -> dict[str, Any]:
    return {
        "file_bytes": sum(writer.bytes_of.values()),
        "sources_bytes": sources_bytes,
        "sources": sources,
        "source_pictures_bytes": [len(picture) for picture in source_set.coded],
        "canvas_bytes": len(source_set.canvas or b""),
        "keyframes": counts.keyframes,
        "frames_without_face": counts.without_face,
        "frames_skipped": counts.skipped,
        "crop": {"x": header.crop.x, "y": header.crop.y, "side": header.crop.side},
        "size": [header.crop.width, header.crop.height],
    }
