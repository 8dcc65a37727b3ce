"""Bytes of source pictures, how soon the first face can be drawn, and what they do to the decoded video.

    python -m fvc.evaluation.source_bits DIR --metric-weights FOLDER [--limit N] [--json OUT]

Each clip's three sources, as `fvc encode` chooses them, are coded in different ways; then one frame in a second is
drawn from its measured landmarks (profile `sup`, not quantized) and compared with the original by LPIPS-squeeze. Bytes
are those of a whole .fvs without canvas. "first face" is when an 8 kbit/s link has carried the stream's header, the
head of the .fvs and its first picture.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.bitstream import Header
from fvc.codec.crop import SIDE, cut, to_crop
from fvc.codec.errors import FvcError, InputError
from fvc.codec.quantizer import DEFAULT as QUANTIZERS
from fvc.codec.sample import DrivingSample, Profile
from fvc.codec.sources import SourceSet, code_pictures
from fvc.codec.still import decode_series, decode_still, encode_series, encode_still
from fvc.codec.survey import survey
from fvc.codec.tracking import FaceTracker
from fvc.codec.video import VideoReader
from fvc.decoding import draw_network
from fvc.encoding import SOURCE_CRF
from fvc.evaluation.networks import Networks
from fvc.models.presets import DEFAULT
from fvc.models.weights import model_hash

LINK = 8000  # bit/s
_FPS = Fraction(3)
_EVERY = 3  # of these frames are drawn

Pictures = tuple[Sequence[bytes], Sequence[np.ndarray]]


def _stills(crops: Sequence[np.ndarray], crf: int) -> Pictures:
    coded = [encode_still(crop, crf) for crop in crops]
    return coded, [decode_still(data, SIDE, SIDE) for data in coded]


def _series(crops: Sequence[np.ndarray], crf: int) -> Pictures:
    coded = encode_series(crops, crf)
    return coded, decode_series(coded, SIDE, SIDE)


def _forty(crops: Sequence[np.ndarray]) -> Pictures:
    """Stills of about 40 kB in all: as much as a picture is worth to anybody."""
    tries = ((crf, _stills(crops, crf)) for crf in (8, 4, 2, 1))
    best = min(tries, key=lambda item: abs(sum(map(len, item[1][0])) - 40000))
    return best[1]


WAYS: dict[str, Callable[[Sequence[np.ndarray]], Pictures]] = {
    "stills, 40 kB": _forty,
    "stills, crf 20": lambda crops: _stills(crops, 20),
    "stills, crf 32": lambda crops: _stills(crops, 32),
    "series, crf 34": lambda crops: _series(crops, 34),
    "fvc": lambda crops: code_pictures(crops, SOURCE_CRF),
    "fvc, first only": lambda crops: code_pictures(crops, SOURCE_CRF),
}


def measure(path: Path, networks: Networks) -> dict[str, dict[str, float]]:
    """Way -> bytes, first_face (s), lpips (None without its network). Raises FvcError."""
    with VideoReader(path) as video, FaceTracker() as tracker:
        frames = list(video.frames(_FPS))
        seen = survey(iter(frames), tracker)
        if not len(seen.index):
            raise InputError(f"{path.name}: no face found")
        crop = seen.crop(video.width, video.height)
    crops, sup = [cut(frame.rgb, crop) for frame in frames], seen.sup_of()
    chosen = seen.sources()
    header = Header(
        Profile.SUP, {"sup": QUANTIZERS["sup"]}, Fraction(15), 75, crop, model_hash(DEFAULT), bytes(16), bytes(16)
    )
    result = {}
    for name, way in WAYS.items():
        coded, pictures = way([crops[i] for i in chosen])
        count = 1 if name.endswith("only") else len(chosen)
        samples = tuple(DrivingSample({"sup": to_crop(sup[i], crop)}) for i in chosen[:count])
        source_set = SourceSet(
            Profile.SUP, header.model_hash, tuple(coded[:count]), tuple(pictures[:count]), samples, None
        )
        draw = draw_network(DEFAULT, source_set, Profile.SUP)
        pairs = [(crops[i], draw({"sup": to_crop(sup[i], crop)})) for i in sup if i % _EVERY == 0]
        bytes_needed = len(bytes(header)) + len(bytes(source_set)) - sum(map(len, source_set.sections()[1:]))
        row = {"bytes": len(bytes(source_set)), "first_face": 8 * bytes_needed / LINK}
        for net, network in networks.lpips.items():
            row[f"lpips_{net}"] = float(np.mean(network(*zip(*pairs, strict=True)).tolist()))
        result[name] = row
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    networks, rows = Networks(args.metric_weights), list[dict[str, Any]]()
    networks.load()
    for path in sorted(p for p in args.folder.iterdir() if p.suffix.lower() == ".mp4")[: args.limit]:
        try:
            rows.append({"clip": path.name, "ways": measure(path, networks)})
        except FvcError as error:
            print(f"{path.name}: left out ({error})")
    names = list(next(iter(rows[0]["ways"].values()))) if rows else []
    print(
        f"{len(rows)} clips; mean (largest)\n\n| way | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 1) + "|"
    )
    for way in WAYS:
        cells = []
        for name in names:
            values = [row["ways"][way][name] for row in rows]
            digits = 0 if name == "bytes" else 3
            cells.append(f"{np.mean(values):.{digits}f} ({max(values):.{digits}f})")
        print(f"| {way} | " + " | ".join(cells) + " |")
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
