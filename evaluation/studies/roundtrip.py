"""Encode and decode a folder of videos and say what was lost: the acceptance run of the whole codec.

    python -m fvc.evaluation.studies.roundtrip DIR [--profile P ...] [--quantizer Q | --quality Q | --kbps X]
        [--metric-weights FOLDER] [--strips DIR] [--json OUT]

Per clip and profile: frames and seconds in and out, motion bits per frame, rates, offset of the sound, LPIPS (with
`--metric-weights`, see `instruments`; every fifth frame) and NME of the decoded crop, as `metrics` has them. `--strips`
writes PNGs to look at (input above, decoded below).
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

import fvc
from fvc.codec.errors import FvcError
from fvc.codec.face.crop import cut
from fvc.codec.media.output import write_image
from fvc.codec.media.video import LIMITS, VideoReader
from fvc.codec.motion.quantizer import QUANTIZERS
from fvc.codec.motion.sample import Profile
from fvc.codec.wire.bitstream import Crop
from fvc.evaluation.metrics.metrics import Metrics

_RATE = 8000  # of the sound when offsets are measured


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
    """By how much `after` is late against `before`, from the cross-correlation of their loudness; None for silence."""
    if before is None or after is None:
        return None
    block = _RATE // 500  # 2 ms
    length = min(len(before), len(after)) // block

    def loudness(x: np.ndarray) -> np.ndarray:
        envelope = np.sqrt(np.square(x[: length * block].reshape(length, block)).mean(1))
        return envelope - envelope.mean()

    a, b = loudness(before), loudness(after)
    if a.std() < 1e-4 or b.std() < 1e-4:
        return None
    reach = min(reach_ms // 2, length // 4)
    scores = [
        float((a[reach:-reach] * b[reach + lag : length - reach + lag]).sum()) for lag in range(-reach, reach + 1)
    ]
    return 2.0 * (int(np.argmax(scores)) - reach)


def _pairs(
    source: Path, decoded: Path, crop: Crop, fps: Fraction, shown: list[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(original crop, decoded crop) of every frame; up to eight of them are stacked into `shown`."""
    with VideoReader(source) as before, VideoReader(decoded) as after:
        total = max(1, round(float(fps) * (after.duration or 1)))
        for a, b in zip(before.frames(fps), after.frames(fps), strict=False):
            original = cut(a.rgb, crop)
            if a.index % max(1, total // 7) == 0 and len(shown) < 8:
                shown.append(np.vstack([original, b.rgb]))
            yield original, b.rgb


def roundtrip(
    source: Path, folder: Path, profile: str, metrics: Metrics | None = None, **options: Any
) -> tuple[dict[str, Any], np.ndarray]:
    """Codes one clip in `folder`; returns its row and a strip of pictures.

    Args:
        metrics: what the pictures are compared by; None: by what needs no networks.
        options: of `fvc.encode`.
    """
    stream, sources, back = (folder / f"{source.stem}.{end}" for end in ("fvc", "fvs", "mp4"))
    notes: list[str] = []
    sent = fvc.encode(source, stream, profile=profile, note=notes.append, **options)
    fvc.decode(stream, sources, back, note=notes.append)
    fps = Fraction(sent["fps"]).limit_denominator(1001)
    with VideoReader(back) as video:
        frames_back = sum(1 for _ in video.frames(fps))
        seconds_back = video.duration
    with VideoReader(source) as video:
        seconds = video.duration
    crop, shown = Crop(*sent["size"], **sent["crop"]), list[np.ndarray]()
    metrics = metrics or Metrics(None, every=5)
    scores = metrics.compare(_pairs(source, back, crop, fps, shown))
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
        "notes": notes,
    }
    return row, np.hstack(shown)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--profile", nargs="+", default=["sup"], choices=[p.label for p in Profile])
    parser.add_argument("--quantizer", default="default", choices=list(QUANTIZERS))
    parser.add_argument("--quality", type=float)
    parser.add_argument("--kbps", type=float)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--strips", type=Path)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    try:
        metrics = Metrics(args.metric_weights, every=5)
    except FvcError as error:
        parser.error(str(error))
    columns = (
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
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    options = {"quantizer": args.quantizer, "quality": args.quality, "kbps": args.kbps}
    rows = []
    for source in sorted(p for p in args.folder.iterdir() if p.suffix.lower() in (".mp4", ".mov", ".mkv", ".webm")):
        for profile in args.profile:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    row, strip = roundtrip(source, Path(folder), profile, metrics, **options)
            except FvcError as error:
                print(f"| {source.name} | {profile} | failed: {error} |")
                continue
            rows.append(row)
            cells = (round(v, 3) if isinstance(v := row[name], float) else v for name in columns)
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            if args.strips:
                args.strips.mkdir(parents=True, exist_ok=True)
                write_image(args.strips / f"{source.stem}-{profile}.png", strip, overwrite=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
