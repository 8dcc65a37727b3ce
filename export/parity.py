"""Compares what an export draws with what fvc draws.

    python -m fvc.export.parity DIR STREAM.fvc SOURCES.fvs [--every N]

Decodes the stream twice, with the shipped OpenVINO graphs in float32 and with the export in DIR, and prints the PSNR of
the second against the first: mean and worst frame. DIR holds ONNX files, which must reach 45 dB in each frame, or Core
ML packages, which `fvc.export.mil` runs in float16 (some seconds a frame) and which must reach 40 dB. Exit code 1 if
they do not.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fvc.codec.base.errors import FvcError
from fvc.codec.decoder import Decoder
from fvc.codec.motion.pose_history import DrawInputs
from fvc.codec.motion.sample import DrivingSample
from fvc.codec.renderer import Draw, Renderer
from fvc.codec.wire.bitstream import Kind, Packet
from fvc.codec.wire.container import StreamReader
from fvc.codec.wire.source_set import SourceSet
from fvc.models.inference.installed import InstalledModel
from fvc.models.inference.tensors import driving_inputs, source_inputs

LEAST, LEAST_HALF = 45.0, 40.0  # dB in the worst frame: of ONNX files; of Core ML packages, in float16


def _frames(stream: Path, renderer: Renderer, every: int) -> Iterator[np.ndarray]:
    with stream.open("rb") as file:
        reader = StreamReader(file)
        decoder = Decoder(reader.header, renderer)
        packets = (
            item for item in reader.packets() if isinstance(item, Packet) and item.kind not in (Kind.AUDIO, Kind.LAYER)
        )
        inputs = None
        for number, packet in enumerate(packets):
            decoder.put(packet)
            inputs = decoder.next(packet.number) or inputs
            if number % every == 0 and inputs is not None:
                yield renderer.draw(inputs)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between two uint8 pictures, 99 for equal ones."""
    error = float(((a.astype(np.float64) - b) ** 2).mean())
    return min(10 * math.log10(255**2 / error), 99.0) if error else 99.0


def stream_parity(folder: Path, stream: Path, source_set: Path, every: int = 1) -> list[float]:
    """PSNR in dB of every n-th frame of a stream, drawn by the export in `folder`, against fvc's."""
    sources = SourceSet.parse(source_set.read_bytes())
    with stream.open("rb") as file:
        header = StreamReader(file).header
    native = InstalledModel.of(header).renderer(sources, header.profile, header.fps, exact=True)
    samples = [sample.only(header.profile.parts) for sample in sources.samples]
    exported = Renderer(_exported(folder, sources.pictures, samples), samples[0], header.fps)
    pairs = zip(_frames(stream, native, every), _frames(stream, exported, every), strict=True)
    return [psnr(a, b) for a, b in pairs]


def _exported(folder: Path, pictures: Sequence[np.ndarray], samples: Sequence[DrivingSample]) -> Draw:
    if (folder / "draw.onnx").exists():
        from fvc.export.onnx_graphs import OnnxDraw

        return OnnxDraw(folder, pictures, samples)
    from fvc.export.coreml import MilDraw

    return MilDraw(folder, pictures, samples)


def embed_inputs(sources: SourceSet) -> tuple[Tensor, ...]:
    """Inputs of the graph `embed`, see `models.inference.tensors.source_inputs`."""
    return tuple(map(torch.from_numpy, source_inputs(sources.pictures, sources.samples)))


def draw_inputs(sample: DrivingSample) -> tuple[Tensor, ...]:
    """Inputs of the graph `draw` after the embedding, of a head that has been still."""
    return tuple(map(torch.from_numpy, driving_inputs(DrawInputs.still(sample))))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `fvc export onnx` or `fvc export coreml` wrote")
    parser.add_argument("stream", type=Path)
    parser.add_argument("sources", type=Path)
    parser.add_argument("--every", type=int, default=1, help="draw every n-th frame only; default: %(default)s")
    args = parser.parse_args()
    try:
        found = stream_parity(args.folder, args.stream, args.sources, args.every)
    except (FvcError, OSError) as error:
        parser.error(str(error))
    print(f"{len(found)} frames: PSNR against fvc decode {np.mean(found):.1f} dB, worst {min(found):.1f} dB")
    least = LEAST if (args.folder / "draw.onnx").exists() else LEAST_HALF
    sys.exit(min(found) < least)


if __name__ == "__main__":
    main()
