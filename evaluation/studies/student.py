"""The landmark network against the tracker whose student it is: error, bits, pictures.

    python -m fvc.evaluation.studies.student DIR [--limit N] [--seconds S] [--every 5] [--metric-weights DIR]

Each clip is encoded and decoded twice as `fvc encode` and `fvc decode` do it (sources chosen from the landmarks and
coded, integers decided, real packets): with the tracker's landmarks and with the student's. NME is the mean
landmark distance between the two over the distance of the outer eye corners, of every frame with a face of the whole
clip; bits are those of motion per frame; LPIPS-squeeze is that of every so many decoded frames against the input's
crop. The student sees each frame by itself (`--smooth`: then through a One Euro filter). The crop and what else is
known of the face are the tracker's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder
from fvc.codec.face.crop import cut, to_crop
from fvc.codec.media.video import Frame
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.quantizer import DEFAULT as QUANTIZERS
from fvc.codec.motion.quantizer import for_parts
from fvc.codec.motion.ratecontrol import ConstantQuality
from fvc.codec.motion.sample import DrivingSample, Profile
from fvc.codec.motion.smoothing import OneEuro
from fvc.codec.renderer import Renderer
from fvc.codec.source_builder import SOURCE_CRF
from fvc.codec.wire.bitstream import Header
from fvc.codec.wire.source_set import code_pictures
from fvc.evaluation.clips import Cache, Clip, find_clips, opened
from fvc.evaluation.metrics.instruments import Networks
from fvc.evaluation.presets.systems import KEYFRAME_SECONDS
from fvc.export.shipped import LANDMARKS, load_landmarks
from fvc.models.presets import DEFAULT
from fvc.models.runtime import DrawRuntime
from fvc.models.weights import folder_of, model_hash
from fvc.training.others.student import nme

FPS = Fraction(15)
COLUMNS = ("NME, %", "NME of the worst frame, %", "bits: tracker", "bits: student", "LPIPS: tracker", "LPIPS: student")

Landmarks = Callable[[np.ndarray], np.ndarray]


def load_student(weights: Path, smooth: tuple[float, float] | None = None) -> Landmarks:
    """Crops in order, uint8 [256, 256, 3] -> float32 [33, 2] in [-1, 1]."""
    network = load_landmarks(weights)
    steady = OneEuro(float(FPS), *smooth) if smooth else None

    @torch.no_grad()
    def find(crop: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(np.ascontiguousarray(crop)).permute(2, 0, 1)[None].float() / 255
        points = network(picture)[0].numpy()
        return steady(points) if steady else points

    return find


def seen_by(student: Landmarks, clip: Clip) -> Clip:
    """The clip with the student's landmarks in the frames in which the tracker finds a face."""
    crop, faces = clip.crop, set(clip.seen.index.tolist())

    def look(frame: Frame) -> np.ndarray:
        return (student(cut(frame.rgb, crop)) + 1) * (crop.side / 2) + [crop.x, crop.y]

    sup = [look(frame) for frame in clip.video.frames(clip.rate) if frame.index in faces]
    return replace(clip, seen=replace(clip.seen, sup=np.array(sup, np.float32)))


def judge(clip: Clip, every: int, networks: Networks, seconds: float | None = None) -> tuple[float, float]:
    """Motion bits per frame and LPIPS-squeeze (not a number without its network) of the clip, encoded and decoded.

    Sources are chosen from all of the clip, `seconds` of it are coded, the first of `every` frames is drawn.
    """
    sup, crop, chosen = clip.seen.sup_of(), clip.crop, clip.seen.sources()
    crops = {frame.index: cut(frame.rgb, crop) for frame in clip.video.frames(clip.rate, only=set(chosen))}
    _, pictures = code_pictures([crops[n] for n in chosen], SOURCE_CRF)
    samples = [DrivingSample({"sup": to_crop(sup[n], crop)}) for n in chosen]
    renderer = Renderer(DrawRuntime(DEFAULT, pictures, samples), samples[0], clip.rate)
    quantizers, interval = for_parts(QUANTIZERS, Profile.SUP.parts), round(KEYFRAME_SECONDS * clip.rate)
    header = Header(Profile.SUP, quantizers, clip.rate, interval, crop, model_hash(DEFAULT), bytes(16), bytes(16))
    encoder, decoder = Encoder(header, None, plan=ConstantQuality()), Decoder(header, renderer)
    count, motion, pairs = 0, 0, list[tuple[np.ndarray, np.ndarray]]()
    inputs: DrawInputs | None = None
    for frame, picture in clip.frames():
        if seconds is not None and frame.index >= seconds * clip.rate:
            break
        packet = encoder.encode_tracked(frame, sup.get(frame.index))
        decoder.put(packet)
        inputs = decoder.next(frame.index) or inputs
        count, motion = count + 1, motion + len(packet.payload)
        if frame.index % every == 0 and inputs is not None:
            pairs.append((picture, renderer.draw(inputs)))
    lpips = networks.lpips.get("squeeze")
    score = float(np.mean(lpips(*zip(*pairs, strict=True)).tolist())) if lpips else float("nan")
    return 8 * motion / count, score


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=folder_of(LANDMARKS) / "weights.safetensors")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seconds", type=float, help="of each clip to code and draw; default: all")
    parser.add_argument("--every", type=int, default=5, help="frames per frame that LPIPS sees; default: %(default)s")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--smooth", type=float, nargs=2, metavar=("CALM", "QUICKNESS"))
    args = parser.parse_args()
    networks, rows = Networks(args.metric_weights), list[list[float]]()
    print(f"| clip | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}")
    folder = args.folder.resolve()
    for file in find_clips(folder.parent, folder.name, args.limit):
        with opened(file, FPS, Cache()) as clip:
            other = seen_by(load_student(args.weights, args.smooth), clip)
            errors = 100 * nme(to_crop(other.seen.sup, clip.crop), to_crop(clip.seen.sup, clip.crop))
            (bits, lpips), (bits_student, lpips_student) = (
                judge(c, args.every, networks, args.seconds) for c in (clip, other)
            )
        rows.append([float(errors.mean()), float(errors.max()), bits, bits_student, lpips, lpips_student])
        print(f"| {file.path.stem} | {' | '.join(f'{x:.4g}' for x in rows[-1])} |", flush=True)
    mean = np.mean(rows, 0)
    print(f"| **mean of {len(rows)}** | {' | '.join(f'{x:.4g}' for x in mean)} |")
    print(
        f"\nWith the student {100 * (mean[3] / mean[2] - 1):+.1f} % bits, {100 * (mean[5] / mean[4] - 1):+.1f} % LPIPS."
    )


if __name__ == "__main__":
    main()
