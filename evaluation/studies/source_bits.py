"""Bytes of source pictures by their coding, the time until the first face can be drawn, and the quality of the video.

    python -m fvc.evaluation.studies.source_bits DIR --metric-weights FOLDER [--way 40kB fvc first 26 ...] [--frames 8]
        [--limit N] [--cache DIR] [--json OUT]

The three best sources of each clip are coded in different ways; then frames evenly spaced over the clip are drawn from
their tracked landmarks (profile `sup`, not quantized) and compared with the original by LPIPS. Bytes are those of a
whole .fvs without canvas. "first_face" is the time in which an 8 kbit/s link carries the stream's header, the head of
the .fvs and its first picture. Ways of coding:

    40kB    stills of about 40 kB in all, where more bytes hardly improve them
    fvc     as `fvc encode` codes them
    first   only the first picture of `fvc`
    N       as `fvc`, with this CRF instead of its own
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from fvc.codec.base.cache import Cache
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError
from fvc.codec.dataset import Clip, find_clips, open_clip, spaced
from fvc.codec.face.crop import cut, to_crop
from fvc.codec.face.source_choice import SOURCES
from fvc.codec.media.pipeline import parallel
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.source_builder import SOURCE_CRF, stream_header
from fvc.codec.wire.av1_pictures import decode_still, encode_still
from fvc.codec.wire.source_set import SourceSet, code_pictures
from fvc.evaluation.metrics.instruments import Networks
from fvc.models.inference.drawing import AT_A_TIME
from fvc.models.inference.installed import InstalledModel
from fvc.models.presets import DEFAULT
from fvc.models.weights import model_hash

LINK = 8000  # bit/s
_FPS = Fraction(15)
_STILL_BYTES = 40_000  # of "40kB", in all
_STILL_CRFS = (8, 4, 2, 1)  # that it tries; each gives larger stills than the one before
_INTERVAL = 75  # frames from one keyframe to the next, in the header


def code(crops: Sequence[np.ndarray], way: str) -> tuple[Sequence[bytes], Sequence[np.ndarray]]:
    """AV1 data of the pictures, and the decoded pictures."""
    if way != "40kB":
        return code_pictures(crops, int(way) if way.isdigit() else SOURCE_CRF)
    tries: list[list[bytes]] = []
    for crf in _STILL_CRFS:
        tries.append([encode_still(crop, crf) for crop in crops])
        if sum(map(len, tries[-1])) > _STILL_BYTES:
            break
    best = min(tries, key=lambda coded: abs(sum(map(len, coded)) - _STILL_BYTES))
    return best, [decode_still(data, SIDE, SIDE) for data in best]


def measure(clip: Clip, ways: Sequence[str], frames: int, networks: Networks) -> dict[str, dict[str, float]]:
    """Way of coding -> "bytes", "first_face" (seconds), LPIPS of each network that is installed."""
    sup = {index: to_crop(points, clip.crop) for index, points in clip.seen.sup_of().items()}
    chosen = clip.seen.by_group()[0].sources(SOURCES)
    shown = np.unique(np.linspace(0, len(sup) - 1, frames).round().astype(int))
    wanted = {*chosen, *(list(sup)[n] for n in shown)}
    crops = {f.index: cut(f.rgb, clip.crop) for f in clip.video.frames(clip.rate, only=wanted)}
    drawn = [list(sup)[n] for n in shown]
    samples = tuple(DrivingSample({"sup": sup[i]}) for i in chosen)
    result = {}
    known: dict[str, tuple[Sequence[bytes], Sequence[np.ndarray]]] = {}
    for way in ways:
        name = "fvc" if way == "first" else way
        known[name] = known.get(name) or code([crops[i] for i in chosen], name)
        coded, pictures = known[name]
        count = 1 if way == "first" else len(chosen)
        source_set = SourceSet(
            Profile.SUP, model_hash(DEFAULT), tuple(coded[:count]), tuple(pictures[:count]), samples[:count], None
        )
        header = stream_header(source_set, clip.tracked, _INTERVAL)
        first = len(bytes(header)) + len(bytes(source_set)) - sum(map(len, source_set.sections()[1:]))
        renderer = InstalledModel(DEFAULT).renderer(source_set, Profile.SUP, clip.rate, AT_A_TIME)
        inputs = {i: renderer.prepare(i, DrivingSample({"sup": sup[i]}), i in clip.seen.cuts) for i in sup}
        outputs = list(parallel(renderer.draw, [inputs[i] for i in drawn], AT_A_TIME))
        row = {"bytes": float(len(bytes(source_set))), "first_face": 8 * first / LINK}
        for net, network in networks.lpips.items():
            row[net] = float(np.mean(network([crops[i] for i in drawn], outputs)))
        result[way] = row
    return result


def show(rows: Sequence[dict[str, Any]], ways: Sequence[str]) -> None:
    """A Markdown table: means over the clips, the largest in brackets."""
    names = list(rows[0]["ways"][ways[0]]) if rows else []
    print(f"{len(rows)} clips; mean (largest)\n\n| way | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for way in ways:
        cells = []
        for name in names:
            values = [row["ways"][way][name] for row in rows]
            digits = 0 if name == "bytes" else 4 if name.startswith("lpips") else 2
            cells.append(f"{np.mean(values):.{digits}f} ({max(values):.{digits}f})")
        print(f"| {way} | " + " | ".join(cells) + " |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--way", nargs="+", default=["40kB", "fvc", "first"], help="default: %(default)s")
    parser.add_argument("--frames", type=int, default=8, help="drawn of each clip; default: %(default)s")
    parser.add_argument("--limit", type=int, help="only this many clips, evenly spaced over the folder")
    parser.add_argument("--cache", type=Path, help="where tracks are kept; default: the platform's folder")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    networks, cache, rows = Networks(args.metric_weights, instruments=False), Cache(args.cache), list[dict[str, Any]]()
    networks.load()
    for file in spaced(find_clips(args.folder.parent, args.folder.name), args.limit):
        try:
            with open_clip(file, _FPS, cache) as clip:
                rows.append({"clip": clip.name, "ways": measure(clip, args.way, args.frames, networks)})
        except FvcError as error:
            print(f"{file.name}: left out ({error})")
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    show(rows, args.way)


if __name__ == "__main__":
    main()
