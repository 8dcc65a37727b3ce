"""Encodes and decodes a folder of videos and measures the losses: the acceptance run of the whole codec.

    python -m fvc.evaluation.studies.roundtrip DIR [--profile P ...] [--quantizer Q | --quality Q | --motion-kbps X]
        [--metric-weights FOLDER] [--strips DIR] [--json OUT]

Runs `fvc encode` and `fvc decode`. Per clip and profile: frames and seconds in and out, motion bits per frame, rates,
offset of the sound, and the metrics of `evaluation.metrics` for the decoded crop (`--metric-weights`: see
`instruments`; every fifth frame). `--strips` writes PNGs to look at (input above, decoded below).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from fvc.codec.base.errors import FvcError
from fvc.codec.face.crop import cut
from fvc.codec.layouts import clip_name, find_videos
from fvc.codec.media.output import write_image
from fvc.codec.media.video import LIMITS, VideoReader
from fvc.codec.motion.quantizer import QUANTIZERS
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Crop
from fvc.evaluation import command
from fvc.evaluation.metrics.metrics import Metrics

_RATE = 8000  # samples per second of the sound when offsets are measured
_BLOCK_MS = 2  # milliseconds for each value of loudness
_SILENT = 1e-4  # standard deviation of loudness below which a sound is silence
_EVERY = 5  # LPIPS and SSIM look at every n-th frame
_STRIP = 8  # pictures
_COLUMNS = (
    "clip",
    "profile",
    "seconds",
    "seconds_back",
    "frames",
    "frames_back",
    "bits_per_frame",
    "motion_kbps",
    "file_kbps",
    "sources_bytes",
    "sound_offset_ms",
    "lpips",
    "nme",
)


def sound(path: Path) -> np.ndarray | None:
    """Mono samples at 8 kHz from the start of the video on, or None."""
    with av.open(f"file:{path}", options=LIMITS) as container:
        if not container.streams.audio:
            return None
        start = float(container.streams.video[0].start_time or 0) * float(container.streams.video[0].time_base or 0)
        resampler, out, first = av.AudioResampler("flt", "mono", _RATE), [], None
        for frame in container.decode(container.streams.audio[0]):
            first = frame.time if first is None else first
            out += [part.to_ndarray()[0] for part in resampler.resample(frame)]
    samples = np.concatenate(out) if out else np.zeros(0, np.float32)
    lead = round(((first or 0) - start) * _RATE)
    return np.concatenate([np.zeros(max(lead, 0), np.float32), samples[max(-lead, 0) :]])


def sound_offset_ms(before: np.ndarray | None, after: np.ndarray | None, reach_ms: int = 500) -> float | None:
    """Milliseconds by which `after` is later than `before`, by cross-correlation of loudness; None for silence."""
    if before is None or after is None:
        return None
    block = _RATE * _BLOCK_MS // 1000
    length = min(len(before), len(after)) // block

    def loudness(x: np.ndarray) -> np.ndarray:
        envelope = np.sqrt(np.square(x[: length * block].reshape(length, block)).mean(1))
        return envelope - envelope.mean()

    a, b = loudness(before), loudness(after)
    if a.std() < _SILENT or b.std() < _SILENT:
        return None
    reach = min(reach_ms // _BLOCK_MS, length // 4)
    scores = [
        float((a[reach:-reach] * b[reach + lag : length - reach + lag]).sum()) for lag in range(-reach, reach + 1)
    ]
    return float(_BLOCK_MS * (int(np.argmax(scores)) - reach))


def _pairs(
    source: Path, decoded: Path, crop: Crop, fps: Fraction, strip: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(original crop, decoded crop) of every frame; up to eight pairs are stacked and added to `strip`."""
    with VideoReader(source) as before, VideoReader(decoded) as after:
        total = max(1, round(float(fps) * (after.duration or 1)))
        for a, b in zip(before.frames(fps), after.frames(fps), strict=False):
            original = cut(a.rgb, crop)
            if a.index % max(1, total // (_STRIP - 1)) == 0 and len(strip) < _STRIP:
                strip.append(np.vstack([original, b.rgb]))
            yield original, b.rgb


def roundtrip(
    source: Path, folder: Path, profile: str, metrics: Metrics | None = None, **options: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """Codes one clip in `folder`; returns its row and a strip of pictures. Raises FvcError.

    Args:
        metrics: compare the pictures; None: those that need no networks.
        options: of `fvc encode`, e.g. `quality=80`; None: not given.
    """
    stream, back = folder / f"{source.stem}.fvc", folder / f"{source.stem}.mp4"
    told = [word for name, value in options.items() if value is not None for word in (f"--{name}", value)]
    sent, notes = command.run("encode", source, stream, "--profile", profile, *told)
    _, more = command.run("decode", stream, "--out", back)
    fps = Fraction(sent["fps"]).limit_denominator(1001)
    with VideoReader(back) as video:
        frames_back = sum(1 for _ in video.frames(fps))
        seconds_back = video.duration
    with VideoReader(source) as video:
        seconds = video.duration
    crop, strip = Crop(*sent["size"], **sent["crop"]), list[np.ndarray]()
    metrics = metrics or Metrics(None, every=_EVERY)
    scores = metrics.compare(_pairs(source, back, crop, fps, strip))
    row = {
        "clip": source.name,
        "profile": profile,
        "seconds": seconds,
        "seconds_back": seconds_back,
        "frames": sent["frames"],
        "frames_back": frames_back,
        "bits_per_frame": sent["motion_bits_per_frame"],
        "motion_kbps": sent["motion_kbps"],
        "file_kbps": sent["file_kbps"],
        "sources_bytes": sent["sources_bytes"],
        "sound_offset_ms": sound_offset_ms(sound(source), sound(back)),
        **{name: scores[name] for name in metrics.names},
        "notes": [*notes, *more],
    }
    return row, np.hstack(strip)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", nargs="+", default=["sup"], choices=[p.label for p in Profile])
    parser.add_argument("--quantizer", default="default", choices=list(QUANTIZERS))
    parser.add_argument("--quality", type=float)
    parser.add_argument("--motion-kbps", type=float)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--strips", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    try:
        metrics = Metrics(args.metric_weights, every=_EVERY)
    except FvcError as error:
        parser.error(str(error))
    print("| " + " | ".join(_COLUMNS) + " |")
    print("|" + "---|" * len(_COLUMNS))
    options = {"quantizer": args.quantizer, "quality": args.quality, "motion_kbps": args.motion_kbps}
    rows = []
    for source in find_videos(args.folder):
        name = clip_name(source, args.folder)
        for profile in args.profile:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    row, strip = roundtrip(source, Path(folder), profile, metrics, **options)
            except FvcError as error:
                print(f"| {name} | {profile} | failed: {error} |")
                continue
            rows.append(row)
            cells = (round(v, 3) if isinstance(v := row[name], float) else v for name in _COLUMNS)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            if args.strips:
                args.strips.mkdir(parents=True, exist_ok=True)
                write_image(args.strips / f"{Path(name).stem}-{profile}.png", strip, overwrite=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
