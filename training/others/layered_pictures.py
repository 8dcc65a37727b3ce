"""Data for `training.others.fusion`: what a video layer shows, what the generator draws, and the original.

    python -m fvc.training.others.layered_pictures DATA OUT [--split train] [--clips N] [--seconds 5]

For one clip of each person it codes the motion and a few source pictures as `fvc encode` does, draws some moments of it
as `fvc decode` does, and codes the same crops as AV1 layers of several sizes and rates. Writes OUT/SPLIT/CLIP.npy,
uint8 [moments, 2 + layers, 256, 256, 3]: the original, the drawn picture, the layers; clips that are there already are
left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fvc.codec.base.cache import written_whole
from fvc.codec.base.constants import SIDE
from fvc.codec.base.errors import FvcError
from fvc.codec.dataset import ClipFile, find_clips
from fvc.codec.decoder import Decoder
from fvc.codec.encoder import Encoder, Found
from fvc.codec.face.crop import cut
from fvc.codec.face.survey import survey
from fvc.codec.face.tracker import FaceTracker
from fvc.codec.media.video import Frame, VideoReader
from fvc.codec.options import EncoderOptions
from fvc.codec.source_builder import TrackedClip, stream_header
from fvc.codec.video_layer import resized
from fvc.codec.wire.av1_video import VideoDecoder, encode_video
from fvc.models.inference.installed import InstalledModel

FPS = Fraction(15)
# (side, lowest and highest crf) of the layers of each clip: 3 to 50 kbit/s
LAYERS = ((256, 60, 68), (256, 52, 60), (256, 38, 52), (192, 52, 66), (128, 48, 64))
SOURCE_COUNTS = (None, None, None, 1, 2, 3)  # of source pictures; None: as many as `fvc encode` takes
_PRESET = 8  # of SVT-AV1


@dataclass(frozen=True)
class _Kept:
    """The first frames of a video, as a `FrameSource`."""

    name: str
    kept: Sequence[Frame]

    def frames(self, fps: Fraction, only: Container[int] | None = None) -> Iterable[Frame]:
        return (frame for frame in self.kept if only is None or frame.index in only)


def layers_of(crops: Sequence[np.ndarray], rng: np.random.Generator) -> Iterator[list[np.ndarray]]:
    """The crops as each of LAYERS shows them, uint8 [256, 256, 3] each."""
    for side, low, high in LAYERS:
        small, decoder = [resized(crop, side) for crop in crops], VideoDecoder(SIDE)
        crf = round(float(rng.uniform(low, high)) * 4) / 4
        yield [resized(decoder.decode(data), SIDE) for data in encode_video(small, crf, FPS, _PRESET)]


def moments_of(file: ClipFile, seconds: float, count: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [count, 2 + layers, 256, 256, 3] of the clip's first `seconds`. Raises FvcError."""
    with VideoReader(file.path) as video, FaceTracker() as tracker:
        with closing(video.frames(FPS)) as frames:  # type: ignore[type-var]
            kept = _Kept(video.name, list(islice(frames, round(seconds * FPS))))
        seen = survey(kept.kept, tracker)
        clip = TrackedClip(seen, FPS, seen.crop(video.width, video.height))
    sup_of = clip.seen.sup_of()
    if len(sup_of) < 2 * count:
        raise FvcError(f"{file.name}: a face in {len(sup_of)} frames only")
    options, model = EncoderOptions(fps=FPS), InstalledModel.named()
    builder = model.source_builder(options.kind)
    source_set = builder.choose(kept, clip, count=SOURCE_COUNTS[rng.integers(len(SOURCE_COUNTS))]).source_set
    header = stream_header(source_set, clip, options.interval, options.quantizers)
    encoder = Encoder(header, builder.network, plan=options.plan())
    renderer = model.renderer(source_set, header.profile, header.fps, exact=True)
    decoder = Decoder(header, renderer)
    chosen = {int(index) for index in rng.choice([i for i in sup_of if i > 0], count, replace=False)}
    drawn = {}
    for frame in kept.kept:
        decoder.put(encoder.encode(frame, Found(sup_of.get(frame.index), frame.index in clip.seen.cuts)))
        inputs = decoder.next(frame.index)
        if inputs is not None and frame.index in chosen:
            drawn[frame.index] = renderer.draw(inputs)
    crops = [cut(frame.rgb, clip.crop) for frame in kept.kept]
    layers = list(layers_of(crops, rng))
    return np.stack([np.stack([crops[n], drawn[n], *(layer[n] for layer in layers)]) for n in sorted(drawn)])


def one_of_each_person(files: Sequence[ClipFile]) -> list[ClipFile]:
    """One clip of each person, in an order that mixes them; file names begin with the person."""
    rng, people = np.random.default_rng(0), dict[str, list[ClipFile]]()
    for file in files:
        people.setdefault(file.name.split("-")[0], []).append(file)
    chosen = [clips[rng.integers(len(clips))] for clips in people.values()]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="train")
    parser.add_argument("--clips", type=int, help="default: one of each person")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--moments", type=int, default=10)
    args = parser.parse_args()
    folder = args.out / args.split
    folder.mkdir(parents=True, exist_ok=True)
    for file in tqdm(one_of_each_person(find_clips(args.data, args.split))[: args.clips]):
        name = Path(file.name).stem
        target = folder / f"{name}.npy"
        if target.exists():
            continue
        rng = np.random.default_rng([*name.encode()])
        try:
            pictures = moments_of(file, args.seconds, args.moments, rng)
        except FvcError as error:
            print(error, flush=True)
            continue
        with written_whole(target) as part, part.open("wb") as out:
            np.save(out, pictures)


if __name__ == "__main__":
    main()
