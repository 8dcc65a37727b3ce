"""`make demo`: a talking face through a few-kbit/s stream and back.

    python samples/demo.py samples/astronaut.mp4 demo

Writes demo/out.fvc and out.fvs (what would be sent), out.mp4 (what is drawn from them), side-by-side.mp4 (input |
decoded) and strip.png, and prints the rates.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

import fvc
from fvc.codec.base.constants import SIDE
from fvc.codec.face.crop import cut
from fvc.codec.media.output import write_image
from fvc.codec.media.video import VideoReader
from fvc.codec.media.video_writer import VideoWriter
from fvc.codec.wire.bitstream import Crop

COLUMNS = 6


def main(source: Path, folder: Path) -> None:
    """Runs the demo on `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    sent = fvc.encode(source, folder / "out.fvc", overwrite=True, note=print)
    fvc.decode(folder / "out.fvc", folder / "out.fvs", folder / "out.mp4", overwrite=True, note=print)

    fps = Fraction(fvc.info(folder / "out.fvc")["fps"]).limit_denominator(1001)
    crop = Crop(*sent["size"], **sent["crop"])
    shown = set(np.linspace(0, sent["frames"] - 1, COLUMNS).round().astype(int).tolist())
    pairs = []
    with (
        VideoReader(source) as before,
        VideoReader(folder / "out.mp4") as after,
        VideoWriter(folder / "side-by-side.mp4", 2 * SIDE, SIDE, fps, overwrite=True) as video,
    ):
        for a, b in zip(before.frames(fps), after.frames(fps), strict=False):
            pair = np.hstack([cut(a.rgb, crop), b.rgb])
            video.write(pair)
            if a.index in shown:
                pairs.append(np.vstack([pair[:, :SIDE], pair[:, SIDE:]]))
    strip = np.hstack(pairs)
    for text, y in (("input", 18), (f"decoded, {sent['motion_kbps']:.1f} kbit/s", SIDE + 18)):
        cv2.putText(strip, text, (8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(strip, text, (8, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    write_image(folder / "strip.png", strip, overwrite=True)

    print(f"{sent['frames']} frames at {sent['fps']:g} fps, profile {sent['profile']}")
    print(f"motion  {sent['motion_bits_per_frame']:6.1f} bits per frame  {sent['motion_kbps']:6.2f} kbit/s")
    print(f"audio   {sent['audio_kbps']:29.2f} kbit/s")
    print(f"file    {sent['file_kbps']:29.2f} kbit/s, {sent['file_bytes']} bytes")
    print(f"sources, sent once: {sent['sources_bytes']} bytes")
    print(f"look at {folder}/strip.png and {folder}/side-by-side.mp4")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
